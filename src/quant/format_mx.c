/* mxfp4 (OCP Microscaling Formats 1.0: E2M1 codes, a shared power of two for 32), nvfp4 (E2M1
 * codes, a UE4M3 scale for each 16, four to a block) and nvfp4_ch (the same, and an FP32 scale of
 * the row, so that the small scales use their range: NVIDIA's second level, which is one for the
 * tensor there). */
#include <float.h>
#include <string.h>

#include "quant/formats.h"

const int8_t pare_e2m1_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Low nibbles are the first half of the group. */
static void put_values(const uint8_t *q, int half, float half_scale, float *values)
{
    for (int i = 0; i < half; i++) {
        values[i] = (float)pare_e2m1_values[q[i] & 15] * half_scale;
        values[i + half] = (float)pare_e2m1_values[q[i] >> 4] * half_scale;
    }
}

/* The first of the codes whose value is nearest. */
static int nearest(float x, float half_scale)
{
    int best = 0;
    float least = fabsf(x);
    for (int code = 1; code < 16; code++) {
        float error = fabsf((float)pare_e2m1_values[code] * half_scale - x);
        if (error < least) {
            least = error;
            best = code;
        }
    }
    return best;
}

static void put_codes(const float *x, int half, float half_scale, uint8_t *q)
{
    for (int i = 0; i < half; i++)
        q[i] = (uint8_t)(nearest(x[i], half_scale) | nearest(x[half + i], half_scale) << 4);
}

static float weighted_error(const float *x, const float *weights, int n, float half_scale)
{
    float error = 0;
    for (int i = 0; i < n; i++) {
        float difference = x[i] - (float)pare_e2m1_values[nearest(x[i], half_scale)] * half_scale;
        error += weights[i] * difference * difference;
    }
    return error;
}

static float absmax_of(const float *x, int64_t n)
{
    float absmax = 0;
    for (int64_t i = 0; i < n; i++)
        absmax = fmaxf(absmax, fabsf(x[i]));
    return absmax;
}

/* Of a few scale codes around `middle`, the one with the least weighted error. */
static uint8_t search_scale(const float *x, const float *weights, int n, int middle, int around,
                            int top, float (*half_scale)(uint8_t code))
{
    uint8_t best = (uint8_t)middle;
    float least = FLT_MAX;
    for (int code = middle - around; code <= middle + around; code++) {
        if (code < 0 || code > top)
            continue;
        float error = weighted_error(x, weights, n, half_scale((uint8_t)code));
        if (error < least) {
            least = error;
            best = (uint8_t)code;
        }
    }
    return best;
}

/* ---- mxfp4 ---- */

static float half_e8m0(uint8_t exponent)
{
    return ldexpf(1, exponent - 128);
}

void pare_decode_mxfp4(const void *stored, float *values, int64_t n)
{
    const pare_block_mxfp4 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32)
        put_values(block->q, 16, half_e8m0(block->exponent), values);
}

/* The rule of the OCP specification: the largest value's exponent, less that of the largest code.
 */
void pare_encode_mxfp4(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_mxfp4 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32) {
        float absmax = absmax_of(values, 32);
        int exponent = absmax > 0 ? pare_clamp((int)floorf(log2f(absmax)) + 125, 0, 254) : 0;
        block->exponent = (uint8_t)exponent;
        if (importance)
            block->exponent =
                search_scale(values, importance + 32 * b, 32, exponent, 1, 254, half_e8m0);
        put_codes(values, 16, half_e8m0(block->exponent), block->q);
    }
}

/* ---- nvfp4 ---- */

/* UE4M3: 4 bits of exponent (bias 7), 3 of mantissa; 0x7f is no number and counts as zero, as in
 * ggml. The top bit, a sign that is not used, is ignored. Halved: the codes' values are doubled. */
static float half_ue4m3(uint8_t code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    if (code == 0x7f)
        return 0;
    return exponent ? ldexpf(1 + (float)mantissa / 8, exponent - 8) : ldexpf((float)mantissa, -10);
}

/* ggml's rounding: halves up, subnormal numbers end at 7, and all from 256 on is 448. */
static uint8_t ggml_ue4m3(float x)
{
    uint32_t bits = pare_f32_to_bits(x < 448 ? x : 448);
    int exponent = (int)(bits >> 23 & 255) - 120;
    if (!(x > 0))
        return 0;
    if (exponent <= 0) {
        int code = (int)(x * 512 + 0.5f);
        return (uint8_t)(code > 7 ? 7 : code);
    }
    int code = (exponent << 3 | (int)(bits >> 20 & 7)) + (int)(bits >> 19 & 1);
    return (uint8_t)(code >= 15 << 3 ? 0x7e : code);
}

/* To nearest, halves to even; saturates. */
static uint8_t nearest_ue4m3(float x)
{
    uint32_t bits = pare_f32_to_bits(x);
    if (!(x > 0))
        return 0;
    if (x < 0x1p-6f)
        return (uint8_t)pare_nearest(x * 512);
    if (x >= 448)
        return 0x7e;
    return (uint8_t)(((bits + 0x7ffff + (bits >> 20 & 1)) >> 20) - (120 << 3));
}

void pare_decode_nvfp4(const void *stored, float *values, int64_t n)
{
    const pare_block_nvfp4 *block = stored;
    for (int64_t b = 0; b < n / 64; b++, block++, values += 64) {
        for (int j = 0; j < 4; j++)
            put_values(block->q + 8 * j, 8, half_ue4m3(block->scales[j]), values + 16 * j);
    }
}

void pare_encode_nvfp4(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_nvfp4 *block = stored;
    for (int64_t b = 0; b < n / 64; b++, block++) {
        for (int j = 0; j < 4; j++, values += 16) {
            uint8_t code = ggml_ue4m3(absmax_of(values, 16) / 6);
            if (importance)
                code = search_scale(values, importance + 64 * b + 16 * j, 16, code, 3, 0x7e,
                                    half_ue4m3);
            block->scales[j] = code;
            put_codes(values, 8, half_ue4m3(code), block->q + 8 * j);
        }
    }
}

/* ---- nvfp4_ch ---- */

void pare_decode_nvfp4_ch(const void *stored, float *values, int64_t n)
{
    const pare_block_nvfp4 *block = stored;
    float scale;
    memcpy(&scale, block + n / 64, sizeof scale);
    for (int64_t b = 0; b < n / 64; b++, block++, values += 64) {
        for (int j = 0; j < 4; j++)
            put_values(block->q + 8 * j, 8, half_ue4m3(block->scales[j]) * scale, values + 16 * j);
    }
}

/* One group of 16 for a given row scale. */
static uint8_t put_group(const float *x, const float *weights, float scale, uint8_t *q)
{
    uint8_t code = scale > 0 ? nearest_ue4m3(absmax_of(x, 16) / 6 / scale) : 0, best = code;
    float least = FLT_MAX;
    for (int c = code - 3; weights && c <= code + 3; c++) {
        if (c < 0 || c > 0x7e)
            continue;
        float error = weighted_error(x, weights, 16, half_ue4m3((uint8_t)c) * scale);
        if (error < least) {
            least = error;
            best = (uint8_t)c;
        }
    }
    put_codes(x, 8, half_ue4m3(best) * scale, q);
    return best;
}

/* The largest group's scale is UE4M3's largest. */
void pare_encode_nvfp4_ch(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_nvfp4 *block = stored;
    float scale = absmax_of(values, n) / (6 * 448);
    scale = pare_inverse(scale) != 0 ? scale : 0;
    for (int64_t b = 0; b < n / 64; b++, block++) {
        for (int j = 0; j < 4; j++, values += 16)
            block->scales[j] = put_group(values, importance ? importance + 64 * b + 16 * j : NULL,
                                         scale, block->q + 8 * j);
    }
    memcpy(block, &scale, sizeof scale);
}
