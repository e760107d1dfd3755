/* q6_k: 16 groups of 16 elements, 6-bit codes, a signed 8-bit scale for each group. */
#include <string.h>

#include "quant/formats.h"
#include "quant/search.h"

/* Byte 64 h + i (i < 64) of `low` holds the low nibbles of elements 128 h + i and 128 h + 64 + i;
 * byte 32 h + i (i < 32) of `high` the top two bits of elements 128 h + i + {0, 32, 64, 96}, the
 * first in its lowest bits. */
static void unpack(const pare_block_q6_k *block, uint8_t codes[256])
{
    for (int e = 0; e < 256; e++) {
        int h = e / 128, i = e % 128;
        int low = block->low[64 * h + i % 64] >> (i / 64 * 4) & 15,
            high = block->high[32 * h + i % 32] >> (i / 32 * 2) & 3;
        codes[e] = (uint8_t)(low | high << 4);
    }
}

static void pack(const uint8_t codes[256], pare_block_q6_k *block)
{
    memset(block->low, 0, sizeof block->low);
    memset(block->high, 0, sizeof block->high);
    for (int e = 0; e < 256; e++) {
        int h = e / 128, i = e % 128;
        block->low[64 * h + i % 64] |= (uint8_t)((codes[e] & 15) << (i / 64 * 4));
        block->high[32 * h + i % 32] |= (uint8_t)(codes[e] >> 4 << (i / 32 * 2));
    }
}

void pare_decode_q6_k(const void *stored, float *values, int64_t n)
{
    const pare_block_q6_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        uint8_t codes[256];
        float d = pare_f16_to_f32(block->d);
        unpack(block, codes);
        for (int j = 0; j < 16; j++) {
            float scale = d * (float)block->scales[j];
            for (int i = 16 * j; i < 16 * j + 16; i++)
                values[i] = scale * (float)(codes[i] - 32);
        }
    }
}

static void encode_block(const float *x, const float *importance, pare_block_q6_k *block)
{
    float scales[16], largest = 0;
    uint8_t codes[256];
    for (int j = 0; j < 16; j++) {
        scales[j] = pare_search_symmetric(16, 32, x + 16 * j,
                                          importance ? importance + 16 * j : NULL, codes + 16 * j);
        largest = fabsf(scales[j]) > fabsf(largest) ? scales[j] : largest;
    }
    if (fabsf(largest) < PARE_GROUP_EPSILON) {
        memset(block, 0, sizeof *block);
        return;
    }
    float inverse = -128 / largest;
    block->d = pare_scale_to_f16(1 / inverse);
    float d = pare_f16_to_f32(block->d);
    for (int j = 0; j < 16; j++) {
        block->scales[j] = (int8_t)pare_clamp(pare_nearest(inverse * scales[j]), -128, 127);
        float scale = d * (float)block->scales[j];
        for (int i = 16 * j; scale != 0 && i < 16 * j + 16; i++)
            codes[i] = (uint8_t)(pare_clamp(pare_nearest(x[i] / scale), -32, 31) + 32);
    }
    pack(codes, block);
}

void pare_encode_q6_k(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q6_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++)
        encode_block(values + 256 * b, importance ? importance + 256 * b : NULL, block + b);
}
