#include "bench/result.h"

#include "bench/builder.h"

#include "base/fail.h"
#include "base/memory.h"
#include "base/pool.h"
#include "bench/stats.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- collecting rounds ---- */

static pare_status add_numbers(const json_t *report, const char *key, pare_bench_series *series)
{
    const json_t *array = json_object_get(report, key);
    pare_status status = PARE_OK;
    for (size_t i = 0; status == PARE_OK && i < json_array_size(array); i++)
        status = pare_bench_series_add(series, json_number_value(json_array_get(array, i)));
    return status;
}

/* Which samples were taken in one process: what was measured beside each other can be paired. */
static void note_round(pare_bench_entry *entry, const json_t *report)
{
    size_t used = strlen(entry->round_samples),
           prefill = json_array_size(json_object_get(report, "prefill_s")),
           decode = json_array_size(json_object_get(report, "decode_s"));
    snprintf(entry->round_samples + used, sizeof entry->round_samples - used, "%s%zu",
             used ? "," : "", prefill > decode ? prefill : decode);
}

pare_status pare_bench_entry_add(pare_bench_entry *entry, json_t *report)
{
    pare_status status;
    double rss = pare_bench_number(report, "peak_rss_bytes");
    PARE_TRY(add_numbers(report, "prefill_s", &entry->prefill));
    PARE_TRY(add_numbers(report, "decode_s", &entry->decode));
    PARE_TRY(add_numbers(report, "token_s", &entry->tokens));
    PARE_TRY(pare_bench_series_add(&entry->load, pare_bench_number(report, "load_s")));
    if (rss > entry->peak_rss_bytes)
        entry->peak_rss_bytes = rss;
    if (pare_bench_number(report, "other_cpu_share") > entry->other_cpu_share)
        entry->other_cpu_share = pare_bench_number(report, "other_cpu_share");
    PARE_TRY(pare_bench_entry_add_sensors(entry, report));
    pare_bench_series_end_round(&entry->prefill);
    pare_bench_series_end_round(&entry->decode);
    pare_bench_series_end_round(&entry->tokens);
    note_round(entry, report);
    json_decref(entry->last);
    entry->last = json_incref(report);
fail:
    return status;
}

void pare_bench_entry_free(pare_bench_entry *entry)
{
    json_decref(entry->model);
    json_decref(entry->last);
    free(entry->load.values);
    free(entry->prefill.values);
    free(entry->decode.values);
    free(entry->tokens.values);
    free(entry->bandwidth.values);
    for (int i = 0; i < PARE_BENCH_PHASES; i++) {
        free(entry->joules[i].values);
        free(entry->watts[i].values);
    }
    free(entry->per_joule.values);
    free(entry->clocks.values);
    *entry = (pare_bench_entry){0};
}

/* ---- metrics ---- */

/* The median latency: over the rounds where there are several, else over the repetitions. */
static bool estimate_latency(const pare_bench_entry *entry, const double *samples, size_t n,
                             pare_estimate *median)
{
    size_t each = (size_t)entry->config->n_gen;
    if (entry->tokens.rounds > 1)
        return pare_bench_estimate(samples, &entry->tokens, median) == PARE_OK;
    return each && n % each == 0 &&
           pare_grouped_median(samples, n / each, each, 1, median) == PARE_OK;
}

static void add_percentiles(pare_bench_builder *b, const pare_bench_entry *entry,
                            const char *reason)
{
    static const char *const names[] = {"itl_ms_p50", "itl_ms_p90", "itl_ms_p99"};
    static const double percents[] = {50, 90, 99};
    size_t n = entry->tokens.count;
    double *sorted = pare_arena_allocate(&b->arena, (n + 1) * sizeof *sorted),
           *samples = pare_arena_allocate(&b->arena, (n + 1) * sizeof *samples);
    if (!sorted || !samples) {
        b->status = PARE_OUT_OF_MEMORY;
        return;
    }
    for (size_t i = 0; i < n; i++)
        samples[i] = sorted[i] = 1000 * entry->tokens.values[i];
    pare_sort(sorted, n);
    for (int i = 0; i < 3; i++) {
        if (!n) {
            pare_bench_add_absent(b, names[i], "ms", reason);
            continue;
        }
        double value = pare_percentile(sorted, n, percents[i]);
        pare_metric *metric = pare_bench_add_metric(b, names[i], "ms");
        metric->measure = (pare_measure){value, value, value, false};
        metric->sample_count = (int64_t)n;
        if (i > 0)
            continue; /* the samples once are enough */
        metric->samples = samples;
        pare_estimate median;
        if (estimate_latency(entry, samples, n, &median))
            metric->measure = (pare_measure){median.value, median.low, median.high, false};
    }
}

/* ---- shares of the hardware's limits ---- */

/* What decoding one token reads, half-way through the generation: weights once, keys and values of
 * all positions held; of a batch its share of that. */
static double decode_bytes(const pare_bench_entry *entry)
{
    const pare_bench_config *config = entry->config;
    double context = pare_bench_number(entry->last, "context"),
           kv = pare_bench_number(entry->last, "kv_bytes");
    double held = (double)config->depth + (double)config->n_prompt + 0.5 * (double)config->n_gen;
    double step =
        pare_bench_number(entry->last, "decode_bytes") + (context > 0 ? kv * held / context : 0);
    return step / pare_bench_batch(config);
}

static bool ran_on_gpu(const pare_bench_entry *entry)
{
    const char *backend = json_string_value(json_object_get(entry->last, "backend"));
    return backend && strcmp(backend, "cpu") != 0;
}

/* Each round's decode speed against the bandwidth beside it: a memory that is slower for a while
 * slows both. */
static void add_share(pare_bench_builder *b, const pare_bench_entry *entry, double bandwidth)
{
    const pare_metric *rate = pare_bench_find_metric(b, "decode_tokens_per_s");
    const pare_bench_series *beside = &entry->bandwidth, *decode = &entry->decode;
    double work = decode_bytes(entry);
    pare_estimate e;
    if (rate && rate->samples && work > 0 && !ran_on_gpu(entry) && decode->rounds > 1 &&
        beside->rounds == decode->rounds &&
        pare_rounds_ratio(beside->values, beside->sizes, rate->samples, decode->sizes,
                          decode->rounds, &e) == PARE_OK)
        pare_bench_add_metric(b, "bandwidth_share", "ratio")->measure =
            (pare_measure){work * e.value, work * e.low, work * e.high, false};
    else
        pare_bench_add_scaled(b, "bandwidth_share", "ratio", "decode_tokens_per_s", work, bandwidth,
                              "the read bandwidth could not be measured");
}

/* A GPU's measured bandwidth; not measured, what bus width and clock promise. */
static double gpu_bandwidth(const pare_bench_entry *entry, const pare_hw_limits *limits)
{
    const char *isa = json_string_value(json_object_get(entry->last, "isa"));
    const pare_hw_limit *limit =
        limits ? pare_hw_limit_find(limits, "gpu_read_bandwidth_bytes_per_s", isa, 0) : NULL;
    return limit ? limit->median : pare_bench_number(entry->last, "gpu_bandwidth_bytes_per_s");
}

static void add_bandwidth(pare_bench_builder *b, const pare_bench_entry *entry,
                          const pare_hw_limits *limits)
{
    double bandwidth = NAN;
    if (ran_on_gpu(entry)) {
        bandwidth = gpu_bandwidth(entry, limits);
        pare_bench_add_value(b, "read_bandwidth_bytes_per_s", "bytes/s", bandwidth,
                             "the GPU does not tell its memory's width and clock");
    } else {
        pare_bench_add_series(b, "read_bandwidth_bytes_per_s", "bytes/s", &entry->bandwidth, 1,
                              false, "could not be measured beside the run");
        const pare_metric *beside = pare_bench_find_metric(b, "read_bandwidth_bytes_per_s");
        bandwidth = beside && !beside->measure.absent ? beside->measure.value : NAN;
    }
    if (entry->config->session.no_kv_cache)
        pare_bench_add_absent(b, "bandwidth_share", "ratio",
                              "without a KV cache decoding computes all positions again");
    else
        add_share(b, entry, bandwidth);
}

/* The instruction that does most of a prefill's work: what its share is taken of. */
static const char *peak_name(const pare_bench_entry *entry)
{
    const char *format = json_string_value(json_object_get(entry->model, "format"));
    pare_type type = format ? pare_type_from_name(format) : PARE_TYPE_COUNT;
    bool fast = entry->config->session.activations == PARE_ACTIVATIONS_FAST;
    if (ran_on_gpu(entry))
        return type == PARE_TYPE_BF16 || !fast ? "gpu_bf16_flops_per_s" : "gpu_f16_flops_per_s";
    if (!fast || type == PARE_TYPE_F32)
        return "fp32_flops_per_s";
    if (type == PARE_TYPE_F16 || type == PARE_TYPE_BF16)
        return entry->config->n_prompt >= 32 ? "bf16_flops_per_s" : "fp32_flops_per_s";
    return "int8_ops_per_s";
}

static void add_peak(pare_bench_builder *b, const pare_bench_entry *entry,
                     const pare_hw_limits *limits)
{
    const char *isa = json_string_value(json_object_get(entry->last, "isa")),
               *name = peak_name(entry);
    int threads = (int)json_integer_value(json_object_get(entry->last, "threads"));
    bool gpu = ran_on_gpu(entry);
    const pare_hw_limit *limit =
        limits ? pare_hw_limit_find(limits, name, isa, gpu ? 0 : threads) : NULL;
    if (limits && !limit && !gpu &&
        strcmp(name, "fp32_flops_per_s") !=
            0) { /* the tier has no such instruction: FP32 does it */
        name = "fp32_flops_per_s";
        limit = pare_hw_limit_find(limits, name, isa, threads);
    }
    pare_bench_add_scaled(b, "peak_share", "ratio", "prefill_tokens_per_s",
                          2 * pare_bench_number(entry->model, "matrix_parameters"),
                          limit ? limit->median : NAN,
                          limits ? "no peak rate is known for this tier and number of threads"
                                 : "the machine's peak rates were not measured");
    if (limit)
        pare_bench_add_plain(b, name, strcmp(name, "int8_ops_per_s") == 0 ? "op/s" : "flop/s",
                             limit->median);
}

static void add_metrics(pare_bench_builder *b, const pare_bench_entry *entry,
                        const pare_bench_options *options)
{
    const pare_bench_config *config = entry->config;
    const char *no_prompt = config->n_prompt ? "not measured" : "no prompt was asked for",
               *no_gen = config->n_gen ? "not measured" : "no generation was asked for";
    double batch = pare_bench_batch(config);
    pare_bench_add_series(b, "prefill_tokens_per_s", "tokens/s", &entry->prefill,
                          batch * (double)config->n_prompt, true, no_prompt);
    pare_bench_add_series(b, "decode_tokens_per_s", "tokens/s", &entry->decode,
                          batch * (double)config->n_gen, true, no_gen);
    pare_bench_add_series(b, "ttft_ms", "ms", &entry->prefill, 1000, false, no_prompt);
    add_percentiles(b, entry, no_gen);
    pare_bench_add_series(b, "load_ms", "ms", &entry->load, 1000, false, "not measured");
    pare_bench_add_plain(b, "peak_rss_bytes", "bytes", entry->last ? entry->peak_rss_bytes : NAN);
    pare_bench_add_plain(b, "anonymous_rss_bytes", "bytes",
                         pare_bench_number(entry->last, "anonymous_rss_bytes"));
    pare_bench_add_plain(b, "weights_bytes", "bytes",
                         pare_bench_number(entry->last, "weights_bytes"));
    pare_bench_add_plain(b, "kv_bytes", "bytes", pare_bench_number(entry->last, "kv_bytes"));
    pare_bench_add_plain(b, "scratch_bytes", "bytes",
                         pare_bench_number(entry->last, "scratch_bytes"));
    pare_bench_add_plain(b, "file_bytes", "bytes", pare_bench_number(entry->model, "file_bytes"));
    pare_bench_add_plain(b, "bits_per_weight", "bits",
                         pare_bench_number(entry->model, "bits_per_weight"));
    if (entry->last) {
        add_bandwidth(b, entry, options->limits);
        add_peak(b, entry, options->limits);
        pare_bench_add_plain(b, "other_cpu_share", "ratio", entry->other_cpu_share);
        pare_bench_add_hardware(b, entry, decode_bytes(entry));
    }
}

/* ---- conditions ---- */

/* A caller's own condition of the same name wins. */
__attribute__((format(printf, 3, 4))) static void
add_condition(pare_bench_builder *b, const char *key, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    for (int i = 0; i < b->extra_count; i++)
        if (strcmp(b->extra[i].key, key) == 0)
            return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *value = pare_arena_copy(&b->arena, text, strlen(text));
    if (!value)
        b->status = PARE_OUT_OF_MEMORY;
    b->conditions[b->condition_count++] = (pare_condition){key, value};
}

static void add_json(pare_bench_builder *b, const char *condition, const json_t *object,
                     const char *key)
{
    const json_t *value = object ? json_object_get(object, key) : NULL;
    if (json_is_string(value))
        add_condition(b, condition, "%s", json_string_value(value));
    else if (json_is_integer(value))
        add_condition(b, condition, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        add_condition(b, condition, "%s", json_is_true(value) ? "yes" : "no");
}

static void add_fact(pare_bench_builder *b, const char *condition, const pare_hw *hw,
                     const char *key)
{
    const pare_hw_fact *fact = pare_hw_find(hw, key);
    if (fact && fact->text)
        add_condition(b, condition, "%s", fact->shown);
}

/* model: the file's own name where the description failed. */
static void add_conditions(pare_bench_builder *b, const pare_bench_entry *entry,
                           const pare_bench_options *options, const pare_hw *hw)
{
    const pare_bench_config *config = entry->config;
    const pare_session_options *session = &config->session;
    if (entry->model)
        add_json(b, "model", entry->model, "name");
    else
        add_condition(b, "model", "%s", config->model);
    add_condition(b, "path", "%s", config->model);
    add_json(b, "model_hash", entry->model, "hash");
    add_json(b, "architecture", entry->model, "architecture");
    add_json(b, "format", entry->model, "format");
    add_json(b, "parameters", entry->model, "parameters");
    add_json(b, "synthetic", entry->model, "synthetic");
    add_json(b, "model_context", entry->model, "model_context");
    if (entry->last) {
        add_json(b, "threads", entry->last, "threads");
        add_json(b, "isa", entry->last, "isa");
        add_json(b, "backend", entry->last, "backend");
        add_json(b, "context", entry->last, "context");
        add_condition(b, "peak", "%s", peak_name(entry));
        add_json(b, "gpu", entry->last, "gpu_name");
        add_json(b, "energy_source", entry->last, "energy_source");
    } else {
        /* What was asked for, or what that would have been. */
        bool cuda = session->device && strncmp(session->device, "cuda", 4) == 0;
        add_condition(b, "threads", "%d", session->threads ? session->threads : pare_pool_cores());
        add_condition(b, "backend", "%s", cuda ? "cuda" : "cpu");
        if (!cuda)
            add_condition(b, "isa", "%s",
                          session->isa ? session->isa : pare_isa_name(pare_isa_best()));
    }
    add_condition(b, "activations", "%s",
                  session->activations == PARE_ACTIVATIONS_FAST ? "fast" : "f32");
    add_condition(b, "kv_type", "%s", pare_type_name(session->kv_type));
    add_condition(b, "kv_cache", "%s", session->no_kv_cache ? "off" : "on");
    add_condition(b, "n_prompt", "%lld", (long long)config->n_prompt);
    add_condition(b, "n_gen", "%lld", (long long)config->n_gen);
    add_condition(b, "depth", "%lld", (long long)config->depth);
    add_condition(b, "batch", "%.0f", pare_bench_batch(config));
    add_condition(b, "seed", "%llu", (unsigned long long)options->seed);
    add_fact(b, "machine", hw, "cpu_name");
    add_condition(b, "machine_id", "%s", pare_hw_fingerprint(hw));
    add_fact(b, "governor", hw, "governor");
    add_fact(b, "kernel", hw, "kernel");
    add_fact(b, "compiler", hw, "compiler");
    add_condition(b, "version", "%s", pare_version());
    add_condition(b, "commit", "%s", pare_commit());
}

/* The caller's own conditions, whose strings may not outlive the call. */
static void add_extra(pare_bench_builder *b)
{
    const pare_condition *extra = b->extra;
    int count = b->extra_count;
    b->extra_count = 0;
    for (int i = 0; i < count && b->condition_count < PARE_BENCH_MOST_CONDITIONS; i++) {
        const char *key = pare_arena_copy(&b->arena, extra[i].key, strlen(extra[i].key));
        if (key)
            add_condition(b, key, "%s", extra[i].value);
        else
            b->status = PARE_OUT_OF_MEMORY;
    }
}

pare_status pare_bench_make_result(const pare_bench_entry *entry, const pare_bench_options *options,
                                   const pare_hw *hw, const char *run, pare_bench_result *result)
{
    pare_bench_builder *b;
    *result = (pare_bench_result){0};
    pare_status status = pare_allocate(1, sizeof *b, "a result", &b);
    if (status != PARE_OK)
        return status;
    b->extra = entry->config->conditions;
    b->extra_count = entry->config->condition_count;
    add_metrics(b, entry, options);
    add_conditions(b, entry, options, hw);
    if (*run)
        add_condition(b, "bench_run", "%s", run);
    if (*entry->round_samples)
        add_condition(b, "round_samples", "%s", entry->round_samples);
    add_extra(b);
    result->record = (pare_record){.kind = "bench",
                                   .metrics = b->metrics,
                                   .metric_count = b->metric_count,
                                   .conditions = b->conditions,
                                   .condition_count = b->condition_count};
    if (*entry->failure) {
        result->record.failure = pare_arena_copy(&b->arena, entry->failure, strlen(entry->failure));
        if (!result->record.failure)
            b->status = PARE_OUT_OF_MEMORY;
    }
    result->memory = b;
    status = b->status;
    if (status != PARE_OK)
        pare_bench_result_free(result);
    return status;
}

void pare_bench_result_free(pare_bench_result *result)
{
    pare_bench_builder *b = result->memory;
    if (b)
        pare_arena_free(&b->arena);
    free(b);
    *result = (pare_bench_result){0};
}
