/* q3_k: 16 groups of 16 elements, 3-bit codes, a signed 6-bit scale for each group. */
#include "quant/formats.h"
#include "quant/kquant.h"
#include "quant/search.h"

void pare_decode_q3_k(const void *stored, float *values, int64_t n)
{
    const pare_block_q3_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        uint8_t codes[256], scales[16];
        float d = pare_f16_to_f32(block->d);
        pare_unpack_2_bits(block->q, codes);
        pare_unpack_high_bit(block->high, 2, codes);
        pare_unpack_scales_3_k(block->scales, scales);
        for (int j = 0; j < 16; j++) {
            float scale = d * (float)(scales[j] - 32);
            for (int i = 16 * j; i < 16 * j + 16; i++)
                values[i] = scale * (float)(codes[i] - 4);
        }
    }
}

/* Codes of the groups' scales so that the one of largest magnitude gets -32; returns the step as
 * FP16. */
static uint16_t round_scales(const float *scales, uint8_t codes[16])
{
    float largest = 0;
    for (int j = 0; j < 16; j++)
        largest = fabsf(scales[j]) > fabsf(largest) ? scales[j] : largest;
    if (largest == 0) {
        memset(codes, 0, 16);
        return 0;
    }
    float inverse = -32 / largest;
    for (int j = 0; j < 16; j++)
        codes[j] = (uint8_t)(pare_clamp(pare_nearest(inverse * scales[j]), -32, 31) + 32);
    return pare_scale_to_f16(1 / inverse);
}

static void choose(const float *x, const float *importance, pare_block_q3_k *block,
                   uint8_t codes[256])
{
    float scales[16], weights[16], sums[16];
    uint8_t scale_codes[16];
    const float mean_square = importance ? 2 * pare_mean_square(x, 256) : 0;
    for (int j = 0; j < 16; j++) {
        const float *group = x + 16 * j;
        if (!importance) {
            scales[j] = pare_search_symmetric_descent(16, 4, group, codes + 16 * j);
            continue;
        }
        pare_importance_weights(group, importance + 16 * j, mean_square, weights, 16);
        scales[j] = pare_search_symmetric(16, 4, group, weights, codes + 16 * j);
        sums[j] = 0;
        for (int i = 0; i < 16; i++)
            sums[j] += weights[i];
    }
    block->d = importance
                   ? pare_scale_to_f16(pare_search_symmetric(16, 32, scales, sums, scale_codes))
                   : round_scales(scales, scale_codes);
    pare_pack_scales_3_k(scale_codes, block->scales);
}

void pare_encode_q3_k(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q3_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        uint8_t codes[256], scales[16];
        choose(values, importance ? importance + 256 * b : NULL, block, codes);
        pare_unpack_scales_3_k(block->scales, scales);
        float d = pare_f16_to_f32(block->d);
        for (int j = 0; j < 16; j++) { /* again, with the scales as stored */
            float scale = d * (float)(scales[j] - 32);
            for (int i = 16 * j; scale != 0 && i < 16 * j + 16; i++)
                codes[i] = (uint8_t)(pare_clamp(pare_nearest(values[i] / scale), -4, 3) + 4);
        }
        pare_pack_2_bits(codes, block->q);
        pare_pack_high_bit(codes, 2, block->high);
    }
}
