/* pare bench: speed and memory of models, each in its own process. */
#include "cli/commands.h"
#include "cli/record.h"
#include "cli/session_args.h"
#include "cli/table.h"
#include "cli/term.h"

#include <pare/bench.h>
#include <pare/number.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct bench_arguments {
    int64_t n_prompt, n_gen, depth, context, batch, repetitions, rounds, seed;
    double budget, timeout;
    const char *activations, *kv_type, *kv_cache, *format;
    int64_t rows, columns;
    bool kernels, no_kv_cache, child, samples, no_store, no_limits;
} bench_arguments;

static int check(const cli_command *command, const bench_arguments *a,
                 pare_session_options *session)
{
    session->context = a->context;
    int code = cli_kv_cache(command, a->kv_cache, a->no_kv_cache, &session->no_kv_cache);
    if (code)
        return code;
    session->kv_type = pare_type_from_name(a->kv_type);
    if (session->kv_type == PARE_TYPE_COUNT)
        return cli_usage_error(command, "--kv-type: '%s' is no format", a->kv_type);
    if (strcmp(a->activations, "f32") != 0 && strcmp(a->activations, "fast") != 0)
        return cli_usage_error(command, "--activations: '%s' is neither f32 nor fast",
                               a->activations);
    session->activations = *a->activations == 'f' && a->activations[1] == 'a'
                               ? PARE_ACTIVATIONS_FAST
                               : PARE_ACTIVATIONS_F32;
    if (a->n_prompt < 0 || a->n_gen < 0 || a->depth < 0 || a->context < 0 ||
        a->n_prompt + a->n_gen == 0)
        return cli_usage_error(command,
                               "nothing to measure: -p and -n may not both be 0, nor negative");
    if (a->batch < 1 || a->batch > 1 << 16)
        return cli_usage_error(command, "--batch: use 1 to %d sequences", 1 << 16);
    session->batch = a->batch;
    if (a->repetitions < 0 || a->rounds < 0 || a->rounds > 100 || a->budget <= 0 || a->timeout <= 0)
        return cli_usage_error(
            command, "repetitions, rounds (at most 100), budget and timeout must be positive");
    return 0;
}

static const cli_column columns[] = {
    {"model", true},     {"format", true},      {"size", false},         {"bits", false},
    {"memory", false},   {"load ms", false},    {"prefill t/s", false},  {"of peak", false},
    {"first ms", false}, {"decode t/s", false}, {"of bandwidth", false}, {"token ms p50", false},
    {"p99", false},
};

static void add(cli_table *table, const pare_record *record, const char *name, pare_unit unit,
                bool interval)
{
    char text[PARE_NUMBER_BYTES];
    const pare_metric *metric = pare_record_metric(record, name);
    cli_table_add(table, metric ? pare_number(text, metric->measure, unit, interval) : "-");
}

static void print_table(const pare_bench_result *results, int count)
{
    cli_table table = {.columns = columns, .column_count = sizeof columns / sizeof *columns};
    for (int i = 0; i < count; i++) {
        const pare_record *r = &results[i].record;
        cli_table_add(&table, pare_record_condition(r, "model"));
        cli_table_add(&table, pare_record_condition(r, "format"));
        add(&table, r, "file_bytes", PARE_UNIT_BYTES, false);
        add(&table, r, "bits_per_weight", PARE_UNIT_BITS, false);
        add(&table, r, "peak_rss_bytes", PARE_UNIT_BYTES, false);
        add(&table, r, "load_ms", PARE_UNIT_RATE, false);
        add(&table, r, "prefill_tokens_per_s", PARE_UNIT_RATE, true);
        add(&table, r, "peak_share", PARE_UNIT_PERCENT, false);
        add(&table, r, "ttft_ms", PARE_UNIT_RATE, false);
        add(&table, r, "decode_tokens_per_s", PARE_UNIT_RATE, true);
        add(&table, r, "bandwidth_share", PARE_UNIT_PERCENT, false);
        add(&table, r, "itl_ms_p50", PARE_UNIT_RATE, false);
        add(&table, r, "itl_ms_p99", PARE_UNIT_RATE, false);
    }
    cli_table_print(&table, stdout);
    for (int i = 0; i < count; i++)
        if (results[i].record.failure)
            printf("%s: failed: %s\n", pare_record_condition(&results[i].record, "model"),
                   results[i].record.failure);
}

static const char *condition(const pare_record *record, const char *key)
{
    const char *value = pare_record_condition(record, key);
    return value ? value : "?";
}

/* Positions that a model was not made for are timed all the same, but it would write nonsense
 * there. */
static void print_long(const pare_record *r)
{
    long long made = atoll(condition(r, "model_context")),
              positions = atoll(condition(r, "depth")) + atoll(condition(r, "n_prompt")) +
                          atoll(condition(r, "n_gen"));
    if (!r->failure && made > 0 && positions > made)
        printf("%s: %lld positions, the model was made for %lld\n", condition(r, "model"),
               positions, made);
}

/* Others' work on the same machine shows up as noise, or worse, as a slower median. */
static void print_doubts(const pare_bench_result *results, int count)
{
    double most = 0;
    bool cached = false;
    for (int i = 0; i < count; i++) {
        const pare_metric *bandwidth = pare_record_metric(&results[i].record, "bandwidth_share");
        print_long(&results[i].record);
        cached |= bandwidth && !bandwidth->measure.absent && bandwidth->measure.value > 1;
        const pare_metric *share = pare_record_metric(&results[i].record, "other_cpu_share");
        if (share && !share->measure.absent && share->measure.value > most)
            most = share->measure.value;
    }
    if (cached)
        printf("more than the memory's bandwidth: weights are read from the processor's caches\n");
    if (most > 0.05)
        printf("the machine was not idle: other programs used up to %.0f %% of its processors "
               "meanwhile\n",
               100 * most);
}

/* What holds for all rows. */
static void print_conditions(const pare_bench_result *results, int count)
{
    char text[PARE_NUMBER_BYTES];
    for (int i = 0; i < count; i++) {
        const pare_record *r = &results[i].record;
        const pare_metric *bandwidth = pare_record_metric(r, "read_bandwidth_bytes_per_s");
        if (r->failure)
            continue;
        if (strcmp(condition(r, "batch"), "1") != 0)
            printf("%s sequences at once, each of ", condition(r, "batch"));
        printf("%s prompt tokens after %s, %s generated; %s activations, %s cache%s; %s threads, "
               "%s, %s",
               condition(r, "n_prompt"), condition(r, "depth"), condition(r, "n_gen"),
               condition(r, "activations"), condition(r, "kv_type"),
               strcmp(condition(r, "kv_cache"), "off") == 0 ? " (switched off)" : "",
               condition(r, "threads"), condition(r, "isa"), condition(r, "machine"));
        if (bandwidth && !bandwidth->measure.absent)
            printf("; reads %s/s", pare_number(text, bandwidth->measure, PARE_UNIT_BYTES, false));
        printf("\nmedian with its 95 %% interval; what cannot be measured is \"-\"\n");
        return;
    }
}

static int print_and_store(const cli_command *command, const cli_common *common,
                           const bench_arguments *a, pare_bench_result *results, int count)
{
    pare_record *records = calloc((size_t)count, sizeof *records);
    char now[32];
    time_t seconds = time(NULL);
    struct tm parts;
    int code = 0, failures = 0;
    gmtime_r(&seconds, &parts);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &parts);
    for (int i = 0; i < count; i++) {
        results[i].record.time = now;
        failures += results[i].record.failure != NULL;
        if (records)
            records[i] = results[i].record;
        if (common->json)
            code |= cli_record_print_json(&results[i].record, a->samples);
    }
    if (!common->json) {
        print_table(results, count);
        if (!common->quiet)
            print_conditions(results, count);
        print_doubts(results, count);
    }
    if (records && !a->no_store)
        code |= cli_store_records(command, common, records, count);
    free(records);
    for (int i = 0; i < count; i++)
        pare_bench_result_free(&results[i]);
    return failures ? 1 : code;
}

static int measure(const cli_command *command, const cli_common *common, const bench_arguments *a,
                   const cli_list *models, const pare_session_options *session)
{
    pare_bench_config *configs = calloc((size_t)models->count, sizeof *configs);
    pare_bench_result *results = calloc((size_t)models->count, sizeof *results);
    pare_hw_limits limits;
    cli_bar bar;
    pare_status status = configs && results ? PARE_OK : PARE_OUT_OF_MEMORY;
    if (status == PARE_OK && !a->no_limits)
        status = cli_limits_get(command, common, (int)common->threads, &limits);
    for (int i = 0; status == PARE_OK && i < models->count; i++) {
        configs[i] = pare_bench_config_default(models->items[i]);
        configs[i].session = *session;
        configs[i].n_prompt = a->n_prompt;
        configs[i].n_gen = a->n_gen;
        configs[i].depth = a->depth;
    }
    int code;
    if (status == PARE_OK) {
        cli_bar_start(&bar, common);
        pare_bench_options options = pare_bench_options_default();
        options.repetitions = a->repetitions;
        options.rounds = (int)a->rounds;
        options.budget_s = a->budget;
        options.timeout_s = a->timeout;
        options.seed = (uint64_t)a->seed;
        options.limits = a->no_limits ? NULL : &limits;
        options.progress = &bar.progress;
        status = pare_bench_run(configs, models->count, &options, results);
        cli_bar_end(&bar);
    }
    code = status == PARE_OK ? print_and_store(command, common, a, results, models->count)
                             : cli_failed(command, status);
    free(configs);
    free(results);
    return code;
}

/* ---- kernels ---- */

static const cli_column kernel_columns[] = {
    {"format", true},   {"activations", true},   {"isa", true},        {"tokens", false},
    {"us", false},      {"spread", false},       {"weights/s", false}, {"GOP/s", false},
    {"reads/s", false}, {"of bandwidth", false}, {"of peak", false},
};

typedef struct kernel_list {
    const cli_common *common;
    cli_table table;
} kernel_list;

static pare_status take_kernel(void *user, const pare_record *r)
{
    kernel_list *list = user;
    cli_table *table = &list->table;
    char text[32];
    if (list->common->json)
        return cli_record_print_json(r, false) ? PARE_OUT_OF_MEMORY : PARE_OK;
    const pare_metric *rate = pare_record_metric(r, "ops_per_s");
    cli_table_add(table, condition(r, "format"));
    cli_table_add(table, condition(r, "operand"));
    cli_table_add(table, condition(r, "isa"));
    cli_table_add(table, condition(r, "tokens"));
    add(table, r, "microseconds", PARE_UNIT_RATE, false);
    add(table, r, "weight_bytes_per_s", PARE_UNIT_BYTES, false);
    snprintf(text, sizeof text, "%.1f", rate ? rate->measure.value / 1e9 : 0);
    cli_table_add(table, text);
    add(table, r, "read_bandwidth_bytes_per_s", PARE_UNIT_BYTES, false);
    add(table, r, "bandwidth_share", PARE_UNIT_PERCENT, false);
    add(table, r, "peak_share", PARE_UNIT_PERCENT, false);
    return PARE_OK;
}

static int time_kernels(const cli_command *command, const cli_common *common,
                        const bench_arguments *a)
{
    kernel_list list = {.common = common, .table = {.columns = kernel_columns}};
    pare_hw_limits limits;
    cli_bar bar;
    list.table.column_count = sizeof kernel_columns / sizeof *kernel_columns;
    pare_bench_kernels_options options = pare_bench_kernels_options_default();
    pare_status status =
        a->no_limits ? PARE_OK : cli_limits_get(command, common, (int)common->threads, &limits);
    if (status == PARE_OK) {
        cli_bar_start(&bar, common);
        options.isa = common->isa;
        options.threads = (int)common->threads;
        options.format = a->format;
        options.rows = a->rows;
        options.columns = a->columns;
        options.limits = a->no_limits ? NULL : &limits;
        options.progress = &bar.progress;
        status = pare_bench_kernels(&options, take_kernel, &list);
        cli_bar_end(&bar);
    }
    if (list.table.cell_count)
        cli_table_print(&list.table, stdout);
    return status == PARE_OK ? 0 : cli_failed(command, status);
}

static int run(int argc, char **argv, const cli_command *command)
{
    bench_arguments a = {.n_prompt = 512,
                         .n_gen = 128,
                         .batch = 1,
                         .seed = 1,
                         .budget = 10,
                         .timeout = 3600,
                         .activations = "fast",
                         .kv_type = "f16",
                         .rows = 4096,
                         .columns = 4096};
    if (argc == 2 &&
        strcmp(argv[1], "--child") == 0) /* the measuring process itself: not for people */
        return pare_bench_child(STDIN_FILENO);
    const cli_option options[] = {
        {"p", CLI_INT, &a.n_prompt, "N", "prompt tokens (default 512; 0: no prefill)"},
        {"n", CLI_INT, &a.n_gen, "N", "tokens to generate (default 128; 0: no decode)"},
        {"depth", CLI_INT, &a.depth, "N", "tokens that the cache holds before (default 0)"},
        {"context", CLI_INT, &a.context, "N",
         "positions in the KV cache (default: what is needed)"},
        {"batch", CLI_INT, &a.batch, "N",
         "sequences at once, each with a prompt and a cache of its own (default 1)"},
        {"r", CLI_INT, &a.repetitions, "N",
         "repetitions (default: until the interval is under 2 %, or the budget ends)"},
        {"rounds", CLI_INT, &a.rounds, "N",
         "processes per model (default 1; 4 for several models)"},
        {"budget", CLI_NUMBER, &a.budget, "S", "seconds of measuring per model (default 10)"},
        {"timeout", CLI_NUMBER, &a.timeout, "S", "seconds until a process is ended (default 3600)"},
        {"activations", CLI_TEXT, &a.activations, "A",
         "f32, or fast: 8 bits or BF16 where that is faster (default fast)"},
        {"kv-type", CLI_TEXT, &a.kv_type, "T", "KV cache in f16 (default), f32, q8_0 or q4_0"},
        {"kv-cache", CLI_TEXT, &a.kv_cache, "on|off",
         "off: compute all positions at every token (default on)"},
        {"no-kv-cache", CLI_FLAG, &a.no_kv_cache, NULL, "the same as --kv-cache off"},
        {"seed", CLI_INT, &a.seed, "N", "of the random token ids (default 1)"},
        {"kernels", CLI_FLAG, &a.kernels, NULL,
         "no model: time the matrix products of this tier, with 1 and 256 tokens"},
        {"format", CLI_TEXT, &a.format, "F", "with --kernels: only this format"},
        {"rows", CLI_INT, &a.rows, "N", "with --kernels: rows of the matrix (default 4096)"},
        {"columns", CLI_INT, &a.columns, "N",
         "with --kernels: columns of the matrix (default 4096)"},
        {"samples", CLI_FLAG, &a.samples, NULL, "with --json: all raw samples"},
        {"no-limits", CLI_FLAG, &a.no_limits, NULL,
         "do not measure the machine's peak rates (no shares of the peak)"},
        {"no-store", CLI_FLAG, &a.no_store, NULL, "do not keep the results"},
        {0},
    };
    cli_common common;
    cli_list models = {0};
    pare_session_options session = pare_session_options_default();
    cli_parse(argc, argv, command, options, &common, &models);
    if (a.kernels)
        return time_kernels(command, &common, &a);
    if (!models.count)
        return cli_usage_error(command, "which model?");
    session.threads = (int)common.threads;
    session.isa = common.isa;
    session.device = cli_device(&common);
    int code = check(command, &a, &session);
    return code ? code : measure(command, &common, &a, &models, &session);
}

const cli_command cmd_bench = {"bench", "measure speed and memory of models",
                               "pare bench MODEL... [-p N] [-n N] [-r N] [options]",
                               "Each model runs in a process of its own, several are interleaved "
                               "(A B B A). Prints the median of prefill and decode\n"
                               "tokens/s with its 95 % interval, the time to the first token, "
                               "latencies of the following ones, peak memory, and how much of\n"
                               "the machine's measured read bandwidth and peak rate that is. "
                               "Results are kept: see pare results.\n\n"
                               "  pare bench model.gguf\n"
                               "  pare bench model-q8_0.gguf model-q4_0.gguf -p 256 -n 64 --json\n",
                               run};
