/* Titles, legends and panels. */
#include "report/plot.h"

#include <math.h>

enum { MARGIN = 16 };

pare_box pare_plot_title(pare_canvas *canvas, const char *title, const char *note)
{
    pare_box box = {MARGIN, MARGIN, canvas->width - 2 * MARGIN, canvas->height - 2 * MARGIN};
    if (canvas->untitled)
        return (pare_box){4, 4, canvas->width - 8, canvas->height - 8};
    const pare_text head = {
        .size = 16, .bold = true, .ink = PARE_INK_TEXT, .wrap = box.w, .lines = 2};
    const pare_text below = {.size = 11, .ink = PARE_INK_SOFT, .wrap = box.w, .lines = 3};
    double used = pare_text_draw(canvas, box.x, box.y, &head, title).h + 2;
    if (note && *note)
        used += pare_text_draw(canvas, box.x, box.y + used, &below, note).h;
    used += 8;
    return (pare_box){box.x, box.y + used, box.w, box.h - used};
}

pare_box pare_plot_footnote(pare_canvas *canvas, pare_box box, const char *note)
{
    if (!note || !*note)
        return box;
    const pare_text style = {
        .size = 9.5, .ink = PARE_INK_SOFT, .wrap = box.w, .lines = 3, .down = 1};
    double used = pare_text_draw(canvas, box.x, box.y + box.h, &style, note).h + 8;
    return (pare_box){box.x, box.y, box.w, box.h - used};
}

pare_box pare_plot_heading(pare_canvas *canvas, pare_box box, const char *text)
{
    const pare_text style = {
        .size = PARE_SIZE_PANEL, .bold = true, .ink = PARE_INK_TEXT, .wrap = box.w, .lines = 2};
    double used = pare_text_draw(canvas, box.x, box.y, &style, text).h + 4;
    return (pare_box){box.x, box.y + used, box.w, box.h - used};
}

pare_box pare_plot_cell(pare_box box, int columns, int rows, int i, double gap)
{
    double w = (box.w - gap * (columns - 1)) / columns, h = (box.h - gap * (rows - 1)) / rows;
    return (pare_box){box.x + (i % columns) * (w + gap), box.y + (i / columns) * (h + gap), w, h};
}

static void draw_key(pare_canvas *canvas, double x, double y, const pare_legend_entry *entry)
{
    enum { WIDTH = 16, HEIGHT = 11 };
    switch (entry->key) {
    case PARE_KEY_BAR:
        pare_canvas_bar(canvas, (pare_box){x, y - HEIGHT / 2.0, WIDTH, HEIGHT}, entry->index);
        break;
    case PARE_KEY_MARKER:
        pare_canvas_marker(canvas, x + WIDTH / 2.0, y, 5, entry->index, entry->index);
        break;
    case PARE_KEY_SHAPE:
        pare_canvas_marker(canvas, x + WIDTH / 2.0, y, 5, entry->index, 6);
        break;
    case PARE_KEY_ABSENT:
        pare_canvas_absent(canvas, x + WIDTH / 2.0, y);
        break;
    case PARE_KEY_LINE:
        pare_canvas_line(canvas, x, y, x + WIDTH, y, 2.2, pare_series_ink(entry->index));
        break;
    }
}

pare_box pare_plot_legend(pare_canvas *canvas, pare_box box, const pare_legend_entry *entries,
                          int count)
{
    enum { KEY = 21, GAP = 16, LINE = 18 };
    if (!count)
        return box;
    pare_text style = {.size = PARE_SIZE_LABEL,
                       .ink = PARE_INK_TEXT,
                       .wrap = box.w - KEY,
                       .lines = 1,
                       .down = 0.5};
    double x = box.x, y = box.y + LINE / 2.0;
    for (int i = 0; i < count; i++) {
        double width = KEY + pare_text_measure(canvas, &style, entries[i].label).w;
        if (x > box.x && x + width > box.x + box.w) {
            x = box.x;
            y += LINE;
        }
        draw_key(canvas, x, y, &entries[i]);
        pare_text_draw(canvas, x + KEY, y, &style, entries[i].label);
        x += width + GAP;
    }
    double used = y + LINE / 2.0 + 6 - box.y;
    return (pare_box){box.x, box.y + used, box.w, box.h - used};
}
