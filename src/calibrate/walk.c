#include "calibrate/walk.h"

#include "base/fail.h"
#include "base/memory.h"
#include "quant/linalg.h"
#include "quant/plan.h"
#include "quant/types.h"

#include <stdlib.h>
#include <string.h>

typedef struct walk {
    const pare_model *model;
    const pare_quantize_options *options;
    const pare_quantize_result *plan;
    const pare_calibration *calibration;
    pare_walk_result *result;
    pare_walk_quantize quantize;
    void *user;
    float *hidden; /* [sequences][length] rows of `stride` floats */
    size_t hidden_bytes;
    int64_t stride;
    float *gram;
    pare_block_input wanted; /* of the present stage */
    double step;             /* of the progress: stages done */
} walk;

pare_status pare_calibration_check(const pare_model *model, const pare_calibration *c)
{
    int64_t context = model->decoder.context, tokens;
    if (!c)
        return pare_fail(PARE_INVALID_ARGUMENT, "this method needs a calibration text");
    if (c->length < 1 || c->length > context)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "calibration sequences of %lld tokens: the model has a context of %lld",
                         (long long)c->length, (long long)context);
    if (c->sequences < 1 || __builtin_mul_overflow(c->sequences, c->length, &tokens) ||
        (size_t)tokens > c->count)
        return pare_fail(
            PARE_INVALID_ARGUMENT,
            "the calibration text has %zu tokens, %lld sequences of %lld were asked for", c->count,
            (long long)c->sequences, (long long)c->length);
    for (int64_t i = 0; i < tokens; i++)
        if (c->ids[i] < 0 || c->ids[i] >= model->decoder.vocab)
            return pare_fail(PARE_INVALID_ARGUMENT,
                             "calibration token %lld is id %d, outside the vocabulary of %lld",
                             (long long)i, (int)c->ids[i], (long long)model->decoder.vocab);
    return PARE_OK;
}

/* What the plan says of a tensor; NULL where it stays as it is. */
static const pare_quantize_item *chosen_item(const walk *w, const pare_tensor *tensor)
{
    for (size_t i = 0; i < w->plan->count; i++)
        if (pare_quantize_tensor(w->model, i) == tensor)
            return w->plan->items[i].chosen ? &w->plan->items[i] : NULL;
    return NULL;
}

static pare_status advance(walk *w, int64_t layer)
{
    const pare_progress *progress = w->options->progress;
    char what[48];
    snprintf(what, sizeof what, "block %lld of %lld", (long long)layer + 1,
             (long long)w->model->decoder.layers);
    w->step++;
    if (progress &&
        !progress->update(progress->user, w->step,
                          (double)(w->model->decoder.layers * (PARE_BLOCK_INPUTS + 1)), what))
        return pare_fail(PARE_CANCELLED, "stopped at %s", what);
    return PARE_OK;
}

static void add_to_gram(void *user, pare_block_input input, const float *x, int64_t stride,
                        int64_t tokens, int64_t columns, int index, int count)
{
    const walk *w = user;
    if (input == w->wanted)
        pare_add_gram_share(w->gram, x, stride, tokens, columns, index, count);
}

static void run_sequences(walk *w, pare_block *block, pare_block_input last)
{
    const pare_calibration *c = w->calibration;
    w->wanted = last;
    for (int64_t s = 0; s < c->sequences; s++)
        pare_block_forward(block, w->hidden + s * c->length * w->stride, w->stride, c->length, last,
                           last == PARE_BLOCK_INPUTS ? NULL : add_to_gram, w);
}

static pare_status new_slot(walk *w, const pare_block_matrix *matrix,
                            const pare_quantize_item *item, struct pare_walk_matrix **slot)
{
    size_t bytes = (size_t)matrix->rows * pare_type_row_bytes(item->type, matrix->columns);
    *slot = &w->result->matrices[w->result->count];
    pare_status status = pare_allocate(bytes, 1, item->name, &(*slot)->rows);
    if (status != PARE_OK)
        return status;
    (*slot)->tensor = matrix->source;
    (*slot)->bytes = bytes;
    w->result->count++;
    return PARE_OK;
}

static pare_status quantize_matrix(walk *w, pare_block *block, const pare_block_matrix *matrix,
                                   const pare_quantize_item *item)
{
    struct pare_walk_matrix *slot;
    pare_status status = new_slot(w, matrix, item, &slot);
    if (status != PARE_OK)
        return status;
    status = w->quantize(w->user, pare_block_pool(block), matrix, w->gram, item->type, slot->rows);
    return status == PARE_OK ? status : pare_fail_in(status, "tensor '%s'", item->name);
}

/* One input of a block: its Gram matrix, then all matrices that read it. */
static pare_status do_stage(walk *w, pare_block *block, pare_block_input stage)
{
    int count;
    pare_block_matrix *matrices = pare_block_get_matrices(block, &count);
    const pare_quantize_item *items[PARE_BLOCK_MATRICES] = {0};
    int64_t columns = 0;
    pare_status status = PARE_OK;
    for (int m = 0; m < count; m++)
        if (matrices[m].input == stage && (items[m] = chosen_item(w, matrices[m].source)))
            columns = matrices[m].columns;
    if (!columns)
        return PARE_OK;
    PARE_TRY(
        pare_allocate((size_t)columns, (size_t)columns * sizeof(float), "a Gram matrix", &w->gram));
    run_sequences(w, block, stage);
    pare_mirror(w->gram, columns);
    for (int m = 0; m < count; m++)
        if (items[m])
            PARE_TRY(quantize_matrix(w, block, &matrices[m], items[m]));
    pare_block_refresh(block);
fail:
    free(w->gram);
    w->gram = NULL;
    return status;
}

/* The block as a run before this one left it. *whole is false, and nothing has changed, where the
 * work file does not have all of it. */
static pare_status restore_block(walk *w, pare_block *block, bool *whole)
{
    int count;
    pare_block_matrix *matrices = pare_block_get_matrices(block, &count);
    const pare_quantize_item *items[PARE_BLOCK_MATRICES];
    const void *kept[PARE_BLOCK_MATRICES];
    *whole = w->result->work.count > 0;
    for (int m = 0; m < count && *whole; m++) {
        if (!(items[m] = chosen_item(w, matrices[m].source)))
            continue;
        size_t row = pare_type_row_bytes(items[m]->type, matrices[m].columns);
        kept[m] = pare_work_find(&w->result->work, items[m]->name, (size_t)matrices[m].rows * row);
        *whole = kept[m] != NULL;
    }
    for (int m = 0; m < count && *whole; m++) {
        struct pare_walk_matrix *slot;
        if (!items[m])
            continue;
        pare_status status = new_slot(w, &matrices[m], items[m], &slot);
        if (status != PARE_OK)
            return status;
        memcpy(slot->rows, kept[m], slot->bytes);
        const pare_type_traits *traits = pare_type_get_traits(items[m]->type);
        for (int64_t r = 0; r < matrices[m].rows; r++)
            traits->decode(slot->rows +
                               (size_t)r * pare_type_row_bytes(items[m]->type, matrices[m].columns),
                           matrices[m].weights + r * matrices[m].columns, matrices[m].columns);
    }
    if (*whole)
        pare_block_refresh(block);
    return PARE_OK;
}

/* Adds the block's matrices, those from `first` on, to the work file. */
static pare_status keep_block(walk *w, size_t first)
{
    pare_status status = PARE_OK;
    for (size_t i = first; i < w->result->count && status == PARE_OK; i++) {
        const struct pare_walk_matrix *matrix = &w->result->matrices[i];
        status = pare_work_add(&w->result->work, matrix->tensor->name, matrix->rows, matrix->bytes);
    }
    return status == PARE_OK ? pare_work_sync(&w->result->work) : status;
}

static pare_status quantize_block(walk *w, pare_block *block, int64_t layer)
{
    const size_t first = w->result->count;
    for (int stage = 0; stage < PARE_BLOCK_INPUTS; stage++) {
        pare_status status = do_stage(w, block, (pare_block_input)stage);
        if (status == PARE_OK)
            status = advance(w, layer);
        if (status != PARE_OK)
            return status;
    }
    return keep_block(w, first);
}

static pare_status do_block(walk *w, int64_t layer)
{
    pare_block *block;
    bool whole = false;
    pare_status status =
        pare_block_create(w->model, layer, w->options->threads, w->calibration->length, &block);
    if (status == PARE_OK)
        status = restore_block(w, block, &whole);
    if (status == PARE_OK && whole)
        w->step += PARE_BLOCK_INPUTS;
    else if (status == PARE_OK)
        status = quantize_block(w, block, layer);
    if (status == PARE_OK && layer + 1 < w->model->decoder.layers)
        run_sequences(w, block, PARE_BLOCK_INPUTS);
    if (status == PARE_OK)
        status = advance(w, layer);
    pare_block_free(block);
    return status;
}

pare_status pare_walk(const pare_model *model, const pare_quantize_options *options,
                      const pare_quantize_result *plan, pare_walk_quantize quantize, void *user,
                      pare_walk_result *result)
{
    walk w = {.model = model,
              .options = options,
              .plan = plan,
              .calibration = options->calibration,
              .result = result,
              .quantize = quantize,
              .user = user};
    pare_status status;
    size_t rows;
    PARE_TRY(pare_calibration_check(model, options->calibration));
    w.stride = (model->decoder.hidden + 15) / 16 * 16;
    rows = (size_t)(w.calibration->sequences * w.calibration->length);
    if (__builtin_mul_overflow(rows, (size_t)w.stride * sizeof(float), &w.hidden_bytes))
        return pare_fail_memory(SIZE_MAX, "hidden states of the calibration text");
    PARE_TRY(
        pare_pages_allocate(w.hidden_bytes, "hidden states of the calibration text", &w.hidden));
    PARE_TRY(pare_allocate((size_t)model->decoder.layers * PARE_BLOCK_MATRICES,
                           sizeof *result->matrices, "quantized blocks", &result->matrices));
    for (int64_t s = 0; s < w.calibration->sequences; s++)
        PARE_TRY(pare_block_embed(model, w.calibration->ids + s * w.calibration->length,
                                  w.calibration->length,
                                  w.hidden + s * w.calibration->length * w.stride, w.stride));
    for (int64_t layer = 0; layer < model->decoder.layers; layer++)
        PARE_TRY(do_block(&w, layer));
fail:
    pare_pages_free(w.hidden, w.hidden_bytes);
    if (status != PARE_OK)
        pare_walk_free(result);
    return status;
}

const uint8_t *pare_walk_rows(const pare_walk_result *result, const pare_tensor *tensor)
{
    for (size_t i = 0; i < result->count; i++)
        if (result->matrices[i].tensor == tensor)
            return result->matrices[i].rows;
    return NULL;
}

void pare_walk_free(pare_walk_result *result)
{
    for (size_t i = 0; i < result->count; i++)
        free(result->matrices[i].rows);
    free(result->matrices);
    pare_work_close(&result->work);
    *result = (pare_walk_result){.work.fd = -1};
}
