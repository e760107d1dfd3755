/* The order of keys in a KV cache.
 *
 * A score is a sum over the elements of a head, and 16 keys are 16 lanes: so the keys of 16
 * positions stand together, element by element, and neither decode nor prefill transposes anything.
 * A group of 16 positions takes as many bytes as 16 rows of the type:
 *
 *     F32, F16   [head_dim][16 positions]
 *     Q8_0       [head_dim / 4][16 positions][4 codes], then [head_dim / 32][16 positions] scales
 *     Q4_0       [head_dim / 8][16 positions][4 bytes], then the scales: a block of 32 elements has
 *                4 x 4 bytes; byte i holds elements i and 16 + i, as in the row
 *
 * Values stay rows: an output is a sum over positions, its lanes are elements. */
#ifndef PARE_KERNELS_KEY_CACHE_H
#define PARE_KERNELS_KEY_CACHE_H

#include "quant/types.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { PARE_KEY_GROUP = 16, PARE_KEY_QUAD = 4, PARE_KEY_SCALE = 2 };

/* Bytes of a key that stand together. */
static inline size_t pare_key_unit(pare_type type)
{
    return type == PARE_TYPE_F16 ? 2 : PARE_KEY_QUAD;
}

/* Scales of a key; 0 for types without. */
static inline int64_t pare_key_scales(pare_type type, int64_t head_dim)
{
    return type == PARE_TYPE_F32 || type == PARE_TYPE_F16 ? 0 : head_dim / 32;
}

/* Units of a key. */
static inline int64_t pare_key_units(pare_type type, int64_t head_dim)
{
    return type == PARE_TYPE_Q8_0 ? head_dim / 4 : type == PARE_TYPE_Q4_0 ? head_dim / 8 : head_dim;
}

/* Moves one key between its row (as store_cache writes it) and its place among the keys of a head,
 * which start at `plane` and have room for whole groups. row_bytes: of the cache. */
static inline void pare_key_move(char *plane, size_t row_bytes, int64_t position, char *row,
                                 int64_t head_dim, pare_type type, bool store)
{
    size_t unit = pare_key_unit(type);
    int64_t units = pare_key_units(type, head_dim), scales = pare_key_scales(type, head_dim);
    int64_t units_per_scale = scales ? units / scales : units;
    char *group = plane + (size_t)(position / PARE_KEY_GROUP * PARE_KEY_GROUP) * row_bytes;
    char *at = group + (size_t)(position % PARE_KEY_GROUP) * unit;
    char *scale = group + (size_t)units * PARE_KEY_GROUP * unit +
                  (size_t)(position % PARE_KEY_GROUP) * PARE_KEY_SCALE;
    for (int64_t u = 0; u < units; u++, at += PARE_KEY_GROUP * unit, row += unit) {
        if (scales && u % units_per_scale == 0) {
            store ? memcpy(scale, row, PARE_KEY_SCALE) : memcpy(row, scale, PARE_KEY_SCALE);
            scale += PARE_KEY_GROUP * PARE_KEY_SCALE;
            row += PARE_KEY_SCALE;
        }
        if (unit == 2)
            store ? memcpy(at, row, 2) : memcpy(row, at, 2);
        else
            store ? memcpy(at, row, PARE_KEY_QUAD) : memcpy(row, at, PARE_KEY_QUAD);
    }
}

static inline void pare_key_store(void *plane, size_t row_bytes, int64_t position, const void *row,
                                  int64_t head_dim, pare_type type)
{
    pare_key_move(plane, row_bytes, position, (char *)row, head_dim, type, true);
}

static inline void pare_key_load(const void *plane, size_t row_bytes, int64_t position, void *row,
                                 int64_t head_dim, pare_type type)
{
    pare_key_move((char *)plane, row_bytes, position, row, head_dim, type, false);
}

#endif
