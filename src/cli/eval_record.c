#include "cli/eval_record.h"

#include "cli/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_CONDITIONS = 64, MOST_METRICS = 16 };

typedef struct builder {
    pare_condition conditions[MOST_CONDITIONS];
    pare_metric metrics[MOST_METRICS];
    int condition_count, metric_count;
    int64_t clusters;
} builder;

static void condition(builder *b, const char *key, const char *value)
{
    for (int i = 0; i < b->condition_count; i++)
        if (strcmp(b->conditions[i].key, key) == 0) {
            b->conditions[i].value = value;
            return;
        }
    b->conditions[b->condition_count++] = (pare_condition){key, value};
}

/* With its standard error as a 95 % interval; a value that is not defined is absent. */
static void metric(builder *b, const char *name, const char *unit, double value,
                   double standard_error)
{
    double half = isfinite(standard_error) ? pare_eval_half_width(standard_error, b->clusters) : 0;
    bool defined = isfinite(value);
    b->metrics[b->metric_count++] =
        (pare_metric){.name = name,
                      .unit = unit,
                      .measure = {value, value - half, value + half, !defined},
                      .absent_reason = defined ? NULL : "not defined"};
}

/* The last metric's values by window. */
static void samples(builder *b, const double *values, int64_t count)
{
    b->metrics[b->metric_count - 1].samples = count ? values : NULL;
    b->metrics[b->metric_count - 1].sample_count = count;
}

static void add_metrics(builder *b, const pare_eval_result *r)
{
    metric(b, "perplexity", "perplexity", r->perplexity, r->perplexity_se);
    metric(b, "mean_nll", "nats", r->mean_nll, r->mean_nll_se);
    samples(b, r->window_nll, r->kept);
    metric(b, "tokens", "tokens", (double)r->tokens, NAN);
    metric(b, "seconds", "s", r->seconds, NAN);
    if (!r->compared)
        return;
    metric(b, "base_perplexity", "perplexity", r->base_perplexity, NAN);
    metric(b, "perplexity_ratio", "ratio", r->perplexity_ratio, r->perplexity_ratio_se);
    metric(b, "kld_mean", "nats", r->kld_mean, r->kld_se);
    samples(b, r->window_kld, r->kept);
    metric(b, "kld_median", "nats", r->kld_median, NAN);
    metric(b, "kld_p99", "nats", r->kld_p99, NAN);
    metric(b, "kld_max", "nats", r->kld_max, NAN);
    metric(b, "top1", "ratio", r->top1, r->top1_se);
    samples(b, r->window_top1, r->kept);
}

static void add_model(builder *b, const pare_model *model, const char *name_key,
                      const char *hash_key, const char *hash)
{
    condition(b, name_key, pare_model_get_info(model)->name);
    condition(b, hash_key, hash);
}

int cli_store_eval(const cli_command *command, const cli_common *common, const pare_model *model,
                   const pare_model *base, const char *text, const pare_eval_options *options,
                   const pare_eval_result *r, const pare_condition *further, int further_count)
{
    char hash[65], base_hash[65], numbers[4][24];
    builder b = {.clusters = r->windows};
    const pare_model_info *info = pare_model_get_info(model);
    fflush(stdout); /* hashing reads the whole model: the result is out before */
    pare_status status = pare_model_hash(model, hash);
    if (status == PARE_OK && base)
        status = pare_model_hash(base, base_hash);
    if (status != PARE_OK)
        return cli_failed(command, status);
    snprintf(numbers[0], sizeof numbers[0], "%lld", (long long)r->context);
    snprintf(numbers[1], sizeof numbers[1], "%lld", (long long)r->stride);
    snprintf(numbers[2], sizeof numbers[2], "%lld", (long long)r->windows);
    snprintf(numbers[3], sizeof numbers[3], "%d", r->threads);
    add_model(&b, model, "model", "model_hash", hash);
    condition(&b, "path", info->path);
    condition(&b, "architecture", info->architecture);
    condition(&b, "format", info->format);
    if (base)
        add_model(&b, base, "against", "against_hash", base_hash);
    if (base && pare_eval_baseline_note(base))
        condition(&b, "baseline_note", pare_eval_baseline_note(base));
    condition(&b, "text", text);
    condition(&b, "protocol", pare_protocol_name(r->protocol));
    condition(&b, "context", numbers[0]);
    condition(&b, "stride", numbers[1]);
    condition(&b, "windows", numbers[2]);
    condition(&b, "bos", options->bos >= 0 ? "yes" : "no");
    condition(&b, "activations",
              options->session.activations == PARE_ACTIVATIONS_FAST ? "fast" : "f32");
    condition(&b, "kv_type", pare_type_name(options->session.kv_type));
    condition(&b, "isa", r->isa);
    condition(&b, "threads", numbers[3]);
    for (int i = 0; i < further_count; i++)
        condition(&b, further[i].key, further[i].value);
    add_metrics(&b, r);
    pare_record record = {.kind = "eval",
                          .conditions = b.conditions,
                          .condition_count = b.condition_count,
                          .metrics = b.metrics,
                          .metric_count = b.metric_count};
    return cli_store_record(command, common, &record);
}
