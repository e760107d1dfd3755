/* Scatter plots with intervals, curves, and labels that keep out of each other's way. */
#include "report/plot.h"

#include <math.h>
#include <stdlib.h>

typedef struct layout {
    pare_canvas *canvas;
    const pare_points *points;
    pare_box plot;
    pare_axis x, y;
    pare_box *taken; /* by points, whiskers and labels so far */
    int taken_count;
} layout;

static const double RADIUS = 5;

static bool shown(const pare_points *points, const pare_point *p)
{
    return !p->x.absent && !p->y.absent && (!points->log_x || p->x.value > 0) &&
           (!points->log_y || p->y.value > 0);
}

static pare_unit unit_of(const char *metric)
{
    const pare_metric_info *info = metric ? pare_metric_find(metric) : NULL;
    return info ? info->format : PARE_UNIT_PLAIN;
}

static void scale(layout *l)
{
    const pare_points *points = l->points;
    l->x = pare_axis_empty(unit_of(points->x_metric), points->log_x);
    l->y = pare_axis_empty(unit_of(points->y_metric), points->log_y);
    for (int i = 0; i < points->count; i++)
        if (shown(points, &points->points[i])) {
            pare_axis_include(&l->x, points->points[i].x);
            pare_axis_include(&l->y, points->points[i].y);
        }
    for (int c = 0; c < points->curve_count; c++)
        for (int i = 0; i < points->curves[c].count; i++) {
            pare_axis_include_value(&l->x, points->curves[c].x[i]);
            pare_axis_include_value(&l->y, points->curves[c].y[i]);
        }
    pare_axis_include_value(&l->x, points->x_reference);
    pare_axis_include_value(&l->y, points->y_reference);
    pare_axis_close(&l->x, points->tight ? 0.01 : 0.08, false);
    pare_axis_close(&l->y, points->tight ? 0.06 : 0.12, false);
}

static void take(layout *l, pare_box box)
{
    l->taken[l->taken_count++] = box;
}

/* How much a box would cover of what is there, or stick out of the plot. */
static double cost(const layout *l, pare_box box)
{
    double sum = 0;
    for (int i = 0; i < l->taken_count; i++) {
        pare_box t = l->taken[i];
        double w = fmin(box.x + box.w, t.x + t.w) - fmax(box.x, t.x),
               h = fmin(box.y + box.h, t.y + t.h) - fmax(box.y, t.y);
        if (w > 0 && h > 0)
            sum += w * h;
    }
    double out = fmax(0, l->plot.x - box.x) + fmax(0, box.x + box.w - l->plot.x - l->plot.w) +
                 fmax(0, l->plot.y - box.y) + fmax(0, box.y + box.h - l->plot.y - l->plot.h);
    return sum + out * 100;
}

/* Tries places around the point, the nearest first; draws nothing where none is free. */
static void place_label(layout *l, double x, double y, const char *text)
{
    static const double around[8][2] = {{1, 0},   {1, -1}, {1, 1},  {-1, 0},
                                        {-1, -1}, {-1, 1}, {0, -1}, {0, 1}};
    const pare_text style = {.size = 9.5, .ink = PARE_INK_TEXT};
    pare_size size = pare_text_measure(l->canvas, &style, text);
    pare_box best = {0};
    double lowest = INFINITY;
    for (int ring = 0; ring < 5 && lowest > 0; ring++)
        for (int i = 0; i < 8 && lowest > 0; i++) {
            double gap = RADIUS + 3 + ring * 11;
            pare_box box = {x + around[i][0] * gap -
                                (around[i][0] < 0    ? size.w
                                 : around[i][0] == 0 ? size.w / 2
                                                     : 0),
                            y + around[i][1] * gap * 0.9 - size.h / 2, size.w, size.h};
            double here = cost(l, box);
            if (here < lowest)
                lowest = here, best = box;
        }
    if (lowest > 30) /* a reference line through it is bearable, a letter is not */
        return;
    double near_x = fmin(fmax(x, best.x), best.x + best.w),
           near_y = fmin(fmax(y, best.y), best.y + best.h);
    double away = hypot(near_x - x, near_y - y);
    if (away > RADIUS + 8)
        pare_canvas_line(l->canvas, x + (near_x - x) * RADIUS / away,
                         y + (near_y - y) * RADIUS / away, near_x, near_y, 0.7, PARE_INK_AXIS);
    pare_text_draw(l->canvas, best.x, best.y, &style, text);
    take(l, best);
}

static void draw_curve(layout *l, const pare_curve *curve)
{
    static const double dashes[] = {5, 4};
    cairo_t *cr = l->canvas->cr;
    double x = 0, y = 0;
    for (int i = 0; i < curve->count; i++) {
        double next_x = pare_axis_place(&l->x, curve->x[i]),
               next_y = pare_axis_place(&l->y, curve->y[i]);
        if (i == 0)
            cairo_move_to(cr, next_x, next_y);
        else if (curve->steps)
            cairo_line_to(cr, next_x, y);
        cairo_line_to(cr, next_x, next_y);
        x = next_x, y = next_y;
    }
    pare_canvas_ink(l->canvas, curve->series < 0 ? PARE_INK_AXIS : pare_series_ink(curve->series));
    cairo_set_line_width(cr, 1.8);
    if (curve->dashed)
        cairo_set_dash(cr, dashes, 2, 0);
    cairo_stroke(cr);
    cairo_set_dash(cr, NULL, 0, 0);
    if (curve->label && curve->count) {
        const pare_text style = {
            .size = 9.5, .bold = true, .ink = PARE_INK_SOFT, .across = 1, .down = 1};
        take(l, pare_text_draw(l->canvas, fmin(x, l->plot.x + l->plot.w) - 4,
                               fmax(y, l->plot.y + 14) - 3, &style, curve->label));
    }
}

static void draw_point(layout *l, const pare_point *p)
{
    double x = pare_axis_place(&l->x, p->x.value), y = pare_axis_place(&l->y, p->y.value);
    double radius = p->radius > 0 ? p->radius : RADIUS;
    double left = pare_axis_place(&l->x, p->x.low), right = pare_axis_place(&l->x, p->x.high),
           low = pare_axis_place(&l->y, p->y.low), high = pare_axis_place(&l->y, p->y.high);
    if (right - left > 2 * radius) /* a shorter one hides behind its marker */
        take(l, (pare_box){left - 1, y - 4, right - left + 2, 8}),
            pare_canvas_whisker(l->canvas, left, y, right, y);
    if (low - high > 2 * radius)
        take(l, (pare_box){x - 4, high - 1, 8, low - high + 2}),
            pare_canvas_whisker(l->canvas, x, low, x, high);
    pare_canvas_marker(l->canvas, x, y, radius, p->shape, p->series);
    pare_box box = {x - radius - 2, y - radius - 2, 2 * radius + 4, 2 * radius + 4};
    take(l, box);
    if (p->hot)
        pare_canvas_hot(l->canvas, box, "%s", p->hot);
}

static void draw_references(layout *l)
{
    pare_box p = l->plot;
    if (isfinite(l->points->y_reference)) {
        double y = pare_axis_place(&l->y, l->points->y_reference);
        pare_canvas_dashed(l->canvas, p.x, y, p.x + p.w, y, PARE_INK_AXIS);
        take(l, (pare_box){p.x, y, p.w, 0.3});
    }
    if (isfinite(l->points->x_reference)) {
        double x = pare_axis_place(&l->x, l->points->x_reference);
        pare_canvas_dashed(l->canvas, x, p.y, x, p.y + p.h, PARE_INK_AXIS);
        take(l, (pare_box){x, p.y, 0.3, p.h});
    }
}

void pare_plot_points(pare_canvas *canvas, pare_box box, const pare_points *points)
{
    layout l = {.canvas = canvas, .points = points};
    l.taken = calloc((size_t)(4 * points->count + points->curve_count + 3), sizeof *l.taken);
    if (!l.taken)
        return;
    scale(&l);
    double left = pare_axis_width(canvas, &l.y), top = 18, bottom = points->x_title ? 36 : 20;
    l.plot = (pare_box){box.x + left, box.y + top, box.w - left - 12, box.h - top - bottom};
    pare_axis_draw_left(canvas, &l.y, l.plot, points->y_title);
    pare_axis_draw_bottom(canvas, &l.x, l.plot, points->x_title);
    pare_axis_draw_base(canvas, l.plot);
    draw_references(&l);
    for (int c = 0; c < points->curve_count; c++)
        draw_curve(&l, &points->curves[c]);
    for (int i = 0; i < points->count; i++)
        if (shown(points, &points->points[i]))
            draw_point(&l, &points->points[i]);
    for (int i = 0; i < points->count; i++) {
        const pare_point *p = &points->points[i];
        if (shown(points, p) && p->label)
            place_label(&l, pare_axis_place(&l.x, p->x.value), pare_axis_place(&l.y, p->y.value),
                        p->label);
    }
    free(l.taken);
}
