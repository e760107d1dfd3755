/* A table whose cells are shaded. */
#include "report/plot.h"

#include <math.h>

enum { SCALE_HEIGHT = 30, GROUP_GAP = 7 };

static pare_rgb shade(const pare_heat *heat, double t)
{
    return heat->diverging ? pare_theme_diverging(t) : pare_theme_scale(t);
}

/* The colour bar below, with what its ends mean. */
static void draw_scale(pare_canvas *canvas, pare_box box, const pare_heat *heat)
{
    enum { STEPS = 48, HEIGHT = 9 };
    double width = fmin(260, box.w * 0.4), left = box.x + (box.w - width) / 2,
           y = box.y + box.h - HEIGHT - 3;
    for (int i = 0; i < STEPS; i++) {
        pare_canvas_rgb(canvas, shade(heat, (i + 0.5) / STEPS));
        cairo_rectangle(canvas->cr, left + width * i / STEPS, y, width / STEPS + 0.3, HEIGHT);
        cairo_fill(canvas->cr);
    }
    pare_text style = {.size = 10, .ink = PARE_INK_SOFT, .across = 1, .down = 0.5};
    pare_text_draw(canvas, left - 8, y + HEIGHT / 2.0, &style, heat->low_text);
    style.across = 0;
    pare_text_draw(canvas, left + width + 8, y + HEIGHT / 2.0, &style, heat->high_text);
}

static void draw_cell(pare_canvas *canvas, const pare_heat *heat, const pare_heat_cell *cell,
                      pare_box box)
{
    pare_text style = {.size = fmin(10.5, box.h * 0.75),
                       .ink = PARE_INK_SOFT,
                       .across = 0.5,
                       .down = 0.5,
                       .lines = 1,
                       .wrap = box.w - 2,
                       .centred = true};
    if (isfinite(cell->shade)) {
        pare_rgb colour = shade(heat, cell->shade);
        pare_canvas_rgb(canvas, colour);
        cairo_rectangle(canvas->cr, box.x, box.y, box.w, box.h);
        cairo_fill(canvas->cr);
        style.on_fill = true;
        style.light = !pare_rgb_is_light(colour);
    } else {
        pare_canvas_fill(canvas, box, PARE_INK_PANEL);
    }
    pare_text_draw(canvas, box.x + box.w / 2, box.y + box.h / 2, &style, cell->text);
    if (cell->hot)
        pare_canvas_hot(canvas, box, "%s", cell->hot);
}

static double labels_width(pare_canvas *canvas, const pare_heat *heat, pare_text *style,
                           double most)
{
    double widest = 0;
    for (int r = 0; r < heat->rows; r++)
        widest = fmax(widest, pare_text_measure(canvas, style, heat->row_labels[r]).w);
    style->wrap = fmin(widest, most);
    return fmin(widest, most) + 8;
}

void pare_plot_heat(pare_canvas *canvas, pare_box box, const pare_heat *heat)
{
    pare_text row_style = {
        .size = PARE_SIZE_LABEL, .ink = PARE_INK_TEXT, .across = 1, .down = 0.5, .lines = 1};
    double left = labels_width(canvas, heat, &row_style, box.w * 0.4);
    double column = (box.w - left) / fmax(1, heat->columns);
    pare_text head = {.size = PARE_SIZE_LABEL,
                      .ink = PARE_INK_TEXT,
                      .wrap = column - 6,
                      .lines = 3,
                      .centred = true,
                      .across = 0.5,
                      .down = 1};
    double top = 0;
    for (int c = 0; c < heat->columns; c++)
        top = fmax(top, pare_text_measure(canvas, &head, heat->column_labels[c]).h);
    top += 6;
    for (int c = 0; c < heat->columns; c++)
        pare_text_draw(canvas, box.x + left + column * (c + 0.5), box.y + top - 5, &head,
                       heat->column_labels[c]);
    int gaps = 0;
    for (int r = 1; r < heat->rows && heat->row_groups; r++)
        gaps += heat->row_groups[r] != heat->row_groups[r - 1];
    double height = fmin((box.h - top - SCALE_HEIGHT - gaps * GROUP_GAP) / fmax(1, heat->rows), 40);
    double y = box.y + top;
    for (int r = 0; r < heat->rows; r++) {
        if (r && heat->row_groups && heat->row_groups[r] != heat->row_groups[r - 1])
            y += GROUP_GAP;
        row_style.bold = r == heat->marked;
        pare_text_draw(canvas, box.x + left - 8, y + height / 2, &row_style, heat->row_labels[r]);
        for (int c = 0; c < heat->columns; c++)
            draw_cell(canvas, heat, &heat->cells[r * heat->columns + c],
                      (pare_box){box.x + left + column * c, y, column - 1.5, height - 1.5});
        y += height;
    }
    draw_scale(canvas, (pare_box){box.x + left, y, box.w - left, SCALE_HEIGHT}, heat);
}
