/* The self-contained page of a study. */
#include "base/fail.h"
#include "base/file.h"
#include "report/charts.h"
#include "report/columns.h"

#include <pare/report.h>
#include <string.h>

static const char style[] =
    ":root{--ink:#222;--soft:#666;--line:#ddd;--back:#fff;--card:#f6f7f9;--mark:#e3f1e8}\n"
    "@media "
    "(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#a5a5a5;--line:#3a3a3a;--back:#161616;"
    "--card:#202124;--mark:#17382a}}\n"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);margin:0 auto;"
    "max-width:1280px;padding:1.5rem}\n"
    "h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .6rem}\n"
    ".soft{color:var(--soft)}.advice{background:var(--mark);border-radius:8px;padding:.8rem "
    "1rem;margin:1rem 0}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;"
    "white-space:nowrap;width:100%;font-size:.9rem}\n"
    "th,td{padding:.35rem .45rem;text-align:right;border-bottom:1px solid var(--line)}\n"
    "th:first-child,td:first-child{text-align:left}th{cursor:pointer;vertical-align:bottom}\n"
    "th small{display:block;color:var(--soft);font-weight:normal}tr.chosen "
    "td{background:var(--mark)}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1rem}\n"
    "figure{margin:0;background:#fff;border:1px solid "
    "var(--line);border-radius:8px;overflow:hidden}\n"
    "figure svg{display:block;width:100%;height:auto}\n"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem "
    "1rem}dt{color:var(--soft)}dd{margin:0}\n"
    "@media print{body{max-width:none}.charts{grid-template-columns:1fr "
    "1fr}figure{break-inside:avoid}}\n";

/* Sorting by a click on a column's head; without it the page loses nothing else. */
static const char script[] =
    "document.querySelectorAll('th').forEach((th,i)=>th.addEventListener('click',()=>{"
    "const body=th.closest('table').tBodies[0],up=th.dataset.up!=='1';"
    "th.parentNode.querySelectorAll('th').forEach(o=>delete o.dataset.up);th.dataset.up=up?'1':'0';"
    "const key=r=>{const v=r.cells[i].dataset.value;return "
    "v===undefined?r.cells[i].textContent:+v};"
    "[...body.rows].sort((a,b)=>{const x=key(a),y=key(b),d=x<y?-1:x>y?1:0;return up?d:-d})"
    ".forEach(r=>body.append(r));}));";

static void escape(pare_buffer *out, const char *text)
{
    for (; text && *text; text++) {
        const char *entity = *text == '<'   ? "&lt;"
                             : *text == '>' ? "&gt;"
                             : *text == '&' ? "&amp;"
                             : *text == '"' ? "&quot;"
                                            : NULL;
        if (entity)
            pare_buffer_text(out, entity);
        else
            pare_buffer_append(out, text, 1);
    }
}

static void write_table(const pare_overview *study, int chosen, pare_buffer *out)
{
    char text[PARE_NUMBER_BYTES];
    pare_buffer_text(out, "<div class=\"scroll\"><table><thead><tr><th>format</th>");
    for (int c = 0; c < pare_column_count; c++)
        pare_buffer_printf(out, "<th title=\"%s\">%s<small>%s</small></th>",
                           pare_columns[c].explanation, pare_columns[c].title,
                           pare_columns[c].unit_text);
    pare_buffer_text(out, "</tr></thead><tbody>\n");
    for (int r = 0; r < study->count; r++) {
        const pare_overview_row *row = &study->rows[r];
        pare_buffer_text(out, r == chosen ? "<tr class=\"chosen\"><td><b>" : "<tr><td><b>");
        escape(out, row->label);
        pare_buffer_text(out, "</b> <span class=\"soft\">");
        escape(out, row->format);
        pare_buffer_text(out, "</span>");
        if (row->failure) {
            pare_buffer_text(out, "<br><small>not measured: ");
            escape(out, row->failure);
            pare_buffer_text(out, "</small>");
        }
        pare_buffer_text(out, "</td>");
        for (int c = 0; c < pare_column_count; c++) {
            pare_measure m = pare_column_measure(&pare_columns[c], row);
            pare_number(text, m, pare_columns[c].unit, pare_columns[c].interval);
            if (m.absent)
                pare_buffer_printf(out, "<td data-value=\"-1e99\">%s</td>", text);
            else
                pare_buffer_printf(out, "<td data-value=\"%.9g\" title=\"%.9g\">%s</td>", m.value,
                                   m.value, text);
        }
        pare_buffer_text(out, "</tr>\n");
    }
    pare_buffer_text(out, "</tbody></table></div>\n");
}

static void write_charts(const pare_overview *study, pare_buffer *out)
{
    pare_buffer_text(out, "<div class=\"charts\">\n");
    for (int i = 0; i < pare_study_chart_count; i++) {
        pare_buffer svg = {0};
        if (pare_study_chart_svg(study, i, &svg) == PARE_OK) {
            pare_buffer_printf(out, "<figure role=\"img\" aria-label=\"%s\">",
                               pare_study_charts[i].title);
            pare_buffer_append(out, svg.data, svg.size);
            pare_buffer_text(out, "</figure>\n");
        }
        pare_buffer_free(&svg);
    }
    pare_buffer_text(out, "</div>\n");
}

static void write_conditions(const pare_overview *study, pare_buffer *out)
{
    const char *const rows[][2] = {
        {"model", study->model},      {"machine", study->machine},  {"threads", study->threads},
        {"instructions", study->isa}, {"quality", study->protocol}, {"measured", study->time},
        {"pare", study->version},     {"study", study->name},
    };
    pare_buffer_text(out, "<dl>");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i][1] && *rows[i][1]) {
            pare_buffer_printf(out, "<dt>%s</dt><dd>", rows[i][0]);
            escape(out, rows[i][1]);
            pare_buffer_text(out, "</dd>");
        }
    pare_buffer_text(out, "</dl>\n");
}

pare_status pare_report_write_html(const pare_overview *study,
                                   const pare_recommendation *recommendation, const char *path)
{
    pare_buffer page = {0};
    pare_output output = {0};
    pare_status status;
    pare_buffer_text(
        &page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>Pare: ");
    escape(&page, study->model);
    pare_buffer_printf(&page, "</title>\n<style>\n%s</style></head><body>\n<h1>", style);
    escape(&page, study->model);
    pare_buffer_text(&page, "</h1>\n<div class=\"soft\">");
    escape(&page, study->machine);
    pare_buffer_text(&page, "</div>\n");
    if (recommendation) {
        pare_buffer_text(&page, "<p class=\"advice\">");
        escape(&page, recommendation->sentence);
        pare_buffer_text(&page, "</p>\n");
    }
    if (study->note) {
        pare_buffer_text(&page, "<p><b>Note:</b> ");
        escape(&page, study->note);
        pare_buffer_text(&page, "</p>\n");
    }
    pare_buffer_text(&page, "<h2>Results</h2>\n");
    write_table(study, recommendation ? recommendation->row : -1, &page);
    pare_buffer_text(
        &page,
        "<p class=\"soft\">&plusmn; is half of the 95&#160;% interval. Hover over a column's head "
        "for its meaning, click to sort.</p>\n<h2>Charts</h2>\n");
    write_charts(study, &page);
    pare_buffer_text(&page, "<h2>Conditions</h2>\n");
    write_conditions(study, &page);
    pare_buffer_printf(&page, "<script>%s</script>\n</body></html>\n", script);
    if (page.failed) {
        status = pare_fail_memory(page.size, "the page");
        goto fail;
    }
    PARE_TRY(pare_output_open(&output, path));
    PARE_TRY(pare_output_write(&output, page.data, page.size));
    PARE_TRY(pare_output_commit(&output));
fail:
    pare_output_abort(&output);
    pare_buffer_free(&page);
    return status;
}
