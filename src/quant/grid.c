#include "quant/grid.h"

#include "quant/types.h"

#include <string.h>

static void set_bits(uint8_t *byte, int shift, int mask, int value)
{
    *byte = (uint8_t)((*byte & ~(mask << shift)) | (value & mask) << shift);
}

/* ---- blocks of 32: element i < 16 is the low nibble of byte i, the others the high ones ---- */

static void put_nibble(uint8_t *q, int64_t i, int code)
{
    set_bits(&q[i % 16], i < 16 ? 0 : 4, 15, code);
}

static void put_q4_0(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_nibble(((pare_block_q4_0 *)row)[column / 32].q, column % 32, code);
}

static void put_q4_1(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_nibble(((pare_block_q4_1 *)row)[column / 32].q, column % 32, code);
}

static void put_q5_0(uint8_t *row, int64_t n, int64_t column, int code)
{
    pare_block_q5_0 *block = &((pare_block_q5_0 *)row)[column / 32];
    int64_t i = column % 32;
    put_nibble(block->q, i, code);
    set_bits(&block->high[i / 8], (int)(i % 8), 1, code >> 4);
}

static void put_q5_1(uint8_t *row, int64_t n, int64_t column, int code)
{
    pare_block_q5_1 *block = &((pare_block_q5_1 *)row)[column / 32];
    int64_t i = column % 32;
    put_nibble(block->q, i, code);
    set_bits(&block->high[i / 8], (int)(i % 8), 1, code >> 4);
}

static void put_q8_0(uint8_t *row, int64_t n, int64_t column, int code)
{
    ((pare_block_q8_0 *)row)[column / 32].q[column % 32] = (int8_t)(code - 127);
}

static void put_iq4_nl(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_nibble(((pare_block_iq4_nl *)row)[column / 32].q, column % 32, code);
}

/* ---- super-blocks of 256 ---- */

static void put_iq4_xs(uint8_t *row, int64_t n, int64_t column, int code)
{
    int64_t i = column % 256;
    put_nibble(((pare_block_iq4_xs *)row)[column / 256].q + i / 32 * 16, i % 32, code);
}

/* Runs of 64: the first 32 elements are low nibbles of 32 bytes, the next 32 their high ones. */
static void put_nibble_64(uint8_t *q, int64_t i, int code)
{
    set_bits(&q[i / 64 * 32 + i % 32], i % 64 < 32 ? 0 : 4, 15, code);
}

static void put_q4_k(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_nibble_64(((pare_block_q4_k *)row)[column / 256].q, column % 256, code);
}

static void put_q5_k(uint8_t *row, int64_t n, int64_t column, int code)
{
    pare_block_q5_k *block = &((pare_block_q5_k *)row)[column / 256];
    int64_t i = column % 256;
    put_nibble_64(block->q, i, code);
    set_bits(&block->high[i % 32], (int)(i / 32), 1, code >> 4);
}

/* Halves of 128: quarter k of 32 elements has bits 2k, 2k+1 of 32 bytes. */
static void put_two_bits(uint8_t *q, int64_t i, int code)
{
    set_bits(&q[i / 128 * 32 + i % 32], (int)(i % 128 / 32 * 2), 3, code);
}

static void put_q2_k(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_two_bits(((pare_block_q2_k *)row)[column / 256].q, column % 256, code);
}

static void put_q3_k(uint8_t *row, int64_t n, int64_t column, int code)
{
    pare_block_q3_k *block = &((pare_block_q3_k *)row)[column / 256];
    int64_t i = column % 256;
    put_two_bits(block->q, i, code);
    set_bits(&block->high[i % 32], (int)(i / 32), 1, code >> 2);
}

static void put_q6_k(uint8_t *row, int64_t n, int64_t column, int code)
{
    pare_block_q6_k *block = &((pare_block_q6_k *)row)[column / 256];
    int64_t i = column % 256, half = i / 128, quarter = i % 128 / 32;
    set_bits(&block->low[half * 64 + quarter % 2 * 32 + i % 32], quarter < 2 ? 0 : 4, 15, code);
    put_two_bits(block->high, i, code >> 4);
}

/* ---- ours ---- */

static void put_i8_ch(uint8_t *row, int64_t n, int64_t column, int code)
{
    row[column] = (uint8_t)(int8_t)(code - 127);
}

/* Groups of ours: `head` bytes of scale (and zero point), then the codes (format_groups.c). */
static void put_group(uint8_t *row, int64_t column, int code, int bits, int64_t group, int64_t head)
{
    int64_t i = column % group;
    uint8_t *q = row + column / group * (head + group * bits / 8) + head;
    if (bits == 4)
        set_bits(&q[i / 2], i % 2 ? 4 : 0, 15, code);
    else
        set_bits(&q[i / 4], (int)(i % 4 * 2), 3, code);
    if (bits == 3)
        set_bits(&q[group / 4 + i / 8], (int)(i % 8), 1, code >> 2);
}

#define GROUP(bits, size)                                                                          \
    static void put_i##bits##_g##size(uint8_t *row, int64_t n, int64_t column, int code)           \
    {                                                                                              \
        put_group(row, column, code, bits, size, 2);                                               \
    }                                                                                              \
    static void put_i##bits##_g##size##_asym(uint8_t *row, int64_t n, int64_t column, int code)    \
    {                                                                                              \
        put_group(row, column, code, bits, size, 3);                                               \
    }
#define GROUPS(bits) GROUP(bits, 32) GROUP(bits, 64) GROUP(bits, 128)
GROUPS(4)
GROUPS(3)
GROUPS(2)

/* Codes are counted by rising value; what is stored need not be. */
static void put_nf4(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_group(row, column, code, 4, 64, sizeof(float));
}

static void put_nf4_dq(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_group(row, column, code, 4, 64, 1);
}

static const uint8_t fp4_codes[15] = {11, 10, 13, 12, 15, 14, 9, 0, 1, 6, 7, 4, 5, 2, 3};
static const uint8_t e2m1_codes[15] = {15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7};

static void put_fp4(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_nf4(row, n, column, fp4_codes[code]);
}

static void put_fp4_dq(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_nf4_dq(row, n, column, fp4_codes[code]);
}

static void put_mxfp4(uint8_t *row, int64_t n, int64_t column, int code)
{
    put_nibble(((pare_block_mxfp4 *)row)[column / 32].q, column % 32, e2m1_codes[code]);
}

static void put_nvfp4(uint8_t *row, int64_t n, int64_t column, int code)
{
    int64_t i = column % 64;
    uint8_t *q = ((pare_block_nvfp4 *)row)[column / 64].q + i / 16 * 8;
    set_bits(&q[i % 8], i % 16 < 8 ? 0 : 4, 15, e2m1_codes[code]);
}

/* Sign and magnitude: E4M3 has 127 magnitudes, E5M2 (without infinity) 124. */
static void put_f8_e4m3(uint8_t *row, int64_t n, int64_t column, int code)
{
    row[column] = (uint8_t)(code < 126 ? 0x80 | (126 - code) : code - 126);
}

static void put_f8_e5m2(uint8_t *row, int64_t n, int64_t column, int code)
{
    row[column] = (uint8_t)(code < 123 ? 0x80 | (123 - code) : code - 123);
}

const pare_grid *pare_type_grid(pare_type type)
{
    static const pare_grid grids[PARE_TYPE_COUNT] = {
        [PARE_TYPE_Q4_0] = {32, 16, put_q4_0},
        [PARE_TYPE_Q4_1] = {32, 16, put_q4_1},
        [PARE_TYPE_Q5_0] = {32, 32, put_q5_0},
        [PARE_TYPE_Q5_1] = {32, 32, put_q5_1},
        [PARE_TYPE_Q8_0] = {32, 255, put_q8_0},
        [PARE_TYPE_IQ4_NL] = {32, 16, put_iq4_nl},
        [PARE_TYPE_IQ4_XS] = {32, 16, put_iq4_xs},
        [PARE_TYPE_Q2_K] = {16, 4, put_q2_k},
        [PARE_TYPE_Q3_K] = {16, 8, put_q3_k},
        [PARE_TYPE_Q4_K] = {32, 16, put_q4_k},
        [PARE_TYPE_Q5_K] = {32, 32, put_q5_k},
        [PARE_TYPE_Q6_K] = {16, 64, put_q6_k},
        [PARE_TYPE_I8_CH] = {0, 255, put_i8_ch},
        [PARE_TYPE_I4_G32] = {32, 16, put_i4_g32},
        [PARE_TYPE_I4_G64] = {64, 16, put_i4_g64},
        [PARE_TYPE_I4_G128] = {128, 16, put_i4_g128},
        [PARE_TYPE_I4_G32_ASYM] = {32, 16, put_i4_g32_asym},
        [PARE_TYPE_I4_G64_ASYM] = {64, 16, put_i4_g64_asym},
        [PARE_TYPE_I4_G128_ASYM] = {128, 16, put_i4_g128_asym},
        [PARE_TYPE_I3_G32] = {32, 8, put_i3_g32},
        [PARE_TYPE_I3_G64] = {64, 8, put_i3_g64},
        [PARE_TYPE_I3_G128] = {128, 8, put_i3_g128},
        [PARE_TYPE_I3_G32_ASYM] = {32, 8, put_i3_g32_asym},
        [PARE_TYPE_I3_G64_ASYM] = {64, 8, put_i3_g64_asym},
        [PARE_TYPE_I3_G128_ASYM] = {128, 8, put_i3_g128_asym},
        [PARE_TYPE_I2_G32] = {32, 4, put_i2_g32},
        [PARE_TYPE_I2_G64] = {64, 4, put_i2_g64},
        [PARE_TYPE_I2_G128] = {128, 4, put_i2_g128},
        [PARE_TYPE_I2_G32_ASYM] = {32, 4, put_i2_g32_asym},
        [PARE_TYPE_I2_G64_ASYM] = {64, 4, put_i2_g64_asym},
        [PARE_TYPE_I2_G128_ASYM] = {128, 4, put_i2_g128_asym},
        [PARE_TYPE_NF4] = {64, 16, put_nf4},
        [PARE_TYPE_FP4] = {64, 15, put_fp4},
        [PARE_TYPE_NF4_DQ] = {64, 16, put_nf4_dq},
        [PARE_TYPE_FP4_DQ] = {64, 15, put_fp4_dq},
        [PARE_TYPE_MXFP4] = {32, 15, put_mxfp4},
        [PARE_TYPE_NVFP4] = {16, 15, put_nvfp4},
        [PARE_TYPE_NVFP4_CH] = {16, 15, put_nvfp4},
        [PARE_TYPE_F8_E4M3_CH] = {0, 253, put_f8_e4m3},
        [PARE_TYPE_F8_E5M2_CH] = {0, 247, put_f8_e5m2},
    };
    return type < PARE_TYPE_COUNT && grids[type].put ? &grids[type] : NULL;
}

/* Columns of a group share a table: as many codes as it has columns are put and decoded at once. */
void pare_grid_table(const pare_grid *grid, pare_type type, uint8_t *row, int64_t n, float *table,
                     float *scratch)
{
    pare_decode_row decode = pare_type_get_traits(type)->decode;
    const int64_t group = grid->group ? grid->group : n, groups = pare_grid_groups(grid, n);
    for (int64_t first = 0; first < grid->levels; first += group) {
        const int64_t last = first + group < grid->levels ? first + group : grid->levels;
        for (int64_t column = 0; column < n; column++) {
            int64_t code = first + column % group;
            grid->put(row, n, column, (int)(code < last ? code : first));
        }
        decode(row, scratch, n);
        for (int64_t g = 0; g < groups; g++)
            memcpy(table + g * grid->levels + first, scratch + g * group,
                   (size_t)(last - first) * sizeof *table);
    }
}
