/* iq4_nl, iq4_xs: 4-bit codes of 16 unevenly spaced values, in blocks of 32 with an FP16 scale, or
 * in super-blocks with a signed 6-bit scale for each 32. */
#include <string.h>

#include "quant/formats.h"
#include "quant/search.h"

const int8_t pare_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};

static void unpack(const uint8_t *q, float d, float *values)
{
    for (int i = 0; i < 16; i++) {
        values[i] = d * (float)pare_iq4_values[q[i] & 15];
        values[i + 16] = d * (float)pare_iq4_values[q[i] >> 4];
    }
}

void pare_decode_iq4_nl(const void *stored, float *values, int64_t n)
{
    const pare_block_iq4_nl *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32)
        unpack(block->q, pare_f16_to_f32(block->d), values);
}

void pare_decode_iq4_xs(const void *stored, float *values, int64_t n)
{
    const pare_block_iq4_xs *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        float d = pare_f16_to_f32(block->d);
        for (int j = 0; j < 8; j++) {
            int scale = (block->scales_low[j / 2] >> (j % 2 * 4) & 15) |
                        (block->scales_high >> (2 * j) & 3) << 4;
            unpack(block->q + 16 * j, d * (float)(scale - 32), values + 32 * j);
        }
    }
}

/* The nearest of the 16 values; of two equally near ones the upper. */
static int nearest_code(float x)
{
    int low = 0, high = 15;
    if (x <= (float)pare_iq4_values[0])
        return 0;
    if (x >= (float)pare_iq4_values[15])
        return 15;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (x < (float)pare_iq4_values[middle])
            high = middle;
        else
            low = middle;
    }
    return x - (float)pare_iq4_values[low] < (float)pare_iq4_values[high] - x ? low : high;
}

static void fit(const float *x, const float *weights, float inverse, float *x_value,
                float *value_value)
{
    *x_value = *value_value = 0;
    for (int i = 0; i < 32; i++) {
        float value = pare_iq4_values[nearest_code(inverse * x[i])];
        *x_value += weights[i] * value * x[i];
        *value_value += weights[i] * value * value;
    }
}

/* The scale of one group of 32: least squares for the codes of 16 candidates around "largest
 * magnitude on -127". */
static float search(const float *x, const float *weights)
{
    enum { TRIES = 7 };
    float extreme = 0, x_value, value_value;
    for (int i = 0; i < 32; i++)
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    if (fabsf(extreme) < PARE_GROUP_EPSILON)
        return 0;
    float first = -extreme / (float)pare_iq4_values[0];
    fit(x, weights, 1 / first, &x_value, &value_value);
    float scale = value_value > 0 ? x_value / value_value : 0, best = scale * x_value;
    for (int try = -TRIES; try <= TRIES; try++) {
        fit(x, weights, ((float)try + (float)pare_iq4_values[0]) / extreme, &x_value, &value_value);
        if (value_value > 0 && x_value * x_value > best * value_value) {
            scale = x_value / value_value;
            best = scale * x_value;
        }
    }
    return scale;
}

static void choose_weights(const float *x, const float *importance, float mean_square,
                           float *weights)
{
    if (importance) {
        pare_importance_weights(x, importance, mean_square, weights, 32);
        return;
    }
    for (int i = 0; i < 32; i++)
        weights[i] = x[i] * x[i];
}

static void encode_group(const float *x, float inverse, uint8_t *q)
{
    for (int i = 0; i < 16; i++)
        q[i] = (uint8_t)(nearest_code(inverse * x[i]) | nearest_code(inverse * x[i + 16]) << 4);
}

void pare_encode_iq4_nl(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_iq4_nl *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        float weights[32];
        choose_weights(values, importance ? importance + 32 * b : NULL,
                       2 * pare_mean_square(values, 32), weights);
        float scale = search(values, weights);
        block->d = pare_scale_to_f16(scale);
        encode_group(values, pare_inverse(scale), block->q);
    }
}

static void encode_super_block(const float *x, const float *importance, pare_block_iq4_xs *block)
{
    float scales[8], largest = 0, weights[32];
    const float mean_square = 2 * pare_mean_square(x, 256);
    for (int j = 0; j < 8; j++) {
        choose_weights(x + 32 * j, importance ? importance + 32 * j : NULL, mean_square, weights);
        scales[j] = search(x + 32 * j, weights);
        largest = fabsf(scales[j]) > fabsf(largest) ? scales[j] : largest;
    }
    float d = -largest / 32, inverse = pare_inverse(d);
    memset(block, 0, sizeof *block);
    block->d = pare_scale_to_f16(d);
    for (int j = 0; j < 8; j++) {
        int code = pare_clamp(pare_nearest(inverse * scales[j]), -32, 31);
        encode_group(x + 32 * j, pare_inverse(d * (float)code), block->q + 16 * j);
        code += 32;
        block->scales_low[j / 2] |= (uint8_t)((code & 15) << (j % 2 * 4));
        block->scales_high |= (uint16_t)(code >> 4 << (2 * j));
    }
}

void pare_encode_iq4_xs(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_iq4_xs *block = stored;
    for (int64_t b = 0; b < n / 256; b++)
        encode_super_block(values + 256 * b, importance ? importance + 256 * b : NULL, block + b);
}
