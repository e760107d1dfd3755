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

/* Element 2i is the low nibble of byte i. `head` bytes of scale (and zero point) stand before the
 * nibbles. */
static void put_group(uint8_t *row, int64_t column, int code, int64_t group, int64_t head)
{
    int64_t i = column % group;
    set_bits(&row[column / group * (head + group / 2) + head + i / 2], i % 2 ? 4 : 0, 15, code);
}

#define GROUP(size)                                                                                \
    static void put_i4_g##size(uint8_t *row, int64_t n, int64_t column, int code)                  \
    {                                                                                              \
        put_group(row, column, code, size, 2);                                                     \
    }                                                                                              \
    static void put_i4_g##size##_asym(uint8_t *row, int64_t n, int64_t column, int code)           \
    {                                                                                              \
        put_group(row, column, code, size, 3);                                                     \
    }
GROUP(32)
GROUP(64)
GROUP(128)

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
    };
    return type < PARE_TYPE_COUNT && grids[type].put ? &grids[type] : NULL;
}

void pare_grid_table(const pare_grid *grid, pare_type type, uint8_t *row, int64_t n, float *table,
                     float *scratch)
{
    pare_decode_row decode = pare_type_get_traits(type)->decode;
    int64_t group = grid->group ? grid->group : n, groups = pare_grid_groups(grid, n);
    for (int code = 0; code < grid->levels; code++) {
        /* All columns of a block format share bytes, so every code is put; the first column of a
         * group then speaks for it. */
        for (int64_t column = 0; column < n; column++)
            grid->put(row, n, column, code);
        decode(row, scratch, n);
        for (int64_t g = 0; g < groups; g++)
            table[g * grid->levels + code] = scratch[g * group];
    }
}
