/* The results table on a terminal. */
#include "report/columns.h"

#include <pare/report.h>

#include <string.h>

enum { MOST_COLUMNS = 16, FIRST_WIDTH = 14 };

/* Terminal cells of UTF-8 text without wide characters. */
static int cells(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void pad_left(FILE *to, const char *text, int width)
{
    fprintf(to, "  %*s%s", width - cells(text), "", text);
}

static bool any_value(const pare_overview *study, const pare_column *column)
{
    for (int r = 0; r < study->count; r++)
        if (!pare_column_measure(column, &study->rows[r]).absent)
            return true;
    return false;
}

static void print_header(const pare_overview *study, FILE *to, const int *widths)
{
    fprintf(to, "%-*s", FIRST_WIDTH, "");
    for (int c = 0; c < pare_column_count; c++)
        if (widths[c])
            pad_left(to, pare_columns[c].title, widths[c]);
    fprintf(to, "\n%-*s", FIRST_WIDTH, "format");
    for (int c = 0; c < pare_column_count; c++)
        if (widths[c])
            pad_left(to, pare_columns[c].unit_text, widths[c]);
    fprintf(to, "\n");
}

void pare_report_print(const pare_overview *study, FILE *to, bool colour)
{
    int widths[MOST_COLUMNS] = {0};
    char text[PARE_NUMBER_BYTES];
    for (int c = 0; c < pare_column_count; c++) {
        const pare_column *column = &pare_columns[c];
        if (!any_value(study, column))
            continue;
        widths[c] = cells(column->title) > cells(column->unit_text) ? cells(column->title)
                                                                    : cells(column->unit_text);
        for (int r = 0; r < study->count; r++) {
            int n = cells(pare_number(text, pare_column_measure(column, &study->rows[r]),
                                      column->unit, column->interval));
            widths[c] = n > widths[c] ? n : widths[c];
        }
    }
    if (colour)
        fprintf(to, "\x1b[1m");
    print_header(study, to, widths);
    if (colour)
        fprintf(to, "\x1b[0m");
    for (int r = 0; r < study->count; r++) {
        const pare_overview_row *row = &study->rows[r];
        char name[64];
        snprintf(name, sizeof name, "%s %s", row->label, row->format);
        fprintf(to, "%-*s", FIRST_WIDTH, name);
        for (int c = 0; c < pare_column_count; c++)
            if (widths[c])
                pad_left(to,
                         pare_number(text, pare_column_measure(&pare_columns[c], row),
                                     pare_columns[c].unit, pare_columns[c].interval),
                         widths[c]);
        fprintf(to, "\n");
        if (row->failure)
            fprintf(to, "%-*s  not measured: %s\n", FIRST_WIDTH, "", row->failure);
    }
}
