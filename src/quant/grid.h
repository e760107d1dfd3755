/* Formats seen as grids: what error feedback and code searches need to know of a format beyond its
 * encoder and decoder.
 *
 * A row of a format is scales (and what else its blocks hold) and one small code for each column.
 * Which value a code stands for is asked of the decoder itself: the table of a row holds, for each
 * group and code, the decoded value, so that what a search sees is to the bit what the file will
 * give, for affine and non-linear formats alike. */
#ifndef PARE_QUANT_GRID_H
#define PARE_QUANT_GRID_H

#include <pare/error.h>
#include <pare/types.h>

typedef struct pare_grid {
    int64_t group; /* columns that share a table; 0: the whole row */
    int levels;    /* codes are 0 .. levels-1, their values ordered by code (rising or falling) */
    /* Replaces the code of one column of an encoded row of n columns. */
    void (*put)(uint8_t *row, int64_t n, int64_t column, int code);
} pare_grid;

/* NULL where the format has no codes to choose (floating point, grids of several weights). */
const pare_grid *pare_type_grid(pare_type type);

/* Groups in a row of n columns. */
static inline int64_t pare_grid_groups(const pare_grid *grid, int64_t n)
{
    return grid->group ? (n + grid->group - 1) / grid->group : 1;
}

/* table[group * levels + code] for an encoded row. Its codes are overwritten; scales stay. scratch:
 * n floats. */
void pare_grid_table(const pare_grid *grid, pare_type type, uint8_t *row, int64_t n, float *table,
                     float *scratch);

/* The code whose value is nearest to x, in a table of `levels` ordered values. */
static inline int pare_grid_nearest(const float *values, int levels, float x)
{
    int low = 0, high = levels - 1;
    if (values[low] > values[high]) { /* falling: a negative scale */
        while (high - low > 1) {
            int middle = (low + high) / 2;
            if (values[middle] > x)
                low = middle;
            else
                high = middle;
        }
        return values[low] - x <= x - values[high] ? low : high;
    }
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (values[middle] < x)
            low = middle;
        else
            high = middle;
    }
    return x - values[low] <= values[high] - x ? low : high;
}

#endif
