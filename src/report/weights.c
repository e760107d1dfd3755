/* The chart of pare inspect: errors or the distribution of a model's weights. */
#include <pare/inspect.h>

#include "base/fail.h"
#include "base/file.h"
#include "report/plot.h"
#include "report/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { WIDTH = 960, HEIGHT = 560, PARTS = 8, CURVE = 128, LONGEST = 64 };

/* "blk.3.attn_q.weight": block 3, part "attn_q"; false for what is not in a block. */
static bool split_name(const char *name, int *block, char part[LONGEST])
{
    int used = 0;
    if (sscanf(name, "blk.%d.%n", block, &used) != 1 || used == 0)
        return false;
    size_t length = strcspn(name + used, ".");
    if (length >= LONGEST)
        return false;
    memcpy(part, name + used, length);
    part[length] = 0;
    return true;
}

typedef struct errors {
    pare_point *points;
    int count, parts;
    char names[PARTS][LONGEST];
} errors;

static int part_index(errors *e, const char *part)
{
    for (int i = 0; i < e->parts; i++)
        if (strcmp(e->names[i], part) == 0)
            return i;
    if (e->parts == PARTS)
        return PARTS - 1;
    snprintf(e->names[e->parts], LONGEST, "%s", part);
    return e->parts++;
}

static void collect(const pare_weights *weights, errors *e)
{
    char part[LONGEST];
    int block;
    for (size_t i = 0; i < weights->count; i++) {
        const pare_weight_tensor *t = &weights->tensors[i];
        if (!t->compared || t->rows < 2 || !isfinite(t->snr_db) ||
            !split_name(t->name, &block, part))
            continue;
        int index = part_index(e, part);
        e->points[e->count++] = (pare_point){.x = pare_measure_exact(block),
                                             .y = pare_measure_exact(t->snr_db),
                                             .series = index,
                                             .shape = index,
                                             .hot = t->name};
    }
}

static void draw_errors(pare_canvas *canvas, const pare_weights *weights)
{
    errors e = {.points = calloc(weights->count + 1, sizeof *e.points)};
    pare_legend_entry legend[PARTS];
    char note[1024];
    if (!e.points)
        return;
    collect(weights, &e);
    snprintf(note, sizeof note, "%s against %s: %.2f dB over all", weights->path, weights->base,
             weights->snr_db);
    pare_box box = pare_plot_title(canvas, "Signal-to-noise ratio of the weights", note);
    for (int i = 0; i < e.parts; i++)
        legend[i] = (pare_legend_entry){e.names[i], PARE_KEY_MARKER, i};
    box = pare_plot_legend(canvas, box, legend, e.parts);
    pare_points points = {.x_title = "block",
                          .y_title = "dB",
                          .x_metric = "",
                          .y_metric = "",
                          .x_reference = NAN,
                          .y_reference = NAN,
                          .points = e.points,
                          .count = e.count};
    pare_plot_points(canvas, box, &points);
    free(e.points);
}

/* Bins of all matrices on one scale: each bin counts where its middle lies. */
static void draw_distribution(pare_canvas *canvas, const pare_weights *weights)
{
    double range = 0, counts[CURVE] = {0}, x[CURVE], y[CURVE];
    int shown = 0;
    for (size_t i = 0; i < weights->count; i++)
        if (weights->tensors[i].rows > 1)
            range = fmax(range, weights->tensors[i].range);
    for (size_t i = 0; i < weights->count && range > 0; i++) {
        const pare_weight_tensor *t = &weights->tensors[i];
        for (int b = 0; b < PARE_WEIGHT_BINS && t->rows > 1; b++) {
            double middle = ((b + 0.5) * 2 / PARE_WEIGHT_BINS - 1) * t->range;
            int at = (int)((middle / range + 1) * (CURVE / 2.0));
            counts[at < CURVE ? at : CURVE - 1] += (double)t->bins[b];
        }
    }
    for (int i = 0; i < CURVE; i++)
        if (counts[i] > 0) {
            x[shown] = ((i + 0.5) * 2 / CURVE - 1) * range;
            y[shown++] = counts[i];
        }
    pare_box box = pare_plot_title(canvas, "Distribution of the weights", weights->path);
    pare_curve curve = {.x = x, .y = y, .count = shown, .steps = true};
    pare_points points = {.x_title = "value",
                          .y_title = "weights",
                          .x_metric = "",
                          .y_metric = "",
                          .log_y = true,
                          .x_reference = NAN,
                          .y_reference = NAN,
                          .curves = &curve,
                          .curve_count = 1};
    if (shown)
        pare_plot_points(canvas, box, &points);
}

static void draw(pare_canvas *canvas, const void *what)
{
    const pare_weights *weights = what;
    if (weights->base)
        draw_errors(canvas, weights);
    else
        draw_distribution(canvas, weights);
}

static pare_status kind_of(const char *path, pare_file_kind *kind)
{
    const char *dot = strrchr(path, '.');
    if (dot && strcasecmp(dot, ".png") == 0)
        *kind = PARE_FILE_PNG;
    else if (dot && strcasecmp(dot, ".svg") == 0)
        *kind = PARE_FILE_SVG;
    else if (dot && strcasecmp(dot, ".pdf") == 0)
        *kind = PARE_FILE_PDF;
    else
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: a chart ends in .png, .svg or .pdf", path);
    return PARE_OK;
}

pare_status pare_weights_draw(const pare_weights *weights, const char *path)
{
    pare_buffer bytes = {0};
    pare_output output = {0};
    pare_file_kind kind;
    pare_status status;
    PARE_TRY(kind_of(path, &kind));
    PARE_TRY(pare_canvas_render(draw, weights, kind, WIDTH, HEIGHT, &bytes, NULL));
    PARE_TRY(pare_output_open(&output, path));
    PARE_TRY(pare_output_write(&output, bytes.data, bytes.size));
    PARE_TRY(pare_output_commit(&output));
fail:
    pare_output_abort(&output);
    pare_buffer_free(&bytes);
    return status;
}
