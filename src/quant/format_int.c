/* Integer formats of our own: i8_ch (a row with one scale) and i4_gN (groups with an FP16 scale,
 * with or without a zero point). They hold what the papers on 8- and 4-bit weights call per-channel
 * and group-wise quantization. */
#include <string.h>

#include "quant/formats.h"

void pare_decode_i8_ch(const void *stored, float *values, int64_t n)
{
    const int8_t *codes = stored;
    float scale;
    memcpy(&scale, codes + n, sizeof scale);
    for (int64_t i = 0; i < n; i++)
        values[i] = scale * (float)codes[i];
}

void pare_encode_i8_ch(const float *values, void *stored, int64_t n, const float *importance)
{
    int8_t *codes = stored;
    float absmax = 0;
    for (int64_t i = 0; i < n; i++)
        absmax = fmaxf(absmax, fabsf(values[i]));
    float scale = absmax / 127, inverse = pare_inverse(scale);
    for (int64_t i = 0; i < n; i++) {
        float quotient = inverse != 0 ? values[i] / scale : 0;
        codes[i] = (int8_t)pare_clamp(pare_nearest(quotient), -127, 127);
    }
    memcpy(codes + n, &scale, sizeof scale);
}

static void unpack(const uint8_t *q, int group, float scale, int zero, float *values)
{
    for (int i = 0; i < group / 2; i++) {
        values[2 * i] = scale * (float)((q[i] & 15) - zero);
        values[2 * i + 1] = scale * (float)((q[i] >> 4) - zero);
    }
}

/* Codes by the scale as it is stored. A scale that FP16 rounds to zero leaves the zero point
 * everywhere. */
static void pack(const float *x, int group, float scale, int zero, int low, uint8_t *q)
{
    for (int i = 0; i < group / 2; i++) {
        int code[2];
        for (int k = 0; k < 2; k++) {
            float quotient = scale != 0 ? x[2 * i + k] / scale : 0;
            code[k] = pare_clamp(pare_nearest(quotient) + zero, low, 15);
        }
        q[i] = (uint8_t)(code[0] | code[1] << 4);
    }
}

static void decode_symmetric(const uint8_t *block, float *values, int64_t n, int group)
{
    for (int64_t b = 0; b < n / group; b++, block += 2 + group / 2, values += group) {
        uint16_t half;
        memcpy(&half, block, 2);
        unpack(block + 2, group, pare_f16_to_f32(half), 8, values);
    }
}

/* scale = absmax / 7: codes 1..15 stand for -7..7. */
static void encode_symmetric(const float *x, uint8_t *block, int64_t n, int group)
{
    for (int64_t b = 0; b < n / group; b++, block += 2 + group / 2, x += group) {
        float absmax = 0;
        for (int i = 0; i < group; i++)
            absmax = fmaxf(absmax, fabsf(x[i]));
        uint16_t half = pare_scale_to_f16(absmax / 7);
        memcpy(block, &half, 2);
        pack(x, group, pare_f16_to_f32(half), 8, 1, block + 2);
    }
}

static void decode_asymmetric(const uint8_t *block, float *values, int64_t n, int group)
{
    for (int64_t b = 0; b < n / group; b++, block += 3 + group / 2, values += group) {
        uint16_t half;
        memcpy(&half, block, 2);
        unpack(block + 3, group, pare_f16_to_f32(half), block[2], values);
    }
}

/* The range includes zero, so that the zero point is a code: scale = (max - min) / 15, zero =
 * round(-min / scale). */
static void encode_asymmetric(const float *x, uint8_t *block, int64_t n, int group)
{
    for (int64_t b = 0; b < n / group; b++, block += 3 + group / 2, x += group) {
        float low = 0, high = 0;
        for (int i = 0; i < group; i++) {
            low = fminf(low, x[i]);
            high = fmaxf(high, x[i]);
        }
        uint16_t half = pare_scale_to_f16((high - low) / 15);
        float scale = pare_f16_to_f32(half);
        int zero = scale != 0 ? pare_clamp(pare_nearest(-low / scale), 0, 15) : 0;
        memcpy(block, &half, 2);
        block[2] = (uint8_t)zero;
        pack(x, group, scale, zero, 0, block + 3);
    }
}

#define GROUP(size)                                                                                \
    void pare_decode_i4_g##size(const void *stored, float *values, int64_t n)                      \
    {                                                                                              \
        decode_symmetric(stored, values, n, size);                                                 \
    }                                                                                              \
    void pare_encode_i4_g##size(const float *values, void *stored, int64_t n,                      \
                                const float *importance)                                           \
    {                                                                                              \
        encode_symmetric(values, stored, n, size);                                                 \
    }                                                                                              \
    void pare_decode_i4_g##size##_asym(const void *stored, float *values, int64_t n)               \
    {                                                                                              \
        decode_asymmetric(stored, values, n, size);                                                \
    }                                                                                              \
    void pare_encode_i4_g##size##_asym(const float *values, void *stored, int64_t n,               \
                                       const float *importance)                                    \
    {                                                                                              \
        encode_asymmetric(values, stored, n, size);                                                \
    }

GROUP(32)
GROUP(64)
GROUP(128)
