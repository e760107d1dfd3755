/* Records copied out of a query, to be kept. */
#ifndef PARE_PLAN_RECORDS_H
#define PARE_PLAN_RECORDS_H

#include "base/memory.h"

#include <pare/record.h>
#include <stddef.h>

/* Starts as {0}. */
typedef struct pare_record_list {
    pare_arena arena; /* owns everything but the array */
    pare_record *records;
    size_t count, capacity;
} pare_record_list;

/* For pare_store_query: `list` is a pare_record_list. */
pare_status pare_record_list_keep(void *list, const pare_record *record);
/* NULL for NULL, and when out of memory. */
const char *pare_record_list_copy(pare_record_list *list, const char *text);
void pare_record_list_free(pare_record_list *list);

#endif
