/* Quality, and what it costs in speed. */
#include "report/charts.h"
#include "report/plot.h"

#include <math.h>

void pare_draw_perplexity(pare_canvas *canvas, pare_view *view)
{
    bool changes = pare_view_count(view, "quality_loss") > 1;
    pare_box box = pare_chart_begin(canvas, view, "Perplexity, and what quantizing adds to it");
    bool side = pare_chart_names_bars(view) && !pare_chart_stacks(view);
    if (!pare_chart_names_bars(view))
        box = pare_chart_choices(canvas, view, box, false, true);
    int parts = changes ? 2 : 1;
    pare_box cell = pare_plot_cell(box, side ? parts : 1, side ? 1 : parts, 0, 20);
    cell = pare_plot_heading(canvas, cell, "Perplexity (lower is better)");
    pare_chart_bars(canvas, view, cell, "perplexity", "perplexity", NAN);
    if (!changes)
        return;
    cell = pare_plot_cell(box, side ? parts : 1, side ? 1 : parts, 1, 20);
    cell = pare_plot_heading(canvas, cell, "Change against the baseline, paired (lower is better)");
    pare_chart_bars(canvas, view, cell, "quality_loss", "change of perplexity", 0);
}

enum { MOST_POINTS = 512, MOST_LABELS = 16 };

void pare_draw_tradeoff(pare_canvas *canvas, pare_view *view)
{
    pare_point *points = pare_arena_allocate(&view->arena, MOST_POINTS * sizeof *points);
    int count = 0;
    if (!points)
        return;
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices && count < MOST_POINTS; c++) {
            pare_point p = {.x = pare_view_get(view, m, c, 0, "decode_speedup"),
                            .y = pare_view_get(view, m, c, 0, "quality_loss"),
                            .series = c,
                            .shape = view->models > 1 ? m : c,
                            .radius = 6,
                            .label = view->choice[c].label,
                            .hot = pare_view_hot(view, m, c, 0, "quality_loss")};
            if (!p.x.absent && !p.y.absent)
                points[count++] = p;
        }
    for (int i = 0; i < count && count > MOST_LABELS; i++)
        points[i].label = NULL;
    pare_box box = pare_chart_begin(canvas, view, "Quality lost against speed gained");
    box = pare_chart_keys(canvas, view, box, "quality_loss");
    const pare_points plot = {.x_metric = "decode_speedup",
                              .y_metric = "quality_loss",
                              .x_title = "decode speed against the baseline (right is faster)",
                              .y_title =
                                  "change of perplexity against the baseline (lower is better)",
                              .x_reference = 1,
                              .y_reference = 0,
                              .points = points,
                              .count = count};
    pare_plot_points(canvas, box, &plot);
}
