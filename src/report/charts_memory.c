/* Memory: parts, savings, growth. */
#include "report/charts.h"
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PARTS = 4 };
static const char *const part_metrics[PARTS] = {"weights_bytes", "kv_bytes", "scratch_bytes",
                                                "other_bytes"};
static const char *const part_names[PARTS] = {"weights", "KV cache", "scratch", "other"};
static const int part_series[PARTS] = {0, 1, 2, 6};

/* What the parts leave of the peak, where the record does not say it itself. */
static pare_measure other_of(const pare_view *v, int m, int c)
{
    pare_measure other = pare_view_get(v, m, c, 0, "other_bytes");
    double rest = pare_view_get(v, m, c, 0, "peak_rss_bytes").value;
    if (!other.absent)
        return other;
    for (int p = 0; p < PARTS - 1; p++) {
        pare_measure part = pare_view_get(v, m, c, 0, part_metrics[p]);
        if (part.absent)
            return pare_measure_absent();
        rest -= part.value;
    }
    return pare_measure_exact(fmax(rest, 0));
}

static void memory_panel(pare_canvas *canvas, pare_view *view, pare_box box, int m)
{
    size_t n = (size_t)view->choices;
    pare_stack_row *rows = pare_arena_allocate(&view->arena, n * sizeof *rows);
    pare_measure *parts = pare_arena_allocate(&view->arena, n * PARTS * sizeof *parts);
    if (!rows || !parts)
        return;
    for (int c = 0; c < view->choices; c++) {
        for (int p = 0; p < PARTS; p++)
            parts[c * PARTS + p] = p == PARTS - 1 ? other_of(view, m, c)
                                                  : pare_view_get(view, m, c, 0, part_metrics[p]);
        rows[c] = (pare_stack_row){view->choice[c].label, &parts[c * PARTS],
                                   pare_view_get(view, m, c, 0, "peak_rss_bytes"),
                                   pare_view_hot(view, m, c, 0, "peak_rss_bytes")};
    }
    const pare_stacks stacks = {.metric = "peak_rss_bytes",
                                .rows = view->choices,
                                .parts = PARTS,
                                .row = rows,
                                .series = part_series,
                                .part_names = part_names};
    pare_plot_stacks(canvas, box, &stacks);
}

void pare_draw_memory(pare_canvas *canvas, pare_view *view)
{
    pare_legend_entry entries[PARTS + 1];
    pare_box box = pare_chart_begin(canvas, view, "Peak memory and what it consists of");
    for (int p = 0; p < PARTS; p++)
        entries[p] = (pare_legend_entry){part_names[p], PARE_KEY_BAR, part_series[p]};
    entries[PARTS] = (pare_legend_entry){"not measured", PARE_KEY_ABSENT, 0};
    box = pare_plot_legend(canvas, box, entries, PARTS + 1);
    int columns = view->models > 4 ? 3 : view->models > 1 ? 2 : 1;
    int rows = (view->models + columns - 1) / columns;
    for (int m = 0; m < view->models; m++) {
        pare_box cell = pare_plot_cell(box, columns, rows, m, 20);
        memory_panel(canvas, view, pare_plot_heading(canvas, cell, view->model_label[m]), m);
    }
}

void pare_draw_memory_reduction(pare_canvas *canvas, pare_view *view)
{
    static const char *const metrics[] = {"memory_reduction", "weights_reduction"};
    static const char *const headings[] = {"Peak memory of the process", "Weights in memory"};
    pare_box box = pare_chart_begin(canvas, view, "Memory saved against the baseline");
    bool side = pare_chart_names_bars(view) && !pare_chart_stacks(view);
    if (!pare_chart_names_bars(view))
        box = pare_chart_choices(canvas, view, box, false, true);
    for (int i = 0; i < 2; i++) {
        pare_box cell = pare_plot_cell(box, side ? 2 : 1, side ? 1 : 2, i, side ? 28 : 14);
        cell = pare_plot_heading(canvas, cell, headings[i]);
        pare_chart_bars(canvas, view, cell, metrics[i], "saved, share of the baseline", 0);
    }
}

/* ---- growth ---- */

enum { MOST_POINTS = 512, MOST_CURVES = 48, CONTEXTS = 10, GREY = 6 };

/* Peak memory over parameters, and the weights' share of it as a line for each choice. */
static void by_size(pare_canvas *canvas, pare_view *view, pare_box box)
{
    pare_point *points = pare_arena_allocate(&view->arena, MOST_POINTS * sizeof *points);
    pare_curve *curves = pare_arena_allocate(&view->arena, MOST_CURVES * sizeof *curves);
    double *xy = pare_arena_allocate(&view->arena, sizeof(double) * 2 *
                                                       (size_t)(view->models * view->choices + 1));
    int count = 0, curve_count = 0;
    if (!points || !curves || !xy)
        return;
    for (int c = 0; c < view->choices && curve_count < MOST_CURVES; c++) {
        pare_curve *curve = &curves[curve_count];
        *curve = (pare_curve){.x = xy, .y = xy + view->models, .series = c};
        double *x = xy, *y = xy + view->models;
        for (int m = 0; m < view->models && count < MOST_POINTS; m++) {
            pare_measure size = pare_view_fact(view, m, "parameters"),
                         peak = pare_view_get(view, m, c, 0, "peak_rss_bytes"),
                         weights = pare_view_get(view, m, c, 0, "weights_bytes");
            if (size.absent || peak.absent)
                continue;
            points[count++] = (pare_point){.x = size,
                                           .y = peak,
                                           .series = c,
                                           .shape = m,
                                           .hot = pare_view_hot(view, m, c, 0, "peak_rss_bytes")};
            int at = curve->count; /* models may come in any order of size */
            if (weights.absent)
                continue;
            for (; at > 0 && x[at - 1] > size.value; at--)
                x[at] = x[at - 1], y[at] = y[at - 1];
            x[at] = size.value, y[at] = weights.value;
            curve->count++;
        }
        xy += 2 * view->models;
        curve_count += curve->count > 1;
    }
    const pare_points plot = {.x_metric = "tokens",
                              .y_metric = "peak_rss_bytes",
                              .x_title = "parameters, logarithmic",
                              .y_title = "peak memory (points), weights (lines), logarithmic",
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

static double kv_bytes_per_token(const pare_view *view, int m)
{
    enum { BYTES = 2 }; /* an F16 cache */
    double layers = pare_view_fact(view, m, "layers").value,
           heads = pare_view_fact(view, m, "kv_heads").value,
           size = pare_view_fact(view, m, "head_dim").value;
    return 2 * layers * heads * size * BYTES;
}

/* The KV cache by formula; a line ends at the context that the model was trained for. */
static void by_context(pare_canvas *canvas, pare_view *view, pare_box box)
{
    pare_curve *curves = pare_arena_allocate(&view->arena, MOST_CURVES * sizeof *curves);
    pare_point *ends = pare_arena_allocate(&view->arena, MOST_CURVES * sizeof *ends);
    int count = 0;
    if (!curves || !ends)
        return;
    for (int m = 0; m < view->models && count < MOST_CURVES; m++) {
        double each = kv_bytes_per_token(view, m);
        pare_measure longest = pare_view_fact(view, m, "context");
        double *x = pare_arena_allocate(&view->arena, 2 * CONTEXTS * sizeof *x);
        if (!x || !(each > 0) || longest.absent)
            continue;
        int n = 0;
        double context = 512;
        for (; n < CONTEXTS - 1 && context < longest.value; n++, context *= 2)
            x[n] = context, x[CONTEXTS + n] = context * each;
        double end = fmin(longest.value, context);
        x[n] = end, x[CONTEXTS + n] = end * each;
        curves[count] = (pare_curve){.x = x, .y = x + CONTEXTS, .count = n + 1, .series = -1};
        ends[count++] = (pare_point){.x = pare_measure_exact(end),
                                     .y = pare_measure_exact(end * each),
                                     .series = GREY,
                                     .shape = m,
                                     .label = view->model[m]};
    }
    const pare_points plot = {.x_metric = "tokens",
                              .y_metric = "kv_bytes",
                              .x_title = "context in tokens, logarithmic",
                              .y_title = "KV cache in F16, logarithmic",
                              .log_x = true,
                              .log_y = true,
                              .x_reference = NAN,
                              .y_reference = NAN,
                              .points = ends,
                              .count = count,
                              .curves = curves,
                              .curve_count = count};
    pare_plot_points(canvas, box, &plot);
}

void pare_draw_memory_scaling(pare_canvas *canvas, pare_view *view)
{
    pare_box box =
        pare_chart_begin(canvas, view, "How memory grows: with the model and with the context");
    box = pare_chart_keys(canvas, view, box, "peak_rss_bytes");
    bool sizes = false, contexts = false;
    for (int m = 0; m < view->models; m++) {
        sizes |= !pare_view_fact(view, m, "parameters").absent;
        contexts |= !pare_view_fact(view, m, "layers").absent;
    }
    pare_box left = pare_plot_cell(box, 2, 1, 0, 24), right = pare_plot_cell(box, 2, 1, 1, 24);
    left = pare_plot_heading(canvas, left, "With the model: measured");
    right = pare_plot_heading(canvas, right, "With the context: KV cache by formula");
    const pare_text style = {.size = 11, .ink = PARE_INK_SOFT, .wrap = left.w};
    if (sizes)
        by_size(canvas, view, left);
    else
        pare_text_draw(canvas, left.x, left.y + 20, &style,
                       "The store does not know the models' shapes: run the study again.");
    if (contexts)
        by_context(canvas, view, right);
}
