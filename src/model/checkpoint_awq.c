/* AutoAWQ's GEMM layout: a layer of [out, in] weights is
 *     qweight i32 [in, out / 8]      4-bit codes of 8 rows in a word, in the order 0 2 4 6 1 3 5 7
 *     qzeros  i32 [groups, out / 8]  zero points in the same order
 *     scales  f16 [groups, out]
 * Source: AutoAWQ, modules/linear/gemm.py and utils/packing_utils.py. */
#include "base/fail.h"
#include "model/checkpoint.h"

#include <strings.h>

static pare_status configure(pare_checkpoint *checkpoint)
{
    const char *version = "gemm";
    pare_status status;
    checkpoint->bits = 4;
    checkpoint->group_size = 128;
    PARE_TRY(pare_json_i64(checkpoint->options, "bits", checkpoint->config, &checkpoint->bits));
    PARE_TRY(pare_json_i64(checkpoint->options, "w_bit", checkpoint->config, &checkpoint->bits));
    PARE_TRY(pare_checkpoint_read_group_size(checkpoint, "group_size"));
    PARE_TRY(pare_checkpoint_read_group_size(checkpoint, "q_group_size"));
    PARE_TRY(pare_json_string(checkpoint->options, "version", checkpoint->config, &version));
    if (strcasecmp(version, "gemm") != 0)
        return pare_checkpoint_refuse(checkpoint, "version", version);
    if (checkpoint->bits != 4)
        return pare_fail(PARE_UNSUPPORTED, "%s: 'bits' is %lld, 4 are handled", checkpoint->config,
                         (long long)checkpoint->bits);
fail:
    return status;
}

enum { SCALES, ZEROS };

/* The nibble of row r (0..7) of a word. */
static uint32_t nibble(const uint32_t *words, int64_t row)
{
    static const uint8_t shifts[8] = {0, 16, 4, 20, 8, 24, 12, 28};
    return words[row / 8] >> shifts[row % 8] & 15;
}

static void read(const pare_linear *linear, int64_t first, int64_t count, uint8_t *codes,
                 float *scales, int32_t *zeros)
{
    const uint32_t *words = linear->main->data, *packed = linear->parts[ZEROS]->data;
    const int64_t rows = linear->rows, columns = linear->columns, groups = linear->groups;
    for (int64_t c = 0; codes && c < columns; c++)
        for (int64_t r = 0; r < count; r++)
            codes[r * columns + c] = (uint8_t)nibble(words + c * (rows / 8), first + r);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < count; r++) {
            zeros[r * groups + g] = (int32_t)nibble(packed + g * (rows / 8), first + r);
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
    linear->bits = 4;
    linear->rows = linear->main->shape[1] * 8;
    linear->columns = linear->main->shape[0];
    pare_linear_set_groups(linear, checkpoint->group_size);
    PARE_TRY(pare_part_check(parts[SCALES], PARE_TYPE_COUNT, linear->groups, linear->rows));
    PARE_TRY(pare_part_check(parts[ZEROS], PARE_TYPE_I32, linear->groups, linear->main->shape[1]));
    linear->read = read;
fail:
    return status;
}

static const struct pare_checkpoint_main mains[] = {{".qweight", NULL}, {NULL, NULL}};
static const char *const parts[] = {".qzeros", ".scales", NULL};
static const char *const ignored[] = {NULL};

const pare_checkpoint_library pare_checkpoint_awq = {"awq",   mains,     parts,
                                                     ignored, configure, describe};
