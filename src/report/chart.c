/* The outputs: one drawing, three surfaces. */
#include "report/chart_draw.h"

#include "base/fail.h"

#include <cairo-pdf.h>
#include <cairo-svg.h>
#include <cairo.h>

static cairo_status_t write_bytes(void *closure, const unsigned char *data, unsigned length)
{
    return pare_buffer_append(closure, data, length) == PARE_OK ? CAIRO_STATUS_SUCCESS
                                                                : CAIRO_STATUS_WRITE_ERROR;
}

pare_status pare_chart_draw(const pare_chart *chart, pare_chart_file kind, double width,
                            double height, pare_buffer *out)
{
    enum { PIXELS_PER_POINT = 2 };
    cairo_surface_t *surface;
    if (kind == PARE_CHART_SVG)
        surface = cairo_svg_surface_create_for_stream(write_bytes, out, width, height);
    else if (kind == PARE_CHART_PDF)
        surface = cairo_pdf_surface_create_for_stream(write_bytes, out, width, height);
    else
        surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)width * PIXELS_PER_POINT,
                                             (int)height * PIXELS_PER_POINT);
    cairo_t *cr = cairo_create(surface);
    if (kind == PARE_CHART_PNG)
        cairo_scale(cr, PIXELS_PER_POINT, PIXELS_PER_POINT);
    pare_chart_paint(cr, chart, width, height);
    cairo_show_page(cr);
    cairo_status_t result = cairo_status(cr);
    cairo_destroy(cr);
    if (result == CAIRO_STATUS_SUCCESS && kind == PARE_CHART_PNG)
        result = cairo_surface_write_to_png_stream(surface, write_bytes, out);
    cairo_surface_finish(surface);
    if (result == CAIRO_STATUS_SUCCESS)
        result = cairo_surface_status(surface);
    cairo_surface_destroy(surface);
    if (result != CAIRO_STATUS_SUCCESS)
        return pare_fail(PARE_IO, "chart '%s': %s", chart->title, cairo_status_to_string(result));
    return PARE_OK;
}
