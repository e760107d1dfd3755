/* q5_k: q4_k with a fifth bit. */
#include "quant/format_q45_k.h"
#include "quant/formats.h"

void pare_decode_q5_k(const void *stored, float *values, int64_t n)
{
    const pare_block_q5_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        uint8_t codes[256];
        pare_unpack_4_bits(block->q, codes);
        pare_unpack_high_bit(block->high, 4, codes);
        pare_decode_super_block((uint16_t[]){block->d, block->dmin}, block->scales, codes, values);
    }
}

void pare_encode_q5_k(const float *values, void *stored, int64_t n, const float *importance)
{
    pare_block_q5_k *block = stored;
    for (int64_t b = 0; b < n / 256; b++, block++, values += 256) {
        uint8_t codes[256];
        uint16_t d[2];
        pare_encode_super_block(values, importance ? importance + 256 * b : NULL, 31, d,
                                block->scales, codes);
        block->d = d[0];
        block->dmin = d[1];
        pare_pack_4_bits(codes, block->q);
        pare_pack_high_bit(codes, 4, block->high);
    }
}
