/* index.html: the whole study on one page that needs nothing else. */
#include "base/fail.h"
#include "report/advice.h"
#include "report/assets.h"
#include "report/documents.h"
#include "report/html.h"
#include "report/sections.h"

#include <stdio.h>
#include <string.h>

/* The variables of the theme: light, dark where the reader prefers it or chose it, light on paper.
 */
static void write_style(pare_buffer *out)
{
    pare_buffer_text(out, "<style>\n:root{");
    pare_theme_css(out, false);
    pare_buffer_text(out, "}\n@media (prefers-color-scheme:dark){:root:not([data-theme=light]){");
    pare_theme_css(out, true);
    pare_buffer_text(out, "}}\n:root[data-theme=dark]{color-scheme:dark;");
    pare_theme_css(out, true);
    pare_buffer_text(out, "}\n:root[data-theme=light]{color-scheme:light}\n");
    pare_buffer_text(out, pare_page_css);
    pare_buffer_text(out, "@media print{:root,:root[data-theme=dark],:root:not([data-theme=light])"
                          "{color-scheme:light;");
    pare_theme_css(out, false);
    pare_buffer_text(out, "}}\n</style>\n");
}

static const char *title_of(const pare_view *view)
{
    return view->study->title ? view->study->title : view->study->name;
}

static void write_nav(pare_buffer *out)
{
    pare_buffer_text(out, "<nav><div>\n");
    for (int i = 0; i < pare_section_count; i++)
        pare_buffer_printf(out, "<a href=\"#%s\">%s</a>\n", pare_sections[i].id,
                           pare_sections[i].title);
    pare_buffer_text(out, "<a href=\"#recommendations\">Recommendations</a>\n"
                          "<a href=\"#limits\">Limitations</a>\n"
                          "<a href=\"#setup\">Set-up</a>\n</div></nav>\n");
}

/* ---- the numbers at the top ---- */

typedef struct extreme {
    int model, choice;
    pare_measure value;
} extreme;

static extreme find_extreme(const pare_view *view, const char *metric, bool low)
{
    extreme best = {.model = -1};
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++) {
            pare_measure v = pare_view_get(view, m, c, 0, metric);
            if (v.absent || c == view->base)
                continue;
            if (best.model < 0 || (low ? v.value < best.value.value : v.value > best.value.value))
                best = (extreme){m, c, v};
        }
    return best;
}

static void write_tile(pare_view *view, pare_buffer *out, const char *metric, bool low,
                       const char *what)
{
    extreme best = find_extreme(view, metric, low);
    if (best.model < 0)
        return;
    pare_buffer_printf(out, "<div class=\"tile\"><b>%s</b><span>%s: ",
                       pare_words(view, metric, best.value, false), what);
    pare_html_escape(out, view->model_label[best.model]);
    pare_buffer_text(out, ", ");
    pare_html_escape(out, view->choice[best.choice].label);
    pare_buffer_text(out, "</span></div>\n");
}

static void write_tiles(pare_view *view, pare_buffer *out)
{
    int measured = 0;
    for (int i = 0; i < view->study->count; i++)
        measured += view->study->cells[i].bench != NULL;
    pare_buffer_text(out, "<div class=\"tiles\">\n");
    write_tile(view, out, "decode_speedup", false, "highest decode speed-up");
    write_tile(view, out, "prefill_speedup", false, "highest prefill speed-up");
    write_tile(view, out, "memory_reduction", false, "most peak memory saved");
    write_tile(view, out, "quality_loss", false, "highest change of perplexity");
    pare_buffer_printf(out,
                       "<div class=\"tile\"><b>%d of %d</b><span>configurations measured: %d "
                       "model%s, %d recipe%s, %d workload%s</span></div>\n</div>\n",
                       measured, view->study->count, view->models, view->models == 1 ? "" : "s",
                       view->choices, view->choices == 1 ? "" : "s", view->workloads,
                       view->workloads == 1 ? "" : "s");
}

/* ---- chapters ---- */

static void write_figure(pare_view *view, const pare_chart *chart, pare_buffer *out,
                         pare_status *status)
{
    char reason[400], prefix[16];
    if (pare_section_skips(view, chart))
        return;
    if (pare_chart_missing(chart, view, reason, sizeof reason)) {
        pare_buffer_printf(out, "<div class=\"missing\" id=\"%s\"><b>%s</b>: ", chart->name,
                           chart->title);
        pare_html_escape(out, reason);
        pare_buffer_text(out, "</div>\n");
        return;
    }
    snprintf(prefix, sizeof prefix, "c%d-", (int)(chart - pare_charts));
    pare_buffer_printf(out, "<figure id=\"%s\">", chart->name);
    if (*status == PARE_OK)
        *status = pare_chart_inline(chart, view, prefix, out);
    pare_buffer_printf(out,
                       "<figcaption>%s <a href=\"figures/%s.png\">PNG</a> "
                       "<a href=\"figures/%s.svg\">SVG</a> <a href=\"figures/%s.pdf\">PDF</a>"
                       "</figcaption></figure>\n",
                       chart->text, chart->name, chart->name, chart->name);
}

static void write_chapter(pare_view *view, const pare_section *section, pare_buffer *out,
                          pare_status *status)
{
    pare_findings findings = pare_findings_of_results(view),
                  hardware = pare_findings_of_hardware(view);
    pare_buffer_printf(out, "<section id=\"%s\"><h2>%s</h2>\n", section->id, section->title);
    for (int i = 0; i < PARE_SECTION_TOPICS && section->topics[i]; i++) {
        pare_html_findings(out, &findings, section->topics[i], true);
        pare_html_findings(out, &hardware, section->topics[i], false);
    }
    for (int i = 0; i < PARE_SECTION_CHARTS && section->charts[i]; i++)
        write_figure(view, pare_chart_find(section->charts[i]), out, status);
    if (strcmp(section->id, "overall") == 0) {
        pare_table table = pare_table_of_results(view, -1, true, true);
        pare_html_table(out, &table, true);
        pare_buffer_text(out,
                         "<p class=\"soft\">&plusmn; is half of the 95&#160;% interval; - was not "
                         "measured. Point at a number for more about it. Grey rows are the "
                         "baseline's. All values: <a href=\"results.csv\">results.csv</a>, "
                         "<a href=\"results.json\">results.json</a>.</p>\n");
    }
    if (strcmp(section->id, "decision") == 0)
        pare_buffer_printf(out, "<p class=\"soft\">%s</p>\n", pare_advice_tree_note(view));
    if (strcmp(section->id, "scaling") == 0) {
        pare_table table = pare_advice_capacity(view);
        pare_buffer_text(out,
                         "<h3>What fits which device</h3>\n<p class=\"soft\">The largest model "
                         "of a family by formula: weights in the format, embeddings in 16 "
                         "bits, an F16 cache of 4096 tokens, scratch; and what it "
                         "needs.</p>\n");
        pare_html_table(out, &table, false);
    }
    pare_buffer_text(out, "</section>\n");
}

/* Each topic under its name; findings of a topic follow each other. */
static void write_by_topic(pare_buffer *out, const pare_findings *findings)
{
    for (int i = 0; i < findings->count; i++) {
        const char *topic = findings->items[i].topic;
        if (i && strcmp(topic, findings->items[i - 1].topic) == 0)
            continue;
        pare_buffer_printf(out, "<h3>%s</h3>\n", topic);
        pare_html_findings(out, findings, topic, true);
    }
}

static void write_scenarios(pare_view *view, pare_buffer *out)
{
    pare_findings scenarios = pare_advice_scenarios(view), design = pare_findings_of_design(view);
    pare_buffer_text(out, "<section id=\"recommendations\"><h2>Recommendations by scenario</h2>\n");
    write_by_topic(out, &scenarios);
    if (design.count)
        pare_buffer_text(out, "<h2 id=\"principles\">Co-design principles</h2>\n");
    write_by_topic(out, &design);
    pare_buffer_text(out, "</section>\n");
}

static void write_setup(pare_view *view, pare_buffer *out)
{
    const struct {
        const char *title;
        pare_table table;
    } tables[] = {{"Models", pare_table_of_models(view)},
                  {"Recipes", pare_table_of_choices(view)},
                  {"Workloads", pare_table_of_workloads(view)}};
    pare_table hardware = pare_table_of_hardware(view, true),
               software = pare_table_of_software(view);
    pare_buffer_text(out, "<section id=\"setup\"><h2>Set-up</h2>\n");
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        pare_buffer_printf(out, "<h3>%s</h3>\n", tables[i].title);
        pare_html_table(out, &tables[i].table, false);
    }
    pare_buffer_text(out, "<h3>Hardware</h3>\n");
    pare_html_facts(out, &hardware);
    pare_buffer_text(out, "<h3>Software and time</h3>\n");
    pare_html_facts(out, &software);
    if (view->study->text) {
        pare_buffer_text(out, "<details><summary>The study's file</summary><pre>");
        pare_html_escape(out, view->study->text);
        pare_buffer_text(out, "</pre></details>\n");
    }
    pare_buffer_text(out, "</section>\n");
}

static void write_lines(pare_buffer *out, const char *text)
{
    pare_buffer_text(out, "<ol>");
    while (text && *text) {
        size_t length = strcspn(text, "\n");
        if (length) {
            pare_buffer line = {0};
            pare_buffer_append(&line, text, length);
            pare_buffer_text(out, "<li>");
            pare_html_escape(out, line.data);
            pare_buffer_text(out, "</li>");
            pare_buffer_free(&line);
        }
        text += length + (text[length] == '\n');
    }
    pare_buffer_text(out, "</ol>\n");
}

static void write_head(pare_view *view, pare_buffer *out)
{
    const pare_study *s = view->study;
    pare_buffer_text(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                          "\n<link rel=\"icon\" href=\"data:,\">\n<title>");
    pare_html_escape(out, title_of(view));
    pare_buffer_text(out, "</title>\n");
    write_style(out);
    pare_buffer_text(out, "</head><body>\n<header><div><h1>");
    pare_html_escape(out, title_of(view));
    pare_buffer_text(out, "</h1><div class=\"soft\">");
    pare_html_escape(out, s->machine ? s->machine : "");
    if (s->updated)
        pare_buffer_printf(out, " &middot; %.10s", s->updated);
    pare_buffer_text(out, " &middot; Pare ");
    pare_html_escape(out, s->version ? s->version : "");
    pare_buffer_text(out, "</div></div></header>\n");
    write_nav(out);
    pare_buffer_text(out, "<main>\n");
    if (s->goal) {
        pare_buffer_text(out, "<p>");
        pare_html_escape(out, s->goal);
        pare_buffer_text(out, "</p>\n");
    }
    if (s->questions)
        write_lines(out, s->questions);
    write_tiles(view, out);
}

pare_status pare_document_page(pare_view *view, pare_buffer *out)
{
    pare_status status = PARE_OK;
    pare_findings limits = pare_findings_of_limits(view);
    write_head(view, out);
    for (int i = 0; i < pare_section_count; i++)
        write_chapter(view, &pare_sections[i], out, &status);
    write_scenarios(view, out);
    pare_buffer_text(out, "<section id=\"limits\"><h2>Limitations</h2>\n");
    pare_html_findings(out, &limits, NULL, false);
    pare_buffer_text(out, "</section>\n");
    write_setup(view, out);
    pare_buffer_printf(out,
                       "</main>\n<footer>Made by Pare from its results database; every number "
                       "comes from there. Slides: <a href=\"slides.pdf\">slides.pdf</a>.</footer>\n"
                       "<script>%s</script>\n</body></html>\n",
                       pare_page_js);
    if (status == PARE_OK && out->failed)
        status = pare_fail_memory(out->size, "the page");
    return status;
}
