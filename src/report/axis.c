#include "report/axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

pare_axis pare_axis_empty(pare_unit unit, bool logarithmic)
{
    return (pare_axis){
        .low = INFINITY, .high = -INFINITY, .logarithmic = logarithmic, .unit = unit};
}

void pare_axis_include_value(pare_axis *axis, double value)
{
    if (!isfinite(value) || (axis->logarithmic && value <= 0))
        return;
    axis->low = fmin(axis->low, value);
    axis->high = fmax(axis->high, value);
}

void pare_axis_include(pare_axis *axis, pare_measure m)
{
    if (m.absent)
        return;
    pare_axis_include_value(axis, m.value);
    pare_axis_include_value(axis, m.low);
    pare_axis_include_value(axis, m.high);
}

void pare_axis_close(pare_axis *axis, double margin, bool from_zero)
{
    if (axis->low > axis->high) {
        axis->low = axis->logarithmic ? 0.1 : 0;
        axis->high = 1;
    }
    if (axis->logarithmic) {
        double factor =
            fmax(pow(axis->high / axis->low, margin), axis->high < 1.5 * axis->low ? 1.4 : 1.06);
        axis->low /= factor;
        axis->high *= factor;
        return;
    }
    bool negative = axis->low < 0;
    if (from_zero)
        axis->low = fmin(axis->low, 0), axis->high = fmax(axis->high, 0);
    double room = margin * (axis->high - axis->low);
    if (!(room > 0))
        room = axis->high != 0 ? 0.1 * fabs(axis->high) : 1;
    axis->high += room;
    if (!from_zero)
        axis->low = axis->low >= 0 ? fmax(0, axis->low - room) : axis->low - room;
    else if (negative)
        axis->low -= room;
}

double pare_axis_place(const pare_axis *a, double value)
{
    double t = a->logarithmic
                   ? (log(fmax(value, a->low * 1e-3)) - log(a->low)) / (log(a->high) - log(a->low))
                   : (value - a->low) / (a->high - a->low);
    return a->from + t * (a->to - a->from);
}

static int linear_ticks(double low, double high, int most, double *ticks)
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

/* Decades, with 2 and 5 in between (or 1.5, 3, 7 more) as long as there is room. */
static int log_ticks(double low, double high, int most, double *ticks)
{
    static const double sets[4][6] = {{1, 1.5, 2, 3, 5, 7}, {1, 2, 5}, {1, 3}, {1}};
    static const int sizes[4] = {6, 3, 2, 1};
    for (int set = 0; set < 4; set++) {
        int count = 0, needed = 0;
        for (double power = pow(10, floor(log10(low))); power <= high; power *= 10)
            for (int i = 0; i < sizes[set]; i++) {
                double tick = sets[set][i] * power;
                if (tick < low * (1 - 1e-9) || tick > high * (1 + 1e-9))
                    continue;
                needed++;
                if (count < most)
                    ticks[count++] = tick;
            }
        if (needed <= most || set == 3)
            return count;
    }
    return 0;
}

int pare_axis_ticks(const pare_axis *axis, int most, double *ticks)
{
    most = most > PARE_MOST_TICKS ? PARE_MOST_TICKS : most;
    return axis->logarithmic ? log_ticks(axis->low, axis->high, most, ticks)
                             : linear_ticks(axis->low, axis->high, most, ticks);
}

/* 1 G, 250 M: the prefix, and the power of ten that it stands for. */
static const char *prefix_of(double value, double *scale)
{
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    int i = 0;
    while (i < 5 && fabs(value) / pow(1000, i) >= 1000 * (1 - 1e-9))
        i++;
    *scale = pow(1000, i);
    return prefixes[i];
}

/* %g without an exponent where people would not write one. */
static void plain(char *out, size_t size, double value)
{
    snprintf(out, size, "%.*g", fabs(value) >= 1e4 && fabs(value) < 1e7 ? 7 : 4, value);
}

const char *pare_axis_label(char out[PARE_NUMBER_BYTES], const pare_axis *axis, double tick)
{
    double scale = 1;
    char number[32];
    const char *prefix = "";
    const char *unit = "";
    switch (axis->unit) {
    case PARE_UNIT_PERCENT:
    case PARE_UNIT_CHANGE:
        tick *= 100;
        unit = " %";
        break;
    case PARE_UNIT_FACTOR:
        unit = "x";
        break;
    case PARE_UNIT_BYTES:
        prefix = prefix_of(tick, &scale);
        unit = "B";
        break;
    case PARE_UNIT_BYTES_PER_S:
    case PARE_UNIT_OPS_PER_S:
    case PARE_UNIT_FLOPS_PER_S:
    case PARE_UNIT_HZ:
    case PARE_UNIT_COUNT:
        prefix = prefix_of(tick, &scale);
        break;
    default:
        break;
    }
    plain(number, sizeof number, tick / scale);
    bool spaced = *prefix || strcmp(unit, "B") == 0;
    snprintf(out, PARE_NUMBER_BYTES, "%s%s%s%s", number, spaced && tick != 0 ? " " : "",
             tick != 0 ? prefix : "", tick != 0 || strcmp(unit, "B") != 0 ? unit : "");
    return out;
}

/* Half a line of labels more than the axis is long would touch. */
static int room_for(double length, double each)
{
    int most = (int)(length / each);
    return most < 2 ? 2 : most;
}

static const pare_text tick_text = {.size = PARE_SIZE_TICK, .ink = PARE_INK_SOFT};

double pare_axis_width(pare_canvas *canvas, const pare_axis *axis)
{
    double ticks[PARE_MOST_TICKS], widest = 0;
    char label[PARE_NUMBER_BYTES];
    int count = pare_axis_ticks(axis, 8, ticks);
    for (int i = 0; i < count; i++)
        widest =
            fmax(widest,
                 pare_text_measure(canvas, &tick_text, pare_axis_label(label, axis, ticks[i])).w);
    return widest + 8;
}

void pare_axis_draw_left(pare_canvas *canvas, pare_axis *axis, pare_box plot, const char *title)
{
    double ticks[PARE_MOST_TICKS];
    char label[PARE_NUMBER_BYTES];
    axis->from = plot.y + plot.h;
    axis->to = plot.y;
    int most = room_for(plot.h, 21);
    int count = pare_axis_ticks(axis, most > 8 ? 8 : most, ticks);
    pare_text style = tick_text;
    style.across = 1, style.down = 0.5;
    for (int i = 0; i < count; i++) {
        double y = pare_axis_place(axis, ticks[i]);
        pare_canvas_line(canvas, plot.x, y, plot.x + plot.w, y, 0.75, PARE_INK_GRID);
        pare_text_draw(canvas, plot.x - 6, y, &style, pare_axis_label(label, axis, ticks[i]));
    }
    if (title && *title) {
        const pare_text above = {
            .size = PARE_SIZE_LABEL, .ink = PARE_INK_SOFT, .wrap = plot.w, .lines = 1, .down = 1};
        pare_text_draw(canvas, plot.x, plot.y - 4, &above, title);
    }
}

void pare_axis_draw_bottom(pare_canvas *canvas, pare_axis *axis, pare_box plot, const char *title)
{
    double ticks[PARE_MOST_TICKS], widest = 0;
    char label[PARE_NUMBER_BYTES];
    axis->from = plot.x;
    axis->to = plot.x + plot.w;
    int count = 0;
    for (int most = 9; most >= 2; most--) { /* fewer until labels have air between them */
        count = pare_axis_ticks(axis, most, ticks);
        widest = 0;
        for (int i = 0; i < count; i++)
            widest = fmax(
                widest,
                pare_text_measure(canvas, &tick_text, pare_axis_label(label, axis, ticks[i])).w);
        double closest = INFINITY;
        for (int i = 1; i < count; i++)
            closest = fmin(closest,
                           pare_axis_place(axis, ticks[i]) - pare_axis_place(axis, ticks[i - 1]));
        if (widest + 10 < closest)
            break;
    }
    pare_text style = tick_text;
    style.across = 0.5, style.down = 0;
    for (int i = 0; i < count; i++) {
        double x = pare_axis_place(axis, ticks[i]);
        pare_canvas_line(canvas, x, plot.y, x, plot.y + plot.h, 0.75, PARE_INK_GRID);
        pare_text_draw(canvas, x, plot.y + plot.h + 4, &style,
                       pare_axis_label(label, axis, ticks[i]));
    }
    if (title && *title) {
        const pare_text below = {.size = PARE_SIZE_LABEL,
                                 .ink = PARE_INK_SOFT,
                                 .wrap = plot.w + 20,
                                 .lines = 1,
                                 .across = 0.5};
        pare_text_draw(canvas, plot.x + plot.w / 2, plot.y + plot.h + 19, &below, title);
    }
}

void pare_axis_draw_base(pare_canvas *canvas, pare_box plot)
{
    pare_canvas_line(canvas, plot.x, plot.y + plot.h, plot.x + plot.w, plot.y + plot.h, 1,
                     PARE_INK_AXIS);
}
