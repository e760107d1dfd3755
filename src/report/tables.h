/* Tables that the page and the slides share, as texts in the view's arena. */
#ifndef PARE_REPORT_TABLES_H
#define PARE_REPORT_TABLES_H

#include "report/view.h"

enum { PARE_TABLE_MOST_COLUMNS = 24 };

typedef struct pare_table_cell {
    const char *text;
    const char *hot; /* more about it; may be NULL */
    double value;    /* what it sorts by; NAN: absent */
    bool numeric;    /* a number, whether absent or not */
} pare_table_cell;

typedef struct pare_table_column {
    const char *title, *unit; /* unit may be empty */
    const char *metric;       /* NULL: text */
    int better;               /* as in pare_metric_info */
} pare_table_column;

typedef struct pare_table {
    pare_table_column columns[PARE_TABLE_MOST_COLUMNS];
    int column_count, row_count;
    pare_table_cell *cells; /* [rows][columns] */
    bool *marked;           /* rows of the baseline */
} pare_table;

/* Every configuration with those metrics that any of them has. all: every column; otherwise the few
 * that fit a slide. model -1: all models, and their names in the first column. intervals: "±". */
pare_table pare_table_of_results(pare_view *view, int model, bool all, bool intervals);
pare_table pare_table_of_models(pare_view *view);
pare_table pare_table_of_choices(pare_view *view);
pare_table pare_table_of_workloads(pare_view *view);
/* What is known of the machine: "CPU", "AMD EPYC ..."; all: every fact. */
pare_table pare_table_of_hardware(pare_view *view, bool all);
pare_table pare_table_of_software(pare_view *view);

static inline const pare_table_cell *pare_table_at(const pare_table *table, int row, int column)
{
    return &table->cells[row * table->column_count + column];
}

#endif
