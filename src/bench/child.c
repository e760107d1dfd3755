/* The measuring process: one configuration, alone. docs/protocol.md, "A round". */
#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench/message.h"
#include "bench/sensors.h"
#include "bench/stats.h"
#include "model/decoder.h"

#include <pare/bench.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { WARM_UPS_MOST = 6, WARM_UP_TOKENS = 8, AUTOMATIC_LEAST = 3, AUTOMATIC_MOST = 100 };

typedef struct child {
    FILE *in;
    int out;
    pare_bench_task task;
    pare_model *model;
    pare_session *session;
    int64_t batch, each;
    int32_t *ids;  /* [batch][each]: depth + n_prompt + n_gen random ones of every sequence */
    int32_t *step; /* [batch]: those of one step */
    float *logits; /* [batch, vocab] */
    volatile int32_t chosen; /* keeps the choice from being optimized away */
    double load_s;
    pare_bench_series prefill, decode, tokens; /* seconds: a repetition's, and each token's */
    double other_cpu_share;
    pare_bench_sensors sensors;
} child;

/* ---- talking ---- */

static void send_line(child *c, json_t *message)
{
    char *text = message ? json_dumps(message, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(message);
    if (!text)
        return; /* out of memory: the parent sees the silence and the exit code */
    size_t left = strlen(text);
    text[left++] = '\n'; /* the NUL is not sent */
    for (const char *at = text; left;) {
        ssize_t sent = write(c->out, at, left);
        if (sent <= 0)
            break;
        at += sent;
        left -= (size_t)sent;
    }
    free(text);
}

static json_t *numbers(const pare_bench_series *series)
{
    json_t *array = json_array();
    for (size_t i = 0; i < series->count; i++)
        json_array_append_new(array, json_real(series->values[i]));
    return array;
}

static pare_status read_line(child *c, char **line)
{
    size_t capacity = 0;
    *line = NULL;
    if (getline(line, &capacity, c->in) < 0)
        return pare_fail(PARE_IO, "the measuring process was told nothing");
    return PARE_OK;
}

/* ---- loading ---- */

static pare_status load(child *c)
{
    double start = pare_seconds();
    pare_status status = pare_model_open(c->task.model, &c->model);
    if (status == PARE_OK && !c->task.describe)
        status = pare_session_create(c->model, &c->task.session, &c->session);
    c->load_s = pare_seconds() - start;
    return status;
}

static pare_status make_ids(child *c)
{
    int64_t vocab = pare_model_get_info(c->model)->vocab;
    c->batch = pare_session_batch(c->session);
    c->each = c->task.depth + c->task.n_prompt + c->task.n_gen;
    size_t batch = (size_t)c->batch, count = batch * (size_t)c->each;
    pare_random random = {c->task.seed};
    pare_status status;
    PARE_TRY(pare_allocate(count, sizeof *c->ids, "token ids", &c->ids));
    PARE_TRY(pare_allocate(batch, sizeof *c->step, "token ids", &c->step));
    PARE_TRY(pare_allocate(batch * (size_t)vocab, sizeof *c->logits, "logits", &c->logits));
    for (size_t i = 0; i < count; i++)
        c->ids[i] = (int32_t)pare_random_below(&random, (uint64_t)vocab);
fail:
    return status;
}

/* What the parent needs to know of the model. The elements of the blocks' matrices are what a
 * prefill multiplies with. */
static json_t *describe(const pare_model *model, const char *hash)
{
    const pare_model_info *info = pare_model_get_info(model);
    int64_t matrix = 0;
    for (size_t i = 0; i < model->tensor_count; i++)
        if (pare_model_is_block_matrix(model, &model->tensors[i]))
            matrix += pare_tensor_elements(&model->tensors[i]);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:b, s:b}", "event",
                     "model", "hash", hash, "name", info->name, "architecture", info->architecture,
                     "format", info->format, "model_context", (json_int_t)info->context,
                     "parameters", (json_int_t)info->parameters, "file_bytes",
                     (json_int_t)info->weights_bytes, "matrix_parameters", (json_int_t)matrix,
                     "bits_per_weight", info->bits_per_weight, "synthetic", info->synthetic,
                     "quantized", info->quantized);
}

static pare_status run_description(child *c)
{
    char hash[65];
    pare_status status;
    PARE_TRY(load(c));
    PARE_TRY(pare_model_hash(c->model, hash));
    send_line(c, describe(c->model, hash));
fail:
    return status;
}

/* ---- measuring ---- */

/* The choice belongs to the latency of a token; what is fed next are the random ids all the same.
 */
static int32_t choose(const float *logits, int64_t vocab)
{
    int64_t best = 0;
    for (int64_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

static pare_status forward_and_choose(child *c, const int32_t *ids, int64_t n, double *seconds)
{
    double start = pare_seconds();
    int32_t chosen = 0;
    pare_status status;
    if (n == 1 && strcmp(pare_session_backend(c->session), "cuda") == 0) {
        status = pare_session_greedy(c->session, ids[0], 1, &chosen); /* chooses on the device */
    } else {
        status = pare_session_forward(c->session, ids, n);
        if (status == PARE_OK)
            status = pare_session_logits(c->session, n - 1, 1, c->logits);
        if (status == PARE_OK)
            chosen = choose(c->logits, pare_model_get_info(c->model)->vocab);
    }
    c->chosen = chosen;
    *seconds = pare_seconds() - start;
    return status;
}

/* The prompts of all sequences, one after the other; each up to its first choice. */
static pare_status prefill(child *c, double *seconds)
{
    *seconds = 0;
    for (int64_t s = 0; s < c->batch; s++) {
        const int32_t *prompt = c->ids + s * c->each + c->task.depth;
        double one;
        pare_status status = pare_session_select(c->session, s);
        if (status == PARE_OK)
            status = forward_and_choose(c, prompt, c->task.n_prompt, &one);
        if (status != PARE_OK)
            return status;
        *seconds += one;
    }
    return PARE_OK;
}

/* Generated token `index` of all sequences, in one pass. */
static pare_status decode(child *c, int64_t index, double *seconds)
{
    int64_t vocab = pare_model_get_info(c->model)->vocab;
    int64_t at = c->task.depth + c->task.n_prompt + index;
    bool on_gpu = strcmp(pare_session_backend(c->session), "cuda") == 0;
    if (c->batch == 1)
        return forward_and_choose(c, c->ids + at, 1, seconds);
    for (int64_t s = 0; s < c->batch; s++)
        c->step[s] = c->ids[s * c->each + at];
    double start = pare_seconds();
    pare_status status = pare_session_forward_batch(c->session, c->step);
    if (status == PARE_OK && on_gpu) /* chooses on the device */
        status = pare_session_best(c->session, 0, c->batch, c->step);
    else if (status == PARE_OK)
        status = pare_session_logits(c->session, 0, c->batch, c->logits);
    for (int64_t s = 0; s < c->batch && status == PARE_OK && !on_gpu; s++)
        c->chosen = choose(c->logits + s * vocab, vocab);
    *seconds = pare_seconds() - start;
    return status;
}

static pare_status rewind_all(child *c)
{
    pare_status status = PARE_OK;
    for (int64_t s = 0; s < c->batch && status == PARE_OK; s++) {
        status = pare_session_select(c->session, s);
        if (status == PARE_OK)
            status = pare_session_rollback(c->session, c->task.depth);
    }
    return status;
}

/* The tokens that the caches hold before. */
static pare_status fill_all(child *c)
{
    pare_status status = PARE_OK;
    for (int64_t s = 0; s < c->batch && c->task.depth && status == PARE_OK; s++) {
        status = pare_session_select(c->session, s);
        if (status == PARE_OK)
            status = pare_session_forward(c->session, c->ids + s * c->each, c->task.depth);
    }
    return status;
}

/* One prefill and `n_gen` decoded tokens from the same position each time; `keep` records them. */
static pare_status repeat(child *c, int64_t n_gen, bool keep)
{
    double seconds, total = 0;
    pare_bench_moment at[3] = {{0}};
    pare_status status;
    PARE_TRY(rewind_all(c));
    if (keep)
        at[0] = pare_bench_sensors_now(&c->sensors);
    if (c->task.n_prompt) {
        PARE_TRY(prefill(c, &seconds));
        if (keep)
            PARE_TRY(pare_bench_series_add(&c->prefill, seconds));
    }
    if (keep)
        at[1] = pare_bench_sensors_now(&c->sensors);
    for (int64_t i = 0; i < n_gen; i++) {
        PARE_TRY(decode(c, i, &seconds));
        total += seconds;
        if (keep)
            PARE_TRY(pare_bench_series_add(&c->tokens, seconds));
    }
    if (keep) {
        at[2] = pare_bench_sensors_now(&c->sensors);
        if (n_gen)
            PARE_TRY(pare_bench_series_add(&c->decode, total));
        PARE_TRY(pare_bench_sensors_keep(&c->sensors, at, c->task.n_prompt > 0, n_gen > 0));
    }
fail:
    return status;
}

/* Until a repetition takes within 5 % of the one before, or a fifth of the budget is gone. */
static pare_status warm_up(child *c)
{
    int64_t n_gen = c->task.n_gen < WARM_UP_TOKENS ? c->task.n_gen : WARM_UP_TOKENS;
    double start = pare_seconds(), last = 0;
    for (int i = 0; i < WARM_UPS_MOST; i++) {
        double before = pare_seconds();
        pare_status status = repeat(c, n_gen, false);
        double now = pare_seconds(), took = now - before;
        if (status != PARE_OK)
            return status;
        if (now - start > c->task.budget_s / 5 || (i && took < 1.05 * last && last < 1.05 * took))
            break;
        last = took;
    }
    return PARE_OK;
}

static bool is_narrow(const pare_bench_series *series, bool wanted)
{
    pare_summary summary;
    if (!wanted)
        return true;
    if (series->count < 6 || pare_summarize(series->values, series->count, &summary) != PARE_OK)
        return false; /* fewer cannot give a 95 % interval */
    return summary.median.high - summary.median.low < 0.02 * summary.median.value;
}

typedef struct cpu_times {
    double total, busy,
        own; /* seconds over all CPUs; busy includes what the hypervisor gave to others */
} cpu_times;

/* /proc/stat, first line: user nice system idle iowait irq softirq steal (clock ticks). */
static cpu_times read_cpu_times(void)
{
    double v[8] = {0}, ticks = (double)sysconf(_SC_CLK_TCK);
    cpu_times times = {0};
    struct rusage usage;
    FILE *file = fopen("/proc/stat", "re");
    if (file && fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &v[0], &v[1], &v[2], &v[3],
                       &v[4], &v[5], &v[6], &v[7]) == 8) {
        for (int i = 0; i < 8; i++)
            times.total += v[i] / ticks;
        times.busy = times.total - (v[3] + v[4]) / ticks;
    }
    if (file)
        fclose(file);
    getrusage(RUSAGE_SELF, &usage);
    times.own = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return times;
}

/* How much of all CPUs others used meanwhile: what makes a result doubtful. */
static double other_share(cpu_times from, cpu_times to)
{
    double total = to.total - from.total, other = (to.busy - from.busy) - (to.own - from.own);
    if (total <= 0)
        return -1; /* too short for the clock ticks, or not told */
    return other < 0 ? 0 : other / total;
}

static pare_status measure(child *c)
{
    cpu_times before = read_cpu_times();
    double start = pare_seconds();
    int64_t fixed = c->task.repetitions, most = fixed ? fixed : AUTOMATIC_MOST;
    for (int64_t i = 0; i < most; i++) {
        pare_status status = repeat(c, c->task.n_gen, true);
        if (status != PARE_OK)
            return status;
        double elapsed = pare_seconds() - start, share = elapsed / c->task.budget_s;
        bool enough = is_narrow(&c->prefill, c->task.n_prompt > 0) &&
                      is_narrow(&c->decode, c->task.n_gen > 0);
        if (!fixed && i + 1 >= AUTOMATIC_LEAST && (enough || share >= 1))
            break;
        if (fixed)
            share = (double)(i + 1) / (double)fixed;
        send_line(c, json_pack("{s:s, s:f}", "event", "progress", "share", share > 1 ? 1 : share));
    }
    c->other_cpu_share = other_share(before, read_cpu_times());
    return PARE_OK;
}

static json_t *report(child *c)
{
    pare_session_memory memory = pare_session_get_memory(c->session);
    json_t *message = json_pack(
        "{s:s, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:i, s:s, s:s}", "event", "done", "load_s",
        c->load_s, "peak_rss_bytes", pare_proc_bytes("/proc/self/status", "VmHWM:"),
        "anonymous_rss_bytes", pare_proc_bytes("/proc/self/status", "RssAnon:"), "weights_bytes",
        (json_int_t)memory.weights_bytes, "kv_bytes", (json_int_t)memory.kv_bytes, "scratch_bytes",
        (json_int_t)memory.scratch_bytes, "decode_bytes", (json_int_t)memory.decode_bytes,
        "context", (json_int_t)pare_session_context(c->session), "threads",
        pare_session_threads(c->session), "isa", pare_session_isa(c->session), "backend",
        pare_session_backend(c->session));
    json_object_set_new(message, "prefill_s", numbers(&c->prefill));
    json_object_set_new(message, "decode_s", numbers(&c->decode));
    json_object_set_new(message, "token_s", numbers(&c->tokens));
    json_object_set_new(message, "other_cpu_share", json_real(c->other_cpu_share));
    pare_bench_sensors_report(&c->sensors, message);
    return message;
}

static pare_status run_measurement(child *c)
{
    char *go = NULL;
    pare_status status;
    pare_bench_sensors_open(&c->sensors, c->task.session.device);
    PARE_TRY(load(c));
    PARE_TRY(make_ids(c));
    pare_bench_sensors_idle(&c->sensors);
    PARE_TRY(fill_all(c));
    PARE_TRY(warm_up(c));
    send_line(
        c, json_pack("{s:s, s:i}", "event", "ready", "threads", pare_session_threads(c->session)));
    PARE_TRY(read_line(c, &go)); /* the parent measures the bandwidth meanwhile */
    PARE_TRY(measure(c));
    send_line(c, report(c));
fail:
    free(go);
    return status;
}

int pare_bench_child(int fd)
{
    child c = {.out = fd, .in = fdopen(dup(fd), "r")};
    char *line = NULL;
    pare_status status =
        c.in ? read_line(&c, &line) : pare_fail(PARE_IO, "the measuring process has no parent");
    if (status == PARE_OK)
        status = pare_bench_task_parse(line, &c.task);
    if (status == PARE_OK)
        status = c.task.describe ? run_description(&c) : run_measurement(&c);
    if (status != PARE_OK)
        send_line(&c, json_pack("{s:s, s:s, s:s}", "event", "error", "status",
                                pare_status_name(status), "message", pare_error_message()));
    pare_bench_sensors_close(&c.sensors);
    pare_session_free(c.session);
    pare_model_close(c.model);
    pare_bench_task_free(&c.task);
    free(c.prefill.values);
    free(c.decode.values);
    free(c.tokens.values);
    free(c.ids);
    free(c.step);
    free(c.logits);
    free(line);
    if (c.in)
        fclose(c.in);
    return 0; /* a failure was told: a code other than 0 means that it could not be */
}
