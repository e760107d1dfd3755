/* mxfp4 (OCP Microscaling Formats 1.0: E2M1 codes, a shared power of two for 32) and nvfp4 (E2M1
 * codes, a UE4M3 scale for each 16, four to a block). Read only. */
#include "quant/formats.h"

typedef struct PARE_PACKED {
    uint8_t exponent;
    uint8_t q[16];
} block_mxfp4;
typedef struct PARE_PACKED {
    uint8_t scales[4];
    uint8_t q[32];
} block_nvfp4;

static const float e2m1_values[16] = {0, 0.5f,  1,  1.5f,  2,  3,  4,  6,
                                      0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/* Low nibbles are the first half of the group. The scales below are halved and the values doubled,
 * as in ggml: with a subnormal scale the product is then the same to the last bit. */
static void put(const uint8_t *q, int half, float half_scale, float *values)
{
    for (int i = 0; i < half; i++) {
        values[i] = 2 * e2m1_values[q[i] & 15] * half_scale;
        values[i + half] = 2 * e2m1_values[q[i] >> 4] * half_scale;
    }
}

void pare_decode_mxfp4(const void *stored, float *values, int64_t n)
{
    const block_mxfp4 *block = stored;
    for (int64_t b = 0; b < n / 32; b++, block++, values += 32)
        put(block->q, 16, ldexpf(0.5f, block->exponent - 127), values);
}

/* UE4M3: 4 bits of exponent (bias 7), 3 of mantissa; 0x7f is no number and counts as zero, as in
 * ggml. The top bit, a sign that is not used, is ignored. */
static float ue4m3(uint8_t code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    if (code == 0x7f)
        return 0;
    return exponent ? ldexpf(1 + (float)mantissa / 8, exponent - 7) : ldexpf((float)mantissa, -9);
}

void pare_decode_nvfp4(const void *stored, float *values, int64_t n)
{
    const block_nvfp4 *block = stored;
    for (int64_t b = 0; b < n / 64; b++, block++, values += 64) {
        for (int j = 0; j < 4; j++)
            put(block->q + 8 * j, 8, ue4m3(block->scales[j]) * 0.5f, values + 16 * j);
    }
}
