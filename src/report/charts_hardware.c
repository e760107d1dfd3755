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
