/* The parent: starts the measuring processes, interleaved, and survives whatever they do.
 * docs/protocol.md. */
#include "base/buffer.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/memory.h"
#include "bench/journal.h"
#include "bench/process.h"
#include "bench/result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BANDWIDTH_SAMPLES = 3, SEVERAL_ROUNDS = 4 };
#define POLL_SECONDS 0.1 /* how soon a wish to stop is noticed */

typedef struct bench {
    const pare_bench_options *options;
    pare_bench_entry *entries;
    pare_bench_result *results;
    pare_hw *hw;
    int count, rounds;
    double done, steps; /* for the progress */
    char run[40];       /* "" for a single configuration */
} bench;

pare_bench_config pare_bench_config_default(const char *model)
{
    pare_bench_config config = {
        .model = model, .session = pare_session_options_default(), .n_prompt = 512, .n_gen = 128};
    config.session.activations = PARE_ACTIVATIONS_FAST;
    return config;
}

pare_bench_options pare_bench_options_default(void)
{
    return (pare_bench_options){.budget_s = 10, .timeout_s = 3600, .seed = 1};
}

static pare_status check(const pare_bench_config *config)
{
    int64_t most = (int64_t)1 << 30;
    if (!config->model)
        return pare_fail(PARE_INVALID_ARGUMENT, "a configuration names no model");
    if (config->n_prompt < 0 || config->n_gen < 0 || config->depth < 0 ||
        config->n_prompt + config->n_gen == 0)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "%s: nothing to measure: %lld prompt tokens, %lld to generate",
                         config->model, (long long)config->n_prompt, (long long)config->n_gen);
    if (config->n_prompt > most || config->n_gen > most || config->depth > most)
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: more than 2^30 tokens", config->model);
    return PARE_OK;
}

static pare_status tell(bench *b, double within, const char *what)
{
    const pare_progress *progress = b->options->progress;
    if (progress && progress->update &&
        !progress->update(progress->user, b->done + within, b->steps, what))
        return pare_fail(PARE_CANCELLED, "measuring was stopped");
    return PARE_OK;
}

static void fail_entry(pare_bench_entry *entry, const char *reason)
{
    if (!*entry->failure)
        snprintf(entry->failure, sizeof entry->failure, "%s", reason);
}

/* ---- one process ---- */

typedef struct conversation {
    bench *bench;
    pare_bench_entry *entry;
    pare_process process;
    double deadline;
    json_t *answer; /* the last message: "model" or "done" */
    bool over;
} conversation;

static void measure_bandwidth(pare_bench_entry *entry, int threads)
{
    pare_hw_bandwidth *probe;
    pare_hw_limit limit;
    if (pare_hw_bandwidth_create(threads, &probe) != PARE_OK)
        return; /* too little memory beside the model: the share is then absent */
    if (pare_hw_bandwidth_measure(probe, BANDWIDTH_SAMPLES, &limit) == PARE_OK)
        (void)pare_bench_series_add(&entry->bandwidth, limit.median);
    pare_hw_bandwidth_free(probe);
}

static pare_status hear(conversation *c, const char *line)
{
    json_error_t error;
    json_t *message = json_loads(line, 0, &error);
    const char *event = json_string_value(json_object_get(message, "event"));
    pare_status status = PARE_OK;
    if (!event) {
        fail_entry(c->entry, "the measuring process says what is not understood");
        c->over = true;
    } else if (strcmp(event, "progress") == 0) {
        status = tell(c->bench, json_number_value(json_object_get(message, "share")),
                      c->entry->config->model);
    } else if (strcmp(event, "ready") == 0) {
        measure_bandwidth(c->entry, (int)json_integer_value(json_object_get(message, "threads")));
        pare_process_send(&c->process, "go");
    } else if (strcmp(event, "error") == 0) {
        const char *text = json_string_value(json_object_get(message, "message"));
        fail_entry(c->entry, text ? text : "failed without a message");
        c->over = true;
    } else {
        c->answer = json_incref(message);
        c->over = true;
    }
    json_decref(message);
    return status;
}

static pare_status listen(conversation *c)
{
    while (!c->over) {
        char *line;
        if (pare_process_line(&c->process, POLL_SECONDS, &line) != PARE_OK)
            return PARE_OK; /* gone: how it ended is told by its exit */
        pare_status status = line ? hear(c, line) : tell(c->bench, 0, c->entry->config->model);
        free(line);
        if (status != PARE_OK)
            return status;
        if (pare_seconds() > c->deadline) {
            char reason[96];
            snprintf(reason, sizeof reason, "took longer than %.0f s",
                     c->bench->options->timeout_s);
            fail_entry(c->entry, reason);
            return PARE_OK;
        }
    }
    return PARE_OK;
}

/* *answer: the final message, NULL where the entry failed. Fails only where the whole bench should
 * end. */
static pare_status converse(bench *b, pare_bench_entry *entry, const pare_bench_task *task,
                            json_t **answer)
{
    static const char *const self[] = {"/proc/self/exe", "bench", "--child", NULL};
    conversation c = {
        .bench = b, .entry = entry, .deadline = pare_seconds() + b->options->timeout_s};
    char *text = pare_bench_task_text(task), reason[160];
    *answer = NULL;
    if (!text) {
        fail_entry(entry, "its name is not valid UTF-8");
        return PARE_OK;
    }
    pare_status status =
        pare_process_start(b->options->child ? b->options->child : self, &c.process);
    if (status == PARE_OK) {
        pare_process_send(&c.process, text);
        status = listen(&c);
    }
    free(text);
    pare_process_end(&c.process, status != PARE_OK || (*entry->failure && !c.over), reason);
    if (!c.answer)
        fail_entry(entry, *reason ? reason : "the measuring process ended without a result");
    *answer = c.answer;
    return status;
}

static pare_bench_task make_task(const bench *b, const pare_bench_config *config)
{
    pare_bench_task task = {.model = (char *)config->model,
                            .session = config->session,
                            .n_prompt = config->n_prompt,
                            .n_gen = config->n_gen,
                            .depth = config->depth,
                            .seed = b->options->seed};
    task.budget_s = (config->budget_s > 0 ? config->budget_s : b->options->budget_s) / b->rounds;
    /* All rounds together make the repetitions asked for, or one each where there are more rounds.
     */
    int64_t repetitions = config->repetitions ? config->repetitions : b->options->repetitions;
    task.repetitions = (repetitions + b->rounds - 1) / b->rounds;
    if (!task.session.context)
        task.session.context = config->depth + config->n_prompt + config->n_gen;
    return task;
}

/* One file may be measured under several conditions: it is opened and hashed once. */
static pare_status describe(bench *b, int index)
{
    pare_bench_entry *entry = &b->entries[index];
    pare_bench_task task = make_task(b, entry->config);
    for (int i = 0; i < index; i++)
        if (b->entries[i].model && strcmp(b->entries[i].config->model, entry->config->model) == 0) {
            entry->model = json_incref(b->entries[i].model);
            return PARE_OK;
        }
    task.describe = true;
    return converse(b, entry, &task, &entry->model);
}

static pare_status run_round(bench *b, pare_bench_entry *entry, int round)
{
    const char *journal = entry->config->key ? b->options->journal : NULL;
    pare_bench_task task = make_task(b, entry->config);
    size_t first = entry->bandwidth.count;
    pare_status status = PARE_OK;
    if (*entry->failure)
        return PARE_OK; /* what crashed once is not tried again */
    json_t *report =
        journal ? pare_bench_journal_load(journal, entry->config->key, round, &entry->bandwidth)
                : NULL;
    bool kept = report != NULL;
    if (!kept)
        status = converse(b, entry, &task, &report);
    if (status == PARE_OK && report) {
        status = pare_bench_entry_add(entry, report);
        if (!kept)
            measure_bandwidth(entry, (int)json_integer_value(json_object_get(report, "threads")));
        pare_bench_series_end_round(&entry->bandwidth);
        if (status == PARE_OK && journal && !kept)
            pare_bench_journal_save(journal, entry->config->key, round, report, &entry->bandwidth,
                                    first);
    }
    json_decref(report);
    return status;
}

static pare_status finish(bench *b, int index)
{
    const pare_bench_entry *entry = &b->entries[index];
    pare_bench_result *result = &b->results[index];
    pare_status status = pare_bench_make_result(entry, b->options, b->hw, b->run, result);
    if (status == PARE_OK && b->options->each)
        status = b->options->each(b->options->each_user, index, &result->record);
    if (status == PARE_OK && b->options->journal && entry->config->key)
        pare_bench_journal_remove(b->options->journal, entry->config->key, b->rounds);
    return status;
}

/* A B, B A, A B, ...: what drifts meets all alike. */
static pare_status run_rounds(bench *b)
{
    pare_status status = PARE_OK;
    for (int i = 0; status == PARE_OK && i < b->count; i++) {
        status = describe(b, i);
        b->done += 0.1;
    }
    for (int round = 0; status == PARE_OK && round < b->rounds; round++)
        for (int i = 0; status == PARE_OK && i < b->count; i++) {
            int at = round % 2 ? b->count - 1 - i : i;
            status = run_round(b, &b->entries[at], round);
            if (status == PARE_OK && round == b->rounds - 1)
                status = finish(b, at);
            b->done += 1;
        }
    return status;
}

/* Configurations that were measured beside each other share it. */
static void name_run(char run[40])
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(run, 40, "%llx-%x", (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000,
             (unsigned)getpid());
}

pare_status pare_bench_run(const pare_bench_config *configs, int count,
                           const pare_bench_options *options, pare_bench_result *results)
{
    bench b = {.options = options, .count = count, .results = results};
    pare_status status;
    b.rounds = options->rounds > 0 ? options->rounds : count > 1 ? SEVERAL_ROUNDS : 1;
    b.steps = count * (b.rounds + 0.1);
    if (count > 1)
        name_run(b.run);
    for (int i = 0; i < count; i++)
        results[i] = (pare_bench_result){0};
    for (int i = 0; i < count; i++)
        PARE_TRY(check(&configs[i]));
    if (b.rounds > PARE_BENCH_MOST_ROUNDS)
        return pare_fail(PARE_INVALID_ARGUMENT, "%d rounds: at most %d", b.rounds,
                         PARE_BENCH_MOST_ROUNDS);
    PARE_TRY(pare_hw_probe(&b.hw));
    PARE_TRY(pare_allocate((size_t)count, sizeof *b.entries, "configurations", &b.entries));
    for (int i = 0; i < count; i++)
        b.entries[i].config = &configs[i];
    PARE_TRY(run_rounds(&b));
fail:
    for (int i = 0; b.entries && i < count; i++)
        pare_bench_entry_free(&b.entries[i]);
    for (int i = 0; status != PARE_OK && i < count; i++)
        pare_bench_result_free(&results[i]);
    free(b.entries);
    pare_hw_free(b.hw);
    return status;
}
