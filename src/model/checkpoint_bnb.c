/* bitsandbytes. 4 bits: a layer of [out, in] weights, taken as one row of blocks, is
 *     weight             any type, out * in / 2 bytes: the first code of a byte in its high nibble
 *     weight.absmax      f32 [blocks], or u8 [blocks] codes of the nested map
 *     weight.quant_map   f32 [16]: the values of the codes
 *     weight.nested_absmax f32, weight.nested_quant_map f32 [256]: of double quantization,
 *         absmax[i] = nested_quant_map[code[i]] * nested_absmax[i / nested_blocksize] +
 * nested_offset weight.quant_state.bitsandbytes__nf4 (or __fp4) u8: a JSON text with the shape and
 * sizes 8 bits: weight i8 [out, in], SCB f32 [out], the rows' largest magnitudes: w = SCB / 127 *
 * code. Columns of outliers are stored like all others; at run time the library multiplies them,
 * and everything else by rounded activations, in its own way, which is not repeated here. Source:
 * bitsandbytes, functional.py (QuantState) and nn/modules.py. */
#include "base/checked.h"
#include "base/fail.h"
#include "model/checkpoint.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_NF4 ".weight.quant_state.bitsandbytes__nf4"
#define STATE_FP4 ".weight.quant_state.bitsandbytes__fp4"

enum { ABSMAX, NESTED_ABSMAX, NESTED_MAP, SCALES = ABSMAX };

static pare_status configure(pare_checkpoint *checkpoint)
{
    double threshold = 6;
    bool bytes = false;
    pare_status status;
    PARE_TRY(pare_json_bool(checkpoint->options, "load_in_8bit", checkpoint->config, &bytes));
    PARE_TRY(
        pare_json_f64(checkpoint->options, "llm_int8_threshold", checkpoint->config, &threshold));
    if (!(threshold >= 0 && threshold <= 1e6))
        return pare_fail(PARE_FORMAT, "%s: 'llm_int8_threshold' is %g, should be 0 to 1e6",
                         checkpoint->config, threshold);
    if (bytes) {
        checkpoint->rounding = PARE_INPUTS_LLM_INT8;
        checkpoint->outlier_threshold = (float)threshold;
    }
fail:
    return status;
}

/* ---- 8 bits ---- */

static void read_rows(const pare_linear *linear, int64_t first, int64_t count, uint8_t *codes,
                      float *scales, int32_t *zeros)
{
    const uint8_t *stored = (const uint8_t *)linear->main->data + first * linear->columns;
    for (int64_t i = 0; codes && i < count * linear->columns; i++)
        codes[i] = stored[i] ^ 0x80;
    for (int64_t r = 0; r < count; r++) {
        scales[r] = pare_part_f32(linear->parts[SCALES], first + r) / 127;
        zeros[r] = 128;
    }
}

static pare_status describe_rows(const pare_checkpoint *checkpoint, pare_linear *linear)
{
    const pare_tensor *layout;
    pare_status status;
    PARE_TRY(pare_linear_check_main(linear, PARE_TYPE_I8));
    PARE_TRY(pare_linear_part(checkpoint, linear, ".SCB", true, &linear->parts[SCALES]));
    PARE_TRY(pare_linear_part(checkpoint, linear, ".weight_format", false, &layout));
    linear->bits = 8;
    linear->rows = linear->main->shape[0];
    linear->columns = linear->main->shape[1];
    pare_linear_set_groups(linear, 0);
    PARE_TRY(pare_part_check(linear->parts[SCALES], PARE_TYPE_F32, linear->rows, 0));
    if (layout && (layout->bytes != 1 || *(const uint8_t *)layout->data != 0))
        return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' is not 0 (rows): not handled",
                         layout->file, layout->name);
    linear->read = read_rows;
fail:
    return status;
}

/* ---- 4 bits ---- */

static float absmax(const pare_linear *linear, int64_t block)
{
    const pare_tensor *const *parts = linear->parts;
    if (!parts[NESTED_ABSMAX])
        return pare_part_f32(parts[ABSMAX], block);
    uint8_t code = ((const uint8_t *)parts[ABSMAX]->data)[block];
    float product = pare_part_f32(parts[NESTED_MAP], code) *
                    pare_part_f32(parts[NESTED_ABSMAX], block / linear->nested_block);
    return product + linear->nested_offset;
}

static void read_blocks(const pare_linear *linear, int64_t first, int64_t count, uint8_t *codes,
                        float *scales, int32_t *zeros)
{
    const uint8_t *bytes = linear->main->data;
    const int64_t start = first * linear->columns;
    for (int64_t i = 0; codes && i < count * linear->columns; i++)
        codes[i] = (bytes[(start + i) / 2] >> ((start + i) % 2 ? 0 : 4)) & 15;
    for (int64_t i = 0; i < count * linear->groups; i++) {
        scales[i] = absmax(linear, (first * linear->groups + i) * linear->group / linear->block);
        zeros[i] = 0;
    }
}

/* Runs of this many columns lie within one block, wherever the rows end. */
static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static pare_status read_state(const pare_tensor *state, pare_linear *linear)
{
    json_t *json = NULL;
    double offset = 0;
    int64_t shape[2] = {0, 0};
    char where[1024];
    pare_status status;
    snprintf(where, sizeof where, "%s: tensor '%s'", state->file, state->name);
    PARE_TRY(pare_json_load_text(state->data, state->bytes, where, &json));
    PARE_TRY(pare_json_i64(json, "blocksize", where, &linear->block));
    PARE_TRY(pare_json_i64(json, "nested_blocksize", where, &linear->nested_block));
    PARE_TRY(pare_json_f64(json, "nested_offset", where, &offset));
    linear->nested_offset = (float)offset;
    const json_t *sizes = json_object_get(json, "shape");
    for (size_t i = 0; i < 2; i++)
        shape[i] = json_integer_value(json_array_get(sizes, i));
    linear->rows = shape[0];
    linear->columns = shape[1];
    if (json_array_size(sizes) != 2 || shape[0] < 1 || shape[1] < 1 || shape[0] > INT32_MAX ||
        shape[1] > INT32_MAX)
        status = pare_fail(PARE_FORMAT, "%s: tensor '%s' has no 'shape' of two sizes", state->file,
                           state->name);
    else if (linear->block < 1 || linear->block > INT32_MAX || linear->nested_block < 1 ||
             linear->nested_block > INT32_MAX)
        status = pare_fail(PARE_FORMAT, "%s: tensor '%s' has a block size out of range",
                           state->file, state->name);
fail:
    json_decref(json);
    return status;
}

/* The map is that of the type, to the last digits: Pare's formats have fixed values. */
static pare_status check_map(const pare_linear *linear, const pare_tensor *map)
{
    pare_status status = pare_part_check(map, PARE_TYPE_F32, 16, 0);
    for (int i = 0; i < 16 && status == PARE_OK; i++)
        if (!(fabsf(pare_part_f32(map, i) - linear->table[i]) <= 1e-6f))
            status =
                pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' holds other values than the type's",
                          map->file, map->name);
    return status;
}

static pare_status check_absmax(const pare_checkpoint *checkpoint, pare_linear *linear)
{
    const int64_t blocks = (linear->rows * linear->columns + linear->block - 1) / linear->block;
    const pare_tensor **parts = linear->parts;
    pare_status status;
    PARE_TRY(pare_linear_part(checkpoint, linear, ".weight.absmax", true, &parts[ABSMAX]));
    if (parts[ABSMAX]->type != PARE_TYPE_U8)
        return pare_part_check(parts[ABSMAX], PARE_TYPE_F32, blocks, 0);
    PARE_TRY(pare_part_check(parts[ABSMAX], PARE_TYPE_U8, blocks, 0));
    PARE_TRY(
        pare_linear_part(checkpoint, linear, ".weight.nested_absmax", true, &parts[NESTED_ABSMAX]));
    PARE_TRY(pare_part_check(parts[NESTED_ABSMAX], PARE_TYPE_F32,
                             (blocks + linear->nested_block - 1) / linear->nested_block, 0));
    PARE_TRY(
        pare_linear_part(checkpoint, linear, ".weight.nested_quant_map", true, &parts[NESTED_MAP]));
    status = pare_part_check(parts[NESTED_MAP], PARE_TYPE_F32, 256, 0);
fail:
    return status;
}

static pare_status describe_blocks(const pare_checkpoint *checkpoint, pare_linear *linear,
                                   const pare_tensor *state, const float *table)
{
    const pare_tensor *map;
    pare_status status;
    linear->bits = 4;
    linear->table = table;
    linear->block = 64;
    linear->nested_block = 256;
    PARE_TRY(read_state(state, linear));
    if (linear->rows * linear->columns % 2 != 0 ||
        (uint64_t)(linear->rows * linear->columns / 2) != linear->main->bytes)
        return pare_linear_fail(linear, "has %zu bytes, %lld x %lld codes of 4 bits were expected",
                                linear->main->bytes, (long long)linear->rows,
                                (long long)linear->columns);
    PARE_TRY(check_absmax(checkpoint, linear));
    PARE_TRY(pare_linear_part(checkpoint, linear, ".weight.quant_map", true, &map));
    PARE_TRY(check_map(linear, map));
    pare_linear_set_groups(linear, common_divisor(linear->columns, linear->block));
    linear->read = read_blocks;
fail:
    return status;
}

static pare_status describe(const pare_checkpoint *checkpoint, pare_linear *linear)
{
    const pare_tensor *nf4, *fp4;
    pare_status status;
    PARE_TRY(pare_linear_part(checkpoint, linear, STATE_NF4, false, &nf4));
    PARE_TRY(pare_linear_part(checkpoint, linear, STATE_FP4, false, &fp4));
    if (nf4)
        return describe_blocks(checkpoint, linear, nf4, pare_nf4_values);
    if (fp4)
        return describe_blocks(checkpoint, linear, fp4, pare_fp4_values);
    return describe_rows(checkpoint, linear);
fail:
    return status;
}

static const struct pare_checkpoint_main mains[] = {
    {".weight", STATE_NF4}, {".weight", STATE_FP4}, {".weight", ".SCB"}, {NULL, NULL}};
static const char *const parts[] = {STATE_NF4,
                                    STATE_FP4,
                                    ".weight.absmax",
                                    ".weight.quant_map",
                                    ".weight.nested_absmax",
                                    ".weight.nested_quant_map",
                                    ".SCB",
                                    ".weight_format",
                                    NULL};
static const char *const ignored[] = {NULL};

const pare_checkpoint_library pare_checkpoint_bnb = {"bitsandbytes", mains,     parts,
                                                     ignored,        configure, describe};
