/* Products of bytes in 256-bit registers, and how each layout uses them.
 *
 * Plain AVX2 has VPMADDUBSW, unsigned x signed bytes, which adds pairs of products in 16 bits with
 * saturation. It must never saturate, so there are two kinds: codes below 64: a pair is at most 63
 * * 127 * 2 = 16002; pairs of several quads are added in 16 bits before they are widened, as many
 * as fit 32767 (a series: 2 for 6 bits, 4 for 5 bits, 8 for 4 bits and fewer); 8-bit codes: |w| x
 * (x with w's sign), at most 128 * 127 * 2 = 32512, widened at once. With VNNI, VPDPBUSD adds four
 * products in 32 bits. */
#ifndef PARE_KERNELS_X86_BYTES_YMM_H
#define PARE_KERNELS_X86_BYTES_YMM_H

#include "kernels/kernels.h"
#include "kernels/x86/avx2_layouts.h"
#include "kernels/x86/quantize_ymm.h"

/* Quads whose 16-bit sums may be added before widening; 0: 8-bit codes, none. */
PARE_INLINE int series_of(pare_layout layout)
{
    switch (layout) {
    case PARE_LAYOUT_I8_CH:
    case PARE_LAYOUT_Q8_0:
    case PARE_LAYOUT_IQ4_NL:
    case PARE_LAYOUT_IQ4_XS:
    case PARE_LAYOUT_IQ3_XXS:
    case PARE_LAYOUT_IQ2:
        return 0;
    case PARE_LAYOUT_Q6_K:
        return 2;
    case PARE_LAYOUT_Q5_0:
    case PARE_LAYOUT_Q5_1:
    case PARE_LAYOUT_Q5_K:
    case PARE_LAYOUT_MXFP4: /* at most 28 */
    case PARE_LAYOUT_NVFP4:
    case PARE_LAYOUT_IQ3_S: /* 31 */
    case PARE_LAYOUT_IQ1:   /* 25 */
        return 4;
    default:
        return 8;
    }
}

/* How a layout's codes are multiplied: a constant wherever it is used. */
typedef struct product {
    int group,
        series; /* columns of a group; quads that are added in 16 bits, 0 where at once in 32 */
    bool minimums;
    bool wide_x; /* activations' codes may be -128, weights' not (int8.h) */
    bool words;  /* batches multiply 16-bit numbers (words_ymm.h) */
} product;

PARE_INLINE product product_of(pare_layout layout)
{
    const pare_layout_traits *l = &pare_layouts[layout];
#ifdef PARE_VNNI
    int series = 0;
#else
    int series = series_of(layout);
#endif
    if (!pare_layout_has_codes(layout))
        series = 0;
#ifdef PARE_VNNI
    bool words = !pare_layout_has_codes(layout);
#else
    bool words = series == 0;
#endif
    return (product){l->group, series > l->group / 4 ? l->group / 4 : series, l->minimums, false,
                     words};
}

/* True where codes are multiplied as signed bytes, so that no zero point is left to correct for. */
PARE_INLINE bool is_signed(product p)
{
#ifdef PARE_VNNI
    return false;
#else
    return p.series == 0;
#endif
}

PARE_INLINE __m256i load_operand(pare_layout layout, const uint8_t *sub, int q, int part)
{
    return is_signed(product_of(layout)) ? load_signed_quad(layout, sub, q, part)
                                         : load_quad(layout, sub, q, part);
}

/* ---- the sum of one group ---- */

/* No instruction: a value that is computed here and not later. Left alone, GCC 12 puts the
 * additions of a chain off to its end and keeps all products until then, in memory. */
PARE_INLINE __m256i in_order(__m256i x)
{
    __asm__("" : "+x"(x));
    return x;
}

/* The factors of widen, not in a register: GCC would keep them in one of 16 through loops that need
 * all. */
PARE_INLINE const __m256i *ones_in_memory(void)
{
    static const _Alignas(32) int16_t ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int16_t *p = ones;
    __asm__ volatile("" : "+r"(p));
    return (const __m256i *)p;
}

/* Adds the products of one quad in 32 bits. Which operand gives up its sign is a question of range:
 * weights of Q8 kernels may be -128 and activations not; with those of int8.h it is the other way
 * round. */
PARE_INLINE __m256i add_wide(product p, __m256i sum, __m256i codes, __m256i x)
{
#ifdef PARE_VNNI
    return in_order(_mm256_dpbusd_avx_epi32(sum, codes, x));
#else
    __m256i pairs = p.wide_x
                        ? _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(codes, x))
                        : _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
    return in_order(_mm256_add_epi32(sum, widen(pairs)));
#endif
}

/* The same in 16 bits, for codes that allow it; the first quad of a series starts the sum. */
PARE_INLINE __m256i add_narrow(__m256i sum, bool is_first, __m256i codes, __m256i x)
{
    __m256i pairs = _mm256_maddubs_epi16(codes, x);
    return in_order(is_first ? pairs : _mm256_add_epi16(sum, pairs));
}

/* less: minus the activations' sum; the zero point is 1 << bits. */
PARE_INLINE __m256i start_sum(product p, int32_t less, int bits)
{
    if (is_signed(p) || p.minimums)
        return _mm256_setzero_si256();
    return _mm256_slli_epi32(_mm256_set1_epi32(less), bits);
}

PARE_INLINE __m256 add_scaled(__m256 total, __m256i sum, __m256 scale, float x_scale)
{
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(x_scale)), scale,
                           total);
}

#endif
