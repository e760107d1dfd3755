/* Formats of one to two bits of llama.cpp: tq1_0, tq2_0 (ternary), q1_0 (signs), q2_0. Read only.
 */
#include "quant/formats.h"

typedef struct PARE_PACKED {
    uint8_t q[48], high[4];
    uint16_t d;
} block_tq1_0;
typedef struct PARE_PACKED {
    uint8_t q[64];
    uint16_t d;
} block_tq2_0;
typedef struct PARE_PACKED {
    uint16_t d;
    uint8_t q[16];
} block_q1_0;
typedef struct PARE_PACKED {
    uint16_t d;
    uint8_t q[16];
} block_q2_0;

/* A byte is a fraction of 256 whose base-3 digits are the codes: digit k is the integer part of 3
 * times what is left after k multiplications by 3. */
static float *put_trits(const uint8_t *bytes, int count, int digits, float d, float *values)
{
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    for (int digit = 0; digit < digits; digit++) {
        for (int i = 0; i < count; i++) {
            uint8_t rest = (uint8_t)(bytes[i] * powers[digit]);
            *values++ = (float)((rest * 3 >> 8) - 1) * d;
        }
    }
    return values;
}

void pare_decode_tq1_0(const void *stored, float *values, int64_t n)
{
    const block_tq1_0 *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++) {
        float d = pare_f16_to_f32(block->d);
        values = put_trits(block->q, 32, 5, d, values);
        values = put_trits(block->q + 32, 16, 5, d, values);
        values = put_trits(block->high, 4, 4, d, values);
    }
}

void pare_decode_tq2_0(const void *stored, float *values, int64_t n)
{
    const block_tq2_0 *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        float d = pare_f16_to_f32(block->d);
        for (int i = 0; i < 256; i++)
            values[i] =
                (float)((block->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1) * d;
    }
}

void pare_decode_q1_0(const void *stored, float *values, int64_t n)
{
    const block_q1_0 *block = stored;
    for (int64_t b = 0; b < n / 128; b++, block++, values += 128) {
        float d = pare_f16_to_f32(block->d);
        for (int i = 0; i < 128; i++)
            values[i] = block->q[i / 8] >> i % 8 & 1 ? d : -d;
    }
}

void pare_decode_q2_0(const void *stored, float *values, int64_t n)
{
    const block_q2_0 *block = stored;
    for (int64_t b = 0; b < n / 64; b++, block++, values += 64) {
        float d = pare_f16_to_f32(block->d);
        for (int i = 0; i < 64; i++)
            values[i] = (float)((block->q[i / 4] >> (i % 4 * 2) & 3) - 1) * d;
    }
}
