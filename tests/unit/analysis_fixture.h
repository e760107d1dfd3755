/* A store with made-up results whose consequences can be worked out by hand. */
#ifndef PARE_TESTS_ANALYSIS_FIXTURE_H
#define PARE_TESTS_ANALYSIS_FIXTURE_H

#include "base/random.h"

#include <pare/analysis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIXTURE_SAMPLES = 12, FIXTURE_WINDOWS = 16, FIXTURE_METRICS = 24, FIXTURE_CONDITIONS = 40 };

typedef struct fixture_record {
    pare_metric metrics[FIXTURE_METRICS];
    pare_condition conditions[FIXTURE_CONDITIONS];
    double samples[FIXTURE_METRICS][FIXTURE_WINDOWS];
    pare_record record;
} fixture_record;

/* One recipe of one model, as numbers. */
typedef struct fixture_cell {
    const char *study, *model, *recipe, *workload, *backend, *machine, *run;
    double speed, spread;   /* decode tokens/s; relative half-width of its interval and samples */
    double bytes, loss;     /* peak memory; of perplexity. loss < -1: not evaluated */
    double joules, billion; /* joules < 0: absent; parameters */
    const char *kv_cache;
} fixture_cell;

static inline void fixture_condition(fixture_record *f, const char *key, const char *value)
{
    if (value)
        f->conditions[f->record.condition_count++] = (pare_condition){key, value};
}

static inline pare_metric *fixture_metric(fixture_record *f, const char *name, double value,
                                          double half)
{
    pare_metric *m = &f->metrics[f->record.metric_count++];
    *m = (pare_metric){.name = name, .unit = "x", .measure = {value, value - half, value + half}};
    return m;
}

static inline void fixture_start(fixture_record *f, const char *kind)
{
    memset(f, 0, sizeof *f);
    f->record = (pare_record){.kind = kind, .metrics = f->metrics, .conditions = f->conditions};
}

static inline void fixture_common(fixture_record *f, const fixture_cell *c, const char *id)
{
    fixture_condition(f, "study", c->study);
    fixture_condition(f, c->study ? "cell" : "unused", id);
    fixture_condition(f, "model", c->model);
    fixture_condition(f, "label", c->study ? c->recipe : NULL);
    fixture_condition(f, "recipe", c->study ? c->recipe : NULL);
    fixture_condition(f, "format", c->recipe);
    fixture_condition(f, "machine", c->machine ? c->machine : "box");
    fixture_condition(f, "machine_id", c->machine ? c->machine : "box");
}

static inline void fixture_bench(pare_store *store, const fixture_cell *c)
{
    static fixture_record f;
    static char id[256], parameters[32], prompt[16];
    pare_random random = {(uint64_t)(c->speed * 1000)};
    fixture_start(&f, "bench");
    snprintf(id, sizeof id, "%s/%s/%s/%s", c->model, c->recipe, c->backend ? c->backend : "cpu",
             c->workload ? c->workload : "chat");
    snprintf(parameters, sizeof parameters, "%.0f", c->billion * 1e9);
    snprintf(prompt, sizeof prompt, "%d", 32);
    fixture_common(&f, c, id);
    fixture_condition(&f, "backend", c->backend ? c->backend : "cpu");
    fixture_condition(&f, "parameters", parameters);
    fixture_condition(&f, "n_prompt", prompt);
    fixture_condition(&f, "n_gen", "8");
    fixture_condition(&f, "context", "40");
    fixture_condition(&f, "kv_type", "f16");
    fixture_condition(&f, "kv_cache", c->kv_cache ? c->kv_cache : "on");
    fixture_condition(&f, "bench_run", c->run);
    fixture_condition(&f, "round_samples", c->run ? "3,3,3,3" : NULL);
    pare_metric *speed =
        fixture_metric(&f, "decode_tokens_per_s", c->speed, c->spread * c->speed / 3);
    for (int i = 0; i < FIXTURE_SAMPLES; i++) {
        /* What disturbs all of one run alike, and a little of its own. */
        double common = 1 + c->spread * ((i * 5) % FIXTURE_SAMPLES - 5.5) / 5.5;
        f.samples[0][i] = c->speed * common * (1 + 0.002 * (pare_random_uniform(&random) - 0.5));
    }
    speed->samples = f.samples[0];
    speed->sample_count = FIXTURE_SAMPLES;
    fixture_metric(&f, "itl_ms_p50", 1000 / c->speed, 0);
    fixture_metric(&f, "peak_rss_bytes", c->bytes, 0);
    fixture_metric(&f, "weights_bytes", c->bytes * 0.75, 0);
    fixture_metric(&f, "kv_bytes", 1000, 0);
    fixture_metric(&f, "scratch_bytes", 2000, 0);
    fixture_metric(&f, "file_bytes", c->bytes * 0.7, 0);
    pare_metric *joules =
        fixture_metric(&f, "decode_joules_per_token", c->joules, 0.01 * c->joules);
    if (c->joules < 0) {
        joules->measure = (pare_measure){.absent = true};
        joules->absent_reason = "no counters";
    }
    if (pare_store_add(store, &f.record, NULL) != PARE_OK)
        abort();
}

/* The windows' losses differ far more from each other than recipes do. */
static inline void fixture_eval(pare_store *store, const fixture_cell *c)
{
    static fixture_record f;
    static char id[256];
    fixture_start(&f, "eval");
    snprintf(id, sizeof id, "%s/%s", c->model, c->recipe);
    fixture_common(&f, c, id);
    fixture_condition(&f, "text", "t.txt");
    fixture_condition(&f, "protocol", "windows");
    fixture_condition(&f, "context", "64");
    fixture_condition(&f, "windows", "16");
    fixture_condition(&f, "against", c->model);
    pare_random random = {7 + (uint64_t)(c->loss * 1e4)};
    double mean = 0;
    for (int w = 0; w < FIXTURE_WINDOWS; w++) {
        f.samples[0][w] = 3 + 0.5 * ((w * 7) % FIXTURE_WINDOWS) / FIXTURE_WINDOWS + log1p(c->loss) +
                          0.001 * (pare_random_uniform(&random) - 0.5);
        mean += f.samples[0][w] / FIXTURE_WINDOWS;
    }
    pare_metric *nll = fixture_metric(&f, "mean_nll", mean, 0.08);
    nll->samples = f.samples[0];
    nll->sample_count = FIXTURE_WINDOWS;
    fixture_metric(&f, "perplexity", exp(mean), 0.08 * exp(mean));
    fixture_metric(&f, "perplexity_ratio", 1 + c->loss, 0.001);
    fixture_metric(&f, "kld_mean", c->loss > 0 ? c->loss / 2 : 0, 0.0001);
    if (pare_store_add(store, &f.record, NULL) != PARE_OK)
        abort();
}

static inline void fixture_add(pare_store *store, const fixture_cell *c)
{
    fixture_bench(store, c);
    if (c->loss > -1)
        fixture_eval(store, c);
}

#endif
