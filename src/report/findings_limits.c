/* What the study cannot say. */
#include "report/findings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Measures that a reader expects, and what they would have been for. */
static const struct {
    const char *metric, *name;
} expected[] = {
    {"decode_joules_per_token", "Energy"},
    {"cpu_temperature_celsius", "CPU temperature"},
    {"ipc", "Hardware counters"},
    {"cpu_utilization", "CPU utilization"},
    {"gpu_utilization", "GPU measurements"},
    {"quality_score", "The score of generated text"},
    {"bandwidth_share", "The share of the memory bandwidth"},
};

static const char *reason_of(const pare_view *view, const char *metric)
{
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++)
            for (int w = 0; w < view->workloads; w++) {
                const pare_cell *cell = pare_view_cell(view, m, c, w);
                const pare_metric *found = cell ? pare_cell_metric(cell, metric) : NULL;
                if (found && found->absent_reason)
                    return found->absent_reason;
            }
    return NULL;
}

static void absent_metrics(pare_view *view, pare_findings *to)
{
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const char *reason = reason_of(view, expected[i].metric);
        if (pare_view_count(view, expected[i].metric))
            continue;
        pare_findings_add(view, to, "Absent", PARE_VERDICT_FACT, "%s: not measured (%s).",
                          expected[i].name, reason ? reason : "the study did not ask for it");
    }
}

static void synthetic_models(pare_view *view, pare_findings *to)
{
    char names[300] = "";
    for (int m = 0; m < view->models; m++)
        if (view->synthetic[m]) {
            size_t n = strlen(names);
            snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", view->model[m]);
        }
    if (*names)
        pare_findings_add(
            view, to, "Models", PARE_VERDICT_FACT,
            "%s ran with random weights of the exact shape: speed and memory hold for "
            "the real model, its quality was not measured.",
            names);
}

/* Failures by reason, each with the cells that it stopped. */
static void failures(pare_view *view, pare_findings *to)
{
    for (int i = 0; i < view->study->count; i++) {
        const pare_cell *cell = &view->study->cells[i];
        int count = 0;
        bool first = true;
        for (int j = 0; cell->failure && j < view->study->count; j++) {
            const char *other = view->study->cells[j].failure;
            if (other && strcmp(other, cell->failure) == 0) {
                first &= j >= i;
                count++;
            }
        }
        if (!count || !first)
            continue;
        pare_findings_add(view, to, "Failed", PARE_VERDICT_FACT,
                          "%d of %d cells could not be measured, %s the first: %s.", count,
                          view->study->count, cell->id, cell->failure);
    }
}

/* Processes that measured a cell; 0 where that is not told. */
static int rounds_of(const pare_cell *cell)
{
    const char *text = pare_cell_condition(cell, "round_samples");
    int count = text && *text;
    for (; text && *text; text++)
        count += *text == ',';
    return count;
}

/* The memory of a virtual machine is faster or slower for minutes, as its neighbours are. The tenth
 * and the ninetieth percentile of what was measured beside the rounds of all cells. */
static void memory_states(pare_view *view, pare_findings *to)
{
    static const char *const name = "read_bandwidth_bytes_per_s";
    size_t count = 0, most = 0;
    for (int i = 0; i < view->study->count; i++) {
        const pare_metric *m = pare_cell_metric(&view->study->cells[i], name);
        most += m && m->samples ? (size_t)m->sample_count : 0;
    }
    double *all = most ? pare_arena_allocate(&view->arena, most * sizeof *all) : NULL;
    for (int i = 0; all && i < view->study->count; i++) {
        const pare_metric *m = pare_cell_metric(&view->study->cells[i], name);
        for (int64_t j = 0; m && m->samples && j < m->sample_count; j++)
            all[count++] = m->samples[j];
    }
    if (count < 10)
        return;
    qsort(all, count, sizeof *all, ascending);
    pare_measure low = pare_measure_exact(all[count / 10]),
                 high = pare_measure_exact(all[count - 1 - count / 10]);
    if (high.value > 1.2 * low.value)
        pare_findings_add(view, to, "Noise", PARE_VERDICT_FACT,
                          "The memory was read at %s in the slowest tenth of the measurements "
                          "beside the rounds and at %s in the fastest: the machine itself changed. "
                          "Intervals hold what the rounds saw; ratios between recipes, taken round "
                          "by round, move less.",
                          pare_words(view, name, low, false), pare_words(view, name, high, false));
}

static void noise(pare_view *view, pare_findings *to)
{
    int wide = 0, few = 0, count = 0;
    pare_measure most = pare_measure_absent();
    for (int i = 0; i < view->study->count; i++) {
        const pare_metric *speed = pare_cell_metric(&view->study->cells[i], "decode_tokens_per_s");
        const pare_metric *others = pare_cell_metric(&view->study->cells[i], "other_cpu_share");
        if (others && !others->measure.absent &&
            (most.absent || others->measure.value > most.value))
            most = others->measure;
        if (!speed || speed->measure.absent)
            continue;
        count++;
        wide += speed->measure.high - speed->measure.low > 0.1 * speed->measure.value;
        few += rounds_of(&view->study->cells[i]) < 4;
    }
    if (wide)
        pare_findings_add(view, to, "Noise", PARE_VERDICT_FACT,
                          "In %d of %d cells the 95 %% interval of the decode speed is wider than "
                          "10 %% of it.",
                          wide, count);
    if (few)
        pare_findings_add(view, to, "Noise", PARE_VERDICT_FACT,
                          "%d of %d cells were measured in fewer than 4 processes: what differs "
                          "between processes is hardly known of them.",
                          few, count);
    if (!most.absent && most.value > 0.05)
        pare_findings_add(view, to, "Noise", PARE_VERDICT_FACT,
                          "Other programs used up to %s of the processors' time meanwhile: speeds "
                          "may be too low.",
                          pare_words(view, "other_cpu_share", most, false));
}

/* Arithmetic cannot pass the peak (bandwidth can, from the caches): then the peak was measured too
 * low, on a machine that was busy or clocked lower. */
static void peaks(pare_view *view, pare_findings *to)
{
    pare_measure most = pare_measure_absent();
    for (int i = 0; i < view->study->count; i++) {
        const pare_metric *share = pare_cell_metric(&view->study->cells[i], "peak_share");
        if (share && !share->measure.absent && (most.absent || share->measure.value > most.value))
            most = share->measure;
    }
    if (!most.absent && most.value > 1.05)
        pare_findings_add(view, to, "Noise", PARE_VERDICT_FACT,
                          "Shares of the peak rate reach %s: this machine's limits were measured "
                          "too low. Measure them again on the idle machine (pare hw --limits), "
                          "then the study (pare study run --again).",
                          pare_words(view, "peak_share", most, false));
}

static void scope(pare_view *view, pare_findings *to)
{
    for (int i = 0; i < view->study->count; i++) {
        const pare_record *eval = view->study->cells[i].eval;
        const pare_metric *tokens = eval ? pare_record_metric(eval, "tokens") : NULL;
        if (!tokens)
            continue;
        const char *text = pare_record_condition(eval, "text"),
                   *protocol = pare_record_condition(eval, "protocol"),
                   *context = pare_record_condition(eval, "context");
        pare_findings_add(
            view, to, "Scope", PARE_VERDICT_FACT,
            "Quality is that of one text (%s, %s tokens, protocol %s, context %s): it says "
            "little about other languages and tasks.",
            text ? text : "unnamed", pare_words(view, "tokens", tokens->measure, false),
            protocol ? protocol : "?", context ? context : "?");
        break;
    }
    pare_findings_add(view, to, "Scope", PARE_VERDICT_FACT,
                      "All numbers are of one machine (%s) and of %d workload%s; other machines "
                      "differ in bandwidth and in instructions.",
                      view->study->machine ? view->study->machine : "unnamed", view->workloads,
                      view->workloads == 1 ? "" : "s");
}

pare_findings pare_findings_of_limits(pare_view *view)
{
    pare_findings all = pare_findings_begin(view);
    synthetic_models(view, &all);
    failures(view, &all);
    noise(view, &all);
    memory_states(view, &all);
    peaks(view, &all);
    absent_metrics(view, &all);
    scope(view, &all);
    return all;
}
