/* A small seeded generator: SplitMix64 (Steele, Lea, Flood 2014). The same seed gives the same
 * numbers everywhere. */
#ifndef PARE_BASE_RANDOM_H
#define PARE_BASE_RANDOM_H

#include <math.h>
#include <stdint.h>

typedef struct pare_random {
    uint64_t state;
} pare_random;

static inline uint64_t pare_random_u64(pare_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* [0, 1) with 53 bits. */
static inline double pare_random_uniform(pare_random *random)
{
    return (double)(pare_random_u64(random) >> 11) * 0x1p-53;
}

/* [0, n) for n > 0; the bias is below 2^-32 for the sizes used here. */
static inline uint64_t pare_random_below(pare_random *random, uint64_t n)
{
    return (uint64_t)(((__uint128_t)pare_random_u64(random) * n) >> 64);
}

/* Standard normal, by Box and Muller; one of the pair is dropped to keep the state a single word.
 */
static inline double pare_random_normal(pare_random *random)
{
    double u = 1.0 - pare_random_uniform(random), v = pare_random_uniform(random);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

#endif
