/* AWQ (Lin et al., arXiv:2306.00978): inputs whose magnitudes are large get finer steps, by scales
 * s = mean|x| ^ ratio that multiply the weights' columns and divide the inputs; then groups of
 * weights are clipped where that lowers the error.
 *
 * For each input of a block the ratio is searched on a grid of 20 for the least error of all
 * matrices that read it, sum over rows of d G dᵀ with d the row's change and G the Gram matrix of
 * the inputs: that is the squared error of the layer's outputs over the whole text. Clipping is
 * searched for each row and group with the group's own part of G; q and k are not clipped, as in
 * the paper. Works on every format with codes. */
#include "base/fail.h"
#include "base/memory.h"
#include "calibrate/rescale.h"
#include "calibrate/statistics.h"
#include "quant/grid.h"
#include "quant/linalg.h"
#include "quant/methods.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    RATIOS = 20,
    CLIPS = 10,
    ROWS = 8,       /* share the reading of G */
    MOST_ROWS = 256 /* of a matrix that decide its ratio, evenly spread */
};
#define CLIP_STEP 0.05f

typedef struct awq_state {
    const pare_model *model;
    const pare_quantize_result *plan;
    pare_rescaled done;
    pare_work work;
} awq_state;

/* ---- the error of one way of rounding ---- */

typedef struct awq_job {
    const pare_block_matrix *matrix;
    const pare_quantize_item *item;
    const float *scales, *gram;
    double *errors;   /* [threads] */
    float *scratch;   /* [threads][(2 * ROWS + 2) * columns] */
    uint8_t *encoded; /* [threads][row] or [rows] */
    size_t row_bytes;
    bool clip;
} awq_job;

static size_t scratch_floats(int64_t columns)
{
    return (size_t)(2 * ROWS + 2) * (size_t)columns;
}

static void encode(const awq_job *j, const float *values, uint8_t *stored)
{
    const pare_method_matrix as = {.name = j->item->name,
                                   .type = j->item->type,
                                   .rows = j->matrix->rows,
                                   .columns = j->matrix->columns};
    pare_method_encode(&as, values, NULL, stored);
}

/* What rounding changes in a row, in the units of the unscaled weights. */
static void row_change(const awq_job *j, int64_t r, uint8_t *stored, float *scaled, float *change)
{
    const int64_t n = j->matrix->columns;
    const float *row = j->matrix->weights + r * n;
    for (int64_t c = 0; c < n; c++)
        scaled[c] = row[c] * j->scales[c];
    encode(j, scaled, stored);
    pare_type_get_traits(j->item->type)->decode(stored, change, n);
    for (int64_t c = 0; c < n; c++)
        change[c] = (change[c] - scaled[c]) / j->scales[c];
}

/* Sum of d G dᵀ over `rows` rows of d; product [rows, n] is scratch. G's rows are read once for all
 * of d's. */
static double quadratic(const float *d, const float *gram, float *product, int64_t rows, int64_t n)
{
    double sum = 0;
    memset(product, 0, (size_t)(rows * n) * sizeof *product);
    for (int64_t k = 0; k < n; k++)
        for (int64_t r = 0; r < rows; r++)
            pare_subtract_scaled(product + r * n, gram + k * n, -d[r * n + k], n);
    for (int64_t i = 0; i < rows * n; i++)
        sum += (double)product[i] * (double)d[i];
    return sum;
}

static void error_share(void *argument, int index, int count)
{
    const awq_job *j = argument;
    const int64_t n = j->matrix->columns, every = (j->matrix->rows + MOST_ROWS - 1) / MOST_ROWS;
    pare_range rows = pare_share(j->matrix->rows / every, ROWS, index, count);
    float *changes = j->scratch + (size_t)index * scratch_floats(n), *product = changes + ROWS * n,
          *scaled = product + ROWS * n;
    uint8_t *stored = j->encoded + (size_t)index * j->row_bytes;
    for (int64_t tile = rows.first; tile < rows.last; tile += ROWS) {
        int64_t m = rows.last - tile < ROWS ? rows.last - tile : ROWS;
        for (int64_t r = 0; r < m; r++)
            row_change(j, (tile + r) * every, stored, scaled, changes + r * n);
        j->errors[index] += (double)every * quadratic(changes, j->gram, product, m, n);
    }
}

/* ---- the search for scales ---- */

/* s = mean|x| ^ ratio, around 1. */
static void make_scales(const pare_input_statistics *s, double ratio, float *scales)
{
    double low = INFINITY, high = 0;
    for (int64_t c = 0; c < s->columns; c++) {
        double scale = fmax(pow(fmax(s->means[c], 1e-8), ratio), 1e-4);
        scales[c] = (float)scale;
        low = fmin(low, scale);
        high = fmax(high, scale);
    }
    for (int64_t c = 0; c < s->columns; c++)
        scales[c] = (float)(scales[c] / sqrt(low * high));
}

static pare_status measure(const pare_rescale *r, pare_pool *pool, pare_block_input input,
                           const pare_input_statistics *s, const float *scales, double *error)
{
    const int threads = pare_pool_threads(pool);
    awq_job j = {.scales = scales, .gram = s->gram};
    pare_status status;
    *error = 0;
    PARE_TRY(pare_allocate((size_t)threads, sizeof *j.errors, "AWQ", &j.errors));
    PARE_TRY(pare_allocate((size_t)threads, scratch_floats(s->columns) * sizeof *j.scratch, "AWQ",
                           &j.scratch));
    for (int m = 0; m < r->matrix_count; m++) {
        j.matrix = &r->matrices[m];
        j.item = pare_rescale_item(r, j.matrix->source);
        if (j.matrix->input != input || !j.item || !j.item->chosen)
            continue;
        j.row_bytes = pare_type_row_bytes(j.item->type, s->columns);
        PARE_TRY(pare_allocate((size_t)threads, j.row_bytes, "AWQ", &j.encoded));
        pare_pool_run(pool, error_share, &j);
        free(j.encoded);
        j.encoded = NULL;
    }
    for (int i = 0; i < threads; i++)
        *error += j.errors[i];
fail:
    free(j.errors);
    free(j.scratch);
    free(j.encoded);
    return status;
}

/* Scales the block by the best ratio, and the Gram matrix with it. */
static pare_status search_scales(pare_rescale *r, pare_pool *pool, pare_block_input input,
                                 const pare_input_statistics *s)
{
    float *scales = NULL;
    double least = INFINITY, best = 0, error;
    pare_status status;
    PARE_TRY(pare_allocate((size_t)s->columns, sizeof *scales, "AWQ", &scales));
    for (int i = 0; i < RATIOS; i++) {
        make_scales(s, (double)i / RATIOS, scales);
        PARE_TRY(measure(r, pool, input, s, scales, &error));
        if (error < least) {
            least = error;
            best = (double)i / RATIOS;
        }
    }
    make_scales(s, best, scales);
    status = pare_rescale_apply(r, input, scales);
    for (int64_t i = 0; i < s->columns; i++)
        for (int64_t k = 0; k < s->columns; k++)
            s->gram[i * s->columns + k] /= scales[i] * scales[k];
fail:
    free(scales);
    return status;
}

/* ---- clipping ---- */

static void clamp_group(const float *from, float *to, int64_t n, float share)
{
    float largest = 0;
    for (int64_t c = 0; c < n; c++)
        largest = fmaxf(largest, fabsf(from[c]));
    for (int64_t c = 0; c < n; c++)
        to[c] = fminf(fmaxf(from[c], -share * largest), share * largest);
}

/* d G dᵀ of one group alone. */
static double group_error(const float *values, const float *row, const float *gram, int64_t first,
                          int64_t last, int64_t n)
{
    double sum = 0;
    for (int64_t i = first; i < last; i++) {
        float product = 0;
        for (int64_t k = first; k < last; k++)
            product += gram[i * n + k] * (values[k] - row[k]);
        sum += (double)product * (double)(values[i] - row[i]);
    }
    return sum;
}

/* The row's best clipping for each group, then its codes. `gram` is that of the scaled inputs. */
static void clip_row(const awq_job *j, int64_t r, float *scratch)
{
    const int64_t n = j->matrix->columns;
    const pare_grid *grid = pare_type_grid(j->item->type);
    const int64_t group = grid && grid->group ? grid->group : n;
    const float *row = j->matrix->weights + r * n;
    uint8_t *stored = j->encoded + (size_t)r * j->row_bytes;
    float *clipped = scratch, *values = clipped + n, *errors = values + n, *best = errors + n;
    for (int64_t g = 0; g * group < n; g++)
        errors[g] = INFINITY;
    for (int i = 0; i < CLIPS; i++) {
        float share = 1 - CLIP_STEP * (float)i;
        for (int64_t c = 0; c < n; c += group)
            clamp_group(row + c, clipped + c, n - c < group ? n - c : group, share);
        encode(j, clipped, stored);
        pare_type_get_traits(j->item->type)->decode(stored, values, n);
        for (int64_t g = 0; g * group < n; g++) {
            int64_t last = (g + 1) * group < n ? (g + 1) * group : n;
            float error = (float)group_error(values, row, j->gram, g * group, last, n);
            if (error < errors[g]) {
                errors[g] = error;
                best[g] = share;
            }
        }
    }
    for (int64_t g = 0; g * group < n; g++)
        clamp_group(row + g * group, clipped + g * group,
                    n - g * group < group ? n - g * group : group, best[g]);
    encode(j, clipped, stored);
}

static void encode_share(void *argument, int index, int count)
{
    const awq_job *j = argument;
    const int64_t n = j->matrix->columns;
    pare_range rows = pare_share(j->matrix->rows, 1, index, count);
    float *scratch = j->scratch + (size_t)index * scratch_floats(n);
    for (int64_t r = rows.first; r < rows.last; r++)
        if (j->clip)
            clip_row(j, r, scratch);
        else
            encode(j, j->matrix->weights + r * n, j->encoded + (size_t)r * j->row_bytes);
}

static bool is_clipped(const pare_rescale *r, const pare_tensor *tensor)
{
    const pare_layer *l = &r->model->layers[r->layer];
    return tensor != l->q && tensor != l->k && tensor != l->qkv;
}

static pare_status encode_matrix(awq_state *state, const pare_rescale *r, pare_pool *pool, int m,
                                 const float *gram)
{
    awq_job j = {.matrix = &r->matrices[m], .gram = gram};
    const int64_t columns = j.matrix->columns;
    uint8_t *rows = NULL;
    pare_status status;
    j.item = pare_rescale_item(r, j.matrix->source);
    j.clip = is_clipped(r, j.matrix->source);
    j.row_bytes = pare_type_row_bytes(j.item->type, columns);
    PARE_TRY(pare_allocate((size_t)pare_pool_threads(pool),
                           scratch_floats(columns) * sizeof *j.scratch, "AWQ", &j.scratch));
    PARE_TRY(pare_allocate((size_t)j.matrix->rows, j.row_bytes, j.item->name, &rows));
    j.encoded = rows;
    pare_pool_run(pool, encode_share, &j);
    status = pare_rescaled_add(&state->done, j.matrix->source, rows,
                               (size_t)j.matrix->rows * j.row_bytes);
fail:
    free(j.scratch);
    return status;
}

/* ---- a block ---- */

static bool any_chosen(const pare_rescale *r, pare_block_input input)
{
    for (int m = 0; m < r->matrix_count; m++) {
        const pare_quantize_item *item = pare_rescale_item(r, r->matrices[m].source);
        if (r->matrices[m].input == input && item && item->chosen)
            return true;
    }
    return false;
}

/* Scales that fold nowhere need a place in the file, which other libraries' layouts have not. */
static bool can_scale(const pare_rescale *r, pare_block_input input)
{
    return pare_fold_of(r->model, input) != PARE_FOLD_KEPT || r->plan->added_count > 0;
}

static pare_status do_block(void *user, pare_block *block, const pare_statistics *statistics)
{
    awq_state *state = user;
    pare_pool *pool = pare_block_pool(block);
    const size_t first = state->done.count;
    pare_rescale r;
    pare_status status;
    PARE_TRY(pare_rescale_start(&r, state->model, state->plan, block, statistics->layer));
    for (int i = 0; i < PARE_BLOCK_INPUTS; i++)
        if (any_chosen(&r, (pare_block_input)i) && can_scale(&r, (pare_block_input)i))
            PARE_TRY(search_scales(&r, pool, (pare_block_input)i, &statistics->inputs[i]));
    for (int m = 0; m < r.matrix_count; m++) {
        const pare_quantize_item *item = pare_rescale_item(&r, r.matrices[m].source);
        if (item && item->chosen)
            PARE_TRY(
                encode_matrix(state, &r, pool, m, statistics->inputs[r.matrices[m].input].gram));
    }
    PARE_TRY(pare_rescaled_add_rest(&state->done, &r));
    status = pare_rescaled_keep(&state->done, first, statistics->layer, &state->work);
fail:
    pare_rescale_free(&r);
    return status;
}

static bool finished(void *user, int64_t layer)
{
    awq_state *state = user;
    return pare_rescaled_restore(&state->done, state->model, state->plan, layer, &state->work);
}

/* ---- the method ---- */

static void finish(void *opaque)
{
    awq_state *state = opaque;
    if (state) {
        pare_rescaled_free(&state->done);
        pare_work_close(&state->work);
    }
    free(state);
}

static pare_status check(const pare_model *model, const pare_quantize_result *plan)
{
    for (int64_t l = 0; l < model->decoder.layers; l++)
        if (model->layers[l].output_scale || model->layers[l].down_scale)
            return pare_fail(PARE_UNSUPPORTED, "%s: AWQ scaled this model already",
                             model->info.path);
    for (size_t i = 0; i < plan->count; i++)
        if (plan->items[i].chosen && !pare_type_grid(plan->items[i].type))
            return pare_fail(PARE_UNSUPPORTED, "awq: format %s of tensor '%s' has no codes",
                             pare_type_name(plan->items[i].type), plan->items[i].name);
    return PARE_OK;
}

static pare_status start(const pare_model *model, const pare_quantize_options *options,
                         const pare_quantize_result *plan, void **out)
{
    static const pare_statistics_wish wish = {.grams = true, .finished = finished, .what = "awq"};
    awq_state *state;
    pare_status status = pare_allocate(1, sizeof *state, "AWQ", &state);
    *out = state;
    if (status != PARE_OK)
        return status;
    *state = (awq_state){.model = model, .plan = plan, .work.fd = -1};
    status = check(model, plan);
    if (status == PARE_OK)
        status = pare_work_open(model, options, plan, "awq 1: 20 ratios, 10 clips", &state->work);
    return status == PARE_OK ? pare_statistics_walk(model, options, &wish, do_block, state)
                             : status;
}

static const uint8_t *rows(const void *opaque, const pare_tensor *tensor)
{
    return pare_rescaled_rows(&((const awq_state *)opaque)->done, tensor);
}

static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    pare_method_encode(matrix, values, NULL, stored);
}

const pare_method pare_method_awq = {
    .name = "awq",
    .summary = "columns scaled by the inputs' magnitudes, groups clipped (arXiv:2306.00978)",
    .calibrated = true,
    .rescales = true,
    .encode_row = encode_row,
    .start = start,
    .rows = rows,
    .finish = finish,
};
