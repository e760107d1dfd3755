/* Activations to 8 bits in 256-bit registers, by the rule of quantize8.h, in the tiles of
 * activations.h. */
#ifndef PARE_KERNELS_X86_QUANTIZE_YMM_H
#define PARE_KERNELS_X86_QUANTIZE_YMM_H

#include "kernels/activations.h"
#include "kernels/quantize8.h"
#include "kernels/x86/avx2_layouts.h"

/* Sums of neighbouring 16-bit numbers. */
PARE_INLINE __m256i widen(__m256i pairs)
{
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

PARE_INLINE float highest(__m256 x)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* One sub: 32 codes in order; gives the scale, and the sums of the two halves' codes. */
PARE_INLINE float quantize_sub(const float *x, int64_t left, __m256i *codes, int32_t sums16[2])
{
    __m256 part[PARE_PARTS], maximum = _mm256_setzero_ps();
    const __m256 sign = _mm256_set1_ps(-0.0f);
#pragma GCC unroll 4
    for (int p = 0; p < PARE_PARTS; p++) {
        part[p] = left >= PARE_SUB ? _mm256_loadu_ps(x + p * PARE_PART)
                                   : _mm256_maskload_ps(x + p * PARE_PART, row_mask(left, p));
        maximum = _mm256_max_ps(maximum, _mm256_andnot_ps(sign, part[p]));
    }
    float most = highest(maximum);
    __m256 inverse = _mm256_set1_ps(most > PARE_Q8_TINY ? 127.0f / most : 0);
    __m256i whole[PARE_PARTS];
#pragma GCC unroll 4
    for (int p = 0; p < PARE_PARTS; p++)
        whole[p] = _mm256_cvtps_epi32(_mm256_mul_ps(part[p], inverse));
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]),
                                       _mm256_packs_epi32(whole[2], whole[3]));
    *codes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    __m256i quads = widen(_mm256_maddubs_epi16(_mm256_set1_epi8(1), *codes));
    __m256i pairs = _mm256_add_epi32(quads, _mm256_shuffle_epi32(quads, 0x4e));
    __m256i all = _mm256_add_epi32(pairs, _mm256_shuffle_epi32(pairs, 0xb1));
    sums16[0] = _mm256_extract_epi32(all, 0);
    sums16[1] = _mm256_extract_epi32(all, 4);
    return most > PARE_Q8_TINY ? most / 127.0f : 0;
}

/* The codes of one sub of a token (of a tile `width` wide), in 16 bits. */
PARE_INLINE void store_words(int16_t *to, int width, const int8_t codes[PARE_SUB])
{
    _Alignas(32) int16_t words[PARE_SUB];
    for (int i = 0; i < PARE_SUB; i += 16)
        _mm256_store_si256((__m256i *)(words + i),
                           _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(codes + i))));
    for (int i = 0; i < PARE_SUB / 2; i++)
        memcpy(to + 2 * i * width, words + 2 * i, 4);
}

static void prepare(void *prepared, const float *x, int64_t x_stride, int64_t tokens,
                    int64_t columns, int64_t first, int64_t last)
{
    pare_tiles_q8 to = pare_tiles_q8_of(prepared, tokens, columns);
    int64_t subs = pare_subs(columns);
    for (int64_t t = first; t < last; t++) {
        pare_tile tile = pare_tile_of(t, tokens, PARE_TILE);
        int64_t start = tile.first * subs, w = tile.width, lane = t - tile.first;
        int8_t *codes = to.codes + start * PARE_SUB + lane * 4;
        for (int64_t s = 0; s < subs; s++) {
            _Alignas(32) int8_t sub[PARE_SUB];
            int32_t sum[2];
            __m256i quantized;
            float scale = quantize_sub(x + t * x_stride + s * PARE_SUB, columns - s * PARE_SUB,
                                       &quantized, sum);
            _mm256_store_si256((__m256i *)sub, quantized);
            for (int q = 0; q < 8; q++)
                memcpy(codes + (s * 8 + q) * w * 4, sub + 4 * q, 4);
            store_words(to.words + (start + s * w) * PARE_SUB + 2 * lane, (int)w, sub);
            int64_t at = start + s * w + lane, at16 = 2 * start + 2 * s * w + lane;
            to.scales[at] = scale;
            to.less32[at] = -(sum[0] + sum[1]);
            to.sums32[at] = scale * (float)(sum[0] + sum[1]);
            for (int h = 0; h < 2; h++) {
                to.less16[at16 + h * w] = -sum[h];
                to.sums16[at16 + h * w] = scale * (float)sum[h];
            }
        }
    }
}

#endif
