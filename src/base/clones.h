/* Functions that are compiled for several instruction sets and chosen at load. Their loops vectorize
 * over independent elements and nothing is contracted to FMA, so that every machine computes the
 * same bits. Static functions: GCC exports the clones of others, hidden or not. */
#ifndef PARE_BASE_CLONES_H
#define PARE_BASE_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_THREAD__) &&                                                               \
    !defined(__SANITIZE_ADDRESS__) /* the choice at load runs before a sanitizer is ready */
#define PARE_CLONES __attribute__((target_clones("avx512f", "avx2", "default"), noinline))
#else
#define PARE_CLONES __attribute__((noinline))
#endif

#endif
