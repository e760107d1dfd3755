#include "report/chart_draw.h"

#include <math.h>
#include <pango/pangocairo.h>
#include <stdio.h>
#include <string.h>

/* Okabe and Ito, "Color Universal Design" (2008), from dark to light in grey. */
static const double palette[][3] = {
    {0.000, 0.447, 0.698}, /* blue */
    {0.835, 0.369, 0.000}, /* vermilion */
    {0.000, 0.620, 0.451}, /* bluish green */
    {0.800, 0.475, 0.655}, /* reddish purple */
    {0.902, 0.624, 0.000}, /* orange */
    {0.337, 0.706, 0.914}, /* sky blue */
};
enum { COLOURS = sizeof palette / sizeof *palette, MOST_TICKS = 12 };

static const double INK = 0.15, GREY = 0.45, FAINT = 0.88;

typedef struct axis {
    double low, high; /* in values */
    double from, to;  /* in points */
    bool logarithmic;
} axis;

typedef struct frame {
    cairo_t *cr;
    const pare_chart *chart;
    double left, top, right, bottom; /* the plot area */
    axis x, y;
} frame;

typedef enum anchor { ANCHOR_LEFT, ANCHOR_CENTRE, ANCHOR_RIGHT } anchor;

static double place(const axis *a, double value)
{
    double t = a->logarithmic ? (log(value) - log(a->low)) / (log(a->high) - log(a->low))
                              : (value - a->low) / (a->high - a->low);
    return a->from + t * (a->to - a->from);
}

/* Draws one line of text with its vertical middle at y; returns its width. */
static double text(cairo_t *cr, double x, double y, anchor where, double size, bool bold,
                   const char *string, bool measure_only)
{
    PangoLayout *layout = pango_cairo_create_layout(cr);
    PangoFontDescription *font = pango_font_description_from_string("sans");
    pango_font_description_set_absolute_size(font, size * PANGO_SCALE);
    pango_font_description_set_weight(font, bold ? PANGO_WEIGHT_BOLD : PANGO_WEIGHT_NORMAL);
    pango_layout_set_font_description(layout, font);
    pango_layout_set_text(layout, string, -1);
    int width, height;
    pango_layout_get_size(layout, &width, &height);
    double w = (double)width / PANGO_SCALE, h = (double)height / PANGO_SCALE;
    if (!measure_only) {
        cairo_move_to(cr,
                      x - (where == ANCHOR_RIGHT    ? w
                           : where == ANCHOR_CENTRE ? w / 2
                                                    : 0),
                      y - h / 2);
        pango_cairo_show_layout(cr, layout);
    }
    pango_font_description_free(font);
    g_object_unref(layout);
    return w;
}

static void grey(cairo_t *cr, double level)
{
    cairo_set_source_rgb(cr, level, level, level);
}

static void colour(cairo_t *cr, int index)
{
    const double *rgb = palette[(index % COLOURS + COLOURS) % COLOURS];
    cairo_set_source_rgb(cr, rgb[0], rgb[1], rgb[2]);
}

int pare_chart_ticks(double low, double high, int most, double *ticks)
{
    static const double steps[] = {1, 2, 5, 10};
    double span = high - low;
    if (!(span > 0) || !isfinite(span) || most < 1)
        return 0;
    double power = pow(10, floor(log10(span / most)));
    int s = 0;
    while (s < 3 && floor(high / (steps[s] * power)) - ceil(low / (steps[s] * power)) + 1 > most)
        s++;
    double step = steps[s] * power;
    int count = 0;
    for (double k = ceil(low / step - 1e-9); k * step <= high + 1e-9 * span && count < most; k++)
        ticks[count++] = k * step + 0.0; /* never -0 */
    return count;
}

static int log_ticks(double low, double high, double *ticks)
{
    static const double in_decade[] = {1, 2, 5};
    int count = 0;
    bool wide = log10(high / low) > 3;
    for (double power = pow(10, floor(log10(low))); power <= high; power *= 10)
        for (int i = 0; i < (wide ? 1 : 3) && count < MOST_TICKS; i++) {
            double tick = in_decade[i] * power;
            if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9))
                ticks[count++] = tick;
        }
    return count;
}

static void number(char *out, size_t size, double value)
{
    double magnitude = fabs(value);
    if (value != 0 && (magnitude >= 1e6 || magnitude < 1e-3))
        snprintf(out, size, "%.2g", value);
    else
        snprintf(out, size, "%.*g", 6, value);
}

static void widen(axis *a, const pare_chart_value *v, bool *any)
{
    if (v->absent || !isfinite(v->value) || (a->logarithmic && v->low <= 0))
        return;
    a->low = *any ? fmin(a->low, v->low) : v->low;
    a->high = *any ? fmax(a->high, v->high) : v->high;
    *any = true;
}

/* Bars start at zero, or lengths would lie; scatter axes leave a margin around their points. */
static void scale_axes(frame *f)
{
    const pare_chart *chart = f->chart;
    bool any_x = false, any_y = false;
    f->y.logarithmic = chart->log_y;
    for (int i = 0; i < chart->count; i++) {
        widen(&f->x, &chart->rows[i].x, &any_x);
        widen(&f->y, &chart->rows[i].y, &any_y);
    }
    if (isfinite(chart->reference)) {
        pare_chart_value line = {chart->reference, chart->reference, chart->reference, false};
        widen(&f->y, &line, &any_y);
    }
    if (!any_x)
        f->x = (axis){.low = 0, .high = 1};
    if (!any_y)
        f->y = (axis){.low = chart->log_y ? 0.1 : 0, .high = 1, .logarithmic = chart->log_y};
    if (f->y.logarithmic) {
        f->y.low /= 2;
        f->y.high *= 2;
    } else {
        double margin = 0.12 * (f->y.high - fmin(f->y.low, 0));
        f->y.high += margin > 0 ? margin : 1;
        f->y.low = f->y.low < 0 ? f->y.low - margin : 0;
    }
    double margin = 0.12 * (f->x.high - f->x.low);
    f->x.high += margin > 0 ? margin : fmax(1, fabs(f->x.high) * 0.1);
    f->x.low = f->x.low >= 0 ? fmax(0, f->x.low - margin) : f->x.low - margin;
    f->x.from = f->left, f->x.to = f->right;
    f->y.from = f->bottom, f->y.to = f->top;
}

static void draw_y_axis(const frame *f)
{
    double ticks[MOST_TICKS];
    int count = f->y.logarithmic ? log_ticks(f->y.low, f->y.high, ticks)
                                 : pare_chart_ticks(f->y.low, f->y.high, 6, ticks);
    for (int i = 0; i < count; i++) {
        double y = place(&f->y, ticks[i]);
        char label[32];
        number(label, sizeof label, ticks[i]);
        grey(f->cr, FAINT);
        cairo_set_line_width(f->cr, 0.75);
        cairo_move_to(f->cr, f->left, y);
        cairo_line_to(f->cr, f->right, y);
        cairo_stroke(f->cr);
        grey(f->cr, GREY);
        text(f->cr, f->left - 6, y, ANCHOR_RIGHT, 10, false, label, false);
    }
    grey(f->cr, INK);
    text(f->cr, f->left, f->top - 14, ANCHOR_LEFT, 10.5, false, f->chart->y_label, false);
}

static void draw_x_axis(const frame *f)
{
    double ticks[MOST_TICKS];
    int count = pare_chart_ticks(f->x.low, f->x.high, 7, ticks);
    for (int i = 0; i < count; i++) {
        double x = place(&f->x, ticks[i]);
        char label[32];
        number(label, sizeof label, ticks[i]);
        grey(f->cr, FAINT);
        cairo_move_to(f->cr, x, f->top);
        cairo_line_to(f->cr, x, f->bottom);
        cairo_stroke(f->cr);
        grey(f->cr, GREY);
        text(f->cr, x, f->bottom + 11, ANCHOR_CENTRE, 10, false, label, false);
    }
    grey(f->cr, INK);
    text(f->cr, (f->left + f->right) / 2, f->bottom + 29, ANCHOR_CENTRE, 10.5, false,
         f->chart->x_label, false);
}

static void draw_baseline(const frame *f)
{
    grey(f->cr, INK);
    cairo_set_line_width(f->cr, 1);
    double y = f->y.logarithmic || f->y.low >= 0 ? f->bottom : place(&f->y, 0);
    cairo_move_to(f->cr, f->left, y);
    cairo_line_to(f->cr, f->right, y);
    cairo_stroke(f->cr);
}

static void draw_reference(const frame *f)
{
    const double dashes[] = {4, 3};
    if (!isfinite(f->chart->reference))
        return;
    double y = place(&f->y, f->chart->reference);
    grey(f->cr, GREY);
    cairo_set_line_width(f->cr, 1);
    cairo_set_dash(f->cr, dashes, 2, 0);
    cairo_move_to(f->cr, f->left, y);
    cairo_line_to(f->cr, f->right, y);
    cairo_stroke(f->cr);
    cairo_set_dash(f->cr, NULL, 0, 0);
    if (f->chart->reference_label)
        text(f->cr, f->right, y - 8, ANCHOR_RIGHT, 9, false, f->chart->reference_label, false);
}

/* A vertical or horizontal whisker with caps. */
static void whisker(cairo_t *cr, double x0, double y0, double x1, double y1)
{
    enum { CAP = 4 };
    double dx = x0 == x1 ? CAP : 0, dy = x0 == x1 ? 0 : CAP;
    grey(cr, INK);
    cairo_set_line_width(cr, 1.2);
    cairo_move_to(cr, x0, y0);
    cairo_line_to(cr, x1, y1);
    cairo_move_to(cr, x0 - dx, y0 - dy);
    cairo_line_to(cr, x0 + dx, y0 + dy);
    cairo_move_to(cr, x1 - dx, y1 - dy);
    cairo_line_to(cr, x1 + dx, y1 + dy);
    cairo_stroke(cr);
}

static void draw_bars(const frame *f)
{
    double slot = (f->right - f->left) / fmax(1, f->chart->count), width = fmin(slot * 0.6, 90);
    for (int i = 0; i < f->chart->count; i++) {
        const pare_chart_row *row = &f->chart->rows[i];
        double middle = f->left + slot * (i + 0.5);
        grey(f->cr, INK);
        text(f->cr, middle, f->bottom + 12, ANCHOR_CENTRE, 10.5, false, row->label, false);
        if (row->y.absent) {
            grey(f->cr, GREY);
            text(f->cr, middle, f->bottom - 12, ANCHOR_CENTRE, 9, false, "not measured", false);
            continue;
        }
        double zero = f->y.logarithmic || f->y.low >= 0 ? f->bottom : place(&f->y, 0);
        double y = place(&f->y, row->y.value), low = place(&f->y, row->y.low),
               high = place(&f->y, row->y.high);
        colour(f->cr, row->colour);
        cairo_rectangle(f->cr, middle - width / 2, fmin(y, zero), width, fabs(zero - y));
        cairo_fill(f->cr);
        if (row->y.high > row->y.low)
            whisker(f->cr, middle, low, middle, high);
        char label[32]; /* four digits: the error bar says how many are known */
        snprintf(label, sizeof label, fabs(row->y.value) >= 1000 ? "%.0f" : "%.4g", row->y.value);
        grey(f->cr, INK);
        text(f->cr, middle, fmin(fmin(y, high), zero) - 8, ANCHOR_CENTRE, 10, true, label, false);
    }
}

static void draw_points(const frame *f)
{
    for (int i = 0; i < f->chart->count; i++) {
        const pare_chart_row *row = &f->chart->rows[i];
        if (row->x.absent || row->y.absent)
            continue;
        double x = place(&f->x, row->x.value), y = place(&f->y, row->y.value);
        if (row->x.high > row->x.low)
            whisker(f->cr, place(&f->x, row->x.low), y, place(&f->x, row->x.high), y);
        if (row->y.high > row->y.low)
            whisker(f->cr, x, place(&f->y, row->y.low), x, place(&f->y, row->y.high));
        colour(f->cr, row->colour);
        cairo_arc(f->cr, x, y, 5.5, 0, 2 * G_PI);
        cairo_fill(f->cr);
        grey(f->cr, INK);
        double width = text(f->cr, 0, 0, ANCHOR_LEFT, 10.5, true, row->label, true);
        bool fits = x + 10 + width < f->right;
        text(f->cr, fits ? x + 10 : x - 10, y - 9, fits ? ANCHOR_LEFT : ANCHOR_RIGHT, 10.5, true,
             row->label, false);
    }
}

void pare_chart_paint(cairo_t *cr, const pare_chart *chart, double width, double height)
{
    bool scatter = chart->kind == PARE_CHART_SCATTER;
    frame f = {.cr = cr,
               .chart = chart,
               .left = 58,
               .top = chart->note ? 66 : 52,
               .right = width - 16,
               .bottom = height - (scatter ? 44 : 26)};
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    scale_axes(&f);
    grey(cr, INK);
    text(cr, 12, 16, ANCHOR_LEFT, 13, true, chart->title, false);
    if (chart->note) {
        grey(cr, GREY);
        text(cr, 12, 33, ANCHOR_LEFT, 9.5, false, chart->note, false);
    }
    draw_y_axis(&f);
    if (scatter)
        draw_x_axis(&f);
    draw_baseline(&f);
    draw_reference(&f);
    if (scatter)
        draw_points(&f);
    else
        draw_bars(&f);
}
