/* Tables on the terminal: columns as wide as their widest cell. */
#ifndef PARE_CLI_TABLE_H
#define PARE_CLI_TABLE_H

#include <stdbool.h>
#include <stdio.h>

typedef struct cli_column {
    const char *title;
    bool left; /* text; numbers are set to the right */
} cli_column;

typedef struct cli_table {
    const cli_column *columns;
    int column_count;
    char **cells; /* row by row */
    int cell_count, capacity;
} cli_table;

/* Cells are added row by row. Control characters become '?': names come from files. NULL is an
 * empty cell. */
void cli_table_add(cli_table *table, const char *text);
/* Prints and frees the cells. Columns that are empty in all rows are left out. */
void cli_table_print(cli_table *table, FILE *to);

#endif
