/* GPTQModel and AutoGPTQ: a layer of [out, in] weights is
 *     qweight i32 [in * bits / 32, out]      codes along the columns, a stream of bits, lowest
 * first qzeros  i32 [groups, out * bits / 32]  zero points along the rows, the same way scales  f16
 * [groups, out] g_idx   i32 [in]                       the group of each column (desc_act shuffles
 * it) "gptq" (v1) stores zero points less one, modulo 2^bits; "gptq_v2" as they are. Source:
 * AutoGPTQ, nn_modules/qlinear/qlinear_cuda.py; GPTQModel, utils/model.py (v1 to v2). */
#include "base/fail.h"
#include "model/checkpoint.h"

#include <string.h>

static pare_status configure(pare_checkpoint *checkpoint)
{
    const char *format = NULL;
    pare_status status;
    checkpoint->bits = 4;
    checkpoint->group_size = 128;
    PARE_TRY(pare_json_i64(checkpoint->options, "bits", checkpoint->config, &checkpoint->bits));
    PARE_TRY(pare_checkpoint_read_group_size(checkpoint, "group_size"));
    PARE_TRY(pare_json_string(checkpoint->options, "format", checkpoint->config, &format));
    PARE_TRY(
        pare_json_string(checkpoint->options, "checkpoint_format", checkpoint->config, &format));
    if (!format || strcmp(format, "gptq") == 0)
        checkpoint->zero_added = 1;
    else if (strcmp(format, "gptq_v2") != 0)
        return pare_checkpoint_refuse(checkpoint, "checkpoint_format", format);
    if (checkpoint->bits != 2 && checkpoint->bits != 3 && checkpoint->bits != 4 &&
        checkpoint->bits != 8)
        return pare_fail(PARE_UNSUPPORTED, "%s: 'bits' is %lld, 2, 3, 4 and 8 are handled",
                         checkpoint->config, (long long)checkpoint->bits);
fail:
    return status;
}

enum { SCALES, ZEROS, INDEX };

static void read(const pare_linear *linear, int64_t first, int64_t count, uint8_t *codes,
                 float *scales, int32_t *zeros)
{
    const uint32_t *words = linear->main->data, *packed = linear->parts[ZEROS]->data;
    const int64_t rows = linear->rows, columns = linear->columns, groups = linear->groups,
                  zero_words = pare_tensor_columns(linear->parts[ZEROS]);
    const int bits = linear->bits, mask = (1 << bits) - 1;
    for (int64_t c = 0; codes && c < columns; c++)
        for (int64_t r = 0; r < count; r++)
            codes[r * columns + c] =
                (uint8_t)pare_words_bits(words + first + r, rows, c * bits, bits);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < count; r++) {
            uint32_t zero = pare_words_bits(packed + g * zero_words, 1, (first + r) * bits, bits);
            zeros[r * groups + g] = ((int)zero + linear->zero_added) & mask;
            scales[r * groups + g] = pare_part_f32(linear->parts[SCALES], g * rows + first + r);
        }
}

static pare_status describe(const pare_checkpoint *checkpoint, pare_linear *linear)
{
    const pare_tensor **parts = linear->parts;
    pare_status status;
    PARE_TRY(pare_linear_check_main(linear, PARE_TYPE_I32));
    PARE_TRY(pare_linear_part(checkpoint, linear, ".scales", true, &parts[SCALES]));
    PARE_TRY(pare_linear_part(checkpoint, linear, ".qzeros", true, &parts[ZEROS]));
    PARE_TRY(pare_linear_part(checkpoint, linear, ".g_idx", false, &parts[INDEX]));
    linear->bits = (int)checkpoint->bits;
    linear->rows = linear->main->shape[1];
    linear->columns = linear->main->shape[0] * 32 / linear->bits;
    if (linear->columns * linear->bits != linear->main->shape[0] * 32)
        return pare_linear_fail(linear, "has %lld rows, which are no whole %d-bit codes",
                                (long long)linear->main->shape[0], linear->bits);
    linear->zero_added = checkpoint->zero_added;
    pare_linear_set_groups(linear, checkpoint->group_size);
    PARE_TRY(pare_part_check(parts[SCALES], PARE_TYPE_COUNT, linear->groups, linear->rows));
    PARE_TRY(pare_part_check(parts[ZEROS], PARE_TYPE_I32, linear->groups,
                             (linear->rows * linear->bits + 31) / 32));
    if (parts[INDEX])
        PARE_TRY(pare_linear_set_index(linear, parts[INDEX]));
    linear->read = read;
fail:
    return status;
}

static const struct pare_checkpoint_main mains[] = {{".qweight", NULL}, {NULL, NULL}};
static const char *const parts[] = {".qzeros", ".scales", ".g_idx", NULL};
static const char *const ignored[] = {NULL};

const pare_checkpoint_library pare_checkpoint_gptq = {"gptq",  mains,     parts,
                                                      ignored, configure, describe};
