/* How the SIMD tiers lay out the activations of many tokens: in tiles of `width` tokens, column by column, so that the
 * products of a tile read one stream. The last tile is as narrow as the tokens that are left; a single token is a plain row.
 * Columns are padded with zeros to whole subs of 32.
 *
 *     FP32: values [tile][column][width], then sums of 32 columns [tile][sub][width] and of 16 [tile][2 sub][width]
 *     8 bits: codes [tile][quad][width][4], scales f32 [tile][sub][width], then what zero points and minimums need: */
#ifndef PARE_KERNELS_ACTIVATIONS_H
#define PARE_KERNELS_ACTIVATIONS_H

#include "kernels/layouts.h"

enum { PARE_TILE = 6 };

/* The place of one token in arrays of `count` items per token. */
typedef struct pare_tile {
    int64_t first; /* first token of the tile */
    int width, lane;
} pare_tile;

static inline pare_tile pare_tile_of(int64_t token, int64_t tokens, int tile)
{
    int64_t first = token / tile * tile;
    return (pare_tile){first, (int)(tokens - first < tile ? tokens - first : tile), (int)(token - first)};
}

/* FP32. */
typedef struct pare_tiles_f32 {
    float *values, *sums32, *sums16;
} pare_tiles_f32;

static inline size_t pare_tiles_f32_bytes(int64_t tokens, int64_t columns)
{
    return (size_t)tokens * (size_t)pare_subs(columns) * (PARE_SUB + 3) * sizeof(float);
}

static inline pare_tiles_f32 pare_tiles_f32_of(const void *prepared, int64_t tokens, int64_t columns)
{
    int64_t subs = pare_subs(columns);
    float *values = (float *)prepared;
    return (pare_tiles_f32){values, values + tokens * subs * PARE_SUB, values + tokens * subs * (PARE_SUB + 1)};
}

/* 8 bits. less32 and less16: minus the codes' sums; sums: scale times the codes' sum, in FP32. */
typedef struct pare_tiles_q8 {
    int8_t *codes;
    float *scales;
    int32_t *less32, *less16;
    float *sums32, *sums16;
} pare_tiles_q8;

static inline size_t pare_tiles_q8_bytes(int64_t tokens, int64_t columns)
{
    return (size_t)tokens * (size_t)pare_subs(columns) * (PARE_SUB + 7 * sizeof(float));
}

static inline pare_tiles_q8 pare_tiles_q8_of(const void *prepared, int64_t tokens, int64_t columns)
{
    int64_t items = tokens * pare_subs(columns);
    int8_t *codes = (int8_t *)prepared;
    float *scales = (float *)(codes + items * PARE_SUB);
    int32_t *less32 = (int32_t *)(scales + items);
    return (pare_tiles_q8){codes, scales, less32, less32 + items, (float *)(less32 + 3 * items),
                           (float *)(less32 + 4 * items)};
}

#endif
