/* How well the hardware is used: utilization, efficiency, energy. */
#include "report/charts.h"
#include "report/plot.h"

#include <math.h>
#include <string.h>

typedef struct panel {
    const char *metric, *heading, *y_title;
} panel;

/* Those of the panels that have values, in a grid. */
static void panels(pare_canvas *canvas, pare_view *view, pare_box box, const panel *list, int count)
{
    enum { MOST = 8 };
    const panel *shown[MOST];
    int n = 0;
    for (int i = 0; i < count && n < MOST; i++)
        if (pare_view_count(view, list[i].metric))
            shown[n++] = &list[i];
    if (!pare_chart_names_bars(view))
        box = pare_chart_choices(canvas, view, box, false, true);
    /* Bars of many models need the width, those of one the height. */
    bool side = pare_chart_names_bars(view) && !pare_chart_stacks(view);
    int columns = n > 3 ? 2 : side ? n : 1;
    int rows = (n + columns - 1) / (columns ? columns : 1);
    for (int i = 0; i < n; i++) {
        pare_box cell = pare_plot_cell(box, columns, rows, i, 22);
        cell = pare_plot_heading(canvas, cell, shown[i]->heading);
        pare_chart_bars(canvas, view, cell, shown[i]->metric, shown[i]->y_title, NAN);
    }
}

void pare_draw_cpu(pare_canvas *canvas, pare_view *view)
{
    static const panel list[] = {
        {"bandwidth_share", "Decode: share of the memory bandwidth",
         "of pure reading; above 100 %: caches"},
        {"peak_share", "Prefill: share of the peak rate", "of the instructions used"},
        {"cpu_utilization", "Processor time used", "of the threads' time"},
        {"ipc", "Instructions per cycle", NULL},
    };
    pare_box box = pare_chart_begin(canvas, view, "CPU utilization");
    panels(canvas, view, box, list, sizeof list / sizeof *list);
}

void pare_draw_gpu(pare_canvas *canvas, pare_view *view)
{
    static const panel list[] = {
        {"gpu_utilization", "GPU busy", "share of the time"},
        {"gpu_memory_utilization", "Memory controller busy", "share of the time"},
        {"gpu_watts", "Power", "W"},
        {"gpu_temperature_celsius", "Temperature", "°C"},
    };
    pare_box box = pare_chart_begin(canvas, view, "GPU utilization");
    panels(canvas, view, box, list, sizeof list / sizeof *list);
}

void pare_draw_energy(pare_canvas *canvas, pare_view *view)
{
    static const panel list[] = {
        {"decode_joules_per_token", "Energy of a decoded token (lower is better)", NULL},
        {"prefill_joules_per_token", "Energy of a prefill token (lower is better)", NULL},
        {"decode_watts", "Power in decode", NULL},
        {"tokens_per_s_per_watt", "Decode speed per watt (higher is better)", NULL},
    };
    pare_box box = pare_chart_begin(canvas, view, "Energy and power");
    panels(canvas, view, box, list, sizeof list / sizeof *list);
}

/* ---- heat map ---- */

enum { MOST_COLUMNS = 8 };
static const char *const heat_metrics[MOST_COLUMNS] = {"decode_bandwidth_bytes_per_s",
                                                       "bandwidth_share",
                                                       "prefill_ops_per_s",
                                                       "peak_share",
                                                       "cpu_utilization",
                                                       "ipc",
                                                       "tokens_per_s_per_watt",
                                                       "gpu_utilization"};

static int heat_columns(const pare_view *view, const char **metrics)
{
    int count = 0;
    for (int i = 0; i < MOST_COLUMNS; i++)
        if (pare_view_count(view, heat_metrics[i]))
            metrics[count++] = heat_metrics[i];
    return count;
}

static void span_of(const pare_view *view, const char *metric, double *low, double *high)
{
    *low = INFINITY, *high = -INFINITY;
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++) {
            pare_measure value = pare_view_get(view, m, c, 0, metric);
            if (!value.absent)
                *low = fmin(*low, value.value), *high = fmax(*high, value.value);
        }
}

static const char *keep(pare_view *view, const char *text)
{
    const char *kept = pare_arena_copy(&view->arena, text, strlen(text));
    return kept ? kept : "";
}

static void fill_row(pare_view *view, int m, int c, const char *const *metrics, int columns,
                     pare_heat_cell *cells)
{
    char text[PARE_NUMBER_BYTES];
    for (int i = 0; i < columns; i++) {
        double low, high;
        pare_measure value = pare_view_get(view, m, c, 0, metrics[i]);
        span_of(view, metrics[i], &low, &high);
        cells[i] =
            (pare_heat_cell){.shade = value.absent ? NAN
                                      : high > low ? (value.value - low) / (high - low)
                                                   : 0.5,
                             .text = keep(view, pare_metric_text(text, metrics[i], value, false)),
                             .hot = pare_view_hot(view, m, c, 0, metrics[i])};
    }
}

void pare_draw_efficiency(pare_canvas *canvas, pare_view *view)
{
    const char *metrics[MOST_COLUMNS], *heads[MOST_COLUMNS];
    int columns = heat_columns(view, metrics), rows = 0;
    size_t most = (size_t)(view->models * view->choices);
    pare_heat_cell *cells = pare_arena_allocate(&view->arena, most * MOST_COLUMNS * sizeof *cells);
    const char **labels = pare_arena_allocate(&view->arena, most * sizeof *labels);
    int *groups = pare_arena_allocate(&view->arena, most * sizeof *groups);
    if (!cells || !labels || !groups)
        return;
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++) {
            char text[200];
            if (!pare_view_cell(view, m, c, 0))
                continue;
            size_t n = 0;
            for (const char *part = view->model_label[m]; *part && n < 90; part++)
                text[n++] = *part;
            text[n++] = ' ', text[n++] = ' ';
            strncpy(text + n, view->choice[c].label, sizeof text - n - 1);
            text[sizeof text - 1] = 0;
            groups[rows] = m;
            fill_row(view, m, c, metrics, columns, &cells[rows * columns]);
            labels[rows++] = keep(view, view->models > 1 ? text : view->choice[c].label);
        }
    for (int i = 0; i < columns; i++)
        heads[i] = pare_metric_find(metrics[i])->title;
    pare_box box = pare_chart_begin(canvas, view, "Hardware efficiency");
    const pare_heat heat = {.rows = rows,
                            .columns = columns,
                            .row_labels = labels,
                            .column_labels = heads,
                            .cells = cells,
                            .low_text = "lowest of the column",
                            .high_text = "highest of the column",
                            .row_groups = groups,
                            .marked = -1};
    pare_plot_heat(canvas, box, &heat);
}
