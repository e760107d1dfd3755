/* SmoothQuant (Xiao et al., arXiv:2211.10438): what is hard to round moves from activations to
 * weights, by scales s = max|x| ^ alpha / max|w| ^ (1 - alpha) for each column of the inputs of q,
 * k, v and of gate and up; the division is folded into the norm before them. Weights are then
 * rounded to 8 bits for each row, activations to 8 bits for each token at run time.
 *
 * alpha is given (0.5), or searched for each input on a grid of 19 for the least squared error of
 * its layers' outputs, weights and activations rounded, on a sample of tokens. */
#include "base/fail.h"
#include "base/memory.h"
#include "calibrate/rescale.h"
#include "calibrate/statistics.h"
#include "kernels/int8.h"
#include "quant/methods.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALPHAS = 19 };
#define USUAL_ALPHA 0.5

typedef struct smooth_state {
    const pare_model *model;
    const pare_quantize_result *plan;
    double alpha; /* negative: searched */
    pare_rescaled done;
} smooth_state;

/* The largest magnitude of each column over all matrices that read the input. */
static void largest_weights(const pare_rescale *r, pare_block_input input, float *largest)
{
    for (int m = 0; m < r->matrix_count; m++) {
        const pare_block_matrix *matrix = &r->matrices[m];
        if (matrix->input != input)
            continue;
        for (int64_t i = 0; i < matrix->rows; i++)
            for (int64_t c = 0; c < matrix->columns; c++)
                largest[c] = fmaxf(largest[c], fabsf(matrix->weights[i * matrix->columns + c]));
    }
}

static void make_scales(const pare_input_statistics *s, const float *weights, double alpha,
                        float *scales)
{
    for (int64_t c = 0; c < s->columns; c++) {
        double x = fmax((double)s->largest[c], 1e-5), w = fmax((double)weights[c], 1e-5);
        scales[c] = (float)fmax(pow(x, alpha) / pow(w, 1 - alpha), 1e-5);
    }
}

/* ---- the search for alpha ---- */

typedef struct smooth_job {
    const pare_block_matrix *matrix;
    const pare_input_statistics *statistics;
    const float *scales, *rounded; /* rounded: the sample's tokens, divided by scales */
    double *errors;                /* [threads] */
    float *scratch;                /* [threads][2 * columns] */
} smooth_job;

/* Sums of squared errors of a share of the matrix' rows over the sample. */
static void error_share(void *argument, int index, int count)
{
    const smooth_job *j = argument;
    const int64_t n = j->matrix->columns;
    pare_range rows = pare_share(j->matrix->rows, 1, index, count);
    float *scaled = j->scratch + index * 2 * n, *stored = scaled + n;
    const pare_int8_rule rule = {.kind = PARE_INT8_TOKEN_127};
    for (int64_t r = rows.first; r < rows.last; r++) {
        const float *row = j->matrix->weights + r * n;
        for (int64_t c = 0; c < n; c++)
            scaled[c] = row[c] * j->scales[c];
        float scale = pare_int8_scale(&rule, scaled, n);
        pare_int8_codes(&rule, scale, scaled, 0, n, (int8_t *)stored);
        for (int64_t c = 0; c < n; c++)
            scaled[c] = scale * (float)((int8_t *)stored)[c];
        for (int64_t t = 0; t < j->statistics->sample_rows; t++) {
            const float *x = j->statistics->sample + t * n, *q = j->rounded + t * n;
            float exact = 0, rounded = 0;
            for (int64_t c = 0; c < n; c++) {
                exact += row[c] * x[c];
                rounded += scaled[c] * q[c];
            }
            j->errors[index] += (double)(exact - rounded) * (double)(exact - rounded);
        }
    }
}

static void round_sample(const pare_input_statistics *s, const float *scales, float *rounded)
{
    const pare_int8_rule rule = {.kind = PARE_INT8_TOKEN_127};
    for (int64_t t = 0; t < s->sample_rows; t++) {
        float *x = rounded + t * s->columns;
        for (int64_t c = 0; c < s->columns; c++)
            x[c] = s->sample[t * s->columns + c] / scales[c];
        float scale = pare_int8_scale(&rule, x, s->columns);
        for (int64_t c = 0; c < s->columns; c += PARE_SUB) {
            int8_t codes[PARE_SUB];
            int64_t n = s->columns - c < PARE_SUB ? s->columns - c : PARE_SUB;
            pare_int8_codes(&rule, scale, x, c, n, codes);
            for (int64_t i = 0; i < n; i++)
                x[c + i] = scale * (float)codes[i];
        }
    }
}

static pare_status search_alpha(const pare_rescale *r, pare_pool *pool, pare_block_input input,
                                const pare_input_statistics *s, const float *weights, float *scales,
                                double *alpha)
{
    const size_t threads = (size_t)pare_pool_threads(pool), n = (size_t)s->columns;
    float *rounded = NULL;
    double least = INFINITY;
    smooth_job j = {.statistics = s, .scales = scales};
    pare_status status;
    PARE_TRY(pare_allocate((size_t)s->sample_rows, n * sizeof *rounded, "SmoothQuant", &rounded));
    PARE_TRY(pare_allocate(threads, sizeof *j.errors, "SmoothQuant", &j.errors));
    PARE_TRY(pare_allocate(threads, 2 * n * sizeof *j.scratch, "SmoothQuant", &j.scratch));
    j.rounded = rounded;
    for (int a = 1; a <= ALPHAS; a++) {
        double error = 0;
        make_scales(s, weights, (double)a / (ALPHAS + 1), scales);
        round_sample(s, scales, rounded);
        memset(j.errors, 0, threads * sizeof *j.errors);
        for (int m = 0; m < r->matrix_count; m++) {
            j.matrix = &r->matrices[m];
            if (j.matrix->input == input)
                pare_pool_run(pool, error_share, &j);
        }
        for (size_t i = 0; i < threads; i++)
            error += j.errors[i];
        if (error < least) {
            least = error;
            *alpha = (double)a / (ALPHAS + 1);
        }
    }
fail:
    free(rounded);
    free(j.errors);
    free(j.scratch);
    return status;
}

/* ---- a block ---- */

static pare_status smooth_input(const smooth_state *state, pare_rescale *r, pare_pool *pool,
                                pare_block_input input, const pare_input_statistics *s)
{
    float *weights = NULL, *scales = NULL;
    double alpha = state->alpha;
    pare_status status;
    PARE_TRY(pare_allocate((size_t)s->columns, sizeof *weights, "SmoothQuant", &weights));
    PARE_TRY(pare_allocate((size_t)s->columns, sizeof *scales, "SmoothQuant", &scales));
    largest_weights(r, input, weights);
    if (alpha < 0)
        PARE_TRY(search_alpha(r, pool, input, s, weights, scales, &alpha));
    make_scales(s, weights, alpha, scales);
    status = pare_rescale_apply(r, input, scales);
fail:
    free(weights);
    free(scales);
    return status;
}

static pare_status do_block(void *user, pare_block *block, const pare_statistics *statistics)
{
    static const pare_block_input inputs[] = {PARE_BLOCK_QKV, PARE_BLOCK_UP};
    smooth_state *state = user;
    pare_rescale r;
    pare_status status;
    PARE_TRY(pare_rescale_start(&r, state->model, state->plan, block, statistics->layer));
    for (int i = 0; i < 2; i++)
        PARE_TRY(smooth_input(state, &r, pare_block_pool(block), inputs[i],
                              &statistics->inputs[inputs[i]]));
    for (int m = 0; m < r.matrix_count; m++) {
        const pare_quantize_item *item = pare_rescale_item(&r, r.matrices[m].source);
        if (item && item->chosen)
            PARE_TRY(pare_rescaled_add_rounded(&state->done, &r.matrices[m], item));
    }
    status = pare_rescaled_add_rest(&state->done, &r);
fail:
    pare_rescale_free(&r);
    return status;
}

/* ---- the method ---- */

static void finish(void *opaque)
{
    smooth_state *state = opaque;
    if (state)
        pare_rescaled_free(&state->done);
    free(state);
}

static pare_status start(const pare_model *model, const pare_quantize_options *options,
                         const pare_quantize_result *plan, void **out)
{
    const pare_statistics_wish wish = {.samples = options->search_alpha, .what = "smoothquant"};
    smooth_state *state;
    pare_status status = pare_allocate(1, sizeof *state, "SmoothQuant", &state);
    *out = state;
    if (status != PARE_OK)
        return status;
    *state = (smooth_state){.model = model, .plan = plan};
    state->alpha = options->search_alpha ? -1 : options->alpha ? *options->alpha : USUAL_ALPHA;
    return pare_statistics_walk(model, options, &wish, do_block, state);
}

static const uint8_t *rows(const void *opaque, const pare_tensor *tensor)
{
    return pare_rescaled_rows(&((const smooth_state *)opaque)->done, tensor);
}

static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    pare_method_encode(matrix, values, NULL, stored);
}

const pare_method pare_method_smoothquant = {
    .name = "smoothquant",
    .summary = "outliers move from activations to weights, then w8a8 (arXiv:2211.10438)",
    .format = "i8_ch",
    .activations = PARE_INPUTS_W8A8,
    .calibrated = true,
    .encode_row = encode_row,
    .start = start,
    .rows = rows,
    .finish = finish,
};
