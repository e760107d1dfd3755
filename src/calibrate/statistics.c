#include "calibrate/statistics.h"

#include "base/fail.h"
#include "base/memory.h"
#include "calibrate/spill.h"
#include "calibrate/walk.h"
#include "quant/linalg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct walk {
    const pare_model *model;
    const pare_quantize_options *options;
    const pare_calibration *calibration;
    const pare_statistics_wish *wish;
    pare_calibrator device; /* {0}: the CPU, and the states are here */
    pare_statistics now;
    float *hidden;     /* [sequences][length] rows of `stride` floats */
    pare_spill states; /* what they lie in */
    int64_t stride, sequence;
    int64_t seen[PARE_BLOCK_INPUTS]; /* tokens of the present sequence */
} walk;

static void free_statistics(pare_statistics *statistics)
{
    for (int i = 0; i < PARE_BLOCK_INPUTS; i++) {
        pare_input_statistics *s = &statistics->inputs[i];
        free(s->means);
        free(s->largest);
        free(s->gram);
        free(s->sample);
        *s = (pare_input_statistics){0};
    }
}

static pare_status allocate_statistics(walk *w, pare_block *block)
{
    int count;
    const pare_block_matrix *matrices = pare_block_get_matrices(block, &count);
    const int64_t tokens = w->calibration->sequences * w->calibration->length;
    pare_status status = PARE_OK;
    for (int m = 0; m < count; m++)
        w->now.inputs[matrices[m].input].columns = matrices[m].columns;
    for (int i = 0; i < PARE_BLOCK_INPUTS; i++) {
        pare_input_statistics *s = &w->now.inputs[i];
        size_t n = (size_t)s->columns;
        s->sample_rows = tokens < PARE_SAMPLE_ROWS ? tokens : PARE_SAMPLE_ROWS;
        PARE_TRY(pare_allocate(n, sizeof *s->means, "statistics", &s->means));
        PARE_TRY(pare_allocate(n, sizeof *s->largest, "statistics", &s->largest));
        if (w->wish->grams && !w->device.functions)
            PARE_TRY(pare_allocate(n, n * sizeof *s->gram, "a Gram matrix", &s->gram));
        if (w->wish->samples)
            PARE_TRY(pare_allocate((size_t)s->sample_rows, n * sizeof *s->sample,
                                   "a sample of tokens", &s->sample));
    }
fail:
    return status;
}

/* Row k of the sample is token k * tokens / sample_rows of the text. */
static void keep_sample(const walk *w, pare_input_statistics *s, int64_t first, const float *x,
                        int64_t stride, int64_t tokens)
{
    const int64_t all = w->calibration->sequences * w->calibration->length;
    for (int64_t k = (first * s->sample_rows + all - 1) / all; k < s->sample_rows; k++) {
        int64_t token = k * all / s->sample_rows - first;
        if (token >= tokens)
            return;
        if (token >= 0)
            memcpy(s->sample + k * s->columns, x + token * stride,
                   (size_t)s->columns * sizeof(float));
    }
}

/* Columns are shared: no sum depends on the number of threads. */
static void observe(void *user, pare_block_input input, const float *x, int64_t stride,
                    int64_t tokens, int64_t columns, int index, int count)
{
    walk *w = user;
    pare_input_statistics *s = &w->now.inputs[input];
    const pare_range share = pare_share(columns, 16, index, count);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = share.first; c < share.last; c++) {
            float magnitude = fabsf(x[t * stride + c]);
            s->means[c] += (double)magnitude;
            s->largest[c] = magnitude > s->largest[c] ? magnitude : s->largest[c];
        }
    if (s->gram)
        pare_add_gram_share(s->gram, x, stride, tokens, columns, index, count);
    if (index > 0)
        return;
    if (s->sample)
        keep_sample(w, s, w->sequence * w->calibration->length + w->seen[input], x, stride, tokens);
    w->seen[input] += tokens;
}

static void finish_statistics(walk *w)
{
    const double tokens = (double)(w->calibration->sequences * w->calibration->length);
    for (int i = 0; i < PARE_BLOCK_INPUTS; i++) {
        pare_input_statistics *s = &w->now.inputs[i];
        for (int64_t c = 0; c < s->columns; c++)
            s->means[c] /= tokens;
        if (s->gram)
            pare_mirror(s->gram, s->columns);
    }
}

static pare_status advance(const walk *w, int64_t done)
{
    const pare_progress *progress = w->options->progress;
    char what[64];
    if (!progress)
        return PARE_OK;
    snprintf(what, sizeof what, "%s, block %lld of %lld", w->wish->what,
             (long long)w->now.layer + 1, (long long)w->model->decoder.layers);
    if (!progress->update(progress->user, (double)done,
                          (double)(w->model->decoder.layers * w->calibration->sequences), what))
        return pare_fail(PARE_CANCELLED, "stopped at %s", what);
    return PARE_OK;
}

/* One input of a block that a device holds. */
static pare_status show_input(walk *w, pare_block_input input)
{
    pare_input_statistics *s = &w->now.inputs[input];
    pare_input_sums sums = {.magnitudes = s->means,
                            .largest = s->largest,
                            .keep_gram = w->wish->grams,
                            .sample = s->sample,
                            .sample_rows = s->sample_rows};
    pare_status status;
    PARE_TRY(pare_allocate((size_t)s->columns, sizeof *sums.squares, "statistics", &sums.squares));
    status =
        pare_calibrator_check(&w->device, w->device.functions->show(w->device.state, input, &sums));
fail:
    free(sums.squares);
    return status;
}

/* The same as do_block, of states on the device. */
static pare_status do_block_there(walk *w, int64_t layer, bool is_finished,
                                  pare_statistics_visit visit, void *user)
{
    const pare_calibrator *device = &w->device;
    pare_block *block = NULL;
    pare_status status;
    PARE_TRY(pare_block_decode(w->model, layer, w->options->threads, &block));
    PARE_TRY(pare_calibrator_check(
        device, device->functions->load(device->state, pare_block_model(block))));
    if (!is_finished)
        PARE_TRY(allocate_statistics(w, block));
    for (int i = 0; i < PARE_BLOCK_INPUTS && !is_finished; i++)
        PARE_TRY(show_input(w, (pare_block_input)i));
    PARE_TRY(pare_calibrator_check(device, device->functions->pass(device->state)));
    PARE_TRY(advance(w, (layer + 1) * w->calibration->sequences));
    if (!is_finished) {
        finish_statistics(w);
        status = visit(user, block, &w->now);
    }
fail:
    pare_block_free(block);
    free_statistics(&w->now);
    return status;
}

/* The hidden states become those behind the block; a finished one is not looked at. */
static pare_status do_block(walk *w, int64_t layer, pare_statistics_visit visit, void *user)
{
    const pare_calibration *c = w->calibration;
    const bool finished = w->wish->finished && w->wish->finished(user, layer);
    pare_block *block = NULL;
    pare_status status = PARE_OK;
    w->now.layer = layer;
    if (finished && layer + 1 == w->model->decoder.layers)
        return PARE_OK;
    if (w->device.functions)
        return do_block_there(w, layer, finished, visit, user);
    PARE_TRY(pare_block_create(w->model, layer, w->options->threads, c->length, &block));
    if (!finished)
        PARE_TRY(allocate_statistics(w, block));
    for (w->sequence = 0; w->sequence < c->sequences; w->sequence++) {
        float *hidden = w->hidden + w->sequence * c->length * w->stride;
        memset(w->seen, 0, sizeof w->seen);
        pare_block_forward(block, hidden, w->stride, c->length, PARE_BLOCK_INPUTS,
                           finished ? NULL : observe, w);
        pare_spill_release(hidden, (size_t)(c->length * w->stride) * sizeof *hidden);
        PARE_TRY(advance(w, layer * c->sequences + w->sequence + 1));
    }
    if (!finished) {
        finish_statistics(w);
        status = visit(user, block, &w->now);
    }
fail:
    pare_block_free(block);
    free_statistics(&w->now);
    return status;
}

static pare_status prepare_states(walk *w)
{
    const pare_calibration *c = w->calibration;
    const char *what = "hidden states of the calibration text";
    size_t bytes;
    pare_status status;
    w->stride = (w->model->decoder.hidden + 15) / 16 * 16;
    if (__builtin_mul_overflow((size_t)(c->sequences * c->length),
                               (size_t)w->stride * sizeof(float), &bytes))
        return pare_fail_memory(SIZE_MAX, what);
    PARE_TRY(pare_spill_create(w->options->output, bytes, what, &w->states));
    w->hidden = w->states.data;
    for (int64_t s = 0; s < c->sequences; s++)
        PARE_TRY(pare_block_embed(w->model, c->ids + s * c->length, c->length,
                                  w->hidden + s * c->length * w->stride, w->stride));
fail:
    return status;
}

pare_status pare_statistics_walk(const pare_model *model, const pare_quantize_options *options,
                                 const pare_statistics_wish *wish, pare_statistics_visit visit,
                                 void *user)
{
    walk w = {
        .model = model, .options = options, .calibration = options->calibration, .wish = wish};
    pare_status status;
    PARE_TRY(pare_calibration_check(model, options->calibration));
    PARE_TRY(pare_calibrator_open(model, options, &w.device));
    if (w.device.functions)
        w.now.device = &w.device;
    else
        PARE_TRY(prepare_states(&w));
    for (int64_t layer = 0; layer < model->decoder.layers; layer++)
        PARE_TRY(do_block(&w, layer, visit, user));
fail:
    pare_calibrator_close(&w.device);
    pare_spill_free(&w.states);
    return status;
}
