/* Pieces of pages. */
#ifndef PARE_REPORT_HTML_H
#define PARE_REPORT_HTML_H

#include "base/buffer.h"
#include "report/findings.h"
#include "report/tables.h"

/* Text with <, >, & and quotes as entities; NULL is nothing. */
void pare_html_escape(pare_buffer *out, const char *text);

/* A table; sortable: with what the page's script needs. Cells carry data-value, the number at full
 * precision, and what stands in them is that number rounded. */
void pare_html_table(pare_buffer *out, const pare_table *table, bool sortable);
/* A table without heads: names on the left. */
void pare_html_facts(pare_buffer *out, const pare_table *table);
/* Those findings of the topic (NULL: all); returns how many. verdicts: say which are supported. */
int pare_html_findings(pare_buffer *out, const pare_findings *findings, const char *topic,
                       bool verdicts);

#endif
