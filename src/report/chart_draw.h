#ifndef PARE_REPORT_CHART_DRAW_H
#define PARE_REPORT_CHART_DRAW_H

#include "report/chart.h"

#include <cairo.h>

/* Paints the whole chart on a surface of width x height points. */
void pare_chart_paint(cairo_t *cr, const pare_chart *chart, double width, double height);

#endif
