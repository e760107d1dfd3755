#include "kernels/layouts_pack.h"

#include "quant/types.h"

#include <assert.h>
#include <string.h>

/* ---- codes as the file has them to one byte each ---- */

/* Low nibbles are elements 0..15, high ones 16..31 (ggml). */
static void split_halves(uint8_t codes[PARE_SUB], const uint8_t *q)
{
    for (int i = 0; i < 16; i++) {
        codes[i] = q[i] & 15;
        codes[i + 16] = q[i] >> 4;
    }
}

/* Bit i of `high` becomes bit 4 of code i: eight bits at a time are spread over the bytes of a
 * word, each byte keeping its own bit, which the addition carries to the byte's top. */
static void add_fifth_bits(uint8_t codes[PARE_SUB], const uint8_t high[4])
{
    for (int i = 0; i < 4; i++) {
        uint64_t word, bits = high[i] * 0x0101010101010101u & 0x8040201008040201u;
        bits = (bits + 0x7f7f7f7f7f7f7f7fu) | bits;
        memcpy(&word, codes + 8 * i, 8);
        word |= bits >> 3 & 0x1010101010101010u;
        memcpy(codes + 8 * i, &word, 8);
    }
}

/* ---- one row of a block: `block` is the block's start, `from` the stored block, `subs` how many
 * of its subs exist ---- */

static void pack_q4_0(uint8_t *block, int row, const uint8_t *from, int subs)
{
    uint8_t codes[PARE_SUB];
    memcpy(block + 2 * row, from, 2);
    split_halves(codes, from + 2);
    put_nibbles(SUB(PARE_LAYOUT_Q4_0, 0), row, codes);
}

static void pack_q4_1(uint8_t *block, int row, const uint8_t *from, int subs)
{
    uint8_t codes[PARE_SUB];
    memcpy(block + 2 * row, from, 2);
    memcpy(block + 64 + 2 * row, from + 2, 2);
    split_halves(codes, from + 4);
    put_nibbles(SUB(PARE_LAYOUT_Q4_1, 0), row, codes);
}

static void pack_fives(uint8_t *sub, int row, const uint8_t codes[PARE_SUB])
{
    put_bits(sub, row, codes, 4);
    put_nibbles(sub + 128, row, codes);
}

static void pack_q5_0(uint8_t *block, int row, const uint8_t *from, int subs)
{
    uint8_t codes[PARE_SUB];
    memcpy(block + 2 * row, from, 2);
    split_halves(codes, from + 6);
    add_fifth_bits(codes, from + 2);
    pack_fives(SUB(PARE_LAYOUT_Q5_0, 0), row, codes);
}

static void pack_q5_1(uint8_t *block, int row, const uint8_t *from, int subs)
{
    uint8_t codes[PARE_SUB];
    memcpy(block + 2 * row, from, 2);
    memcpy(block + 64 + 2 * row, from + 2, 2);
    split_halves(codes, from + 8);
    add_fifth_bits(codes, from + 4);
    pack_fives(SUB(PARE_LAYOUT_Q5_1, 0), row, codes);
}

static void pack_q8_0(uint8_t *block, int row, const uint8_t *from, int subs)
{
    uint8_t codes[PARE_SUB];
    memcpy(block + 2 * row, from, 2);
    for (int i = 0; i < PARE_SUB; i++)
        codes[i] = from[2 + i] ^ 0x80;
    put_bytes(SUB(PARE_LAYOUT_Q8_0, 0), row, codes);
}

static void put_words(uint8_t *to, int row, const uint8_t *words, int count)
{
    for (int i = 0; i < count; i++)
        memcpy(to + (i * PARE_PANEL + row) * 4, words + 4 * i, 4);
}

static void pack_q4_k(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_q4_k *b = (const void *)from;
    put_half(block, row, b->d);
    put_half(block + 64, row, b->dmin);
    put_words(block + 128, row, b->scales, 3);
    for (int s = 0; s < subs; s++) {
        uint8_t codes[PARE_SUB];
        for (int i = 0; i < PARE_SUB; i++)
            codes[i] = b->q[s / 2 * 32 + i] >> s % 2 * 4 & 15;
        put_nibbles(SUB(PARE_LAYOUT_Q4_K, s), row, codes);
    }
}

static void pack_q5_k(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_q5_k *b = (const void *)from;
    put_half(block, row, b->d);
    put_half(block + 64, row, b->dmin);
    put_words(block + 128, row, b->scales, 3);
    for (int s = 0; s < subs; s++) {
        uint8_t codes[PARE_SUB];
        for (int i = 0; i < PARE_SUB; i++)
            codes[i] =
                (uint8_t)((b->q[s / 2 * 32 + i] >> s % 2 * 4 & 15) | (b->high[i] >> s & 1) << 4);
        pack_fives(SUB(PARE_LAYOUT_Q5_K, s), row, codes);
    }
}

static void pack_q6_k(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_q6_k *b = (const void *)from;
    put_half(block, row, b->d);
    for (int g = 0; g < 16; g++)
        block[64 + g * PARE_PANEL + row] = (uint8_t)b->scales[g];
    for (int s = 0; s < subs; s++) {
        uint8_t codes[PARE_SUB], *sub = SUB(PARE_LAYOUT_Q6_K, s);
        const uint8_t *low = b->low + s / 4 * 64 + s % 2 * 32, *high = b->high + s / 4 * 32;
        for (int i = 0; i < PARE_SUB; i++)
            codes[i] = (uint8_t)((low[i] >> s % 4 / 2 * 4 & 15) | (high[i] >> s % 4 * 2 & 3) << 4);
        put_pairs(sub, row, codes, 4);
        put_nibbles(sub + 256, row, codes);
    }
}

static void pack_q3_k(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_q3_k *b = (const void *)from;
    put_half(block, row, b->d);
    put_words(block + 64, row, b->scales, 3);
    for (int s = 0; s < subs; s++) {
        uint8_t codes[PARE_SUB], *sub = SUB(PARE_LAYOUT_Q3_K, s);
        for (int i = 0; i < PARE_SUB; i++)
            codes[i] =
                (uint8_t)((b->q[s / 4 * 32 + i] >> s % 4 * 2 & 3) | (b->high[i] >> s & 1) << 2);
        put_pairs(sub, row, codes, 0);
        put_bits(sub + 256, row, codes, 2);
    }
}

static void pack_q2_k(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_q2_k *b = (const void *)from;
    put_half(block, row, b->d);
    put_half(block + 64, row, b->dmin);
    for (int g = 0; g < 16; g++)
        block[128 + g * PARE_PANEL + row] = b->scales[g];
    for (int s = 0; s < subs; s++) {
        uint8_t codes[PARE_SUB];
        for (int i = 0; i < PARE_SUB; i++)
            codes[i] = b->q[s / 4 * 32 + i] >> s % 4 * 2 & 3;
        put_pairs(SUB(PARE_LAYOUT_Q2_K, s), row, codes, 0);
    }
}

static void pack_iq4_xs(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_iq4_xs *b = (const void *)from;
    put_half(block, row, b->d);
    put_half(block + 64, row, b->scales_high);
    put_words(block + 128, row, b->scales_low, 1);
    for (int s = 0; s < subs; s++) {
        uint8_t codes[PARE_SUB];
        split_halves(codes, b->q + 16 * s);
        put_nibbles(SUB(PARE_LAYOUT_IQ4_XS, s), row, codes);
    }
}

/* ---- formats without blocks: `columns` may end within a sub, the rest is value zero ---- */

static void pack_row_f32(uint8_t *panel, int row, const uint8_t *from, int64_t columns)
{
    for (int64_t c = 0; c < columns; c++)
        memcpy(panel + (c * PARE_PANEL + row) * 4, from + 4 * c, 4);
}

static void pack_row_f16(uint8_t *panel, int row, const uint8_t *from, int64_t columns)
{
    for (int64_t c = 0; c < columns; c++)
        memcpy(panel + (c * PARE_PANEL + row) * 2, from + 2 * c, 2);
}

static void pack_row_bf16(uint8_t *panel, int row, const uint8_t *from, int64_t columns)
{
    for (int64_t c = 0; c + 1 < columns; c += 2)
        memcpy(panel + (c / 2 * PARE_PANEL + row) * 4, from + 2 * c, 4);
    if (columns % 2)
        memcpy(panel + (columns / 2 * PARE_PANEL + row) * 4, from + 2 * (columns - 1), 2);
}

/* ---- the table ---- */

static const struct {
    pare_layout layout;
    pare_pack_block *pack_block;
    pare_pack_row *pack_row;
} packers[PARE_TYPE_COUNT] = {
    [PARE_TYPE_F32] = {PARE_LAYOUT_F32, NULL, pack_row_f32},
    [PARE_TYPE_F16] = {PARE_LAYOUT_F16, NULL, pack_row_f16},
    [PARE_TYPE_BF16] = {PARE_LAYOUT_BF16, NULL, pack_row_bf16},
    [PARE_TYPE_I8_CH] = {PARE_LAYOUT_I8_CH, NULL, pare_pack_bytes_row},
    [PARE_TYPE_Q8_0] = {PARE_LAYOUT_Q8_0, pack_q8_0, NULL},
    [PARE_TYPE_Q4_0] = {PARE_LAYOUT_Q4_0, pack_q4_0, NULL},
    [PARE_TYPE_Q4_1] = {PARE_LAYOUT_Q4_1, pack_q4_1, NULL},
    [PARE_TYPE_Q5_0] = {PARE_LAYOUT_Q5_0, pack_q5_0, NULL},
    [PARE_TYPE_Q5_1] = {PARE_LAYOUT_Q5_1, pack_q5_1, NULL},
    [PARE_TYPE_Q2_K] = {PARE_LAYOUT_Q2_K, pack_q2_k, NULL},
    [PARE_TYPE_Q3_K] = {PARE_LAYOUT_Q3_K, pack_q3_k, NULL},
    [PARE_TYPE_Q4_K] = {PARE_LAYOUT_Q4_K, pack_q4_k, NULL},
    [PARE_TYPE_Q5_K] = {PARE_LAYOUT_Q5_K, pack_q5_k, NULL},
    [PARE_TYPE_Q6_K] = {PARE_LAYOUT_Q6_K, pack_q6_k, NULL},
    [PARE_TYPE_IQ4_NL] = {PARE_LAYOUT_IQ4_NL, pack_q4_0, NULL},
    [PARE_TYPE_IQ4_XS] = {PARE_LAYOUT_IQ4_XS, pack_iq4_xs, NULL},
    [PARE_TYPE_I4_G32] = {PARE_LAYOUT_Q4_0, pare_pack_i4, NULL},
    [PARE_TYPE_I4_G64] = {PARE_LAYOUT_I4_G64, pare_pack_i4, NULL},
    [PARE_TYPE_I4_G128] = {PARE_LAYOUT_I4_G128, pare_pack_i4, NULL},
    [PARE_TYPE_I4_G32_ASYM] = {PARE_LAYOUT_I4_G32_ASYM, pare_pack_i4_g32_asym, NULL},
    [PARE_TYPE_I4_G64_ASYM] = {PARE_LAYOUT_I4_G64_ASYM, pare_pack_i4_g64_asym, NULL},
    [PARE_TYPE_I4_G128_ASYM] = {PARE_LAYOUT_I4_G128_ASYM, pare_pack_i4_g128_asym, NULL},
    [PARE_TYPE_NF4] = {PARE_LAYOUT_NF4, pare_pack_nf4, NULL},
    [PARE_TYPE_FP4] = {PARE_LAYOUT_FP4, pare_pack_nf4, NULL},
    [PARE_TYPE_I8_TENSOR] = {PARE_LAYOUT_I8_CH, NULL, pare_pack_bytes_row},
    [PARE_TYPE_I3_G32] = {PARE_LAYOUT_I3_G32, pare_pack_i3, NULL},
    [PARE_TYPE_I3_G64] = {PARE_LAYOUT_I3_G64, pare_pack_i3, NULL},
    [PARE_TYPE_I3_G128] = {PARE_LAYOUT_I3_G128, pare_pack_i3, NULL},
    [PARE_TYPE_I3_G32_ASYM] = {PARE_LAYOUT_I3_G32_ASYM, pare_pack_i3_g32_asym, NULL},
    [PARE_TYPE_I3_G64_ASYM] = {PARE_LAYOUT_I3_G64_ASYM, pare_pack_i3_g64_asym, NULL},
    [PARE_TYPE_I3_G128_ASYM] = {PARE_LAYOUT_I3_G128_ASYM, pare_pack_i3_g128_asym, NULL},
    [PARE_TYPE_I2_G32] = {PARE_LAYOUT_I2_G32, pare_pack_i2, NULL},
    [PARE_TYPE_I2_G64] = {PARE_LAYOUT_I2_G64, pare_pack_i2, NULL},
    [PARE_TYPE_I2_G128] = {PARE_LAYOUT_I2_G128, pare_pack_i2, NULL},
    [PARE_TYPE_I2_G32_ASYM] = {PARE_LAYOUT_I2_G32_ASYM, pare_pack_i2_g32_asym, NULL},
    [PARE_TYPE_I2_G64_ASYM] = {PARE_LAYOUT_I2_G64_ASYM, pare_pack_i2_g64_asym, NULL},
    [PARE_TYPE_I2_G128_ASYM] = {PARE_LAYOUT_I2_G128_ASYM, pare_pack_i2_g128_asym, NULL},
    [PARE_TYPE_NF4_DQ] = {PARE_LAYOUT_NF4_DQ, NULL, pare_pack_nf4_dq_row},
    [PARE_TYPE_FP4_DQ] = {PARE_LAYOUT_FP4_DQ, NULL, pare_pack_nf4_dq_row},
    [PARE_TYPE_F8_E4M3_CH] = {PARE_LAYOUT_F8_E4M3, NULL, pare_pack_f8_row},
    [PARE_TYPE_F8_E5M2_CH] = {PARE_LAYOUT_F8_E5M2, NULL, pare_pack_f8_row},
    [PARE_TYPE_MXFP4] = {PARE_LAYOUT_MXFP4, pare_pack_mxfp4, NULL},
    [PARE_TYPE_NVFP4] = {PARE_LAYOUT_NVFP4, NULL, pare_pack_nvfp4_row},
    [PARE_TYPE_NVFP4_CH] = {PARE_LAYOUT_NVFP4, NULL, pare_pack_nvfp4_ch_row},
    [PARE_TYPE_IQ3_S] = {PARE_LAYOUT_IQ3_S, pare_pack_iq3_s, NULL},
    [PARE_TYPE_IQ3_XXS] = {PARE_LAYOUT_IQ3_XXS, pare_pack_iq3_xxs, NULL},
    [PARE_TYPE_IQ2_XXS] = {PARE_LAYOUT_IQ2, pare_pack_iq2_xxs, NULL},
    [PARE_TYPE_IQ2_XS] = {PARE_LAYOUT_IQ2, pare_pack_iq2_xs, NULL},
    [PARE_TYPE_IQ2_S] = {PARE_LAYOUT_IQ2, pare_pack_iq2_s, NULL},
    [PARE_TYPE_IQ1_S] = {PARE_LAYOUT_IQ1, pare_pack_iq1_s, NULL},
    [PARE_TYPE_IQ1_M] = {PARE_LAYOUT_IQ1, pare_pack_iq1_m, NULL},
    [PARE_TYPE_TQ1_0] = {PARE_LAYOUT_I2_G128_ASYM, pare_pack_tq1_0, NULL},
    [PARE_TYPE_TQ2_0] = {PARE_LAYOUT_I2_G128_ASYM, pare_pack_tq2_0, NULL},
    [PARE_TYPE_Q1_0] = {PARE_LAYOUT_I2_G128_ASYM, pare_pack_q1_0, NULL},
    [PARE_TYPE_Q2_0] = {PARE_LAYOUT_I2_G64_ASYM, pare_pack_q2_0, NULL},
};

pare_layout pare_layout_of(pare_type type)
{
    bool has = type < PARE_TYPE_COUNT && (packers[type].pack_block || packers[type].pack_row);
    return has ? packers[type].layout : PARE_LAYOUT_COUNT;
}

/* A layout's block may hold two of the stored ones. */
static void pack_row(uint8_t *panel, int row, const uint8_t *from, pare_type type, int64_t columns)
{
    if (packers[type].pack_row) {
        packers[type].pack_row(panel, row, from, columns);
        return;
    }
    const pare_layout_traits *layout = &pare_layouts[packers[type].layout];
    size_t block_bytes = pare_layout_block_bytes(packers[type].layout);
    size_t stored_bytes = pare_type_row_bytes(type, layout->columns);
    for (int64_t c = 0; c < columns; c += layout->columns) {
        int64_t rest = columns - c < layout->columns ? columns - c : layout->columns;
        packers[type].pack_block(panel, row, from, (int)(rest / PARE_SUB));
        panel += block_bytes;
        from += stored_bytes;
    }
}

void pare_layout_pack(void *packed, const void *stored, pare_type type, int64_t rows,
                      int64_t columns, int64_t first, int64_t last)
{
    assert(pare_layout_of(type) < PARE_LAYOUT_COUNT && first % PARE_PANEL == 0);
    size_t panel_bytes = pare_layout_panel_bytes(packers[type].layout, columns);
    size_t row_bytes = pare_type_row_bytes(type, columns);
    for (int64_t p = first; p < last; p += PARE_PANEL) {
        uint8_t *panel = (uint8_t *)packed + (size_t)(p / PARE_PANEL) * panel_bytes;
        if (last - p < PARE_PANEL || columns % pare_layouts[packers[type].layout].columns)
            memset(panel, 0, panel_bytes); /* else every byte is written below */
        for (int64_t r = p; r < p + PARE_PANEL && r < last; r++)
            pack_row(panel, (int)(r - p), (const uint8_t *)stored + (size_t)r * row_bytes, type,
                     columns);
    }
}

#define X(NAME, ...)                                                                               \
    size_t pare_layout_bytes_##NAME(int64_t rows, int64_t columns)                                 \
    {                                                                                              \
        return (size_t)((rows + PARE_PANEL - 1) / PARE_PANEL) *                                    \
               pare_layout_panel_bytes(PARE_LAYOUT_##NAME, columns);                               \
    }
PARE_LAYOUT_LIST(X)
#undef X
