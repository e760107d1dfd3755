/* The machine's measured limits in the store: one record of kind "limits" for each tier and number
 * of threads. */
#include "cli/record.h"
#include "cli/session_args.h"
#include "cli/term.h"

#include <math.h>
#include <pare/session.h>
#include <pare/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DAY = 24 * 60 * 60, MOST_METRICS = 8 };

static const char *unit_of(const char *name)
{
    return strncmp(name, "read", 4) == 0    ? "bytes/s"
           : strncmp(name, "int8", 4) == 0  ? "op/s"
           : strncmp(name, "clock", 5) == 0 ? "Hz"
                                            : "flop/s";
}

static bool same_group(const pare_hw_limit *a, const pare_hw_limit *b)
{
    return strcmp(a->isa, b->isa) == 0 && a->threads == b->threads;
}

static bool is_first_of_group(const pare_hw_limits *limits, int i)
{
    for (int j = 0; j < i; j++)
        if (same_group(&limits->items[j], &limits->items[i]))
            return false;
    return true;
}

typedef struct group {
    pare_metric metrics[MOST_METRICS];
    pare_condition conditions[2];
    char threads[16];
} group;

static pare_record make_record(const pare_hw_limits *limits, int first, group *g)
{
    const pare_hw_limit *head = &limits->items[first];
    int count = 0;
    for (int i = first; i < limits->count && count < MOST_METRICS; i++) {
        const pare_hw_limit *limit = &limits->items[i];
        if (same_group(limit, head))
            g->metrics[count++] =
                (pare_metric){.name = limit->name,
                              .unit = unit_of(limit->name),
                              .measure = {limit->median, limit->low, limit->high, false},
                              .sample_count = limit->count};
    }
    snprintf(g->threads, sizeof g->threads, "%d", head->threads);
    g->conditions[0] = (pare_condition){"isa", head->isa};
    g->conditions[1] = (pare_condition){"threads", g->threads};
    return (pare_record){.kind = "limits",
                         .conditions = g->conditions,
                         .condition_count = 2,
                         .metrics = g->metrics,
                         .metric_count = count};
}

int cli_limits_store(const cli_command *command, const cli_common *common,
                     const pare_hw_limits *limits)
{
    pare_record records[PARE_HW_MAX_LIMITS];
    group *groups = calloc(PARE_HW_MAX_LIMITS, sizeof *groups);
    int count = 0;
    if (!groups) {
        fprintf(stderr, "pare %s: out of memory\n", command->name);
        return 1;
    }
    for (int i = 0; i < limits->count; i++)
        if (is_first_of_group(limits, i)) {
            records[count] = make_record(limits, i, &groups[count]);
            count++;
        }
    int code = cli_store_records(command, common, records, count);
    free(groups);
    return code;
}

/* The highest counts: what was measured while other programs ran is no limit. */
static pare_status take(void *user, const pare_record *record)
{
    pare_hw_limits *limits = user;
    const char *isa = pare_record_condition(record, "isa"),
               *threads = pare_record_condition(record, "threads");
    for (int i = 0; isa && threads && i < record->metric_count; i++) {
        const pare_metric *metric = &record->metrics[i];
        pare_hw_limit limit = {.threads = atoi(threads),
                               .median = metric->measure.value,
                               .low = metric->measure.low,
                               .high = metric->measure.high,
                               .count = (int)metric->sample_count};
        snprintf(limit.name, sizeof limit.name, "%s", metric->name);
        snprintf(limit.isa, sizeof limit.isa, "%s", isa);
        int at = 0;
        while (at < limits->count && !(same_group(&limits->items[at], &limit) &&
                                       strcmp(limits->items[at].name, limit.name) == 0))
            at++;
        bool added = at == limits->count;
        if (at < PARE_HW_MAX_LIMITS && !metric->measure.absent &&
            (added || limit.median > limits->items[at].median)) {
            limits->items[at] = limit;
            limits->count += added;
        }
    }
    return PARE_OK;
}

static void load_recent(const cli_common *common, const char *machine, pare_hw_limits *limits)
{
    char since[32];
    time_t start = time(NULL) - DAY;
    struct tm parts;
    pare_store *store;
    gmtime_r(&start, &parts);
    strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", &parts);
    pare_condition here = {"machine_id", machine};
    pare_filter filter = {
        .kind = "limits", .since = since, .conditions = &here, .condition_count = 1};
    *limits = (pare_hw_limits){0};
    if (pare_store_open(common->store, &store) != PARE_OK)
        return; /* measured again, and the trouble with the store is told when the result is stored
                 */
    if (pare_store_query(store, &filter, false, take, limits) != PARE_OK)
        limits->count = 0;
    pare_store_close(store);
}

void cli_limits_known(const cli_common *common, const char *machine, pare_hw_limits *limits)
{
    load_recent(common, machine, limits);
}

pare_status cli_limits_device(const cli_common *common, pare_hw_limits *limits)
{
    const char *device = cli_device(common);
    bool named = device && strncmp(device, "cuda", 4) == 0;
    if (device && strcmp(device, "cpu") == 0)
        return PARE_OK;
    if (!named && pare_device_check("cuda") != PARE_OK)
        return PARE_OK; /* no GPU, and none was asked for */
    return pare_device_measure(named ? device : "cuda", limits);
}

pare_status cli_limits_get(const cli_command *command, const cli_common *common, int threads,
                           pare_hw_limits *limits)
{
    pare_hw *hw;
    pare_status status = pare_hw_probe(&hw);
    if (status != PARE_OK)
        return status;
    const pare_hw_fact *allowed = pare_hw_find(hw, "threads_allowed");
    if (!threads && allowed && allowed->is_number)
        threads = (int)allowed->number;
    load_recent(common, pare_hw_fingerprint(hw), limits);
    pare_hw_free(hw);
    const char *device = cli_device(common);
    bool gpu = device && strncmp(device, "cuda", 4) == 0;
    bool known = pare_hw_limit_find(limits, "fp32_flops_per_s", NULL, threads) != NULL;
    bool gpu_known = pare_hw_limit_find(limits, "gpu_read_bandwidth_bytes_per_s", NULL, 0) != NULL;
    if (known && (!gpu || gpu_known))
        return PARE_OK;
    if (!known) {
        cli_bar bar;
        cli_bar_start(&bar, common);
        status = pare_hw_measure(threads, &bar.progress, limits);
        cli_bar_end(&bar);
    }
    if (status == PARE_OK && gpu && !gpu_known)
        status = pare_device_measure(device, limits);
    if (status == PARE_OK)
        (void)cli_limits_store(command, common, limits);
    return status;
}
