/* Kernel workshop: what one core can do, by instruction. gcc -O2 -march=native lab/peaks.c -o
 * /tmp/peaks && /tmp/peaks */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Twelve independent chains, each in its own register: enough for a latency of 6 at two a cycle. */
#define LOOP(name, type, init, op, per)                                                            \
    do {                                                                                           \
        type a0 = init, a1 = init, a2 = init, a3 = init, a4 = init, a5 = init, a6 = init,          \
             a7 = init, a8 = init, a9 = init, a10 = init, a11 = init;                              \
        double best = 1e9;                                                                         \
        for (int trial = 0; trial < 5; trial++) {                                                  \
            double start = now();                                                                  \
            for (int n = 0; n < 4000000; n++) {                                                    \
                STEP(a0, op)                                                                       \
                STEP(a1, op) STEP(a2, op) STEP(a3, op) STEP(a4, op) STEP(a5, op) STEP(a6, op)      \
                    STEP(a7, op) STEP(a8, op) STEP(a9, op) STEP(a10, op) STEP(a11, op)             \
            }                                                                                      \
            double t = now() - start;                                                              \
            best = t < best ? t : best;                                                            \
        }                                                                                          \
        printf("%-12s %8.1f Gops/s  %6.2f Ginstr/s\n", name, 12 * 4e6 * per / best * 1e-9,         \
               12 * 4e6 / best * 1e-9);                                                            \
    } while (0)
#define STEP(r, op)                                                                                \
    r = op(r);                                                                                     \
    __asm__ volatile("" : "+v"(r));

#define OP_fma512(r) _mm512_fmadd_ps(x, y, r)
#define OP_fma256(r) _mm256_fmadd_ps(_mm512_castps512_ps256(x), _mm512_castps512_ps256(y), r)
#define OP_dpbusd512(r) _mm512_dpbusd_epi32(r, b, c)
#define OP_dpbusd256(r) _mm256_dpbusd_epi32(r, _mm512_castsi512_si256(b), _mm512_castsi512_si256(c))
#define OP_dpbf16_512(r) _mm512_dpbf16_ps(r, (__m512bh)b, (__m512bh)c)
#define OP_cvtdq2ps(r) (__m512i) _mm512_cvtepi32_ps(r)
#define OP_pshufb(r) _mm512_shuffle_epi8(r, b)
#define OP_permps(r) _mm512_permutexvar_ps(b, r)
#define OP_srld(r) _mm512_srli_epi32(r, 1)
#define OP_mulps(r) _mm512_mul_ps(r, x)
#define OP_cvtph2ps(r) _mm512_cvtph_ps(_mm512_castsi512_si256((__m512i)r))
#define OP_pmulld(r) _mm512_mullo_epi32(r, b)
#define OP_vpand(r) _mm512_and_si512(r, b)

int main(void)
{
    __m512 x = _mm512_set1_ps(1.0f), y = _mm512_set1_ps(0.5f);
    __m512i b = _mm512_set1_epi8(3), c = _mm512_set1_epi8(2);
    __asm__ volatile("" : "+v"(x), "+v"(y), "+v"(b), "+v"(c));
    unsigned long long dep = 1;
    double s = now();
    for (int i = 0; i < 1000000000; i++)
        __asm__ volatile("add $1,%0" : "+r"(dep));
    printf("clock about %.2f GHz\n", 1.0 / (now() - s));
    LOOP("fma512", __m512, x, OP_fma512, 32);
    LOOP("fma256", __m256, _mm512_castps512_ps256(x), OP_fma256, 16);
    LOOP("dpbusd512", __m512i, b, OP_dpbusd512, 128);
    LOOP("dpbusd256", __m256i, _mm512_castsi512_si256(b), OP_dpbusd256, 64);
    LOOP("dpbf16_512", __m512, x, OP_dpbf16_512, 64);
    LOOP("cvtdq2ps", __m512i, b, OP_cvtdq2ps, 16);
    LOOP("pshufb", __m512i, b, OP_pshufb, 16);
    LOOP("permps", __m512, x, OP_permps, 16);
    LOOP("srld", __m512i, b, OP_srld, 16);
    LOOP("mulps", __m512, x, OP_mulps, 16);
    LOOP("cvtph2ps", __m512, x, OP_cvtph2ps, 16);
    LOOP("pmulld", __m512i, b, OP_pmulld, 16);
    LOOP("vpand", __m512i, b, OP_vpand, 16);
    size_t n = 512 << 20;
    char *p = aligned_alloc(1 << 21, n);
    for (size_t i = 0; i < n; i += 64)
        *(long *)(p + i) = i;
    for (int t = 0; t < 3; t++) {
        double st = now();
        __m512i acc = _mm512_setzero_si512();
        for (size_t i = 0; i < n; i += 256) {
            _mm_prefetch(p + i + 2048, 3);
            _mm_prefetch(p + i + 2048 + 128, 3);
            acc = _mm512_xor_si512(acc, _mm512_ternarylogic_epi64(
                                            _mm512_load_si512(p + i), _mm512_load_si512(p + i + 64),
                                            _mm512_load_si512(p + i + 128), 0x96));
            acc = _mm512_xor_si512(acc, _mm512_load_si512(p + i + 192));
        }
        __asm__ volatile("" ::"v"(acc));
        printf("read one core %.1f GB/s\n", n / (now() - st) * 1e-9);
    }
    return 0;
}
