/* Tables of models and recipes with shaded cells: the decision matrix, the hardware's efficiency.
 */
#include "report/charts.h"
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_COLUMNS = 8 };

typedef struct column {
    const char *metric, *head; /* head NULL: the metric's title */
    double worst, best;        /* where the colours end */
    bool ratio;                /* shaded by its logarithm */
} column;

static double shade_of(const column *k, double value)
{
    double t = k->ratio ? (log(value) - log(k->worst)) / (log(k->best) - log(k->worst))
                        : (value - k->worst) / (k->best - k->worst);
    return k->best == k->worst ? 0.5 : fmin(fmax(t, 0), 1);
}

static const char *keep(pare_view *view, const char *text)
{
    const char *kept = pare_arena_copy(&view->arena, text, strlen(text));
    return kept ? kept : "";
}

static void fill_row(pare_view *view, int m, int c, const column *columns, int count,
                     pare_heat_cell *cells)
{
    char text[PARE_NUMBER_BYTES];
    for (int i = 0; i < count; i++) {
        pare_measure value = pare_view_get(view, m, c, 0, columns[i].metric);
        cells[i] = (pare_heat_cell){
            .shade = value.absent ? NAN : shade_of(&columns[i], value.value),
            .text = keep(view, pare_metric_text(text, columns[i].metric, value, false)),
            .hot = pare_view_hot(view, m, c, 0, columns[i].metric)};
    }
}

/* A row for each choice of each model, those of a model together. `heat` holds how it is coloured.
 */
static void draw(pare_canvas *canvas, pare_view *view, const char *title, const column *columns,
                 int count, pare_heat heat)
{
    const char *heads[MOST_COLUMNS];
    size_t most = (size_t)(view->models * view->choices);
    pare_heat_cell *cells = pare_arena_allocate(&view->arena, most * MOST_COLUMNS * sizeof *cells);
    const char **labels = pare_arena_allocate(&view->arena, most * sizeof *labels);
    int *groups = pare_arena_allocate(&view->arena, most * sizeof *groups), rows = 0;
    if (!cells || !labels || !groups)
        return;
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++) {
            char text[200];
            if (!pare_view_cell(view, m, c, 0))
                continue;
            snprintf(text, sizeof text, "%s  %s", view->model_label[m], view->choice[c].label);
            groups[rows] = m;
            fill_row(view, m, c, columns, count, &cells[rows * count]);
            labels[rows++] = keep(view, view->models > 1 ? text : view->choice[c].label);
        }
    for (int i = 0; i < count; i++)
        heads[i] = columns[i].head ? columns[i].head : pare_metric_find(columns[i].metric)->title;
    heat.rows = rows;
    heat.columns = count;
    heat.row_labels = labels;
    heat.column_labels = heads;
    heat.cells = cells;
    heat.row_groups = groups;
    heat.marked = -1;
    pare_plot_heat(canvas, pare_chart_begin(canvas, view, title), &heat);
}

/* Where the colours of the matrix end; the middle is "as the baseline". */
static const column criteria[MOST_COLUMNS] = {
    {"decode_speedup", "Decode speed", 1 / 3.0, 3, true},
    {"prefill_speedup", "Prefill speed", 1 / 3.0, 3, true},
    {"memory_reduction", "Peak memory saved", -0.75, 0.75, false},
    {"weights_reduction", "Weights saved", -0.75, 0.75, false},
    {"quality_loss", "Perplexity change", 0.1, -0.1, false},
    {"top1", "Top-1 agreement", 0.6, 1.0, false},
    {"quality_score", "Quality score (0 to 5)", 0, 5, false},
};

void pare_draw_decision(pare_canvas *canvas, pare_view *view)
{
    column used[MOST_COLUMNS];
    int count = 0;
    for (int i = 0; i < MOST_COLUMNS; i++)
        if (criteria[i].metric && pare_view_count(view, criteria[i].metric))
            used[count++] = criteria[i];
    draw(canvas, view, "Deployment decision matrix", used, count,
         (pare_heat){
             .diverging = true, .low_text = "worse than the baseline", .high_text = "better"});
}

/* The lowest and the highest of a column are where its colours end. */
static column spanned(const pare_view *view, const char *metric)
{
    column all = {metric, NULL, INFINITY, -INFINITY, false};
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++) {
            pare_measure value = pare_view_get(view, m, c, 0, metric);
            if (!value.absent) {
                all.worst = fmin(all.worst, value.value);
                all.best = fmax(all.best, value.value);
            }
        }
    return all;
}

void pare_draw_efficiency(pare_canvas *canvas, pare_view *view)
{
    static const char *const metrics[MOST_COLUMNS] = {"decode_bandwidth_bytes_per_s",
                                                      "bandwidth_share",
                                                      "prefill_ops_per_s",
                                                      "peak_share",
                                                      "cpu_utilization",
                                                      "ipc",
                                                      "tokens_per_s_per_watt",
                                                      "gpu_utilization"};
    column used[MOST_COLUMNS];
    int count = 0;
    for (int i = 0; i < MOST_COLUMNS; i++)
        if (pare_view_count(view, metrics[i]))
            used[count++] = spanned(view, metrics[i]);
    draw(canvas, view, "Hardware efficiency", used, count,
         (pare_heat){.low_text = "lowest of the column", .high_text = "highest of the column"});
}
