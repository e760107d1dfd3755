/* Packing of integer groups, of 4- and 8-bit floating-point formats, and of formats of one and two
 * bits. */
#include "kernels/layouts_pack.h"

#include "quant/types.h"

/* ---- codes as the file has them to one byte each ---- */

/* Low nibbles are even elements (ours). */
static void split_pairs(uint8_t codes[PARE_SUB], const uint8_t *q)
{
    for (int i = 0; i < 16; i++) {
        codes[2 * i] = q[i] & 15;
        codes[2 * i + 1] = q[i] >> 4;
    }
}

/* Two bits each, the first element lowest. */
static void split_quarters(uint8_t codes[PARE_SUB], const uint8_t *q)
{
    for (int i = 0; i < PARE_SUB; i++)
        codes[i] = q[i / 4] >> i % 4 * 2 & 3;
}

/* ---- integer groups ---- */

/* Sub s of a group of `subs` subs, whose codes start at q, to its place. */
static void pack_group_sub(uint8_t *to, int row, const uint8_t *q, int bits, int s, int subs)
{
    uint8_t codes[PARE_SUB];
    if (bits == 4) {
        split_pairs(codes, q + 16 * s);
        put_nibbles(to, row, codes);
        return;
    }
    split_quarters(codes, q + 8 * s);
    put_pairs(to, row, codes, 0);
    if (bits == 3) {
        const uint8_t *high = q + 8 * subs + 4 * s;
        for (int i = 0; i < PARE_SUB; i++)
            codes[i] = high[i / 8] >> i % 8 & 1;
        put_bits(to + 256, row, codes, 0);
    }
}

static void pack_groups(uint8_t *subs_at, int row, const uint8_t *q, int bits, int subs)
{
    for (int s = 0; s < subs; s++)
        pack_group_sub(subs_at + 128 * bits * s, row, q, bits, s, subs);
}

/* A group is the block. */
void pare_pack_i4(uint8_t *block, int row, const uint8_t *from, int subs)
{
    memcpy(block + 2 * row, from, 2);
    pack_groups(block + 64, row, from + 2, 4, subs);
}

void pare_pack_i3(uint8_t *block, int row, const uint8_t *from, int subs)
{
    memcpy(block + 2 * row, from, 2);
    pack_groups(block + 64, row, from + 2, 3, subs);
}

void pare_pack_i2(uint8_t *block, int row, const uint8_t *from, int subs)
{
    memcpy(block + 2 * row, from, 2);
    pack_groups(block + 64, row, from + 2, 2, subs);
}

/* Scale and zero point of group g of an asymmetric block. */
static void put_asym(uint8_t *block, int row, int g, const void *scale, uint8_t zero)
{
    memcpy(block + 64 * g + 2 * row, scale, 2);
    block[128 + 32 * g + row] = zero;
}

/* Two groups of `group` subs; the second may be missing. */
static void pack_asym(uint8_t *block, int row, const uint8_t *from, int subs, int bits, int group)
{
    for (int g = 0; g * group < subs; g++, from += 3 + 4 * bits * group) {
        put_asym(block, row, g, from, from[2]);
        pack_groups(block + 192 + 128 * bits * group * g, row, from + 3, bits, group);
    }
}

#define ASYM(bits, size)                                                                           \
    void pare_pack_i##bits##_g##size##_asym(uint8_t *block, int row, const uint8_t *from,          \
                                            int subs)                                              \
    {                                                                                              \
        pack_asym(block, row, from, subs, bits, size / PARE_SUB);                                  \
    }
ASYM(4, 32)
ASYM(4, 64)
ASYM(4, 128)
ASYM(3, 32)
ASYM(3, 64)
ASYM(3, 128)
ASYM(2, 32)
ASYM(2, 64)
ASYM(2, 128)

/* ---- one and two bits of ggml: i2_*_asym with zero point 1 ---- */

static void put_ternary(uint8_t *block, int row, const uint8_t *codes, const void *d, int group,
                        int first, int subs)
{
    for (int s = 0; s < subs; s++) {
        put_asym(block, row, (first + s) / group, d, 1);
        put_pairs(block + 192 + 256 * (first + s), row, codes + PARE_SUB * s, 0);
    }
}

void pare_pack_tq1_0(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_tq1_0 *b = (const void *)from;
    uint8_t codes[256];
    pare_unpack_tq1_0(b, codes);
    put_ternary(block, row, codes, &b->d, 4, 0, subs);
}

void pare_pack_tq2_0(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_tq2_0 *b = (const void *)from;
    uint8_t codes[256];
    for (int i = 0; i < 256; i++)
        codes[i] = b->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    put_ternary(block, row, codes, &b->d, 4, 0, subs);
}

/* Two stored blocks, of 4 subs; the second may be missing. */
void pare_pack_q1_0(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_q1_0 *b = (const void *)from;
    uint8_t codes[128];
    for (int k = 0; 4 * k < subs; k++, b++) {
        for (int i = 0; i < 128; i++)
            codes[i] = (b->q[i / 8] >> i % 8 & 1) * 2;
        put_ternary(block, row, codes, &b->d, 4, 4 * k, 4);
    }
}

/* Two stored blocks, of 2 subs; the second may be missing. */
void pare_pack_q2_0(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_q2_0 *b = (const void *)from;
    uint8_t codes[64];
    for (int k = 0; 2 * k < subs; k++, b++) {
        split_quarters(codes, b->q);
        split_quarters(codes + PARE_SUB, b->q + 8);
        put_ternary(block, row, codes, &b->d, 2, 2 * k, 2);
    }
}

/* ---- i-quants below four bits ---- */

static void pack_iq(uint8_t *block, int row, const uint8_t *from, int subs, pare_type type)
{
    const int8_t *set = pare_iq_sets[pare_iq_set_of(type)];
    pare_iq_block b;
    pare_unpack_iq(type, from, &b);
    put_half(block, row, b.d);
    for (int g = 0; g < 16; g++)
        block[64 + g * PARE_PANEL + row] = b.multipliers[g];
    for (int s = 0; s < subs; s++) {
        uint8_t codes[PARE_SUB];
        for (int i = 0; i < PARE_SUB; i++) {
            codes[i] = 0;
            while (codes[i] < 15 && set[codes[i]] != b.values[PARE_SUB * s + i])
                codes[i]++;
        }
        put_nibbles(block + 576 + 512 * s, row, codes);
    }
}

#define IQ(name, TYPE)                                                                             \
    void pare_pack_##name(uint8_t *block, int row, const uint8_t *from, int subs)                  \
    {                                                                                              \
        pack_iq(block, row, from, subs, PARE_TYPE_##TYPE);                                         \
    }
IQ(iq3_s, IQ3_S)
IQ(iq3_xxs, IQ3_XXS)
IQ(iq2_xxs, IQ2_XXS)
IQ(iq2_xs, IQ2_XS)
IQ(iq2_s, IQ2_S)
IQ(iq1_s, IQ1_S)
IQ(iq1_m, IQ1_M)

/* ---- 4-bit floating point ---- */

void pare_pack_nf4(uint8_t *block, int row, const uint8_t *from, int subs)
{
    memcpy(block + 4 * row, from, 4);
    pack_groups(block + 128, row, from + 4, 4, subs);
}

/* Two stored blocks of 64 to a packed one; the last may be missing. */
void pare_pack_nf4_dq_row(uint8_t *panel, int row, const uint8_t *from, int64_t columns)
{
    const pare_block_nf4_dq *b = (const void *)from;
    memcpy(panel + 4 * row, b + columns / 64, 4);
    memcpy(panel + 128 + 4 * row, (const uint8_t *)(b + columns / 64) + 4, 4);
    for (int64_t i = 0; i < columns / 64; i++, b++) {
        uint8_t *block = panel + 256 + i / 2 * (int64_t)pare_layout_block_bytes(PARE_LAYOUT_NF4_DQ);
        block[i % 2 * 32 + row] = b->absmax;
        pack_groups(block + 64 + i % 2 * 1024, row, b->q, 4, 2);
    }
}

/* Low nibbles are the first half of n elements. */
static void split_group(uint8_t *codes, const uint8_t *q, int n)
{
    for (int i = 0; i < n / 2; i++) {
        codes[i] = q[i] & 15;
        codes[n / 2 + i] = q[i] >> 4;
    }
}

/* Two stored blocks; the second may be missing. */
void pare_pack_mxfp4(uint8_t *block, int row, const uint8_t *from, int subs)
{
    const pare_block_mxfp4 *b = (const void *)from;
    for (int s = 0; s < subs; s++, b++) {
        uint8_t codes[PARE_SUB];
        block[32 * s + row] = b->exponent;
        split_group(codes, b->q, PARE_SUB);
        put_nibbles(block + 64 + 512 * s, row, codes);
    }
}

static void pack_nvfp4(uint8_t *panel, int row, const uint8_t *from, int64_t columns, float scale)
{
    const pare_block_nvfp4 *b = (const void *)from;
    uint8_t *block = panel + 128;
    memcpy(panel + 4 * row, &scale, sizeof scale);
    for (int64_t c = 0; c < columns;
         c += 64, b++, block += pare_layout_block_bytes(PARE_LAYOUT_NVFP4)) {
        for (int s = 0; s < 2; s++) {
            uint8_t codes[PARE_SUB];
            for (int g = 0; g < 2; g++) {
                block[(2 * s + g) * PARE_PANEL + row] = b->scales[2 * s + g];
                split_group(codes + 16 * g, b->q + 8 * (2 * s + g), 16);
            }
            put_nibbles(block + 128 + 512 * s, row, codes);
        }
    }
}

void pare_pack_nvfp4_row(uint8_t *panel, int row, const uint8_t *from, int64_t columns)
{
    pack_nvfp4(panel, row, from, columns, 1);
}

void pare_pack_nvfp4_ch_row(uint8_t *panel, int row, const uint8_t *from, int64_t columns)
{
    float scale;
    memcpy(&scale, (const pare_block_nvfp4 *)from + columns / 64, sizeof scale);
    pack_nvfp4(panel, row, from, columns, scale);
}

/* ---- a byte each, and the row's scale behind them ---- */

void pare_pack_bytes_row(uint8_t *panel, int row, const uint8_t *from, int64_t columns)
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

void pare_pack_f8_row(uint8_t *panel, int row, const uint8_t *from, int64_t columns)
{
    memcpy(panel + 4 * row, from + columns, 4);
    for (int64_t c = 0; c < columns; c++)
        panel[128 + c * PARE_PANEL + row] = from[c];
}
