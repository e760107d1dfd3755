/* Codes and scales of the k-quants, packed and unpacked. A super-block has 256 elements; `codes`
 * are unsigned, one byte each, in element order. */
#ifndef PARE_QUANT_KQUANT_H
#define PARE_QUANT_KQUANT_H

#include <stdint.h>
#include <string.h>

/* Two bits each: byte 32 h + i holds elements 128 h + i + {0, 32, 64, 96}, the first in its lowest
 * bits. */
static inline void pare_pack_2_bits(const uint8_t codes[256], uint8_t q[64])
{
    for (int h = 0; h < 2; h++, codes += 128, q += 32) {
        for (int i = 0; i < 32; i++)
            q[i] = (uint8_t)((codes[i] & 3) | (codes[i + 32] & 3) << 2 | (codes[i + 64] & 3) << 4 |
                             (codes[i + 96] & 3) << 6);
    }
}

static inline void pare_unpack_2_bits(const uint8_t q[64], uint8_t codes[256])
{
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)(q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3);
}

/* Four bits each: byte 32 h + i holds elements 64 h + i (low) and 64 h + 32 + i (high). */
static inline void pare_pack_4_bits(const uint8_t codes[256], uint8_t q[128])
{
    for (int h = 0; h < 4; h++, codes += 64, q += 32) {
        for (int i = 0; i < 32; i++)
            q[i] = (uint8_t)((codes[i] & 15) | (codes[i + 32] & 15) << 4);
    }
}

static inline void pare_unpack_4_bits(const uint8_t q[128], uint8_t codes[256])
{
    for (int h = 0; h < 4; h++, codes += 64, q += 32) {
        for (int i = 0; i < 32; i++) {
            codes[i] = q[i] & 15;
            codes[i + 32] = q[i] >> 4;
        }
    }
}

/* One bit each, `shift` being its place in the code: bit k of byte i is element 32 k + i's. */
static inline void pare_pack_high_bit(const uint8_t codes[256], int shift, uint8_t high[32])
{
    memset(high, 0, 32);
    for (int k = 0; k < 8; k++) {
        for (int i = 0; i < 32; i++)
            high[i] |= (uint8_t)((codes[32 * k + i] >> shift & 1) << k);
    }
}

static inline void pare_unpack_high_bit(const uint8_t high[32], int shift, uint8_t codes[256])
{
    for (int k = 0; k < 8; k++) {
        for (int i = 0; i < 32; i++)
            codes[32 * k + i] |= (uint8_t)((high[i] >> k & 1) << shift);
    }
}

/* Eight scales and eight minima of 6 bits in 12 bytes (q4_k, q5_k). Bytes 0-3: low 6 bits scale
 * 0-3, top 2 bits the top of scale 4-7; bytes 4-7 likewise for the minima; bytes 8-11: low nibble
 * scale 4-7's low 4 bits, high nibble minimum 4-7's. */
static inline void pare_pack_scales_6(const uint8_t scales[8], const uint8_t minima[8],
                                      uint8_t packed[12])
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scales[j] | scales[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(minima[j] | minima[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scales[j + 4] & 15) | (minima[j + 4] & 15) << 4);
    }
}

static inline void pare_unpack_scales_6(const uint8_t packed[12], uint8_t scales[8],
                                        uint8_t minima[8])
{
    for (int j = 0; j < 4; j++) {
        scales[j] = packed[j] & 63;
        minima[j] = packed[j + 4] & 63;
        scales[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        minima[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

/* Sixteen unsigned 6-bit scales in 12 bytes (q3_k): low nibbles of 0-7 and 8-15 in bytes 0-7; bits
 * 2k, 2k+1 of byte 8 + j are the top of scale 4 k + j. */
static inline void pare_pack_scales_3_k(const uint8_t scales[16], uint8_t packed[12])
{
    memset(packed + 8, 0, 4);
    for (int j = 0; j < 8; j++)
        packed[j] = (uint8_t)((scales[j] & 15) | (scales[j + 8] & 15) << 4);
    for (int j = 0; j < 16; j++)
        packed[8 + j % 4] |= (uint8_t)(scales[j] >> 4 << (j / 4 * 2));
}

static inline void pare_unpack_scales_3_k(const uint8_t packed[12], uint8_t scales[16])
{
    for (int j = 0; j < 16; j++)
        scales[j] = (uint8_t)((j < 8 ? packed[j] & 15 : packed[j - 8] >> 4) |
                              (packed[8 + j % 4] >> (j / 4 * 2) & 3) << 4);
}

#endif
