/* slides.pdf. */
#include "base/fail.h"
#include "report/documents.h"
#include "report/slides_pages.h"

#include <cairo-pdf.h>

static cairo_status_t write_bytes(void *closure, const unsigned char *data, unsigned length)
{
    return pare_buffer_append(closure, data, length) == PARE_OK ? CAIRO_STATUS_SUCCESS
                                                                : CAIRO_STATUS_WRITE_ERROR;
}

static void describe(cairo_surface_t *surface, const pare_study *study)
{
    cairo_pdf_surface_set_metadata(surface, CAIRO_PDF_METADATA_TITLE,
                                   study->title ? study->title : study->name);
    cairo_pdf_surface_set_metadata(surface, CAIRO_PDF_METADATA_CREATOR, "Pare");
    /* Of the results, not of now: the same results give the same file. */
    if (study->updated)
        cairo_pdf_surface_set_metadata(surface, CAIRO_PDF_METADATA_CREATE_DATE, study->updated);
}

pare_status pare_document_slides(pare_view *view, pare_buffer *out)
{
    enum { WIDTH = 960, HEIGHT = 540 };
    cairo_surface_t *surface = cairo_pdf_surface_create_for_stream(write_bytes, out, WIDTH, HEIGHT);
    describe(surface, view->study);
    pare_deck deck = {.canvas = {.cr = cairo_create(surface), .width = WIDTH, .height = HEIGHT},
                      .view = view};
    for (int i = 0; i < pare_slide_page_count; i++)
        pare_slide_pages[i](&deck);
    cairo_show_page(deck.canvas.cr);
    cairo_status_t result = cairo_status(deck.canvas.cr);
    cairo_destroy(deck.canvas.cr);
    cairo_surface_finish(surface);
    if (result == CAIRO_STATUS_SUCCESS)
        result = cairo_surface_status(surface);
    cairo_surface_destroy(surface);
    pare_canvas_free_hots(&deck.canvas);
    return result == CAIRO_STATUS_SUCCESS
               ? PARE_OK
               : pare_fail(PARE_IO, "slides: %s", cairo_status_to_string(result));
}
