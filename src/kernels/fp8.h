/* Activations in FP8 by the rules of compressed-tensors: one definition of what a value becomes.
 *
 *     value = scale e4m3(x / scale),   scale = largest magnitude / 448, or the file's
 *
 * e4m3 goes to the nearest value of E4M3 (four bits of exponent, bias 7, three of mantissa; 448 is
 * the largest), ties to even, and to 448 from beyond; NaN stays NaN. (compressed-tensors,
 * quantization/lifecycle/forward_helpers.py; its scale has the activations' type, here FP32.) */
#ifndef PARE_KERNELS_FP8_H
#define PARE_KERNELS_FP8_H

#include <stdint.h>
#include <string.h>

#define PARE_FP8_MOST 448.0f

/* Without branches: compilers vectorize it. */
static inline float pare_fp8_nearest(float x)
{
    const float shift = 0x1.8p14f; /* where FP32 has the step of subnormals, 2^-9 */
    float magnitude, small;
    uint32_t bits, rest;
    memcpy(&bits, &x, sizeof bits);
    rest = bits & 0x7fffffff;
    rest = rest > 0x43e00000 && rest <= 0x7f800000 ? 0x43e00000 : rest; /* 448 */
    memcpy(&magnitude, &rest, sizeof magnitude);
    small = (magnitude + shift) - shift;
    rest = rest > 0x7f800000 ? rest : (rest + 0x7ffff + (rest >> 20 & 1)) & ~0xfffffu;
    memcpy(&magnitude, &rest, sizeof magnitude);
    magnitude = magnitude < 0x1p-6f ? small : magnitude;
    memcpy(&rest, &magnitude, sizeof rest);
    rest |= bits & 0x80000000;
    memcpy(&x, &rest, sizeof x);
    return x;
}

#endif
