#include "report/tables.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct source {
    const char *metric;
    bool on_slides;
} source;

static const source sources[] = {
    {"decode_tokens_per_s", true}, {"decode_speedup", true}, {"prefill_tokens_per_s", true},
    {"prefill_speedup", false},    {"ttft_ms", false},       {"itl_ms_p50", false},
    {"itl_ms_p99", false},         {"load_ms", false},       {"peak_rss_bytes", true},
    {"memory_reduction", true},    {"weights_bytes", false}, {"file_bytes", false},
    {"bits_per_weight", true},     {"perplexity", true},     {"quality_loss", true},
    {"kld_mean", false},           {"top1", true},           {"quality_score", true},
    {"bandwidth_share", true},     {"peak_share", false},    {"decode_joules_per_token", true},
};
enum { SOURCES = sizeof sources / sizeof *sources };

static const char *keep(pare_view *view, const char *text)
{
    const char *kept = text ? pare_arena_copy(&view->arena, text, strlen(text)) : NULL;
    return kept ? kept : "";
}

static pare_table begin(pare_view *view, const pare_table_column *columns, int count, int most_rows)
{
    pare_table t = {.column_count = count};
    memcpy(t.columns, columns, (size_t)count * sizeof *columns);
    size_t rows = (size_t)most_rows + 1;
    t.cells = pare_arena_allocate(&view->arena, rows * (size_t)count * sizeof *t.cells);
    t.marked = pare_arena_allocate(&view->arena, rows * sizeof *t.marked);
    if (!t.cells || !t.marked)
        t.column_count = 0;
    return t;
}

static void text_cell(pare_table *t, int column, const char *text)
{
    t->cells[t->row_count * t->column_count + column] = (pare_table_cell){.text = text};
}

static void number_cell(pare_view *view, pare_table *t, int column, const char *metric,
                        pare_measure m, bool interval, const char *hot)
{
    char text[PARE_NUMBER_BYTES];
    t->cells[t->row_count * t->column_count + column] =
        (pare_table_cell){.text = keep(view, pare_metric_text(text, metric, m, interval)),
                          .hot = hot,
                          .value = m.absent ? NAN : m.value,
                          .numeric = true};
}

/* ---- results ---- */

static int result_columns(const pare_view *view, int model, bool all, pare_table_column *columns)
{
    int count = 0;
    if (model < 0)
        columns[count++] = (pare_table_column){"Model", "", NULL, 0};
    columns[count++] = (pare_table_column){"Recipe", "", NULL, 0};
    if (all && view->workloads > 1)
        columns[count++] = (pare_table_column){"Workload", "", NULL, 0};
    for (int i = 0; i < SOURCES && count < PARE_TABLE_MOST_COLUMNS; i++) {
        const pare_metric_info *info = pare_metric_find(sources[i].metric);
        if (!info || !(all || sources[i].on_slides) || !pare_view_count(view, sources[i].metric))
            continue;
        bool said = !all || (info->format != PARE_UNIT_RATE && info->format != PARE_UNIT_PLAIN);
        columns[count++] = (pare_table_column){all ? info->title : info->column,
                                               said ? "" : info->unit, info->name, info->better};
    }
    return count;
}

static void result_row(pare_view *view, pare_table *t, int m, int c, int w, bool intervals)
{
    for (int i = 0; i < t->column_count; i++) {
        const char *metric = t->columns[i].metric;
        if (metric)
            number_cell(view, t, i, metric, pare_view_get(view, m, c, w, metric), intervals,
                        pare_view_hot(view, m, c, w, metric));
        else
            text_cell(t, i,
                      strcmp(t->columns[i].title, "Model") == 0    ? view->model_label[m]
                      : strcmp(t->columns[i].title, "Recipe") == 0 ? view->choice[c].label
                                                                   : view->workload[w]);
    }
    t->marked[t->row_count++] = c == view->base;
}

pare_table pare_table_of_results(pare_view *view, int model, bool all, bool intervals)
{
    pare_table_column columns[PARE_TABLE_MOST_COLUMNS];
    int count = result_columns(view, model, all, columns);
    int workloads = all ? view->workloads : 1;
    pare_table t =
        begin(view, columns, count, view->models * view->choices * (workloads > 0 ? workloads : 1));
    for (int m = 0; m < view->models && t.column_count; m++)
        for (int c = 0; c < view->choices; c++)
            for (int w = 0; w < workloads; w++)
                if ((model < 0 || model == m) && pare_view_cell(view, m, c, w))
                    result_row(view, &t, m, c, w, intervals);
    return t;
}

/* ---- set-up ---- */

pare_table pare_table_of_models(pare_view *view)
{
    static const struct {
        const char *title, *fact;
    } facts[] = {{"Parameters", "parameters"}, {"Layers", "layers"},     {"Width", "hidden"},
                 {"Heads", "heads"},           {"KV heads", "kv_heads"}, {"Vocabulary", "vocab"},
                 {"Context", "context"}};
    enum { FACTS = sizeof facts / sizeof *facts };
    pare_table_column columns[FACTS + 2] = {{"Model", "", NULL, 0}};
    for (int i = 0; i < FACTS; i++)
        columns[i + 1] = (pare_table_column){facts[i].title, "", facts[i].fact, 0};
    columns[FACTS + 1] = (pare_table_column){"Weights", "", NULL, 0};
    pare_table t = begin(view, columns, FACTS + 2, view->models);
    for (int m = 0; m < view->models && t.column_count; m++) {
        text_cell(&t, 0, view->model[m]);
        for (int i = 0; i < FACTS; i++)
            number_cell(view, &t, i + 1, "tokens", pare_view_fact(view, m, facts[i].fact), false,
                        NULL);
        text_cell(&t, FACTS + 1, view->synthetic[m] ? "random, of the exact shape" : "real");
        t.row_count++;
    }
    return t;
}

static const char *first_condition(const pare_view *view, int c, int w, const char *key)
{
    for (int m = 0; m < view->models; m++)
        for (int choice = c < 0 ? 0 : c; choice < (c < 0 ? view->choices : c + 1); choice++)
            for (int work = w < 0 ? 0 : w; work < (w < 0 ? view->workloads : w + 1); work++) {
                const pare_cell *cell = pare_view_cell(view, m, choice, work);
                const char *value = cell ? pare_cell_condition(cell, key) : NULL;
                if (value)
                    return value;
            }
    return "-";
}

pare_table pare_table_of_choices(pare_view *view)
{
    static const pare_table_column columns[] = {
        {"Recipe", "", NULL, 0},     {"Name", "", NULL, 0},    {"Format", "", NULL, 0},
        {"Method", "", NULL, 0},     {"Backend", "", NULL, 0}, {"Bits", "", "bits_per_weight", 0},
        {"Activations", "", NULL, 0}};
    enum { COLUMNS = sizeof columns / sizeof *columns };
    pare_table t = begin(view, columns, COLUMNS, view->choices);
    for (int c = 0; c < view->choices && t.column_count; c++) {
        pare_measure bits = pare_measure_absent();
        for (int m = 0; m < view->models && bits.absent; m++)
            bits = pare_view_get(view, m, c, 0, "bits_per_weight");
        text_cell(&t, 0, view->choice[c].label);
        text_cell(&t, 1, view->choice[c].recipe);
        text_cell(&t, 2, first_condition(view, c, -1, "format"));
        text_cell(&t, 3, first_condition(view, c, -1, "method"));
        text_cell(&t, 4, view->choice[c].backend);
        number_cell(view, &t, 5, "bits_per_weight", bits, false, NULL);
        text_cell(&t, 6, first_condition(view, c, -1, "activations"));
        t.marked[t.row_count++] = c == view->base;
    }
    return t;
}

pare_table pare_table_of_workloads(pare_view *view)
{
    static const char *const keys[] = {"n_prompt", "n_gen",   "batch", "kv_cache",
                                       "kv_type",  "threads", "isa"};
    enum { KEYS = sizeof keys / sizeof *keys };
    static const pare_table_column columns[KEYS + 1] = {
        {"Workload", "", NULL, 0}, {"Prompt", "tokens", NULL, 0}, {"Generated", "tokens", NULL, 0},
        {"Batch", "", NULL, 0},    {"KV cache", "", NULL, 0},     {"Cache format", "", NULL, 0},
        {"Threads", "", NULL, 0},  {"Instructions", "", NULL, 0}};
    pare_table t = begin(view, columns, KEYS + 1, view->workloads);
    for (int w = 0; w < view->workloads && t.column_count; w++) {
        text_cell(&t, 0, view->workload[w]);
        for (int i = 0; i < KEYS; i++)
            text_cell(&t, i + 1, first_condition(view, -1, w, keys[i]));
        t.row_count++;
    }
    return t;
}

/* ---- the machine ---- */

static const pare_table_column fact_columns[] = {{"", "", NULL, 0}, {"", "", NULL, 0}};

static const struct {
    const char *key, *label, *metric; /* metric: how its number is written; NULL: as it is */
} hardware[] =
    {
        {"cpu_name", "CPU", NULL},
        {"cpu_family", "Family", NULL},
        {"architecture", "Architecture", NULL},
        {"isa", "Best instructions", NULL},
        {"hypervisor", "Hypervisor", NULL},
        {"cores", "Cores", NULL},
        {"threads", "Threads", NULL},
        {"clock_reported_hz", "Clock", "cpu_clock_hz"},
        {"l1d_bytes", "L1 data cache", "bytes"},
        {"l2_bytes", "L2 cache", "bytes"},
        {"l3_bytes", "L3 cache", "bytes"},
        {"numa_nodes", "NUMA nodes", NULL},
        {"memory_bytes", "Memory", "bytes"},
        {"memory_speed", "Memory speed", NULL},
        {"governor", "Frequency governor", NULL},
        {"gpu_name", "GPU", NULL},
        {"gpu_count", "GPUs", NULL},
        {"gpu_memory_bytes", "GPU memory", "bytes"},
        {"gpu_driver", "GPU driver", NULL},
        {"energy_counters", "Energy counters", NULL},
},
  software[] = {
      {"os", "System", NULL},
      {"kernel", "Kernel", NULL},
      {"compiler", "Compiler", NULL},
      {"libraries", "Libraries", NULL},
      {"huge_pages", "Huge pages", NULL},
      {"pare_version", "Pare", NULL},
      {"pare_commit", "Commit", NULL},
};

static void fact_row(pare_view *view, pare_table *t, const char *label, const char *text)
{
    text_cell(t, 0, label);
    text_cell(t, 1, keep(view, text));
    t->row_count++;
}

static void add_fact(pare_view *view, pare_table *t, const json_t *facts, const char *key,
                     const char *label, const char *metric, bool absent_too)
{
    char text[300], number[PARE_NUMBER_BYTES];
    const json_t *value = json_object_get(facts, key);
    const char *reason = json_string_value(json_object_get(json_object_get(facts, "absent"), key));
    if (json_is_string(value))
        fact_row(view, t, label, json_string_value(value));
    else if (json_is_number(value) && metric)
        fact_row(
            view, t, label,
            pare_metric_text(number, metric, pare_measure_exact(json_number_value(value)), false));
    else if (json_is_number(value)) {
        snprintf(text, sizeof text, "%.0f", json_number_value(value));
        fact_row(view, t, label, text);
    } else if (reason && absent_too) {
        snprintf(text, sizeof text, "not known: %s", reason);
        fact_row(view, t, label, text);
    }
}

static void add_limit(pare_view *view, pare_table *t, const char *label, const char *metric,
                      pare_measure m)
{
    char text[PARE_NUMBER_BYTES];
    if (!m.absent)
        fact_row(view, t, label, pare_metric_text(text, metric, m, false));
}

pare_table pare_table_of_hardware(pare_view *view, bool all)
{
    enum { FACTS = sizeof hardware / sizeof *hardware, LIMITS = 4 };
    pare_table t = begin(view, fact_columns, 2, FACTS + LIMITS);
    json_t *facts =
        view->study->machine_facts ? json_loads(view->study->machine_facts, 0, NULL) : NULL;
    for (int i = 0; i < FACTS && t.column_count; i++)
        add_fact(view, &t, facts, hardware[i].key, hardware[i].label, hardware[i].metric, all);
    json_decref(facts);
    if (!t.column_count)
        return t;
    add_limit(view, &t, "Measured read bandwidth", "read_bandwidth_bytes_per_s",
              view->limits.read_bandwidth);
    add_limit(view, &t, "Measured 8-bit peak", "int8_ops_per_s", view->limits.int8_ops);
    add_limit(view, &t, "Measured BF16 peak", "bf16_flops_per_s", view->limits.bf16_flops);
    add_limit(view, &t, "Measured FP32 peak", "fp32_flops_per_s", view->limits.fp32_flops);
    return t;
}

pare_table pare_table_of_software(pare_view *view)
{
    enum { FACTS = sizeof software / sizeof *software };
    const pare_study *s = view->study;
    pare_table t = begin(view, fact_columns, 2, FACTS + 5);
    json_t *facts = s->machine_facts ? json_loads(s->machine_facts, 0, NULL) : NULL;
    for (int i = 0; i < FACTS && t.column_count; i++)
        add_fact(view, &t, facts, software[i].key, software[i].label, software[i].metric, true);
    json_decref(facts);
    if (!t.column_count)
        return t;
    fact_row(view, &t, "Study", s->name);
    if (s->time)
        fact_row(view, &t, "Measured from", s->time);
    if (s->updated)
        fact_row(view, &t, "to", s->updated);
    return t;
}
