/* Pieces of pages. */
#ifndef PARE_REPORT_HTML_H
#define PARE_REPORT_HTML_H

#include "base/buffer.h"

/* Text with <, >, & and quotes as entities; NULL is nothing. */
void pare_html_escape(pare_buffer *out, const char *text);

#endif
