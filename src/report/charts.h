/* Which charts a study gets. */
#ifndef PARE_REPORT_CHARTS_H
#define PARE_REPORT_CHARTS_H

#include "base/buffer.h"

#include <pare/plan.h>

/* One row of the list of charts: its file name, what it says, and how its rows come from the
 * study's. */
typedef struct pare_study_chart {
    const char *name, *title, *x_label, *y_label;
    size_t x, y;             /* offsets of the measures in pare_overview_row; x unused for bars */
    double x_scale, y_scale; /* from the stored unit to the axis's */
    bool scatter, log_y;
    double reference; /* NAN: none */
    const char *reference_label;
} pare_study_chart;

extern const pare_study_chart pare_study_charts[];
extern const int pare_study_chart_count;

/* Appends the chart as SVG for inlining in HTML: no XML prologue, ids made unique by `index`.
 * Appends nothing, and returns PARE_NOT_FOUND, where no row has the data. */
pare_status pare_study_chart_svg(const pare_overview *study, int index, pare_buffer *out);

#endif
