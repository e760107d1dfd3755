/* What every machine can run: the compiler's own vectors of 16 bytes (SSE2, NEON). */
#include "hw/peaks.h"

#include "hw/cpu.h"

#include <string.h>

typedef float floats __attribute__((vector_size(16)));
typedef uint64_t words __attribute__((vector_size(16)));

static double fp32(int64_t rounds)
{
    enum { CHAINS = 8 };
    floats sums[CHAINS], a = {1, 1, 1, 1}, b = {0.5f, 0.5f, 0.5f, 0.5f};
#pragma GCC unroll 8
    for (int j = 0; j < CHAINS; j++) {
        sums[j] = (floats){0};
        PARE_OPAQUE(sums[j]);
    }
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < CHAINS; j++)
            sums[j] = sums[j] * b + a; /* two instructions where the baseline has no fused one */
    }
#pragma GCC unroll 8
    for (int j = 0; j < CHAINS; j++)
        PARE_OPAQUE(sums[j]);
    return (double)rounds * CHAINS * 4 * 2;
}

static uint64_t read_lines(const void *data, size_t bytes)
{
    const words *p = data, *q = p + bytes / 2 / sizeof *p;
    words a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < bytes / 2 / sizeof *p; i += 2) {
        a += p[i];
        b += p[i + 1];
        c += q[i];
        d += q[i + 1];
    }
    a += b + c + d;
    return a[0] + a[1];
}

const pare_peaks pare_peaks_baseline = {"ref", fp32, NULL, NULL, read_lines};

int pare_peaks_available(const pare_peaks *available[PARE_MAX_PEAKS])
{
    int count = 0;
    available[count++] = &pare_peaks_baseline;
#if defined(__x86_64__)
    pare_cpu cpu;
    pare_cpu_read(&cpu);
    if (cpu.avx2)
        available[count++] = &pare_peaks_avx2;
    if (cpu.avxvnni)
        available[count++] = &pare_peaks_avxvnni;
    if (cpu.avx512)
        available[count++] = &pare_peaks_avx512;
    if (cpu.avx512vnni)
        available[count++] = &pare_peaks_avx512vnni;
    if (cpu.avx512vnni && cpu.avx512bf16)
        available[count++] = &pare_peaks_avx512bf16;
#endif
    return count;
}
