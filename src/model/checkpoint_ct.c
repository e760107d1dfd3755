/* compressed-tensors (llm-compressor). A layer of [out, in] weights is one of
 *     pack-quantized   weight_packed i32 [out, in bits / 32]: codes plus 2^(bits-1), lowest first,
 *                      without gaps (3 bits in older files: ten codes to a word),
 *                      weight_shape [2], weight_scale [out, groups],
 *                      weight_zero_point i32 [out bits / 32, groups], packed along the rows in the
 *                      same way (symmetric: none),
 *                      weight_g_idx i32 [in] (activation order; may be none)
 *     int-quantized    weight i8 [out, in], weight_scale [out, groups] (or [1]),
 *                      weight_zero_point i8
 *     float-quantized  weight f8_e4m3 [out, in], weight_scale as above, or of blocks
 *                      (block_structure): [out / block rows, in / block columns], rounded up
 *     naive-quantized  either of the last two
 * Activations are rounded as the file says: int8 for each token (symmetric or not), FP8 for each
 * token or group of its columns, and both by a scale of the layer's, input_scale [1] (int8 may have
 * input_zero_point [1]). For anything else they stay as they are, and the model's note tells.
 * Source: compressed-tensors, compressors/quantized_compressors/. */
#include "base/fail.h"
#include "model/checkpoint.h"

#include <math.h>
#include <string.h>

enum { SCALES, ZEROS, INDEX };

static bool is_given(const json_t *object)
{
    return object && !json_is_null(object) &&
           !(json_is_object(object) && !json_object_size(object));
}

static bool is_text(const json_t *object, const char *key, const char *value)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && strcmp(text, value) == 0;
}

/* EXACT for what is not handled. */
static pare_input_rounding rounding_of(const json_t *inputs, int64_t *group)
{
    const bool dynamic = json_is_true(json_object_get(inputs, "dynamic")),
               fixed = !dynamic && !json_is_string(json_object_get(inputs, "dynamic")),
               symmetric = json_is_true(json_object_get(inputs, "symmetric")),
               token = dynamic && is_text(inputs, "strategy", "token"),
               one = fixed && is_text(inputs, "strategy", "tensor");
    *group = 0;
    if (json_integer_value(json_object_get(inputs, "num_bits")) != 8)
        return PARE_INPUTS_EXACT;
    if (is_text(inputs, "type", "int"))
        return one                  ? PARE_INPUTS_STATIC_INT8
               : token && symmetric ? PARE_INPUTS_TOKEN_INT8
               : token              ? PARE_INPUTS_TOKEN_INT8_ASYM
                                    : PARE_INPUTS_EXACT;
    if (!is_text(inputs, "type", "float") || !symmetric)
        return PARE_INPUTS_EXACT;
    if (one || token)
        return one ? PARE_INPUTS_STATIC_FP8 : PARE_INPUTS_TOKEN_FP8;
    *group = json_integer_value(json_object_get(inputs, "group_size"));
    return dynamic && is_text(inputs, "strategy", "group") && *group > 0 ? PARE_INPUTS_GROUP_FP8
                                                                         : PARE_INPUTS_EXACT;
}

/* Blocks of weights, where the group has them. All groups of a file must agree. */
static pare_status read_block(pare_checkpoint *checkpoint, const json_t *weights)
{
    const json_t *block = json_object_get(weights, "block_structure");
    if (!is_text(weights, "strategy", "block"))
        return PARE_OK;
    for (size_t i = 0; i < 2; i++) {
        int64_t size = json_integer_value(json_array_get(block, i));
        if (json_array_size(block) != 2 || size < 1 || size > INT32_MAX)
            return pare_fail(PARE_FORMAT, "%s: 'block_structure' should be two sizes",
                             checkpoint->config);
        if (checkpoint->block[i] && checkpoint->block[i] != size)
            return pare_checkpoint_refuse(checkpoint, "block_structure", "of several sizes");
        checkpoint->block[i] = size;
    }
    return PARE_OK;
}

static pare_status check_group(pare_checkpoint *checkpoint, const json_t *group)
{
    static const char *const formats[] = {"pack-quantized", "int-quantized", "float-quantized",
                                          "naive-quantized"};
    const char *format = NULL;
    pare_status status = pare_json_string(group, "format", checkpoint->config, &format);
    if (status != PARE_OK)
        return status;
    const json_t *inputs = json_object_get(group, "input_activations");
    if (json_is_false(json_object_get(inputs, "symmetric")))
        checkpoint->input_zeros = true;
    if (is_given(inputs)) {
        checkpoint->rounding = rounding_of(inputs, &checkpoint->input_group);
        checkpoint->rounding_unknown =
            checkpoint->rounding_unknown || checkpoint->rounding == PARE_INPUTS_EXACT;
    }
    int64_t bits = 0;
    status =
        pare_json_i64(json_object_get(group, "weights"), "num_bits", checkpoint->config, &bits);
    if (status != PARE_OK)
        return status;
    if (bits < 0 || bits > 8)
        return pare_fail(PARE_UNSUPPORTED, "%s: 'num_bits' is %lld, 1 to 8 are handled",
                         checkpoint->config, (long long)bits);
    if (bits > 0)
        checkpoint->widths |= 1u << bits;
    status = read_block(checkpoint, json_object_get(group, "weights"));
    if (status != PARE_OK)
        return status;
    for (size_t i = 0; format && i < sizeof formats / sizeof *formats; i++)
        if (strcmp(format, formats[i]) == 0)
            return PARE_OK;
    return format ? pare_checkpoint_refuse(checkpoint, "format", format) : PARE_OK;
}

static pare_status configure(pare_checkpoint *checkpoint)
{
    const json_t *options = checkpoint->options, *group;
    const json_t *groups = json_object_get(options, "config_groups");
    const json_t *sparsity = json_object_get(options, "sparsity_config");
    const char *key, *sparse = "dense";
    pare_status status;
    PARE_TRY(check_group(checkpoint, options));
    json_object_foreach((json_t *)groups, key, group) PARE_TRY(check_group(checkpoint, group));
    PARE_TRY(pare_json_string(sparsity, "format", checkpoint->config, &sparse));
    if (strcmp(sparse, "dense") != 0)
        return pare_checkpoint_refuse(checkpoint, "sparsity_config", sparse);
    if (is_given(json_object_get(options, "transform_config")))
        return pare_checkpoint_refuse(checkpoint, "transform_config", "given");
    /* Layers that differ in it are not told apart. */
    if (checkpoint->rounding_unknown || json_object_size(groups) > 1) {
        checkpoint->rounding_unknown =
            checkpoint->rounding_unknown || checkpoint->rounding != PARE_INPUTS_EXACT;
        checkpoint->rounding = PARE_INPUTS_EXACT;
    }
fail:
    return status;
}

/* ---- reading ---- */

/* Scales and zero points are [out / scale_rows, groups] or [1]: for all. */
static int64_t part_at(const pare_tensor *part, const pare_linear *linear, int64_t row, int64_t g)
{
    return pare_tensor_elements(part) == 1 ? 0 : row / linear->scale_rows * linear->groups + g;
}

static int64_t words_of(int64_t codes, int bits, bool whole)
{
    const int64_t lanes = 32 / bits;
    return whole ? (codes + lanes - 1) / lanes : (codes * bits + 31) / 32;
}

static uint32_t code_at(const pare_linear *linear, const uint32_t *words, int64_t stride, int64_t i)
{
    const int bits = linear->bits;
    const int64_t lanes = 32 / bits;
    return linear->whole ? words[i / lanes * stride] >> (i % lanes * bits) & ((1u << bits) - 1)
                         : pare_words_bits(words, stride, i * bits, bits);
}

static int32_t zero_at(const pare_linear *linear, int64_t row, int64_t g)
{
    const pare_tensor *zeros = linear->parts[ZEROS];
    if (linear->table || !zeros)
        return 1 << (linear->bits - 1);
    if (zeros->type == PARE_TYPE_I32)
        return (int32_t)code_at(linear, (const uint32_t *)zeros->data + g, linear->groups, row);
    return ((const int8_t *)zeros->data)[part_at(zeros, linear, row, g)] + 128;
}

static void read(const pare_linear *linear, int64_t first, int64_t count, uint8_t *codes,
                 float *scales, int32_t *zeros)
{
    const int64_t columns = linear->columns, groups = linear->groups,
                  words = pare_tensor_columns(linear->main);
    const uint8_t flip = linear->table ? 0 : 0x80; /* i8 to codes above a zero point of 128 */
    for (int64_t r = 0; codes && r < count; r++)
        for (int64_t c = 0; c < columns; c++)
            codes[r * columns + c] =
                linear->packed
                    ? (uint8_t)code_at(
                          linear, (const uint32_t *)linear->main->data + (first + r) * words, 1, c)
                    : ((const uint8_t *)linear->main->data)[(first + r) * columns + c] ^ flip;
    for (int64_t r = 0; r < count; r++)
        for (int64_t g = 0; g < groups; g++) {
            const pare_tensor *scale = linear->parts[SCALES];
            scales[r * groups + g] = pare_part_f32(scale, part_at(scale, linear, first + r, g));
            zeros[r * groups + g] = zero_at(linear, first + r, g);
        }
}

/* ---- describing ---- */

/* E4M3 without infinities (bias 7); 0x7f and 0xff are no numbers. */
static const float *e4m3_values(pare_arena *arena)
{
    float *values = pare_arena_allocate(arena, 256 * sizeof *values);
    for (int code = 0; values && code < 256; code++) {
        int exponent = code >> 3 & 15, mantissa = code & 7;
        float magnitude = exponent ? ldexpf(1 + (float)mantissa / 8, exponent - 7)
                                   : ldexpf((float)mantissa / 8, -6);
        values[code] = (code & 0x7f) == 0x7f ? NAN : code & 0x80 ? -magnitude : magnitude;
    }
    return values;
}

/* Sizes of a packed layer: weight_shape says them, and the words tell which of the file's widths
 * its codes have. */
static pare_status describe_packed(const pare_checkpoint *checkpoint, pare_linear *linear)
{
    const pare_tensor *shape;
    pare_status status;
    int64_t sizes[2];
    PARE_TRY(pare_linear_check_main(linear, PARE_TYPE_I32));
    PARE_TRY(pare_linear_part(checkpoint, linear, ".weight_shape", true, &shape));
    PARE_TRY(
        pare_part_check(shape, shape->type == PARE_TYPE_I32 ? PARE_TYPE_I32 : PARE_TYPE_I64, 2, 0));
    for (int i = 0; i < 2; i++) {
        int32_t narrow;
        if (shape->type == PARE_TYPE_I32)
            memcpy(&narrow, (const char *)shape->data + 4 * i, 4), sizes[i] = narrow;
        else
            memcpy(&sizes[i], (const char *)shape->data + 8 * i, 8);
    }
    linear->rows = linear->main->shape[0];
    linear->columns = sizes[1];
    linear->packed = true;
    for (int bits = 1; bits <= 8 && sizes[1] > 0 && sizes[1] <= INT32_MAX; bits++)
        for (int whole = 1; whole >= 0 && checkpoint->widths >> bits & 1; whole--)
            if (words_of(sizes[1], bits, whole) == linear->main->shape[1]) {
                linear->bits = bits;
                linear->whole = whole;
            }
    if (sizes[0] != linear->rows || !linear->bits)
        return pare_fail(
            PARE_FORMAT, "%s: tensor '%s' says [%lld, %lld], which '%s' of [%lld, %lld] cannot be",
            shape->file, shape->name, (long long)sizes[0], (long long)sizes[1], linear->main->name,
            (long long)linear->main->shape[0], (long long)linear->main->shape[1]);
fail:
    return status;
}

static pare_status describe_bytes(const pare_checkpoint *checkpoint, pare_linear *linear)
{
    bool floats = linear->main->type == PARE_TYPE_F8_E4M3;
    pare_status status;
    PARE_TRY(pare_linear_check_main(linear, floats ? PARE_TYPE_F8_E4M3 : PARE_TYPE_I8));
    linear->bits = 8;
    linear->rows = linear->main->shape[0];
    linear->columns = linear->main->shape[1];
    if (floats && !(linear->table = e4m3_values(checkpoint->arena)))
        return PARE_OUT_OF_MEMORY;
fail:
    return status;
}

/* [rows, groups] of scales: groups of columns, or blocks. */
static pare_status set_scale_groups(const pare_checkpoint *checkpoint, pare_linear *linear,
                                    const pare_tensor *scales)
{
    const int64_t *block = checkpoint->block;
    linear->scale_rows = 1;
    if (scales->dims == 2 && scales->shape[0] != linear->rows && block[0] &&
        pare_tensor_elements(scales) > 1) {
        pare_linear_set_groups(linear, block[1]);
        linear->scale_rows = block[0];
        return PARE_OK;
    }
    linear->groups = scales->dims == 2 ? scales->shape[1] : 1;
    if (linear->groups < 1 || linear->groups > linear->columns ||
        linear->columns % linear->groups != 0)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' has %lld groups for %lld columns",
                         scales->file, scales->name, (long long)linear->groups,
                         (long long)linear->columns);
    linear->group = linear->columns / linear->groups;
    return PARE_OK;
}

static int64_t scale_rows_of(const pare_linear *linear)
{
    return (linear->rows + linear->scale_rows - 1) / linear->scale_rows;
}

static pare_status describe_scales(const pare_checkpoint *checkpoint, pare_linear *linear)
{
    const pare_tensor **parts = linear->parts;
    pare_status status;
    PARE_TRY(pare_linear_part(checkpoint, linear, ".weight_scale", true, &parts[SCALES]));
    PARE_TRY(pare_linear_part(checkpoint, linear, ".weight_zero_point", false, &parts[ZEROS]));
    PARE_TRY(pare_linear_part(checkpoint, linear, ".weight_g_idx", false, &parts[INDEX]));
    const pare_tensor *scales = parts[SCALES];
    PARE_TRY(set_scale_groups(checkpoint, linear, scales));
    if (pare_tensor_elements(scales) == 1)
        PARE_TRY(pare_part_check(scales, PARE_TYPE_COUNT, 1, scales->dims == 2 ? 1 : 0));
    else
        PARE_TRY(pare_part_check(scales, PARE_TYPE_COUNT, scale_rows_of(linear), linear->groups));
    if (parts[INDEX])
        status = pare_linear_set_index(linear, parts[INDEX]);
fail:
    return status;
}

static pare_status check_zeros(const pare_linear *linear)
{
    const pare_tensor *zeros = linear->parts[ZEROS];
    if (!zeros || linear->table)
        return PARE_OK;
    if (linear->packed) {
        int64_t words = words_of(linear->rows, linear->bits, linear->whole);
        return pare_part_check(zeros, PARE_TYPE_I32, words, linear->groups);
    }
    if (pare_tensor_elements(zeros) == 1)
        return pare_part_check(zeros, PARE_TYPE_I8, 1, zeros->dims == 2 ? 1 : 0);
    return pare_part_check(zeros, PARE_TYPE_I8, scale_rows_of(linear), linear->groups);
}

/* The scale of static activations, and their zero point. */
static pare_status describe_inputs(const pare_checkpoint *checkpoint, pare_linear *linear)
{
    const pare_tensor *scale, *zero;
    pare_status status;
    if (checkpoint->rounding != PARE_INPUTS_STATIC_INT8 &&
        checkpoint->rounding != PARE_INPUTS_STATIC_FP8)
        return PARE_OK;
    PARE_TRY(pare_linear_part(checkpoint, linear, ".input_scale", true, &scale));
    PARE_TRY(
        pare_linear_part(checkpoint, linear, ".input_zero_point", checkpoint->input_zeros, &zero));
    const bool one = scale->dims == 2 && pare_tensor_elements(scale) == 1; /* [1, 1] */
    PARE_TRY(pare_part_check(scale, PARE_TYPE_COUNT, 1, one ? 1 : 0));
    linear->input_scale = pare_part_f32(scale, 0);
    if (!(linear->input_scale >= 0x1p-120f && linear->input_scale <= 0x1p120f))
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' is %g, should be a positive number",
                         scale->file, scale->name, (double)linear->input_scale);
    if (!zero || checkpoint->rounding == PARE_INPUTS_STATIC_FP8)
        return PARE_OK; /* FP8 has zero points of 0 */
    PARE_TRY(pare_part_check(zero, PARE_TYPE_I8, 1, zero->dims == 2 ? 1 : 0));
    linear->input_zero = *(const int8_t *)zero->data;
fail:
    return status;
}

static pare_status describe(const pare_checkpoint *checkpoint, pare_linear *linear)
{
    bool packed = strcmp(linear->main->name + linear->stem, ".weight_packed") == 0;
    pare_status status;
    PARE_TRY(packed ? describe_packed(checkpoint, linear) : describe_bytes(checkpoint, linear));
    PARE_TRY(describe_scales(checkpoint, linear));
    PARE_TRY(check_zeros(linear));
    PARE_TRY(describe_inputs(checkpoint, linear));
    linear->read = read;
fail:
    return status;
}

static const struct pare_checkpoint_main mains[] = {
    {".weight_packed", NULL}, {".weight", ".weight_scale"}, {NULL, NULL}};
static const char *const parts[] = {".weight_scale", ".weight_zero_point", ".weight_g_idx",
                                    ".weight_shape", NULL};
/* Static scales of activations and of the KV cache. */
static const char *const ignored[] = {
    ".input_scale", ".input_zero_point", ".output_scale", ".output_zero_point",
    ".k_scale",     ".v_scale",          ".q_scale",      NULL};

const pare_checkpoint_library pare_checkpoint_ct = {
    "compressed-tensors", mains, parts, ignored, configure, describe};
