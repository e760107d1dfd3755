/* What to deploy: the radar, Pareto fronts, size against performance. */
#include "report/charts.h"
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_POINTS = 512, MOST_CURVES = 32 };

/* ---- radar ---- */

static const struct {
    const char *metric, *label;
    bool low; /* the lowest is best */
} dimensions[] = {
    {"decode_tokens_per_s", "decode speed", false},
    {"prefill_tokens_per_s", "prefill speed", false},
    {"peak_rss_bytes", "small memory", true},
    {"file_bytes", "small file", true},
    {"perplexity", "quality (perplexity)", true},
    {"top1", "agreement", false},
    {"decode_joules_per_token", "low energy", true},
};
enum { DIMENSIONS = sizeof dimensions / sizeof *dimensions };

static double best_of(const pare_view *view, int m, int d)
{
    double best = NAN;
    for (int c = 0; c < view->choices; c++) {
        pare_measure v = pare_view_get(view, m, c, 0, dimensions[d].metric);
        if (!v.absent && v.value > 0)
            best = isnan(best)         ? v.value
                   : dimensions[d].low ? fmin(best, v.value)
                                       : fmax(best, v.value);
    }
    return best;
}

static void radar_panel(pare_canvas *canvas, pare_view *view, pare_box box, int m)
{
    const char *labels[DIMENSIONS];
    int used[DIMENSIONS], axes = 0;
    for (int d = 0; d < DIMENSIONS; d++)
        if (isfinite(best_of(view, m, d))) {
            used[axes] = d;
            labels[axes++] = dimensions[d].label;
        }
    size_t n = (size_t)(view->choices * axes + 1);
    double *values = pare_arena_allocate(&view->arena, n * sizeof *values);
    int *colours = pare_arena_allocate(&view->arena, (size_t)view->choices * sizeof *colours);
    if (axes < 3 || !values || !colours)
        return;
    int series = 0;
    for (int c = 0; c < view->choices; c++) {
        bool any = false;
        for (int a = 0; a < axes; a++) {
            pare_measure v = pare_view_get(view, m, c, 0, dimensions[used[a]].metric);
            double best = best_of(view, m, used[a]);
            values[series * axes + a] = v.absent || !(v.value > 0) ? NAN
                                        : dimensions[used[a]].low  ? best / v.value
                                                                   : v.value / best;
            any |= !v.absent;
        }
        colours[series] = c;
        series += any;
    }
    const pare_radar radar = {axes, series, labels, values, colours};
    pare_plot_radar(canvas, box, &radar);
}

void pare_draw_radar(pare_canvas *canvas, pare_view *view)
{
    pare_box box = pare_chart_begin(canvas, view, "Recipes in several dimensions");
    box = pare_chart_choices(canvas, view, box, true, false);
    int shown = view->models < 6 ? view->models : 6;
    int columns = shown > 4 ? 3 : shown > 1 ? 2 : 1, rows = (shown + columns - 1) / columns;
    for (int m = 0; m < shown; m++) {
        pare_box cell = pare_plot_cell(box, columns, rows, m, 10);
        radar_panel(canvas, view, pare_plot_heading(canvas, cell, view->model_label[m]), m);
    }
}

/* ---- Pareto fronts ---- */

/* Lower x and higher y are better: the steps of those that nobody beats, from the left. */
static int front(const pare_point *points, int count, double *x, double *y)
{
    int n = 0;
    double reached = -INFINITY, last = -INFINITY;
    for (;;) {
        int next = -1;
        for (int i = 0; i < count; i++) {
            double px = points[i].x.value, py = points[i].y.value;
            if (py <= reached || px < last)
                continue;
            if (next < 0 || px < points[next].x.value ||
                (px == points[next].x.value && py > points[next].y.value))
                next = i;
        }
        if (next < 0)
            return n;
        x[n] = last = points[next].x.value;
        y[n++] = reached = points[next].y.value;
    }
}

/* x where lower is better against decode speed. */
static void pareto_panel(pare_canvas *canvas, pare_view *view, pare_box box, int m,
                         const char *metric, const char *x_title)
{
    size_t n = (size_t)view->choices;
    pare_point *points = pare_arena_allocate(&view->arena, n * sizeof *points);
    double *x = pare_arena_allocate(&view->arena, 2 * n * sizeof *x), *y = x + n;
    int count = 0;
    if (!points || !x)
        return;
    for (int c = 0; c < view->choices; c++) {
        pare_point p = {.x = pare_view_get(view, m, c, 0, metric),
                        .y = pare_view_get(view, m, c, 0, "decode_tokens_per_s"),
                        .series = c,
                        .shape = c,
                        .radius = 6,
                        .label = view->choice[c].label,
                        .hot = pare_view_hot(view, m, c, 0, "decode_tokens_per_s")};
        if (!p.x.absent && !p.y.absent)
            points[count++] = p;
    }
    pare_curve curve = {.x = x, .y = y, .series = -1, .steps = true};
    curve.count = front(points, count, x, y);
    const pare_points plot = {.x_metric = metric,
                              .y_metric = "decode_tokens_per_s",
                              .x_title = x_title,
                              .y_title = "decode, tokens/s (up is better)",
                              .x_reference = NAN,
                              .y_reference = NAN,
                              .points = points,
                              .count = count,
                              .curves = &curve,
                              .curve_count = 1};
    pare_plot_points(canvas, box, &plot);
}

void pare_draw_pareto(pare_canvas *canvas, pare_view *view)
{
    enum { MOST = 12 };
    char heading[160];
    int with_quality = 0;
    pare_box box = pare_chart_begin(canvas, view, "Pareto fronts of memory, quality and speed");
    box = pare_chart_choices(canvas, view, box, true, false);
    for (int m = 0; m < view->models; m++)
        with_quality += pare_view_count_of_model(view, m, "quality_loss") > 1;
    int count = view->models + with_quality, at = 0;
    count = count < MOST ? count : MOST;
    int columns = count > 4 ? 3 : count > 1 ? 2 : 1, rows = (count + columns - 1) / columns;
    for (int pass = 0; pass < 2; pass++)
        for (int m = 0; m < view->models && at < count; m++) {
            if (pass && pare_view_count_of_model(view, m, "quality_loss") < 2)
                continue;
            pare_box cell = pare_plot_cell(box, columns, rows, at++, 16);
            snprintf(heading, sizeof heading, "%s: %s", view->model_label[m],
                     pass ? "quality and speed" : "memory and speed");
            cell = pare_plot_heading(canvas, cell, heading);
            pareto_panel(canvas, view, cell, m, pass ? "quality_loss" : "peak_rss_bytes",
                         pass ? "change of perplexity (left is better)"
                              : "peak memory (left is better)");
        }
}

/* ---- size against performance ---- */

static void size_panel(pare_canvas *canvas, pare_view *view, pare_box box, const char *metric,
                       const char *y_title)
{
    pare_point *points = pare_arena_allocate(&view->arena, MOST_POINTS * sizeof *points);
    pare_curve *curves = pare_arena_allocate(&view->arena, MOST_CURVES * sizeof *curves);
    int count = 0, curve_count = 0;
    if (!points || !curves)
        return;
    for (int c = 0; c < view->choices && curve_count < MOST_CURVES; c++) {
        double *x = pare_arena_allocate(&view->arena, 2 * sizeof *x * (size_t)view->models);
        int n = 0;
        if (!x)
            return;
        for (int m = 0; m < view->models && count < MOST_POINTS; m++) {
            pare_measure size = pare_view_get(view, m, c, 0, "weights_bytes"),
                         value = pare_view_get(view, m, c, 0, metric);
            if (size.absent || value.absent)
                continue;
            points[count++] = (pare_point){.x = size,
                                           .y = value,
                                           .series = c,
                                           .shape = view->models > 1 ? m : c,
                                           .hot = pare_view_hot(view, m, c, 0, metric)};
            int at = n++;
            for (; at > 0 && x[at - 1] > size.value; at--)
                x[at] = x[at - 1], x[view->models + at] = x[view->models + at - 1];
            x[at] = size.value, x[view->models + at] = value.value;
        }
        if (n > 1)
            curves[curve_count++] =
                (pare_curve){.x = x, .y = x + view->models, .count = n, .series = c};
    }
    const pare_points plot = {.x_metric = "weights_bytes",
                              .y_metric = metric,
                              .x_title = "weights in memory, logarithmic",
                              .y_title = y_title,
                              .log_x = true,
                              .log_y = true,
                              .x_reference = NAN,
                              .y_reference = NAN,
                              .points = points,
                              .count = count,
                              .curves = curves,
                              .curve_count = curve_count};
    pare_plot_points(canvas, box, &plot);
}

void pare_draw_size(pare_canvas *canvas, pare_view *view)
{
    pare_box box = pare_chart_begin(canvas, view, "Model size against performance");
    box = pare_chart_keys(canvas, view, box, "decode_tokens_per_s");
    bool quality = pare_view_count(view, "perplexity") > 0;
    pare_box left = pare_plot_cell(box, 2, 1, 0, 24), right = pare_plot_cell(box, 2, 1, 1, 24);
    left = pare_plot_heading(canvas, left, "Decode speed");
    right = pare_plot_heading(canvas, right, quality ? "Perplexity" : "Prefill speed");
    size_panel(canvas, view, left, "decode_tokens_per_s", "tokens/s, logarithmic");
    size_panel(canvas, view, right, quality ? "perplexity" : "prefill_tokens_per_s",
               quality ? "perplexity, logarithmic (lower is better)" : "tokens/s, logarithmic");
}
