#include "cli/table.h"

#include <stdlib.h>
#include <string.h>

/* Terminal cells of UTF-8 text without wide characters. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void cli_table_add(cli_table *table, const char *text)
{
    if (table->cell_count == table->capacity) {
        int capacity = table->capacity * 2 + 64;
        char **cells = realloc(table->cells, (size_t)capacity * sizeof *cells);
        if (!cells) {
            fprintf(stderr, "pare: out of memory\n");
            exit(1);
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    char *copy = strdup(text ? text : "");
    for (char *c = copy; c && *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
    table->cells[table->cell_count++] = copy;
}

static const char *cell(const cli_table *table, int row, int column)
{
    const char *text = table->cells[row * table->column_count + column];
    return text ? text : "";
}

static void print_cell(FILE *to, const char *text, int width, bool left, bool first, bool last)
{
    int padding = width - width_of(text);
    fprintf(to, "%s%*s%s", first ? "" : "  ", left ? 0 : padding, "", text);
    if (left && !last)
        fprintf(to, "%*s", padding, "");
}

void cli_table_print(cli_table *table, FILE *to)
{
    int rows = table->cell_count / table->column_count, last = 0;
    int *widths = calloc((size_t)table->column_count, sizeof *widths);
    for (int c = 0; widths && c < table->column_count; c++) {
        for (int r = 0; r < rows; r++) {
            int width = width_of(cell(table, r, c));
            widths[c] = width > widths[c] ? width : widths[c];
        }
        int title = width_of(table->columns[c].title);
        if (widths[c] && widths[c] < title)
            widths[c] = title;
        if (widths[c])
            last = c;
    }
    for (int r = -1; widths && r < rows; r++) {
        bool first = true;
        for (int c = 0; c < table->column_count; c++) {
            if (!widths[c])
                continue;
            print_cell(to, r < 0 ? table->columns[c].title : cell(table, r, c), widths[c],
                       table->columns[c].left, first, c == last);
            first = false;
        }
        fputc('\n', to);
    }
    free(widths);
    for (int i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    table->cells = NULL;
    table->cell_count = table->capacity = 0;
}
