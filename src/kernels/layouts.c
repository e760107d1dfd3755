#include "kernels/layouts.h"

#include "base/half.h"
#include "quant/types.h"

#include <assert.h>
#include <string.h>

/* ---- codes of 32 columns to their places; `to` is the first row's word ---- */

static uint32_t quad(const uint8_t *codes, int q)
{
    uint32_t word;
    memcpy(&word, codes + 4 * q, 4);
    return word;
}

static void put_word(uint8_t *to, int word, int row, uint32_t value)
{
    memcpy(to + (word * PARE_PANEL + row) * 4, &value, 4);
}

static void put_bytes(uint8_t *to, int row, const uint8_t codes[PARE_SUB])
{
    for (int q = 0; q < 8; q++)
        put_word(to, q, row, quad(codes, q));
}

static void put_nibbles(uint8_t *to, int row, const uint8_t codes[PARE_SUB])
{
    for (int j = 0; j < 4; j++)
        put_word(to, j, row,
                 (quad(codes, 2 * j) & 0x0f0f0f0f) | (quad(codes, 2 * j + 1) & 0x0f0f0f0f) << 4);
}

/* Bits shift and shift + 1 of each code. */
static void put_pairs(uint8_t *to, int row, const uint8_t codes[PARE_SUB], int shift)
{
    for (int j = 0; j < 2; j++) {
        uint32_t word = 0;
        for (int k = 0; k < 4; k++)
            word |= (quad(codes, 4 * j + k) >> shift & 0x03030303) << 2 * k;
        put_word(to, j, row, word);
    }
}

static void put_bits(uint8_t *to, int row, const uint8_t codes[PARE_SUB], int shift)
{
    uint32_t word = 0;
    for (int q = 0; q < 8; q++)
        word |= (quad(codes, q) >> shift & 0x01010101) << q;
    put_word(to, 0, row, word);
}

static void put_half(uint8_t *to, int row, uint16_t value)
{
    memcpy(to + row * 2, &value, 2);
}

/* ---- codes as the file has them to one byte each ---- */

/* Low nibbles are elements 0..15, high ones 16..31 (ggml). */
static void split_halves(uint8_t codes[PARE_SUB], const uint8_t *q)
{
    for (int i = 0; i < 16; i++) {
        codes[i] = q[i] & 15;
        codes[i + 16] = q[i] >> 4;
    }
}

/* Low nibbles are even elements (ours). */
static void split_pairs(uint8_t codes[PARE_SUB], const uint8_t *q)
{
    for (int i = 0; i < 16; i++) {
        codes[2 * i] = q[i] & 15;
        codes[2 * i + 1] = q[i] >> 4;
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

#define SUB(layout, s) (block + pare_layouts[layout].meta + (s)*pare_layouts[layout].sub)

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

static void pack_pairs(uint8_t *block, int row, const uint8_t *q, int meta, int subs)
{
    for (int s = 0; s < subs; s++) {
        uint8_t codes[PARE_SUB];
        split_pairs(codes, q + 16 * s);
        put_nibbles(block + meta + 512 * s, row, codes);
    }
}

static void pack_i4(uint8_t *block, int row, const uint8_t *from, int subs)
{
    memcpy(block + 2 * row, from, 2);
    pack_pairs(block, row, from + 2, 64, subs);
}

static void pack_nf4(uint8_t *block, int row, const uint8_t *from, int subs)
{
    memcpy(block + 4 * row, from, 4);
    pack_pairs(block, row, from + 4, 128, subs);
}

/* Two groups of `group` subs; the second may be missing. */
static void pack_asym(uint8_t *block, int row, const uint8_t *from, int subs, int group)
{
    for (int g = 0; g * group < subs; g++, from += 3 + 16 * group) {
        memcpy(block + 64 * g + 2 * row, from, 2);
        block[128 + 32 * g + row] = from[2];
        pack_pairs(block, row, from + 3, 192 + 512 * group * g, group);
    }
}

static void pack_g32_asym(uint8_t *block, int row, const uint8_t *from, int subs)
{
    pack_asym(block, row, from, subs, 1);
}

static void pack_g64_asym(uint8_t *block, int row, const uint8_t *from, int subs)
{
    pack_asym(block, row, from, subs, 2);
}

static void pack_g128_asym(uint8_t *block, int row, const uint8_t *from, int subs)
{
    pack_asym(block, row, from, subs, 4);
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

static void pack_row_i8_ch(uint8_t *panel, int row, const uint8_t *from, int64_t columns)
{
    memcpy(panel + 4 * row, from + columns, 4);
    uint8_t *sub = panel + pare_layouts[PARE_LAYOUT_I8_CH].header;
    for (int64_t c = 0; c < columns; c += PARE_SUB, sub += 1024) {
        uint8_t codes[PARE_SUB];
        for (int i = 0; i < PARE_SUB; i++)
            codes[i] = (uint8_t)(c + i < columns ? from[c + i] ^ 0x80 : 0x80);
        put_bytes(sub, row, codes);
    }
}

/* ---- the table ---- */

static const struct {
    pare_layout layout;
    void (*pack_block)(uint8_t *block, int row, const uint8_t *from, int subs);
    void (*pack_row)(uint8_t *panel, int row, const uint8_t *from, int64_t columns);
} packers[PARE_TYPE_COUNT] = {
    [PARE_TYPE_F32] = {PARE_LAYOUT_F32, NULL, pack_row_f32},
    [PARE_TYPE_F16] = {PARE_LAYOUT_F16, NULL, pack_row_f16},
    [PARE_TYPE_BF16] = {PARE_LAYOUT_BF16, NULL, pack_row_bf16},
    [PARE_TYPE_I8_CH] = {PARE_LAYOUT_I8_CH, NULL, pack_row_i8_ch},
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
    [PARE_TYPE_I4_G32] = {PARE_LAYOUT_Q4_0, pack_i4, NULL},
    [PARE_TYPE_I4_G64] = {PARE_LAYOUT_I4_G64, pack_i4, NULL},
    [PARE_TYPE_I4_G128] = {PARE_LAYOUT_I4_G128, pack_i4, NULL},
    [PARE_TYPE_I4_G32_ASYM] = {PARE_LAYOUT_I4_G32_ASYM, pack_g32_asym, NULL},
    [PARE_TYPE_I4_G64_ASYM] = {PARE_LAYOUT_I4_G64_ASYM, pack_g64_asym, NULL},
    [PARE_TYPE_I4_G128_ASYM] = {PARE_LAYOUT_I4_G128_ASYM, pack_g128_asym, NULL},
    [PARE_TYPE_NF4] = {PARE_LAYOUT_NF4, pack_nf4, NULL},
    [PARE_TYPE_FP4] = {PARE_LAYOUT_FP4, pack_nf4, NULL},
};

pare_layout pare_layout_of(pare_type type)
{
    bool has = type < PARE_TYPE_COUNT && (packers[type].pack_block || packers[type].pack_row);
    return has ? packers[type].layout : PARE_LAYOUT_COUNT;
}

/* A block of two asymmetric groups holds twice the columns of the stored one. */
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
