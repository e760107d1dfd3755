/* Reading packed weights (layouts.h) with AVX2: each function is specialized for a constant layout
 * at compile time. A panel's 32 rows are four parts of 8 lanes; `part` is 0..3. */
#ifndef PARE_KERNELS_X86_AVX2_LAYOUTS_H
#define PARE_KERNELS_X86_AVX2_LAYOUTS_H

#include "kernels/layouts.h"
#include "quant/types.h"

#include <immintrin.h>
#include <string.h>

#define PARE_INLINE static inline __attribute__((always_inline))

enum { PARE_PARTS = 4, PARE_PART = 8 };

/* Codes reach FP32 as the top byte of an integer, 2^24 times too large: the scales take this back,
 * without rounding. */
#define PARE_CODE_UNIT 0x1p-24f

enum { PARE_AHEAD = 4096 }; /* bytes that a stream is prefetched ahead */

PARE_INLINE void prefetch_sub(pare_layout layout, const uint8_t *block, int s)
{
    const int bytes = pare_layouts[layout].sub;
    for (int i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)block + PARE_AHEAD + pare_layouts[layout].meta + s * bytes + i,
                     _MM_HINT_T0);
}

PARE_INLINE __m256i load_words(const uint8_t *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

PARE_INLINE __m256 load_halves(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)p));
}

PARE_INLINE __m256 load_signed_bytes(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

PARE_INLINE __m256i load_bytes(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

PARE_INLINE __m256i repeat(uint32_t word)
{
    return _mm256_set1_epi32((int)word);
}

PARE_INLINE __m256i nibbles(const uint8_t *p, int q, int part)
{
    __m256i word = load_words(p + q / 2 * 128 + part * 32);
    return _mm256_and_si256(q % 2 ? _mm256_srli_epi32(word, 4) : word, repeat(0x0f0f0f0f));
}

/* Words shifted so that bit `from` of each byte becomes bit `to`; other bits are garbage. */
PARE_INLINE __m256i move_bits(__m256i word, int from, int to)
{
    if (from < to)
        return _mm256_slli_epi32(word, to - from);
    return from > to ? _mm256_srli_epi32(word, from - to) : word;
}

/* a | (b & mask) */
PARE_INLINE __m256i or_masked(__m256i a, __m256i b, uint32_t mask)
{
    return _mm256_or_si256(a, _mm256_and_si256(b, repeat(mask)));
}

/* iq4_nl's values, signed, by their codes. */
PARE_INLINE __m256i iq4_bytes(__m256i codes)
{
    const __m128i table = _mm_loadu_si128((const __m128i *)pare_iq4_values);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
}

/* Twice the values of E2M1. */
PARE_INLINE __m256i e2m1_bytes(__m256i codes)
{
    const __m128i table = _mm_loadu_si128((const __m128i *)pare_e2m1_values);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
}

/* The numbers of an i-quant's set. */
PARE_INLINE __m256i iq_set_bytes(pare_layout layout, __m256i codes)
{
    const __m128i table =
        _mm_loadu_si128((const __m128i *)pare_iq_sets[pare_layout_iq_set(layout)]);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
}

/* Quad q of a sub: 8 rows x 4 unsigned codes (for iq4 and E2M1: plus 128 and 16, as the layout's
 * zero point says). */
PARE_INLINE __m256i load_quad(pare_layout layout, const uint8_t *sub, int q, int part)
{
    switch (layout) {
    case PARE_LAYOUT_I8_CH:
    case PARE_LAYOUT_Q8_0:
        return load_words(sub + q * 128 + part * 32);
    case PARE_LAYOUT_IQ4_NL:
    case PARE_LAYOUT_IQ4_XS:
        return _mm256_xor_si256(iq4_bytes(nibbles(sub, q, part)), repeat(0x80808080));
    case PARE_LAYOUT_MXFP4:
    case PARE_LAYOUT_NVFP4:
        return _mm256_add_epi8(e2m1_bytes(nibbles(sub, q, part)), repeat(0x10101010));
    case PARE_LAYOUT_IQ3_S:
    case PARE_LAYOUT_IQ3_XXS:
    case PARE_LAYOUT_IQ2:
    case PARE_LAYOUT_IQ1:
        return _mm256_add_epi8(iq_set_bytes(layout, nibbles(sub, q, part)),
                               _mm256_set1_epi8((char)(1 << pare_layouts[layout].zero_bits)));
    case PARE_LAYOUT_Q5_0:
    case PARE_LAYOUT_Q5_1:
    case PARE_LAYOUT_Q5_K:
        return or_masked(nibbles(sub + 128, q, part), move_bits(load_words(sub + part * 32), q, 4),
                         0x10101010);
    case PARE_LAYOUT_Q6_K: {
        __m256i high = load_words(sub + q / 4 * 128 + part * 32);
        return or_masked(nibbles(sub + 256, q, part), move_bits(high, q % 4 * 2, 4), 0x30303030);
    }
    case PARE_LAYOUT_Q3_K:
    case PARE_LAYOUT_I3_G32:
    case PARE_LAYOUT_I3_G64:
    case PARE_LAYOUT_I3_G128:
    case PARE_LAYOUT_I3_G32_ASYM:
    case PARE_LAYOUT_I3_G64_ASYM:
    case PARE_LAYOUT_I3_G128_ASYM: {
        __m256i low = move_bits(load_words(sub + q / 4 * 128 + part * 32), q % 4 * 2, 0);
        __m256i high = move_bits(load_words(sub + 256 + part * 32), q, 2);
        return or_masked(_mm256_and_si256(low, repeat(0x03030303)), high, 0x04040404);
    }
    case PARE_LAYOUT_Q2_K:
    case PARE_LAYOUT_I2_G32:
    case PARE_LAYOUT_I2_G64:
    case PARE_LAYOUT_I2_G128:
    case PARE_LAYOUT_I2_G32_ASYM:
    case PARE_LAYOUT_I2_G64_ASYM:
    case PARE_LAYOUT_I2_G128_ASYM: {
        __m256i low = move_bits(load_words(sub + q / 4 * 128 + part * 32), q % 4 * 2, 0);
        return _mm256_and_si256(low, repeat(0x03030303));
    }
    default: /* 4 bits */
        return nibbles(sub, q, part);
    }
}

/* The same as signed bytes, zero point taken off. */
PARE_INLINE __m256i load_signed_quad(pare_layout layout, const uint8_t *sub, int q, int part)
{
    if (layout == PARE_LAYOUT_IQ4_NL || layout == PARE_LAYOUT_IQ4_XS)
        return iq4_bytes(nibbles(sub, q, part));
    if (layout == PARE_LAYOUT_MXFP4 || layout == PARE_LAYOUT_NVFP4)
        return e2m1_bytes(nibbles(sub, q, part));
    if (pare_layout_iq_set(layout) >= 0)
        return iq_set_bytes(layout, nibbles(sub, q, part));
    __m256i codes = load_quad(layout, sub, q, part);
    int bits = pare_layouts[layout].zero_bits;
    return bits ? _mm256_sub_epi8(codes, _mm256_set1_epi8((char)(1 << bits))) : codes;
}

/* Byte i of each lane, signed, times 2^24, as FP32. */
PARE_INLINE __m256 code_values(__m256i quad, int i)
{
    /* Indices with the top bit set give zero bytes. */
    const __m128i second = _mm_set_epi32(0x0d808080, 0x09808080, 0x05808080, 0x01808080);
    const __m128i third = _mm_set_epi32(0x0e808080, 0x0a808080, 0x06808080, 0x02808080);
    if (i == 0)
        return _mm256_cvtepi32_ps(_mm256_slli_epi32(quad, 24));
    if (i == 3)
        return _mm256_cvtepi32_ps(_mm256_and_si256(quad, repeat(0xff000000)));
    return _mm256_cvtepi32_ps(
        _mm256_shuffle_epi8(quad, _mm256_broadcastsi128_si256(i == 1 ? second : third)));
}

/* ---- scales of sub s (of its block); `group` is 0 or 1 where 16 columns share one ---- */

/* Byte i of each lane, unsigned: one shuffle, as i is no constant in a loop over subs. */
PARE_INLINE __m256 byte_values(__m256i words, int i)
{
    const __m128i first =
        _mm_set_epi32((int)0x8080800c, (int)0x80808008, (int)0x80808004, (int)0x80808000);
    __m256i places = _mm256_add_epi8(_mm256_broadcastsi128_si256(first), repeat((uint32_t)i));
    return _mm256_cvtepi32_ps(_mm256_shuffle_epi8(words, places));
}

/* q4_k's and q5_k's 6-bit numbers: words 0 and 1 hold scales and minimums 0..3 in the low 6 bits of
 * each byte and the high bits of 4..7 above them; word 2 has the low bits of scales (low nibbles)
 * and minimums 4..7. */
PARE_INLINE __m256 k_scale(const uint8_t *words, int s, int part, bool minimum)
{
    __m256i word = load_words(words + minimum * 128 + part * 32);
    if (s < 4)
        return byte_values(_mm256_and_si256(word, repeat(0x3f3f3f3f)), s);
    __m256i low = load_words(words + 256 + part * 32);
    low = _mm256_and_si256(minimum ? _mm256_srli_epi32(low, 4) : low, repeat(0x0f0f0f0f));
    return byte_values(or_masked(low, _mm256_srli_epi32(word, 2), 0x30303030), s - 4);
}

/* q3_k: scale g of 16 has its low nibble in byte g % 8 (low half for g < 8) and its high bits in
 * byte 8 + g % 4. */
PARE_INLINE __m256 q3_k_scale(const uint8_t *words, int g, int part)
{
    __m256i low = load_words(words + g / 4 % 2 * 128 + part * 32),
            high = load_words(words + 256 + part * 32);
    low = _mm256_and_si256(g < 8 ? low : _mm256_srli_epi32(low, 4), repeat(0x0f0f0f0f));
    high = _mm256_srl_epi32(high, _mm_cvtsi32_si128(g / 4 * 2));
    high = _mm256_slli_epi32(_mm256_and_si256(high, repeat(0x03030303)), 4);
    return _mm256_sub_ps(byte_values(_mm256_or_si256(low, high), g % 4), _mm256_set1_ps(32));
}

PARE_INLINE __m256 iq4_xs_scale(const uint8_t *block, int s, int part)
{
    __m256i high = _mm256_cvtepu16_epi32(_mm_load_si128((const __m128i *)(block + 64 + part * 16)));
    __m256i low = load_words(block + 128 + part * 32);
    high = _mm256_and_si256(_mm256_srl_epi32(high, _mm_cvtsi32_si128(2 * s)), repeat(3));
    low = _mm256_and_si256(_mm256_srl_epi32(low, _mm_cvtsi32_si128(4 * s)), repeat(15));
    __m256i scale = _mm256_or_si256(low, _mm256_slli_epi32(high, 4));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(scale, repeat(32)));
}

/* UE4M3 (its half) of 8 rows: FP16 with the same bits is 2^8 times too small. 0x7f counts as 0. */
PARE_INLINE __m256 half_ue4m3(const uint8_t *p)
{
    __m128i codes = _mm_loadl_epi64((const __m128i *)p), top = _mm_set1_epi8(0x7f);
    codes = _mm_andnot_si128(_mm_cmpeq_epi8(codes, top), _mm_and_si128(codes, top));
    __m128i halves = _mm_slli_epi16(_mm_cvtepu8_epi16(codes), 7);
    return _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(128));
}

/* Half of 2^(exponent - 127). */
PARE_INLINE __m256 half_e8m0(const uint8_t *p)
{
    return _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(load_bytes(p), 23)),
                         _mm256_set1_ps(0.5f));
}

/* The absmax of nf4_dq: no fused multiply-add, as the decoder has it. */
PARE_INLINE __m256 nested_absmax(const uint8_t *panel, const uint8_t *codes, int part)
{
    __m256 product = _mm256_mul_ps(_mm256_i32gather_ps(pare_nested_values, load_bytes(codes), 4),
                                   _mm256_load_ps((const float *)panel + part * 8));
    return _mm256_add_ps(product, _mm256_load_ps((const float *)panel + 32 + part * 8));
}

/* E4M3 of 8 rows: the bits of an FP16 2^8 times too small, its sign extended by one bit. */
PARE_INLINE __m256 e4m3_values(const uint8_t *p)
{
    __m128i wide = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)p));
    return _mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(wide, 7), _mm_set1_epi16((short)0xbfff)));
}

PARE_INLINE __m256 e5m2_values(const uint8_t *p)
{
    __m128i wide = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p));
    return _mm256_cvtph_ps(_mm_slli_epi16(wide, 8));
}

/* `panel` is the panel's start, where i8_ch has its scales. */
PARE_INLINE __m256 load_scale(pare_layout layout, const uint8_t *panel, const uint8_t *block, int s,
                              int group, int part)
{
    if (pare_layout_asym_subs(layout))
        return load_halves(block + s / pare_layout_asym_subs(layout) * 64 + part * 16);
    switch (layout) {
    case PARE_LAYOUT_F32:
    case PARE_LAYOUT_F16:
    case PARE_LAYOUT_BF16:
        return _mm256_set1_ps(1);
    case PARE_LAYOUT_I8_CH:
    case PARE_LAYOUT_F8_E5M2:
        return _mm256_load_ps((const float *)panel + part * 8);
    case PARE_LAYOUT_F8_E4M3: /* values are 2^8 too small */
        return _mm256_mul_ps(_mm256_load_ps((const float *)panel + part * 8), _mm256_set1_ps(256));
    case PARE_LAYOUT_NF4_DQ:
    case PARE_LAYOUT_FP4_DQ:
        return nested_absmax(panel, block + s / 2 * 32 + part * 8, part);
    case PARE_LAYOUT_IQ3_S:
    case PARE_LAYOUT_IQ3_XXS:
    case PARE_LAYOUT_IQ2:
    case PARE_LAYOUT_IQ1:
        return _mm256_mul_ps(_mm256_mul_ps(load_halves(block + part * 16),
                                           _mm256_cvtepi32_ps(load_bytes(
                                               block + 64 + (2 * s + group) * 32 + part * 8))),
                             _mm256_set1_ps(pare_iq_units[pare_layout_iq_set(layout)]));
    case PARE_LAYOUT_MXFP4:
        return half_e8m0(block + s * 32 + part * 8);
    case PARE_LAYOUT_NVFP4:
        return _mm256_mul_ps(half_ue4m3(block + (2 * s + group) * 32 + part * 8),
                             _mm256_load_ps((const float *)panel + part * 8));
    case PARE_LAYOUT_NF4:
    case PARE_LAYOUT_FP4:
        return _mm256_load_ps((const float *)block + part * 8);
    case PARE_LAYOUT_Q4_K:
    case PARE_LAYOUT_Q5_K:
        return _mm256_mul_ps(load_halves(block + part * 16), k_scale(block + 128, s, part, false));
    case PARE_LAYOUT_Q6_K:
        return _mm256_mul_ps(load_halves(block + part * 16),
                             load_signed_bytes(block + 64 + (2 * s + group) * 32 + part * 8));
    case PARE_LAYOUT_Q3_K:
        return _mm256_mul_ps(load_halves(block + part * 16),
                             q3_k_scale(block + 64, 2 * s + group, part));
    case PARE_LAYOUT_Q2_K: {
        __m256i both = load_bytes(block + 128 + (2 * s + group) * 32 + part * 8);
        return _mm256_mul_ps(load_halves(block + part * 16),
                             _mm256_cvtepi32_ps(_mm256_and_si256(both, repeat(15))));
    }
    case PARE_LAYOUT_IQ4_XS:
        return _mm256_mul_ps(load_halves(block + part * 16), iq4_xs_scale(block, s, part));
    default: /* one FP16 scale for the block */
        return load_halves(block + part * 16);
    }
}

PARE_INLINE __m256 negative(__m256 x)
{
    return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
}

PARE_INLINE __m256 asym_minimum(const uint8_t *block, int g, int part)
{
    __m256 zero = _mm256_cvtepi32_ps(load_bytes(block + 128 + 32 * g + part * 8));
    return negative(_mm256_mul_ps(load_halves(block + g * 64 + part * 16), zero));
}

/* What is added to scale * code, for layouts with minimums. */
PARE_INLINE __m256 load_minimum(pare_layout layout, const uint8_t *block, int s, int group,
                                int part)
{
    if (pare_layout_asym_subs(layout))
        return asym_minimum(block, s / pare_layout_asym_subs(layout), part);
    switch (layout) {
    case PARE_LAYOUT_Q4_K:
    case PARE_LAYOUT_Q5_K:
        return negative(_mm256_mul_ps(load_halves(block + 64 + part * 16),
                                      k_scale(block + 128, s, part, true)));
    case PARE_LAYOUT_Q2_K: {
        __m256i both = load_bytes(block + 128 + (2 * s + group) * 32 + part * 8);
        return negative(_mm256_mul_ps(load_halves(block + 64 + part * 16),
                                      _mm256_cvtepi32_ps(_mm256_srli_epi32(both, 4))));
    }
    default: /* q4_1, q5_1 */
        return load_halves(block + 64 + part * 16);
    }
}

/* Table entries by the nibble at bit `bit` of each lane: two halves of the table, chosen by the
 * nibble's top bit. */
PARE_INLINE __m256 look_up(const float *table, __m256i word, int bit)
{
    __m256i index = _mm256_srli_epi32(word, bit); /* VPERMPS looks at the low 3 bits */
    __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(word, 28 - bit)));
}

/* 8 rows of column k of a sub as FP32, to be multiplied with unit_scale below. `quad` is
 * load_signed_quad of k / 4 where the layout has codes. */
PARE_INLINE __m256 load_values(pare_layout layout, const uint8_t *sub, __m256i quad, int k,
                               int part)
{
    switch (layout) {
    case PARE_LAYOUT_F32:
        return _mm256_load_ps((const float *)sub + k * 32 + part * 8);
    case PARE_LAYOUT_F16:
        return load_halves(sub + k * 64 + part * 16);
    case PARE_LAYOUT_F8_E4M3:
        return e4m3_values(sub + k * 32 + part * 8);
    case PARE_LAYOUT_F8_E5M2:
        return e5m2_values(sub + k * 32 + part * 8);
    case PARE_LAYOUT_BF16: {
        __m256i pair = load_words(sub + k / 2 * 128 + part * 32);
        return _mm256_castsi256_ps(k % 2 ? _mm256_and_si256(pair, repeat(0xffff0000))
                                         : _mm256_slli_epi32(pair, 16));
    }
    case PARE_LAYOUT_FP4:
    case PARE_LAYOUT_FP4_DQ:
        return look_up(pare_fp4_values, load_words(sub + k / 8 * 128 + part * 32),
                       k % 4 * 8 + k / 4 % 2 * 4);
    case PARE_LAYOUT_NF4:
    case PARE_LAYOUT_NF4_DQ:
        return look_up(pare_nf4_values, load_words(sub + k / 8 * 128 + part * 32),
                       k % 4 * 8 + k / 4 % 2 * 4);
    default:
        return code_values(quad, k % 4);
    }
}

PARE_INLINE __m256 unit_scale(pare_layout layout, __m256 scale)
{
    return pare_layout_has_codes(layout) ? _mm256_mul_ps(scale, _mm256_set1_ps(PARE_CODE_UNIT))
                                         : scale;
}

/* ---- rows that exist ---- */

/* All ones in the lanes of rows before `rows`, for part `part` of a panel. */
PARE_INLINE __m256i row_mask(int64_t rows, int part)
{
    int left = rows >= PARE_PANEL ? PARE_PART : (int)rows - part * PARE_PART;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* y[0..rows-1] = total (+ bias) for one token. Masked stores only where rows end: AMD's processors
 * before Zen 4 take some 20 operations for one. */
PARE_INLINE void store_rows(float *y, const float *bias, int64_t rows,
                            const __m256 total[PARE_PARTS])
{
    const bool whole = rows >= PARE_PANEL;
#pragma GCC unroll 4
    for (int p = 0; p < PARE_PARTS; p++, y += PARE_PART) {
        __m256 value = total[p];
        if (bias && whole)
            value = _mm256_add_ps(value, _mm256_loadu_ps(bias + p * PARE_PART));
        else if (bias)
            value =
                _mm256_add_ps(value, _mm256_maskload_ps(bias + p * PARE_PART, row_mask(rows, p)));
        if (whole)
            _mm256_storeu_ps(y, value);
        else
            _mm256_maskstore_ps(y, row_mask(rows, p), value);
    }
}

#endif
