#include "report/slides_pages.h"

#include "report/advice.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void title_page(pare_deck *deck)
{
    const pare_study *s = deck->view->study;
    pare_canvas *canvas = &deck->canvas;
    char line[300];
    deck->page++;
    pare_canvas_fill(canvas, (pare_box){0, 0, canvas->width, canvas->height}, PARE_INK_SURFACE);
    pare_canvas_fill(canvas, (pare_box){0, 0, 28, canvas->height}, pare_series_ink(0));
    pare_box box = {84, 150, canvas->width - 168, 300};
    box = pare_slide_text(deck, box, s->title ? s->title : s->name, 42, true, PARE_INK_TEXT);
    if (s->goal)
        box = pare_slide_text(deck, box, s->goal, 19, false, PARE_INK_SOFT);
    snprintf(line, sizeof line, "%s%s%.10s%sPare %s", s->machine ? s->machine : "",
             s->machine ? "  ·  " : "", s->updated ? s->updated : "", s->updated ? "  ·  " : "",
             s->version ? s->version : "");
    box.y = canvas->height - 74;
    pare_slide_text(deck, box, line, 14, false, PARE_INK_SOFT);
}

static void goal_page(pare_deck *deck)
{
    const pare_study *s = deck->view->study;
    if (!s->goal && !s->questions)
        return;
    pare_box box = pare_slide_begin(deck, "Goal and questions");
    if (s->goal)
        box = pare_slide_text(deck, box, s->goal, 18, false, PARE_INK_TEXT);
    box.y += 10;
    const char *at = s->questions;
    while (at && *at) {
        char line[500];
        size_t length = strcspn(at, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, at);
        if (length)
            box = pare_slide_bullet(deck, box, line, 18, -1);
        at += length + (at[length] == '\n');
    }
}

static void hardware_page(pare_deck *deck)
{
    pare_table hardware = pare_table_of_hardware(deck->view, false),
               software = pare_table_of_software(deck->view);
    pare_box box = pare_slide_begin(deck, "Set-up: hardware and software");
    pare_box left = {box.x, box.y, box.w * 0.48, box.h},
             right = {box.x + box.w * 0.52, box.y, box.w * 0.48, box.h};
    left = pare_slide_text(deck, left, "Hardware", 15, true, PARE_INK_TEXT);
    right = pare_slide_text(deck, right, "Software", 15, true, PARE_INK_TEXT);
    pare_slide_table(deck, left, &hardware, false, NULL);
    pare_slide_table(deck, right, &software, false, NULL);
}

/* A table over as many pages as it needs. */
static void table_pages(pare_deck *deck, const char *title, const pare_table *table)
{
    char further[200];
    int row = 0;
    do {
        int before = row;
        snprintf(further, sizeof further, "%s%s", title, row ? ", continued" : "");
        pare_box box = pare_slide_begin(deck, further);
        pare_slide_table(deck, box, table, true, &row);
        if (row == before)
            break;
    } while (row < table->row_count);
}

/* Models, recipes and workloads on one page where they fit. */
static void subjects_page(pare_deck *deck)
{
    enum { FIT = 16 };
    pare_table tables[] = {pare_table_of_models(deck->view), pare_table_of_choices(deck->view),
                           pare_table_of_workloads(deck->view)};
    static const char *const titles[] = {"Models", "Recipes", "Workloads"};
    double rows = 0;
    for (int i = 0; i < 3; i++)
        rows += tables[i].row_count;
    if (rows > FIT) {
        table_pages(deck, "Set-up: models", &tables[0]);
        table_pages(deck, "Set-up: recipes", &tables[1]);
        table_pages(deck, "Set-up: workloads", &tables[2]);
        return;
    }
    rows += 3 * 2.6; /* for their heads */
    pare_box box = pare_slide_begin(deck, "Set-up: models, recipes, workloads");
    double each = (box.h - 3 * 20) / rows;
    for (int i = 0; i < 3; i++) {
        box = pare_slide_text(deck, box, titles[i], 13, true, PARE_INK_TEXT);
        pare_box room = {box.x, box.y, box.w, (tables[i].row_count + 2.6) * each - 4};
        pare_box rest = pare_slide_table(deck, room, &tables[i], true, NULL);
        box.h -= rest.y - box.y;
        box.y = rest.y;
    }
}

static void results_pages(pare_deck *deck)
{
    pare_table table = pare_table_of_results(deck->view, -1, false, false);
    table_pages(deck, "Overall results", &table);
}

/* A chart fills its slide; what it needs and how to read it stand below. */
static void chart_page(pare_deck *deck, const pare_chart *chart)
{
    char reason[400];
    if (pare_section_skips(deck->view, chart) ||
        pare_chart_missing(chart, deck->view, reason, sizeof reason))
        return;
    pare_box box = pare_slide_begin(deck, chart->title);
    const pare_text below = {
        .size = 12, .ink = PARE_INK_SOFT, .wrap = box.w, .lines = 2, .down = 1};
    double used = pare_text_draw(&deck->canvas, box.x, box.y + box.h, &below,
                                 chart->draw == pare_draw_tree ? pare_advice_tree_note(deck->view)
                                                               : chart->text)
                      .h +
                  6;
    /* Slides are read from farther away: larger, unless there is too much to show. */
    const pare_size size = chart->size(deck->view);
    const double larger = fmin(1.1, fmin(box.w / size.w, (box.h - used) / size.h));
    pare_canvas part = {.cr = deck->canvas.cr,
                        .width = box.w / larger,
                        .height = (box.h - used) / larger,
                        .untitled = true};
    cairo_save(part.cr);
    cairo_translate(part.cr, box.x, box.y);
    cairo_scale(part.cr, larger, larger);
    chart->draw(&part, deck->view);
    cairo_restore(part.cr);
    pare_canvas_free_hots(&part);
}

static void chapter(pare_deck *deck, const char *id)
{
    for (int i = 0; i < pare_section_count; i++) {
        const pare_section *section = &pare_sections[i];
        if (strcmp(section->id, id) != 0)
            continue;
        for (int c = 0; c < PARE_SECTION_CHARTS && section->charts[c]; c++)
            chart_page(deck, pare_chart_find(section->charts[c]));
    }
}

static void result_chapters(pare_deck *deck)
{
    static const char *const ids[] = {"overall", "speed",    "memory",
                                      "quality", "hardware", "tradeoffs"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        chapter(deck, ids[i]);
}

static void titled_findings(pare_deck *deck, const char *title, const pare_findings *findings,
                            bool verdicts)
{
    enum { SIZE = 15 };
    pare_box room = {0};
    for (int i = 0; i < findings->count; i++) {
        const pare_finding *f = &findings->items[i];
        bool new_topic = i == 0 || strcmp(f->topic, findings->items[i - 1].topic) != 0;
        if (i == 0)
            room = pare_slide_begin(deck, title);
        if (new_topic && room.h > 4 * SIZE)
            room = pare_slide_text(deck, room, f->topic, SIZE + 1, true, PARE_INK_TEXT);
        else if (new_topic)
            room.h = 0;
        pare_box rest =
            pare_slide_bullet(deck, room, f->sentence, SIZE, verdicts ? (int)f->verdict : -1);
        if (rest.h < 0) {
            char further[200];
            snprintf(further, sizeof further, "%s, continued", title);
            room = pare_slide_begin(deck, further);
            room = pare_slide_text(deck, room, f->topic, SIZE + 1, true, PARE_INK_TEXT);
            rest =
                pare_slide_bullet(deck, room, f->sentence, SIZE, verdicts ? (int)f->verdict : -1);
        }
        room = rest;
    }
}

/* Chapter by chapter, under the chapter's name. */
static void findings_pages(pare_deck *deck)
{
    pare_findings all = pare_findings_begin(deck->view);
    const pare_findings sources[] = {pare_findings_of_results(deck->view),
                                     pare_findings_of_hardware(deck->view)};
    for (int i = 0; i < pare_section_count; i++)
        for (int k = 0; k < 2; k++)
            for (int f = 0; f < sources[k].count; f++)
                if (pare_section_has(&pare_sections[i], sources[k].items[f].topic))
                    pare_findings_add(deck->view, &all, pare_sections[i].title,
                                      sources[k].items[f].verdict, "%s",
                                      sources[k].items[f].sentence);
    titled_findings(deck, "Findings", &all, true);
}

static void design_pages(pare_deck *deck)
{
    pare_findings design = pare_findings_of_design(deck->view);
    titled_findings(deck, "Co-design principles", &design, true);
    chapter(deck, "decision");
}

static void scaling_pages(pare_deck *deck)
{
    chapter(deck, "scaling");
}

static void devices_page(pare_deck *deck)
{
    pare_table table = pare_advice_capacity(deck->view);
    pare_box box = pare_slide_begin(deck, "Hardware comparison: what fits");
    box = pare_slide_text(deck, box,
                          "The largest model of a family that fits a device by formula (weights in "
                          "the format, embeddings in 16 bits, an F16 cache of 4096 tokens, "
                          "scratch), and what it needs.",
                          13, false, PARE_INK_SOFT);
    pare_slide_table(deck, box, &table, true, NULL);
}

static void limits_page(pare_deck *deck)
{
    pare_findings limits = pare_findings_of_limits(deck->view);
    pare_slide_findings(deck, "Limitations", &limits, NULL, false);
}

/* Charts that the study has no data for, and what would give it. */
static void missing_page(pare_deck *deck)
{
    pare_findings missing = pare_findings_begin(deck->view);
    for (int i = 0; i < pare_chart_count; i++) {
        char reason[400];
        const pare_chart *chart = &pare_charts[i];
        if (!pare_section_skips(deck->view, chart) &&
            pare_chart_missing(chart, deck->view, reason, sizeof reason))
            pare_findings_add(deck->view, &missing, "Missing", PARE_VERDICT_FACT, "%s: %s",
                              chart->title, reason);
    }
    pare_slide_findings(deck, "Not drawn, and what would give it", &missing, NULL, false);
}

static void scenarios_page(pare_deck *deck)
{
    pare_findings scenarios = pare_advice_scenarios(deck->view);
    titled_findings(deck, "Recommendations by scenario", &scenarios, true);
}

static void references_page(pare_deck *deck)
{
    static const char *const works[] = {
        "Dettmers, Lewis, Belkada, Zettlemoyer: LLM.int8(): 8-bit matrix multiplication for "
        "transformers at scale. NeurIPS 2022.",
        "Frantar, Ashkboos, Hoefler, Alistarh: GPTQ: accurate post-training quantization for "
        "generative pre-trained transformers. ICLR 2023.",
        "Lin et al.: AWQ: activation-aware weight quantization for LLM compression and "
        "acceleration. MLSys 2024.",
        "Xiao et al.: SmoothQuant: accurate and efficient post-training quantization for large "
        "language models. ICML 2023.",
        "Dettmers, Pagnoni, Holtzman, Zettlemoyer: QLoRA (NF4). NeurIPS 2023.",
        "Williams, Waterman, Patterson: Roofline: an insightful visual performance model. "
        "Communications of the ACM, 2009.",
        "Hettmansperger, Sheather: Confidence intervals based on interpolated order statistics. "
        "Statistics & Probability Letters, 1986.",
        "Okabe, Ito: Color universal design. 2008.",
    };
    pare_box box = pare_slide_begin(deck, "References");
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        box = pare_slide_bullet(deck, box, works[i], 14, -1);
}

void (*const pare_slide_pages[])(pare_deck *deck) = {
    title_page,      goal_page,      hardware_page,  subjects_page,   results_pages,
    result_chapters, findings_pages, design_pages,   scaling_pages,   devices_page,
    limits_page,     missing_page,   scenarios_page, references_page,
};
const int pare_slide_page_count = sizeof pare_slide_pages / sizeof *pare_slide_pages;
