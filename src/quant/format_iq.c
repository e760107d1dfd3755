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
