#include "quant/gptq.h"

#include "base/fail.h"
#include "base/half.h"
#include "base/memory.h"
#include "quant/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* BLOCK columns are finished before their errors are carried to the columns behind them; ROWS rows
 * share the reading of U. */
enum { BLOCK = 128, ROWS = 16 };

static void scale_and_zero(const pare_grid *grid, float least, float most, float *scale,
                           float *zero)
{
    if (grid->symmetric) {
        float largest = fmaxf(fabsf(least), fabsf(most));
        *scale = largest / (float)grid->high;
        *zero = 0;
    } else {
        *scale = (most - least) / (float)(grid->high - grid->low);
        *zero = 0;
    }
    if (grid->half_scales)
        *scale = pare_f16_to_f32(pare_f32_to_f16(*scale));
    if (!grid->symmetric && *scale > 0)
        *zero = fminf(fmaxf(rintf((float)grid->low - least / *scale), (float)grid->low),
                      (float)grid->high);
}

static double squared_error(const pare_grid *grid, const float *values, const float *weights,
                            int64_t n, float scale, float zero)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        float e = values[i] - scale * ((float)pare_grid_code(grid, values[i], scale, zero) - zero);
        sum += (double)(e * e) * (weights ? weights[i] : 1);
    }
    return sum;
}

void pare_grid_fit(const pare_grid *grid, const float *values, const float *weights, int64_t n,
                   float *scale, float *zero)
{
    float least = 0, most = 0; /* the range holds zero, so that zero is on the grid */
    for (int64_t i = 0; i < n; i++) {
        least = fminf(least, values[i]);
        most = fmaxf(most, values[i]);
    }
    scale_and_zero(grid, least, most, scale, zero);
    if (!(grid->fit_steps > 0))
        return;
    double best = squared_error(grid, values, weights, n, *scale, *zero);
    for (int i = 1; i < (int)grid->fit_steps; i++) {
        float shrink = 1 - (float)i / 100, s, z;
        scale_and_zero(grid, least * shrink, most * shrink, &s, &z);
        double e = squared_error(grid, values, weights, n, s, z);
        if (e < best) {
            best = e;
            *scale = s;
            *zero = z;
        }
    }
}

typedef struct job {
    float *w;
    const float *u;        /* in the working order of columns */
    const float *diagonal; /* of H, in stored order */
    const int64_t *order;  /* working position -> stored column */
    const pare_grid *grid;
    bool static_groups;
    int64_t rows, columns, groups;
    int8_t *codes;
    float *scales, *zeros;
    double *errors; /* per thread */
    float *scratch; /* per thread: ROWS x (columns + BLOCK) */
} job;

static void fit_group(const job *j, const float *row, int64_t r, int64_t g)
{
    int64_t first = g * j->grid->group;
    int64_t n = first + j->grid->group < j->columns ? j->grid->group : j->columns - first;
    pare_grid_fit(j->grid, row + first, j->diagonal + first, n, &j->scales[r * j->groups + g],
                  &j->zeros[r * j->groups + g]);
}

/* One row, columns first..last-1 of the working order; the errors, divided by U's diagonal, go to
 * `errors`. */
static double quantize_block(const job *j, float *work, float *errors, int64_t r, int64_t first,
                             int64_t last)
{
    double sum = 0;
    for (int64_t k = first; k < last; k++) {
        int64_t column = j->order[k], g = column / j->grid->group;
        const float *u = j->u + k * j->columns;
        if (!j->static_groups && column % j->grid->group == 0)
            fit_group(j, work, r,
                      g); /* in stored order here: working and stored positions are equal */
        float scale = j->scales[r * j->groups + g], zero = j->zeros[r * j->groups + g];
        int code = pare_grid_code(j->grid, work[k], scale, zero);
        float value = scale * ((float)code - zero), e = (work[k] - value) / u[k];
        j->codes[r * j->columns + column] = (int8_t)code;
        j->w[r * j->columns + column] = value;
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
    float *work = j->scratch + index * ROWS * (j->columns + BLOCK),
          *errors = work + ROWS * j->columns;
    pare_range range = pare_share(j->rows, ROWS, index, count);
    for (int64_t tile = range.first; tile < range.last; tile += ROWS) {
        int64_t tile_rows = tile + ROWS < range.last ? ROWS : range.last - tile;
        for (int64_t r = 0; r < tile_rows; r++) {
            const float *row = j->w + (tile + r) * j->columns;
            for (int64_t g = 0; j->static_groups && g < j->groups; g++)
                fit_group(j, row, tile + r, g);
            for (int64_t k = 0; k < j->columns; k++)
                work[r * j->columns + k] = row[j->order[k]];
        }
        for (int64_t first = 0; first < j->columns; first += BLOCK) {
            int64_t last = first + BLOCK < j->columns ? first + BLOCK : j->columns;
            for (int64_t r = 0; r < tile_rows; r++)
                j->errors[index] += quantize_block(j, work + r * j->columns, errors + r * BLOCK,
                                                   tile + r, first, last);
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

/* U for the damped and permuted H; the damping grows until the factorization succeeds. */
static pare_status factor_with_damping(pare_pool *pool, const float *h, const float *diagonal,
                                       const int64_t *order, int64_t n, float damping, float *u,
                                       float *used)
{
    float *copy;
    double mean = 0;
    pare_status status =
        pare_allocate((size_t)n, (size_t)n * sizeof *copy, "GPTQ's Hessian", &copy);
    if (status != PARE_OK)
        return status;
    for (int64_t i = 0; i < n; i++)
        mean += diagonal[i] / (double)n;
    do {
        for (int64_t i = 0; i < n; i++) {
            for (int64_t k = 0; k < n; k++)
                copy[i * n + k] = h[order[i] * n + order[k]];
            if (!(diagonal[order[i]] > 0))
                copy[i * n + i] = 1;
            copy[i * n + i] += damping * (float)(mean > 0 ? mean : 1);
        }
        status = pare_inverse_factor(pool, copy, u, n);
        *used = damping;
        damping = damping > 0 ? damping * 10 : 1e-4f;
    } while (status == PARE_LIMIT && damping <= 1);
    free(copy);
    return status;
}

pare_status pare_gptq(pare_pool *pool, float *w, int64_t rows, int64_t columns, const float *h,
                      const pare_grid *grid, const pare_gptq_options *options, int8_t *codes,
                      float *scales, float *zeros, float *damping_used, double *error)
{
    int threads = pare_pool_threads(pool);
    size_t n = (size_t)columns;
    float *u = NULL, *diagonal = NULL, *scratch = NULL, used;
    int64_t *order = NULL;
    double *errors = NULL;
    pare_status status;
    PARE_TRY(pare_allocate(n, n * sizeof *u, "GPTQ's factor", &u));
    PARE_TRY(pare_allocate(n, sizeof *diagonal, "GPTQ", &diagonal));
    PARE_TRY(pare_allocate(n, sizeof *order, "GPTQ", &order));
    PARE_TRY(
        pare_allocate((size_t)threads * ROWS, (n + BLOCK) * sizeof *scratch, "GPTQ", &scratch));
    PARE_TRY(pare_allocate((size_t)threads, sizeof *errors, "GPTQ", &errors));
    for (int64_t i = 0; i < columns; i++)
        diagonal[i] = h[i * columns + i];
    PARE_TRY(choose_order(diagonal, columns, options->act_order, order));
    PARE_TRY(factor_with_damping(pool, h, diagonal, order, columns, options->damping, u, &used));
    job j = {w,      u,       diagonal,
             order,  grid,    options->static_groups || options->act_order,
             rows,   columns, (columns + grid->group - 1) / grid->group,
             codes,  scales,  zeros,
             errors, scratch};
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
