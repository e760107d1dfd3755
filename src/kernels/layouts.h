/* How weights lie in memory once they are packed for the SIMD tiers: one layout for each format,
 * the same for every instruction set and every kind of activations, as large as the stored format.
 *
 * A panel is 32 rows. Within it the columns come in blocks (the format's own, or several groups so
 * that everything stays 32-byte aligned). A block starts with the rows' scales and other metadata,
 * each an array over the 32 rows ("[32]"), followed by one "sub" for every 32 columns with the
 * codes. Codes are interleaved by rows, so that a SIMD lane is a row and no sum over lanes is ever
 * needed:
 *
 *     quads    32 bits of a row hold the codes of 4 consecutive columns, one a byte (the first
 * lowest). Quad q of a sub is columns 4q..4q+3, and this order is what the byte products of VNNI
 * want, with 4 activations broadcast. 8 bits   [8 quads][32 rows] words. 4 bits   [4][32] words:
 * word j holds quad 2j in the low nibbles of its bytes and quad 2j+1 in the high ones. 2 bits
 * [2][32] words: word j holds quads 4j..4j+3, the first in the lowest bits of each byte. 1 bit [32]
 * words: quad q is bit q of each byte. f32      [32 columns][32 rows] floats; f16: the same, 16
 * bits each. bf16     [16 pairs][32 rows] words, the even column in the low half (what VDPBF16PS
 * wants).
 *
 * Rows past the last one have scale 0. Columns past the last one have code `zero`, that is, value
 * 0. */
#ifndef PARE_KERNELS_LAYOUTS_H
#define PARE_KERNELS_LAYOUTS_H

#include <pare/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARE_PANEL = 32, PARE_SUB = 32 };

/* X(NAME, "name", panel header bytes, columns in a block, metadata bytes of a block, bytes of a
 * sub, columns that share a scale up to 32 (16 or 32), bits that the zero point is a power of, has
 * minimums) value = scale (code - zero) + minimum, where zero is 1 << bits, or 0 where bits is 0.
 * Metadata, in order:
 *   q8_0 q4_0 (and i4_g32) iq4_nl, q5_0                    d f16 [32]
 *   q4_1 q5_1                                              d f16 [32], m f16 [32]
 *   nf4 fp4                                                absmax f32 [32]
 *   i4_g* i3_g* i2_g*                                      d f16 [32]
 *   i*_asym        two groups in a block: d f16 [2][32], zero point u8 [2][32]
 *   nf4_dq fp4_dq  two blocks of 64: codes of absmax u8 [2][32]
 *   mxfp4          two blocks of 32: exponent u8 [2][32]
 *   nvfp4          scales UE4M3 u8 [4][32]
 *   iq1 iq2 iq3_*  d f16 [32], multipliers u8 [16][32]; codes are places in pare_iq_sets: as large
 * as iq4_xs, which the codebooks' speed costs q4_k q5_k      d f16 [32], dmin f16 [32], the 12
 * bytes of 6-bit scales as words [3][32] q6_k           d f16 [32], scales i8 [16][32] q3_k d f16
 * [32], the 12 bytes of 6-bit scales as words [3][32] q2_k           d f16 [32], dmin f16 [32],
 * scale (low) and minimum (high nibble) u8 [16][32] iq4_xs         d f16 [32], high bits of scales
 * u16 [32], low bits as words [32] A sub holds, in order: q5_*: 1 bit, 4 bits. q6_k: 2 bits, 4
 * bits. q3_k, i3_g*: 2 bits, 1 bit. f8_*: bytes [32 columns][32 rows]. Others: their codes. i8_ch,
 * f8_* and nvfp4 have the rows' scales, f32 [32], at the start of the panel, nf4_dq and fp4_dq f32
 * [32] and their offsets after them. Ternary and one-bit formats are i2_*_asym with a zero point
 * of 1. */
/* Integer codes. */
#define PARE_CODE_LAYOUT_LIST(X)                                                                   \
    X(I8_CH, "i8_ch/32", 128, 32, 0, 1024, 32, 7, false)                                           \
    X(Q8_0, "q8_0/32", 0, 32, 64, 1024, 32, 7, false)                                              \
    X(Q4_0, "q4_0/32", 0, 32, 64, 512, 32, 3, false)                                               \
    X(Q4_1, "q4_1/32", 0, 32, 128, 512, 32, 0, true)                                               \
    X(Q5_0, "q5_0/32", 0, 32, 64, 640, 32, 4, false)                                               \
    X(Q5_1, "q5_1/32", 0, 32, 128, 640, 32, 0, true)                                               \
    X(Q2_K, "q2_k/32", 0, 256, 640, 256, 16, 0, true)                                              \
    X(Q3_K, "q3_k/32", 0, 256, 448, 384, 16, 2, false)                                             \
    X(Q4_K, "q4_k/32", 0, 256, 512, 512, 32, 0, true)                                              \
    X(Q5_K, "q5_k/32", 0, 256, 512, 640, 32, 0, true)                                              \
    X(Q6_K, "q6_k/32", 0, 256, 576, 768, 16, 5, false)                                             \
    X(IQ4_NL, "iq4_nl/32", 0, 32, 64, 512, 32, 7, false)                                           \
    X(IQ4_XS, "iq4_xs/32", 0, 256, 256, 512, 32, 7, false)                                         \
    X(I4_G64, "i4_g64/32", 0, 64, 64, 512, 32, 3, false)                                           \
    X(I4_G128, "i4_g128/32", 0, 128, 64, 512, 32, 3, false)                                        \
    X(I4_G32_ASYM, "i4_g32_asym/32", 0, 64, 192, 512, 32, 0, true)                                 \
    X(I4_G64_ASYM, "i4_g64_asym/32", 0, 128, 192, 512, 32, 0, true)                                \
    X(I4_G128_ASYM, "i4_g128_asym/32", 0, 256, 192, 512, 32, 0, true)                              \
    X(I3_G32, "i3_g32/32", 0, 32, 64, 384, 32, 2, false)                                           \
    X(I3_G64, "i3_g64/32", 0, 64, 64, 384, 32, 2, false)                                           \
    X(I3_G128, "i3_g128/32", 0, 128, 64, 384, 32, 2, false)                                        \
    X(I3_G32_ASYM, "i3_g32_asym/32", 0, 64, 192, 384, 32, 0, true)                                 \
    X(I3_G64_ASYM, "i3_g64_asym/32", 0, 128, 192, 384, 32, 0, true)                                \
    X(I3_G128_ASYM, "i3_g128_asym/32", 0, 256, 192, 384, 32, 0, true)                              \
    X(I2_G32, "i2_g32/32", 0, 32, 64, 256, 32, 1, false)                                           \
    X(I2_G64, "i2_g64/32", 0, 64, 64, 256, 32, 1, false)                                           \
    X(I2_G128, "i2_g128/32", 0, 128, 64, 256, 32, 1, false)                                        \
    X(I2_G32_ASYM, "i2_g32_asym/32", 0, 64, 192, 256, 32, 0, true)                                 \
    X(I2_G64_ASYM, "i2_g64_asym/32", 0, 128, 192, 256, 32, 0, true)                                \
    X(I2_G128_ASYM, "i2_g128_asym/32", 0, 256, 192, 256, 32, 0, true)                              \
    X(MXFP4, "mxfp4/32", 0, 64, 64, 512, 32, 4, false)                                             \
    X(NVFP4, "nvfp4/32", 128, 64, 128, 512, 16, 4, false)                                          \
    X(IQ3_S, "iq3_s/32", 0, 256, 576, 512, 16, 4, false)                                           \
    X(IQ3_XXS, "iq3_xxs/32", 0, 256, 576, 512, 16, 6, false)                                       \
    X(IQ2, "iq2/32", 0, 256, 576, 512, 16, 6, false)                                               \
    X(IQ1, "iq1/32", 0, 256, 576, 512, 16, 4, false)
/* Values of 4 or 8 bits times scales. */
#define PARE_FIXED_LAYOUT_LIST(X)                                                                  \
    X(NF4, "nf4/32", 0, 64, 128, 512, 32, 0, false)                                                \
    X(FP4, "fp4/32", 0, 64, 128, 512, 32, 0, false)                                                \
    X(NF4_DQ, "nf4_dq/32", 256, 128, 64, 512, 32, 0, false)                                        \
    X(FP4_DQ, "fp4_dq/32", 256, 128, 64, 512, 32, 0, false)                                        \
    X(F8_E4M3, "f8_e4m3/32", 128, 32, 0, 1024, 32, 0, false)                                       \
    X(F8_E5M2, "f8_e5m2/32", 128, 32, 0, 1024, 32, 0, false)
/* Floating-point numbers, or codes of any values. */
#define PARE_VALUE_LAYOUT_LIST(X)                                                                  \
    X(F32, "f32/32", 0, 32, 0, 4096, 32, 0, false)                                                 \
    X(F16, "f16/32", 0, 32, 0, 2048, 32, 0, false)                                                 \
    X(BF16, "bf16/32", 0, 32, 0, 2048, 32, 0, false)                                               \
    PARE_FIXED_LAYOUT_LIST(X)
#define PARE_LAYOUT_LIST(X) PARE_VALUE_LAYOUT_LIST(X) PARE_CODE_LAYOUT_LIST(X)

typedef enum pare_layout {
#define X(NAME, ...) PARE_LAYOUT_##NAME,
    PARE_LAYOUT_LIST(X)
#undef X
        PARE_LAYOUT_COUNT
} pare_layout;

typedef struct pare_layout_traits {
    const char *name;
    int header, columns, meta, sub, group, zero_bits;
    bool minimums;
} pare_layout_traits;

/* In the header and constant, so that a tier's kernels are specialized for their layout at compile
 * time. */
static const pare_layout_traits pare_layouts[PARE_LAYOUT_COUNT] = {
#define X(NAME, ...) {__VA_ARGS__},
    PARE_LAYOUT_LIST(X)
#undef X
};

/* True for the layouts whose values are integer codes times scales. */
static inline bool pare_layout_has_codes(pare_layout layout)
{
    switch (layout) {
#define X(NAME, ...) case PARE_LAYOUT_##NAME:
        PARE_CODE_LAYOUT_LIST(X)
#undef X
        return true;
    default:
        return false;
    }
}

/* Subs that share a zero point, and 0 in layouts that have none of their own. */
static inline int pare_layout_asym_subs(pare_layout layout)
{
    switch (layout) {
    case PARE_LAYOUT_I4_G32_ASYM:
    case PARE_LAYOUT_I3_G32_ASYM:
    case PARE_LAYOUT_I2_G32_ASYM:
        return 1;
    case PARE_LAYOUT_I4_G64_ASYM:
    case PARE_LAYOUT_I3_G64_ASYM:
    case PARE_LAYOUT_I2_G64_ASYM:
        return 2;
    case PARE_LAYOUT_I4_G128_ASYM:
    case PARE_LAYOUT_I3_G128_ASYM:
    case PARE_LAYOUT_I2_G128_ASYM:
        return 4;
    default:
        return 0;
    }
}

/* The set of numbers that the codes of an i-quant below four bits stand for; -1 for the others. */
static inline int pare_layout_iq_set(pare_layout layout)
{
    switch (layout) {
    case PARE_LAYOUT_IQ3_S:
        return 0;
    case PARE_LAYOUT_IQ3_XXS:
        return 1;
    case PARE_LAYOUT_IQ2:
        return 2;
    case PARE_LAYOUT_IQ1:
        return 3;
    default:
        return -1;
    }
}

/* PARE_LAYOUT_COUNT where the type has none. */
pare_layout pare_layout_of(pare_type type);

static inline int64_t pare_subs(int64_t columns)
{
    return (columns + PARE_SUB - 1) / PARE_SUB;
}

static inline size_t pare_layout_block_bytes(pare_layout layout)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    return (size_t)l->meta + (size_t)(l->columns / PARE_SUB) * (size_t)l->sub;
}

static inline size_t pare_layout_panel_bytes(pare_layout layout, int64_t columns)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    return (size_t)l->header +
           (size_t)((columns + l->columns - 1) / l->columns) * pare_layout_block_bytes(layout);
}

/* Packs rows first..last-1 (first a multiple of 32) of a [rows, columns] matrix as stored in a
 * file. */
void pare_layout_pack(void *packed, const void *stored, pare_type type, int64_t rows,
                      int64_t columns, int64_t first, int64_t last);

/* The signature that pare_matmul wants; the layout is that of the type. */
#define X(NAME, ...) size_t pare_layout_bytes_##NAME(int64_t rows, int64_t columns);
PARE_LAYOUT_LIST(X)
#undef X

#endif
