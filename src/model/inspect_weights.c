#include <pare/inspect.h>

#include "base/fail.h"
#include "base/pool.h"
#include "model/export.h"
#include "model/model.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 32 }; /* that are read at a time */

/* One side of a comparison, one for each thread: rows in GGUF's order, decoded. */
typedef struct reader {
    const pare_model *model;
    const pare_tensor *tensor;
    int64_t columns, rows, first, count; /* rows first..first+count-1 are at hand */
    bool scattered;                      /* rows change places: one at a time */
    const uint8_t *stored;
    uint8_t *buffer;
    float *values;
} reader;

typedef struct work {
    const pare_model *model, *base;
    pare_weights *weights;
    reader *readers; /* two for each thread */
    double *squares; /* [threads][widest]: of columns */
    int64_t widest;
    pare_status status; /* of the threads */
} work;

static void open_reader(reader *r, const pare_model *model, const pare_tensor *tensor)
{
    r->model = model;
    r->tensor = tensor;
    r->scattered = pare_export_reorders(model, tensor);
    /* The elements of a vector may change places like the rows of its matrix. */
    bool turned = r->scattered && tensor->dims < 2;
    r->columns = turned ? 1 : pare_tensor_columns(tensor);
    r->rows = turned ? pare_tensor_elements(tensor) : pare_tensor_rows(tensor);
    r->first = r->count = 0;
}

static pare_status read_row(reader *r, int64_t row)
{
    size_t bytes = pare_type_row_bytes(r->tensor->type, r->columns);
    int64_t at = pare_export_row(r->model, r->tensor, row);
    if (!r->tensor->source) {
        r->stored = (const uint8_t *)r->tensor->data + (size_t)at * bytes;
    } else {
        if (at < r->first || at >= r->first + r->count) {
            const void *rows;
            r->first = at;
            r->count = r->scattered ? 1 : r->rows - at < ROWS ? r->rows - at : ROWS;
            pare_status status = pare_tensor_read(r->tensor, at, r->count, r->buffer, &rows);
            if (status != PARE_OK)
                return status;
            memcpy(&r->stored, &rows, sizeof rows);
        }
        pare_type_get_traits(r->tensor->type)
            ->decode(r->stored + (size_t)(at - r->first) * bytes, r->values, r->columns);
        return PARE_OK;
    }
    pare_type_get_traits(r->tensor->type)->decode(r->stored, r->values, r->columns);
    return PARE_OK;
}

/* ---- statistics of one tensor ---- */

typedef struct sums {
    double sum, squares, errors, base_squares;
    int64_t finite;
} sums;

static void add_row(pare_weight_tensor *t, sums *s, double *columns, const reader *r)
{
    for (int64_t c = 0; c < r->columns; c++) {
        double x = (double)r->values[c];
        if (!isfinite(x)) {
            t->not_finite++;
            continue;
        }
        t->minimum = s->finite == 0 || x < t->minimum ? x : t->minimum;
        t->maximum = s->finite == 0 || x > t->maximum ? x : t->maximum;
        t->zeros += x == 0;
        s->finite++;
        s->sum += x;
        s->squares += x * x;
        columns[c] += x * x;
    }
}

/* Keeps the PARE_WEIGHT_WORST largest, in order. */
static void keep_worst(int64_t index, double value, int64_t *indices, double *values)
{
    for (int i = 0; i < PARE_WEIGHT_WORST; i++) {
        if (indices[i] >= 0 && !(value > values[i]))
            continue;
        for (int k = PARE_WEIGHT_WORST - 1; k > i; k--) {
            indices[k] = indices[k - 1];
            values[k] = values[k - 1];
        }
        indices[i] = index;
        values[i] = value;
        return;
    }
}

static void compare_row(pare_weight_tensor *t, sums *s, int64_t row, const reader *r,
                        const reader *base)
{
    double errors = 0, squares = 0;
    for (int64_t c = 0; c < r->columns; c++) {
        double x = (double)base->values[c], error = (double)r->values[c] - x;
        errors += error * error;
        squares += x * x;
        t->largest_error = fabs(error) > t->largest_error ? fabs(error) : t->largest_error;
    }
    s->errors += errors;
    s->base_squares += squares;
    if (squares > 0 && errors > 0)
        keep_worst(row, sqrt(errors / squares), t->worst_rows, t->worst_row_errors);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median is taken from a sorted copy, which replaces the sums. */
static void find_outliers(pare_weight_tensor *t, double *columns, double *sorted)
{
    memcpy(sorted, columns, (size_t)t->columns * sizeof *sorted);
    qsort(sorted, (size_t)t->columns, sizeof *sorted, by_value);
    double median = sqrt(sorted[t->columns / 2]);
    for (int64_t c = 0; c < t->columns && median > 0; c++) {
        double ratio = sqrt(columns[c]) / median;
        if (ratio < PARE_WEIGHT_OUTLIER)
            continue;
        t->outlier_count++;
        keep_worst(c, ratio, t->outliers, t->outlier_ratios);
    }
}

static void summarize(pare_weight_tensor *t, const sums *s)
{
    double n = s->finite > 0 ? (double)s->finite : 1;
    t->mean = s->sum / n;
    double variance = s->squares / n - t->mean * t->mean;
    t->deviation = variance > 0 ? sqrt(variance) : 0;
    t->range = fmax(fabs(t->minimum), fabs(t->maximum));
    if (!t->compared)
        return;
    t->relative_error = s->base_squares > 0 ? sqrt(s->errors / s->base_squares)
                        : s->errors > 0     ? INFINITY
                                            : 0;
    t->snr_db = -20 * log10(t->relative_error);
}

static pare_status fill_bins(pare_weight_tensor *t, reader *r)
{
    for (int64_t row = 0; row < r->rows; row++) {
        pare_status status = read_row(r, row);
        if (status != PARE_OK)
            return status;
        for (int64_t c = 0; c < r->columns; c++) {
            double x = (double)r->values[c];
            if (!isfinite(x) || !(t->range > 0))
                continue;
            int bin = (int)((x / t->range + 1) * (PARE_WEIGHT_BINS / 2.0));
            t->bins[bin < PARE_WEIGHT_BINS ? bin : PARE_WEIGHT_BINS - 1]++;
        }
    }
    return PARE_OK;
}

static const pare_tensor *find(const pare_model *model, const char *name)
{
    for (size_t i = 0; model && i < model->tensor_count; i++)
        if (strcmp(model->tensors[i].name, name) == 0)
            return &model->tensors[i];
    return NULL;
}

static pare_status study_tensor(work *w, size_t i, reader *readers, double *columns)
{
    pare_weight_tensor *t = &w->weights->tensors[i];
    const pare_tensor *tensor = &w->model->tensors[i], *base = find(w->base, tensor->name);
    double *sorted = columns + w->widest;
    sums s = {0};
    open_reader(&readers[0], w->model, tensor);
    if (base)
        open_reader(&readers[1], w->base, base);
    memset(columns, 0, (size_t)w->widest * sizeof *columns);
    for (int k = 0; k < PARE_WEIGHT_WORST; k++)
        t->worst_rows[k] = t->outliers[k] = -1;
    t->compared = base && readers[0].rows == readers[1].rows;
    for (int64_t row = 0; row < readers[0].rows; row++) {
        pare_status status = read_row(&readers[0], row);
        if (status == PARE_OK && t->compared)
            status = read_row(&readers[1], row);
        if (status != PARE_OK)
            return status;
        add_row(t, &s, columns, &readers[0]);
        if (t->compared)
            compare_row(t, &s, row, &readers[0], &readers[1]);
    }
    summarize(t, &s);
    if (t->rows > 1)
        find_outliers(t, columns, sorted);
    return fill_bins(t, &readers[0]);
}

static void study_share(void *argument, int index, int threads)
{
    work *w = argument;
    for (size_t i = (size_t)index; i < w->weights->count; i += (size_t)threads) {
        pare_status status = study_tensor(w, i, &w->readers[2 * index],
                                          w->squares + (size_t)index * 2 * (size_t)w->widest);
        if (status != PARE_OK)
            __atomic_store_n(&w->status, status, __ATOMIC_RELAXED);
    }
}

/* ---- all of a model ---- */

static pare_status describe(work *w, pare_arena *arena)
{
    for (size_t i = 0; i < w->model->tensor_count; i++) {
        const pare_tensor *tensor = &w->model->tensors[i], *base = find(w->base, tensor->name);
        pare_weight_tensor *t = &w->weights->tensors[i];
        if (!pare_type_readable(tensor->type))
            return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' is stored as %s", tensor->file,
                             tensor->name, pare_type_name(tensor->type));
        if (base && (pare_tensor_elements(base) != pare_tensor_elements(tensor) ||
                     pare_tensor_columns(base) != pare_tensor_columns(tensor)))
            return pare_fail(PARE_INVALID_ARGUMENT,
                             "tensor '%s' is [%lld, %lld] in %s and [%lld, %lld] in %s",
                             tensor->name, (long long)pare_tensor_rows(tensor),
                             (long long)pare_tensor_columns(tensor), tensor->file,
                             (long long)pare_tensor_rows(base),
                             (long long)pare_tensor_columns(base), base->file);
        t->name = pare_arena_copy(arena, tensor->name, strlen(tensor->name));
        t->format = pare_type_name(tensor->type);
        t->base_format = base ? pare_type_name(base->type) : NULL;
        t->rows = pare_tensor_rows(tensor);
        t->columns = pare_tensor_columns(tensor);
        t->bytes = (int64_t)tensor->bytes;
        w->widest = t->columns > w->widest ? t->columns : w->widest;
        if (!t->name)
            return PARE_OUT_OF_MEMORY;
    }
    return PARE_OK;
}

static pare_status study_all(work *w, int threads)
{
    pare_pool *pool;
    pare_status status = pare_pool_create(threads, &pool);
    if (status != PARE_OK)
        return status;
    const size_t count = (size_t)pare_pool_threads(pool);
    PARE_TRY(pare_allocate(2 * count, sizeof *w->readers, "readers", &w->readers));
    PARE_TRY(pare_allocate(2 * count * (size_t)w->widest, sizeof *w->squares, "sums of columns",
                           &w->squares));
    for (size_t i = 0; i < 2 * count; i++) {
        PARE_TRY(pare_allocate((size_t)w->widest, sizeof(float), "a row", &w->readers[i].values));
        PARE_TRY(
            pare_allocate((size_t)w->widest * ROWS, sizeof(float), "rows", &w->readers[i].buffer));
    }
    pare_pool_run(pool, study_share, w);
    if (w->status != PARE_OK)
        status = pare_fail(w->status, "%s: the weights could not be read", w->weights->path);
fail:
    for (size_t i = 0; w->readers && i < 2 * count; i++) {
        free(w->readers[i].values);
        free(w->readers[i].buffer);
    }
    free(w->readers);
    free(w->squares);
    pare_pool_free(pool);
    return status;
}

/* Tensors that were only copied would make the error of the others look small. */
static void sum_up(pare_weights *weights)
{
    double errors = 0, squares = 0;
    bool any = false;
    for (size_t i = 0; i < weights->count; i++)
        any = any || (weights->tensors[i].compared && weights->tensors[i].largest_error > 0);
    for (size_t i = 0; i < weights->count; i++) {
        const pare_weight_tensor *t = &weights->tensors[i];
        if (!t->compared || (any && !(t->largest_error > 0)) || !isfinite(t->relative_error))
            continue;
        double n = (double)t->rows * (double)t->columns;
        double power = n * (t->deviation * t->deviation + t->mean * t->mean);
        weights->compared_elements += t->rows * t->columns;
        errors += t->relative_error * t->relative_error * power;
        squares += power;
    }
    weights->relative_error = squares > 0 ? sqrt(errors / squares) : 0;
    weights->snr_db = -20 * log10(weights->relative_error);
}

pare_status pare_weights_inspect(const char *name, const char *base, int threads,
                                 const pare_progress *progress, pare_weights **out)
{
    pare_model *model = NULL, *other = NULL;
    pare_weights *weights = NULL;
    pare_arena *arena;
    work w = {0};
    pare_status status;
    (void)progress;
    *out = NULL;
    PARE_TRY(pare_allocate(1, sizeof *weights, "weights", &weights));
    PARE_TRY(pare_allocate(1, sizeof *arena, "weights", &arena));
    weights->memory = arena;
    PARE_TRY(pare_model_open(name, &model));
    if (base)
        PARE_TRY(pare_model_open(base, &other));
    weights->path = pare_arena_copy(arena, name, strlen(name));
    weights->base = base ? pare_arena_copy(arena, base, strlen(base)) : NULL;
    PARE_TRY(
        pare_allocate(model->tensor_count, sizeof *weights->tensors, "weights", &weights->tensors));
    weights->count = model->tensor_count;
    w = (work){.model = model, .base = other, .weights = weights};
    PARE_TRY(describe(&w, arena));
    PARE_TRY(study_all(&w, threads));
    sum_up(weights);
    *out = weights;
fail:
    pare_model_close(model);
    pare_model_close(other);
    if (status != PARE_OK)
        pare_weights_free(weights);
    return status;
}

void pare_weights_free(pare_weights *weights)
{
    if (!weights)
        return;
    if (weights->memory)
        pare_arena_free(weights->memory);
    free(weights->memory);
    free(weights->tensors);
    free(weights);
}
