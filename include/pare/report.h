/* Tables, charts, pages and slides about one study, made from the store alone. */
#ifndef PARE_REPORT_H
#define PARE_REPORT_H

#include <pare/error.h>
#include <pare/plan.h>
#include <pare/progress.h>
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

/* Writes a report of a study into `folder` (which is made where it is missing): index.html (one
 * self-contained page), slides.pdf, results.csv, results.json, and figures/NAME.png, .svg and .pdf.
 * Each file appears whole or not at all; what others put into the folder stays. Charts whose data
 * the study lacks are not drawn: the page says what to run. store: for the machine's limits.
 * progress may be NULL. */
pare_status pare_report_write(const pare_study *study, pare_store *store, const char *folder,
                              const pare_progress *progress);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
