/* Slides: pages of 960 x 540 points with a title, and things placed on them. */
#ifndef PARE_REPORT_SLIDE_H
#define PARE_REPORT_SLIDE_H

#include "report/canvas.h"
#include "report/sections.h"
#include "report/tables.h"

typedef struct pare_deck {
    pare_canvas canvas;
    pare_view *view;
    int page;
} pare_deck;

/* Begins a page (ending the one before); returns the room below its title. */
pare_box pare_slide_begin(pare_deck *deck, const char *title);
/* A table with measured columns, shrunk and its labels shortened where it is too wide; where not
 * all rows fit, *row (where it starts, and afterwards where it goes on; may be NULL) says so.
 * Returns the room below. heads: with the columns' titles. */
pare_box pare_slide_table(pare_deck *deck, pare_box box, const pare_table *table, bool heads,
                          int *row);
/* A sentence with a mark; returns the room below, of negative height where it did not fit (then
 * nothing was drawn). */
pare_box pare_slide_bullet(pare_deck *deck, pare_box box, const char *text, double size,
                           int verdict);
pare_box pare_slide_text(pare_deck *deck, pare_box box, const char *text, double size, bool bold,
                         pare_ink ink);
/* All findings of the topics, over as many pages as they need. */
void pare_slide_findings(pare_deck *deck, const char *title, const pare_findings *findings,
                         const pare_section *section, bool verdicts);

#endif
