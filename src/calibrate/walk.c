#include "calibrate/walk.h"

#include "base/fail.h"
#include "base/memory.h"
#include "calibrate/spill.h"
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
    pare_walk_mode mode;
    pare_walk_stage_quantize quantize;
    void *user;
    float *hidden;        /* [sequences][length] rows of `stride` floats */
    float *exact;         /* the same of the exact model, in a paired walk */
    pare_spill states[2]; /* what both lie in */
    int64_t stride;
    pare_calibrator device; /* {0}: the CPU, and the states are here */
    pare_block *block, *exact_block;
    pare_block_input wanted; /* of the present stage */
    double step;             /* of the progress: stages done */

    /* What a stage sums. */
    float *gram, *shift, *residual;
    float *diagonal; /* on a device */
    int64_t columns;
    /* Of one sequence, in a paired walk: what the exact model has there, then the difference. */
    float *inputs, *streams;
    int64_t inputs_stride;
    int64_t *seen; /* per thread: tokens of the sequence that the tap was shown */
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

/* ---- paired: what the exact model has, and how far the present one is from it ---- */

static bool adds_to_stream(pare_block_input input)
{
    return input == PARE_BLOCK_OUTPUT || input == PARE_BLOCK_DOWN;
}

static void keep_exact(void *user, pare_block_input input, const float *x, int64_t stride,
                       int64_t tokens, int64_t columns, int index, int count)
{
    walk *w = user;
    int64_t at = w->seen[index], hidden = w->model->decoder.hidden, stream_stride;
    pare_range own = pare_share(tokens, 1, index, count);
    if (input != w->wanted)
        return;
    const float *stream = pare_block_residual(w->exact_block, tokens, index, &stream_stride);
    for (int64_t t = own.first; t < own.last; t++) {
        memcpy(w->inputs + (at + t) * w->inputs_stride, x + t * stride,
               (size_t)columns * sizeof *x);
        if (w->residual)
            memcpy(w->streams + (at + t) * w->stride, stream + t * stream_stride,
                   (size_t)hidden * sizeof *x);
    }
    w->seen[index] += tokens;
}

static void add_difference(void *user, pare_block_input input, const float *x, int64_t stride,
                           int64_t tokens, int64_t columns, int index, int count)
{
    walk *w = user;
    int64_t at = w->seen[index], hidden = w->model->decoder.hidden, stream_stride;
    pare_range own = pare_share(tokens, 1, index, count);
    if (input != w->wanted)
        return;
    const float *stream = pare_block_residual(w->block, tokens, index, &stream_stride);
    float *inputs = w->inputs + at * w->inputs_stride, *streams = w->streams + at * w->stride;
    for (int64_t t = own.first; t < own.last; t++) {
        pare_subtract_scaled(inputs + t * w->inputs_stride, x + t * stride, 1, columns);
        if (w->residual)
            pare_subtract_scaled(streams + t * w->stride, stream + t * stream_stride, 1, hidden);
    }
    w->seen[index] += tokens;
    pare_pool_barrier(pare_block_pool(w->block));
    pare_add_gram_share(w->gram, x, stride, tokens, columns, index, count);
    pare_add_product_share(w->shift, inputs, w->inputs_stride, x, stride, tokens, columns, columns,
                           index, count);
    if (w->residual)
        pare_add_product_share(w->residual, streams, w->stride, x, stride, tokens, hidden, columns,
                               index, count);
}

static void forget_seen(walk *w)
{
    memset(w->seen, 0, (size_t)pare_pool_threads(pare_block_pool(w->block)) * sizeof *w->seen);
}

static void release_sequence(const walk *w, int64_t at)
{
    const size_t bytes = (size_t)(w->calibration->length * w->stride) * sizeof(float);
    pare_spill_release(w->hidden + at, bytes);
    if (w->exact)
        pare_spill_release(w->exact + at, bytes);
}

static void sum_stage(walk *w, pare_block_input stage)
{
    const pare_calibration *c = w->calibration;
    w->wanted = stage;
    for (int64_t s = 0; s < c->sequences; s++) {
        const int64_t at = s * c->length * w->stride;
        if (w->mode.paired) {
            forget_seen(w);
            pare_block_forward(w->exact_block, w->exact + at, w->stride, c->length, stage,
                               keep_exact, w);
            forget_seen(w);
        }
        pare_block_forward(w->block, w->hidden + at, w->stride, c->length, stage,
                           w->mode.paired ? add_difference : add_to_gram, w);
        release_sequence(w, at);
    }
}

/* The same on a device, which keeps the Gram matrix. */
static pare_status sum_stage_there(walk *w, pare_block_input stage)
{
    const size_t n = (size_t)w->columns;
    pare_input_sums sums = {.keep_gram = true};
    pare_status status;
    PARE_TRY(pare_allocate(n, sizeof *w->diagonal, "sums of columns", &w->diagonal));
    PARE_TRY(pare_allocate(n, sizeof *sums.magnitudes, "sums of columns", &sums.magnitudes));
    PARE_TRY(pare_allocate(n, sizeof *sums.squares, "sums of columns", &sums.squares));
    PARE_TRY(pare_allocate(n, sizeof *sums.largest, "sums of columns", &sums.largest));
    PARE_TRY(pare_calibrator_check(&w->device,
                                   w->device.functions->show(w->device.state, stage, &sums)));
    for (size_t i = 0; i < n; i++)
        w->diagonal[i] = (float)sums.squares[i];
fail:
    free(sums.magnitudes);
    free(sums.squares);
    free(sums.largest);
    return status;
}

/* The hidden states become those behind the block. */
static pare_status pass_block(walk *w)
{
    const pare_calibration *c = w->calibration;
    if (w->device.functions)
        return pare_calibrator_check(&w->device, w->device.functions->pass(w->device.state));
    for (int64_t s = 0; s < c->sequences; s++) {
        const int64_t at = s * c->length * w->stride;
        pare_block_forward(w->block, w->hidden + at, w->stride, c->length, PARE_BLOCK_INPUTS, NULL,
                           NULL);
        if (w->mode.paired)
            pare_block_forward(w->exact_block, w->exact + at, w->stride, c->length,
                               PARE_BLOCK_INPUTS, NULL, NULL);
        release_sequence(w, at);
    }
    return PARE_OK;
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

static void free_sums(walk *w)
{
    free(w->gram);
    free(w->shift);
    free(w->residual);
    free(w->diagonal);
    pare_pages_free(w->inputs, (size_t)(w->calibration->length * w->inputs_stride) * 4);
    pare_pages_free(w->streams, (size_t)(w->calibration->length * w->stride) * 4);
    free(w->seen);
    w->gram = w->shift = w->residual = w->diagonal = w->inputs = w->streams = NULL;
    w->seen = NULL;
}

static pare_status make_sums(walk *w, pare_block_input stage)
{
    const size_t columns = (size_t)w->columns, length = (size_t)w->calibration->length;
    pare_status status;
    w->inputs_stride = (w->columns + 15) / 16 * 16;
    PARE_TRY(pare_allocate(columns, columns * sizeof(float), "a Gram matrix", &w->gram));
    if (!w->mode.paired)
        return PARE_OK;
    PARE_TRY(pare_allocate(columns, columns * sizeof(float), "a Gram matrix", &w->shift));
    if (adds_to_stream(stage))
        PARE_TRY(pare_allocate((size_t)w->model->decoder.hidden, columns * sizeof(float),
                               "a Gram matrix", &w->residual));
    PARE_TRY(pare_pages_allocate(length * (size_t)w->inputs_stride * sizeof(float),
                                 "inputs of a sequence", &w->inputs));
    PARE_TRY(pare_pages_allocate(length * (size_t)w->stride * sizeof(float), "inputs of a sequence",
                                 &w->streams));
    PARE_TRY(pare_allocate((size_t)pare_pool_threads(pare_block_pool(w->block)), sizeof *w->seen,
                           "inputs of a sequence", &w->seen));
fail:
    return status;
}

static pare_status fill_sums(walk *w, pare_block_input input)
{
    if (w->device.functions)
        return sum_stage_there(w, input);
    pare_status status = make_sums(w, input);
    if (status == PARE_OK) {
        sum_stage(w, input);
        pare_mirror(w->gram, w->columns);
    }
    return status;
}

/* One input of a block: its sums, then all matrices that read it. */
static pare_status do_stage(walk *w, pare_block_input input)
{
    int count;
    pare_block_matrix *matrices = pare_block_get_matrices(w->block, &count);
    pare_walk_stage stage = {
        .pool = pare_block_pool(w->block),
        .tokens = w->calibration->sequences * w->calibration->length,
        .device = w->device.functions ? &w->device : NULL,
        .input = input,
    };
    pare_status status = PARE_OK;
    for (int m = 0, index = 0; m < count; m++) {
        const pare_quantize_item *item;
        if (matrices[m].input != input)
            continue;
        index++;
        if (!(item = chosen_item(w, matrices[m].source)))
            continue;
        stage.indices[stage.count] = index - 1;
        stage.matrices[stage.count] = &matrices[m];
        stage.items[stage.count++] = item;
        stage.columns = w->columns = matrices[m].columns;
    }
    if (!stage.count)
        return PARE_OK;
    PARE_TRY(fill_sums(w, input));
    stage.gram = w->gram;
    stage.diagonal = w->diagonal;
    stage.shift = w->shift;
    stage.residual = w->residual;
    for (int m = 0; m < stage.count && !w->mode.look; m++) {
        struct pare_walk_matrix *slot;
        PARE_TRY(new_slot(w, stage.matrices[m], stage.items[m], &slot));
        stage.encoded[m] = slot->rows;
    }
    PARE_TRY(w->quantize(w->user, &stage));
    if (!w->mode.look)
        pare_block_refresh(w->block);
fail:
    free_sums(w);
    return status;
}

/* The block as a run before this one left it. *whole is false, and nothing has changed, where the
 * work file does not have all of it. */
static pare_status restore_block(walk *w, bool *whole)
{
    int count;
    pare_block_matrix *matrices = pare_block_get_matrices(w->block, &count);
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
        pare_block_refresh(w->block);
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

static pare_status quantize_block(walk *w, int64_t layer)
{
    const size_t first = w->result->count;
    for (int stage = 0; stage < PARE_BLOCK_INPUTS; stage++) {
        pare_status status = do_stage(w, (pare_block_input)stage);
        if (status == PARE_OK)
            status = advance(w, layer);
        if (status != PARE_OK)
            return status;
    }
    return keep_block(w, first);
}

static pare_status do_block(walk *w, int64_t layer)
{
    bool whole = false;
    const int threads = w->options->threads;
    const int64_t length = w->calibration->length;
    pare_status status;
    PARE_TRY(w->device.functions ? pare_block_decode(w->model, layer, threads, &w->block)
                                 : pare_block_create(w->model, layer, threads, length, &w->block));
    if (w->mode.paired)
        PARE_TRY(pare_block_create(w->model, layer, threads, length, &w->exact_block));
    PARE_TRY(restore_block(w, &whole));
    if (w->device.functions)
        PARE_TRY(pare_calibrator_check(
            &w->device, w->device.functions->load(w->device.state, pare_block_model(w->block))));
    if (whole)
        w->step += PARE_BLOCK_INPUTS;
    else
        PARE_TRY(quantize_block(w, layer));
    if (layer + 1 < w->model->decoder.layers)
        PARE_TRY(pass_block(w));
    PARE_TRY(advance(w, layer));
fail:
    pare_block_free(w->block);
    pare_block_free(w->exact_block);
    w->block = w->exact_block = NULL;
    return status;
}

static pare_status prepare_states(walk *w)
{
    const pare_model *model = w->model;
    const pare_calibration *c = w->calibration;
    const size_t rows = (size_t)(c->sequences * c->length);
    const char *what = "hidden states of the calibration text";
    size_t bytes;
    pare_status status;
    w->stride = (model->decoder.hidden + 15) / 16 * 16;
    if (__builtin_mul_overflow(rows, (size_t)w->stride * sizeof(float), &bytes))
        return pare_fail_memory(SIZE_MAX, what);
    for (int i = 0; i <= (int)w->mode.paired; i++)
        PARE_TRY(pare_spill_create(w->options->output, bytes, what, &w->states[i]));
    w->hidden = w->states[0].data;
    w->exact = w->states[1].data;
    for (int64_t s = 0; s < c->sequences; s++) {
        const int64_t at = s * c->length * w->stride;
        PARE_TRY(
            pare_block_embed(model, c->ids + s * c->length, c->length, w->hidden + at, w->stride));
        if (w->exact)
            memcpy(w->exact + at, w->hidden + at, (size_t)(c->length * w->stride) * sizeof(float));
        release_sequence(w, at);
    }
fail:
    return status;
}

static pare_status prepare(walk *w)
{
    pare_status status;
    PARE_TRY(pare_allocate((size_t)w->model->decoder.layers * PARE_BLOCK_MATRICES,
                           sizeof *w->result->matrices, "quantized blocks", &w->result->matrices));
    if (w->mode.device)
        PARE_TRY(pare_calibrator_open(w->model, w->options, &w->device));
    if (!w->device.functions)
        PARE_TRY(prepare_states(w));
fail:
    return status;
}

pare_status pare_walk_stages(const pare_model *model, const pare_quantize_options *options,
                             const pare_quantize_result *plan, pare_walk_mode mode,
                             pare_walk_stage_quantize quantize, void *user,
                             pare_walk_result *result)
{
    walk w = {.model = model,
              .options = options,
              .plan = plan,
              .calibration = options->calibration,
              .result = result,
              .mode = mode,
              .quantize = quantize,
              .user = user};
    pare_status status = pare_calibration_check(model, options->calibration);
    if (status == PARE_OK)
        status = prepare(&w);
    for (int64_t layer = 0; layer < model->decoder.layers && status == PARE_OK; layer++)
        status = do_block(&w, layer);
    pare_calibrator_close(&w.device);
    pare_spill_free(&w.states[0]);
    pare_spill_free(&w.states[1]);
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
