/* 256-bit FMA; 8-bit products by vpmaddubsw and vpmaddwd, as AVX2 kernels form them. */
#include "hw/peaks.h"

#include <immintrin.h>

enum { CHAINS = 12 }; /* of 16 registers */

static double fp32(int64_t rounds)
{
    __m256 sums[CHAINS], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++) {
        sums[j] = _mm256_setzero_ps();
        PARE_OPAQUE(sums[j]);
    }
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 12
        for (int j = 0; j < CHAINS; j++)
            sums[j] = _mm256_fmadd_ps(a, b, sums[j]);
    }
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++)
        PARE_OPAQUE(sums[j]);
    return (double)rounds * CHAINS * 8 * 2;
}

static double int8(int64_t rounds)
{
    enum { SUMS = 8 };
    __m256i sums[SUMS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-2),
                        ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
    for (int j = 0; j < SUMS; j++) {
        sums[j] = _mm256_setzero_si256();
        PARE_OPAQUE(sums[j]);
    }
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < SUMS; j++) {
            PARE_OPAQUE(a); /* otherwise one product would serve all chains */
            sums[j] =
                _mm256_add_epi32(sums[j], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < SUMS; j++)
        PARE_OPAQUE(sums[j]);
    return (double)rounds * SUMS * 32 * 2;
}

static uint64_t read_lines(const void *data, size_t bytes)
{
    const char *p = data, *q = p + bytes / 2;
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (size_t i = 0; i < bytes / 2; i += 64) {
        a = _mm256_xor_si256(a, _mm256_load_si256((const __m256i *)(p + i)));
        b = _mm256_xor_si256(b, _mm256_load_si256((const __m256i *)(p + i + 32)));
        c = _mm256_xor_si256(c, _mm256_load_si256((const __m256i *)(q + i)));
        d = _mm256_xor_si256(d, _mm256_load_si256((const __m256i *)(q + i + 32)));
    }
    a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
    __m128i half = _mm_xor_si128(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    return (uint64_t)_mm_extract_epi64(half, 0) ^ (uint64_t)_mm_extract_epi64(half, 1);
}

const pare_peaks pare_peaks_avx2 = {"avx2", fp32, NULL, int8, read_lines};
