#include "calibrate/two_sided.h"

#include "base/fail.h"
#include "base/memory.h"
#include "quant/grid.h"
#include "quant/linalg.h"
#include "quant/types.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Of G's mean diagonal. G has the noise of its samples: a third of the mean diagonal, and more
 * where there are few tokens for each row, keep that from steering. */
static float output_damping(const pare_output_gram *gram)
{
    return 0.3f + 2 * (float)gram->block / (float)(gram->tokens > 0 ? gram->tokens : 1);
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

/* Columns of a symmetric matrix by falling diagonal. */
static pare_status order_by_diagonal(const float *h, int64_t n, int64_t *order)
{
    ranked *list;
    pare_status status = pare_allocate((size_t)n, sizeof *list, "an order of columns", &list);
    if (status != PARE_OK)
        return status;
    for (int64_t i = 0; i < n; i++)
        list[i] = (ranked){h[i * n + i], i};
    qsort(list, (size_t)n, sizeof *list, by_falling_diagonal);
    for (int64_t i = 0; i < n; i++)
        order[i] = list[i].column;
    free(list);
    return PARE_OK;
}

/* to = from in `order`, damped; u its inverse's factor. The damping grows until there is one. */
static pare_status factor(pare_pool *pool, const float *from, const int64_t *order, int64_t n,
                          float damping, float *to, float *u, float *added)
{
    double mean = 0;
    float *copy;
    pare_status status = pare_allocate((size_t)(n * n), sizeof *copy, "a factor", &copy);
    if (status != PARE_OK)
        return status;
    for (int64_t i = 0; i < n; i++)
        mean += from[i * n + i] / (double)n;
    do {
        *added = damping * (float)(mean > 0 ? mean : 1);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t k = 0; k < n; k++)
                to[i * n + k] = from[order[i] * n + order[k]];
            to[i * n + i] += *added;
        }
        memcpy(copy, to, (size_t)(n * n) * sizeof *copy);
        status = pare_inverse_factor(pool, copy, u, n);
        damping *= 10;
    } while (status == PARE_LIMIT && damping <= 10);
    free(copy);
    return status;
}

pare_status pare_rounding_create(pare_pool *pool, const float *gram, int64_t columns, float damping,
                                 pare_rounding *r)
{
    const size_t n = (size_t)columns;
    pare_status status;
    *r = (pare_rounding){.columns = columns};
    PARE_TRY(pare_allocate(n, sizeof *r->order, "an order of columns", &r->order));
    PARE_TRY(pare_allocate(n, sizeof *r->diagonal, "a diagonal", &r->diagonal));
    PARE_TRY(pare_allocate(n * n, sizeof *r->h, "a Hessian", &r->h));
    PARE_TRY(pare_allocate(n * n, sizeof *r->u, "a factor", &r->u));
    PARE_TRY(pare_allocate(n * n, sizeof *r->ut, "a factor", &r->ut));
    for (int64_t i = 0; i < columns; i++)
        r->diagonal[i] = gram[i * columns + i];
    PARE_TRY(order_by_diagonal(gram, columns, r->order));
    PARE_TRY(factor(pool, gram, r->order, columns, damping, r->h, r->u, &r->added));
    for (int64_t i = 0; i < columns; i++)
        for (int64_t k = 0; k < columns; k++)
            r->ut[k * columns + i] = r->u[i * columns + k];
    return PARE_OK;
fail:
    pare_rounding_free(r);
    return status;
}

void pare_rounding_free(pare_rounding *r)
{
    free(r->order);
    free(r->diagonal);
    free(r->h);
    free(r->u);
    free(r->ut);
    *r = (pare_rounding){0};
}

/* ---- the target ---- */

typedef struct target_job {
    const pare_rounding *rounding;
    const float *w, *shift, *residual;
    int64_t rows;
    float share, *t, *scratch; /* per thread: 3 rows */
} target_job;

static void target_share(void *argument, int index, int count)
{
    const target_job *j = argument;
    const pare_rounding *r = j->rounding;
    const int64_t n = r->columns;
    float *right = j->scratch + (int64_t)index * 3 * n, *z = right + n, *ordered = z + n;
    pare_range own = pare_share(j->rows, 1, index, count);
    for (int64_t row = own.first; row < own.last; row++) {
        const float *w = j->w + row * n;
        float *t = j->t + row * n;
        pare_multiply_row(right, w, j->shift, n, n);
        for (int64_t c = 0; c < n && j->residual; c++)
            right[c] += j->residual[row * n + c];
        for (int64_t k = 0; k < n; k++)
            ordered[k] = j->share * right[r->order[k]];
        pare_multiply_row(z, ordered, r->ut, n, n); /* h^-1 = U^T U */
        pare_multiply_row(right, z, r->u, n, n);
        for (int64_t k = 0; k < n; k++)
            t[r->order[k]] = w[r->order[k]] + right[k];
    }
}

pare_status pare_rounding_target(pare_pool *pool, const pare_rounding *rounding, const float *w,
                                 int64_t rows, const float *shift, const float *residual,
                                 float share, float *t)
{
    target_job job = {rounding, w, shift, residual, rows, share, t, NULL};
    pare_status status =
        pare_allocate((size_t)pare_pool_threads(pool) * 3,
                      (size_t)rounding->columns * sizeof(float), "a target", &job.scratch);
    if (status != PARE_OK)
        return status;
    pare_pool_run(pool, target_share, &job);
    free(job.scratch);
    return PARE_OK;
}

/* ---- rounding ---- */

/* A block of rows of one matrix, in working order of rows and columns. */
typedef struct item {
    pare_rounding_task *task;
    const pare_grid *grid;
    int64_t first, rows, columns, groups;
    int64_t *order;   /* working position -> row of the block */
    float *g, *u;     /* damped, and the factor of its inverse; NULL: G = 1 */
    const float *raw; /* G as measured, stored order; NULL: 1 */
    double cost;
} item;

typedef struct work_area {
    float *target, *left, *stored, *slope; /* [rows, columns] */
    float *tables;                         /* [rows][groups * levels] */
    float *change, *spare;                 /* [columns] */
    uint8_t *row;
    void *memory;
} work_area;

static pare_status make_area(const item *it, size_t row_bytes, work_area *area)
{
    size_t matrix = (size_t)(it->rows * it->columns), row = (size_t)it->columns;
    size_t tables = (size_t)(it->rows * it->groups * it->grid->levels);
    float *next;
    pare_status status = pare_allocate(4 * matrix + tables + 2 * row, sizeof *next,
                                       "codes under a Hessian", &area->memory);
    if (status != PARE_OK)
        return status;
    next = area->memory;
    area->target = next;
    area->left = next += matrix;
    area->stored = next += matrix;
    area->slope = next += matrix;
    area->tables = next += matrix;
    area->change = next += tables;
    area->spare = next += row;
    status = pare_allocate(row_bytes, 1, "a row", &area->row);
    if (status != PARE_OK)
        free(area->memory);
    return status;
}

static uint8_t *encoded_row(const item *it, int64_t i)
{
    return it->task->encoded +
           (size_t)(it->first + it->order[i]) * pare_type_row_bytes(it->task->type, it->columns);
}

/* Scales by the format's encoder, and what its codes then stand for. */
static void start_rows(const pare_rounding *r, const item *it, const work_area *area)
{
    const int64_t n = it->columns, table = it->groups * it->grid->levels;
    const size_t row_bytes = pare_type_row_bytes(it->task->type, n);
    for (int64_t i = 0; i < it->rows; i++) {
        const float *from = it->task->target + (it->first + it->order[i]) * n;
        uint8_t *encoded = encoded_row(it, i);
        pare_type_get_traits(it->task->type)->encode(from, encoded, n, r->diagonal);
        memcpy(area->row, encoded, row_bytes);
        pare_grid_table(it->grid, it->task->type, area->row, n, area->tables + i * table,
                        area->spare);
        for (int64_t k = 0; k < n; k++)
            area->target[i * n + k] = area->left[i * n + k] = from[r->order[k]];
    }
}

static const float *values_of(const pare_rounding *r, const item *it, const work_area *area,
                              int64_t i, int64_t k)
{
    int64_t group = it->grid->group ? it->grid->group : it->columns;
    return area->tables + (i * it->groups + r->order[k] / group) * it->grid->levels;
}

static void round_rows(const pare_rounding *r, const item *it, const work_area *area)
{
    const int64_t n = it->columns;
    for (int64_t i = 0; i < it->rows; i++) {
        float *left = area->left + i * n, *stored = area->stored + i * n, *work = area->change;
        uint8_t *encoded = encoded_row(it, i);
        memcpy(work, left, (size_t)n * sizeof *work);
        for (int64_t k = 0; k < n; k++) {
            const float *values = values_of(r, it, area, i, k), *u = r->u + k * n;
            int code = pare_grid_nearest(values, it->grid->levels, work[k]);
            stored[k] = values[code];
            it->grid->put(encoded, n, r->order[k], code);
            pare_subtract_scaled(work + k + 1, u + k + 1, (work[k] - stored[k]) / u[k], n - k - 1);
        }
        if (!it->u || it->task->one_sided)
            continue;
        for (int64_t k = 0; k < n; k++)
            left[k] -= stored[k];
        const float *u = it->u + i * it->rows;
        for (int64_t below = i + 1; below < it->rows; below++)
            pare_subtract_scaled(area->left + below * n, left, u[below] / u[i], n);
    }
}

/* slope = G E h, half the negative gradient of the trace. */
static void make_slope(const pare_rounding *r, const item *it, const work_area *area)
{
    const int64_t n = it->columns;
    float *product = it->g ? area->left : area->slope;
    for (int64_t i = 0; i < it->rows; i++) {
        for (int64_t k = 0; k < n; k++)
            area->spare[k] = area->target[i * n + k] - area->stored[i * n + k];
        pare_multiply_row(product + i * n, area->spare, r->h, n, n);
    }
    for (int64_t i = 0; i < it->rows && it->g; i++)
        pare_multiply_row(area->slope + i * n, it->g + i * it->rows, area->left, it->rows, n);
}

/* Codes of one row, each to where the rest of the matrix wants it. change: what the row's moves did
 * to E h. */
static bool descend_row(const pare_rounding *r, const item *it, const work_area *area, int64_t i)
{
    const int64_t n = it->columns;
    const float g = it->g ? it->g[i * it->rows + i] : 1, *slope = area->slope + i * n;
    float *stored = area->stored + i * n, *change = area->change;
    bool moved = false;
    memset(change, 0, (size_t)n * sizeof *change);
    for (int64_t k = 0; k < n; k++) {
        const float *values = values_of(r, it, area, i, k), *h = r->h + k * n;
        float wanted = stored[k] + (slope[k] - g * change[k]) / (g * h[k]);
        int code = pare_grid_nearest(values, it->grid->levels, wanted);
        float step = values[code] - stored[k];
        if (step == 0)
            continue;
        moved = true;
        stored[k] = values[code];
        it->grid->put(encoded_row(it, i), n, r->order[k], code);
        pare_subtract_scaled(change, h, -step, n);
    }
    return moved;
}

static bool descend(const pare_rounding *r, const item *it, const work_area *area)
{
    const int64_t n = it->columns;
    bool moved = false;
    for (int64_t i = 0; i < it->rows; i++) {
        if (!descend_row(r, it, area, i))
            continue;
        moved = true;
        if (!it->g)
            pare_subtract_scaled(area->slope + i * n, area->change, 1, n);
        for (int64_t k = 0; k < it->rows && it->g; k++)
            pare_subtract_scaled(area->slope + k * n, area->change, it->g[k * it->rows + i], n);
    }
    return moved;
}

/* trace(G E H E^T) without what was added to the diagonals. */
static double find_cost(const pare_rounding *r, const item *it, const work_area *area)
{
    const int64_t n = it->columns;
    double cost = 0;
    for (int64_t i = 0; i < it->rows; i++) {
        float *e = area->target + i * n;
        for (int64_t k = 0; k < n; k++)
            e[k] -= area->stored[i * n + k];
        pare_multiply_row(area->left + i * n, e, r->h, n, n);
        pare_subtract_scaled(area->left + i * n, e, r->added, n);
    }
    for (int64_t i = 0; i < it->rows; i++) {
        const float *eh = area->left + i * n;
        if (it->raw) {
            for (int64_t k = 0; k < it->rows; k++)
                area->tables[k] = it->raw[it->order[i] * it->rows + it->order[k]];
            pare_multiply_row(area->slope, area->tables, area->left, it->rows, n);
            eh = area->slope;
        }
        for (int64_t k = 0; k < n; k++)
            cost += (double)eh[k] * area->target[i * n + k];
    }
    return cost;
}

static pare_status do_item(const pare_rounding *r, item *it, int sweeps)
{
    const size_t row_bytes = pare_type_row_bytes(it->task->type, it->columns);
    work_area area;
    pare_status status = make_area(it, row_bytes, &area);
    if (status != PARE_OK)
        return status;
    start_rows(r, it, &area);
    round_rows(r, it, &area);
    if (sweeps)
        make_slope(r, it, &area);
    for (int s = 0; s < sweeps && descend(r, it, &area);)
        s++;
    for (int64_t i = 0; i < it->rows && it->task->decoded; i++)
        pare_type_get_traits(it->task->type)
            ->decode(encoded_row(it, i),
                     it->task->decoded + (it->first + it->order[i]) * it->columns, it->columns);
    it->cost = find_cost(r, it, &area);
    free(area.memory);
    free(area.row);
    return PARE_OK;
}

typedef struct items_job {
    const pare_rounding *rounding;
    item *items;
    int count, sweeps;
    atomic_int next, failed;
} items_job;

static void items_share(void *argument, int index, int count)
{
    items_job *job = argument;
    int i;
    (void)index, (void)count;
    while ((i = atomic_fetch_add(&job->next, 1)) < job->count)
        if (do_item(job->rounding, &job->items[i], job->sweeps) != PARE_OK)
            atomic_store(&job->failed, 1);
}

static pare_status prepare_item(pare_pool *pool, item *it, int64_t b, bool weighted)
{
    const pare_output_gram *gram = it->task->gram;
    pare_status status;
    PARE_TRY(pare_allocate((size_t)it->rows, sizeof *it->order, "an order of rows", &it->order));
    for (int64_t i = 0; i < it->rows; i++)
        it->order[i] = i;
    if (!gram)
        return PARE_OK;
    it->raw = gram->g + b * gram->block * gram->block;
    if (!weighted)
        return PARE_OK;
    size_t n = (size_t)it->rows;
    float added;
    PARE_TRY(pare_allocate(n * n, sizeof *it->g, "an output's Gram matrix", &it->g));
    PARE_TRY(pare_allocate(n * n, sizeof *it->u, "a factor", &it->u));
    PARE_TRY(order_by_diagonal(it->raw, it->rows, it->order));
    PARE_TRY(
        factor(pool, it->raw, it->order, it->rows, output_damping(gram), it->g, it->u, &added));
fail:
    return status;
}

static int64_t block_rows(const pare_rounding_task *task)
{
    return task->gram                       ? task->gram->block
           : task->rows < PARE_OUTPUT_BLOCK ? task->rows
                                            : PARE_OUTPUT_BLOCK;
}

static pare_status list_items(pare_pool *pool, const pare_rounding *r, pare_rounding_task *tasks,
                              int count, item **items, int *item_count)
{
    size_t total = 0;
    pare_status status;
    *item_count = 0;
    for (int t = 0; t < count; t++)
        total += (size_t)((tasks[t].rows + block_rows(&tasks[t]) - 1) / block_rows(&tasks[t]));
    PARE_TRY(pare_allocate(total + 1, sizeof **items, "blocks of rows", items));
    for (int t = 0; t < count; t++) {
        const pare_grid *grid = pare_type_grid(tasks[t].type);
        int64_t block = block_rows(&tasks[t]);
        if (!grid)
            return pare_fail(PARE_UNSUPPORTED, "format %s has no codes to choose",
                             pare_type_name(tasks[t].type));
        for (int64_t b = 0; b * block < tasks[t].rows; b++) {
            item *it = &(*items)[(*item_count)++];
            int64_t left = tasks[t].rows - b * block;
            *it = (item){.task = &tasks[t],
                         .grid = grid,
                         .first = b * block,
                         .rows = left < block ? left : block,
                         .columns = r->columns,
                         .groups = pare_grid_groups(grid, r->columns)};
            PARE_TRY(prepare_item(pool, it, b, !tasks[t].one_sided));
        }
    }
fail:
    return status;
}

pare_status pare_round_matrices(pare_pool *pool, const pare_rounding *rounding,
                                pare_rounding_task *tasks, int count, int sweeps)
{
    items_job job = {.rounding = rounding, .sweeps = sweeps};
    pare_status status = list_items(pool, rounding, tasks, count, &job.items, &job.count);
    if (status == PARE_OK) {
        pare_pool_run(pool, items_share, &job);
        if (job.failed)
            status = pare_fail_memory((size_t)(rounding->columns * PARE_OUTPUT_BLOCK) * 16,
                                      "codes under a Hessian");
    }
    for (int t = 0; t < count; t++)
        tasks[t].cost = 0;
    for (int i = 0; i < job.count; i++) {
        job.items[i].task->cost += job.items[i].cost;
        free(job.items[i].order);
        free(job.items[i].g);
        free(job.items[i].u);
    }
    free(job.items);
    return status;
}
