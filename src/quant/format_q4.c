/* q4_0, q4_1: blocks of 32 codes of 4 bits. */
#include <float.h>

#include "quant/formats.h"
#include "quant/search.h"

void pare_decode_q4_0(const void *stored, float *values, int64_t n)
{
    const pare_block_q4_0 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        float d = pare_f16_to_f32(block->d);
        for (int i = 0; i < 16; i++) {
            values[i] = (float)((block->q[i] & 15) - 8) * d;
            values[i + 16] = (float)((block->q[i] >> 4) - 8) * d;
        }
    }
}

void pare_decode_q4_1(const void *stored, float *values, int64_t n)
{
    const pare_block_q4_1 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        float d = pare_f16_to_f32(block->d), m = pare_f16_to_f32(block->m);
        for (int i = 0; i < 16; i++) {
            values[i] = (float)(block->q[i] & 15) * d + m;
            values[i + 16] = (float)(block->q[i] >> 4) * d + m;
        }
    }
}

static void pack(const uint8_t *codes, uint8_t *q)
{
    for (int i = 0; i < 16; i++)
        q[i] = (uint8_t)(codes[i] | codes[i + 16] << 4);
}

void pare_encode_q4_0(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q4_0 *block = stored;
    const float mean_square = importance ? pare_mean_square(values, n) : 0;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        uint8_t codes[32];
        float weights[32];
        if (importance) {
            pare_importance_weights(values, importance + b * 32, mean_square, weights, 32);
            block->d = pare_scale_to_f16(pare_search_symmetric(32, 8, values, weights, codes));
        } else {
            block->d = pare_round_extreme(values, 8, codes);
        }
        pack(codes, block->q);
    }
}

void pare_encode_q4_1(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q4_1 *block = stored;
    const float mean_square = importance ? pare_mean_square(values, n) : 0;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        uint8_t codes[32];
        float weights[32], minimum;
        if (importance) {
            pare_importance_weights(values, importance + b * 32, mean_square, weights, 32);
            float d = pare_search_affine(32, 15, values, weights, codes, &minimum, -0.9f, 0.05f, 36,
                                         false);
            block->d = pare_scale_to_f16(d);
            block->m = pare_scale_to_f16(-minimum);
        } else {
            block->d = pare_round_range(values, 15, codes, &minimum);
            block->m = pare_scale_to_f16(minimum);
        }
        pack(codes, block->q);
    }
}
