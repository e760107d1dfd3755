/* FP16 and BF16 conversions of single values, round to nearest even, exact for every input (NaN
 * stays NaN). */
#ifndef PARE_BASE_HALF_H
#define PARE_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float pare_bits_to_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t pare_f32_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float pare_bf16_to_f32(uint16_t half)
{
    return pare_bits_to_f32((uint32_t)half << 16);
}

static inline uint16_t pare_f32_to_bf16(float value)
{
    uint32_t bits = pare_f32_to_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40); /* NaN: made quiet, never rounded to infinity */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float pare_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest >= 0x7c00)
        return pare_bits_to_f32(sign | 0x7f800000u | (rest & 0x3ff) << 13);
    if (rest >= 0x0400)
        return pare_bits_to_f32(sign | ((rest << 13) + 0x38000000u));
    float magnitude = (float)rest * 0x1p-24f; /* subnormal or zero: exact */
    return pare_bits_to_f32(sign | pare_f32_to_bits(magnitude));
}

static inline uint16_t pare_f32_to_f16(float value)
{
    uint32_t bits = pare_f32_to_bits(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00);
    if (rest >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (rest < 0x38800000u) { /* below 2^-14: adding 0.5 aligns the subnormal's last bit with
                                 FP32's, rounding on the way */
        float shifted = pare_bits_to_f32(rest) + 0.5f;
        return (uint16_t)(sign | (pare_f32_to_bits(shifted) - 0x3f000000u));
    }
    rest += 0xfffu + (rest >> 13 & 1);
    return (uint16_t)(sign | (rest - 0x38000000u) >> 13);
}

#endif
