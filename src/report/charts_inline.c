/* A drawing as an element of a page. */
#include "report/charts.h"

#include "base/fail.h"
#include "report/html.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cairo writes "rgb(12.5%,0%,100%)" (since 1.18 with spaces); the theme's become variables. Returns
 * how many bytes of `at` it took, 0 where it is no such colour. */
static size_t replace_colour(const char *at, pare_buffer *out)
{
    pare_rgb c;
    int length = 0;
    if (sscanf(at, "rgb(%lf%%, %lf%%, %lf%%)%n", &c.r, &c.g, &c.b, &length) < 3 || !length)
        return 0;
    c.r /= 100, c.g /= 100, c.b /= 100;
    int ink = pare_theme_find(c);
    if (ink < 0)
        return 0;
    pare_buffer_printf(out, "var(--ink%d)", ink);
    return (size_t)length;
}

/* Ids are unique in a page: id="X", href="#X" and url(#X) get the prefix. */
static size_t rename_id(const char *at, const char *prefix, pare_buffer *out)
{
    static const char *const starts[] = {" id=\"", "href=\"#", "url(#"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        size_t length = strlen(starts[i]);
        if (strncmp(at, starts[i], length) == 0) {
            pare_buffer_printf(out, "%s%s", starts[i], prefix);
            return length;
        }
    }
    return 0;
}

static void add_hots(const pare_canvas *canvas, pare_buffer *out)
{
    pare_buffer_text(out, "<g class=\"hots\">");
    for (size_t i = 0; i < canvas->hot_count; i++) {
        pare_box b = canvas->hots[i].box;
        pare_buffer_printf(out,
                           "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>",
                           b.x, b.y, b.w, b.h);
        pare_html_escape(out, canvas->hots[i].text);
        pare_buffer_text(out, "</title></rect>\n");
    }
    pare_buffer_text(out, "</g>");
}

pare_status pare_chart_inline(const pare_chart *chart, pare_view *view, const char *prefix,
                              pare_buffer *out)
{
    pare_buffer svg = {0};
    pare_canvas canvas = {0};
    const pare_size size = pare_chart_file_size(chart, view);
    pare_status status;
    PARE_TRY(pare_chart_file(chart, view, PARE_FILE_SVG, &svg, &canvas));
    const char *at = strstr(svg.data, "<svg"), *body = at ? strchr(at, '>') : NULL,
               *end = strstr(svg.data, "</svg>");
    if (!body || !end) {
        status = pare_fail(PARE_IO, "chart %s: Cairo wrote no SVG element", chart->name);
        goto fail;
    }
    pare_buffer_printf(out,
                       "<svg xmlns=\"http://www.w3.org/2000/svg\" "
                       "xmlns:xlink=\"http://www.w3.org/1999/xlink\" viewBox=\"0 0 %.0f %.0f\" "
                       "style=\"min-width:%.0fpx\" role=\"img\" aria-label=\"%s\">",
                       size.w, size.h, size.w > 1.2 * PARE_CHART_WIDTH ? 0.9 * size.w : 0,
                       chart->title);
    const char *from = body + 1;
    for (at = from; at < end;) {
        const char *here = at;
        size_t pending = (size_t)(at - from);
        if (*at == '.') { /* two decimals are a hundredth of a point: enough, and much shorter */
            size_t digits = strspn(at + 1, "0123456789");
            if (digits > 2) {
                pare_buffer_append(out, from, pending + 3);
                from = at + 1 + digits;
            }
            at += 1 + digits;
            continue;
        }
        if (*at != ' ' && *at != 'h' && *at != 'u' && *at != 'r') {
            at++;
            continue;
        }
        pare_buffer plain = {0};
        size_t taken = *at == 'r' ? replace_colour(at, &plain) : rename_id(at, prefix, &plain);
        if (taken) {
            pare_buffer_append(out, from, pending);
            pare_buffer_append(out, plain.data, plain.size);
            at = from = here + taken;
        } else {
            at++;
        }
        pare_buffer_free(&plain);
    }
    pare_buffer_append(out, from, (size_t)(end - from));
    add_hots(&canvas, out);
    pare_buffer_text(out, "</svg>");
    status = out->failed ? pare_fail_memory(out->size, "a chart") : PARE_OK;
fail:
    pare_buffer_free(&svg);
    pare_canvas_free_hots(&canvas);
    return status;
}
