/* The charts of a study: one row each in the table. */
#ifndef PARE_REPORT_CHARTS_H
#define PARE_REPORT_CHARTS_H

#include "report/canvas.h"
#include "report/view.h"

enum { PARE_CHART_NEEDS = 4 };

typedef struct pare_chart {
    const char *name;  /* of its files */
    const char *title; /* also the heading of its section */
    const char *text;  /* how to read it */
    /* Metrics without which there is nothing to draw: all of them in at least one cell. */
    const char *needs[PARE_CHART_NEEDS];
    const char *run; /* what gives them, where they are absent */
    void (*draw)(pare_canvas *canvas, pare_view *view);
    pare_size (*size)(const pare_view *view); /* the least at which nothing touches */
} pare_chart;

extern const pare_chart pare_charts[];
extern const int pare_chart_count;

const pare_chart *pare_chart_find(const char *name); /* NULL: none */
/* NULL where it can be drawn; otherwise why not and what to run, written to `out`. */
const char *pare_chart_missing(const pare_chart *chart, const pare_view *view, char *out,
                               size_t size);

enum { PARE_CHART_WIDTH = 960, PARE_CHART_HEIGHT = 560 }; /* at least */
pare_size pare_chart_file_size(const pare_chart *chart, const pare_view *view);
/* Appends a whole file of that kind, with its title. hots: as in canvas.h. */
pare_status pare_chart_file(const pare_chart *chart, pare_view *view, pare_file_kind kind,
                            pare_buffer *out, pare_canvas *hots);
/* The drawing as an <svg> element for a page: no XML declaration, ids that begin with `prefix`,
 * the theme's colours as CSS variables, hot spots as titled rectangles. */
pare_status pare_chart_inline(const pare_chart *chart, pare_view *view, const char *prefix,
                              pare_buffer *out);

/* ---- one file for each family ---- */

void pare_draw_dashboard(pare_canvas *canvas, pare_view *view);
void pare_draw_speed(pare_canvas *canvas, pare_view *view);
void pare_draw_speedup(pare_canvas *canvas, pare_view *view);
void pare_draw_workloads(pare_canvas *canvas, pare_view *view);
void pare_draw_memory(pare_canvas *canvas, pare_view *view);
void pare_draw_memory_reduction(pare_canvas *canvas, pare_view *view);
void pare_draw_memory_scaling(pare_canvas *canvas, pare_view *view);
void pare_draw_perplexity(pare_canvas *canvas, pare_view *view);
void pare_draw_tradeoff(pare_canvas *canvas, pare_view *view);
void pare_draw_cpu(pare_canvas *canvas, pare_view *view);
void pare_draw_gpu(pare_canvas *canvas, pare_view *view);
void pare_draw_efficiency(pare_canvas *canvas, pare_view *view);
void pare_draw_roofline(pare_canvas *canvas, pare_view *view);
void pare_draw_energy(pare_canvas *canvas, pare_view *view);
void pare_draw_tree(pare_canvas *canvas, pare_view *view);
void pare_draw_decision(pare_canvas *canvas, pare_view *view);
void pare_draw_radar(pare_canvas *canvas, pare_view *view);
void pare_draw_size(pare_canvas *canvas, pare_view *view);
void pare_draw_pareto(pare_canvas *canvas, pare_view *view);

/* ---- their sizes ---- */

pare_size pare_size_usual(const pare_view *view);
pare_size pare_size_two_rows(const pare_view *view);
pare_size pare_size_three_rows(const pare_view *view);
pare_size pare_size_grid(const pare_view *view);
pare_size pare_size_stacks(const pare_view *view);
pare_size pare_size_workloads(const pare_view *view);
pare_size pare_size_heat(const pare_view *view);
pare_size pare_size_radar(const pare_view *view);
pare_size pare_size_pareto(const pare_view *view);

/* ---- what they share ---- */

/* The title, how it was measured, and the star's meaning; returns the box for the drawing. */
pare_box pare_chart_begin(pare_canvas *canvas, pare_view *view, const char *title);
/* The same without the name of the workload: the drawing shows several. */
pare_box pare_chart_begin_all(pare_canvas *canvas, pare_view *view, const char *title);
/* The legend of choices, as bars or as markers, of those with any of the metrics (NULL: all). */
pare_box pare_chart_choices(pare_canvas *canvas, pare_view *view, pare_box box, bool markers,
                            bool absent);
/* Choices by colour, models that have the metric by shape. */
pare_box pare_chart_keys(pare_canvas *canvas, pare_view *view, pare_box box, const char *metric);
/* Bars of a metric: groups are models, bars are choices; with a single model each choice is a
 * group. Models without any value are left out. */
void pare_chart_bars(pare_canvas *canvas, pare_view *view, pare_box box, const char *metric,
                     const char *y_title, double reference);
/* Whether pare_chart_bars names its bars itself, without a legend. */
bool pare_chart_names_bars(const pare_view *view);
/* Whether those have so many bars that plots stand one above the other rather than side by side. */
bool pare_chart_stacks(const pare_view *view);

#endif
