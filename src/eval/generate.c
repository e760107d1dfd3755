/* The score of generated text. docs/eval.md, "Generated text". */
#include "eval/generate.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/memory.h"

#include <math.h>
#include <pare/eval.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16, MOST_METRICS = 12, MOST_CONDITIONS = 24 };

/* One text that was made after a prompt. */
typedef struct text {
    int32_t *ids; /* [limit] */
    int64_t count;
    double log_probability; /* mean, under the model that made it */
} text;

typedef struct generation {
    const pare_generate_options *options;
    const pare_tokenizer *tokenizer;
    pare_session *sessions[2]; /* model, base */
    int64_t vocab, limit, prompt_count;
    int32_t *prompt, *sequence; /* of the present prompt; and [prompt + limit] */
    float *logits;              /* [BLOCK][vocab] */
    text sampled, base_sampled, base_greedy;
    pare_sha256 hash; /* of the model's texts */
    pare_text_scores scores[PARE_GENERATE_MOST_PROMPTS];
    double same_prefix[PARE_GENERATE_MOST_PROMPTS];
    int count;
    char *shown; /* the first prompt's text */
} generation;

typedef struct storage {
    pare_arena arena;
    pare_metric metrics[MOST_METRICS];
    pare_condition conditions[MOST_CONDITIONS];
} storage;

pare_generate_options pare_generate_options_default(void)
{
    pare_generate_options options = {.prompts = pare_generate_prompts,
                                     .prompt_count = PARE_GENERATE_PROMPTS,
                                     .tokens = 48,
                                     .temperature = 0.8f,
                                     .top_p = 0.95f,
                                     .seed = 1,
                                     .session = pare_session_options_default()};
    options.session.kv_type = PARE_TYPE_F32;
    options.session.activations = PARE_ACTIVATIONS_F32;
    return options;
}

/* ---- making and scoring texts ---- */

/* The end token belongs to the text. temperature 0 is greedy. */
static pare_status make_text(generation *g, pare_session *session, float temperature, int index,
                             text *out)
{
    pare_sampling sampling = pare_sampling_default();
    pare_sampler *sampler = NULL;
    float log_probability;
    double sum = 0;
    pare_status status;
    sampling.temperature = temperature;
    sampling.top_p = g->options->top_p;
    sampling.seed = g->options->seed + 1000003u * (uint64_t)index;
    out->count = 0;
    PARE_TRY(pare_sampler_create(&sampling, g->vocab, &sampler));
    PARE_TRY(pare_session_rollback(session, 0));
    PARE_TRY(pare_session_forward(session, g->prompt, g->prompt_count));
    PARE_TRY(pare_session_logits(session, g->prompt_count - 1, 1, g->logits));
    memcpy(g->sequence, g->prompt, (size_t)g->prompt_count * sizeof *g->sequence);
    for (;;) {
        int32_t id;
        PARE_TRY(pare_sampler_next(sampler, g->logits, g->sequence, g->prompt_count + out->count,
                                   &id, &log_probability));
        g->sequence[g->prompt_count + out->count] = id;
        out->ids[out->count++] = id;
        sum += (double)log_probability;
        if (out->count == g->limit || pare_tokenizer_is_end(g->tokenizer, id))
            break;
        PARE_TRY(pare_session_forward(session, &id, 1));
        PARE_TRY(pare_session_logits(session, 0, 1, g->logits));
    }
    out->log_probability = sum / (double)out->count;
fail:
    pare_sampler_free(sampler);
    return status;
}

static double log_sum_exp(const float *x, int64_t n, int64_t *highest)
{
    double sum = 0;
    *highest = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[*highest])
            *highest = i;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[*highest]);
    return (double)x[*highest] + log(sum);
}

/* What a model says of a text that it is given: mean log-probability, the share of tokens that it
 * would have chosen itself, and how many of them at the beginning. */
static pare_status judge(generation *g, pare_session *session, const text *of,
                         double *log_probability, double *agreement, double *prefix)
{
    pare_status status;
    double sum = 0, same = 0;
    bool whole = true;
    *prefix = 0;
    memcpy(g->sequence, g->prompt, (size_t)g->prompt_count * sizeof *g->sequence);
    memcpy(g->sequence + g->prompt_count, of->ids, (size_t)of->count * sizeof *g->sequence);
    PARE_TRY(pare_session_rollback(session, 0));
    PARE_TRY(pare_session_forward(session, g->sequence, g->prompt_count + of->count - 1));
    for (int64_t first = 0; first < of->count; first += BLOCK) {
        int64_t n = of->count - first < BLOCK ? of->count - first : BLOCK;
        PARE_TRY(pare_session_logits(session, g->prompt_count - 1 + first, n, g->logits));
        for (int64_t i = 0; i < n; i++) {
            const float *x = g->logits + i * g->vocab;
            int32_t id = of->ids[first + i];
            int64_t highest;
            double log_sum = log_sum_exp(x, g->vocab, &highest);
            sum += (double)x[id] - log_sum;
            same += highest == id;
            whole = whole && highest == id;
            *prefix += whole;
        }
    }
    *log_probability = sum / (double)of->count;
    *agreement = same / (double)of->count;
fail:
    return status;
}

/* Decoded together: the space between prompt and text belongs to neither alone. */
static pare_status show(generation *g)
{
    size_t length;
    memcpy(g->sequence, g->prompt, (size_t)g->prompt_count * sizeof *g->sequence);
    memcpy(g->sequence + g->prompt_count, g->sampled.ids,
           (size_t)g->sampled.count * sizeof *g->sequence);
    return pare_tokenizer_decode(g->tokenizer, g->sequence,
                                 (size_t)(g->prompt_count + g->sampled.count), true, &g->shown,
                                 &length);
}

static pare_status run_prompt(generation *g, int index)
{
    const char *prompt = g->options->prompts[index];
    pare_text_scores *scores = &g->scores[index];
    size_t count;
    double ignored, prefix;
    pare_status status;
    free(g->prompt);
    g->prompt = NULL;
    PARE_TRY(pare_tokenizer_encode(g->tokenizer, prompt, strlen(prompt), PARE_TOKENIZE_ADD_SPECIAL,
                                   &g->prompt, &count));
    g->prompt_count = (int64_t)count;
    if (count == 0 || count > PARE_GENERATE_MOST_PROMPT_TOKENS)
        return pare_fail(PARE_INVALID_ARGUMENT, "prompt %d has %zu tokens: 1 to %d are possible",
                         index, count, PARE_GENERATE_MOST_PROMPT_TOKENS);
    float temperature = g->options->temperature;
    PARE_TRY(make_text(g, g->sessions[0], temperature, index, &g->sampled));
    PARE_TRY(make_text(g, g->sessions[1], temperature, index, &g->base_sampled));
    PARE_TRY(make_text(g, g->sessions[1], 0, index, &g->base_greedy));
    PARE_TRY(judge(g, g->sessions[1], &g->sampled, &scores->log_probability, &ignored, &prefix));
    PARE_TRY(judge(g, g->sessions[0], &g->base_greedy, &ignored, &scores->agreement,
                   &g->same_prefix[index]));
    scores->base_log_probability = g->base_sampled.log_probability;
    scores->repetition = pare_text_repetition(g->sampled.ids, g->sampled.count, 4);
    scores->distinct_1 = pare_text_distinct(g->sampled.ids, g->sampled.count, 1);
    scores->distinct_2 = pare_text_distinct(g->sampled.ids, g->sampled.count, 2);
    PARE_TRY(pare_sha256_add(&g->hash, g->sampled.ids,
                             (size_t)g->sampled.count * sizeof *g->sampled.ids));
    if (index == 0)
        PARE_TRY(show(g));
fail:
    return status;
}

/* ---- from prompts to metrics ---- */

/* The mean over the prompts with Student's interval. */
static pare_status add_mean(storage *s, pare_record *record, const char *name, const char *unit,
                            const double *values, int n)
{
    double sum = 0, squares = 0;
    double *samples = pare_arena_allocate(&s->arena, (size_t)n * sizeof *samples);
    if (!samples)
        return PARE_OUT_OF_MEMORY;
    memcpy(samples, values, (size_t)n * sizeof *samples);
    for (int i = 0; i < n; i++)
        sum += values[i];
    double mean = sum / n;
    for (int i = 0; i < n; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    double half = n > 1 ? pare_eval_half_width(sqrt(squares / (n - 1) / n), n) : 0;
    s->metrics[record->metric_count++] = (pare_metric){.name = name,
                                                       .unit = unit,
                                                       .measure = {mean, mean - half, mean + half},
                                                       .samples = samples,
                                                       .sample_count = n};
    return PARE_OK;
}

/* The score is a function of means: its interval is the jackknife's, its samples are the
 * pseudo-values, which pair up between models. */
static pare_status add_score(generation *g, storage *s, pare_record *record)
{
    double values[PARE_GENERATE_MOST_PROMPTS],
        whole = pare_text_score_values(g->scores, g->count, values);
    pare_status status = add_mean(s, record, "quality_score", "of 5", values, g->count);
    if (status == PARE_OK) {
        pare_measure *m = &s->metrics[record->metric_count - 1].measure;
        double half = m->high - m->value;
        *m = (pare_measure){whole, whole - half, whole + half, false};
    }
    return status;
}

static pare_status add_metrics(generation *g, storage *s, pare_record *record)
{
    static const struct {
        const char *name, *unit;
        size_t offset;
    } rows[] = {
        {"log_probability", "nats/token", offsetof(pare_text_scores, log_probability)},
        {"base_log_probability", "nats/token", offsetof(pare_text_scores, base_log_probability)},
        {"repetition", "ratio", offsetof(pare_text_scores, repetition)},
        {"distinct_1", "ratio", offsetof(pare_text_scores, distinct_1)},
        {"distinct_2", "ratio", offsetof(pare_text_scores, distinct_2)},
        {"agreement", "ratio", offsetof(pare_text_scores, agreement)},
    };
    double values[PARE_GENERATE_MOST_PROMPTS];
    pare_status status;
    PARE_TRY(add_score(g, s, record));
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (int i = 0; i < g->count; i++)
            memcpy(&values[i], (const char *)&g->scores[i] + rows[r].offset, sizeof values[i]);
        PARE_TRY(add_mean(s, record, rows[r].name, rows[r].unit, values, g->count));
    }
    PARE_TRY(add_mean(s, record, "same_prefix", "tokens", g->same_prefix, g->count));
fail:
    return status;
}

__attribute__((format(printf, 4, 5))) static pare_status
add_condition(storage *s, pare_record *record, const char *key, const char *format, ...)
{
    char value[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    const char *owned = pare_arena_copy(&s->arena, value, strlen(value));
    if (!owned)
        return PARE_OUT_OF_MEMORY;
    s->conditions[record->condition_count++] = (pare_condition){key, owned};
    return PARE_OK;
}

static pare_status add_conditions(generation *g, const pare_model *model, const pare_model *base,
                                  storage *s, pare_record *record)
{
    const pare_model_info *info = pare_model_get_info(model);
    const pare_generate_options *o = g->options;
    char hex[65];
    pare_status status;
    PARE_TRY(pare_sha256_end(&g->hash, hex));
    PARE_TRY(add_condition(s, record, "model", "%s", info->name));
    PARE_TRY(add_condition(s, record, "path", "%s", info->path));
    PARE_TRY(add_condition(s, record, "architecture", "%s", info->architecture));
    PARE_TRY(add_condition(s, record, "format", "%s", info->format));
    PARE_TRY(add_condition(s, record, "against", "%s", pare_model_get_info(base)->name));
    PARE_TRY(add_condition(s, record, "prompts", "%d", g->count));
    PARE_TRY(add_condition(s, record, "n_gen", "%lld", (long long)o->tokens));
    PARE_TRY(add_condition(s, record, "temperature", "%g", (double)o->temperature));
    PARE_TRY(add_condition(s, record, "top_p", "%g", (double)o->top_p));
    PARE_TRY(add_condition(s, record, "seed", "%llu", (unsigned long long)o->seed));
    PARE_TRY(add_condition(s, record, "activations", "%s",
                           o->session.activations == PARE_ACTIVATIONS_FAST ? "fast" : "f32"));
    PARE_TRY(add_condition(s, record, "kv_type", "%s", pare_type_name(o->session.kv_type)));
    PARE_TRY(add_condition(s, record, "isa", "%s", pare_session_isa(g->sessions[0])));
    PARE_TRY(add_condition(s, record, "threads", "%d", pare_session_threads(g->sessions[0])));
    PARE_TRY(add_condition(s, record, "backend", "%s", pare_session_backend(g->sessions[0])));
    PARE_TRY(add_condition(s, record, "text_hash", "%.32s", hex));
    PARE_TRY(add_condition(s, record, "sample_text", "%.1000s", g->shown ? g->shown : ""));
fail:
    return status;
}

static pare_status finish(generation *g, const pare_model *model, const pare_model *base,
                          double seconds, pare_generate_result *result)
{
    storage *s;
    pare_status status = pare_allocate(1, sizeof *s, "a result", &s);
    if (status != PARE_OK)
        return status;
    result->memory = s;
    result->record.kind = "generate";
    result->record.metrics = s->metrics;
    result->record.conditions = s->conditions;
    PARE_TRY(add_metrics(g, s, &result->record));
    PARE_TRY(add_mean(s, &result->record, "seconds", "s", &seconds, 1));
    PARE_TRY(add_conditions(g, model, base, s, &result->record));
fail:
    if (status != PARE_OK)
        pare_generate_result_free(result);
    return status;
}

/* ---- set-up ---- */

static pare_status check(const pare_model *model, const pare_model *base,
                         const pare_tokenizer *tokenizer, const pare_generate_options *options)
{
    const pare_model_info *info = pare_model_get_info(model), *of_base = pare_model_get_info(base);
    if (info->synthetic || of_base->synthetic)
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: has random weights: its text means nothing",
                         info->synthetic ? info->path : of_base->path);
    if (info->vocab != of_base->vocab)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "%s has %lld tokens in its vocabulary, %s %lld: their texts cannot be "
                         "compared",
                         info->path, (long long)info->vocab, of_base->path,
                         (long long)of_base->vocab);
    if (!tokenizer)
        return pare_fail(PARE_NOT_FOUND, "%s: text cannot be scored without a tokenizer",
                         info->path);
    if (options->prompt_count < 1 || options->prompt_count > PARE_GENERATE_MOST_PROMPTS)
        return pare_fail(PARE_INVALID_ARGUMENT, "%d prompts: 1 to %d are possible",
                         options->prompt_count, PARE_GENERATE_MOST_PROMPTS);
    if (options->tokens < 1 || options->tokens > 4096)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "%lld tokens after a prompt: 1 to 4096 are possible",
                         (long long)options->tokens);
    return PARE_OK;
}

static pare_status set_up(generation *g, const pare_model *model, const pare_model *base)
{
    pare_session_options session = g->options->session;
    pare_status status;
    g->vocab = pare_model_get_info(model)->vocab;
    g->limit = g->options->tokens;
    session.context = PARE_GENERATE_MOST_PROMPT_TOKENS + g->limit;
    if (session.context > pare_model_get_info(model)->context)
        session.context = pare_model_get_info(model)->context;
    PARE_TRY(pare_session_create(model, &session, &g->sessions[0]));
    session.activations = PARE_ACTIVATIONS_F32; /* the base is never rounded */
    session.kv_type = PARE_TYPE_F32;
    session.no_kv_cache = false;
    PARE_TRY(pare_session_create(base, &session, &g->sessions[1]));
    PARE_TRY(pare_allocate((size_t)(PARE_GENERATE_MOST_PROMPT_TOKENS + g->limit),
                           sizeof *g->sequence, "a text", &g->sequence));
    PARE_TRY(pare_allocate((size_t)(BLOCK * g->vocab), sizeof *g->logits, "logits", &g->logits));
    text *const texts[] = {&g->sampled, &g->base_sampled, &g->base_greedy};
    for (int i = 0; i < 3; i++)
        PARE_TRY(pare_allocate((size_t)g->limit, sizeof(int32_t), "a text", &texts[i]->ids));
    PARE_TRY(pare_sha256_begin(&g->hash));
fail:
    return status;
}

static void tear_down(generation *g)
{
    pare_session_free(g->sessions[0]);
    pare_session_free(g->sessions[1]);
    if (g->hash.context) /* not finished: the texts were not all made */
        (void)pare_sha256_end(&g->hash, NULL);
    free(g->prompt);
    free(g->sequence);
    free(g->logits);
    free(g->sampled.ids);
    free(g->base_sampled.ids);
    free(g->base_greedy.ids);
    free(g->shown);
}

pare_status pare_eval_generate(const pare_model *model, const pare_model *base,
                               const pare_tokenizer *tokenizer,
                               const pare_generate_options *options, const pare_progress *progress,
                               pare_generate_result *result)
{
    generation g = {.options = options, .tokenizer = tokenizer, .count = options->prompt_count};
    double started = pare_seconds();
    pare_status status;
    *result = (pare_generate_result){0};
    PARE_TRY(check(model, base, tokenizer, options));
    PARE_TRY(set_up(&g, model, base));
    for (int i = 0; i < g.count; i++) {
        if (progress && progress->update &&
            !progress->update(progress->user, i, g.count, "generating text")) {
            status = pare_fail(PARE_CANCELLED, "generating was stopped at prompt %d", i);
            goto fail;
        }
        PARE_TRY(run_prompt(&g, i));
    }
    PARE_TRY(finish(&g, model, base, pare_seconds() - started, result));
fail:
    tear_down(&g);
    return status;
}

void pare_generate_result_free(pare_generate_result *result)
{
    storage *s = result->memory;
    if (s)
        pare_arena_free(&s->arena);
    free(s);
    *result = (pare_generate_result){0};
}
