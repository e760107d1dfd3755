/* Loops that do nothing but keep one execution resource busy; one set per ISA tier, each file
 * compiled with its flags.
 *
 * Arithmetic: independent chains of one instruction on registers, more chains than latency x
 * throughput (4 x 2 on all present cores), operands that never reach memory. (All loops over the
 * chains are unrolled: an array that is indexed by a variable would be stored in each round.)
 * Reading: whole cache lines in two streams, which Zen 5 reads 5 % faster than one, combined so
 * that no load may be left out. */
#ifndef PARE_HW_PEAKS_H
#define PARE_HW_PEAKS_H

#include <stddef.h>
#include <stdint.h>

/* Runs `rounds` rounds and returns the operations done (a multiply-add is two). */
typedef double (*pare_peak_loop)(int64_t rounds);

typedef struct pare_peaks {
    const char *isa;
    pare_peak_loop fp32, bf16,
        int8; /* NULL: the tier has no such instruction, or it is an other tier's */
    /* Reads `bytes` (a multiple of 1024) from 64-byte aligned memory. */
    uint64_t (*read)(const void *data, size_t bytes);
} pare_peaks;

enum { PARE_MAX_PEAKS = 8 };

/* The tiers that this machine can run, lowest first; returns how many. */
int pare_peaks_available(const pare_peaks *available[PARE_MAX_PEAKS]);

extern const pare_peaks pare_peaks_baseline;
extern const pare_peaks pare_peaks_avx2, pare_peaks_avxvnni, pare_peaks_avx512,
    pare_peaks_avx512vnni, pare_peaks_avx512bf16;

/* Runs 4 x rounds dependent multiplications and returns the cycles that they take; 0 where that is
 * not known. */
double pare_multiply_chain(int64_t rounds);

/* Hides a register's value from the compiler, which can then neither hoist nor merge what is
 * computed from it. Chains that start with known equal values would become one. */
#if defined(__AVX512F__)
#define PARE_OPAQUE(x) __asm__ volatile("" : "+v"(x))
#elif defined(__aarch64__)
#define PARE_OPAQUE(x) __asm__ volatile("" : "+w"(x))
#else
#define PARE_OPAQUE(x) __asm__ volatile("" : "+x"(x))
#endif

#endif
