/* 512-bit vpdpbusd. */
#include "hw/peaks.h"

#include <immintrin.h>

enum { CHAINS = 16 };

static double int8(int64_t rounds)
{
    __m512i sums[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2);
#pragma GCC unroll 16
    for (int j = 0; j < CHAINS; j++) {
        sums[j] = _mm512_setzero_si512();
        PARE_OPAQUE(sums[j]);
    }
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 16
        for (int j = 0; j < CHAINS; j++)
            sums[j] = _mm512_dpbusd_epi32(sums[j], a, b);
    }
#pragma GCC unroll 16
    for (int j = 0; j < CHAINS; j++)
        PARE_OPAQUE(sums[j]);
    return (double)rounds * CHAINS * 64 * 2;
}

const pare_peaks pare_peaks_avx512vnni = {"avx512vnni", NULL, NULL, int8, NULL};
