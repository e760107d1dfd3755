/* nf4 and fp4 as bitsandbytes defines them (Dettmers et al. 2023, "QLoRA", appendix E; its
 * csrc/kernels): blocks of 64, an FP32 absmax, 4-bit codes of fixed values. */
#include "quant/formats.h"

/* The 16 quantiles of a normal distribution, scaled to -1..1, zero among them. */
const float pare_nf4_values[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

/* Sign, two bits of exponent, one of mantissa, with a table of its own: 12 units are the largest.
 * Code 8 is minus zero. */
const float pare_fp4_values[16] = {
    0.0f,  0.0625f / 12,  8.0f / 12,  12.0f / 12,  4.0f / 12,  6.0f / 12,  2.0f / 12,  3.0f / 12,
    -0.0f, -0.0625f / 12, -8.0f / 12, -12.0f / 12, -4.0f / 12, -6.0f / 12, -2.0f / 12, -3.0f / 12,
};

static void decode(const void *stored, float *values, int64_t n, const float *table)
{
    const pare_block_nf4 *block = stored;
    for (int64_t b = 0; b < n / 64; b++, block++, values += 64) {
        for (int i = 0; i < 32; i++) {
            values[2 * i] = table[block->q[i] & 15] * block->absmax;
            values[2 * i + 1] = table[block->q[i] >> 4] * block->absmax;
        }
    }
}

/* The code whose neighbours' midpoints enclose x; a midpoint itself belongs to the lower code. */
static int nearest_nf4(float x)
{
    int code = 0;
    while (code < 15 && x > (pare_nf4_values[code] + pare_nf4_values[code + 1]) / 2)
        code++;
    return code;
}

static int nearest_fp4(float x)
{
    /* The codes of the magnitudes in rising order. */
    static const int order[8] = {0, 1, 6, 7, 4, 5, 2, 3};
    float magnitude = fabsf(x);
    int i = 0;
    while (i < 7 && magnitude > (pare_fp4_values[order[i]] + pare_fp4_values[order[i + 1]]) / 2)
        i++;
    return order[i] | (x < 0 ? 8 : 0);
}

static float block_error(const float *x, const float *weights, float absmax, const float *table,
                         int (*nearest)(float))
{
    float inverse = pare_inverse(absmax), error = 0;
    for (int i = 0; i < 64; i++) {
        float difference = x[i] - table[nearest(x[i] * inverse)] * absmax;
        error += weights[i] * difference * difference;
    }
    return error;
}

/* The absmax with the least weighted error, from the largest magnitude down. */
static float search_absmax(const float *x, const float *weights, float absmax, const float *table,
                           int (*nearest)(float))
{
    enum { STEPS = 16 };
    float best = absmax, least = block_error(x, weights, absmax, table, nearest);
    for (int i = 1; i <= STEPS; i++) {
        float candidate = absmax * (1 - 0.02f * (float)i),
              error = block_error(x, weights, candidate, table, nearest);
        if (error < least) {
            least = error;
            best = candidate;
        }
    }
    return best;
}

static void encode(const float *x, void *stored, int64_t n, const float *importance,
                   const float *table, int (*nearest)(float))
{
    pare_block_nf4 *block = stored;
    for (int64_t b = 0; b < n / 64; b++, block++, x += 64) {
        float absmax = 0;
        for (int i = 0; i < 64; i++)
            absmax = fmaxf(absmax, fabsf(x[i]));
        if (importance)
            absmax = search_absmax(x, importance + 64 * b, absmax, table, nearest);
        float inverse = pare_inverse(absmax);
        block->absmax = absmax;
        for (int i = 0; i < 32; i++)
            block->q[i] =
                (uint8_t)(nearest(x[2 * i] * inverse) | nearest(x[2 * i + 1] * inverse) << 4);
    }
}

void pare_decode_nf4(const void *stored, float *values, int64_t n)
{
    decode(stored, values, n, pare_nf4_values);
}

void pare_encode_nf4(const float *values, void *stored, int64_t n, const float *importance)
{
    encode(values, stored, n, importance, pare_nf4_values, nearest_nf4);
}

void pare_decode_fp4(const void *stored, float *values, int64_t n)
{
    decode(stored, values, n, pare_fp4_values);
}

void pare_encode_fp4(const float *values, void *stored, int64_t n, const float *importance)
{
    encode(values, stored, n, importance, pare_fp4_values, nearest_fp4);
}
