/* Formats of one to two bits of llama.cpp: tq1_0, tq2_0 (ternary), q1_0 (signs), q2_0. Read only.
 */
#include "quant/formats.h"

/* A byte is a fraction of 256 whose base-3 digits are the codes: digit k is the integer part of 3
 * times what is left after k multiplications by 3. */
static uint8_t *put_trits(const uint8_t *bytes, int count, int digits, uint8_t *codes)
{
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    for (int digit = 0; digit < digits; digit++) {
        for (int i = 0; i < count; i++) {
            uint8_t rest = (uint8_t)(bytes[i] * powers[digit]);
            *codes++ = (uint8_t)(rest * 3 >> 8);
        }
    }
    return codes;
}

void pare_unpack_tq1_0(const pare_block_tq1_0 *block, uint8_t codes[256])
{
    codes = put_trits(block->q, 32, 5, codes);
    codes = put_trits(block->q + 32, 16, 5, codes);
    put_trits(block->high, 4, 4, codes);
}

void pare_decode_tq1_0(const void *stored, float *values, int64_t n)
{
    const pare_block_tq1_0 *block = stored;
    uint8_t codes[256];
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        float d = pare_f16_to_f32(block->d);
        pare_unpack_tq1_0(block, codes);
        for (int i = 0; i < 256; i++)
            values[i] = (float)(codes[i] - 1) * d;
    }
}

void pare_decode_tq2_0(const void *stored, float *values, int64_t n)
{
    const pare_block_tq2_0 *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        float d = pare_f16_to_f32(block->d);
        for (int i = 0; i < 256; i++)
            values[i] =
                (float)((block->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1) * d;
    }
}

void pare_decode_q1_0(const void *stored, float *values, int64_t n)
{
    const pare_block_q1_0 *block = stored;
    for (int64_t b = 0; b < n / 128; b++, block++, values += 128) {
        float d = pare_f16_to_f32(block->d);
        for (int i = 0; i < 128; i++)
            values[i] = block->q[i / 8] >> i % 8 & 1 ? d : -d;
    }
}

void pare_decode_q2_0(const void *stored, float *values, int64_t n)
{
    const pare_block_q2_0 *block = stored;
    for (int64_t b = 0; b < n / 64; b++, block++, values += 64) {
        float d = pare_f16_to_f32(block->d);
        for (int i = 0; i < 64; i++)
            values[i] = (float)((block->q[i / 4] >> (i % 4 * 2) & 3) - 1) * d;
    }
}
