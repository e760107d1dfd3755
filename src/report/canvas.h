/* What pictures are drawn on: Cairo and Pango with the theme's colours, one drawing for PNG, SVG
 * and PDF. Lengths are points. A drawing also leaves hot spots: places that say a value when the
 * reader points at them. */
#ifndef PARE_REPORT_CANVAS_H
#define PARE_REPORT_CANVAS_H

#include "base/buffer.h"
#include "report/theme.h"

#include <cairo.h>
#include <pare/error.h>

typedef struct pare_box {
    double x, y, w, h;
} pare_box;

typedef struct pare_hot {
    pare_box box;
    char *text;
} pare_hot;

typedef struct pare_canvas {
    cairo_t *cr;
    double width, height;
    bool untitled; /* the title stands elsewhere: on a slide */
    pare_hot *hots;
    size_t hot_count, hot_capacity;
} pare_canvas;

typedef enum pare_file_kind { PARE_FILE_PNG, PARE_FILE_SVG, PARE_FILE_PDF } pare_file_kind;

/* Draws into memory: the bytes of a whole file are appended to `out`. Size in points (PNG: 2 pixels
 * a point). `hots` (may be NULL) gets the canvas after drawing: the caller calls
 * pare_canvas_free_hots. */
typedef void (*pare_draw)(pare_canvas *canvas, const void *what);
pare_status pare_canvas_render(pare_draw draw, const void *what, pare_file_kind kind, double width,
                               double height, pare_buffer *out, pare_canvas *hots);
void pare_canvas_free_hots(pare_canvas *canvas);

__attribute__((format(printf, 3, 4))) void pare_canvas_hot(pare_canvas *canvas, pare_box box,
                                                           const char *format, ...);

/* ---- shapes ---- */

void pare_canvas_ink(pare_canvas *canvas, pare_ink ink);
void pare_canvas_rgb(pare_canvas *canvas, pare_rgb colour);
void pare_canvas_fill(pare_canvas *canvas, pare_box box, pare_ink ink);
void pare_canvas_line(pare_canvas *canvas, double x0, double y0, double x1, double y1, double width,
                      pare_ink ink);
void pare_canvas_dashed(pare_canvas *canvas, double x0, double y0, double x1, double y1,
                        pare_ink ink);
/* A bar of series `index`: its colour under its hatch. */
void pare_canvas_bar(pare_canvas *canvas, pare_box box, int index);
/* A 95 % interval, with caps across its ends. */
void pare_canvas_whisker(pare_canvas *canvas, double x0, double y0, double x1, double y1);
/* Marker of shape `shape` (circle, square, triangle, diamond, ...) in the colour of series `index`.
 */
void pare_canvas_marker(pare_canvas *canvas, double x, double y, double radius, int shape,
                        int index);
/* What was not measured: a small cross. */
void pare_canvas_absent(pare_canvas *canvas, double x, double y);

/* ---- text ---- */

typedef struct pare_text {
    double size;
    bool bold;
    pare_ink ink;
    bool on_fill, light; /* on_fill: black or white, whatever the theme */
    double wrap;         /* width where lines break; 0: one line */
    int lines;           /* at most so many, then "..."; 0: any number (with wrap) */
    double across, down; /* which point of the text stands at x, y: 0 left or top, 1 right or bottom
                          */
    double turn;         /* degrees, counter-clockwise */
    bool centred;        /* lines among themselves */
} pare_text;

typedef struct pare_size {
    double w, h;
} pare_size;

pare_size pare_text_measure(pare_canvas *canvas, const pare_text *style, const char *text);
/* Returns the box that it covers (of turned text: the box around it). */
pare_box pare_text_draw(pare_canvas *canvas, double x, double y, const pare_text *style,
                        const char *text);

bool pare_box_overlap(pare_box a, pare_box b);

#endif
