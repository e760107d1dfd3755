/* Rows of 8-bit floating-point numbers with one FP32 scale (OCP 8-bit Floating Point Specification
 * 1.0): f8_e4m3_ch and f8_e5m2_ch. */
#include <string.h>

#include "quant/formats.h"

#define E4M3_LARGEST 448.0f
#define E5M2_LARGEST 57344.0f

/* Exponent 0 is subnormal; 0x7f is no number. As FP16 with the same bits the bias would be 15. */
static float from_e4m3(uint8_t code)
{
    if ((code & 0x7f) == 0x7f)
        return NAN;
    return pare_f16_to_f32((uint16_t)((code & 0x80) << 8 | (code & 0x7f) << 7)) * 256;
}

static float from_e5m2(uint8_t code)
{
    return pare_f16_to_f32((uint16_t)(code << 8));
}

/* Nearest, halves to even, of a number of `mantissa` bits and an exponent with `bias`; saturates at
 * the code `largest`. */
static uint8_t round_to(float x, int mantissa, int bias, uint8_t largest)
{
    uint32_t bits = pare_f32_to_bits(x), rest = bits & 0x7fffffffu;
    uint8_t sign = (uint8_t)(bits >> 24 & 0x80);
    const int shift = 23 - mantissa;
    uint32_t code;
    if (rest < (uint32_t)(128 - bias) << 23) /* below the smallest normal number */
        code = (uint32_t)pare_nearest(ldexpf(pare_bits_to_f32(rest), bias - 1 + mantissa));
    else
        code = ((rest + (1u << (shift - 1)) - 1 + (rest >> shift & 1)) >> shift) -
               ((uint32_t)(127 - bias) << mantissa);
    return (uint8_t)(sign | (code < largest ? code : largest));
}

static void decode(const uint8_t *codes, float *values, int64_t n, float (*value)(uint8_t))
{
    float scale;
    memcpy(&scale, codes + n, sizeof scale);
    for (int64_t i = 0; i < n; i++)
        values[i] = scale * value(codes[i]);
}

static float row_scale(const float *values, int64_t n, float largest)
{
    float absmax = 0;
    for (int64_t i = 0; i < n; i++)
        absmax = fmaxf(absmax, fabsf(values[i]));
    return absmax / largest;
}

void pare_decode_f8_e4m3_ch(const void *stored, float *values, int64_t n)
{
    decode(stored, values, n, from_e4m3);
}

void pare_encode_f8_e4m3_ch(const float *values, void *stored, int64_t n, const float *importance)
{
    uint8_t *codes = stored;
    float scale = row_scale(values, n, E4M3_LARGEST), inverse = pare_inverse(scale);
    for (int64_t i = 0; i < n; i++)
        codes[i] = round_to(inverse != 0 ? values[i] / scale : 0, 3, 7, 0x7e);
    memcpy(codes + n, &scale, sizeof scale);
}

void pare_decode_f8_e5m2_ch(const void *stored, float *values, int64_t n)
{
    decode(stored, values, n, from_e5m2);
}

void pare_encode_f8_e5m2_ch(const float *values, void *stored, int64_t n, const float *importance)
{
    uint8_t *codes = stored;
    float scale = row_scale(values, n, E5M2_LARGEST), inverse = pare_inverse(scale);
    for (int64_t i = 0; i < n; i++)
        codes[i] = round_to(inverse != 0 ? values[i] / scale : 0, 2, 15, 0x7b);
    memcpy(codes + n, &scale, sizeof scale);
}
