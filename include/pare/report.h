/* Tables, charts and pages about one study, made from the store alone. */
#ifndef PARE_REPORT_H
#define PARE_REPORT_H

#include <pare/error.h>
#include <pare/plan.h>
#include <stdbool.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* One table for a terminal; colour escapes only where asked for. */
void pare_report_print(const pare_overview *study, FILE *to, bool colour);

/* One JSON object on one line: study, model, machine, page (may be NULL), recommendation, and a row
 * per format with the columns of the table by name; what was not measured is null.
 * PARE_OUT_OF_MEMORY prints nothing. */
pare_status pare_report_print_json(const pare_overview *study,
                                   const pare_recommendation *recommendation, const char *page,
                                   FILE *to);

/* One self-contained HTML page: the table, charts as inline SVG, the conditions. Written whole or
 * not at all. */
pare_status pare_report_write_html(const pare_overview *study,
                                   const pare_recommendation *recommendation, const char *path);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
