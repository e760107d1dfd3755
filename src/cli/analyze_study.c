/* Trade-offs, fronts and memory of a study. */
#include "cli/analyze.h"
#include "cli/quantity.h"
#include "cli/table.h"

#include <math.h>
#include <pare/metric.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(cli_table *table, const char *metric, pare_measure m)
{
    char text[PARE_NUMBER_BYTES];
    cli_table_add(table, m.absent ? "" : pare_metric_text(text, metric, m, true));
}

/* ---- trade-offs ---- */

static const struct {
    const char *metric, *key;
    size_t offset;
} tradeoffs[] = {
    {"decode_speedup", "decode_speedup", offsetof(pare_tradeoff, decode_speedup)},
    {"prefill_speedup", "prefill_speedup", offsetof(pare_tradeoff, prefill_speedup)},
    {"memory_reduction", "memory_reduction", offsetof(pare_tradeoff, memory_reduction)},
    {"memory_reduction", "size_reduction", offsetof(pare_tradeoff, size_reduction)},
    {"memory_reduction", "energy_reduction", offsetof(pare_tradeoff, energy_reduction)},
    {"quality_loss", "quality_loss", offsetof(pare_tradeoff, quality_loss)},
    {"kld_mean", "kld_mean", offsetof(pare_tradeoff, kld_mean)},
    {"top1", "top1", offsetof(pare_tradeoff, top1)},
    {"quality_score", "quality_score", offsetof(pare_tradeoff, quality_score)},
};
enum { TRADEOFFS = sizeof tradeoffs / sizeof *tradeoffs };

static const pare_measure *measure_at(const pare_tradeoff *row, int i)
{
    return (const pare_measure *)(const void *)((const char *)row + tradeoffs[i].offset);
}

static int tradeoffs_json(const pare_study *study, const pare_tradeoff *rows)
{
    int code = 0;
    for (int i = 0; i < study->count && !code; i++) {
        const pare_cell *cell = rows[i].cell;
        json_t *object = json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s*}", "cell", cell->id, "model", cell->model,
            "recipe", cell->recipe, "label", cell->label, "backend", cell->backend, "workload",
            cell->workload, "front", rows[i].front, "failure", cell->failure);
        for (int t = 0; object && t < TRADEOFFS; t++)
            json_object_set_new(object, tradeoffs[t].key,
                                cli_measure_json(*measure_at(&rows[i], t)));
        code = cli_print_json(object);
    }
    return code;
}

int cli_analyze_tradeoffs(const cli_common *common, const pare_study *study)
{
    static const cli_column columns[] = {
        {"model", true},       {"recipe", true},        {"workload", true},
        {"decode", false},     {"prefill", false},      {"memory saved", false},
        {"size saved", false}, {"energy saved", false}, {"perplexity", false},
        {"KL div.", false},    {"top-1", false},        {"score", false},
        {"front", true},
    };
    cli_table table = {.columns = columns, .column_count = sizeof columns / sizeof *columns};
    pare_tradeoff *rows = cli_keep(((size_t)study->count + 1) * sizeof *rows);
    pare_tradeoffs(study, rows);
    if (common->json)
        return tradeoffs_json(study, rows);
    for (int i = 0; i < study->count; i++) {
        cli_table_add(&table, rows[i].cell->model);
        cli_table_add(&table, rows[i].cell->label);
        cli_table_add(&table, rows[i].cell->workload);
        for (int t = 0; t < TRADEOFFS; t++)
            add(&table, tradeoffs[t].metric, *measure_at(&rows[i], t));
        cli_table_add(&table, rows[i].front ? "*" : "");
    }
    cli_table_print(&table, stdout);
    printf("against %s of the same model, backend and workload, with 95 %% intervals; * no other "
           "recipe is better in speed, memory and quality\n",
           study->baseline);
    return 0;
}

/* ---- memory ---- */

static int memory_json(const pare_scaling_point *points, int count)
{
    int code = 0;
    for (int i = 0; i < count && !code; i++) {
        const pare_scaling_point *p = &points[i];
        json_t *computed =
            p->predicted
                ? json_pack("{s:f, s:f, s:f, s:f}", "weights_bytes",
                            p->need.block_bytes + p->need.outer_bytes + p->need.vector_bytes,
                            "kv_bytes", p->need.kv_bytes, "scratch_bytes", p->need.scratch_bytes,
                            "total_bytes", p->need.total_bytes)
                : json_null();
        code = cli_print_json(
            json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "cell", p->cell->id, "parameters",
                      isfinite(p->parameters) ? json_real(p->parameters) : json_null(),
                      "weights_bytes", cli_measure_json(p->weights), "kv_bytes",
                      cli_measure_json(p->kv), "scratch_bytes", cli_measure_json(p->scratch),
                      "peak_rss_bytes", cli_measure_json(p->peak), "computed", computed));
    }
    return code;
}

static void add_computed(cli_table *table, const pare_scaling_point *p, double bytes)
{
    pare_measure m = {bytes, bytes, bytes, !p->predicted};
    add(table, "peak_rss_bytes", m);
}

int cli_analyze_memory(const cli_common *common, const pare_study *study)
{
    static const cli_column columns[] = {
        {"cell", true},  {"parameters", false}, {"weights", false}, {"computed", false},
        {"KV", false},   {"computed", false},   {"scratch", false}, {"computed", false},
        {"peak", false}, {"computed", false},
    };
    cli_table table = {.columns = columns, .column_count = sizeof columns / sizeof *columns};
    pare_scaling_point *points = cli_keep(((size_t)study->count + 1) * sizeof *points);
    int count = pare_memory_scaling(study, points);
    char text[PARE_NUMBER_BYTES];
    if (!count) {
        fprintf(stderr, "pare analyze: no cell of '%s' has measured memory\n", study->name);
        return 1;
    }
    if (common->json)
        return memory_json(points, count);
    for (int i = 0; i < count; i++) {
        const pare_scaling_point *p = &points[i];
        pare_measure n = {p->parameters, p->parameters, p->parameters, !isfinite(p->parameters)};
        cli_table_add(&table, p->cell->id);
        cli_table_add(&table, pare_number(text, n, PARE_UNIT_COUNT, false));
        add(&table, "weights_bytes", p->weights);
        add_computed(&table, p, p->need.block_bytes + p->need.outer_bytes + p->need.vector_bytes);
        add(&table, "kv_bytes", p->kv);
        add_computed(&table, p, p->need.kv_bytes);
        add(&table, "scratch_bytes", p->scratch);
        add_computed(&table, p, p->need.scratch_bytes);
        add(&table, "peak_rss_bytes", p->peak);
        add_computed(&table, p, p->need.total_bytes);
    }
    cli_table_print(&table, stdout);
    return 0;
}

/* ---- front ---- */

enum { MOST_AXES = 8 };

static int read_axes(const cli_command *command, const char *text, const char *axes[MOST_AXES])
{
    size_t size = strlen(text) + 1;
    char *copy = cli_keep(size), *rest = copy, *name;
    int count = 0;
    memcpy(copy, text, size);
    while ((name = strsep(&rest, ","))) {
        const pare_metric_info *info = pare_metric_find(name);
        if (!info || !info->better || count == MOST_AXES) {
            cli_usage_error(command, "--metrics: '%s' is no metric of which more or less is better",
                            name);
            return -1;
        }
        axes[count++] = name;
    }
    return count;
}

static int default_axes(const pare_study *study, const char *axes[MOST_AXES])
{
    bool quality = false, energy = false;
    int count = 0;
    for (int i = 0; i < study->count; i++) {
        quality = quality || study->cells[i].eval;
        energy = energy || !pare_cell_measure(&study->cells[i], "decode_joules_per_token").absent;
    }
    axes[count++] = "decode_tokens_per_s";
    axes[count++] = "peak_rss_bytes";
    if (quality)
        axes[count++] = "quality_loss";
    if (energy)
        axes[count++] = "decode_joules_per_token";
    return count;
}

/* Cells of one model, backend and workload compete with each other. */
static bool competes(const pare_cell *a, const pare_cell *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->backend, b->backend) == 0 &&
           strcmp(a->workload, b->workload) == 0;
}

static void find_fronts(const pare_study *study, const char *const *axes, int axis_count,
                        bool *front)
{
    const pare_cell **cells = cli_keep(((size_t)study->count + 1) * sizeof *cells),
                    **bases = cli_keep(((size_t)study->count + 1) * sizeof *bases);
    bool *mine = cli_keep((size_t)study->count + 1);
    for (int i = 0; i < study->count; i++) {
        for (int j = 0; j < study->count; j++) {
            cells[j] = competes(&study->cells[i], &study->cells[j]) ? &study->cells[j] : NULL;
            bases[j] = cells[j] ? pare_study_baseline(study, cells[j]) : NULL;
        }
        pare_pareto_front(cells, bases, study->count, axes, axis_count, mine);
        front[i] = mine[i];
    }
}

static pare_measure value_on(const pare_study *study, const pare_cell *cell, const char *axis)
{
    return strcmp(axis, "quality_loss") == 0
               ? pare_quality_loss(cell, pare_study_baseline(study, cell))
               : pare_cell_measure(cell, axis);
}

static int pareto_json(const pare_study *study, const char *const *axes, int axis_count,
                       const bool *front)
{
    int code = 0;
    for (int i = 0; i < study->count && !code; i++) {
        json_t *object = json_pack("{s:s, s:s, s:b}", "cell", study->cells[i].id, "label",
                                   study->cells[i].label, "front", front[i]);
        for (int a = 0; object && a < axis_count; a++)
            json_object_set_new(object, axes[a],
                                cli_measure_json(value_on(study, &study->cells[i], axes[a])));
        code = cli_print_json(object);
    }
    return code;
}

int cli_analyze_pareto(const cli_command *command, const cli_common *common,
                       const pare_study *study, const char *metrics)
{
    const char *axes[MOST_AXES];
    int axis_count = metrics ? read_axes(command, metrics, axes) : default_axes(study, axes);
    if (axis_count < 0)
        return 2;
    bool *front = cli_keep((size_t)study->count + 1);
    find_fronts(study, axes, axis_count, front);
    if (common->json)
        return pareto_json(study, axes, axis_count, front);
    cli_column columns[MOST_AXES + 3] = {{"cell", true}, {"recipe", true}};
    for (int a = 0; a < axis_count; a++)
        columns[2 + a] = (cli_column){pare_metric_find(axes[a])->column, false};
    columns[2 + axis_count] = (cli_column){"front", true};
    cli_table table = {.columns = columns, .column_count = axis_count + 3};
    for (int i = 0; i < study->count; i++) {
        cli_table_add(&table, study->cells[i].id);
        cli_table_add(&table, study->cells[i].label);
        for (int a = 0; a < axis_count; a++)
            add(&table, axes[a], value_on(study, &study->cells[i], axes[a]));
        cli_table_add(&table, front[i] ? "*" : "");
    }
    cli_table_print(&table, stdout);
    printf("* not dominated: no other recipe of the model, backend and workload is better in one "
           "and no worse in the others\n");
    return 0;
}
