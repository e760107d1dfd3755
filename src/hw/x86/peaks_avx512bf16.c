/* 512-bit vdpbf16ps, which belongs to the tier avx512vnni where the CPU has it. */
#include "hw/peaks.h"

#include <immintrin.h>

enum { CHAINS = 16 };

static double bf16(int64_t rounds)
{
    __m512 sums[CHAINS];
    __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f00),
             b = (__m512bh)_mm512_set1_epi16(0x3e80); /* 0.5, 0.25 */
#pragma GCC unroll 16
    for (int j = 0; j < CHAINS; j++) {
        sums[j] = _mm512_setzero_ps();
        PARE_OPAQUE(sums[j]);
    }
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 16
        for (int j = 0; j < CHAINS; j++)
            sums[j] = _mm512_dpbf16_ps(sums[j], a, b);
    }
#pragma GCC unroll 16
    for (int j = 0; j < CHAINS; j++)
        PARE_OPAQUE(sums[j]);
    return (double)rounds * CHAINS * 32 * 2;
}

const pare_peaks pare_peaks_avx512bf16 = {"avx512vnni", NULL, bf16, NULL, NULL};
