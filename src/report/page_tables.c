/* Tables and lists of the page. */
#include "report/html.h"

#include <math.h>
#include <string.h>

static void head(pare_buffer *out, const pare_table *table)
{
    pare_buffer_text(out, "<thead><tr>");
    for (int c = 0; c < table->column_count; c++) {
        const pare_table_column *column = &table->columns[c];
        pare_buffer_printf(out, "<th scope=\"col\" class=\"%s\"", column->metric ? "" : "text");
        if (column->metric)
            pare_buffer_printf(out, " data-metric=\"%s\" data-first=\"%s\"", column->metric,
                               column->better > 0 ? "descending" : "ascending");
        else
            pare_buffer_printf(out, " data-choose=\"%ss\"",
                               strcmp(column->title, "Model") == 0    ? "model"
                               : strcmp(column->title, "Recipe") == 0 ? "recipe"
                                                                      : "workload");
        pare_buffer_text(out, ">");
        pare_html_escape(out, column->title);
        if (*column->unit) {
            pare_buffer_text(out, "<small>");
            pare_html_escape(out, column->unit);
            pare_buffer_text(out, "</small>");
        }
        pare_buffer_text(out, "</th>");
    }
    pare_buffer_text(out, "</tr></thead>");
}

static void cell(pare_buffer *out, const pare_table_cell *c)
{
    if (!c->numeric)
        pare_buffer_text(out, "<td class=\"text\"");
    else if (isnan(c->value))
        pare_buffer_text(out, "<td class=\"absent\" data-value=\"\"");
    else
        pare_buffer_printf(out, "<td data-value=\"%.17g\"", c->value);
    if (c->hot) {
        pare_buffer_text(out, " title=\"");
        pare_html_escape(out, c->hot);
        pare_buffer_text(out, "\"");
    }
    pare_buffer_text(out, ">");
    pare_html_escape(out, c->text);
    pare_buffer_text(out, "</td>");
}

void pare_html_table(pare_buffer *out, const pare_table *table, bool sortable)
{
    pare_buffer_printf(out, "<div class=\"scroll\"><table%s>",
                       sortable ? " class=\"sortable\"" : "");
    head(out, table);
    pare_buffer_text(out, "<tbody>\n");
    for (int r = 0; r < table->row_count; r++) {
        pare_buffer_text(out, table->marked[r] ? "<tr class=\"base\">" : "<tr>");
        for (int c = 0; c < table->column_count; c++)
            cell(out, pare_table_at(table, r, c));
        pare_buffer_text(out, "</tr>\n");
    }
    pare_buffer_text(out, "</tbody></table></div>\n");
}

void pare_html_facts(pare_buffer *out, const pare_table *table)
{
    pare_buffer_text(out, "<dl>");
    for (int r = 0; r < table->row_count; r++) {
        pare_buffer_text(out, "<dt>");
        pare_html_escape(out, pare_table_at(table, r, 0)->text);
        pare_buffer_text(out, "</dt><dd>");
        pare_html_escape(out, pare_table_at(table, r, 1)->text);
        pare_buffer_text(out, "</dd>");
    }
    pare_buffer_text(out, "</dl>\n");
}

int pare_html_findings(pare_buffer *out, const pare_findings *findings, const char *topic,
                       bool verdicts)
{
    static const char *const classes[] = {"fact", "supported", "part", "open"};
    int count = 0;
    for (int i = 0; i < findings->count; i++) {
        const pare_finding *f = &findings->items[i];
        if (topic && strcmp(f->topic, topic) != 0)
            continue;
        if (!count++)
            pare_buffer_text(out, "<ul class=\"findings\">\n");
        pare_buffer_printf(out, "<li class=\"%s\">", verdicts ? classes[f->verdict] : "fact");
        pare_html_escape(out, f->sentence);
        if (verdicts && f->verdict != PARE_VERDICT_FACT)
            pare_buffer_printf(out, " <span class=\"verdict\">%s</span>",
                               pare_verdict_text(f->verdict));
        pare_buffer_text(out, "</li>\n");
    }
    if (count)
        pare_buffer_text(out, "</ul>\n");
    return count;
}
