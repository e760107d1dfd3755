/* Several qualities of several choices on one round axis system. */
#include "report/plot.h"

#include <math.h>

enum { RINGS = 4 };

typedef struct layout {
    double x, y, radius;
    int axes;
} layout;

static double angle_of(const layout *l, int axis)
{
    return -M_PI / 2 + 2 * M_PI * axis / l->axes;
}

static void web(pare_canvas *canvas, const layout *l)
{
    for (int ring = 1; ring <= RINGS; ring++) {
        for (int a = 0; a < l->axes; a++) {
            double r = l->radius * ring / RINGS;
            cairo_line_to(canvas->cr, l->x + r * cos(angle_of(l, a)),
                          l->y + r * sin(angle_of(l, a)));
        }
        cairo_close_path(canvas->cr);
        pare_canvas_ink(canvas, ring == RINGS ? PARE_INK_AXIS : PARE_INK_GRID);
        cairo_set_line_width(canvas->cr, 0.9);
        cairo_stroke(canvas->cr);
    }
    for (int a = 0; a < l->axes; a++)
        pare_canvas_line(canvas, l->x, l->y, l->x + l->radius * cos(angle_of(l, a)),
                         l->y + l->radius * sin(angle_of(l, a)), 0.9, PARE_INK_GRID);
}

static void labels(pare_canvas *canvas, const layout *l, const pare_radar *radar, double room)
{
    for (int a = 0; a < l->axes; a++) {
        double c = cos(angle_of(l, a)), s = sin(angle_of(l, a));
        pare_text style = {.size = 9.5,
                           .ink = PARE_INK_SOFT,
                           .wrap = room,
                           .lines = 2,
                           .across = fabs(c) < 0.2 ? 0.5
                                     : c > 0       ? 0
                                                   : 1,
                           .down = s < -0.5  ? 1
                                   : s > 0.5 ? 0
                                             : 0.5,
                           .centred = fabs(c) < 0.2};
        pare_text_draw(canvas, l->x + (l->radius + 6) * c, l->y + (l->radius + 5) * s, &style,
                       radar->axis_labels[a]);
    }
}

/* What was not measured interrupts the line. */
static void outline(pare_canvas *canvas, const layout *l, const double *values, int series)
{
    cairo_t *cr = canvas->cr;
    bool whole = true, pen = false;
    for (int a = 0; a < l->axes; a++) {
        if (!isfinite(values[a])) {
            whole = pen = false;
            continue;
        }
        double r = l->radius * fmin(fmax(values[a], 0), 1);
        double x = l->x + r * cos(angle_of(l, a)), y = l->y + r * sin(angle_of(l, a));
        if (pen)
            cairo_line_to(cr, x, y);
        else
            cairo_move_to(cr, x, y);
        pen = true;
    }
    if (whole)
        cairo_close_path(cr);
    else if (pen && isfinite(values[0])) {
        double r = l->radius * fmin(fmax(values[0], 0), 1);
        cairo_line_to(cr, l->x + r * cos(angle_of(l, 0)), l->y + r * sin(angle_of(l, 0)));
    }
    pare_canvas_ink(canvas, pare_series_ink(series));
    cairo_set_line_width(cr, 1.8);
    cairo_stroke(cr);
    for (int a = 0; a < l->axes; a++)
        if (isfinite(values[a])) {
            double r = l->radius * fmin(fmax(values[a], 0), 1);
            pare_canvas_marker(canvas, l->x + r * cos(angle_of(l, a)),
                               l->y + r * sin(angle_of(l, a)), 3.4, series, series);
        }
}

void pare_plot_radar(pare_canvas *canvas, pare_box box, const pare_radar *radar)
{
    double room = fmin(110, box.w * 0.24);
    layout l = {.x = box.x + box.w / 2, .axes = radar->axes};
    double aside = room + 8, above = 28;
    l.radius = fmax(20, fmin(box.w / 2 - aside, (box.h - 2 * above) / 2));
    l.y = box.y + box.h / 2;
    web(canvas, &l);
    labels(canvas, &l, radar, room);
    for (int s = 0; s < radar->series; s++)
        outline(canvas, &l, &radar->values[s * radar->axes], radar->colours[s]);
}
