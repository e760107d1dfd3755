/* The 8-bit rounding of activations: one rule for all tiers, so that they agree on every code. */
#ifndef PARE_KERNELS_QUANTIZE8_H
#define PARE_KERNELS_QUANTIZE8_H

#include <math.h>
#include <stdint.h>

enum { PARE_Q8_BLOCK = 32 };

/* Below this largest magnitude a block counts as zero: 127 / maximum would leave FP32's range. */
#define PARE_Q8_TINY 0x1p-100f

/* scale = maximum / 127 and code = x * (127 / maximum) rounded to nearest even; n <= 32 values, the
 * rest become 0. Returns the scale. */
static inline float pare_quantize8(int8_t codes[PARE_Q8_BLOCK], const float *x, int64_t n)
{
    float maximum = 0;
    for (int64_t i = 0; i < n; i++)
        maximum = fabsf(x[i]) > maximum ? fabsf(x[i]) : maximum;
    float inverse = maximum > PARE_Q8_TINY ? 127.0f / maximum : 0;
    for (int64_t i = 0; i < PARE_Q8_BLOCK; i++)
        codes[i] = i < n ? (int8_t)lrintf(x[i] * inverse) : 0;
    return maximum > PARE_Q8_TINY ? maximum / 127.0f : 0;
}

#endif
