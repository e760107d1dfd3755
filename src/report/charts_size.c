/* How much room a picture needs so that nothing touches: text keeps its size. Files are larger than
 * that, slides as large as they can be. */
#include "report/charts.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 780, HEIGHT = 350 };

/* Lines of a legend of the choices, about. */
static double legend_height(const pare_view *view, double width)
{
    double x = 0, lines = 1;
    for (int c = 0; c < view->choices; c++) {
        double each = 40 + 5.6 * (double)strlen(view->choice[c].label);
        if (x > 0 && x + each > width)
            x = 0, lines++;
        x += each;
    }
    return 18 * lines;
}

static pare_size at_least(double w, double h)
{
    return (pare_size){fmax(w, WIDTH), fmax(h, HEIGHT)};
}

/* Groups of bars over the whole width, `rows` plots one above the other (side by side for a single
 * model with few choices). */
static pare_size of_rows(const pare_view *view, int rows)
{
    if (pare_chart_names_bars(view))
        return pare_chart_stacks(view) ? at_least(60 + 30.0 * view->choices, 70 + 240.0 * rows)
                                       : at_least(0, 0);
    double width = 70 + view->models * (16 + 11.0 * view->choices);
    return at_least(width, 45 + legend_height(view, fmax(width, WIDTH) - 40) + 150.0 * rows);
}

pare_size pare_size_usual(const pare_view *view)
{
    return at_least(0, 300 + 2 * legend_height(view, WIDTH - 40));
}

pare_size pare_size_two_rows(const pare_view *view)
{
    return of_rows(view, 2);
}

pare_size pare_size_three_rows(const pare_view *view)
{
    return of_rows(view, 3);
}

/* Two plots beside each other in two rows. */
pare_size pare_size_grid(const pare_view *view)
{
    double bars = pare_chart_names_bars(view) ? 30.0 * view->choices
                                              : view->models * (16 + 11.0 * view->choices);
    double width = fmax(WIDTH, 2 * (60 + bars));
    double labels = pare_chart_names_bars(view) && pare_chart_stacks(view) ? 200 : 0;
    return at_least(width, 330 + labels + legend_height(view, width - 40));
}

static double panel_rows(const pare_view *view)
{
    return view->models > 1 ? (view->models + 1) / 2 : 1;
}

pare_size pare_size_stacks(const pare_view *view)
{
    bool three = view->models > 4;
    double rows = three ? (view->models + 2) / 3 : panel_rows(view);
    return at_least(three ? 900 : 0, 60 + rows * (60 + 15.0 * view->choices));
}

pare_size pare_size_workloads(const pare_view *view)
{
    double bars = view->choices * (14 + 13.0 * view->workloads);
    return at_least((view->models > 1 ? 2 : 1) * (60 + bars),
                    60 + panel_rows(view) * (pare_chart_stacks(view) ? 260 : 165));
}

pare_size pare_size_heat(const pare_view *view)
{
    return at_least(0, 110 + 14.0 * view->models * view->choices + 8.0 * view->models);
}

pare_size pare_size_radar(const pare_view *view)
{
    double rows = view->models > 4 ? 2 : panel_rows(view);
    return at_least(0, 50 + legend_height(view, WIDTH - 40) + 165 * rows);
}

pare_size pare_size_pareto(const pare_view *view)
{
    int panels = 0;
    for (int m = 0; m < view->models; m++)
        panels += 1 + (pare_view_count_of_model(view, m, "quality_loss") > 1);
    panels = panels < 12 ? panels : 12;
    int columns = panels > 4 ? 3 : 2;
    return at_least(0, 50 + legend_height(view, WIDTH - 40) +
                           165.0 * ((panels + columns - 1) / columns));
}
