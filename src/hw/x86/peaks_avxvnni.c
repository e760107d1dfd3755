/* 256-bit vpdpbusd in its VEX encoding. */
#include "hw/peaks.h"

#include <immintrin.h>

enum { CHAINS = 12 };

static double int8(int64_t rounds)
{
    __m256i sums[CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-2);
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++) {
        sums[j] = _mm256_setzero_si256();
        PARE_OPAQUE(sums[j]);
    }
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 12
        for (int j = 0; j < CHAINS; j++)
            sums[j] = _mm256_dpbusd_avx_epi32(sums[j], a, b);
    }
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++)
        PARE_OPAQUE(sums[j]);
    return (double)rounds * CHAINS * 32 * 2;
}

const pare_peaks pare_peaks_avxvnni = {"avxvnni", NULL, NULL, int8, NULL};
