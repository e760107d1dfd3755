/* q2_k: 16 groups of 16 elements, 2-bit codes, a 4-bit scale and minimum for each group. */
#include "quant/formats.h"
#include "quant/kquant.h"
#include "quant/search.h"

void pare_decode_q2_k(const void *stored, float *values, int64_t n)
{
    const pare_block_q2_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        uint8_t codes[256];
        float d = pare_f16_to_f32(block->d), dmin = pare_f16_to_f32(block->dmin);
        pare_unpack_2_bits(block->q, codes);
        for (int j = 0; j < 16; j++) {
            float scale = d * (float)(block->scales[j] & 15),
                  minimum = dmin * (float)(block->scales[j] >> 4);
            for (int i = 16 * j; i < 16 * j + 16; i++)
                values[i] = scale * (float)codes[i] - minimum;
        }
    }
}

/* Four-bit codes of the groups' scales or minima, by the largest; returns the step as FP16. */
static uint16_t round_scales(const float *scales, uint8_t codes[16])
{
    float largest = 0;
    for (int j = 0; j < 16; j++)
        largest = scales[j] > largest ? scales[j] : largest;
    float inverse = largest > 0 ? 15 / largest : 0;
    for (int j = 0; j < 16; j++)
        codes[j] = (uint8_t)pare_clamp(pare_nearest(inverse * scales[j]), 0, 15);
    return largest > 0 ? pare_scale_to_f16(largest / 15) : 0;
}

static void choose(const float *x, const float *importance, pare_block_q2_k *block,
                   uint8_t codes[256])
{
    float scales[16], minima[16], weights[16], sums[16];
    uint8_t scale_codes[16], minimum_codes[16];
    const float mean_square = importance ? pare_mean_square(x, 256) : 0;
    for (int j = 0; j < 16; j++) {
        const float *group = x + 16 * j;
        if (importance) {
            pare_importance_weights(group, importance + 16 * j, mean_square, weights, 16);
            scales[j] = pare_search_affine(16, 3, group, weights, codes + 16 * j, &minima[j], -0.9f,
                                           0.05f, 36, false);
        } else {
            for (int i = 0; i < 16; i++)
                weights[i] = fabsf(group[i]);
            scales[j] = pare_search_affine(16, 3, group, weights, codes + 16 * j, &minima[j], -0.5f,
                                           0.1f, 15, true);
        }
        sums[j] = 0;
        for (int i = 0; i < 16; i++)
            sums[j] += weights[i];
    }
    if (importance) {
        block->d = pare_scale_to_f16(pare_search_positive(16, 15, scales, sums, scale_codes));
        block->dmin = pare_scale_to_f16(pare_search_positive(16, 15, minima, sums, minimum_codes));
    } else {
        block->d = round_scales(scales, scale_codes);
        block->dmin = round_scales(minima, minimum_codes);
    }
    for (int j = 0; j < 16; j++)
        block->scales[j] = (uint8_t)(scale_codes[j] | minimum_codes[j] << 4);
}

void pare_encode_q2_k(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q2_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        uint8_t codes[256];
        choose(values, importance ? importance + 256 * b : NULL, block, codes);
        float d = pare_f16_to_f32(block->d), dmin = pare_f16_to_f32(block->dmin);
        for (int j = 0; j < 16; j++) { /* again, with the scales as stored */
            float scale = d * (float)(block->scales[j] & 15),
                  minimum = dmin * (float)(block->scales[j] >> 4);
            for (int i = 16 * j; scale != 0 && i < 16 * j + 16; i++)
                codes[i] = (uint8_t)pare_clamp(pare_nearest((values[i] + minimum) / scale), 0, 3);
        }
        pare_pack_2_bits(codes, block->q);
    }
}
