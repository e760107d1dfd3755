/* Reading packed weights (layouts.h) with AVX-512: each function is specialized for a constant
 * layout at compile time. A panel's 32 rows are two halves of 16 lanes; `half` is 0 or 1. */
#ifndef PARE_KERNELS_X86_AVX512_LAYOUTS_H
#define PARE_KERNELS_X86_AVX512_LAYOUTS_H

#include "kernels/layouts.h"
#include "quant/types.h"

#include <immintrin.h>
#include <string.h>

#define PARE_INLINE static inline __attribute__((always_inline))

/* Codes reach FP32 as the top byte of an integer, 2^24 times too large: the scales take this back,
 * without rounding. */
#define PARE_CODE_UNIT 0x1p-24f

PARE_INLINE __m512i load_words(const uint8_t *p)
{
    return _mm512_load_si512(p);
}

PARE_INLINE __m512 load_halves(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p));
}

PARE_INLINE __m512 load_signed_bytes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)p)));
}

PARE_INLINE __m512 load_bytes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)p)));
}

PARE_INLINE __m512i repeat(uint32_t word)
{
    return _mm512_set1_epi32((int)word);
}

/* True for the layouts whose values come from their codes by way of bytes, PARE_CODE_UNIT too
 * large. The others are numbers, or codes of at most 4 bits, for which VPERMPS looks values up. */
PARE_INLINE bool by_bytes(pare_layout layout)
{
    switch (layout) {
    case PARE_LAYOUT_I8_CH:
    case PARE_LAYOUT_Q8_0:
    case PARE_LAYOUT_Q5_0:
    case PARE_LAYOUT_Q5_1:
    case PARE_LAYOUT_Q5_K:
    case PARE_LAYOUT_Q6_K:
    case PARE_LAYOUT_Q3_K:
    case PARE_LAYOUT_I3_G32:
    case PARE_LAYOUT_I3_G64:
    case PARE_LAYOUT_I3_G128:
    case PARE_LAYOUT_I3_G32_ASYM:
    case PARE_LAYOUT_I3_G64_ASYM:
    case PARE_LAYOUT_I3_G128_ASYM:
        return true;
    default:
        return false;
    }
}

PARE_INLINE __m512i nibbles(const uint8_t *p, int q, int half)
{
    __m512i word = load_words(p + q / 2 * 128 + half * 64);
    return _mm512_and_si512(q % 2 ? _mm512_srli_epi32(word, 4) : word, repeat(0x0f0f0f0f));
}

/* Words shifted so that bit `from` of each byte becomes bit `to`; other bits are garbage. */
PARE_INLINE __m512i move_bits(__m512i word, int from, int to)
{
    if (from < to)
        return _mm512_slli_epi32(word, (unsigned)(to - from));
    return from > to ? _mm512_srli_epi32(word, (unsigned)(from - to)) : word;
}

/* a | (b & mask) */
PARE_INLINE __m512i or_masked(__m512i a, __m512i b, uint32_t mask)
{
    return _mm512_ternarylogic_epi32(a, b, repeat(mask), 0xf8);
}

/* iq4_nl's values, plus 128: bytes without sign, as VNNI wants. */
PARE_INLINE __m512i iq4_bytes(__m512i codes)
{
    const __m128i table =
        _mm_xor_si128(_mm_loadu_si128((const __m128i *)pare_iq4_values), _mm_set1_epi8(-128));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes);
}

/* Twice the values of E2M1, plus 16. */
PARE_INLINE __m512i e2m1_bytes(__m512i codes)
{
    const __m128i table =
        _mm_add_epi8(_mm_loadu_si128((const __m128i *)pare_e2m1_values), _mm_set1_epi8(16));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes);
}

/* The numbers of an i-quant's set, plus the layout's zero point. */
PARE_INLINE __m512i iq_set_bytes(pare_layout layout, __m512i codes)
{
    const __m128i table =
        _mm_add_epi8(_mm_loadu_si128((const __m128i *)pare_iq_sets[pare_layout_iq_set(layout)]),
                     _mm_set1_epi8((char)(1 << pare_layouts[layout].zero_bits)));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes);
}

/* Quad q of a sub: 16 rows x 4 unsigned codes. */
PARE_INLINE __m512i load_quad(pare_layout layout, const uint8_t *sub, int q, int half)
{
    switch (layout) {
    case PARE_LAYOUT_I8_CH:
    case PARE_LAYOUT_Q8_0:
        return load_words(sub + q * 128 + half * 64);
    case PARE_LAYOUT_IQ4_NL:
    case PARE_LAYOUT_IQ4_XS:
        return iq4_bytes(nibbles(sub, q, half));
    case PARE_LAYOUT_MXFP4:
    case PARE_LAYOUT_NVFP4:
        return e2m1_bytes(nibbles(sub, q, half));
    case PARE_LAYOUT_IQ3_S:
    case PARE_LAYOUT_IQ3_XXS:
    case PARE_LAYOUT_IQ2:
    case PARE_LAYOUT_IQ1:
        return iq_set_bytes(layout, nibbles(sub, q, half));
    case PARE_LAYOUT_Q5_0:
    case PARE_LAYOUT_Q5_1:
    case PARE_LAYOUT_Q5_K:
        return or_masked(nibbles(sub + 128, q, half), move_bits(load_words(sub + half * 64), q, 4),
                         0x10101010);
    case PARE_LAYOUT_Q6_K: {
        __m512i high = load_words(sub + q / 4 * 128 + half * 64);
        return or_masked(nibbles(sub + 256, q, half), move_bits(high, q % 4 * 2, 4), 0x30303030);
    }
    case PARE_LAYOUT_Q3_K:
    case PARE_LAYOUT_I3_G32:
    case PARE_LAYOUT_I3_G64:
    case PARE_LAYOUT_I3_G128:
    case PARE_LAYOUT_I3_G32_ASYM:
    case PARE_LAYOUT_I3_G64_ASYM:
    case PARE_LAYOUT_I3_G128_ASYM: {
        __m512i low = move_bits(load_words(sub + q / 4 * 128 + half * 64), q % 4 * 2, 0);
        __m512i high = move_bits(load_words(sub + 256 + half * 64), q, 2);
        return or_masked(_mm512_and_si512(low, repeat(0x03030303)), high, 0x04040404);
    }
    case PARE_LAYOUT_Q2_K:
    case PARE_LAYOUT_I2_G32:
    case PARE_LAYOUT_I2_G64:
    case PARE_LAYOUT_I2_G128:
    case PARE_LAYOUT_I2_G32_ASYM:
    case PARE_LAYOUT_I2_G64_ASYM:
    case PARE_LAYOUT_I2_G128_ASYM: {
        __m512i low = move_bits(load_words(sub + q / 4 * 128 + half * 64), q % 4 * 2, 0);
        return _mm512_and_si512(low, repeat(0x03030303));
    }
    default: /* 4 bits */
        return nibbles(sub, q, half);
    }
}

/* The same as signed bytes, zero point taken off. */
PARE_INLINE __m512i load_signed_quad(pare_layout layout, const uint8_t *sub, int q, int half)
{
    __m512i codes = load_quad(layout, sub, q, half);
    int bits = pare_layouts[layout].zero_bits;
    return bits ? _mm512_sub_epi8(codes, _mm512_set1_epi8((char)(1 << bits))) : codes;
}

/* Byte i of each lane, signed, times 2^24, as FP32. */
PARE_INLINE __m512 code_values(__m512i quad, int i)
{
    /* Indices with the top bit set give zero bytes. */
    const __m128i second = _mm_set_epi32(0x0d808080, 0x09808080, 0x05808080, 0x01808080);
    const __m128i third = _mm_set_epi32(0x0e808080, 0x0a808080, 0x06808080, 0x02808080);
    if (i == 0)
        return _mm512_cvtepi32_ps(_mm512_slli_epi32(quad, 24));
    if (i == 3)
        return _mm512_cvtepi32_ps(_mm512_and_si512(quad, repeat(0xff000000)));
    return _mm512_cvtepi32_ps(
        _mm512_shuffle_epi8(quad, _mm512_broadcast_i32x4(i == 1 ? second : third)));
}

/* ---- scales of sub s (of its block); `group` is 0 or 1 where 16 columns share one ---- */

/* Byte i of each lane, unsigned. */
PARE_INLINE __m512 byte_values(__m512i words, int i)
{
    __m512i shifted = _mm512_srl_epi32(words, _mm_cvtsi32_si128(8 * i));
    return _mm512_cvtepi32_ps(_mm512_and_si512(shifted, repeat(0xff)));
}

/* q4_k's and q5_k's 6-bit numbers: words 0 and 1 hold scales and minimums 0..3 in the low 6 bits of
 * each byte and the high bits of 4..7 above them; word 2 has the low bits of scales (low nibbles)
 * and minimums 4..7. */
PARE_INLINE __m512 k_scale(const uint8_t *words, int s, int half, bool minimum)
{
    __m512i word = load_words(words + minimum * 128 + half * 64);
    if (s < 4)
        return byte_values(_mm512_and_si512(word, repeat(0x3f3f3f3f)), s);
    __m512i low = load_words(words + 256 + half * 64);
    low = _mm512_and_si512(minimum ? _mm512_srli_epi32(low, 4) : low, repeat(0x0f0f0f0f));
    return byte_values(or_masked(low, _mm512_srli_epi32(word, 2), 0x30303030), s - 4);
}

/* q3_k: scale g of 16 has its low nibble in byte g % 8 (low half for g < 8) and its high bits in
 * byte 8 + g % 4. */
PARE_INLINE __m512 q3_k_scale(const uint8_t *words, int g, int half)
{
    __m512i low = load_words(words + g / 4 % 2 * 128 + half * 64),
            high = load_words(words + 256 + half * 64);
    low = _mm512_and_si512(g < 8 ? low : _mm512_srli_epi32(low, 4), repeat(0x0f0f0f0f));
    /* Bits 2 (g / 4) and the next of each byte go to 4 and 5; what else moves is masked off. */
    __m512i high_bits = _mm512_rolv_epi32(high, _mm512_set1_epi32((4 - g / 4 * 2) & 31));
    return _mm512_sub_ps(byte_values(or_masked(low, high_bits, 0x30303030), g % 4),
                         _mm512_set1_ps(32));
}

PARE_INLINE __m512 iq4_xs_scale(const uint8_t *block, int s, int half)
{
    __m512i high =
        _mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i *)(block + 64 + half * 32)));
    __m512i low = load_words(block + 128 + half * 64);
    high = _mm512_and_si512(_mm512_srl_epi32(high, _mm_cvtsi32_si128(2 * s)), repeat(3));
    low = _mm512_and_si512(_mm512_srl_epi32(low, _mm_cvtsi32_si128(4 * s)), repeat(15));
    __m512i scale = _mm512_or_si512(low, _mm512_slli_epi32(high, 4));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(scale, repeat(32)));
}

/* UE4M3 (its half) of 16 rows: FP16 with the same bits is 2^8 times too small. 0x7f counts as 0. */
PARE_INLINE __m512 half_ue4m3(const uint8_t *p)
{
    __m128i codes = _mm_load_si128((const __m128i *)p), top = _mm_set1_epi8(0x7f);
    codes = _mm_andnot_si128(_mm_cmpeq_epi8(codes, top), _mm_and_si128(codes, top));
    __m256i halves = _mm256_slli_epi16(_mm256_cvtepu8_epi16(codes), 7);
    return _mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(128));
}

/* Half of 2^(exponent - 127). */
PARE_INLINE __m512 half_e8m0(const uint8_t *p)
{
    __m512i exponent = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)p));
    return _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23)),
                         _mm512_set1_ps(0.5f));
}

/* The absmax of nf4_dq: no fused multiply-add, as the decoder has it. */
PARE_INLINE __m512 nested_absmax(const uint8_t *panel, const uint8_t *codes, int half)
{
    __m512i index = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)codes));
    __m512 product = _mm512_mul_ps(_mm512_i32gather_ps(index, pare_nested_values, 4),
                                   _mm512_load_ps(panel + half * 64));
    return _mm512_add_ps(product, _mm512_load_ps(panel + 128 + half * 64));
}

/* E4M3 of 16 rows: the bits of an FP16 2^8 times too small, its sign extended by one bit. */
PARE_INLINE __m512 e4m3_values(const uint8_t *p)
{
    __m256i wide = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)p));
    return _mm512_cvtph_ps(
        _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16((short)0xbfff)));
}

PARE_INLINE __m512 e5m2_values(const uint8_t *p)
{
    __m256i wide = _mm256_cvtepu8_epi16(_mm_load_si128((const __m128i *)p));
    return _mm512_cvtph_ps(_mm256_slli_epi16(wide, 8));
}

/* `panel` is the panel's start, where i8_ch has its scales. */
PARE_INLINE __m512 load_scale(pare_layout layout, const uint8_t *panel, const uint8_t *block, int s,
                              int group, int half)
{
    if (pare_layout_asym_subs(layout))
        return load_halves(block + s / pare_layout_asym_subs(layout) * 64 + half * 32);
    switch (layout) {
    case PARE_LAYOUT_F32:
    case PARE_LAYOUT_F16:
    case PARE_LAYOUT_BF16:
        return _mm512_set1_ps(1);
    case PARE_LAYOUT_I8_CH:
    case PARE_LAYOUT_F8_E5M2:
        return _mm512_load_ps(panel + half * 64);
    case PARE_LAYOUT_F8_E4M3: /* values are 2^8 too small */
        return _mm512_mul_ps(_mm512_load_ps(panel + half * 64), _mm512_set1_ps(256));
    case PARE_LAYOUT_NF4_DQ:
    case PARE_LAYOUT_FP4_DQ:
        return nested_absmax(panel, block + s / 2 * 32 + half * 16, half);
    case PARE_LAYOUT_IQ3_S:
    case PARE_LAYOUT_IQ3_XXS:
    case PARE_LAYOUT_IQ2:
    case PARE_LAYOUT_IQ1:
        return _mm512_mul_ps(
            _mm512_mul_ps(load_halves(block + half * 32),
                          load_bytes(block + 64 + (2 * s + group) * 32 + half * 16)),
            _mm512_set1_ps(pare_iq_units[pare_layout_iq_set(layout)]));
    case PARE_LAYOUT_MXFP4:
        return half_e8m0(block + s * 32 + half * 16);
    case PARE_LAYOUT_NVFP4:
        return _mm512_mul_ps(half_ue4m3(block + (2 * s + group) * 32 + half * 16),
                             _mm512_load_ps(panel + half * 64));
    case PARE_LAYOUT_NF4:
    case PARE_LAYOUT_FP4:
        return _mm512_load_ps(block + half * 64);
    case PARE_LAYOUT_Q4_K:
    case PARE_LAYOUT_Q5_K:
        return _mm512_mul_ps(load_halves(block + half * 32), k_scale(block + 128, s, half, false));
    case PARE_LAYOUT_Q6_K:
        return _mm512_mul_ps(load_halves(block + half * 32),
                             load_signed_bytes(block + 64 + (2 * s + group) * 32 + half * 16));
    case PARE_LAYOUT_Q3_K:
        return _mm512_mul_ps(load_halves(block + half * 32),
                             q3_k_scale(block + 64, 2 * s + group, half));
    case PARE_LAYOUT_Q2_K: {
        __m128i both =
            _mm_load_si128((const __m128i *)(block + 128 + (2 * s + group) * 32 + half * 16));
        __m512i scale = _mm512_and_si512(_mm512_cvtepu8_epi32(both), repeat(15));
        return _mm512_mul_ps(load_halves(block + half * 32), _mm512_cvtepi32_ps(scale));
    }
    case PARE_LAYOUT_IQ4_XS:
        return _mm512_mul_ps(load_halves(block + half * 32), iq4_xs_scale(block, s, half));
    default: /* one FP16 scale for the block */
        return load_halves(block + half * 32);
    }
}

PARE_INLINE __m512 asym_minimum(const uint8_t *block, int g, int half)
{
    __m512 zero = load_bytes(block + 128 + 32 * g + half * 16);
    return _mm512_sub_ps(_mm512_setzero_ps(),
                         _mm512_mul_ps(load_halves(block + g * 64 + half * 32), zero));
}

/* What is added to scale * code, for layouts with minimums. */
PARE_INLINE __m512 load_minimum(pare_layout layout, const uint8_t *block, int s, int group,
                                int half)
{
    const __m512 zero = _mm512_setzero_ps();
    if (pare_layout_asym_subs(layout))
        return asym_minimum(block, s / pare_layout_asym_subs(layout), half);
    switch (layout) {
    case PARE_LAYOUT_Q4_K:
    case PARE_LAYOUT_Q5_K:
        return _mm512_sub_ps(zero, _mm512_mul_ps(load_halves(block + 64 + half * 32),
                                                 k_scale(block + 128, s, half, true)));
    case PARE_LAYOUT_Q2_K: {
        __m128i both =
            _mm_load_si128((const __m128i *)(block + 128 + (2 * s + group) * 32 + half * 16));
        __m512i minimum = _mm512_srli_epi32(_mm512_cvtepu8_epi32(both), 4);
        return _mm512_sub_ps(
            zero, _mm512_mul_ps(load_halves(block + 64 + half * 32), _mm512_cvtepi32_ps(minimum)));
    }
    default: /* q4_1, q5_1 */
        return load_halves(block + 64 + half * 32);
    }
}

/* The values of 4-bit codes. VPERMPS looks at the low 4 bits of each index only, so that codes need
 * not be masked; 2-bit codes have other bits above them, which the table ignores. */
PARE_INLINE __m512 value_table(pare_layout layout)
{
    switch (layout) {
    case PARE_LAYOUT_NF4:
    case PARE_LAYOUT_NF4_DQ:
        return _mm512_loadu_ps(pare_nf4_values);
    case PARE_LAYOUT_FP4:
    case PARE_LAYOUT_FP4_DQ:
        return _mm512_loadu_ps(pare_fp4_values);
    case PARE_LAYOUT_IQ4_NL:
    case PARE_LAYOUT_IQ4_XS:
        return load_signed_bytes((const uint8_t *)pare_iq4_values);
    case PARE_LAYOUT_MXFP4:
    case PARE_LAYOUT_NVFP4:
        return load_signed_bytes((const uint8_t *)pare_e2m1_values);
    case PARE_LAYOUT_IQ3_S:
    case PARE_LAYOUT_IQ3_XXS:
    case PARE_LAYOUT_IQ2:
    case PARE_LAYOUT_IQ1:
        return load_signed_bytes((const uint8_t *)pare_iq_sets[pare_layout_iq_set(layout)]);
    case PARE_LAYOUT_I2_G32:
    case PARE_LAYOUT_I2_G64:
    case PARE_LAYOUT_I2_G128:
        return _mm512_setr_ps(-2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1);
    case PARE_LAYOUT_I2_G32_ASYM:
    case PARE_LAYOUT_I2_G64_ASYM:
    case PARE_LAYOUT_I2_G128_ASYM:
    case PARE_LAYOUT_Q2_K:
        return _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    default: {
        int bits = pare_layouts[layout].zero_bits;
        __m512 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        return _mm512_sub_ps(codes, _mm512_set1_ps(bits ? (float)(1 << bits) : 0));
    }
    }
}

/* 16 rows of column k of a sub as FP32, to be multiplied with unit_scale below. `quad` is
 * load_signed_quad of k / 4 where by_bytes. */
PARE_INLINE __m512 load_values(pare_layout layout, const uint8_t *sub, __m512i quad, int k,
                               int half)
{
    switch (layout) {
    case PARE_LAYOUT_F32:
        return _mm512_load_ps(sub + k * 128 + half * 64);
    case PARE_LAYOUT_F16:
        return load_halves(sub + k * 64 + half * 32);
    case PARE_LAYOUT_F8_E4M3:
        return e4m3_values(sub + k * 32 + half * 16);
    case PARE_LAYOUT_F8_E5M2:
        return e5m2_values(sub + k * 32 + half * 16);
    case PARE_LAYOUT_BF16: {
        __m512i pair = load_words(sub + k / 2 * 128 + half * 64);
        return _mm512_castsi512_ps(k % 2 ? _mm512_and_si512(pair, repeat(0xffff0000))
                                         : _mm512_slli_epi32(pair, 16));
    }
    case PARE_LAYOUT_Q2_K:
    case PARE_LAYOUT_I2_G32:
    case PARE_LAYOUT_I2_G64:
    case PARE_LAYOUT_I2_G128:
    case PARE_LAYOUT_I2_G32_ASYM:
    case PARE_LAYOUT_I2_G64_ASYM:
    case PARE_LAYOUT_I2_G128_ASYM: {
        __m512i word = load_words(sub + k / 16 * 128 + half * 64);
        unsigned bit = (unsigned)(k % 4 * 8 + k / 4 % 4 * 2);
        return _mm512_permutexvar_ps(_mm512_srli_epi32(word, bit), value_table(layout));
    }
    default: {
        if (by_bytes(layout))
            return code_values(quad, k % 4);
        __m512i word = load_words(sub + k / 8 * 128 + half * 64);
        unsigned bit = (unsigned)(k % 4 * 8 + k / 4 % 2 * 4);
        return _mm512_permutexvar_ps(_mm512_srli_epi32(word, bit), value_table(layout));
    }
    }
}

enum { AHEAD = 8192 }; /* bytes that a stream of weights is prefetched ahead */

/* The share of one sub in its block, metadata included. */
PARE_INLINE void prefetch_ahead(pare_layout layout, const uint8_t *block, int s)
{
    int64_t step =
        (int64_t)pare_layout_block_bytes(layout) * PARE_SUB / pare_layouts[layout].columns;
    const char *from = (const char *)block + s * step + AHEAD;
    for (int64_t i = 0; i < step; i += 64)
        _mm_prefetch(from + i, _MM_HINT_T0);
}

/* A stretch of packed weights that will be needed soon, asked for a few lines at a time while
 * others are multiplied. */
typedef struct prefetcher {
    const char *next, *end;
} prefetcher;

static inline prefetcher prefetch_subs(pare_layout layout, const uint8_t *panel, int64_t first,
                                       int count)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    size_t sub_bytes = pare_layout_block_bytes(layout) * PARE_SUB / (size_t)l->columns;
    const char *next = (const char *)panel + l->header + (size_t)first * sub_bytes;
    return (prefetcher){next, next + (size_t)count * sub_bytes};
}

PARE_INLINE void prefetch_some(prefetcher *p, int64_t bytes)
{
    const char *end = p->end - p->next > bytes ? p->next + bytes : p->end;
    for (; p->next < end; p->next += 64)
        _mm_prefetch(p->next, _MM_HINT_T0);
}

PARE_INLINE __m512 unit_scale(pare_layout layout, __m512 scale)
{
    return by_bytes(layout) ? _mm512_mul_ps(scale, _mm512_set1_ps(PARE_CODE_UNIT)) : scale;
}

#endif
