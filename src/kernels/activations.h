/* How the SIMD tiers lay out the activations of many tokens: in tiles of up to 6 or 12 tokens
 * ("width"), column by column, so that the products of a tile read one stream. As few tiles as
 * possible, their widths as equal as possible: a narrow tile has too few sums in flight to hide
 * latency. A single token is a plain row. Columns are padded with zeros to whole subs of 32.
 *
 *     FP32: values [tile][column][width], then sums of 32 columns [tile][sub][width] and of 16
 * [tile][2 sub][width] 8 bits: codes [tile][quad][width][4], scales f32 [tile][sub][width], then
 * what zero points and minimums need: */
#ifndef PARE_KERNELS_ACTIVATIONS_H
#define PARE_KERNELS_ACTIVATIONS_H

#include "kernels/layouts.h"

enum { PARE_TILE = 6 };

typedef struct pare_tile {
    int64_t first; /* token */
    int width;
} pare_tile;

static inline int64_t pare_tile_count(int64_t tokens, int widest)
{
    return (tokens + widest - 1) / widest;
}

/* The first tokens % count tiles have one token more than the rest. */
static inline pare_tile pare_tile_at(int64_t index, int64_t tokens, int widest)
{
    int64_t count = pare_tile_count(tokens, widest), width = tokens / count, wider = tokens % count;
    int64_t before = index < wider ? index : wider;
    return (pare_tile){index * width + before, (int)(width + (index < wider))};
}

static inline pare_tile pare_tile_of(int64_t token, int64_t tokens, int widest)
{
    int64_t count = pare_tile_count(tokens, widest), width = tokens / count, wider = tokens % count;
    bool in_wider = token < wider * (width + 1);
    return pare_tile_at(in_wider ? token / (width + 1) : (token - wider) / width, tokens, widest);
}

/* The end of those of tokens `first`.. that are in the tile of `first` and before `last`:
 * activations are prepared tile by tile, so that what is written lies together. */
static inline int64_t pare_tile_end(pare_tile tile, int64_t last)
{
    return tile.first + tile.width < last ? tile.first + tile.width : last;
}

/* FP32. */
typedef struct pare_tiles_f32 {
    float *values, *sums32, *sums16;
} pare_tiles_f32;

static inline size_t pare_tiles_f32_bytes(int64_t tokens, int64_t columns)
{
    return (size_t)tokens * (size_t)pare_subs(columns) * (PARE_SUB + 3) * sizeof(float);
}

static inline pare_tiles_f32 pare_tiles_f32_of(const void *prepared, int64_t tokens,
                                               int64_t columns)
{
    int64_t subs = pare_subs(columns);
    float *values = (float *)prepared;
    return (pare_tiles_f32){values, values + tokens * subs * PARE_SUB,
                            values + tokens * subs * (PARE_SUB + 1)};
}

/* 8 bits. less32 and less16: minus the codes' sums; sums: scale times the codes' sum, in FP32.
 * words: the codes in 16 bits, [tile][pair of columns][width][2], where a tier multiplies these. */
typedef struct pare_tiles_q8 {
    int8_t *codes;
    float *scales;
    int32_t *less32, *less16;
    float *sums32, *sums16;
    int16_t *words;
} pare_tiles_q8;

static inline size_t pare_tiles_q8_bytes(int64_t tokens, int64_t columns)
{
    return (size_t)tokens * (size_t)pare_subs(columns) * (3 * PARE_SUB + 7 * sizeof(float));
}

static inline pare_tiles_q8 pare_tiles_q8_of(const void *prepared, int64_t tokens, int64_t columns)
{
    int64_t items = tokens * pare_subs(columns);
    int8_t *codes = (int8_t *)prepared;
    float *scales = (float *)(codes + items * PARE_SUB);
    int32_t *less32 = (int32_t *)(scales + items);
    return (pare_tiles_q8){codes,
                           scales,
                           less32,
                           less32 + items,
                           (float *)(less32 + 3 * items),
                           (float *)(less32 + 4 * items),
                           (int16_t *)(less32 + 6 * items)};
}

#endif
