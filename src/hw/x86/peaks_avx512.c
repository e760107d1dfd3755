/* 512-bit FMA; 8-bit products by vpmaddubsw and vpmaddwd. */
#include "hw/peaks.h"

#include <immintrin.h>

enum { CHAINS = 16 };

static double fp32(int64_t rounds)
{
    __m512 sums[CHAINS], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
#pragma GCC unroll 16
    for (int j = 0; j < CHAINS; j++) {
        sums[j] = _mm512_setzero_ps();
        PARE_OPAQUE(sums[j]);
    }
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 16
        for (int j = 0; j < CHAINS; j++)
            sums[j] = _mm512_fmadd_ps(a, b, sums[j]);
    }
#pragma GCC unroll 16
    for (int j = 0; j < CHAINS; j++)
        PARE_OPAQUE(sums[j]);
    return (double)rounds * CHAINS * 16 * 2;
}

static double int8(int64_t rounds)
{
    enum { SUMS = 12 };
    __m512i sums[SUMS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2),
                        ones = _mm512_set1_epi16(1);
#pragma GCC unroll 12
    for (int j = 0; j < SUMS; j++) {
        sums[j] = _mm512_setzero_si512();
        PARE_OPAQUE(sums[j]);
    }
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 12
        for (int j = 0; j < SUMS; j++) {
            PARE_OPAQUE(a); /* otherwise one product would serve all chains */
            sums[j] =
                _mm512_add_epi32(sums[j], _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), ones));
        }
    }
#pragma GCC unroll 12
    for (int j = 0; j < SUMS; j++)
        PARE_OPAQUE(sums[j]);
    return (double)rounds * SUMS * 64 * 2;
}

static uint64_t read_lines(const void *data, size_t bytes)
{
    const char *p = data, *q = p + bytes / 2;
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (size_t i = 0; i < bytes / 2; i += 128) {
        a = _mm512_xor_si512(a, _mm512_load_si512(p + i));
        b = _mm512_xor_si512(b, _mm512_load_si512(p + i + 64));
        c = _mm512_xor_si512(c, _mm512_load_si512(q + i));
        d = _mm512_xor_si512(d, _mm512_load_si512(q + i + 64));
    }
    a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
    return (uint64_t)_mm512_reduce_add_epi64(a);
}

const pare_peaks pare_peaks_avx512 = {"avx512", fp32, NULL, int8, read_lines};
