/* Tables and lists on slides. */
#include "report/slide.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MARGIN = 48, TOP = 34, FOOT = 30 };

pare_box pare_slide_begin(pare_deck *deck, const char *title)
{
    pare_canvas *canvas = &deck->canvas;
    char number[16];
    if (deck->page++)
        cairo_show_page(canvas->cr);
    pare_canvas_fill(canvas, (pare_box){0, 0, canvas->width, canvas->height}, PARE_INK_SURFACE);
    pare_canvas_fill(canvas, (pare_box){0, 0, 10, canvas->height}, pare_series_ink(0));
    const pare_text head = {.size = 27,
                            .bold = true,
                            .ink = PARE_INK_TEXT,
                            .wrap = canvas->width - 2 * MARGIN,
                            .lines = 1};
    double used = pare_text_draw(canvas, MARGIN, TOP, &head, title).h;
    const pare_text foot = {.size = 10.5, .ink = PARE_INK_SOFT, .down = 1};
    pare_text page = foot;
    page.across = 1;
    const pare_study *s = deck->view->study;
    pare_text_draw(canvas, MARGIN, canvas->height - 12, &foot, s->title ? s->title : s->name);
    snprintf(number, sizeof number, "%d", deck->page);
    pare_text_draw(canvas, canvas->width - MARGIN, canvas->height - 12, &page, number);
    double y = TOP + used + 14;
    return (pare_box){MARGIN, y, canvas->width - 2 * MARGIN, canvas->height - FOOT - 8 - y};
}

pare_box pare_slide_text(pare_deck *deck, pare_box box, const char *text, double size, bool bold,
                         pare_ink ink)
{
    const pare_text style = {.size = size, .bold = bold, .ink = ink, .wrap = box.w};
    double used = pare_text_draw(&deck->canvas, box.x, box.y, &style, text).h + size * 0.45;
    return (pare_box){box.x, box.y + used, box.w, box.h - used};
}

pare_box pare_slide_bullet(pare_deck *deck, pare_box box, const char *text, double size,
                           int verdict)
{
    enum { INDENT = 24 };
    char all[1100];
    snprintf(all, sizeof all, "%s%s%s%s", text, verdict > 0 ? "  [" : "",
             verdict > 0 ? pare_verdict_text((pare_verdict)verdict) : "", verdict > 0 ? "]" : "");
    const pare_text style = {.size = size, .ink = PARE_INK_TEXT, .wrap = box.w - INDENT};
    double used = pare_text_measure(&deck->canvas, &style, all).h;
    if (used > box.h)
        return (pare_box){box.x, box.y, box.w, -1};
    static const int marks[] = {0, 2, 1, 3}; /* colour of fact, supported, in part, open */
    pare_canvas_marker(&deck->canvas, box.x + 6, box.y + size * 0.68, size * 0.24,
                       verdict > 0 ? marks[verdict] : 0, marks[verdict > 0 ? verdict : 0]);
    pare_text_draw(&deck->canvas, box.x + INDENT, box.y, &style, all);
    used += size * 0.5;
    return (pare_box){box.x, box.y + used, box.w, box.h - used};
}

/* ---- tables ---- */

typedef struct grid {
    double width[PARE_TABLE_MOST_COLUMNS], total, row, head, size;
} grid;

static void column_head(const pare_table_column *column, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s", column->title, *column->unit ? ", " : "", column->unit);
}

/* Heads break into lines at a width near that of the numbers; text columns are as wide as their
 * longest text, within reason. */
static grid measure(pare_canvas *canvas, const pare_table *t, bool heads, double size, double most)
{
    grid g = {.size = size};
    char text[200];
    for (int c = 0; c < t->column_count; c++) {
        pare_text style = {.size = size};
        for (int r = 0; r < t->row_count; r++)
            g.width[c] =
                fmax(g.width[c], pare_text_measure(canvas, &style, pare_table_at(t, r, c)->text).w);
        g.width[c] = fmin(g.width[c], most * (t->column_count == 2 ? 0.75 : 0.3));
        if (heads) {
            column_head(&t->columns[c], text, sizeof text);
            style.bold = true;
            g.width[c] =
                fmax(g.width[c], fmin(pare_text_measure(canvas, &style, text).w, size * 6.6));
        }
        g.width[c] += size * 1.1;
        g.total += g.width[c];
    }
    for (int c = 0; c < t->column_count && heads; c++) {
        const pare_text style = {.size = size, .bold = true, .wrap = g.width[c] - size};
        column_head(&t->columns[c], text, sizeof text);
        g.head = fmax(g.head, pare_text_measure(canvas, &style, text).h);
    }
    g.head += heads ? size * 0.6 : 0;
    g.row = size * 1.75;
    return g;
}

static void draw_row(pare_canvas *canvas, const pare_table *t, const grid *g, pare_box box,
                     double y, int r)
{
    double x = box.x;
    for (int c = 0; c < t->column_count; c++) {
        const pare_table_cell *cell = pare_table_at(t, r, c);
        bool right = cell->numeric;
        const pare_text style = {.size = g->size,
                                 .ink = cell->numeric && isnan(cell->value) ? PARE_INK_AXIS
                                        : t->marked[r]                      ? PARE_INK_SOFT
                                                                            : PARE_INK_TEXT,
                                 .wrap = right ? 0 : g->width[c] - g->size * 0.6,
                                 .lines = right ? 0 : 1,
                                 .across = right ? 1 : 0,
                                 .down = 0.5};
        pare_text_draw(canvas, right ? x + g->width[c] - g->size * 0.55 : x + g->size * 0.5,
                       y + g->row / 2, &style, cell->text);
        x += g->width[c];
    }
    pare_canvas_line(canvas, box.x, y + g->row, box.x + g->total, y + g->row, 0.6, PARE_INK_GRID);
}

static void draw_head(pare_canvas *canvas, const pare_table *t, const grid *g, pare_box box)
{
    char text[200];
    double x = box.x;
    pare_canvas_fill(canvas, (pare_box){box.x, box.y, g->total, g->head}, PARE_INK_PANEL);
    for (int c = 0; c < t->column_count; c++) {
        bool right = t->columns[c].metric != NULL;
        pare_text style = {.size = g->size,
                           .bold = true,
                           .ink = PARE_INK_TEXT,
                           .wrap = g->width[c] - g->size,
                           .down = 1};
        style.across = right ? 1 : 0;
        column_head(&t->columns[c], text, sizeof text);
        pare_text_draw(canvas, right ? x + g->width[c] - g->size * 0.55 : x + g->size * 0.5,
                       box.y + g->head - g->size * 0.3, &style, text);
        x += g->width[c];
    }
}

pare_box pare_slide_table(pare_deck *deck, pare_box box, const pare_table *table, bool heads,
                          int *row)
{
    pare_canvas *canvas = &deck->canvas;
    grid g = {0};
    for (double size = 14; size >= 7; size -= 0.5) { /* the largest that fits, in both directions */
        g = measure(canvas, table, heads, size, box.w);
        if (g.total <= box.w && (g.head + g.row * table->row_count <= box.h || size <= 11))
            break;
    }
    if (heads)
        draw_head(canvas, table, &g, box);
    double y = box.y + g.head;
    int r = row ? *row : 0;
    for (; r < table->row_count && y + g.row <= box.y + box.h + 1; r++, y += g.row)
        draw_row(canvas, table, &g, box, y, r);
    if (row)
        *row = r;
    return (pare_box){box.x, y + 10, box.w, box.y + box.h - y - 10};
}

void pare_slide_findings(pare_deck *deck, const char *title, const pare_findings *findings,
                         const pare_section *section, bool verdicts)
{
    enum { SIZE = 15 };
    pare_box room = {0};
    bool open = false;
    for (int i = 0; i < findings->count; i++) {
        const pare_finding *f = &findings->items[i];
        if (section && !pare_section_has(section, f->topic))
            continue;
        int verdict = verdicts ? (int)f->verdict : -1;
        if (!open)
            room = pare_slide_begin(deck, title);
        open = true;
        pare_box rest = pare_slide_bullet(deck, room, f->sentence, SIZE, verdict);
        if (rest.h < 0) {
            char further[200];
            snprintf(further, sizeof further, "%s, continued", title);
            room = pare_slide_begin(deck, further);
            rest = pare_slide_bullet(deck, room, f->sentence, SIZE, verdict);
        }
        room = rest;
    }
}
