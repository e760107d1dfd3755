/* The columns of the results table, the same on a terminal and in HTML. */
#ifndef PARE_REPORT_COLUMNS_H
#define PARE_REPORT_COLUMNS_H

#include "base/number.h"

#include <pare/plan.h>

#include <stddef.h>

typedef struct pare_column {
    const char *title, *unit_text, *explanation;
    const char *name; /* the field in pare_overview_row, and the key in JSON */
    size_t offset;    /* of the pare_measure */
    pare_unit unit;
    bool interval;
    int better; /* 1: more is better, -1: less is better, 0: neither */
} pare_column;

extern const pare_column pare_columns[];
extern const int pare_column_count;

static inline pare_measure pare_column_measure(const pare_column *column,
                                               const pare_overview_row *row)
{
    return *(const pare_measure *)((const char *)row + column->offset);
}

#endif
