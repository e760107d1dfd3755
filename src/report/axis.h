/* Axes: from values to points, with ticks that people would choose. */
#ifndef PARE_REPORT_AXIS_H
#define PARE_REPORT_AXIS_H

#include "report/canvas.h"

#include <pare/measure.h>
#include <pare/metric.h>

enum { PARE_MOST_TICKS = 16 };

typedef struct pare_axis {
    double low, high; /* in values */
    double from, to;  /* in points */
    bool logarithmic;
    pare_unit unit; /* how ticks are written */
} pare_axis;

/* Starts without values: low > high. Absent measures (and, on a logarithmic axis, what is not
 * positive) are left out. */
pare_axis pare_axis_empty(pare_unit unit, bool logarithmic);
void pare_axis_include(pare_axis *axis, pare_measure measure);
void pare_axis_include_value(pare_axis *axis, double value);
/* Leaves room around the values (a share of the span, or a factor on a logarithmic axis).
 * from_zero: the axis of bars, which begins at zero, or lengths would lie. */
void pare_axis_close(pare_axis *axis, double margin, bool from_zero);

double pare_axis_place(const pare_axis *axis, double value);

/* Tick positions: at most `most` (PARE_MOST_TICKS) multiples of 1, 2 or 5 x 10^k inside [low,
 * high]; returns how many. */
int pare_axis_ticks(const pare_axis *axis, int most, double *ticks);
/* "250 MB", "1.5x", "20 %", "0.05". */
const char *pare_axis_label(char out[PARE_NUMBER_BYTES], const pare_axis *axis, double tick);

/* Draws grid lines, labels and the title (which may be NULL) of a vertical axis along the left side
 * of `plot`, whose from/to it sets; of a horizontal axis along its bottom. */
double pare_axis_width(pare_canvas *canvas,
                       const pare_axis *axis); /* the labels of a vertical axis */
void pare_axis_draw_left(pare_canvas *canvas, pare_axis *axis, pare_box plot, const char *title);
void pare_axis_draw_bottom(pare_canvas *canvas, pare_axis *axis, pare_box plot, const char *title);
/* A faint frame: the zero line below, nothing else. */
void pare_axis_draw_base(pare_canvas *canvas, pare_box plot);

/* Sizes of text in pictures. */
#define PARE_SIZE_TICK 10.0
#define PARE_SIZE_LABEL 10.5
#define PARE_SIZE_PANEL 12.0

#endif
