/* Measuring the cells of one model: interleaved, in random order, each in a process of its own. */
#include "cli/record.h"
#include "cli/session_args.h"
#include "cli/study.h"

#include <pare/bench.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct measuring {
    cli_study *study;
    study_pipe *pipe;
    const int *steps; /* of the configurations */
    pare_bench_config *configs;
    study_conditions *conditions;
    char (*paths)[PATH_MAX];
    char (*keys)[STUDY_KEY_BYTES];
    int count;
} measuring;

/* Why a workload cannot be measured; NULL where it can. */
const char *study_refusal(const cli_study *s, const pare_study_step *step)
{
    const pare_study_workload *w = &s->file->workloads[step->workload];
    if (pare_type_from_name(w->kv_type) == PARE_TYPE_COUNT)
        return "kv_type is no format";
    return NULL;
}

static void configure(measuring *m, int step_index)
{
    cli_study *s = m->study;
    const pare_study_step *step = &s->plan.steps[step_index];
    const pare_study_workload *w = &s->file->workloads[step->workload];
    int i = m->count++;
    study_file_path(s, step, m->paths[i]);
    snprintf(m->keys[i], STUDY_KEY_BYTES, "%s-%lld", step->hash, (long long)s->fresh);
    study_describe(s, step, &m->conditions[i]);
    m->configs[i] = pare_bench_config_default(m->paths[i]);
    pare_bench_config *c = &m->configs[i];
    c->key = m->keys[i];
    c->budget_s = (double)w->budget;
    c->repetitions = w->repetitions;
    c->n_prompt = w->prompt;
    c->n_gen = w->generate;
    c->depth = w->depth;
    c->session.threads = (int)(w->threads ? w->threads : s->common.threads);
    c->session.isa = w->isa ? w->isa : s->common.isa;
    c->session.device = s->file->backends[step->backend];
    c->session.batch = w->batch;
    c->session.kv_type = pare_type_from_name(w->kv_type);
    c->session.no_kv_cache = w->kv_cache_off;
    c->session.activations = w->activations ? PARE_ACTIVATIONS_F32 : PARE_ACTIVATIONS_FAST;
    c->conditions = m->conditions[i].items;
    c->condition_count = m->conditions[i].count;
}

static pare_status store_one(void *user, int index, const pare_record *record)
{
    measuring *m = user;
    cli_study *s = m->study;
    if (cli_store_record(s->command, &s->common, record))
        return PARE_IO;
    study_pipe_done(m->pipe, m->steps[index]);
    return PARE_OK;
}

static pare_status run_all(measuring *m, const pare_hw_limits *limits, const char *journal)
{
    cli_study *s = m->study;
    pare_bench_result *results = calloc((size_t)m->count, sizeof *results);
    pare_bench_options options = pare_bench_options_default();
    if (!results)
        return PARE_OUT_OF_MEMORY;
    options.rounds = (int)s->file->rounds;
    options.timeout_s = (double)s->file->timeout;
    options.seed = (uint64_t)s->file->seed;
    options.limits = limits;
    options.progress = &m->pipe->progress;
    options.journal = journal;
    options.each = store_one;
    options.each_user = m;
    pare_status status = pare_bench_run(m->configs, m->count, &options, results);
    for (int i = 0; i < m->count; i++)
        pare_bench_result_free(&results[i]);
    free(results);
    return status;
}

static bool allocate(measuring *m, int count)
{
    m->configs = calloc((size_t)count, sizeof *m->configs);
    m->conditions = calloc((size_t)count, sizeof *m->conditions);
    m->paths = calloc((size_t)count, sizeof *m->paths);
    m->keys = calloc((size_t)count, sizeof *m->keys);
    return m->configs && m->conditions && m->paths && m->keys;
}

int study_do_bench(cli_study *s, const int *steps, int count, study_pipe *pipe)
{
    measuring m = {.study = s, .pipe = pipe, .steps = steps};
    char journal[PATH_MAX];
    pare_hw_limits limits;
    cli_common quiet = s->common;
    quiet.quiet = true;
    snprintf(journal, PATH_MAX, "%s/rounds", s->work_path);
    bool known = cli_limits_get(s->command, &quiet, (int)s->common.threads, &limits) == PARE_OK;
    pare_status status = allocate(&m, count) ? PARE_OK : PARE_OUT_OF_MEMORY;
    for (int i = 0; status == PARE_OK && i < count; i++)
        configure(&m, steps[i]);
    if (status == PARE_OK)
        status = run_all(&m, known ? &limits : NULL, journal);
    if (status == PARE_INVALID_ARGUMENT || status == PARE_OUT_OF_MEMORY)
        study_pipe_fail(pipe, pare_error_message());
    free(m.configs);
    free(m.conditions);
    free(m.paths);
    free(m.keys);
    return status == PARE_OK ? 0 : status == PARE_IO ? STUDY_STORE_FAILED : 1;
}
