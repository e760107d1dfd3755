#include "calibrate/importance.h"

#include "base/fail.h"
#include "calibrate/device.h"
#include "calibrate/spill.h"
#include "calibrate/walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct measure {
    const pare_model *model;
    const pare_quantize_options *options;
    const pare_calibration *calibration;
    pare_calibrator device; /* {0}: the CPU, and the states are here */
    float *hidden;          /* [sequences][length] rows of `stride` floats */
    pare_spill states;      /* what they lie in */
    int64_t stride, widest;
    double *squares; /* [PARE_BLOCK_INPUTS][widest] of the present block */
} measure;

/* A thread has a share of the columns: no sum depends on how many threads there are. */
static void add_squares(void *user, pare_block_input input, const float *x, int64_t stride,
                        int64_t tokens, int64_t columns, int index, int count)
{
    measure *m = user;
    double *squares = m->squares + input * m->widest;
    pare_range share = pare_share(columns, 16, index, count);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = share.first; c < share.last; c++)
            squares[c] += (double)x[t * stride + c] * (double)x[t * stride + c];
}

static pare_status add_entries(const measure *m, pare_block *block, pare_imatrix *matrix)
{
    int count;
    const pare_block_matrix *matrices = pare_block_get_matrices(block, &count);
    for (int i = 0; i < count; i++) {
        pare_imatrix_entry *entry;
        pare_status status =
            pare_imatrix_add(matrix, matrices[i].source->name, matrices[i].columns, &entry);
        if (status != PARE_OK)
            return status;
        for (int64_t c = 0; c < entry->columns; c++)
            entry->sums[c] = (float)m->squares[matrices[i].input * m->widest + c];
        entry->count = (double)(m->calibration->sequences * m->calibration->length);
    }
    return PARE_OK;
}

static pare_status advance(const measure *m, int64_t layer, int64_t sequence)
{
    const pare_calibration *c = m->calibration;
    char what[64];
    const pare_progress *progress = m->options->progress;
    if (!progress)
        return PARE_OK;
    snprintf(what, sizeof what, "importance, block %lld of %lld", (long long)layer + 1,
             (long long)m->model->decoder.layers);
    if (!progress->update(progress->user, (double)(layer * c->sequences + sequence + 1),
                          (double)(m->model->decoder.layers * c->sequences), what))
        return pare_fail(PARE_CANCELLED, "stopped at %s", what);
    return PARE_OK;
}

/* On a device. */
static pare_status measure_block_there(measure *m, int64_t layer, pare_imatrix *matrix)
{
    const pare_calibrator *device = &m->device;
    const size_t n = (size_t)m->widest;
    pare_input_sums sums = {0};
    pare_block *block = NULL;
    pare_status status;
    PARE_TRY(pare_allocate(n, sizeof *sums.magnitudes, "statistics", &sums.magnitudes));
    PARE_TRY(pare_allocate(n, sizeof *sums.largest, "statistics", &sums.largest));
    PARE_TRY(pare_block_decode(m->model, layer, m->options->threads, &block));
    PARE_TRY(pare_calibrator_check(
        device, device->functions->load(device->state, pare_block_model(block))));
    for (int i = 0; i < PARE_BLOCK_INPUTS; i++) {
        sums.squares = m->squares + i * m->widest;
        PARE_TRY(pare_calibrator_check(
            device, device->functions->show(device->state, (pare_block_input)i, &sums)));
    }
    PARE_TRY(pare_calibrator_check(device, device->functions->pass(device->state)));
    PARE_TRY(advance(m, layer, m->calibration->sequences - 1));
    status = add_entries(m, block, matrix);
fail:
    pare_block_free(block);
    free(sums.magnitudes);
    free(sums.largest);
    return status;
}

static pare_status measure_block(measure *m, int64_t layer, pare_imatrix *matrix)
{
    const pare_calibration *c = m->calibration;
    pare_block *block;
    if (m->device.functions)
        return measure_block_there(m, layer, matrix);
    pare_status status = pare_block_create(m->model, layer, m->options->threads, c->length, &block);
    if (status != PARE_OK)
        return status;
    memset(m->squares, 0, (size_t)(PARE_BLOCK_INPUTS * m->widest) * sizeof *m->squares);
    for (int64_t s = 0; s < c->sequences && status == PARE_OK; s++) {
        float *hidden = m->hidden + s * c->length * m->stride;
        pare_block_forward(block, hidden, m->stride, c->length, PARE_BLOCK_INPUTS, add_squares, m);
        pare_spill_release(hidden, (size_t)(c->length * m->stride) * sizeof *hidden);
        status = advance(m, layer, s);
    }
    if (status == PARE_OK)
        status = add_entries(m, block, matrix);
    pare_block_free(block);
    return status;
}

static pare_status start(measure *m)
{
    const pare_decoder *d = &m->model->decoder;
    const pare_calibration *c = m->calibration;
    const char *what = "hidden states of the calibration text";
    size_t bytes;
    pare_status status;
    m->stride = (d->hidden + 15) / 16 * 16;
    m->widest = d->hidden > d->mlp_hidden ? d->hidden : d->mlp_hidden;
    if (m->widest < d->heads * d->head_dim)
        m->widest = d->heads * d->head_dim;
    PARE_TRY(pare_allocate((size_t)(PARE_BLOCK_INPUTS * m->widest), sizeof *m->squares,
                           "sums of squares", &m->squares));
    PARE_TRY(pare_calibrator_open(m->model, m->options, &m->device));
    if (m->device.functions)
        return PARE_OK;
    if (__builtin_mul_overflow((size_t)(c->sequences * c->length),
                               (size_t)m->stride * sizeof(float), &bytes))
        return pare_fail_memory(SIZE_MAX, what);
    PARE_TRY(pare_spill_create(NULL, bytes, what, &m->states));
    m->hidden = m->states.data;
    for (int64_t s = 0; s < c->sequences; s++)
        PARE_TRY(pare_block_embed(m->model, c->ids + s * c->length, c->length,
                                  m->hidden + s * c->length * m->stride, m->stride));
fail:
    return status;
}

pare_status pare_importance_measure(const pare_model *model, const pare_quantize_options *options,
                                    pare_imatrix *matrix)
{
    const pare_calibration *calibration = options->calibration;
    measure m = {.model = model, .options = options, .calibration = calibration};
    pare_status status;
    *matrix = (pare_imatrix){0};
    PARE_TRY(pare_calibration_check(model, calibration));
    PARE_TRY(start(&m));
    for (int64_t layer = 0; layer < model->decoder.layers; layer++)
        PARE_TRY(measure_block(&m, layer, matrix));
    matrix->chunks = (uint32_t)calibration->sequences;
    matrix->chunk_size = (uint32_t)calibration->length;
    if (calibration->source)
        matrix->dataset =
            pare_arena_copy(&matrix->arena, calibration->source, strlen(calibration->source));
    PARE_TRY(pare_imatrix_finish(matrix, "calibration"));
fail:
    pare_calibrator_close(&m.device);
    pare_spill_free(&m.states);
    free(m.squares);
    if (status != PARE_OK)
        pare_imatrix_free(matrix);
    return status;
}
