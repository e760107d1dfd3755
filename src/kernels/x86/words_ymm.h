/* Products of 16-bit numbers in 256-bit registers (VPMADDWD; VPDPWSSD with VNNI): for batches where
 * byte products would need a sign moved from one operand to the other for every product (8-bit
 * codes without VNNI), and for formats whose values are no integers (nf4, fp4, FP8). Their values
 * become fixed-point numbers: 1 / 32767 of the largest that the format has is the unit, an error
 * of 2^-16 of that, where 8-bit activations err by 2^-8. Sums cannot overflow: 32 x 32767 x 128 is
 * less than 2^27. */
#ifndef PARE_KERNELS_X86_WORDS_YMM_H
#define PARE_KERNELS_X86_WORDS_YMM_H

#include "kernels/x86/bytes_ymm.h"

/* What load_values gives for a layout's largest value. */
PARE_INLINE float largest_value(pare_layout layout)
{
    switch (layout) {
    case PARE_LAYOUT_F8_E4M3:
        return 448.0f / 256; /* load_scale has the 256 */
    case PARE_LAYOUT_F8_E5M2:
        return 57344;
    default: /* nf4, fp4 */
        return 1;
    }
}

/* True for the layouts whose values become fixed-point numbers. */
PARE_INLINE bool has_fixed(pare_layout layout)
{
    switch (layout) {
#define X(NAME, ...) case PARE_LAYOUT_##NAME:
        PARE_FIXED_LAYOUT_LIST(X)
#undef X
        return true;
    default:
        return false;
    }
}

PARE_INLINE __m256 fixed_scale(pare_layout layout, __m256 scale)
{
    return has_fixed(layout) ? _mm256_mul_ps(scale, _mm256_set1_ps(largest_value(layout) / 32767))
                             : scale;
}

PARE_INLINE __m256i add_words(__m256i sum, __m256i a, __m256i b)
{
#ifdef PARE_VNNI
    return in_order(_mm256_dpwssd_avx_epi32(sum, a, b));
#else
    return in_order(_mm256_add_epi32(sum, _mm256_madd_epi16(a, b)));
#endif
}

/* ---- 4-bit codes with a table of values ---- */

PARE_INLINE bool is_looked_up(pare_layout layout)
{
    return layout == PARE_LAYOUT_NF4 || layout == PARE_LAYOUT_FP4 || layout == PARE_LAYOUT_NF4_DQ ||
           layout == PARE_LAYOUT_FP4_DQ;
}

/* Bytes of the table's fixed-point numbers. */
typedef struct fixed_table {
    __m256i low, high;
} fixed_table;

PARE_INLINE fixed_table fixed_table_of(pare_layout layout)
{
    if (!is_looked_up(layout))
        return (fixed_table){_mm256_setzero_si256(), _mm256_setzero_si256()};
    const float *values = layout == PARE_LAYOUT_NF4 || layout == PARE_LAYOUT_NF4_DQ
                              ? pare_nf4_values
                              : pare_fp4_values;
    const __m256 unit = _mm256_set1_ps(32767);
    __m256i first = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values), unit)),
            second = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values + 8), unit));
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xd8);
    __m256i low = _mm256_and_si256(words, _mm256_set1_epi16(0xff)),
            high = _mm256_srli_epi16(words, 8);
    return (fixed_table){_mm256_permute4x64_epi64(_mm256_packus_epi16(low, low), 0x88),
                         _mm256_permute4x64_epi64(_mm256_packus_epi16(high, high), 0x88)};
}

/* Quad q of a sub: 8 rows x 4 numbers, rows 0 1 4 5 in the first register, 2 3 6 7 in the second.
 */
typedef struct looked_up {
    __m256i first, second;
} looked_up;

PARE_INLINE looked_up look_up_quad(const uint8_t *sub, int q, int part, fixed_table table)
{
    __m256i codes = nibbles(sub, q, part), low = _mm256_shuffle_epi8(table.low, codes),
            high = _mm256_shuffle_epi8(table.high, codes);
    return (looked_up){_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)};
}

/* The sums of one sub for 8 rows, each made of two lanes' (even and odd pairs of columns). */
PARE_INLINE __m256i sum_looked_up(const uint8_t *sub, int part, fixed_table table, const int16_t *x)
{
    __m256i first = _mm256_setzero_si256(), second = first;
#pragma GCC unroll 8
    for (int q = 0; q < 8; q++) {
        long long four;
        memcpy(&four, x + 4 * q, sizeof four);
        looked_up numbers = look_up_quad(sub, q, part, table);
        first = add_words(first, numbers.first, _mm256_set1_epi64x(four));
        second = add_words(second, numbers.second, _mm256_set1_epi64x(four));
    }
    return _mm256_hadd_epi32(first, second);
}

/* ---- for batches: pairs of columns ---- */

/* Quad q of a sub as two pairs of 16-bit numbers, each in the 32-bit lane of its row. */
typedef struct quad_words {
    __m256i pairs[2];
} quad_words;

/* Each byte into the upper half of a word, then shifted down. */
PARE_INLINE quad_words widen_quad(__m256i quad)
{
    const __m128i even = _mm_set_epi32(0x0d800c80, 0x09800880, 0x05800480, 0x01800080),
                  odd = _mm_add_epi8(even, _mm_set1_epi16(0x0200));
    return (quad_words){
        {_mm256_srai_epi16(_mm256_shuffle_epi8(quad, _mm256_broadcastsi128_si256(even)), 8),
         _mm256_srai_epi16(_mm256_shuffle_epi8(quad, _mm256_broadcastsi128_si256(odd)), 8)}};
}

PARE_INLINE quad_words pair_up(looked_up numbers)
{
    __m256 first = _mm256_castsi256_ps(numbers.first), second = _mm256_castsi256_ps(numbers.second);
    return (quad_words){{_mm256_castps_si256(_mm256_shuffle_ps(first, second, 0x88)),
                         _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0xdd))}};
}

/* Column k of FP8. */
PARE_INLINE __m256i fixed_column(pare_layout layout, const uint8_t *sub, int k, int part)
{
    return _mm256_cvtps_epi32(
        _mm256_mul_ps(load_values(layout, sub, _mm256_setzero_si256(), k, part),
                      _mm256_set1_ps(32767 / largest_value(layout))));
}

PARE_INLINE quad_words load_quad_words(pare_layout layout, fixed_table table, const uint8_t *sub,
                                       int q, int part)
{
    if (pare_layout_has_codes(layout))
        return widen_quad(load_signed_quad(layout, sub, q, part));
    if (is_looked_up(layout))
        return pair_up(look_up_quad(sub, q, part, table));
    quad_words words;
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m256i even = fixed_column(layout, sub, 4 * q + 2 * i, part),
                odd = fixed_column(layout, sub, 4 * q + 2 * i + 1, part);
        words.pairs[i] = _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa);
    }
    return words;
}

#endif
