/* Speed, speed-up, workloads; the dashboard. */
#include "report/charts.h"
#include "report/plot.h"

#include <math.h>
#include <string.h>

/* One above the other: bars of many models and recipes need the width. */
static void two_rows(pare_canvas *canvas, pare_view *view, pare_box box,
                     const char *const metrics[2], const char *const headings[2], double reference)
{
    if (!pare_chart_names_bars(view))
        box = pare_chart_choices(canvas, view, box, false, true);
    bool side = pare_chart_names_bars(view) && !pare_chart_stacks(view);
    for (int i = 0; i < 2; i++) {
        pare_box cell = pare_plot_cell(box, side ? 2 : 1, side ? 1 : 2, i, side ? 28 : 14);
        cell = pare_plot_heading(canvas, cell, headings[i]);
        pare_chart_bars(canvas, view, cell, metrics[i], NULL, reference);
    }
}

void pare_draw_speed(pare_canvas *canvas, pare_view *view)
{
    static const char *const metrics[] = {"decode_tokens_per_s", "prefill_tokens_per_s"};
    static const char *const headings[] = {"Decode: one token after the other",
                                           "Prefill: the prompt at once"};
    pare_box box = pare_chart_begin(canvas, view, "Speed: prefill and decode");
    two_rows(canvas, view, box, metrics, headings, NAN);
}

void pare_draw_speedup(pare_canvas *canvas, pare_view *view)
{
    static const char *const metrics[] = {"decode_speedup", "prefill_speedup"};
    static const char *const headings[] = {"Decode", "Prefill"};
    pare_box box = pare_chart_begin(canvas, view, "Speed-up against the baseline");
    two_rows(canvas, view, box, metrics, headings, 1);
}

/* Panels are models, groups are choices, bars are workloads. */
static void workload_panel(pare_canvas *canvas, pare_view *view, pare_box box, int m, bool log)
{
    static const char metric[] = "decode_tokens_per_s";
    size_t most = (size_t)(view->choices * view->workloads);
    pare_bar *bars = pare_arena_allocate(&view->arena, most * sizeof *bars);
    const char **labels = pare_arena_allocate(&view->arena, most * sizeof *labels);
    if (!bars || !labels)
        return;
    for (int c = 0; c < view->choices; c++) {
        labels[c] = view->choice[c].label;
        for (int w = 0; w < view->workloads; w++)
            bars[c * view->workloads + w] = (pare_bar){pare_view_get(view, m, c, w, metric), w,
                                                       pare_view_hot(view, m, c, w, metric)};
    }
    const pare_bars plot = {.metric = metric,
                            .groups = view->choices,
                            .series = view->workloads,
                            .labels = labels,
                            .bars = bars,
                            .reference = NAN,
                            .log = log,
                            .never_log = !log};
    pare_plot_bars(canvas, box, &plot);
}

/* Whether any model's values differ so much that none of the panels has bars. */
static bool far_apart(const pare_view *view)
{
    for (int m = 0; m < view->models; m++) {
        double low = INFINITY, high = 0;
        for (int c = 0; c < view->choices; c++)
            for (int w = 0; w < view->workloads; w++) {
                pare_measure v = pare_view_get(view, m, c, w, "decode_tokens_per_s");
                if (!v.absent)
                    low = fmin(low, v.value), high = fmax(high, v.value);
            }
        if (high > PARE_BARS_MOST_RATIO * low)
            return true;
    }
    return false;
}

void pare_draw_workloads(pare_canvas *canvas, pare_view *view)
{
    enum { MOST = 24 };
    pare_legend_entry entries[MOST];
    pare_box box = pare_chart_begin_all(canvas, view, "Decode speed by workload");
    int count = view->workloads < MOST ? view->workloads : MOST;
    bool log = far_apart(view);
    for (int w = 0; w < count; w++)
        entries[w] =
            (pare_legend_entry){view->workload[w], log ? PARE_KEY_MARKER : PARE_KEY_BAR, w};
    box = pare_plot_legend(canvas, box, entries, count);
    int columns = view->models > 1 ? 2 : 1, rows = (view->models + columns - 1) / columns;
    for (int m = 0; m < view->models; m++) {
        pare_box cell = pare_plot_cell(box, columns, rows, m, 22);
        workload_panel(canvas, view, pare_plot_heading(canvas, cell, view->model_label[m]), m, log);
    }
}

/* The fourth view is energy where there are counters, otherwise how much of the memory's bandwidth
 * decoding reaches. */
void pare_draw_dashboard(pare_canvas *canvas, pare_view *view)
{
    bool quality = pare_view_count(view, "quality_loss") > 0,
         energy = pare_view_count(view, "decode_joules_per_token") > 0;
    const char *const metrics[] = {"decode_tokens_per_s", "peak_rss_bytes",
                                   quality ? "quality_loss" : "ttft_ms",
                                   energy ? "decode_joules_per_token" : "bandwidth_share"};
    const char *const headings[] = {
        "Speed: decode (higher is better)", "Memory: peak (lower is better)",
        quality ? "Quality: change of perplexity (lower is better)"
                : "Time to the first token (lower is better)",
        energy ? "Efficiency: energy of a decoded token (lower is better)"
               : "Efficiency: share of the memory bandwidth in decode"};
    pare_box box = pare_chart_begin(canvas, view, "Speed, memory, quality and efficiency");
    if (!pare_chart_names_bars(view))
        box = pare_chart_choices(canvas, view, box, false, true);
    for (int i = 0; i < 4; i++) {
        pare_box cell = pare_plot_cell(box, 2, 2, i, 26);
        cell = pare_plot_heading(canvas, cell, headings[i]);
        pare_chart_bars(canvas, view, cell, metrics[i],
                        strcmp(metrics[i], "quality_loss") == 0 ? "against the baseline" : NULL,
                        NAN);
    }
}
