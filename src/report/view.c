#include "report/view.h"

#include "base/fail.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pare_measure pare_measure_absent(void)
{
    return (pare_measure){.absent = true};
}

pare_measure pare_measure_exact(double value)
{
    return (pare_measure){value, value, value, !isfinite(value)};
}

bool pare_measure_excludes(pare_measure m, double value)
{
    return !m.absent && m.high > m.low && (m.low > value || m.high < value);
}

/* ---- making ---- */

static int find_text(const char *const *list, int count, const char *text)
{
    for (int i = 0; i < count; i++)
        if (strcmp(list[i], text) == 0)
            return i;
    return -1;
}

static int find_choice(const pare_view *v, const pare_cell *cell)
{
    for (int i = 0; i < v->choices; i++)
        if (strcmp(v->choice[i].recipe, cell->recipe) == 0 &&
            strcmp(v->choice[i].backend, cell->backend) == 0)
            return i;
    return -1;
}

static void *keep(pare_view *v, size_t count, size_t size)
{
    return pare_arena_allocate(&v->arena, count * size + 1);
}

static const char *join(pare_view *v, const char *a, const char *b)
{
    char text[256];
    snprintf(text, sizeof text, "%s%s", a, b);
    const char *kept = pare_arena_copy(&v->arena, text, strlen(text));
    return kept ? kept : a;
}

static void collect(pare_view *v)
{
    const pare_study *s = v->study;
    for (int i = 0; i < s->count; i++) {
        const pare_cell *cell = &s->cells[i];
        int m = find_text(v->model, v->models, cell->model);
        if (m < 0)
            v->model[m = v->models++] = cell->model;
        v->synthetic[m] |= cell->synthetic;
        if (find_text(v->workload, v->workloads, cell->workload) < 0)
            v->workload[v->workloads++] = cell->workload;
        if (find_choice(v, cell) < 0)
            v->choice[v->choices++] = (pare_choice){cell->recipe, cell->backend, cell->label};
    }
}

static void label(pare_view *v)
{
    bool several = false;
    for (int i = 1; i < v->choices; i++)
        several |= strcmp(v->choice[i].backend, v->choice[0].backend) != 0;
    v->base = -1;
    for (int i = 0; i < v->choices; i++) {
        if (v->base < 0 && strcmp(v->choice[i].recipe, v->study->baseline) == 0)
            v->base = i;
        if (several)
            v->choice[i].label =
                join(v, v->choice[i].label,
                     strcmp(v->choice[i].backend, "cuda") == 0 ? ", GPU" : ", CPU");
    }
    for (int m = 0; m < v->models; m++) {
        v->any_synthetic |= v->synthetic[m];
        v->model_label[m] = v->synthetic[m] ? join(v, v->model[m], "*") : v->model[m];
    }
}

static const pare_cell **slot(const pare_view *v, int m, int c, int w)
{
    return &v->cells[(m * v->choices + c) * v->workloads + w];
}

/* The record with the highest tier and the most threads has the machine's limits. */
static pare_status take_limits(void *user, const pare_record *record)
{
    pare_view_limits *limits = user;
    static const char *const names[] = {"read_bandwidth_bytes_per_s", "int8_ops_per_s",
                                        "bf16_flops_per_s", "fp32_flops_per_s"};
    pare_measure *const to[] = {&limits->read_bandwidth, &limits->int8_ops, &limits->bf16_flops,
                                &limits->fp32_flops};
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        const pare_metric *metric = pare_record_metric(record, names[i]);
        if (metric && !metric->measure.absent &&
            (to[i]->absent || metric->measure.value > to[i]->value))
            *to[i] = metric->measure;
    }
    return PARE_OK;
}

static pare_status read_limits(pare_view *v, pare_store *store)
{
    pare_measure nothing = pare_measure_absent();
    v->limits = (pare_view_limits){nothing, nothing, nothing, nothing};
    if (!store || !v->study->machine_id)
        return PARE_OK;
    pare_condition here = {"machine_id", v->study->machine_id};
    pare_filter filter = {.kind = "limits", .conditions = &here, .condition_count = 1};
    return pare_store_query(store, &filter, false, take_limits, &v->limits);
}

/* ---- measures ---- */

const pare_cell *pare_view_cell(const pare_view *v, int m, int c, int w)
{
    return m < 0 || c < 0 || w < 0 || m >= v->models || c >= v->choices || w >= v->workloads
               ? NULL
               : *slot(v, m, c, w);
}

static pare_measure of_cell(const pare_cell *cell, const char *name)
{
    const pare_metric *metric = cell ? pare_cell_metric(cell, name) : NULL;
    return metric ? metric->measure : pare_measure_absent();
}

/* m x factor + offset. */
static pare_measure shifted(pare_measure m, double factor, double offset)
{
    double a = m.low * factor + offset, b = m.high * factor + offset;
    return (pare_measure){m.value * factor + offset, fmin(a, b), fmax(a, b), m.absent};
}

static const pare_cell *baseline_of(const pare_view *v, const pare_cell *cell, int m, int w)
{
    const pare_cell *base = pare_study_baseline(v->study, cell);
    return base ? base : pare_view_cell(v, m, v->base, w);
}

const char *const pare_view_derived[PARE_VIEW_DERIVED] = {
    "decode_speedup", "prefill_speedup", "memory_reduction", "weights_reduction", "quality_loss"};

static pare_measure derive(const pare_cell *cell, const pare_cell *base, int which)
{
    static const char *const of[PARE_VIEW_DERIVED] = {"decode_tokens_per_s", "prefill_tokens_per_s",
                                                      "peak_rss_bytes", "weights_bytes", NULL};
    if (!of[which])
        return pare_quality_loss(cell, base);
    if (!base)
        return pare_measure_absent();
    pare_measure ratio = pare_cell_ratio(cell, base, of[which]);
    if (cell == base)
        ratio.low = ratio.high = ratio.value;
    return strstr(pare_view_derived[which], "reduction") ? shifted(ratio, -1, 1) : ratio;
}

/* Once for each cell: intervals of ratios are not free. */
static pare_status derive_all(pare_view *v)
{
    size_t count = (size_t)v->models * (size_t)v->choices * (size_t)v->workloads;
    v->derived = keep(v, count * PARE_VIEW_DERIVED, sizeof *v->derived);
    if (!v->derived)
        return PARE_OUT_OF_MEMORY;
    for (int m = 0; m < v->models; m++)
        for (int c = 0; c < v->choices; c++)
            for (int w = 0; w < v->workloads; w++) {
                const pare_cell **at = slot(v, m, c, w);
                const pare_cell *base = *at ? baseline_of(v, *at, m, w) : NULL;
                for (int d = 0; d < PARE_VIEW_DERIVED; d++)
                    v->derived[(at - v->cells) * PARE_VIEW_DERIVED + d] =
                        *at ? derive(*at, base, d) : pare_measure_absent();
            }
    return PARE_OK;
}

pare_measure pare_view_get(const pare_view *v, int m, int c, int w, const char *metric)
{
    const pare_cell *cell = pare_view_cell(v, m, c, w);
    if (!cell)
        return pare_measure_absent();
    for (int d = 0; d < PARE_VIEW_DERIVED; d++)
        if (strcmp(metric, pare_view_derived[d]) == 0)
            return v->derived[(slot(v, m, c, w) - v->cells) * PARE_VIEW_DERIVED + d];
    return of_cell(cell, metric);
}

/* ---- the whole ---- */

/* The store's cells of this study, and the tree that they give. */
static pare_status read_results(pare_view *v, pare_store *store)
{
    pare_status status;
    if (!store)
        return PARE_OK;
    PARE_TRY(pare_results_load(store, &v->stored));
    v->results = keep(v, 1, sizeof *v->results);
    pare_cell *cells = keep(v, (size_t)v->stored->count, sizeof *cells);
    if (!v->results || !cells)
        return PARE_OUT_OF_MEMORY;
    *v->results = (pare_results){.cells = cells, .memory = v->stored->memory};
    for (int i = 0; i < v->stored->count; i++) {
        const char *of = pare_cell_study(&v->stored->cells[i]);
        if (of && strcmp(of, v->study->name) == 0)
            cells[v->results->count++] = v->stored->cells[i];
    }
    status = pare_tree_fit(v->results, &v->tree);
    if (status == PARE_NOT_FOUND) /* nothing to choose from */
        status = PARE_OK;
fail:
    return status;
}

pare_status pare_view_make(const pare_study *study, pare_store *store, pare_view *out)
{
    pare_view v = {.study = study};
    size_t n = (size_t)study->count;
    pare_status status;
    v.model = keep(&v, n, sizeof *v.model);
    v.model_label = keep(&v, n, sizeof *v.model_label);
    v.synthetic = keep(&v, n, sizeof *v.synthetic);
    v.choice = keep(&v, n, sizeof *v.choice);
    v.workload = keep(&v, n, sizeof *v.workload);
    if (!v.model || !v.model_label || !v.synthetic || !v.choice || !v.workload) {
        status = PARE_OUT_OF_MEMORY;
        goto fail;
    }
    collect(&v);
    label(&v);
    v.cells = keep(&v, (size_t)v.models * (size_t)v.choices * (size_t)v.workloads, sizeof *v.cells);
    if (!v.cells) {
        status = PARE_OUT_OF_MEMORY;
        goto fail;
    }
    for (size_t i = 0; i < n; i++) {
        const pare_cell *cell = &study->cells[i];
        *slot(&v, find_text(v.model, v.models, cell->model), find_choice(&v, cell),
              find_text(v.workload, v.workloads, cell->workload)) = cell;
    }
    PARE_TRY(derive_all(&v));
    PARE_TRY(read_results(&v, store));
    PARE_TRY(read_limits(&v, store));
    *out = v;
    return PARE_OK;
fail:
    pare_view_free(&v);
    return status;
}

void pare_view_free(pare_view *view)
{
    pare_tree_free(view->tree);
    pare_results_free(view->stored);
    pare_arena_free(&view->arena);
    *view = (pare_view){0};
}

const char *pare_view_reason(const pare_view *v, int m, int c, int w, const char *metric)
{
    const pare_cell *cell = pare_view_cell(v, m, c, w);
    if (!cell)
        return "not part of the study";
    const pare_metric *found = pare_cell_metric(cell, metric);
    if (found && found->absent_reason)
        return found->absent_reason;
    if (cell->failure)
        return cell->failure;
    if (cell->synthetic && (strstr(metric, "perplexity") || strstr(metric, "quality")))
        return "random weights have no quality";
    return "not measured";
}

int pare_view_count_of_model(const pare_view *v, int m, const char *metric)
{
    int count = 0;
    for (int c = 0; c < v->choices; c++)
        for (int w = 0; w < v->workloads; w++)
            count += !pare_view_get(v, m, c, w, metric).absent;
    return count;
}

int pare_view_count(const pare_view *v, const char *metric)
{
    int count = 0;
    for (int m = 0; m < v->models; m++)
        count += pare_view_count_of_model(v, m, metric);
    return count;
}

pare_measure pare_view_fact(const pare_view *v, int m, const char *metric)
{
    for (int i = 0; i < v->study->model_count; i++) {
        const pare_study_model *model = &v->study->models[i];
        if (strcmp(model->name, v->model[m]) != 0)
            continue;
        const pare_metric *found = model->facts ? pare_record_metric(model->facts, metric) : NULL;
        if (found)
            return found->measure;
    }
    return pare_measure_absent();
}

const char *pare_view_hot(pare_view *v, int m, int c, int w, const char *metric)
{
    char text[400], number[PARE_NUMBER_BYTES];
    pare_measure measure = pare_view_get(v, m, c, w, metric);
    const pare_metric_info *info = pare_metric_find(metric);
    const char *title = info ? info->title : metric;
    const pare_cell *cell = pare_view_cell(v, m, c, w);
    const pare_metric *found = cell ? pare_cell_metric(cell, metric) : NULL;
    int n;
    if (!cell)
        return NULL;
    if (measure.absent)
        n = snprintf(text, sizeof text, "%s, %s: no %s: %s", v->model_label[m], v->choice[c].label,
                     title, pare_view_reason(v, m, c, w, metric));
    else
        n = snprintf(text, sizeof text, "%s, %s: %s %s", v->model_label[m], v->choice[c].label,
                     title, pare_metric_text_unit(number, metric, measure, true));
    if (!measure.absent && found && found->sample_count > 1 && n > 0 && (size_t)n < sizeof text)
        snprintf(text + n, sizeof text - (size_t)n, " (%lld samples)",
                 (long long)found->sample_count);
    return pare_arena_copy(&v->arena, text, strlen(text));
}
