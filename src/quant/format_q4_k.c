/* q4_k and the search that it shares with q5_k: 8 groups of 32 elements, a 6-bit scale and minimum
 * for each group. */
#include "quant/format_q45_k.h"

#include "quant/formats.h"
#include "quant/search.h"

/* Six-bit codes of the groups' scales or minima, by the largest; returns the step as FP16. */
static uint16_t round_scales(const float *scales, uint8_t codes[8])
{
    float largest = 0;
    for (int j = 0; j < 8; j++)
        largest = scales[j] > largest ? scales[j] : largest;
    float inverse = largest > 0 ? 63 / largest : 0;
    for (int j = 0; j < 8; j++)
        codes[j] = (uint8_t)pare_clamp(pare_nearest(inverse * scales[j]), 0, 63);
    return pare_scale_to_f16(largest / 63);
}

/* Scales and minima of the groups; the codes stay for groups whose scale is rounded to zero. */
static void choose(const float *x, const float *importance, int top, uint16_t d[2],
                   uint8_t packed[12], uint8_t codes[256])
{
    float scales[8], minima[8], weights[32], sums[8];
    uint8_t scale_codes[8], minimum_codes[8];
    const float mean_square = importance ? 2 * pare_mean_square(x, 256) : 0;
    const float first = top == 15 ? -1.0f : -0.5f; /* the reference's search intervals */
    const int steps = top == 15 ? 20 : 15;
    for (int j = 0; j < 8; j++) {
        const float *group = x + 32 * j;
        if (importance) {
            pare_importance_weights(group, importance + 32 * j, mean_square, weights, 32);
            scales[j] = pare_search_affine(32, top, group, weights, codes + 32 * j, &minima[j],
                                           -0.9f, 0.05f, 36, false);
        } else {
            float deviation = sqrtf(pare_mean_square(group, 32));
            for (int i = 0; i < 32; i++)
                weights[i] = deviation + fabsf(group[i]);
            scales[j] = pare_search_affine(32, top, group, weights, codes + 32 * j, &minima[j],
                                           first, 0.1f, steps, false);
        }
        sums[j] = 0;
        for (int i = 0; i < 32; i++)
            sums[j] += weights[i];
    }
    if (importance) {
        d[0] = pare_scale_to_f16(pare_search_positive(8, 63, scales, sums, scale_codes));
        d[1] = pare_scale_to_f16(pare_search_positive(8, 63, minima, sums, minimum_codes));
    } else {
        d[0] = round_scales(scales, scale_codes);
        d[1] = round_scales(minima, minimum_codes);
    }
    pare_pack_scales_6(scale_codes, minimum_codes, packed);
}

void pare_encode_super_block(const float *x, const float *importance, int top, uint16_t d[2],
                             uint8_t packed[12], uint8_t codes[256])
{
    uint8_t scales[8], minima[8];
    choose(x, importance, top, d, packed, codes);
    pare_unpack_scales_6(packed, scales, minima);
    float step = pare_f16_to_f32(d[0]), minimum_step = pare_f16_to_f32(d[1]);
    for (int j = 0; j < 8; j++) {
        float scale = step * (float)scales[j], minimum = minimum_step * (float)minima[j];
        for (int i = 32 * j; scale != 0 && i < 32 * j + 32; i++)
            codes[i] = (uint8_t)pare_clamp(pare_nearest((x[i] + minimum) / scale), 0, top);
    }
}

void pare_decode_super_block(const uint16_t d[2], const uint8_t packed[12],
                             const uint8_t codes[256], float *values)
{
    uint8_t scales[8], minima[8];
    pare_unpack_scales_6(packed, scales, minima);
    float step = pare_f16_to_f32(d[0]), minimum_step = pare_f16_to_f32(d[1]);
    for (int j = 0; j < 8; j++) {
        float scale = step * (float)scales[j], minimum = minimum_step * (float)minima[j];
        for (int i = 32 * j; i < 32 * j + 32; i++)
            values[i] = scale * (float)codes[i] - minimum;
    }
}

void pare_decode_q4_k(const void *stored, float *values, int64_t n)
{
    const pare_block_q4_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        uint8_t codes[256];
        pare_unpack_4_bits(block->q, codes);
        pare_decode_super_block((uint16_t[]){block->d, block->dmin}, block->scales, codes, values);
    }
}

void pare_encode_q4_k(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q4_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        uint8_t codes[256];
        uint16_t d[2];
        pare_encode_super_block(values, importance ? importance + 256 * b : NULL, 15, d,
                                block->scales, codes);
        block->d = d[0];
        block->dmin = d[1];
        pare_pack_4_bits(codes, block->q);
    }
}
