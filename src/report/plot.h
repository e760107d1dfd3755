/* The kinds of plots that charts are made of. Each fills a box of the canvas. */
#ifndef PARE_REPORT_PLOT_H
#define PARE_REPORT_PLOT_H

#include "report/axis.h"

/* ---- titles, legends, panels ---- */

/* The title and a line below it (may be NULL); returns the box that is left. Draws nothing on an
 * untitled canvas. */
pare_box pare_plot_title(pare_canvas *canvas, const char *title, const char *note);
/* A line at the bottom of the box; returns the rest. */
pare_box pare_plot_footnote(pare_canvas *canvas, pare_box box, const char *note);
/* The heading of a panel; returns the rest of the box. */
pare_box pare_plot_heading(pare_canvas *canvas, pare_box box, const char *text);
/* Cell i of a grid of columns x rows with gaps. */
pare_box pare_plot_cell(pare_box box, int columns, int rows, int i, double gap);

typedef enum pare_key {
    PARE_KEY_BAR,
    PARE_KEY_MARKER, /* a circle in the colour of the series */
    PARE_KEY_SHAPE,  /* a grey marker of that shape */
    PARE_KEY_ABSENT,
    PARE_KEY_LINE,
} pare_key;

typedef struct pare_legend_entry {
    const char *label;
    pare_key key;
    int index; /* of the series, or of the shape */
} pare_legend_entry;

/* Flows the entries over as many lines as they need; returns the rest of the box. */
pare_box pare_plot_legend(pare_canvas *canvas, pare_box box, const pare_legend_entry *entries,
                          int count);

/* ---- bars ---- */

typedef struct pare_bar {
    pare_measure value;
    int series;      /* colour and hatch */
    const char *hot; /* what it says when pointed at; may be NULL */
} pare_bar;

/* Groups of bars with 95 % intervals. Where the values span more than a factor of 40, markers on a
 * logarithmic axis take the place of bars, whose lengths would lie there. */
typedef struct pare_bars {
    const char *metric;  /* how numbers are written */
    const char *y_title; /* NULL: the metric's title and unit */
    int groups, series;
    const char *const *labels; /* of the groups */
    const pare_bar *bars;      /* [groups][series] */
    double reference;          /* a dashed line; NAN: none */
    bool never_log, log;       /* never, or always (as other panels) */
} pare_bars;

#define PARE_BARS_MOST_RATIO 40.0

void pare_plot_bars(pare_canvas *canvas, pare_box box, const pare_bars *bars);

/* Horizontal bars, one a row, each a stack of parts. */
typedef struct pare_stack_row {
    const char *label;
    const pare_measure *parts; /* absent ones are left out */
    pare_measure total;        /* written at its end; absent: the row was not measured */
    const char *hot;
} pare_stack_row;

typedef struct pare_stacks {
    const char *metric;
    int rows, parts;
    const pare_stack_row *row;
    const int *series;             /* of each part */
    const char *const *part_names; /* for what parts say when pointed at */
    double most;                   /* end of the axis; 0: of these rows */
} pare_stacks;

void pare_plot_stacks(pare_canvas *canvas, pare_box box, const pare_stacks *stacks);

/* ---- points ---- */

typedef struct pare_point {
    pare_measure x, y;
    int series, shape;
    const char *label; /* beside it, where there is room; NULL: none */
    const char *hot;
    double radius; /* 0: the usual one */
} pare_point;

typedef struct pare_curve {
    const double *x, *y;
    int count;
    int series; /* -1: grey */
    bool dashed, steps;
    const char *label; /* at its end; may be NULL */
} pare_curve;

typedef struct pare_points {
    const char *x_metric, *y_metric; /* how ticks are written */
    const char *x_title, *y_title;
    bool log_x, log_y;
    double x_reference, y_reference; /* dashed lines; NAN: none */
    const pare_point *points;
    int count;
    const pare_curve *curves;
    int curve_count;
    bool tight; /* the axes end where the curves do */
} pare_points;

void pare_plot_points(pare_canvas *canvas, pare_box box, const pare_points *points);

/* ---- heat map ---- */

typedef struct pare_heat_cell {
    double shade; /* 0 to 1; NAN: not measured */
    const char *text, *hot;
} pare_heat_cell;

typedef struct pare_heat {
    int rows, columns;
    const char *const *row_labels, *const *column_labels;
    const pare_heat_cell *cells; /* [rows][columns] */
    bool diverging;
    const char *low_text, *high_text; /* ends of the colour scale */
    const int *row_groups;            /* a gap where this changes; may be NULL */
    int marked;                       /* a row that is framed; -1: none */
} pare_heat;

void pare_plot_heat(pare_canvas *canvas, pare_box box, const pare_heat *heat);

/* ---- radar ---- */

typedef struct pare_radar {
    int axes, series;
    const char *const *axis_labels;
    const double *values; /* [series][axes], 0 to 1; NAN: not measured */
    const int *colours;   /* of each series */
} pare_radar;

void pare_plot_radar(pare_canvas *canvas, pare_box box, const pare_radar *radar);

#endif
