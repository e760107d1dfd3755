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
#include "quant/linalg.h"
#include "quant/methods.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALPHAS = 19, MOST_ROWS = 256 };
#define USUAL_ALPHA 0.5

typedef struct smooth_state {
    const pare_model *model;
    const pare_quantize_result *plan;
    double alpha; /* negative: searched */
    pare_rescaled done;
    pare_work work;
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
    const float *scales;
    const float *sample, *rounded; /* [columns, tokens]: rounded: of tokens divided by scales */
    int64_t tokens;
    double *errors; /* [threads] */
    float *scratch; /* [threads][2 * (columns + tokens)] */
} smooth_job;

static void round_row(const smooth_job *j, const float *row, float *scaled, int8_t *codes)
{
    const pare_int8_rule rule = {.kind = PARE_INT8_TOKEN_127};
    const int64_t n = j->matrix->columns;
    for (int64_t c = 0; c < n; c++)
        scaled[c] = row[c] * j->scales[c];
    float scale = pare_int8_scale(&rule, scaled, n);
    pare_int8_codes(&rule, scale, scaled, 0, n, codes);
    for (int64_t c = 0; c < n; c++)
        scaled[c] = scale * (float)codes[c];
}

/* Sums of squared errors of a share of the matrix' rows over the sample; of long matrices MOST_ROWS
 * rows, evenly spread. */
static void error_share(void *argument, int index, int count)
{
    const smooth_job *j = argument;
    const int64_t n = j->matrix->columns, every = (j->matrix->rows + MOST_ROWS - 1) / MOST_ROWS;
    pare_range rows = pare_share(j->matrix->rows / every, 1, index, count);
    float *scaled = j->scratch + index * 2 * (n + j->tokens), *codes = scaled + n,
          *exact = codes + n, *rounded = exact + j->tokens;
    for (int64_t r = rows.first; r < rows.last; r++) {
        const float *row = j->matrix->weights + r * every * n;
        double sum = 0;
        round_row(j, row, scaled, (int8_t *)codes);
        pare_multiply_row(exact, row, j->sample, n, j->tokens);
        pare_multiply_row(rounded, scaled, j->rounded, n, j->tokens);
        for (int64_t t = 0; t < j->tokens; t++)
            sum += (double)(exact[t] - rounded[t]) * (double)(exact[t] - rounded[t]);
        j->errors[index] += (double)every * sum;
    }
}

/* The sample by columns, as it is (scales NULL) or divided by scales and rounded. */
static void turn_sample(const pare_input_statistics *s, const float *scales, float *token,
                        float *turned)
{
    const pare_int8_rule rule = {.kind = PARE_INT8_TOKEN_127};
    for (int64_t t = 0; t < s->sample_rows; t++) {
        for (int64_t c = 0; c < s->columns; c++)
            token[c] = s->sample[t * s->columns + c] / (scales ? scales[c] : 1);
        float scale = scales ? pare_int8_scale(&rule, token, s->columns) : 0;
        for (int64_t c = 0; c < s->columns; c++) {
            int8_t code;
            if (scales)
                pare_int8_codes(&rule, scale, token, c, 1, &code);
            turned[c * s->sample_rows + t] = scales ? scale * (float)code : token[c];
        }
    }
}

static double error_of(const pare_rescale *r, pare_pool *pool, pare_block_input input,
                       smooth_job *j)
{
    const int threads = pare_pool_threads(pool);
    double error = 0;
    memset(j->errors, 0, (size_t)threads * sizeof *j->errors);
    for (int m = 0; m < r->matrix_count; m++) {
        j->matrix = &r->matrices[m];
        if (j->matrix->input == input)
            pare_pool_run(pool, error_share, j);
    }
    for (int i = 0; i < threads; i++)
        error += j->errors[i];
    return error;
}

static pare_status search_alpha(const pare_rescale *r, pare_pool *pool, pare_block_input input,
                                const pare_input_statistics *s, const float *weights, float *scales,
                                double *alpha)
{
    const size_t threads = (size_t)pare_pool_threads(pool), n = (size_t)s->columns,
                 tokens = (size_t)s->sample_rows;
    float *turned[2] = {0};
    double least = INFINITY;
    smooth_job j = {.scales = scales, .tokens = s->sample_rows};
    pare_status status;
    for (int i = 0; i < 2; i++)
        PARE_TRY(pare_allocate(tokens, n * sizeof(float), "SmoothQuant", &turned[i]));
    PARE_TRY(pare_allocate(threads, sizeof *j.errors, "SmoothQuant", &j.errors));
    PARE_TRY(
        pare_allocate(threads, 2 * (n + tokens) * sizeof *j.scratch, "SmoothQuant", &j.scratch));
    j.sample = turned[0];
    j.rounded = turned[1];
    turn_sample(s, NULL, j.scratch, turned[0]);
    for (int a = 1; a <= ALPHAS; a++) {
        make_scales(s, weights, (double)a / (ALPHAS + 1), scales);
        turn_sample(s, scales, j.scratch, turned[1]);
        double error = error_of(r, pool, input, &j);
        if (error < least) {
            least = error;
            *alpha = (double)a / (ALPHAS + 1);
        }
    }
fail:
    free(turned[0]);
    free(turned[1]);
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
    const size_t first = state->done.count;
    pare_rescale r;
    pare_status status;
    PARE_TRY(pare_rescale_start(&r, state->model, state->plan, block, statistics->layer));
    for (int i = 0; i < 2; i++)
        PARE_TRY(smooth_input(state, &r, pare_block_pool(block), inputs[i],
                              &statistics->inputs[inputs[i]]));
    for (int m = 0; m < r.matrix_count; m++) {
        const pare_quantize_item *item = pare_rescale_item(&r, r.matrices[m].source);
        if (item && item->chosen)
            PARE_TRY(pare_rescaled_add_rounded(&state->done, r.pool, &r.matrices[m], item));
    }
    PARE_TRY(pare_rescaled_add_rest(&state->done, &r));
    status = pare_rescaled_keep(&state->done, first, statistics->layer, &state->work);
fail:
    pare_rescale_free(&r);
    return status;
}

static bool finished(void *user, int64_t layer)
{
    smooth_state *state = user;
    return pare_rescaled_restore(&state->done, state->model, state->plan, layer, &state->work);
}

/* ---- the method ---- */

static void finish(void *opaque)
{
    smooth_state *state = opaque;
    if (state) {
        pare_rescaled_free(&state->done);
        pare_work_close(&state->work);
    }
    free(state);
}

static pare_status start(const pare_model *model, const pare_quantize_options *options,
                         const pare_quantize_result *plan, void **out)
{
    const pare_statistics_wish wish = {
        .samples = options->search_alpha, .finished = finished, .what = "smoothquant"};
    char key[64];
    smooth_state *state;
    pare_status status = pare_allocate(1, sizeof *state, "SmoothQuant", &state);
    *out = state;
    if (status != PARE_OK)
        return status;
    *state = (smooth_state){.model = model, .plan = plan, .work.fd = -1};
    state->alpha = options->search_alpha ? -1 : options->alpha ? *options->alpha : USUAL_ALPHA;
    snprintf(key, sizeof key, "smoothquant 1: alpha %.9g", state->alpha);
    status = pare_work_open(model, options, plan, key, &state->work);
    return status == PARE_OK ? pare_statistics_walk(model, options, &wish, do_block, state)
                             : status;
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
    .device = true,
    .encode_row = encode_row,
    .start = start,
    .rows = rows,
    .finish = finish,
};
