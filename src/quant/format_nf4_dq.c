/* nf4_dq and fp4_dq: "double quantization" of QLoRA (Dettmers et al. 2023, section 3). As nf4 and
 * fp4, but the absmax of a block of 64 is an 8-bit code: less the mean of all, as a multiple of the
 * largest difference, by the nearest value of a "dynamic" map, which has more values near zero.
 * bitsandbytes takes the mean over the tensor and the largest over 256 blocks; here both are the
 * row's, which costs 64 bits for each row and is at least as fine for rows of up to 16384. */
#include <string.h>

#include "quant/formats.h"

/* As bitsandbytes makes it (create_dynamic_map, signed, 8 bits), to the bit: for each k of 0..6 the
 * midpoints of 2^k steps from 0.1 to 1, times 10^(k - 6), with both signs; 0; 1. */
const float pare_nested_values[256] = {
    -0.992968738f,    -0.978906274f,    -0.96484375f,     -0.950781226f,
    -0.936718762f,    -0.922656238f,    -0.908593774f,    -0.89453125f,
    -0.880468726f,    -0.866406262f,    -0.852343738f,    -0.838281274f,
    -0.82421875f,     -0.810156226f,    -0.796093762f,    -0.782031238f,
    -0.767968774f,    -0.75390625f,     -0.739843726f,    -0.725781262f,
    -0.711718798f,    -0.697656274f,    -0.68359375f,     -0.669531226f,
    -0.655468762f,    -0.641406298f,    -0.627343774f,    -0.61328125f,
    -0.599218726f,    -0.585156262f,    -0.571093798f,    -0.557031274f,
    -0.54296875f,     -0.528906226f,    -0.514843702f,    -0.500781238f,
    -0.486718714f,    -0.47265625f,     -0.458593726f,    -0.444531262f,
    -0.430468738f,    -0.416406244f,    -0.40234375f,     -0.388281226f,
    -0.374218762f,    -0.360156238f,    -0.346093744f,    -0.33203125f,
    -0.317968726f,    -0.303906262f,    -0.289843738f,    -0.275781274f,
    -0.26171875f,     -0.247656241f,    -0.233593747f,    -0.219531253f,
    -0.205468744f,    -0.19140625f,     -0.177343756f,    -0.163281247f,
    -0.149218753f,    -0.135156244f,    -0.12109375f,     -0.107031256f,
    -0.0985937491f,   -0.0957812592f,   -0.0929687545f,   -0.0901562497f,
    -0.0873437524f,   -0.0845312476f,   -0.0817187577f,   -0.078906253f,
    -0.0760937482f,   -0.0732812509f,   -0.0704687461f,   -0.0676562563f,
    -0.0648437515f,   -0.0620312504f,   -0.0592187531f,   -0.0564062484f,
    -0.053593751f,    -0.05078125f,     -0.047968749f,    -0.0451562516f,
    -0.0423437469f,   -0.0395312496f,   -0.0367187522f,   -0.0339062512f,
    -0.0310937501f,   -0.028281251f,    -0.0254687499f,   -0.0226562507f,
    -0.0198437516f,   -0.0170312505f,   -0.0142187504f,   -0.0114062503f,
    -0.00971874967f,  -0.00915624946f,  -0.00859375019f,  -0.00803124998f,
    -0.00746874977f,  -0.00690625003f,  -0.00634374982f,  -0.00578125007f,
    -0.00521875033f,  -0.00465624966f,  -0.00409374991f,  -0.00353124971f,
    -0.00296874996f,  -0.00240624999f,  -0.00184375001f,  -0.00128124992f,
    -0.000943750085f, -0.000831249985f, -0.00071875006f,  -0.000606250076f,
    -0.000493750034f, -0.000381250022f, -0.000268750038f, -0.000156250011f,
    -8.87499991e-05f, -6.62500024e-05f, -4.37499984e-05f, -2.12499981e-05f,
    -7.7499999e-06f,  -3.25000019e-06f, -5.50000038e-07f, 0.0f,
    5.50000038e-07f,  3.25000019e-06f,  7.7499999e-06f,   2.12499981e-05f,
    4.37499984e-05f,  6.62500024e-05f,  8.87499991e-05f,  0.000156250011f,
    0.000268750038f,  0.000381250022f,  0.000493750034f,  0.000606250076f,
    0.00071875006f,   0.000831249985f,  0.000943750085f,  0.00128124992f,
    0.00184375001f,   0.00240624999f,   0.00296874996f,   0.00353124971f,
    0.00409374991f,   0.00465624966f,   0.00521875033f,   0.00578125007f,
    0.00634374982f,   0.00690625003f,   0.00746874977f,   0.00803124998f,
    0.00859375019f,   0.00915624946f,   0.00971874967f,   0.0114062503f,
    0.0142187504f,    0.0170312505f,    0.0198437516f,    0.0226562507f,
    0.0254687499f,    0.028281251f,     0.0310937501f,    0.0339062512f,
    0.0367187522f,    0.0395312496f,    0.0423437469f,    0.0451562516f,
    0.047968749f,     0.05078125f,      0.053593751f,     0.0564062484f,
    0.0592187531f,    0.0620312504f,    0.0648437515f,    0.0676562563f,
    0.0704687461f,    0.0732812509f,    0.0760937482f,    0.078906253f,
    0.0817187577f,    0.0845312476f,    0.0873437524f,    0.0901562497f,
    0.0929687545f,    0.0957812592f,    0.0985937491f,    0.107031256f,
    0.12109375f,      0.135156244f,     0.149218753f,     0.163281247f,
    0.177343756f,     0.19140625f,      0.205468744f,     0.219531253f,
    0.233593747f,     0.247656241f,     0.26171875f,      0.275781274f,
    0.289843738f,     0.303906262f,     0.317968726f,     0.33203125f,
    0.346093744f,     0.360156238f,     0.374218762f,     0.388281226f,
    0.40234375f,      0.416406244f,     0.430468738f,     0.444531262f,
    0.458593726f,     0.47265625f,      0.486718714f,     0.500781238f,
    0.514843702f,     0.528906226f,     0.54296875f,      0.557031274f,
    0.571093798f,     0.585156262f,     0.599218726f,     0.61328125f,
    0.627343774f,     0.641406298f,     0.655468762f,     0.669531226f,
    0.68359375f,      0.697656274f,     0.711718798f,     0.725781262f,
    0.739843726f,     0.75390625f,      0.767968774f,     0.782031238f,
    0.796093762f,     0.810156226f,     0.82421875f,      0.838281274f,
    0.852343738f,     0.866406262f,     0.880468726f,     0.89453125f,
    0.908593774f,     0.922656238f,     0.936718762f,     0.950781226f,
    0.96484375f,      0.978906274f,     0.992968738f,     1.0f,
};

/* A midpoint belongs to the lower value. */
static uint8_t nearest_nested(float x)
{
    int low = 0, high = 255;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (pare_nested_values[middle] < x)
            low = middle;
        else
            high = middle;
    }
    return (uint8_t)(x - pare_nested_values[low] <= pare_nested_values[high] - x ? low : high);
}

typedef struct tail {
    float scale, offset;
} tail;

static void decode(const void *stored, float *values, int64_t n, const float *table)
{
    const pare_block_nf4_dq *block = stored;
    tail row;
    memcpy(&row, block + n / 64, sizeof row);
    for (int64_t b = 0; b < n / 64; b++, block++, values += 64) {
        float product = pare_nested_values[block->absmax] * row.scale,
              absmax = product + row.offset;
        for (int i = 0; i < 32; i++) {
            values[2 * i] = table[block->q[i] & 15] * absmax;
            values[2 * i + 1] = table[block->q[i] >> 4] * absmax;
        }
    }
}

static float block_absmax(const float *values)
{
    float absmax = 0;
    for (int i = 0; i < 64; i++)
        absmax = fmaxf(absmax, fabsf(values[i]));
    return absmax;
}

static tail measure(const float *values, int64_t blocks)
{
    double sum = 0;
    tail row = {0, 0};
    for (int64_t b = 0; b < blocks; b++)
        sum += block_absmax(values + 64 * b);
    row.offset = (float)(sum / (double)blocks);
    for (int64_t b = 0; b < blocks; b++)
        row.scale = fmaxf(row.scale, fabsf(block_absmax(values + 64 * b) - row.offset));
    return row;
}

/* Codes are those for the exact absmax, as in bitsandbytes. */
static void encode(const float *values, void *stored, int64_t n, pare_encode_row encode_plain)
{
    pare_block_nf4_dq *block = stored;
    const tail row = measure(values, n / 64);
    const float inverse = pare_inverse(row.scale);
    for (int64_t b = 0; b < n / 64; b++, block++, values += 64) {
        pare_block_nf4 plain;
        encode_plain(values, &plain, 64, NULL);
        block->absmax = nearest_nested((plain.absmax - row.offset) * inverse);
        memcpy(block->q, plain.q, sizeof plain.q);
    }
    memcpy(block, &row, sizeof row);
}

void pare_decode_nf4_dq(const void *stored, float *values, int64_t n)
{
    decode(stored, values, n, pare_nf4_values);
}

void pare_encode_nf4_dq(const float *values, void *stored, int64_t n, const float *importance)
{
    encode(values, stored, n, pare_encode_nf4);
}

void pare_decode_fp4_dq(const void *stored, float *values, int64_t n)
{
    decode(stored, values, n, pare_fp4_values);
}

void pare_encode_fp4_dq(const float *values, void *stored, int64_t n, const float *importance)
{
    encode(values, stored, n, pare_encode_fp4);
}
