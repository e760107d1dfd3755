/* llama.cpp's i-quants below four bits: vectors from a codebook, signs, and small scales. Read
 * only.
 *
 * Where signs of 8 elements take 7 bits, the eighth makes the number of minus signs even. */
#include <string.h>

#include "quant/formats.h"
#include "quant/iq_grids.h"

typedef struct PARE_PACKED {
    uint16_t d;
    uint8_t q[64];
} block_iq2_xxs;
typedef struct PARE_PACKED {
    uint16_t d;
    uint16_t q[32];
    uint8_t scales[8];
} block_iq2_xs;
typedef struct PARE_PACKED {
    uint16_t d;
    uint8_t q[32], signs[32], high[8], scales[8];
} block_iq2_s;
typedef struct PARE_PACKED {
    uint16_t d;
    uint8_t q[64], scales_signs[32];
} block_iq3_xxs;
typedef struct PARE_PACKED {
    uint16_t d;
    uint8_t q[64], high[8], signs[32], scales[4];
} block_iq3_s;
typedef struct PARE_PACKED {
    uint16_t d;
    uint8_t q[32];
    uint16_t high[8];
} block_iq1_s;
typedef struct PARE_PACKED {
    uint8_t q[32], high[16], scales[8];
} block_iq1_m;

static uint32_t load_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static unsigned even_signs(unsigned seven)
{
    return seven | ((unsigned)__builtin_parity(seven) << 7);
}

static const float iq2_values[4] = {8, 25, 43, 0}, iq1_values[4] = {-1, 0, 1, 0};
static const float iq3_xxs_values[8] = {4, 12, 20, 28, 36, 44, 52, 62},
                   iq3_s_values[8] = {1, 3, 5, 7, 9, 11, 13, 15};

static void put_8(unsigned entry, unsigned signs, float scale, float *values)
{
    for (int i = 0; i < 8; i++) {
        float value = scale * iq2_values[entry >> (2 * i) & 3];
        values[i] = signs >> i & 1 ? -value : value;
    }
}

static void put_4(unsigned entry, const float *list, unsigned signs, float scale, float *values)
{
    for (int i = 0; i < 4; i++) {
        float value = scale * list[entry >> (3 * i) & 7];
        values[i] = signs >> i & 1 ? -value : value;
    }
}

static void put_shifted(unsigned entry, float scale, float shift, float *values)
{
    for (int i = 0; i < 8; i++)
        values[i] = scale * (iq1_values[entry >> (2 * i) & 3] + shift);
}

/* Each 32: four 8-bit indices, then 4 x 7 bits of signs and a 4-bit scale. */
void pare_decode_iq2_xxs(const void *stored, float *values, int64_t n)
{
    const block_iq2_xxs *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++) {
        float d = pare_f16_to_f32(block->d);
        for (int j = 0; j < 8; j++) {
            const uint8_t *q = block->q + 8 * j;
            uint32_t rest = load_u32(q + 4);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (int k = 0; k < 4; k++, values += 8)
                put_8(pare_iq2_xxs_grid[q[k]], even_signs(rest >> (7 * k) & 127), scale, values);
        }
    }
}

/* Each 8: a 9-bit index and 7 bits of signs; each 16: a 4-bit scale. */
void pare_decode_iq2_xs(const void *stored, float *values, int64_t n)
{
    const block_iq2_xs *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++) {
        float d = pare_f16_to_f32(block->d);
        for (int k = 0; k < 32; k++, values += 8) {
            int code = block->scales[k / 4] >> (k % 4 / 2 * 4) & 15;
            float scale = d * (0.5f + (float)code) * 0.25f;
            put_8(pare_iq2_xs_grid[block->q[k] & 511], even_signs(block->q[k] >> 9), scale, values);
        }
    }
}

/* Each 8: a 10-bit index (two bits of it in `high`) and 8 signs; each 16: a 4-bit scale. */
void pare_decode_iq2_s(const void *stored, float *values, int64_t n)
{
    const block_iq2_s *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++) {
        float d = pare_f16_to_f32(block->d);
        for (int k = 0; k < 32; k++, values += 8) {
            int code = block->scales[k / 4] >> (k % 4 / 2 * 4) & 15;
            float scale = d * (0.5f + (float)code) * 0.25f;
            unsigned index = block->q[k] | (unsigned)(block->high[k / 4] >> (k % 4 * 2) & 3) << 8;
            put_8(pare_iq2_s_grid[index], block->signs[k], scale, values);
        }
    }
}

/* Each 32: eight 8-bit indices (of 4 elements); apart, 4 x 7 bits of signs and a 4-bit scale. */
void pare_decode_iq3_xxs(const void *stored, float *values, int64_t n)
{
    const block_iq3_xxs *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++) {
        float d = pare_f16_to_f32(block->d);
        for (int j = 0; j < 8; j++) {
            uint32_t rest = load_u32(block->scales_signs + 4 * j);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.5f;
            for (int k = 0; k < 8; k++, values += 4) {
                unsigned signs = even_signs(rest >> (7 * (k / 2)) & 127) >> (k % 2 * 4);
                put_4(pare_iq3_xxs_grid[block->q[8 * j + k]], iq3_xxs_values, signs, scale, values);
            }
        }
    }
}

/* Each 4: a 9-bit index (its top bit in `high`) and 4 signs; each 32: a 4-bit scale. */
void pare_decode_iq3_s(const void *stored, float *values, int64_t n)
{
    const block_iq3_s *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++) {
        float d = pare_f16_to_f32(block->d);
        for (int k = 0; k < 64; k++, values += 4) {
            int code = block->scales[k / 16] >> (k % 16 / 8 * 4) & 15;
            unsigned index = block->q[k] | (unsigned)(block->high[k / 8] >> k % 8 & 1) << 8;
            put_4(pare_iq3_s_grid[index], iq3_s_values, block->signs[k / 2] >> (k % 2 * 4),
                  d * (float)(1 + 2 * code), values);
        }
    }
}

/* Each 32: four 11-bit indices (three bits each in `high`), a 3-bit scale and the sign of the shift
 * by 1/8. */
void pare_decode_iq1_s(const void *stored, float *values, int64_t n)
{
    const block_iq1_s *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++) {
        float d = pare_f16_to_f32(block->d);
        for (int k = 0; k < 32; k++, values += 8) {
            unsigned high = block->high[k / 4];
            unsigned index = block->q[k] | (high >> (3 * (k % 4)) & 7) << 8;
            float scale = d * (float)(2 * (high >> 12 & 7) + 1);
            put_shifted(pare_iq1_grid[index], scale, high & 0x8000 ? -0.125f : 0.125f, values);
        }
    }
}

/* Each 8: an 11-bit index (three bits of it in `high`) and the shift's sign; each 16: a 3-bit
 * scale. The top nibbles of the four 16-bit words of `scales` are the FP16 scale of the block. */
void pare_decode_iq1_m(const void *stored, float *values, int64_t n)
{
    const block_iq1_m *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++) {
        uint16_t words[4], half = 0;
        memcpy(words, block->scales, sizeof words);
        for (int i = 0; i < 4; i++)
            half |= (uint16_t)(words[i] >> 12 << (4 * i));
        float d = pare_f16_to_f32(half);
        for (int k = 0; k < 32; k++, values += 8) {
            unsigned high = block->high[k / 2] >> (k % 2 * 4) & 15, index = block->q[k] | (high & 7)
                                                                                              << 8;
            unsigned code = words[k / 8] >> (k % 8 / 2 * 3) & 7;
            put_shifted(pare_iq1_grid[index], d * (float)(2 * code + 1),
                        high & 8 ? -0.125f : 0.125f, values);
        }
    }
}

/* ---- all of them as small whole numbers ---- */

const int8_t pare_iq_sets[4][16] = {
    {-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15},
    {-62, -52, -44, -36, -28, -20, -12, -4, 4, 12, 20, 28, 36, 44, 52, 62},
    {-43, -25, -8, 0, 8, 25, 43},
    {-9, -7, -1, 1, 7, 9},
};
const float pare_iq_units[4] = {1, 0.25f, 0.125f, 0.125f};

pare_iq_set pare_iq_set_of(pare_type type)
{
    switch (type) {
    case PARE_TYPE_IQ3_S:
        return PARE_IQ_SET_3_S;
    case PARE_TYPE_IQ3_XXS:
        return PARE_IQ_SET_3_XXS;
    case PARE_TYPE_IQ1_S:
    case PARE_TYPE_IQ1_M:
        return PARE_IQ_SET_1;
    default:
        return PARE_IQ_SET_2;
    }
}

/* The scale code of each 16, of which twice and one more is the multiplier. */
static unsigned scale_code(pare_type type, const void *stored, int g)
{
    const block_iq1_m *iq1_m = stored;
    uint16_t word;
    switch (type) {
    case PARE_TYPE_IQ3_S:
        return ((const block_iq3_s *)stored)->scales[g / 4] >> (g % 4 / 2 * 4) & 15;
    case PARE_TYPE_IQ3_XXS:
        return load_u32(((const block_iq3_xxs *)stored)->scales_signs + g / 2 * 4) >> 28;
    case PARE_TYPE_IQ2_XXS:
        return load_u32(((const block_iq2_xxs *)stored)->q + g / 2 * 8 + 4) >> 28;
    case PARE_TYPE_IQ2_XS:
        return ((const block_iq2_xs *)stored)->scales[g / 2] >> (g % 2 * 4) & 15;
    case PARE_TYPE_IQ2_S:
        return ((const block_iq2_s *)stored)->scales[g / 2] >> (g % 2 * 4) & 15;
    case PARE_TYPE_IQ1_S:
        return ((const block_iq1_s *)stored)->high[g / 2] >> 12 & 7;
    default:
        memcpy(&word, iq1_m->scales + g / 4 * 2, sizeof word);
        return word >> (g % 4 * 3) & 7;
    }
}

/* The block's d becomes 1, as it is stored; returns what it was. */
static uint16_t take_scale(pare_type type, void *block)
{
    const uint16_t one = 0x3c00;
    uint16_t half = 0;
    if (type != PARE_TYPE_IQ1_M) {
        memcpy(&half, block, sizeof half);
        memcpy(block, &one, sizeof one);
        return half;
    }
    for (int i = 0; i < 4; i++) {
        uint8_t *top = &((block_iq1_m *)block)->scales[2 * i + 1];
        half |= (uint16_t)(*top >> 4 << (4 * i));
        *top = (uint8_t)((*top & 15) | (one >> (4 * i) & 15) << 4);
    }
    return half;
}

/* By the decoder itself, for d = 1. */
void pare_unpack_iq(pare_type type, const void *block, pare_iq_block *unpacked)
{
    const pare_type_traits *traits = pare_type_get_traits(type);
    uint8_t copy[sizeof(block_iq3_s)];
    float values[256];
    memcpy(copy, block, traits->block_bytes);
    unpacked->d = take_scale(type, copy);
    traits->decode(copy, values, 256);
    for (int g = 0; g < 16; g++) {
        unsigned multiplier = 2 * scale_code(type, copy, g) + 1;
        float inverse = 1 / (pare_iq_units[pare_iq_set_of(type)] * (float)multiplier);
        unpacked->multipliers[g] = (uint8_t)multiplier;
        for (int i = 16 * g; i < 16 * g + 16; i++)
            unpacked->values[i] = (int8_t)lrintf(values[i] * inverse);
    }
}
