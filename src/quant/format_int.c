/* Integer formats of 8 bits of our own: i8_ch (each row has a scale) and i8_tensor (all rows have
 * the same one, which each row repeats). */
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

void pare_encode_i8_scaled(const float *values, void *stored, int64_t n, float scale)
{
    int8_t *codes = stored;
    float inverse = pare_inverse(scale);
    for (int64_t i = 0; i < n; i++) {
        float quotient = inverse != 0 ? values[i] / scale : 0;
        codes[i] = (int8_t)pare_clamp(pare_nearest(quotient), -127, 127);
    }
    memcpy(codes + n, &scale, sizeof scale);
}

void pare_encode_i8_ch(const float *values, void *stored, int64_t n, const float *importance)
{
    float absmax = 0;
    for (int64_t i = 0; i < n; i++)
        absmax = fmaxf(absmax, fabsf(values[i]));
    pare_encode_i8_scaled(values, stored, n, absmax / 127);
}

void pare_decode_i8_tensor(const void *stored, float *values, int64_t n)
{
    pare_decode_i8_ch(stored, values, n);
}

/* A row by itself is a tensor; who knows the whole one gives the scale to pare_encode_i8_scaled. */
void pare_encode_i8_tensor(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_encode_i8_ch(values, stored, n, importance);
}
