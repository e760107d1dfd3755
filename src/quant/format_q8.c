/* Blocks of 8-bit codes. q8_1 and q8_k are what llama.cpp turns activations into: read only. */
#include <string.h>

#include "quant/formats.h"

void pare_decode_q8_0(const void *stored, float *values, int64_t n)
{
    const pare_block_q8_0 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        float d = pare_f16_to_f32(block->d);
        for (int i = 0; i < 32; i++)
            values[i] = (float)block->q[i] * d;
    }
}

void pare_encode_q8_0(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q8_0 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        float absmax = 0;
        for (int i = 0; i < 32; i++)
            absmax = fmaxf(absmax, fabsf(values[i]));
        float d = absmax / 127, inverse = pare_inverse(d);
        block->d = pare_scale_to_f16(d);
        for (int i = 0; i < 32; i++) /* halves away from zero */
            block->q[i] = (int8_t)pare_clamp((int)roundf(values[i] * inverse), -127, 127);
    }
}

typedef struct PARE_PACKED {
    uint16_t d, sum;
    int8_t q[32];
} block_q8_1;
typedef struct PARE_PACKED {
    float d;
    int8_t q[256];
    int16_t sums[16];
} block_q8_k;

void pare_decode_q8_1(const void *stored, float *values, int64_t n)
{
    const block_q8_1 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        float d = pare_f16_to_f32(block->d);
        for (int i = 0; i < 32; i++)
            values[i] = (float)block->q[i] * d;
    }
}

void pare_decode_q8_k(const void *stored, float *values, int64_t n)
{
    const block_q8_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        float d = block->d;
        for (int i = 0; i < 256; i++)
            values[i] = (float)block->q[i] * d;
    }
}
