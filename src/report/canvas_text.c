/* Text through Pango: measured before it is placed, so that nothing overlaps. */
#include "report/canvas.h"

#include <math.h>
#include <pango/pangocairo.h>

static PangoLayout *lay_out(pare_canvas *canvas, const pare_text *style, const char *text)
{
    /* Unhinted metrics: a layout is the same on paper and on every screen. */
    cairo_font_options_t *options = cairo_font_options_create();
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    PangoLayout *layout = pango_cairo_create_layout(canvas->cr);
    pango_cairo_context_set_font_options(pango_layout_get_context(layout), options);
    pango_context_set_round_glyph_positions(pango_layout_get_context(layout), FALSE);
    cairo_font_options_destroy(options);
    PangoFontDescription *font = pango_font_description_new();
    pango_font_description_set_family_static(
        font, "Inter,Source Sans 3,Helvetica Neue,Arial,Liberation Sans,DejaVu Sans,sans");
    pango_font_description_set_absolute_size(font, style->size * PANGO_SCALE);
    pango_font_description_set_weight(font, style->bold ? PANGO_WEIGHT_BOLD : PANGO_WEIGHT_NORMAL);
    pango_layout_set_font_description(layout, font);
    pango_font_description_free(font);
    if (style->wrap > 0) {
        pango_layout_set_width(layout, (int)(style->wrap * PANGO_SCALE));
        pango_layout_set_wrap(layout, PANGO_WRAP_WORD_CHAR);
    }
    if (style->lines > 0) {
        pango_layout_set_height(layout, -style->lines);
        pango_layout_set_ellipsize(layout, PANGO_ELLIPSIZE_END);
    }
    if (style->centred)
        pango_layout_set_alignment(layout, PANGO_ALIGN_CENTER);
    pango_layout_set_text(layout, text ? text : "", -1);
    return layout;
}

static pare_size size_of(PangoLayout *layout)
{
    PangoRectangle logical;
    pango_layout_get_extents(layout, NULL, &logical);
    return (pare_size){(double)logical.width / PANGO_SCALE, (double)logical.height / PANGO_SCALE};
}

pare_size pare_text_measure(pare_canvas *canvas, const pare_text *style, const char *text)
{
    PangoLayout *layout = lay_out(canvas, style, text);
    pare_size size = size_of(layout);
    g_object_unref(layout);
    return size;
}

/* The box around a rectangle from (x0, y0) to (x1, y1) that is turned about the origin. */
static pare_box turned(double x0, double y0, double x1, double y1, double angle)
{
    double low_x = INFINITY, low_y = INFINITY, high_x = -INFINITY, high_y = -INFINITY;
    for (int i = 0; i < 4; i++) {
        double x = i & 1 ? x1 : x0, y = i & 2 ? y1 : y0;
        double u = x * cos(angle) - y * sin(angle), v = x * sin(angle) + y * cos(angle);
        low_x = fmin(low_x, u), high_x = fmax(high_x, u);
        low_y = fmin(low_y, v), high_y = fmax(high_y, v);
    }
    return (pare_box){low_x, low_y, high_x - low_x, high_y - low_y};
}

pare_box pare_text_draw(pare_canvas *canvas, double x, double y, const pare_text *style,
                        const char *text)
{
    cairo_t *cr = canvas->cr;
    PangoLayout *layout = lay_out(canvas, style, text);
    PangoRectangle logical;
    pango_layout_get_extents(layout, NULL, &logical);
    double inset = (double)logical.x / PANGO_SCALE; /* centred lines begin inside the wrap width */
    pare_size size = size_of(layout);
    double left = -style->across * size.w, top = -style->down * size.h;
    double angle = -style->turn * M_PI / 180;
    if (style->on_fill)
        pare_canvas_rgb(canvas,
                        style->light ? (pare_rgb){0.998, 0.998, 0.998} : (pare_rgb){0, 0, 0});
    else
        pare_canvas_ink(canvas, style->ink);
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_rotate(cr, angle);
    cairo_move_to(cr, left - inset, top);
    pango_cairo_show_layout(cr, layout);
    cairo_restore(cr);
    cairo_new_path(cr);
    g_object_unref(layout);
    pare_box box = turned(left, top, left + size.w, top + size.h, angle);
    box.x += x;
    box.y += y;
    return box;
}
