/* What the packing of layouts.c and layouts_own.c shares. */
#ifndef PARE_KERNELS_LAYOUTS_PACK_H
#define PARE_KERNELS_LAYOUTS_PACK_H

#include "kernels/layouts.h"

#include <string.h>

/* One row of a block: `block` is the packed block's start, `from` the stored block (or the two that
 * it holds), `subs` how many of its subs exist. */
typedef void pare_pack_block(uint8_t *block, int row, const uint8_t *from, int subs);
/* One whole row of a panel, whose bytes are zero where columns do not fill it. */
typedef void pare_pack_row(uint8_t *panel, int row, const uint8_t *from, int64_t columns);

/* ---- codes of 32 columns to their places; `to` is the first row's word ---- */

static inline uint32_t quad(const uint8_t *codes, int q)
{
    uint32_t word;
    memcpy(&word, codes + 4 * q, 4);
    return word;
}

static inline void put_word(uint8_t *to, int word, int row, uint32_t value)
{
    memcpy(to + (word * PARE_PANEL + row) * 4, &value, 4);
}

static inline void put_bytes(uint8_t *to, int row, const uint8_t codes[PARE_SUB])
{
    for (int q = 0; q < 8; q++)
        put_word(to, q, row, quad(codes, q));
}

static inline void put_nibbles(uint8_t *to, int row, const uint8_t codes[PARE_SUB])
{
    for (int j = 0; j < 4; j++)
        put_word(to, j, row,
                 (quad(codes, 2 * j) & 0x0f0f0f0f) | (quad(codes, 2 * j + 1) & 0x0f0f0f0f) << 4);
}

/* Bits shift and shift + 1 of each code. */
static inline void put_pairs(uint8_t *to, int row, const uint8_t codes[PARE_SUB], int shift)
{
    for (int j = 0; j < 2; j++) {
        uint32_t word = 0;
        for (int k = 0; k < 4; k++)
            word |= (quad(codes, 4 * j + k) >> shift & 0x03030303) << 2 * k;
        put_word(to, j, row, word);
    }
}

static inline void put_bits(uint8_t *to, int row, const uint8_t codes[PARE_SUB], int shift)
{
    uint32_t word = 0;
    for (int q = 0; q < 8; q++)
        word |= (quad(codes, q) >> shift & 0x01010101) << q;
    put_word(to, 0, row, word);
}

static inline void put_half(uint8_t *to, int row, uint16_t value)
{
    memcpy(to + row * 2, &value, 2);
}

#define SUB(layout, s) (block + pare_layouts[layout].meta + (s)*pare_layouts[layout].sub)

/* layouts_own.c */
pare_pack_block pare_pack_i4, pare_pack_i3, pare_pack_i2, pare_pack_nf4, pare_pack_mxfp4;
pare_pack_block pare_pack_i4_g32_asym, pare_pack_i4_g64_asym, pare_pack_i4_g128_asym;
pare_pack_block pare_pack_i3_g32_asym, pare_pack_i3_g64_asym, pare_pack_i3_g128_asym;
pare_pack_block pare_pack_i2_g32_asym, pare_pack_i2_g64_asym, pare_pack_i2_g128_asym;
pare_pack_block pare_pack_tq1_0, pare_pack_tq2_0, pare_pack_q1_0, pare_pack_q2_0;
pare_pack_block pare_pack_iq3_s, pare_pack_iq3_xxs, pare_pack_iq2_xxs, pare_pack_iq2_xs,
    pare_pack_iq2_s, pare_pack_iq1_s, pare_pack_iq1_m;
pare_pack_row pare_pack_bytes_row, pare_pack_f8_row, pare_pack_nf4_dq_row, pare_pack_nvfp4_row,
    pare_pack_nvfp4_ch_row;

#endif
