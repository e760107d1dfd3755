/* Grouped bars with intervals. */
#include "report/plot.h"

#include <math.h>
#include <stdio.h>

typedef struct layout {
    pare_canvas *canvas;
    const pare_bars *bars;
    pare_box plot;
    pare_axis y;
    double slot;    /* width of a group */
    double highest; /* of the values */
    bool markers, number_turned, numbered, label_turned;
} layout;

static const double LABEL_TURN = 38; /* degrees */

static const pare_text number_text = {.size = 9.5, .ink = PARE_INK_TEXT};
/* Values that differ more are not readable as lengths from zero. */
#define MOST_RATIO PARE_BARS_MOST_RATIO
#define MOST_WHISKER 2.0 /* of the highest value */

static const pare_bar *bar_at(const pare_bars *bars, int g, int s)
{
    return &bars->bars[g * bars->series + s];
}

/* An interval many times as long as the highest bar would press all bars flat: it is cut. */
static pare_measure within_sight(pare_measure m, double highest)
{
    double most = highest > 0 ? MOST_WHISKER * highest : INFINITY;
    m.high = fmin(m.high, fmax(most, m.value));
    m.low = fmax(m.low, fmin(-most, m.value));
    return m;
}

static void scale(layout *l)
{
    const pare_bars *bars = l->bars;
    const pare_metric_info *info = pare_metric_find(bars->metric);
    pare_unit unit = info ? info->format : PARE_UNIT_PLAIN;
    double low = INFINITY, high = 0;
    for (int i = 0; i < bars->groups * bars->series; i++)
        if (!bars->bars[i].value.absent) {
            low = fmin(low, bars->bars[i].value.value);
            high = fmax(high, bars->bars[i].value.value);
        }
    l->markers = !bars->never_log && low > 0 && (bars->log || high > MOST_RATIO * low);
    l->highest = high;
    l->y = pare_axis_empty(unit, l->markers);
    for (int i = 0; i < bars->groups * bars->series; i++)
        pare_axis_include(&l->y, within_sight(bars->bars[i].value, high));
    if (isfinite(bars->reference))
        pare_axis_include_value(&l->y, bars->reference);
    pare_axis_close(&l->y, 0.08, !l->markers);
}

static double bar_width(const layout *l)
{
    return fmin(l->slot * 0.84 / l->bars->series, 64);
}

static double bar_left(const layout *l, int g, int s)
{
    double width = bar_width(l);
    return l->plot.x + l->slot * (g + 0.5) + width * (s - l->bars->series / 2.0);
}

/* Numbers stand over their bars, upright or turned, or nowhere where even that is too narrow. */
static void choose_numbers(layout *l)
{
    char text[PARE_NUMBER_BYTES];
    double widest = 0, height = 0;
    for (int i = 0; i < l->bars->groups * l->bars->series; i++) {
        if (l->bars->bars[i].value.absent)
            continue;
        pare_metric_text(text, l->bars->metric, l->bars->bars[i].value, false);
        pare_size size = pare_text_measure(l->canvas, &number_text, text);
        widest = fmax(widest, size.w);
        height = size.h;
    }
    double each = l->bars->series > 1 ? bar_width(l) : l->slot;
    l->numbered = each >= height + 1;
    l->number_turned = widest + 3 > each;
    double room = l->number_turned ? widest : height, length = l->plot.h;
    if (!l->numbered || room > 0.4 * length)
        return;
    /* Room above the highest bar for its number, below the lowest where that is negative. */
    if (l->y.logarithmic) {
        l->y.high *= pow(l->y.high / l->y.low, (room + 6) / (length - room));
    } else {
        double more = (l->y.high - l->y.low) * (room + 2) / (length - room);
        l->y.high += more;
        if (l->y.low < 0)
            l->y.low -= more;
    }
}

static void draw_number(const layout *l, const pare_bar *bar, double middle, double top, bool below)
{
    char text[PARE_NUMBER_BYTES];
    pare_text style = number_text;
    pare_metric_text(text, l->bars->metric, bar->value, false);
    if (l->number_turned) {
        style.turn = 90;
        style.across = below ? 1 : 0;
        style.down = 0.5;
    } else {
        style.across = 0.5;
        style.down = below ? 0 : 1;
    }
    pare_text_draw(l->canvas, middle, below ? top + 3 : top - 3, &style, text);
}

static void draw_bar(const layout *l, int g, int s)
{
    const pare_bar *bar = bar_at(l->bars, g, s);
    double width = bar_width(l), left = bar_left(l, g, s), middle = left + width / 2;
    double zero = l->y.logarithmic ? l->plot.y + l->plot.h : pare_axis_place(&l->y, 0);
    if (bar->value.absent && !bar->hot)
        return; /* nobody asked for it */
    if (bar->value.absent) {
        pare_canvas_absent(l->canvas, middle, zero - 7);
        if (bar->hot)
            pare_canvas_hot(l->canvas, (pare_box){left, zero - 16, width, 16}, "%s", bar->hot);
        return;
    }
    double y = pare_axis_place(&l->y, bar->value.value);
    pare_measure shown = within_sight(bar->value, l->highest);
    double low = pare_axis_place(&l->y, shown.low), high = pare_axis_place(&l->y, shown.high);
    bool below = bar->value.value < 0;
    pare_box box = {left + width * 0.04, fmin(y, zero), width * 0.92, fabs(zero - y)};
    if (!l->markers)
        pare_canvas_bar(l->canvas, box, bar->series);
    if (low - high > 1.5 || l->markers)
        if (bar->value.high > bar->value.low)
            pare_canvas_whisker(l->canvas, middle, low, middle, high);
    if (l->markers)
        pare_canvas_marker(l->canvas, middle, y, fmin(5, width * 0.45), bar->series, bar->series);
    if (l->numbered)
        draw_number(l, bar, middle, below ? fmax(y, low) : fmin(y, high) - (l->markers ? 4 : 0),
                    below);
    if (bar->hot)
        pare_canvas_hot(l->canvas,
                        l->markers ? (pare_box){left, y - 8, width, 16}
                                   : (pare_box){left, fmin(box.y, zero - 8), width, fmax(box.h, 8)},
                        "%s", bar->hot);
}

/* Labels of groups break into lines, or are turned where a word would not fit; returns the height
 * that all need. */
static double label_height(layout *l, pare_text *style)
{
    double height = 0, widest = 0;
    *style = (pare_text){.size = PARE_SIZE_LABEL,
                         .ink = PARE_INK_TEXT,
                         .lines = 3,
                         .centred = true,
                         .across = 0.5,
                         .wrap = l->slot - 6};
    l->label_turned = l->slot < 58;
    if (l->label_turned)
        *style = (pare_text){.size = PARE_SIZE_TICK,
                             .ink = PARE_INK_TEXT,
                             .lines = 1,
                             .wrap = 165,
                             .across = 1,
                             .down = 0.4,
                             .turn = LABEL_TURN};
    for (int g = 0; g < l->bars->groups; g++) {
        pare_size size = pare_text_measure(l->canvas, style, l->bars->labels[g]);
        height = fmax(height, size.h);
        widest = fmax(widest, size.w);
    }
    return l->label_turned ? widest * sin(LABEL_TURN * M_PI / 180) + height : height;
}

/* What stands above the plot: the unit, where ticks do not carry it. */
static const char *axis_title(char *out, size_t size, const pare_bars *bars, bool logarithmic)
{
    const pare_metric_info *info = pare_metric_find(bars->metric);
    bool plain = !info || info->format == PARE_UNIT_RATE || info->format == PARE_UNIT_PLAIN ||
                 info->format == PARE_UNIT_NATS || info->format == PARE_UNIT_BITS;
    const char *name = bars->y_title ? bars->y_title : info && plain ? info->unit : "";
    snprintf(out, size, "%s%s%s", name, *name && logarithmic ? ", " : "",
             logarithmic ? "logarithmic" : "");
    return out;
}

/* The plot's place depends on the width of its ticks' labels, these on the room for numbers above
 * the bars, and that on the plot's place: twice is enough. */
static void place(layout *l, pare_box box, pare_text *label, double top)
{
    double left = 44;
    for (int pass = 0; pass < 2; pass++) {
        scale(l);
        l->slot = (box.w - left) / fmax(1, l->bars->groups);
        double bottom = label_height(l, label) + 8;
        l->plot = (pare_box){box.x + left, box.y + top, box.w - left, box.h - top - bottom};
        choose_numbers(l);
        left = pare_axis_width(l->canvas, &l->y);
    }
}

void pare_plot_bars(pare_canvas *canvas, pare_box box, const pare_bars *bars)
{
    char title[160];
    layout l = {.canvas = canvas, .bars = bars};
    pare_text style;
    scale(&l);
    axis_title(title, sizeof title, bars, l.markers);
    place(&l, box, &style, *title ? 18 : 6);
    pare_axis_draw_left(canvas, &l.y, l.plot, title);
    double zero = l.y.low < 0 && !l.markers ? pare_axis_place(&l.y, 0) : l.plot.y + l.plot.h;
    if (isfinite(bars->reference)) {
        double y = pare_axis_place(&l.y, bars->reference);
        pare_canvas_dashed(canvas, l.plot.x, y, l.plot.x + l.plot.w, y, PARE_INK_AXIS);
    }
    for (int g = 0; g < bars->groups; g++) {
        for (int s = 0; s < bars->series; s++)
            draw_bar(&l, g, s);
        pare_text_draw(canvas, l.plot.x + l.slot * (g + 0.5) + (l.label_turned ? 4 : 0),
                       l.plot.y + l.plot.h + (l.label_turned ? 8 : 5), &style, bars->labels[g]);
    }
    pare_canvas_line(canvas, l.plot.x, zero, l.plot.x + l.plot.w, zero, 1, PARE_INK_AXIS);
}
