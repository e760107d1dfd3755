/* Pare's own method: what a published method does well each, put together.
 *
 *  1. How much the predictions depend on each linear layer's outputs (output_gram.h).
 *  2. With a budget of bits: what each format would cost each tensor by that measure, and the
 *     formats with the least sum (allocate.h).
 *  3. Block by block, the exact model beside the quantized one: the target that makes up for what
 *     the part before got wrong, codes by two-sided error feedback, then descent (two_sided.h). */
#include "base/fail.h"
#include "base/memory.h"
#include "calibrate/allocate.h"
#include "calibrate/two_sided.h"
#include "calibrate/walk.h"
#include "quant/grid.h"
#include "quant/plan.h"
#include "quant/types.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOWS = 128,       /* of the output statistics */
    WINDOW = 512,        /* tokens of each */
    LOOK_SEQUENCES = 32, /* of the calibration, for the losses of the formats */
    SWEEPS = 8,
};
static const float input_damping = 0.01f; /* of the mean diagonal, as in GPTQ */
/* How much of the correction for the part before is made: all of it fits the calibration text best,
 * less holds better on other text, the more so where the text has few tokens for each unknown. */
static float target_share(int64_t columns, int64_t tokens)
{
    return 0.7f * (float)tokens / (float)(tokens + 8 * columns);
}

/* Formats that a tensor may get; those of the second row where rows are no multiple of 256. */
static const pare_type candidates[2][PARE_CHOICES] = {
    {PARE_TYPE_Q2_K, PARE_TYPE_Q3_K, PARE_TYPE_IQ4_XS, PARE_TYPE_Q4_K, PARE_TYPE_Q5_K,
     PARE_TYPE_Q6_K, PARE_TYPE_COUNT, PARE_TYPE_COUNT},
    {PARE_TYPE_Q4_0, PARE_TYPE_IQ4_NL, PARE_TYPE_Q4_1, PARE_TYPE_Q5_0, PARE_TYPE_Q5_1,
     PARE_TYPE_Q8_0, PARE_TYPE_COUNT, PARE_TYPE_COUNT},
};

typedef struct state {
    pare_output_grams grams;
    pare_walk_result walk;
    const pare_quantize_result *plan;
    double *losses; /* [items][PARE_CHOICES] in nats per token; negative: not a choice */
} state;

static const pare_type *candidates_of(int64_t columns)
{
    return candidates[columns % pare_type_block(PARE_TYPE_Q4_K) != 0];
}

/* ---- progress of a part ---- */

typedef struct part {
    const pare_progress *whole;
    double first, last;
} part;

static bool update_part(void *user, double done, double total, const char *what)
{
    const part *p = user;
    return !p->whole || p->whole->update(p->whole->user,
                                         p->first + (p->last - p->first) * done / total, 1, what);
}

/* ---- 1. output statistics ---- */

static void name_gram(const pare_output_gram *gram, char name[256])
{
    snprintf(name, 256, "outputs of %s", gram->tensor->name);
}

static bool restore_grams(state *s)
{
    char name[256];
    int64_t tokens;
    const void *kept_tokens = pare_work_find(&s->walk.work, "tokens of outputs", sizeof tokens);
    if (!kept_tokens)
        return false;
    memcpy(&tokens, kept_tokens, sizeof tokens);
    for (size_t i = 0; i < s->grams.count; i++) {
        pare_output_gram *gram = &s->grams.items[i];
        gram->tokens = tokens;
        name_gram(gram, name);
        const void *kept = pare_work_find(&s->walk.work, name, pare_output_gram_bytes(gram));
        if (!kept)
            return false;
        memcpy(gram->g, kept, pare_output_gram_bytes(gram));
        pare_spill_release(gram->g, pare_output_gram_bytes(gram));
    }
    return true;
}

static pare_status measure_grams(const pare_model *model, const pare_quantize_options *options,
                                 const pare_progress *progress, state *s)
{
    const pare_calibration *c = options->calibration;
    pare_pool *pool = NULL;
    int64_t length = c->length < WINDOW ? c->length : WINDOW,
            windows = c->sequences * c->length / length;
    pare_status status;
    PARE_TRY(pare_output_grams_create(model, options->output, &s->grams));
    if (restore_grams(s))
        return PARE_OK;
    for (size_t i = 0; i < s->grams.count; i++) /* part of it may have been there */
        memset(s->grams.items[i].g, 0, pare_output_gram_bytes(&s->grams.items[i]));
    PARE_TRY(pare_pool_create(options->threads, &pool));
    PARE_TRY(pare_output_grams_measure(model, c, windows < WINDOWS ? windows : WINDOWS, length,
                                       pool, progress, &s->grams));
    for (size_t i = 0; i < s->grams.count; i++) {
        const pare_output_gram *gram = &s->grams.items[i];
        char name[256];
        name_gram(gram, name);
        PARE_TRY(pare_work_add(&s->walk.work, name, gram->g, pare_output_gram_bytes(gram)));
        pare_spill_release(gram->g, pare_output_gram_bytes(gram));
    }
    PARE_TRY(pare_work_add(&s->walk.work, "tokens of outputs", &s->grams.items[0].tokens,
                           sizeof s->grams.items[0].tokens)); /* the last: all of it is there */
    PARE_TRY(pare_work_sync(&s->walk.work));
fail:
    pare_pool_free(pool);
    return status;
}

/* ---- 2. formats ---- */

/* The losses of all formats for the matrices of one input. */
static pare_status look_at_stage(void *user, const pare_walk_stage *stage)
{
    state *s = user;
    const pare_type *types = candidates_of(stage->columns);
    pare_rounding rounding = {0};
    pare_rounding_task tasks[PARE_WALK_TOGETHER * PARE_CHOICES];
    double *slots[PARE_WALK_TOGETHER * PARE_CHOICES];
    int count = 0;
    pare_status status =
        pare_rounding_create(stage->pool, stage->gram, stage->columns, input_damping, &rounding);
    for (int m = 0; m < stage->count && status == PARE_OK; m++)
        for (int k = 0; k < PARE_CHOICES && types[k] != PARE_TYPE_COUNT && status == PARE_OK; k++) {
            const pare_block_matrix *matrix = stage->matrices[m];
            pare_rounding_task *task = &tasks[count];
            if (stage->columns % pare_type_block(types[k]))
                continue;
            slots[count++] = &s->losses[(stage->items[m] - s->plan->items) * PARE_CHOICES + k];
            *task = (pare_rounding_task){.target = matrix->weights,
                                         .rows = matrix->rows,
                                         .type = types[k],
                                         .gram = pare_output_gram_find(&s->grams, matrix->source),
                                         .one_sided = true};
            status =
                pare_allocate((size_t)matrix->rows, pare_type_row_bytes(types[k], stage->columns),
                              "encoded rows", &task->encoded);
        }
    if (status == PARE_OK)
        status = pare_round_matrices(stage->pool, &rounding, tasks, count, 0);
    for (int t = 0; t < count; t++) {
        *slots[t] = 0.5 * tasks[t].cost / (double)stage->tokens;
        pare_spill_release(tasks[t].gram->g, pare_output_gram_bytes(tasks[t].gram));
        free(tasks[t].encoded);
    }
    pare_rounding_free(&rounding);
    return status;
}

static pare_status find_losses(const pare_model *model, const pare_quantize_options *options,
                               const pare_progress *progress, state *s)
{
    const size_t bytes = s->plan->count * PARE_CHOICES * sizeof *s->losses;
    pare_quantize_options some = *options;
    pare_calibration calibration = *options->calibration;
    pare_walk_result nothing = {.work.fd = -1};
    pare_status status = pare_allocate(bytes, 1, "losses of formats", &s->losses);
    if (status != PARE_OK)
        return status;
    const void *kept = pare_work_find(&s->walk.work, "losses of formats", bytes);
    if (kept) {
        memcpy(s->losses, kept, bytes);
        return PARE_OK;
    }
    for (size_t i = 0; i < s->plan->count * PARE_CHOICES; i++)
        s->losses[i] = -1;
    calibration.sequences =
        calibration.sequences < LOOK_SEQUENCES ? calibration.sequences : LOOK_SEQUENCES;
    some.calibration = &calibration;
    some.progress = progress;
    status = pare_walk_stages(model, &some, s->plan, (pare_walk_mode){.look = true}, look_at_stage,
                              s, &nothing);
    pare_walk_free(&nothing);
    if (status == PARE_OK)
        status = pare_work_add(&s->walk.work, "losses of formats", s->losses, bytes);
    return status == PARE_OK ? pare_work_sync(&s->walk.work) : status;
}

/* The fewest bits that the tensor can take. */
static double least_bytes(const pare_model *model, const state *s, const pare_quantize_result *plan,
                          size_t index)
{
    const pare_tensor *tensor = pare_quantize_tensor(model, index);
    const int64_t columns = pare_tensor_columns(tensor);
    const double *losses = s->losses + index * PARE_CHOICES;
    double least = (double)plan->items[index].bytes;
    for (int k = 0; k < PARE_CHOICES && losses[k] >= 0; k++) {
        double bytes = (double)pare_tensor_rows(tensor) *
                       (double)pare_type_row_bytes(candidates_of(columns)[k], columns);
        least = k == 0 || bytes < least ? bytes : least;
    }
    return least;
}

/* Names the tensor that is farthest above the limit, and the limit that would do. */
static pare_status fail_budget(const pare_model *model, const pare_quantize_options *options,
                               const state *s, const pare_quantize_result *plan)
{
    double bytes = 0, elements = 0, most = 0;
    size_t worst = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const pare_quantize_item *item = &plan->items[i];
        if (!item->chosen)
            continue;
        double least = least_bytes(model, s, plan, i),
               above = 8 * least - options->max_bits * (double)item->elements;
        bytes += least;
        elements += (double)item->elements;
        if (above > most) {
            most = above;
            worst = i;
        }
    }
    const pare_quantize_item *item = &plan->items[worst];
    return pare_fail(PARE_LIMIT,
                     "no choice of formats stays within %g bits per weight: tensor '%s', with rows "
                     "of %" PRId64 ", takes %.3f at least; give --max-bits %.3f or more",
                     options->max_bits, item->name,
                     pare_tensor_columns(pare_quantize_tensor(model, worst)),
                     8 * least_bytes(model, s, plan, worst) / (double)item->elements,
                     8 * bytes / elements + 0.0005);
}

/* Tensors that a rule gave a format of their own keep it, and what they take comes off the budget.
 */
static pare_status pick_formats(const pare_model *model, const pare_quantize_options *options,
                                state *s, pare_quantize_result *plan)
{
    pare_choice *choices = NULL;
    size_t *items = NULL, count = 0;
    double budget = 0;
    pare_status status;
    PARE_TRY(pare_allocate(plan->count, sizeof *choices, "a choice of formats", &choices));
    PARE_TRY(pare_allocate(plan->count, sizeof *items, "a choice of formats", &items));
    for (size_t i = 0; i < plan->count; i++) {
        const pare_quantize_item *item = &plan->items[i];
        const double *losses = s->losses + i * PARE_CHOICES;
        if (!item->chosen)
            continue;
        budget += options->max_bits * (double)item->elements;
        if (!(losses[0] >= 0)) {
            budget -= 8.0 * (double)item->bytes;
            continue;
        }
        const pare_tensor *tensor = pare_quantize_tensor(model, i);
        const pare_type *types = candidates_of(pare_tensor_columns(tensor));
        pare_choice *c = &choices[count];
        for (int k = 0; k < PARE_CHOICES && losses[k] >= 0; k++) {
            c->loss[c->count] = losses[k];
            c->price[c->count++] =
                8.0 * (double)pare_tensor_rows(tensor) *
                (double)pare_type_row_bytes(types[k], pare_tensor_columns(tensor));
        }
        items[count++] = i;
    }
    status = pare_allocate_budget(choices, count, budget);
    if (status != PARE_OK) {
        status = fail_budget(model, options, s, plan);
        goto fail;
    }
    for (size_t i = 0; i < count; i++) {
        const pare_tensor *tensor = pare_quantize_tensor(model, items[i]);
        pare_quantize_set_type(model, plan, items[i],
                               candidates_of(pare_tensor_columns(tensor))[choices[i].picked]);
    }
fail:
    free(choices);
    free(items);
    return status;
}

/* What the walk is to look at: tensors without a format of their own. */
static pare_status free_plan(const pare_quantize_options *options, const pare_quantize_result *plan,
                             pare_quantize_result *copy)
{
    *copy = *plan;
    pare_status status = pare_allocate(plan->count, sizeof *copy->items, "a plan", &copy->items);
    for (size_t i = 0; i < plan->count && status == PARE_OK; i++) {
        copy->items[i] = plan->items[i];
        copy->items[i].chosen =
            plan->items[i].chosen && plan->items[i].wanted == pare_quantize_base_type(options);
    }
    return status;
}

static void finish(void *user)
{
    state *s = user;
    if (!s)
        return;
    pare_output_grams_free(&s->grams);
    pare_walk_free(&s->walk);
    free(s->losses);
    free(s);
}

static pare_status choose(const pare_model *model, const pare_quantize_options *options,
                          pare_quantize_result *plan, void **out)
{
    const bool searched = options->max_bits > 0;
    part parts[2] = {{options->progress, 0, searched ? 0.3 : 0.4}, {options->progress, 0.3, 0.4}};
    const pare_progress progress[2] = {{update_part, &parts[0]}, {update_part, &parts[1]}};
    pare_quantize_result free_items = {0};
    char key[96];
    state *s;
    *out = NULL;
    if (!options->calibration)
        return pare_fail(PARE_INVALID_ARGUMENT, "this method needs a calibration text");
    pare_status status = pare_allocate(1, sizeof *s, "a quantization", &s);
    if (status != PARE_OK)
        return status;
    *out = s;
    s->walk.work.fd = -1;
    snprintf(key, sizeof key, "pare 1: %.6f bits", options->max_bits);
    PARE_TRY(pare_calibration_check(model, options->calibration));
    if (!options->dry_run)
        PARE_TRY(pare_work_open(model, options, plan, key, &s->walk.work));
    PARE_TRY(measure_grams(model, options, &progress[0], s));
    if (!searched)
        return PARE_OK;
    PARE_TRY(free_plan(options, plan, &free_items));
    s->plan = &free_items;
    PARE_TRY(find_losses(model, options, &progress[1], s));
    PARE_TRY(pick_formats(model, options, s, plan));
fail:
    free(free_items.items);
    s->plan = NULL;
    return status; /* the caller frees *out */
}

/* ---- 3. codes ---- */

/* A format without codes to choose (16 bits, where nothing smaller fits the rows). */
static void round_to_nearest(const pare_walk_stage *stage, int m)
{
    const pare_block_matrix *matrix = stage->matrices[m];
    const pare_type_traits *traits = pare_type_get_traits(stage->items[m]->type);
    const size_t row_bytes = pare_type_row_bytes(stage->items[m]->type, matrix->columns);
    for (int64_t r = 0; r < matrix->rows; r++) {
        float *row = matrix->weights + r * matrix->columns;
        uint8_t *encoded = stage->encoded[m] + (size_t)r * row_bytes;
        traits->encode(row, encoded, matrix->columns, NULL);
        traits->decode(encoded, row, matrix->columns);
    }
}

static pare_status quantize_stage(void *user, const pare_walk_stage *stage)
{
    const state *s = user;
    pare_rounding rounding = {0};
    pare_rounding_task tasks[PARE_WALK_TOGETHER] = {0};
    float *targets[PARE_WALK_TOGETHER] = {0};
    int count = 0;
    pare_status status;
    PARE_TRY(
        pare_rounding_create(stage->pool, stage->gram, stage->columns, input_damping, &rounding));
    for (int m = 0; m < stage->count; m++) {
        const pare_block_matrix *matrix = stage->matrices[m];
        PARE_TRY(pare_allocate((size_t)(matrix->rows * matrix->columns), sizeof(float), "a target",
                               &targets[m]));
        PARE_TRY(pare_rounding_target(stage->pool, &rounding, matrix->weights, matrix->rows,
                                      stage->shift, stage->residual,
                                      target_share(stage->columns, stage->tokens), targets[m]));
        if (!pare_type_grid(stage->items[m]->type)) {
            round_to_nearest(stage, m);
            continue;
        }
        tasks[count++] =
            (pare_rounding_task){.target = targets[m],
                                 .rows = matrix->rows,
                                 .type = stage->items[m]->type,
                                 .gram = pare_output_gram_find(&s->grams, matrix->source),
                                 .encoded = stage->encoded[m],
                                 .decoded = matrix->weights};
    }
    PARE_TRY(pare_round_matrices(stage->pool, &rounding, tasks, count, SWEEPS));
fail:
    for (int m = 0; m < stage->count; m++) {
        const pare_output_gram *gram = pare_output_gram_find(&s->grams, stage->matrices[m]->source);
        pare_spill_release(gram->g, pare_output_gram_bytes(gram));
        free(targets[m]);
    }
    pare_rounding_free(&rounding);
    return status;
}

static pare_status start(const pare_model *model, const pare_quantize_options *options,
                         const pare_quantize_result *plan, void **user)
{
    state *s = *user;
    part walking = {options->progress, 0.4, 1};
    const pare_progress progress = {update_part, &walking};
    pare_quantize_options inner = *options;
    inner.progress = &progress;
    s->plan = plan;
    return pare_walk_stages(model, &inner, plan, (pare_walk_mode){.paired = true}, quantize_stage,
                            s, &s->walk);
}

static const uint8_t *rows(const void *user, const pare_tensor *tensor)
{
    const state *s = user;
    return pare_walk_rows(&s->walk, tensor);
}

/* What the walk does not reach is rounded. */
static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    pare_method_encode(matrix, values, matrix->importance, stored);
}

const pare_method pare_method_pare = {
    .name = "pare",
    .summary = "two-sided error feedback on targets that make up for earlier errors; with a budget "
               "also a choice of formats by sensitivity",
    .calibrated = true,
    .encode_row = encode_row,
    .choose = choose,
    .start = start,
    .rows = rows,
    .finish = finish,
};
