/* What the families of charts share: titles, legends, bars of a metric. */
#include "report/charts.h"
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *condition_of(const pare_view *v, const char *key)
{
    for (int i = 0; i < v->study->count; i++) {
        const char *value = pare_cell_condition(&v->study->cells[i], key);
        if (value)
            return value;
    }
    return NULL;
}

static pare_box begin(pare_canvas *canvas, pare_view *view, const char *title, bool workload)
{
    char note[300];
    const char *threads = condition_of(view, "threads"), *isa = condition_of(view, "isa");
    snprintf(note, sizeof note, "%s%s%s%s%s%s", view->study->machine ? view->study->machine : "",
             threads ? ", " : "", threads ? threads : "", threads ? " threads" : "",
             isa ? ", " : "", isa ? isa : "");
    if (view->workloads > 1 && workload) {
        size_t length = strlen(note);
        snprintf(note + length, sizeof note - length, "; workload %s", view->workload[0]);
    }
    pare_box box = pare_plot_title(canvas, title, note);
    return pare_plot_footnote(canvas, box,
                              view->any_synthetic
                                  ? "* random weights of the model's exact shape: speed and memory "
                                    "are the model's, quality is not measured"
                                  : NULL);
}

pare_box pare_chart_begin(pare_canvas *canvas, pare_view *view, const char *title)
{
    return begin(canvas, view, title, true);
}

pare_box pare_chart_begin_all(pare_canvas *canvas, pare_view *view, const char *title)
{
    return begin(canvas, view, title, false);
}

enum { MOST_ENTRIES = 40 };

pare_box pare_chart_choices(pare_canvas *canvas, pare_view *view, pare_box box, bool markers,
                            bool absent)
{
    pare_legend_entry entries[MOST_ENTRIES];
    int count = 0;
    for (int c = 0; c < view->choices && count < MOST_ENTRIES - 1; c++)
        entries[count++] =
            (pare_legend_entry){view->choice[c].label, markers ? PARE_KEY_MARKER : PARE_KEY_BAR, c};
    if (absent)
        entries[count++] = (pare_legend_entry){"not measured", PARE_KEY_ABSENT, 0};
    return pare_plot_legend(canvas, box, entries, count);
}

pare_box pare_chart_keys(pare_canvas *canvas, pare_view *view, pare_box box, const char *metric)
{
    pare_legend_entry entries[MOST_ENTRIES];
    int count = 0;
    for (int c = 0; c < view->choices && count < MOST_ENTRIES; c++)
        entries[count++] = (pare_legend_entry){view->choice[c].label, PARE_KEY_BAR, c};
    box = pare_plot_legend(canvas, box, entries, count);
    count = 0;
    for (int m = 0; m < view->models && view->models > 1 && count < MOST_ENTRIES; m++)
        if (pare_view_count_of_model(view, m, metric))
            entries[count++] = (pare_legend_entry){view->model_label[m], PARE_KEY_SHAPE, m};
    return pare_plot_legend(canvas, box, entries, count);
}

bool pare_chart_names_bars(const pare_view *view)
{
    return view->models == 1;
}

bool pare_chart_stacks(const pare_view *view)
{
    return view->choices > 8;
}

void pare_chart_bars(pare_canvas *canvas, pare_view *view, pare_box box, const char *metric,
                     const char *y_title, double reference)
{
    pare_arena *arena = &view->arena;
    size_t most = (size_t)(view->models * view->choices) + 1;
    pare_bar *bars = pare_arena_allocate(arena, most * sizeof *bars);
    const char **labels = pare_arena_allocate(arena, most * sizeof *labels);
    int groups = 0, count = 0;
    if (!bars || !labels)
        return;
    bool single = pare_chart_names_bars(view);
    for (int m = 0; m < view->models; m++) {
        if (!pare_view_count_of_model(view, m, metric))
            continue;
        if (!single)
            labels[groups++] = view->model_label[m];
        for (int c = 0; c < view->choices; c++) {
            if (single)
                labels[groups++] = view->choice[c].label;
            bars[count++] = (pare_bar){pare_view_get(view, m, c, 0, metric), c,
                                       pare_view_hot(view, m, c, 0, metric)};
        }
    }
    const pare_bars plot = {.metric = metric,
                            .y_title = y_title,
                            .groups = groups,
                            .series = single ? 1 : view->choices,
                            .labels = labels,
                            .bars = bars,
                            .reference = reference};
    pare_plot_bars(canvas, box, &plot);
}
