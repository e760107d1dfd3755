/* q5_0, q5_1: blocks of 32 codes of 5 bits; the fifth bits lie apart, bit i of the 32-bit word
 * being element i's. */
#include <string.h>

#include "quant/formats.h"
#include "quant/search.h"

static void unpack(const uint8_t *q, const uint8_t *high, uint8_t *codes)
{
    for (int i = 0; i < 16; i++) {
        codes[i] = (uint8_t)((q[i] & 15) | (high[i / 8] >> i % 8 & 1) << 4);
        codes[i + 16] = (uint8_t)(q[i] >> 4 | (high[2 + i / 8] >> i % 8 & 1) << 4);
    }
}

static void pack(const uint8_t *codes, uint8_t *q, uint8_t *high)
{
    memset(high, 0, 4);
    for (int i = 0; i < 16; i++)
        q[i] = (uint8_t)((codes[i] & 15) | (codes[i + 16] & 15) << 4);
    for (int i = 0; i < 32; i++)
        high[i / 8] |= (uint8_t)((codes[i] >> 4) << i % 8);
}

void pare_decode_q5_0(const void *stored, float *values, int64_t n)
{
    const pare_block_q5_0 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        uint8_t codes[32];
        float d = pare_f16_to_f32(block->d);
        unpack(block->q, block->high, codes);
        for (int i = 0; i < 32; i++)
            values[i] = (float)(codes[i] - 16) * d;
    }
}

void pare_decode_q5_1(const void *stored, float *values, int64_t n)
{
    const pare_block_q5_1 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        uint8_t codes[32];
        float d = pare_f16_to_f32(block->d), m = pare_f16_to_f32(block->m);
        unpack(block->q, block->high, codes);
        for (int i = 0; i < 32; i++)
            values[i] = (float)codes[i] * d + m;
    }
}

void pare_encode_q5_0(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q5_0 *block = stored;
    const float mean_square = importance ? pare_mean_square(values, n) : 0;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        uint8_t codes[32];
        float weights[32];
        if (importance) {
            pare_importance_weights(values, importance + b * 32, mean_square, weights, 32);
            block->d = pare_scale_to_f16(pare_search_symmetric(32, 16, values, weights, codes));
        } else {
            block->d = pare_round_extreme(values, 16, codes);
        }
        pack(codes, block->q, block->high);
    }
}

void pare_encode_q5_1(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q5_1 *block = stored;
    const float mean_square = importance ? pare_mean_square(values, n) : 0;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        uint8_t codes[32];
        float weights[32], minimum;
        if (importance) {
            pare_importance_weights(values, importance + b * 32, mean_square, weights, 32);
            float d = pare_search_affine(32, 31, values, weights, codes, &minimum, -0.9f, 0.05f, 36,
                                         false);
            block->d = pare_scale_to_f16(d);
            block->m = pare_scale_to_f16(-minimum);
        } else {
            block->d = pare_round_range(values, 31, codes, &minimum);
            block->m = pare_scale_to_f16(minimum);
        }
        pack(codes, block->q, block->high);
    }
}
