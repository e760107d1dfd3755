/* Floating-point formats. Encoding rounds to nearest even. */
#include <string.h>

#include "quant/formats.h"

void pare_decode_f32(const void *stored, float *values, int64_t n)
{
    memcpy(values, stored, (size_t)n * sizeof *values);
}

void pare_encode_f32(const float *values, void *stored, int64_t n, const float *importance)
{
    memcpy(stored, values, (size_t)n * sizeof *values);
}

void pare_decode_f64(const void *stored, float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double value;
        memcpy(&value, (const char *)stored + i * 8, sizeof value);
        values[i] = (float)value;
    }
}

/* memcpy: tensors in files may lie at odd addresses. */
static inline uint16_t load(const void *stored, int64_t i)
{
    uint16_t half;
    memcpy(&half, (const char *)stored + i * 2, sizeof half);
    return half;
}

static inline void store(void *stored, int64_t i, uint16_t half)
{
    memcpy((char *)stored + i * 2, &half, sizeof half);
}

void pare_decode_f16(const void *stored, float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = pare_f16_to_f32(load(stored, i));
}

void pare_encode_f16(const float *values, void *stored, int64_t n, const float *importance)
{
    for (int64_t i = 0; i < n; i++)
        store(stored, i, pare_f32_to_f16(values[i]));
}

void pare_decode_bf16(const void *stored, float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = pare_bf16_to_f32(load(stored, i));
}

void pare_encode_bf16(const float *values, void *stored, int64_t n, const float *importance)
{
    for (int64_t i = 0; i < n; i++)
        store(stored, i, pare_f32_to_bf16(values[i]));
}
