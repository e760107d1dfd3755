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

/* One block in work. */
typedef struct awq_block {
    awq_state *state;
    const pare_statistics *statistics;
    pare_rescale rescale;
    pare_pool *pool;
    float *scales[PARE_BLOCK_INPUTS]; /* NULL: ones */
} awq_block;

/* ---- the error of one way of rounding ---- */

typedef struct awq_job {
    const pare_block_matrix *matrix;
    const pare_quantize_item *item;
    const float *scales, *gram;
    const float *blocks;  /* of the Gram matrix, one for each group */
    int64_t every, count; /* rows that decide: `count` of them, `every` apart */
    float *changes;       /* [count, columns] */
    double *errors;       /* [threads] */
    float *scratch;       /* [threads][scratch_floats] */
    uint8_t *encoded;     /* [threads][row] or [rows] */
    size_t row_bytes;
    bool clip;
} awq_job;

static size_t scratch_floats(int64_t columns)
{
    return (size_t)(ROWS > 2 * CLIPS + 3 ? ROWS : 2 * CLIPS + 3) * (size_t)columns;
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

static void changes_share(void *argument, int index, int count)
{
    const awq_job *j = argument;
    const int64_t n = j->matrix->columns;
    pare_range rows = pare_share(j->count, 1, index, count);
    for (int64_t r = rows.first; r < rows.last; r++)
        row_change(j, r * j->every, j->encoded + (size_t)index * j->row_bytes,
                   j->scratch + (size_t)index * scratch_floats(n), j->changes + r * n);
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

static void quadratic_share(void *argument, int index, int count)
{
    const awq_job *j = argument;
    const int64_t n = j->matrix->columns;
    pare_range rows = pare_share(j->count, ROWS, index, count);
    for (int64_t tile = rows.first; tile < rows.last; tile += ROWS) {
        int64_t m = rows.last - tile < ROWS ? rows.last - tile : ROWS;
        j->errors[index] += quadratic(j->changes + tile * n, j->gram,
                                      j->scratch + (size_t)index * scratch_floats(n), m, n);
    }
}

/* The error of the rows that decide, times how many each stands for. */
static pare_status rounding_error(const awq_block *b, pare_block_input input, awq_job *j,
                                  double *error)
{
    const pare_calibrator *device = b->statistics->device;
    const int threads = pare_pool_threads(b->pool);
    double sum = 0;
    pare_status status = PARE_OK;
    pare_pool_run(b->pool, changes_share, j);
    if (device) {
        status = pare_calibrator_check(
            device, device->functions->quadratic(device->state, input, j->changes, j->count, &sum));
    } else {
        memset(j->errors, 0, (size_t)threads * sizeof *j->errors);
        pare_pool_run(b->pool, quadratic_share, j);
        for (int i = 0; i < threads; i++)
            sum += j->errors[i];
    }
    *error += (double)j->every * sum;
    return status;
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

static pare_status measure(const awq_block *b, pare_block_input input,
                           const pare_input_statistics *s, const float *scales, double *error)
{
    const size_t threads = (size_t)pare_pool_threads(b->pool), n = (size_t)s->columns;
    awq_job j = {.scales = scales, .gram = s->gram};
    pare_status status;
    *error = 0;
    PARE_TRY(pare_allocate(threads, sizeof *j.errors, "AWQ", &j.errors));
    PARE_TRY(
        pare_allocate(threads, scratch_floats(s->columns) * sizeof *j.scratch, "AWQ", &j.scratch));
    PARE_TRY(pare_allocate(MOST_ROWS, n * sizeof *j.changes, "AWQ", &j.changes));
    for (int m = 0; m < b->rescale.matrix_count; m++) {
        j.matrix = &b->rescale.matrices[m];
        j.item = pare_rescale_item(&b->rescale, j.matrix->source);
        if (j.matrix->input != input || !j.item || !j.item->chosen)
            continue;
        j.every = (j.matrix->rows + MOST_ROWS - 1) / MOST_ROWS;
        j.count = j.matrix->rows / j.every;
        j.row_bytes = pare_type_row_bytes(j.item->type, s->columns);
        PARE_TRY(pare_allocate(threads, j.row_bytes, "AWQ", &j.encoded));
        PARE_TRY(rounding_error(b, input, &j, error));
        free(j.encoded);
        j.encoded = NULL;
    }
fail:
    free(j.errors);
    free(j.scratch);
    free(j.changes);
    free(j.encoded);
    return status;
}

/* Scales the block by the best ratio. */
static pare_status search_scales(awq_block *b, pare_block_input input)
{
    const pare_input_statistics *s = &b->statistics->inputs[input];
    float *scales = NULL;
    double least = INFINITY, best = 0, error;
    pare_status status;
    PARE_TRY(pare_allocate((size_t)s->columns, sizeof *scales, "AWQ", &scales));
    b->scales[input] = scales;
    for (int i = 0; i < RATIOS; i++) {
        make_scales(s, (double)i / RATIOS, scales);
        PARE_TRY(measure(b, input, s, scales, &error));
        if (error < least) {
            least = error;
            best = (double)i / RATIOS;
        }
    }
    make_scales(s, best, scales);
    status = pare_rescale_apply(&b->rescale, input, scales);
fail:
    return status;
}

/* ---- clipping ---- */

static void clamp_group(const float *from, float *to, int64_t n, float share)
{
    float largest = 0;
    for (int64_t c = 0; c < n; c++)
        largest = from[c] > largest ? from[c] : -from[c] > largest ? -from[c] : largest;
    largest *= share;
    for (int64_t c = 0; c < n; c++) {
        float v = from[c] > largest ? largest : from[c];
        to[c] = v < -largest ? -largest : v;
    }
}

/* Columns that share a scale; they divide a row. */
static int64_t group_of(const pare_quantize_item *item, int64_t columns)
{
    const pare_grid *grid = pare_type_grid(item->type);
    return grid && grid->group ? grid->group : columns;
}

/* The blocks on the diagonal of the Gram matrix of the scaled inputs. */
static pare_status group_blocks(const awq_block *b, pare_block_input input, int64_t group,
                                float **blocks)
{
    const pare_input_statistics *s = &b->statistics->inputs[input];
    const pare_calibrator *device = b->statistics->device;
    const float *scales = b->scales[input];
    const int64_t n = s->columns;
    pare_status status;
    PARE_TRY(pare_allocate((size_t)n, (size_t)group * sizeof **blocks, "a Gram matrix", blocks));
    if (device)
        PARE_TRY(pare_calibrator_check(
            device, device->functions->gram_blocks(device->state, input, group, *blocks)));
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < group; k++) {
            const int64_t column = i / group * group + k;
            float *to = *blocks + i * group + k;
            if (!device)
                *to = s->gram[i * n + column];
            if (scales)
                *to /= scales[i] * scales[column];
        }
fail:
    return status;
}

/* The clipping of one group, whose error d G dᵀ is least; changes: [CLIPS] rows, `stride` apart. */
static float best_clip(const float *changes, int64_t stride, const float *block, float *product,
                       int64_t group)
{
    double least = INFINITY;
    int best = 0;
    pare_multiply_rows(product, group, changes, stride, block, CLIPS, group, group);
    for (int i = 0; i < CLIPS; i++) {
        double sum = 0;
        for (int64_t c = 0; c < group; c++)
            sum += (double)product[i * group + c] * (double)changes[i * stride + c];
        if (sum < least) {
            least = sum;
            best = i;
        }
    }
    return 1 - CLIP_STEP * (float)best;
}

/* The row's best clipping for each group, then its codes. */
static void clip_row(const awq_job *j, int64_t r, float *scratch)
{
    const int64_t n = j->matrix->columns, group = group_of(j->item, n);
    const float *row = j->matrix->weights + r * n;
    uint8_t *stored = j->encoded + (size_t)r * j->row_bytes;
    float *clipped = scratch, *changes = clipped + n, *product = changes + CLIPS * n;
    for (int i = 0; i < CLIPS; i++) {
        float *change = changes + i * n;
        for (int64_t c = 0; c < n; c += group)
            clamp_group(row + c, clipped + c, group, 1 - CLIP_STEP * (float)i);
        encode(j, clipped, stored);
        pare_type_get_traits(j->item->type)->decode(stored, change, n);
        for (int64_t c = 0; c < n; c++)
            change[c] -= row[c];
    }
    for (int64_t c = 0; c < n; c += group)
        clamp_group(row + c, clipped + c, group,
                    best_clip(changes + c, n, j->blocks + c * group, product, group));
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

static pare_status encode_matrix(const awq_block *b, int m)
{
    awq_job j = {.matrix = &b->rescale.matrices[m]};
    const int64_t columns = j.matrix->columns;
    float *blocks = NULL;
    uint8_t *rows = NULL;
    pare_status status;
    j.item = pare_rescale_item(&b->rescale, j.matrix->source);
    j.clip = is_clipped(&b->rescale, j.matrix->source);
    j.row_bytes = pare_type_row_bytes(j.item->type, columns);
    if (j.clip)
        PARE_TRY(group_blocks(b, j.matrix->input, group_of(j.item, columns), &blocks));
    j.blocks = blocks;
    PARE_TRY(pare_allocate((size_t)pare_pool_threads(b->pool),
                           scratch_floats(columns) * sizeof *j.scratch, "AWQ", &j.scratch));
    PARE_TRY(pare_allocate((size_t)j.matrix->rows, j.row_bytes, j.item->name, &rows));
    j.encoded = rows;
    pare_pool_run(b->pool, encode_share, &j);
    status = pare_rescaled_add(&b->state->done, j.matrix->source, rows,
                               (size_t)j.matrix->rows * j.row_bytes);
fail:
    free(blocks);
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
    awq_block b = {.state = state, .statistics = statistics, .pool = pare_block_pool(block)};
    pare_rescale *r = &b.rescale;
    const size_t first = state->done.count;
    pare_status status;
    PARE_TRY(pare_rescale_start(r, state->model, state->plan, block, statistics->layer));
    for (int i = 0; i < PARE_BLOCK_INPUTS; i++)
        if (any_chosen(r, (pare_block_input)i) && can_scale(r, (pare_block_input)i))
            PARE_TRY(search_scales(&b, (pare_block_input)i));
    for (int m = 0; m < r->matrix_count; m++) {
        const pare_quantize_item *item = pare_rescale_item(r, r->matrices[m].source);
        if (item && item->chosen)
            PARE_TRY(encode_matrix(&b, m));
    }
    PARE_TRY(pare_rescaled_add_rest(&state->done, r));
    status = pare_rescaled_keep(&state->done, first, statistics->layer, &state->work);
fail:
    for (int i = 0; i < PARE_BLOCK_INPUTS; i++)
        free(b.scales[i]);
    pare_rescale_free(r);
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
    .device = true,
    .rescales = true,
    .encode_row = encode_row,
    .start = start,
    .rows = rows,
    .finish = finish,
};
