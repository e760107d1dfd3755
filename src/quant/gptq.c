#include "quant/gptq.h"

#include "base/fail.h"
#include "base/memory.h"
#include "quant/linalg.h"
#include "quant/types.h"

#include <stdlib.h>
#include <string.h>

/* BLOCK columns are finished before their errors are carried to the columns behind them; ROWS rows
 * share the reading of U. */
enum { BLOCK = 128, ROWS = 16 };

typedef struct job {
    float *w;
    const float *u;        /* in the working order of columns */
    const float *diagonal; /* of H, in stored order; NULL: the scale search is not weighted */
    const int64_t *order;  /* working position -> stored column */
    const pare_grid *grid;
    pare_type type;
    int64_t rows, columns, group, groups;
    size_t row_bytes;
    uint8_t *encoded;
    double *errors; /* per thread */
    float *scratch; /* per thread: scratch_of */
} job;

/* A thread's working rows, their errors, and their tables. */
static size_t scratch_floats(int64_t columns, int64_t groups, int levels)
{
    return ROWS * ((size_t)columns + BLOCK + (size_t)groups * (size_t)levels) + (size_t)columns;
}

/* Scales by the format's encoder; then the table. */
static void fix_scales(const job *j, int64_t r, const float *row, float *table, float *spare)
{
    uint8_t *encoded = j->encoded + (size_t)r * j->row_bytes;
    pare_type_get_traits(j->type)->encode(row, encoded, j->columns, j->diagonal);
    pare_grid_table(j->grid, j->type, encoded, j->columns, table, spare);
}

/* The same, and the row in working order. */
static void start_row(const job *j, int64_t r, float *work, float *table, float *spare)
{
    const float *row = j->w + r * j->columns;
    fix_scales(j, r, row, table, spare);
    for (int64_t k = 0; k < j->columns; k++)
        work[k] = row[j->order[k]];
}

/* One row, columns first..last-1 of the working order; the errors, divided by U's diagonal, go to
 * `errors`. */
static double quantize_block(const job *j, float *work, const float *table, float *errors,
                             int64_t r, int64_t first, int64_t last)
{
    double sum = 0;
    for (int64_t k = first; k < last; k++) {
        int64_t column = j->order[k];
        const float *u = j->u + k * j->columns,
                    *values = table + column / j->group * j->grid->levels;
        int code = pare_grid_nearest(values, j->grid->levels, work[k]);
        float e = (work[k] - values[code]) / u[k];
        j->grid->put(j->encoded + (size_t)r * j->row_bytes, j->columns, column, code);
        j->w[r * j->columns + column] = values[code];
        errors[k - first] = e;
        sum += (double)e * e;
        pare_subtract_scaled(work + k + 1, u + k + 1, e, last - k - 1);
    }
    return sum;
}

/* Columns behind the block: work -= errors U, for all rows of the tile while a row of U is in the
 * cache. */
static void carry_errors(const job *j, float *work, const float *errors, int64_t tile_rows,
                         int64_t first, int64_t last)
{
    for (int64_t k = first; k < last; k++) {
        const float *u = j->u + k * j->columns;
        for (int64_t r = 0; r < tile_rows; r++)
            pare_subtract_scaled(work + r * j->columns + last, u + last,
                                 errors[r * BLOCK + k - first], j->columns - last);
    }
}

static void quantize_rows(void *argument, int index, int count)
{
    const job *j = argument;
    int64_t table_size = j->groups * j->grid->levels;
    float *work =
        j->scratch + (size_t)index * scratch_floats(j->columns, j->groups, j->grid->levels);
    float *errors = work + ROWS * j->columns, *tables = errors + ROWS * BLOCK,
          *spare = tables + ROWS * table_size;
    pare_range range = pare_share(j->rows, ROWS, index, count);
    for (int64_t tile = range.first; tile < range.last; tile += ROWS) {
        int64_t tile_rows = tile + ROWS < range.last ? ROWS : range.last - tile;
        for (int64_t r = 0; r < tile_rows; r++)
            start_row(j, tile + r, work + r * j->columns, tables + r * table_size, spare);
        for (int64_t first = 0; first < j->columns; first += BLOCK) {
            int64_t last = first + BLOCK < j->columns ? first + BLOCK : j->columns;
            for (int64_t r = 0; r < tile_rows; r++)
                j->errors[index] +=
                    quantize_block(j, work + r * j->columns, tables + r * table_size,
                                   errors + r * BLOCK, tile + r, first, last);
            carry_errors(j, work, errors, tile_rows, first, last);
        }
    }
}

typedef struct ranked {
    float diagonal;
    int64_t column;
} ranked;

static int by_falling_diagonal(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->diagonal != y->diagonal)
        return x->diagonal < y->diagonal ? 1 : -1;
    return x->column < y->column ? -1 : 1; /* a total order: the same result everywhere */
}

static pare_status choose_order(const float *diagonal, int64_t n, bool act_order, int64_t *order)
{
    ranked *list;
    pare_status status = pare_allocate((size_t)n, sizeof *list, "GPTQ", &list);
    if (status != PARE_OK)
        return status;
    for (int64_t i = 0; i < n; i++)
        list[i] = (ranked){diagonal[i], i};
    if (act_order)
        qsort(list, (size_t)n, sizeof *list, by_falling_diagonal);
    for (int64_t i = 0; i < n; i++)
        order[i] = list[i].column;
    free(list);
    return PARE_OK;
}

/* What damping is a share of: the mean of the diagonal, or 1 where nothing is used. */
static float damping_unit(const float *diagonal, int64_t n)
{
    double mean = 0;
    for (int64_t i = 0; i < n; i++)
        mean += diagonal[i] / (double)n;
    return (float)(mean > 0 ? mean : 1);
}

static float more_damping(float damping)
{
    return damping > 0 ? damping * 10 : 1e-4f;
}

/* U for the damped and permuted H; the damping grows until the factorization succeeds. */
static pare_status factor_with_damping(pare_pool *pool, const float *h, const float *diagonal,
                                       const int64_t *order, int64_t n, float damping, float *u,
                                       float *used)
{
    float *copy, unit = damping_unit(diagonal, n);
    pare_status status =
        pare_allocate((size_t)n, (size_t)n * sizeof *copy, "GPTQ's Hessian", &copy);
    if (status != PARE_OK)
        return status;
    do {
        for (int64_t i = 0; i < n; i++) {
            for (int64_t k = 0; k < n; k++)
                copy[i * n + k] = h[order[i] * n + order[k]];
            if (!(diagonal[order[i]] > 0))
                copy[i * n + i] = 1;
            copy[i * n + i] += damping * unit;
        }
        status = pare_inverse_factor(pool, copy, u, n);
        *used = damping;
        damping = more_damping(damping);
    } while (status == PARE_LIMIT && damping <= 1);
    free(copy);
    return status;
}

pare_status pare_gptq(pare_pool *pool, float *w, int64_t rows, int64_t columns, const float *h,
                      pare_type type, const pare_gptq_options *options, uint8_t *encoded,
                      float *damping_used, double *error)
{
    int threads = pare_pool_threads(pool);
    size_t n = (size_t)columns;
    const pare_grid *grid = pare_type_grid(type);
    float *u = NULL, *diagonal = NULL, *scratch = NULL, used;
    int64_t *order = NULL;
    double *errors = NULL;
    pare_status status;
    if (!grid)
        return pare_fail(PARE_UNSUPPORTED, "gptq: format %s has no codes to choose",
                         pare_type_name(type));
    int64_t groups = pare_grid_groups(grid, columns);
    PARE_TRY(pare_allocate(n, n * sizeof *u, "GPTQ's factor", &u));
    PARE_TRY(pare_allocate(n, sizeof *diagonal, "GPTQ", &diagonal));
    PARE_TRY(pare_allocate(n, sizeof *order, "GPTQ", &order));
    PARE_TRY(pare_allocate((size_t)threads,
                           scratch_floats(columns, groups, grid->levels) * sizeof *scratch, "GPTQ",
                           &scratch));
    PARE_TRY(pare_allocate((size_t)threads, sizeof *errors, "GPTQ", &errors));
    for (int64_t i = 0; i < columns; i++)
        diagonal[i] = h[i * columns + i];
    PARE_TRY(choose_order(diagonal, columns, options->act_order, order));
    PARE_TRY(factor_with_damping(pool, h, diagonal, order, columns, options->damping, u, &used));
    job j = {.w = w,
             .u = u,
             .diagonal = options->weighted ? diagonal : NULL,
             .order = order,
             .grid = grid,
             .type = type,
             .rows = rows,
             .columns = columns,
             .group = grid->group ? grid->group : columns,
             .groups = groups,
             .row_bytes = pare_type_row_bytes(type, columns),
             .encoded = encoded,
             .errors = errors,
             .scratch = scratch};
    pare_pool_run(pool, quantize_rows, &j);
    if (damping_used)
        *damping_used = used;
    if (error) {
        *error = 0;
        for (int i = 0; i < threads; i++)
            *error += errors[i];
    }
fail:
    free(u);
    free(diagonal);
    free(order);
    free(scratch);
    free(errors);
    return status;
}

/* ---- on a device ---- */

typedef struct slice {
    job j;
    pare_gptq_rows rows;
    float *tables, *spare; /* tables of the rows; spare: [threads, columns] */
} slice;

static void start_slice(void *argument, int index, int count)
{
    const slice *s = argument;
    const int64_t n = s->j.columns, table = s->j.groups * s->j.grid->levels;
    pare_range range = pare_share(s->rows.rows, 1, index, count);
    for (int64_t r = range.first; r < range.last; r++)
        fix_scales(&s->j, s->rows.first + r, s->rows.w + r * n, s->tables + r * table,
                   s->spare + index * n);
}

static void put_slice(void *argument, int index, int count)
{
    const slice *s = argument;
    const int64_t n = s->j.columns;
    pare_range range = pare_share(s->rows.rows, 1, index, count);
    for (int64_t r = range.first; r < range.last; r++)
        for (int64_t c = 0; c < n; c++)
            s->j.grid->put(s->j.encoded + (size_t)(s->rows.first + r) * s->j.row_bytes, n, c,
                           s->rows.codes[r * n + c]);
}

static pare_status factor_on(const pare_gptq_device *device, const float *diagonal, int64_t n,
                             const pare_gptq_options *options)
{
    int64_t *order = NULL;
    int32_t *narrow = NULL;
    float damping = options->damping, unit = damping_unit(diagonal, n);
    pare_status status;
    PARE_TRY(pare_allocate((size_t)n, sizeof *order, "GPTQ", &order));
    PARE_TRY(pare_allocate((size_t)n, sizeof *narrow, "GPTQ", &narrow));
    PARE_TRY(choose_order(diagonal, n, options->act_order, order));
    for (int64_t i = 0; i < n; i++)
        narrow[i] = (int32_t)order[i];
    do {
        status = device->factor(device->user, narrow, damping * unit);
        damping = more_damping(damping);
    } while (status == PARE_LIMIT && damping <= 1);
fail:
    free(order);
    free(narrow);
    return status;
}

static int64_t slice_rows(int64_t rows, int64_t columns, int64_t table)
{
    int64_t widest = columns > table ? columns : table;
    int64_t most = PARE_GPTQ_SLICE / (int64_t)sizeof(float) / widest;
    most = most < 1 ? 1 : most > UINT16_MAX ? UINT16_MAX : most;
    return most < rows ? most : rows;
}

pare_status pare_gptq_on(const pare_gptq_device *device, pare_pool *pool, const float *w,
                         int64_t rows, int64_t columns, const float *diagonal, pare_type type,
                         const pare_gptq_options *options, uint8_t *encoded)
{
    const size_t n = (size_t)columns, threads = (size_t)pare_pool_threads(pool);
    const pare_grid *grid = pare_type_grid(type);
    uint8_t *codes = NULL;
    slice s = {0};
    pare_status status;
    if (!grid)
        return pare_fail(PARE_UNSUPPORTED, "gptq: format %s has no codes to choose",
                         pare_type_name(type));
    s.j = (job){.diagonal = options->weighted ? diagonal : NULL,
                .grid = grid,
                .type = type,
                .columns = columns,
                .groups = pare_grid_groups(grid, columns),
                .row_bytes = pare_type_row_bytes(type, columns),
                .encoded = encoded};
    const int64_t table = s.j.groups * grid->levels, most = slice_rows(rows, columns, table);
    PARE_TRY(factor_on(device, diagonal, columns, options));
    PARE_TRY(pare_allocate((size_t)most, (size_t)table * sizeof(float), "GPTQ", &s.tables));
    PARE_TRY(pare_allocate((size_t)most, n, "GPTQ", &codes));
    PARE_TRY(pare_allocate(threads, n * sizeof(float), "GPTQ", &s.spare));
    for (int64_t first = 0; first < rows; first += most) {
        s.rows = (pare_gptq_rows){.w = w + first * columns,
                                  .first = first,
                                  .rows = rows - first < most ? rows - first : most,
                                  .columns = columns,
                                  .group = grid->group ? grid->group : columns,
                                  .groups = s.j.groups,
                                  .levels = grid->levels,
                                  .tables = s.tables,
                                  .codes = codes};
        pare_pool_run(pool, start_slice, &s);
        PARE_TRY(device->rows(device->user, &s.rows));
        pare_pool_run(pool, put_slice, &s);
    }
fail:
    free(s.tables);
    free(codes);
    free(s.spare);
    return status;
}
