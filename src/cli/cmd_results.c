/* pare results: what the store holds. */
#include "cli/commands.h"
#include "cli/record.h"
#include "cli/table.h"

#include <errno.h>
#include <pare/number.h>
#include <pare/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct query {
    const char *model, *metric, *kind, *since, *format, *study;
    cli_list conditions;
    int64_t limit;
    bool samples;
    int64_t matching, skip, seen; /* counted first, so that only the newest `limit` are shown */
    cli_table table;
    int code;
} query;

/* By name, path, or the beginning of the hash. */
static bool is_model(const query *q, const pare_record *record)
{
    const char *name = pare_record_condition(record, "model"),
               *path = pare_record_condition(record, "path"),
               *hash = pare_record_condition(record, "model_hash");
    size_t length = q->model ? strlen(q->model) : 0;
    return !q->model || (name && strcmp(name, q->model) == 0) ||
           (path && strcmp(path, q->model) == 0) ||
           (hash && length >= 6 && strncmp(hash, q->model, length) == 0);
}

static pare_status count_matching(void *user, const pare_record *record)
{
    query *q = user;
    q->matching += is_model(q, record);
    return PARE_OK;
}

/* ---- table ---- */

static const cli_column overview[] = {
    {"run", false},         {"time (UTC)", true},  {"kind", true},    {"cell of study", true},
    {"model", true},        {"format", true},      {"isa", true},     {"threads", false},
    {"prefill t/s", false}, {"decode t/s", false}, {"memory", false}, {"perplexity", false},
    {"KL div.", false},     {"top-1", false},      {"failure", true},
};
static const cli_column one_metric[] = {
    {"run", false},   {"time (UTC)", true}, {"kind", true},  {"cell of study", true},
    {"model", true},  {"format", true},     {"isa", true},   {"threads", false},
    {"value", false}, {"low", false},       {"high", false}, {"samples", false},
    {"unit", true},   {"", true},
};

static void add_head(query *q, const pare_record *record)
{
    static const char *const keys[] = {"cell", "model", "format", "isa", "threads"};
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)record->id);
    cli_table_add(&q->table, text);
    snprintf(text, sizeof text, "%.10s %.5s", record->time,
             strlen(record->time) >= 16 ? record->time + 11 : "");
    cli_table_add(&q->table, text);
    cli_table_add(&q->table, record->kind);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        cli_table_add(&q->table, pare_record_condition(record, keys[i]));
}

static void add_number(query *q, const pare_record *record, const char *name, pare_unit unit)
{
    char text[PARE_NUMBER_BYTES];
    const pare_metric *metric = pare_record_metric(record, name);
    cli_table_add(&q->table, metric ? pare_number(text, metric->measure, unit, false) : NULL);
}

static void add_overview_row(query *q, const pare_record *record)
{
    add_head(q, record);
    add_number(q, record, "prefill_tokens_per_s", PARE_UNIT_RATE);
    add_number(q, record, "decode_tokens_per_s", PARE_UNIT_RATE);
    add_number(q, record, "peak_rss_bytes", PARE_UNIT_BYTES);
    add_number(q, record, "perplexity", PARE_UNIT_PERPLEXITY);
    add_number(q, record, "kld_mean", PARE_UNIT_NATS);
    add_number(q, record, "top1", PARE_UNIT_PERCENT);
    cli_table_add(&q->table, record->failure);
}

static void add_metric_row(query *q, const pare_record *record, const pare_metric *metric)
{
    char text[3][32], count[24];
    const double values[] = {metric->measure.value, metric->measure.low, metric->measure.high};
    add_head(q, record);
    for (int i = 0; i < 3; i++) {
        snprintf(text[i], sizeof text[i], "%.6g", values[i]);
        cli_table_add(&q->table, metric->measure.absent ? "-" : text[i]);
    }
    snprintf(count, sizeof count, "%lld", (long long)metric->sample_count);
    cli_table_add(&q->table, count);
    cli_table_add(&q->table, metric->unit);
    cli_table_add(&q->table, metric->absent_reason);
}

/* ---- CSV (RFC 4180): one metric a line ---- */

static void csv_text(const char *text, char end)
{
    text = text ? text : "";
    if (strpbrk(text, ",\"\r\n")) {
        putchar('"');
        for (; *text; text++) {
            if (*text == '"')
                putchar('"');
            putchar(*text);
        }
        putchar('"');
    } else {
        fputs(text, stdout);
    }
    putchar(end);
}

static void csv_number(double value, bool absent)
{
    if (absent)
        putchar(',');
    else
        printf("%.17g,", value);
}

static const char *const csv_conditions[] = {
    "study",     "cell",       "model_label", "recipe",   "label", "backend", "workload",
    "model",     "model_hash", "format",      "method",   "isa",   "threads", "activations",
    "kv_cache",  "kv_type",    "context",     "n_prompt", "n_gen", "depth",   "batch",
    "synthetic", "machine_id", "version",     "commit"};
enum { CSV_CONDITIONS = sizeof csv_conditions / sizeof *csv_conditions };

static void csv_header(void)
{
    printf("run,time,kind,failure,");
    for (int i = 0; i < CSV_CONDITIONS; i++)
        printf("%s,", csv_conditions[i]);
    printf("metric,value,ci_low,ci_high,samples,unit,absent\n");
}

static void csv_line(const pare_record *record, const pare_metric *metric)
{
    printf("%lld,", (long long)record->id);
    csv_text(record->time, ',');
    csv_text(record->kind, ',');
    csv_text(record->failure, ',');
    for (int i = 0; i < CSV_CONDITIONS; i++)
        csv_text(pare_record_condition(record, csv_conditions[i]), ',');
    if (!metric) {
        printf(",,,,,,\n");
        return;
    }
    csv_text(metric->name, ',');
    csv_number(metric->measure.value, metric->measure.absent);
    csv_number(metric->measure.low, metric->measure.absent);
    csv_number(metric->measure.high, metric->measure.absent);
    printf("%lld,", (long long)metric->sample_count);
    csv_text(metric->unit, ',');
    csv_text(metric->absent_reason, '\n');
}

static void csv_record(const query *q, const pare_record *record)
{
    if (q->metric || !record->metric_count)
        csv_line(record, q->metric ? pare_record_metric(record, q->metric) : NULL);
    else
        for (int i = 0; i < record->metric_count; i++)
            csv_line(record, &record->metrics[i]);
}

static pare_status show(void *user, const pare_record *record)
{
    query *q = user;
    if (!is_model(q, record) || q->seen++ < q->skip)
        return PARE_OK;
    if (strcmp(q->format, "json") == 0)
        q->code |= cli_record_print_json(record, q->samples);
    else if (strcmp(q->format, "csv") == 0)
        csv_record(q, record);
    else if (q->metric)
        add_metric_row(q, record, pare_record_metric(record, q->metric));
    else
        add_overview_row(q, record);
    return PARE_OK;
}

/* "2026-11-24", "2026-11-24T10:00:00Z", or an age: "90m", "12h", "7d". Times compare as text. */
static bool parse_since(const char *text, char since[32])
{
    char *end;
    double number = strtod(text, &end);
    double unit = *end == 'm' ? 60 : *end == 'h' ? 3600 : *end == 'd' ? 86400 : 0;
    if (end != text && unit > 0 && !end[1] && number >= 0 && number < 1e6) {
        time_t start = time(NULL) - (time_t)(number * unit);
        struct tm parts;
        gmtime_r(&start, &parts);
        strftime(since, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
        return true;
    }
    int year, month, day;
    snprintf(since, 32, "%.20s", text);
    return sscanf(text, "%4d-%2d-%2d", &year, &month, &day) == 3;
}

static pare_status search(query *q, pare_store *store, const pare_filter *filter)
{
    pare_status status = pare_store_query(store, filter, false, count_matching, q);
    q->skip = q->limit && q->matching > q->limit ? q->matching - q->limit : 0;
    if (status == PARE_OK && strcmp(q->format, "csv") == 0)
        csv_header();
    q->table.columns = q->metric ? one_metric : overview;
    q->table.column_count =
        q->metric ? sizeof one_metric / sizeof *one_metric : sizeof overview / sizeof *overview;
    if (status == PARE_OK)
        status = pare_store_query(store, filter, q->samples, show, q);
    if (status == PARE_OK && q->table.cell_count)
        cli_table_print(&q->table, stdout);
    return status;
}

/* "key=value" pairs of --where, and one more of --study at the end; they live until exit. */
static pare_condition *parse_conditions(const cli_list *list, const char *study)
{
    pare_condition *conditions = cli_keep(((size_t)list->count + 1) * sizeof *conditions);
    conditions[list->count] = (pare_condition){"study", study};
    for (int i = 0; i < list->count; i++) {
        const char *equals = strchr(list->items[i], '=');
        size_t length = (size_t)(equals - list->items[i]);
        char *key = cli_keep(length + 1);
        memcpy(key, list->items[i], length);
        conditions[i].key = key;
        conditions[i].value = equals + 1;
    }
    return conditions;
}

static int check(const cli_command *command, const cli_common *common, const query *q)
{
    static const char *const kinds[] = {"bench",    "eval",   "generate", "model",
                                        "quantize", "limits", "study"};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    size_t kind = 0;
    while (q->kind && kind < KINDS && strcmp(q->kind, kinds[kind]) != 0)
        kind++;
    if (kind == KINDS)
        return cli_usage_error(
            command,
            "--kind: '%s' is none of bench, eval, generate, model, quantize, limits, study",
            q->kind);
    if (strcmp(q->format, "table") != 0 && strcmp(q->format, "json") != 0 &&
        strcmp(q->format, "csv") != 0)
        return cli_usage_error(command, "--format: '%s' is none of table, json, csv", q->format);
    for (int i = 0; i < q->conditions.count; i++)
        if (!strchr(q->conditions.items[i], '='))
            return cli_usage_error(command, "--where takes KEY=VALUE, not '%s'",
                                   q->conditions.items[i]);
    if (q->limit < 0)
        return cli_usage_error(command, "--limit must not be negative");
    if (common->store && access(common->store, F_OK) != 0) { /* a list makes no file */
        fprintf(stderr, "pare %s: %s: %s\n", command->name, common->store, strerror(errno));
        return 1;
    }
    return 0;
}

static int run(int argc, char **argv, const cli_command *command)
{
    query q = {.format = NULL, .limit = 50};
    char since[32];
    const cli_option options[] = {
        {"model", CLI_TEXT, &q.model, "M",
         "only this model: name, path, or the first 6 or more digits of its hash"},
        {"metric", CLI_TEXT, &q.metric, "X",
         "only this metric, with its interval: decode_tokens_per_s, perplexity, ..."},
        {"study", CLI_TEXT, &q.study, "NAME", "only of this study"},
        {"kind", CLI_TEXT, &q.kind, "K", "only bench, eval, generate, model, quantize or limits"},
        {"where", CLI_LIST, &q.conditions, "KEY=VALUE",
         "only under this condition: threads=2, format=q4_0, ... (repeatable)"},
        {"since", CLI_TEXT, &q.since, "T", "from then on: 2026-11-24, or an age: 90m, 12h, 7d"},
        {"limit", CLI_INT, &q.limit, "N", "only the newest N (default 50; 0: all)"},
        {"format", CLI_TEXT, &q.format, "F",
         "table (default), json (one object a line), csv (one metric a line)"},
        {"samples", CLI_FLAG, &q.samples, NULL, "with JSON: all raw samples"},
        {0},
    };
    cli_common common;
    cli_list positionals = {0};
    cli_parse(argc, argv, command, options, &common, &positionals);
    if (positionals.count)
        return cli_usage_error(command, "unexpected '%s'", positionals.items[0]);
    if (!q.format)
        q.format = common.json ? "json" : "table";
    int wrong = check(command, &common, &q);
    if (wrong)
        return wrong;
    if (q.since && !parse_since(q.since, since))
        return cli_usage_error(command, "--since: '%s' is neither a date nor an age", q.since);
    pare_condition *conditions = parse_conditions(&q.conditions, q.study);
    pare_filter filter = {.kind = q.kind,
                          .metric = q.metric,
                          .since = q.since ? since : NULL,
                          .conditions = conditions,
                          .condition_count = q.conditions.count + (q.study != NULL)};
    pare_store *store;
    pare_status status = pare_store_open(common.store, &store);
    if (status == PARE_OK)
        status = search(&q, store, &filter);
    if (status == PARE_OK && strcmp(q.format, "table") == 0 && !common.quiet)
        fprintf(stderr,
                q.skip            ? "%s: the newest %lld of %lld records\n"
                : q.matching == 1 ? "%s: %lld record\n"
                                  : "%s: %lld records\n",
                pare_store_path(store), (long long)(q.matching - q.skip), (long long)q.matching);
    pare_store_close(store);
    return status == PARE_OK ? q.code : cli_failed(command, status);
}

const cli_command cmd_results = {
    "results", "list, filter and export stored results",
    "pare results [--model M] [--metric X] [--since T] [options]",
    "Lists what studies, bench, eval, quantize and hw --limits have stored, oldest first.\n\n"
    "  pare results --model ref-llama-11m --metric decode_tokens_per_s\n"
    "  pare results --kind eval --since 7d --format csv > evaluations.csv\n"
    "  pare results --study course --kind bench --format csv > course.csv\n",
    run};
