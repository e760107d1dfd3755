#include <pare/eval.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "eval/loss.h"
#include "eval/statistics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Positions whose logits are in memory at once; of losses that a GPU computes, many more. */
enum { BLOCK = 64, GPU_BLOCK = 1024 };

const char *pare_protocol_name(pare_protocol protocol)
{
    static const char *const names[] = {
#define X(name, text, what) text,
        PARE_PROTOCOL_LIST(X)
#undef X
    };
    return (unsigned)protocol < PARE_PROTOCOL_COUNT ? names[protocol] : "unknown";
}

pare_protocol pare_protocol_from_name(const char *name)
{
    for (int p = 0; p < PARE_PROTOCOL_COUNT; p++)
        if (strcmp(name, pare_protocol_name((pare_protocol)p)) == 0)
            return (pare_protocol)p;
    return PARE_PROTOCOL_COUNT;
}

pare_eval_options pare_eval_options_default(void)
{
    pare_eval_options options = {
        .protocol = PARE_PROTOCOL_WINDOWS, .bos = -1, .session = pare_session_options_default()};
    options.session.kv_type = PARE_TYPE_F32;
    options.session.activations = PARE_ACTIVATIONS_F32;
    return options;
}

const char *pare_eval_baseline_note(const pare_model *base)
{
    return pare_model_get_info(base)->quantized
               ? "the baseline's weights are quantized already: the differences are not those "
                 "to the full-precision model"
               : NULL;
}

/* What of a window is looked at: tokens first .. first+length-1; position p predicts token
 * first+p+1. */
typedef struct window {
    int64_t first, length;
    int64_t score_first, score_last;     /* positions score_first .. score_last-1 are scored */
    int64_t compare_first, compare_last; /* and these compared with the base */
} window;

typedef struct evaluation {
    const pare_eval_options *options;
    const int32_t *ids;
    int64_t count, context, stride, vocab;
    window *windows;
    int64_t window_count;
    pare_session *sessions[2]; /* model, base (or NULL) */
    pare_pool *pool;
    const pare_kernels *kernels;
    int32_t *input;   /* [context] */
    float *logits[2]; /* [BLOCK][vocab] */
    size_t logits_bytes;
    int32_t targets[GPU_BLOCK];
    double nll[GPU_BLOCK], base_nll[GPU_BLOCK], kld[GPU_BLOCK];
    bool same[GPU_BLOCK];
    pare_divergence rows[GPU_BLOCK];

    /* Sums of each window, and each position's divergence. */
    double *tokens, *positions, *nll_sums, *base_sums, *difference_sums, *kld_sums, *same_sums,
        *klds;
    int64_t kld_count;
} evaluation;

/* ---- the windows of each protocol ---- */

static window window_at(const evaluation *e, int64_t w)
{
    int64_t first = w * e->stride,
            length = e->count - first < e->context ? e->count - first : e->context;
    window at = {.first = first, .length = length, .score_last = length - 1};
    if (e->options->protocol == PARE_PROTOCOL_STRIDE && w > 0)
        at.score_first =
            e->context - e->stride - 1; /* predicts the first token behind the window before */
    if (e->options->protocol == PARE_PROTOCOL_LLAMA_CPP)
        at.score_first = length / 2;
    at.compare_first = at.score_first;
    at.compare_last = e->options->protocol == PARE_PROTOCOL_WINDOWS ? length : at.score_last;
    return at;
}

static pare_status make_windows(evaluation *e)
{
    bool strided = e->options->protocol == PARE_PROTOCOL_STRIDE;
    int64_t n = e->count / e->context;
    if (strided) /* until a window reaches the end */
        n = e->count <= e->context ? 1 : (e->count - e->context + e->stride - 1) / e->stride + 1;
    if (n < 1 || e->count < 2)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "the text has %lld tokens, a window of %lld is longer",
                         (long long)e->count, (long long)e->context);
    if (e->options->max_windows > 0 && n > e->options->max_windows)
        n = e->options->max_windows;
    pare_status status = pare_allocate((size_t)n, sizeof *e->windows, "windows", &e->windows);
    if (status != PARE_OK)
        return status;
    for (int64_t w = 0; w < n; w++)
        e->windows[w] = window_at(e, w);
    e->window_count = n;
    return PARE_OK;
}

/* ---- set-up ---- */

static pare_status check_models(const pare_model *model, const pare_model *base)
{
    const pare_model_info *info = pare_model_get_info(model),
                          *other = base ? pare_model_get_info(base) : info;
    if (info->synthetic || other->synthetic)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "%s: a synthetic model has random weights, its quality means nothing",
                         info->synthetic ? info->path : other->path);
    if (info->vocab != other->vocab)
        return pare_fail(
            PARE_INVALID_ARGUMENT,
            "%s has a vocabulary of %lld and %s one of %lld: their predictions cannot be "
            "compared",
            info->path, (long long)info->vocab, other->path, (long long)other->vocab);
    return PARE_OK;
}

static pare_status set_lengths(evaluation *e, const pare_model *model, const pare_model *base)
{
    int64_t limit = pare_model_get_info(model)->context;
    if (base && pare_model_get_info(base)->context < limit)
        limit = pare_model_get_info(base)->context;
    e->context = e->options->context;
    if (e->context == 0) {
        e->context = e->options->protocol == PARE_PROTOCOL_LLAMA_CPP ? 512 : 1024;
        if (e->context > limit)
            e->context = limit;
    }
    if (e->context < 2 || e->context > limit)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "a window of %lld tokens: use 2 to the model's context of %lld",
                         (long long)e->context, (long long)limit);
    e->stride = e->context;
    if (e->options->protocol == PARE_PROTOCOL_STRIDE)
        e->stride = e->options->stride ? e->options->stride : e->context / 2;
    else if (e->options->stride && e->options->stride != e->context)
        return pare_fail(PARE_INVALID_ARGUMENT, "protocol '%s' has no stride: use 'stride'",
                         pare_protocol_name(e->options->protocol));
    if (e->stride < 1 || e->stride >= e->context + (e->options->protocol != PARE_PROTOCOL_STRIDE))
        return pare_fail(PARE_INVALID_ARGUMENT, "a stride of %lld: use 1 to %lld",
                         (long long)e->stride, (long long)(e->context - 1));
    return PARE_OK;
}

static pare_status allocate_sums(evaluation *e)
{
    double **sums[] = {&e->tokens,          &e->positions, &e->nll_sums, &e->base_sums,
                       &e->difference_sums, &e->kld_sums,  &e->same_sums};
    pare_status status = PARE_OK;
    int64_t positions = 0;
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
        PARE_TRY(pare_allocate((size_t)e->window_count, sizeof(double), "window sums", sums[i]));
    if (!e->sessions[1])
        return PARE_OK;
    for (int64_t w = 0; w < e->window_count; w++)
        positions += e->windows[w].compare_last - e->windows[w].compare_first;
    PARE_TRY(pare_allocate((size_t)positions, sizeof(double), "divergences", &e->klds));
fail:
    return status;
}

static pare_status set_up(evaluation *e, const pare_model *model, const pare_model *base)
{
    const pare_model *models[2] = {model, base};
    pare_session_options session = e->options->session;
    pare_status status;
    pare_isa isa;
    PARE_TRY(check_models(model, base));
    PARE_TRY(set_lengths(e, model, base));
    PARE_TRY(make_windows(e));
    e->vocab = pare_model_get_info(model)->vocab;
    e->logits_bytes = (size_t)e->vocab * BLOCK * sizeof(float);
    session.context = e->context;
    for (int i = 0; i < 2 && models[i]; i++) {
        if (i == 1) { /* the base is never rounded, whatever the model runs with */
            session.activations = PARE_ACTIVATIONS_F32;
            session.kv_type = PARE_TYPE_F32;
        }
        PARE_TRY(pare_session_create(models[i], &session, &e->sessions[i]));
        PARE_TRY(pare_pages_allocate(e->logits_bytes, "logits", &e->logits[i]));
    }
    PARE_TRY(pare_pool_create(session.threads, &e->pool));
    PARE_TRY(pare_isa_from_name(session.isa, &isa));
    e->kernels = pare_kernels_get(isa);
    PARE_TRY(pare_allocate((size_t)e->context, sizeof *e->input, "token ids", &e->input));
    PARE_TRY(allocate_sums(e));
fail:
    return status;
}

static void tear_down(evaluation *e)
{
    for (int i = 0; i < 2; i++) {
        pare_session_free(e->sessions[i]);
        pare_pages_free(e->logits[i], e->logits_bytes);
    }
    pare_pool_free(e->pool);
    free(e->windows);
    free(e->input);
    free(e->tokens);
    free(e->positions);
    free(e->nll_sums);
    free(e->base_sums);
    free(e->difference_sums);
    free(e->kld_sums);
    free(e->same_sums);
    free(e->klds);
}

/* ---- running ---- */

static void add_block(evaluation *e, int64_t w, int64_t first, int64_t count)
{
    const window *at = &e->windows[w];
    for (int64_t i = 0; i < count; i++) {
        int64_t position = first + i;
        if (e->targets[i] >= 0) {
            e->tokens[w]++;
            e->nll_sums[w] += e->nll[i];
            e->base_sums[w] += e->base_nll[i];
            e->difference_sums[w] += e->nll[i] - e->base_nll[i];
        }
        if (e->klds && position >= at->compare_first && position < at->compare_last) {
            e->positions[w]++;
            e->kld_sums[w] += e->kld[i];
            e->same_sums[w] += e->same[i];
            e->klds[e->kld_count++] = e->kld[i];
        }
    }
}

/* Losses and divergences are computed where the models run. */
static bool on_device(const evaluation *e)
{
    for (int i = 0; i < 2 && e->sessions[i]; i++)
        if (strcmp(pare_session_backend(e->sessions[i]), "cuda") != 0)
            return false;
    return true;
}

static pare_status run_block_on_device(evaluation *e, int64_t first, int64_t count)
{
    pare_status status;
    if (!e->sessions[1])
        return pare_session_losses(e->sessions[0], first, count, e->targets, e->nll);
    PARE_TRY(
        pare_session_compare(e->sessions[0], e->sessions[1], first, count, e->targets, e->rows));
    for (int64_t i = 0; i < count; i++) {
        e->nll[i] = e->rows[i].nll;
        e->base_nll[i] = e->rows[i].base_nll;
        e->kld[i] = e->rows[i].kld;
        e->same[i] = e->rows[i].same;
    }
fail:
    return status;
}

static pare_status run_block(evaluation *e, int64_t w, int64_t first, int64_t count)
{
    const window *at = &e->windows[w];
    pare_status status;
    for (int64_t i = 0; i < count; i++) {
        int64_t position = first + i;
        bool scored = position >= at->score_first && position < at->score_last;
        e->targets[i] = scored ? e->ids[at->first + position + 1] : -1;
    }
    if (on_device(e)) {
        PARE_TRY(run_block_on_device(e, first, count));
        add_block(e, w, first, count);
        return PARE_OK;
    }
    for (int i = 0; i < 2 && e->sessions[i]; i++)
        PARE_TRY(pare_session_logits(e->sessions[i], first, count, e->logits[i]));
    pare_loss_compute(e->pool, &(pare_loss){.kernels = e->kernels,
                                            .logits = e->logits[0],
                                            .base = e->logits[1],
                                            .vocab = e->vocab,
                                            .count = count,
                                            .targets = e->targets,
                                            .nll = e->nll,
                                            .base_nll = e->base_nll,
                                            .kld = e->kld,
                                            .same = e->same});
    add_block(e, w, first, count);
fail:
    return status;
}

static pare_status run_window(evaluation *e, int64_t w)
{
    const window *at = &e->windows[w];
    pare_status status;
    memcpy(e->input, e->ids + at->first, (size_t)at->length * sizeof *e->input);
    if (e->options->protocol == PARE_PROTOCOL_LLAMA_CPP && e->options->bos >= 0)
        e->input[0] = e->options->bos;
    for (int i = 0; i < 2 && e->sessions[i]; i++) {
        PARE_TRY(pare_session_rollback(e->sessions[i], 0));
        PARE_TRY(pare_session_forward(e->sessions[i], e->input, at->length));
    }
    int64_t last = e->klds ? at->compare_last : at->score_last;
    int64_t block = on_device(e) ? GPU_BLOCK : BLOCK;
    for (int64_t first = at->score_first; first < last; first += block)
        PARE_TRY(run_block(e, w, first, last - first < block ? last - first : block));
    if (!isfinite(e->nll_sums[w]) || !isfinite(e->base_sums[w]))
        return pare_fail(PARE_FORMAT,
                         "a loss in window %lld is not a number: a model's weights are damaged or "
                         "its arithmetic "
                         "overflowed",
                         (long long)w);
fail:
    return status;
}

static pare_status run_windows(evaluation *e, const pare_progress *progress)
{
    pare_status status = PARE_OK;
    for (int64_t w = 0; w < e->window_count; w++) {
        char what[64];
        snprintf(what, sizeof what, "window %lld of %lld", (long long)w + 1,
                 (long long)e->window_count);
        if (progress && progress->update &&
            !progress->update(progress->user, (double)w, (double)e->window_count, what))
            return pare_fail(PARE_CANCELLED, "the evaluation was stopped at window %lld",
                             (long long)w);
        PARE_TRY(run_window(e, w));
    }
fail:
    return status;
}

static void keep_windows(const evaluation *e, pare_eval_result *r)
{
    r->kept = e->window_count <= PARE_EVAL_MOST_WINDOWS ? e->window_count : 0;
    for (int64_t w = 0; w < r->kept; w++) {
        r->window_nll[w] = e->nll_sums[w] / e->tokens[w];
        if (e->sessions[1]) {
            r->window_kld[w] = e->kld_sums[w] / e->positions[w];
            r->window_top1[w] = e->same_sums[w] / e->positions[w];
        }
    }
}

static void note_outliers(const evaluation *e, const pare_model_info *info, pare_eval_result *r)
{
    if (info->activations && strcmp(info->activations, "llm_int8") == 0)
        r->outlier_layers = info->layers < PARE_EVAL_LAYERS ? info->layers : PARE_EVAL_LAYERS;
    for (int64_t l = 0; l < r->outlier_layers; l++)
        r->outlier_shares[l] = pare_session_outlier_share(e->sessions[0], l);
}

static void summarize(evaluation *e, pare_eval_result *r)
{
    int64_t n = e->window_count;
    double se, log_ratio;
    r->protocol = e->options->protocol;
    r->context = e->context;
    r->stride = e->stride;
    r->windows = n;
    for (int64_t w = 0; w < n; w++)
        r->tokens += (int64_t)e->tokens[w];
    r->mean_nll = pare_cluster_mean(e->nll_sums, e->tokens, n, &r->mean_nll_se);
    r->perplexity = exp(r->mean_nll);
    r->perplexity_se = r->perplexity * r->mean_nll_se;
    keep_windows(e, r);
    snprintf(r->isa, sizeof r->isa, "%s", pare_session_isa(e->sessions[0]));
    r->threads = pare_session_threads(e->sessions[0]);
    if (!e->sessions[1])
        return;
    r->compared = true;
    r->positions = e->kld_count;
    r->base_mean_nll = pare_cluster_mean(e->base_sums, e->tokens, n, &se);
    r->base_perplexity = exp(r->base_mean_nll);
    log_ratio = pare_cluster_mean(e->difference_sums, e->tokens, n, &se);
    r->perplexity_ratio = exp(log_ratio);
    r->perplexity_ratio_se = r->perplexity_ratio * se;
    r->kld_mean = pare_cluster_mean(e->kld_sums, e->positions, n, &r->kld_se);
    r->top1 = pare_cluster_mean(e->same_sums, e->positions, n, &r->top1_se);
    r->kld_median = pare_quantile(e->klds, e->kld_count, 0.5);
    r->kld_p99 = pare_quantile(e->klds, e->kld_count, 0.99);
    r->kld_max = pare_quantile(e->klds, e->kld_count, 1);
}

pare_status pare_eval_run(const pare_model *model, const pare_model *base, const int32_t *ids,
                          int64_t count, const pare_eval_options *options,
                          const pare_progress *progress, pare_eval_result *result)
{
    evaluation e = {.options = options, .ids = ids, .count = count};
    double started = pare_seconds();
    pare_status status;
    memset(result, 0, sizeof *result);
    PARE_TRY(set_up(&e, model, base));
    PARE_TRY(run_windows(&e, progress));
    summarize(&e, result);
    note_outliers(&e, pare_model_get_info(model), result);
    result->seconds = pare_seconds() - started;
fail:
    tear_down(&e);
    return status;
}
