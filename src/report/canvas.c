/* Surfaces, shapes and hot spots. */
#include "report/canvas.h"

#include "base/fail.h"
#include "base/memory.h"

#include <cairo-pdf.h>
#include <cairo-svg.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cairo_status_t write_bytes(void *closure, const unsigned char *data, unsigned length)
{
    return pare_buffer_append(closure, data, length) == PARE_OK ? CAIRO_STATUS_SUCCESS
                                                                : CAIRO_STATUS_WRITE_ERROR;
}

enum { PIXELS_PER_POINT = 2 };

static cairo_surface_t *open_surface(pare_file_kind kind, double width, double height,
                                     pare_buffer *out)
{
    switch (kind) {
    case PARE_FILE_SVG:
        return cairo_svg_surface_create_for_stream(write_bytes, out, width, height);
    case PARE_FILE_PDF:
        return cairo_pdf_surface_create_for_stream(write_bytes, out, width, height);
    case PARE_FILE_PNG:
        break;
    }
    return cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(width * PIXELS_PER_POINT),
                                      (int)(height * PIXELS_PER_POINT));
}

pare_status pare_canvas_render(pare_draw draw, const void *what, pare_file_kind kind, double width,
                               double height, pare_buffer *out, pare_canvas *hots)
{
    cairo_surface_t *surface = open_surface(kind, width, height, out);
    pare_canvas canvas = {.cr = cairo_create(surface), .width = width, .height = height};
    if (kind == PARE_FILE_PNG)
        cairo_scale(canvas.cr, PIXELS_PER_POINT, PIXELS_PER_POINT);
    pare_canvas_fill(&canvas, (pare_box){0, 0, width, height}, PARE_INK_SURFACE);
    draw(&canvas, what);
    cairo_show_page(canvas.cr);
    cairo_status_t result = cairo_status(canvas.cr);
    cairo_destroy(canvas.cr);
    canvas.cr = NULL;
    if (result == CAIRO_STATUS_SUCCESS && kind == PARE_FILE_PNG)
        result = cairo_surface_write_to_png_stream(surface, write_bytes, out);
    cairo_surface_finish(surface);
    if (result == CAIRO_STATUS_SUCCESS)
        result = cairo_surface_status(surface);
    cairo_surface_destroy(surface);
    if (hots && result == CAIRO_STATUS_SUCCESS)
        *hots = canvas;
    else
        pare_canvas_free_hots(&canvas);
    if (result != CAIRO_STATUS_SUCCESS)
        return pare_fail(PARE_IO, "drawing: %s", cairo_status_to_string(result));
    return PARE_OK;
}

void pare_canvas_free_hots(pare_canvas *canvas)
{
    for (size_t i = 0; i < canvas->hot_count; i++)
        free(canvas->hots[i].text);
    free(canvas->hots);
    canvas->hots = NULL;
    canvas->hot_count = canvas->hot_capacity = 0;
}

void pare_canvas_hot(pare_canvas *canvas, pare_box box, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    /* A hot spot less is no failure: the picture is whole without it. */
    if (pare_grow(&canvas->hots, &canvas->hot_capacity, canvas->hot_count + 1, sizeof(pare_hot),
                  "hot spots") != PARE_OK)
        return;
    pare_hot *hot = &canvas->hots[canvas->hot_count];
    *hot = (pare_hot){box, strdup(text)};
    if (hot->text)
        canvas->hot_count++;
}

void pare_canvas_rgb(pare_canvas *canvas, pare_rgb c)
{
    cairo_set_source_rgb(canvas->cr, c.r, c.g, c.b);
}

void pare_canvas_ink(pare_canvas *canvas, pare_ink ink)
{
    pare_canvas_rgb(canvas, pare_theme_colour(ink));
}

void pare_canvas_fill(pare_canvas *canvas, pare_box box, pare_ink ink)
{
    pare_canvas_ink(canvas, ink);
    cairo_rectangle(canvas->cr, box.x, box.y, box.w, box.h);
    cairo_fill(canvas->cr);
}

void pare_canvas_line(pare_canvas *canvas, double x0, double y0, double x1, double y1, double width,
                      pare_ink ink)
{
    pare_canvas_ink(canvas, ink);
    cairo_set_line_width(canvas->cr, width);
    cairo_move_to(canvas->cr, x0, y0);
    cairo_line_to(canvas->cr, x1, y1);
    cairo_stroke(canvas->cr);
}

void pare_canvas_dashed(pare_canvas *canvas, double x0, double y0, double x1, double y1,
                        pare_ink ink)
{
    static const double dashes[] = {4, 3};
    cairo_set_dash(canvas->cr, dashes, 2, 0);
    pare_canvas_line(canvas, x0, y0, x1, y1, 1, ink);
    cairo_set_dash(canvas->cr, NULL, 0, 0);
}

/* Lines x + slope y = const over a box, clipped by hand: a clip path would cost the SVG far more.
 * slope 0 is vertical. */
static void hatch_lines(cairo_t *cr, pare_box b, double slope, double step)
{
    double first = fmin(b.x, b.x + slope * b.h), last = fmax(b.x, b.x + slope * b.h) + b.w;
    for (double x = first + step / 2; x < last; x += step) { /* x is where it meets the top */
        double top = 0, bottom = b.h;
        if (slope > 0) {
            top = fmax(0, (x - b.x - b.w) / slope), bottom = fmin(b.h, (x - b.x) / slope);
        } else if (slope < 0) {
            top = fmax(0, (x - b.x) / slope), bottom = fmin(b.h, (x - b.x - b.w) / slope);
        }
        if (bottom <= top)
            continue;
        cairo_move_to(cr, x - slope * top, b.y + top);
        cairo_line_to(cr, x - slope * bottom, b.y + bottom);
    }
}

static void hatch_across(cairo_t *cr, pare_box b, double step)
{
    for (double y = b.y + b.h - step / 2; y > b.y; y -= step) {
        cairo_move_to(cr, b.x, y);
        cairo_line_to(cr, b.x + b.w, y);
    }
}

void pare_canvas_bar(pare_canvas *canvas, pare_box box, int index)
{
    enum { STEP = 6 };
    cairo_t *cr = canvas->cr;
    pare_canvas_fill(canvas, box, pare_series_ink(index));
    int kind = (index + 3 * (index / PARE_SERIES_INKS)) % 8; /* no colour has one hatch twice */
    if (kind == 1 || kind == 3)
        hatch_lines(cr, box, 1, STEP);
    if (kind == 2 || kind == 3)
        hatch_lines(cr, box, -1, STEP);
    if (kind == 4 || kind == 6)
        hatch_across(cr, box, STEP);
    if (kind == 5 || kind == 6)
        hatch_lines(cr, box, 0, STEP);
    if (kind == 7)
        hatch_lines(cr, box, 1, STEP / 2);
    pare_rgb c = pare_theme_colour(PARE_INK_SURFACE);
    cairo_set_source_rgba(cr, c.r, c.g, c.b, 0.5);
    cairo_set_line_width(cr, 1);
    cairo_stroke(cr);
}

void pare_canvas_whisker(pare_canvas *canvas, double x0, double y0, double x1, double y1)
{
    enum { CAP = 3 };
    double dx = x0 == x1 ? CAP : 0, dy = x0 == x1 ? 0 : CAP;
    cairo_t *cr = canvas->cr;
    for (int pass = 0; pass < 2; pass++) { /* a halo first: seen on dark bars as well */
        pare_canvas_ink(canvas, pass ? PARE_INK_TEXT : PARE_INK_SURFACE);
        cairo_set_line_width(cr, pass ? 1.1 : 2.6);
        cairo_move_to(cr, x0, y0);
        cairo_line_to(cr, x1, y1);
        cairo_move_to(cr, x0 - dx, y0 - dy);
        cairo_line_to(cr, x0 + dx, y0 + dy);
        cairo_move_to(cr, x1 - dx, y1 - dy);
        cairo_line_to(cr, x1 + dx, y1 + dy);
        cairo_stroke(cr);
    }
}

static void polygon(cairo_t *cr, double x, double y, double radius, int corners, double turn)
{
    for (int i = 0; i < corners; i++) {
        double angle = turn + 2 * M_PI * i / corners;
        cairo_line_to(cr, x + radius * cos(angle), y + radius * sin(angle));
    }
    cairo_close_path(cr);
}

void pare_canvas_marker(pare_canvas *canvas, double x, double y, double radius, int shape,
                        int index)
{
    static const struct {
        int corners;
        double turn, size;
    } shapes[] = {{0, 0, 1},          {4, M_PI / 4, 1.2},  {3, -M_PI / 2, 1.3}, {4, 0, 1.3},
                  {3, M_PI / 2, 1.3}, {5, -M_PI / 2, 1.2}, {6, 0, 1.15}};
    cairo_t *cr = canvas->cr;
    int kind = shape % (int)(sizeof shapes / sizeof *shapes);
    cairo_new_path(cr);
    if (shapes[kind].corners)
        polygon(cr, x, y, radius * shapes[kind].size, shapes[kind].corners, shapes[kind].turn);
    else
        cairo_arc(cr, x, y, radius, 0, 2 * M_PI);
    pare_canvas_ink(canvas, pare_series_ink(index));
    cairo_fill_preserve(cr);
    pare_canvas_ink(canvas, PARE_INK_SURFACE);
    cairo_set_line_width(cr, 1);
    cairo_stroke(cr);
}

void pare_canvas_absent(pare_canvas *canvas, double x, double y)
{
    enum { ARM = 3 };
    pare_canvas_line(canvas, x - ARM, y - ARM, x + ARM, y + ARM, 1.3, PARE_INK_SOFT);
    pare_canvas_line(canvas, x - ARM, y + ARM, x + ARM, y - ARM, 1.3, PARE_INK_SOFT);
}

bool pare_box_overlap(pare_box a, pare_box b)
{
    return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
