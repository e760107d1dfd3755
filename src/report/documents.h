/* The documents of a report: each appends a whole file to `out`. */
#ifndef PARE_REPORT_DOCUMENTS_H
#define PARE_REPORT_DOCUMENTS_H

#include "base/buffer.h"
#include "report/view.h"

pare_status pare_document_page(pare_view *view, pare_buffer *out);
pare_status pare_document_slides(pare_view *view, pare_buffer *out);
/* One line for each cell and metric: value, interval, unit, samples, or why it is absent. */
pare_status pare_document_csv(pare_view *view, pare_buffer *out);
pare_status pare_document_json(pare_view *view, pare_buffer *out);

#endif
