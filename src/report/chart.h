/* Charts, drawn once with Cairo and Pango for PNG, SVG and PDF alike.
 *
 * Two kinds cover what a table of results needs: bars (one value per row, error bars, a reference
 * line) and scatter (two values per row). Colours are Okabe and Ito's, told apart by colour-blind
 * readers and in grey print; every point and bar carries its name, so that colour is never the only
 * key. */
#ifndef PARE_REPORT_CHART_H
#define PARE_REPORT_CHART_H

#include "base/buffer.h"

#include <pare/error.h>
#include <stdbool.h>

/* A value and its 95 % interval; low = high = value where there is none; absent where nothing was
 * measured. */
typedef struct pare_chart_value {
    double value, low, high;
    bool absent;
} pare_chart_value;

typedef struct pare_chart_row {
    const char *label;
    int colour;            /* index into the palette; rows of one kind share it */
    pare_chart_value x, y; /* bars use y only */
} pare_chart_row;

typedef enum pare_chart_kind { PARE_CHART_BARS, PARE_CHART_SCATTER } pare_chart_kind;

typedef struct pare_chart {
    pare_chart_kind kind;
    const char *title;
    const char *note;    /* under the title: how it was measured; may be NULL */
    const char *x_label; /* scatter only */
    const char *y_label; /* with its unit */
    const pare_chart_row *rows;
    int count;
    bool log_y;       /* values are positive; absent rows are drawn as "not measured" */
    double reference; /* a dashed line at this y, NAN for none */
    const char *reference_label;
} pare_chart;

typedef enum pare_chart_file { PARE_CHART_PNG, PARE_CHART_SVG, PARE_CHART_PDF } pare_chart_file;

/* Draws into memory: the bytes of a whole file of that kind are appended to `out`. Size in points
 * (PNG: 2 pixels a point). */
pare_status pare_chart_draw(const pare_chart *chart, pare_chart_file kind, double width,
                            double height, pare_buffer *out);

/* Tick positions that people would choose: at most `most` multiples of 1, 2 or 5 x 10^k inside
 * [low, high]. Returns how many. */
int pare_chart_ticks(double low, double high, int most, double *ticks);

#endif
