#include "calibrate/output_gram.h"

#include "base/fail.h"
#include "base/memory.h"
#include "base/random.h"
#include "calibrate/backward.h"
#include "quant/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_TOKENS = 1024, HEAD_TOKENS = 256 };

/* All but the sums. */
static void list_matrices(const pare_model *model, pare_output_grams *grams)
{
    for (int64_t i = 0; i < model->decoder.layers; i++) {
        const pare_layer *l = &model->layers[i];
        const pare_tensor *all[] = {l->qkv, l->q, l->k, l->v, l->output, l->gate, l->up, l->down};
        for (size_t m = 0; m < sizeof all / sizeof *all; m++) {
            if (!all[m])
                continue;
            pare_output_gram *gram = &grams->items[grams->count++];
            gram->tensor = all[m];
            gram->rows = pare_tensor_rows(all[m]);
            gram->count = (gram->rows + PARE_OUTPUT_BLOCK - 1) / PARE_OUTPUT_BLOCK;
            gram->block = (gram->rows + gram->count - 1) / gram->count;
        }
    }
}

pare_status pare_output_grams_create(const pare_model *model, const char *output,
                                     pare_output_grams *grams)
{
    size_t most = (size_t)model->decoder.layers * PARE_BLOCK_MATRICES, bytes = 0;
    pare_status status;
    *grams = (pare_output_grams){0};
    PARE_TRY(pare_allocate(most, sizeof *grams->items, "output statistics", &grams->items));
    list_matrices(model, grams);
    for (size_t i = 0; i < grams->count; i++)
        bytes += pare_output_gram_bytes(&grams->items[i]);
    PARE_TRY(pare_spill_create(output, bytes, "output statistics", &grams->sums));
    float *g = grams->sums.data;
    for (size_t i = 0; i < grams->count; i++) {
        grams->items[i].g = g;
        g += pare_output_gram_bytes(&grams->items[i]) / sizeof *g;
    }
fail:
    if (status != PARE_OK)
        pare_output_grams_free(grams);
    return status;
}

void pare_output_grams_free(pare_output_grams *grams)
{
    pare_spill_free(&grams->sums);
    free(grams->items);
    *grams = (pare_output_grams){0};
}

const pare_output_gram *pare_output_gram_find(const pare_output_grams *grams,
                                              const pare_tensor *tensor)
{
    for (size_t i = 0; i < grams->count; i++)
        if (grams->items[i].tensor == tensor)
            return &grams->items[i];
    return NULL;
}

typedef struct measure {
    const pare_model *model;
    pare_backward pass;
    pare_output_grams *grams;
    pare_dense head, head_back;
    float *final_weight, *final_bias;
    float *states; /* [layers + 1][tokens] rows of hidden_stride */
    float *d, *normed, *d_normed, *logits;
    size_t states_bytes, rows_bytes, logits_bytes;
    int64_t vocab_stride;
} measure;

typedef struct gram_job {
    const pare_output_gram *gram;
    const float *d;
    int64_t stride, tokens;
} gram_job;

static void gram_share(void *argument, int index, int count)
{
    const gram_job *j = argument;
    for (int64_t b = 0; b < j->gram->count; b++)
        pare_add_gram_share(j->gram->g + b * j->gram->block * j->gram->block,
                            j->d + b * j->gram->block, j->stride, j->tokens,
                            pare_output_block_rows(j->gram, b), index, count);
}

static pare_status add_outputs(void *user, const pare_tensor *matrix, const float *d,
                               int64_t stride)
{
    const measure *m = user;
    gram_job job = {pare_output_gram_find(m->grams, matrix), d, stride, m->pass.tokens};
    pare_pool_run(m->pass.pool, gram_share, &job);
    pare_spill_release(job.gram->g, pare_output_gram_bytes(job.gram));
    return PARE_OK;
}

/* ---- the head ---- */

typedef struct sample_job {
    const pare_kernels *kernels;
    float *logits;
    int64_t tokens, stride, vocab;
    uint64_t seed;
} sample_job;

/* Logits become their random gradient. */
static void sample_share(void *argument, int index, int count)
{
    const sample_job *j = argument;
    pare_range own = pare_share(j->tokens, 1, index, count);
    for (int64_t t = own.first; t < own.last; t++) {
        float *row = j->logits + t * j->stride, largest;
        double log_sum = j->kernels->log_sum_exp(row, j->vocab, &largest), sum = 0;
        pare_random random = {j->seed + (uint64_t)t};
        uint64_t bits = 0;
        for (int64_t v = 0; v < j->vocab; v++) {
            bits = v % 64 ? bits >> 1 : pare_random_u64(&random);
            float root = expf(0.5f * (float)(row[v] - log_sum));
            row[v] = bits & 1 ? root : -root;
            sum += row[v];
        }
        for (int64_t v = 0; v < j->vocab; v++)
            row[v] -= row[v] * row[v] * (float)sum;
    }
}

/* From the last block's output to the gradient of it, in m->d. */
static pare_status head_gradient(measure *m, int64_t batch)
{
    pare_backward *p = &m->pass;
    const pare_decoder *decoder = &m->model->decoder;
    const float *x = m->states + decoder->layers * p->tokens * p->hidden_stride;
    pare_status status = PARE_OK;
    pare_norm_rows(decoder, p->kernels, p->pool, m->final_weight, m->final_bias, x,
                   p->hidden_stride, p->tokens, m->normed);
    for (int64_t t = 0; t < p->tokens; t += HEAD_TOKENS) {
        int64_t n = p->tokens - t < HEAD_TOKENS ? p->tokens - t : HEAD_TOKENS;
        PARE_TRY(pare_dense_multiply(&m->head, p->pool, &p->scratch,
                                     m->normed + t * p->hidden_stride, p->hidden_stride, n, NULL,
                                     m->logits, m->vocab_stride));
        sample_job job = {p->kernels,
                          m->logits,
                          n,
                          m->vocab_stride,
                          decoder->vocab,
                          (uint64_t)(batch * p->tokens + t) * 0x2545f4914f6cdd1d};
        pare_pool_run(p->pool, sample_share, &job);
        PARE_TRY(pare_dense_multiply(&m->head_back, p->pool, &p->scratch, m->logits,
                                     m->vocab_stride, n, NULL, m->d_normed + t * p->hidden_stride,
                                     p->hidden_stride));
    }
    memset(m->d, 0, m->rows_bytes);
    pare_norm_rows_back(decoder, p->pool, m->final_weight, x, m->d_normed, p->hidden_stride,
                        p->tokens, m->d);
fail:
    return status;
}

static pare_status run_batch(measure *m, const int32_t *const *windows, int64_t batch)
{
    pare_backward *p = &m->pass;
    const int64_t layers = m->model->decoder.layers, size = p->tokens * p->hidden_stride;
    pare_status status;
    for (int64_t s = 0; s < p->sequences; s++)
        PARE_TRY(pare_block_embed(m->model, windows[s], p->length,
                                  m->states + s * p->length * p->hidden_stride, p->hidden_stride));
    for (int64_t l = 0; l < layers; l++) {
        PARE_TRY(pare_backward_load(p, l, false));
        PARE_TRY(pare_backward_forward(p, m->states + l * size, m->states + (l + 1) * size));
    }
    PARE_TRY(head_gradient(m, batch));
    for (int64_t l = layers - 1; l >= 0; l--) {
        PARE_TRY(pare_backward_load(p, l, true));
        PARE_TRY(pare_backward_run(p, m->states + l * size, m->d, add_outputs, m));
    }
fail:
    return status;
}

static pare_status prepare(measure *m)
{
    const pare_model *model = m->model;
    pare_backward *p = &m->pass;
    float *weights = NULL;
    pare_status status;
    m->rows_bytes = (size_t)(p->tokens * p->hidden_stride) * sizeof(float);
    m->states_bytes = m->rows_bytes * (size_t)(model->decoder.layers + 4);
    m->vocab_stride = pare_dense_stride(model->decoder.vocab);
    m->logits_bytes = (size_t)(HEAD_TOKENS * m->vocab_stride) * sizeof(float);
    PARE_TRY(pare_pages_allocate(m->states_bytes, "hidden states", &m->states));
    m->d = m->states + (model->decoder.layers + 1) * p->tokens * p->hidden_stride;
    m->normed = m->d + p->tokens * p->hidden_stride;
    m->d_normed = m->normed + p->tokens * p->hidden_stride;
    PARE_TRY(pare_pages_allocate(m->logits_bytes, "logits", &m->logits));
    PARE_TRY(pare_tensor_floats(p->kernels, model->final_norm, &m->final_weight));
    PARE_TRY(pare_tensor_floats(p->kernels, model->final_norm_bias, &m->final_bias));
    PARE_TRY(pare_tensor_floats(p->kernels, model->head, &weights));
    int64_t rows = pare_tensor_rows(model->head), columns = pare_tensor_columns(model->head);
    PARE_TRY(pare_dense_fill(&m->head, p->kernels, p->pool, weights, rows, columns, false));
    PARE_TRY(pare_dense_fill(&m->head_back, p->kernels, p->pool, weights, rows, columns, true));
fail:
    free(weights);
    return status;
}

static void finish_grams(const pare_output_grams *grams, int64_t tokens)
{
    for (size_t i = 0; i < grams->count; i++) {
        pare_output_gram *gram = &grams->items[i];
        gram->tokens = tokens;
        for (int64_t b = 0; b < gram->count; b++) {
            int64_t n = pare_output_block_rows(gram, b);
            float *g = gram->g + b * gram->block * gram->block;
            pare_mirror(g, n);
            for (int64_t k = 0; k < n * n; k++)
                g[k] /= (float)tokens;
        }
        pare_spill_release(gram->g, pare_output_gram_bytes(gram));
    }
}

pare_status pare_output_grams_measure(const pare_model *model, const pare_calibration *calibration,
                                      int64_t windows, int64_t length, pare_pool *pool,
                                      const pare_progress *progress, pare_output_grams *grams)
{
    int64_t together = BATCH_TOKENS / length > 1 ? BATCH_TOKENS / length : 1;
    int64_t used = calibration->sequences * calibration->length, last = used - length;
    together = together < windows ? together : windows;
    int64_t batches = windows / together;
    const int32_t *starts[BATCH_TOKENS];
    measure m = {.model = model, .grams = grams};
    pare_status status = pare_backward_create(model, pool, together, length, &m.pass);
    if (status != PARE_OK)
        return status;
    PARE_TRY(prepare(&m));
    for (int64_t b = 0; b < batches; b++) {
        for (int64_t s = 0; s < together; s++) {
            int64_t at = last * (b * together + s) / (batches * together);
            starts[s] = calibration->ids + at / length * length;
        }
        PARE_TRY(run_batch(&m, starts, b));
        if (progress && !progress->update(progress->user, (double)(b + 1), (double)batches,
                                          "what the predictions depend on")) {
            status = pare_fail(PARE_CANCELLED, "stopped while the sensitivity was measured");
            goto fail;
        }
    }
    finish_grams(grams, batches * m.pass.tokens);
fail:
    pare_dense_free(&m.head);
    pare_dense_free(&m.head_back);
    free(m.final_weight);
    free(m.final_bias);
    pare_pages_free(m.states, m.states_bytes);
    pare_pages_free(m.logits, m.logits_bytes);
    pare_backward_free(&m.pass);
    return status;
}
