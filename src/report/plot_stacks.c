/* Horizontal bars of several parts. */
#include "report/plot.h"

#include <math.h>

static const pare_text label_text = {
    .size = PARE_SIZE_LABEL, .ink = PARE_INK_TEXT, .lines = 1, .across = 1, .down = 0.5};
static const pare_text total_text = {.size = 9.5, .ink = PARE_INK_TEXT, .across = 0, .down = 0.5};

static pare_axis axis_of(const pare_stacks *stacks)
{
    const pare_metric_info *info = pare_metric_find(stacks->metric);
    pare_axis axis = pare_axis_empty(info ? info->format : PARE_UNIT_PLAIN, false);
    for (int r = 0; r < stacks->rows; r++)
        pare_axis_include(&axis, stacks->row[r].total);
    if (stacks->most > 0)
        pare_axis_include_value(&axis, stacks->most);
    pare_axis_close(&axis, 0.02, true);
    return axis;
}

static void draw_parts(pare_canvas *canvas, const pare_stacks *stacks, const pare_stack_row *row,
                       const pare_axis *axis, pare_box bar)
{
    char text[PARE_NUMBER_BYTES];
    double sum = 0, zero = pare_axis_place(axis, 0);
    for (int p = 0; p < stacks->parts; p++) {
        if (row->parts[p].absent || !(row->parts[p].value > 0))
            continue;
        double from = pare_axis_place(axis, sum);
        sum += row->parts[p].value;
        pare_box part = {from, bar.y, fmax(pare_axis_place(axis, sum) - from, 0.5), bar.h};
        pare_canvas_bar(canvas, part, stacks->series[p]);
        pare_canvas_hot(canvas, part, "%s: %s %s", row->hot ? row->hot : row->label,
                        stacks->part_names[p],
                        pare_metric_text(text, stacks->metric, row->parts[p], false));
    }
    double end = pare_axis_place(axis, fmax(sum, row->total.value));
    pare_canvas_line(canvas, zero, bar.y, zero, bar.y + bar.h, 1, PARE_INK_AXIS);
    pare_text_draw(canvas, end + 4, bar.y + bar.h / 2, &total_text,
                   pare_metric_text(text, stacks->metric, row->total, false));
}

void pare_plot_stacks(pare_canvas *canvas, pare_box box, const pare_stacks *stacks)
{
    char text[PARE_NUMBER_BYTES];
    double left = 0, right = 0;
    pare_text label = label_text;
    label.wrap = box.w * 0.45;
    for (int r = 0; r < stacks->rows; r++) {
        left = fmax(left, pare_text_measure(canvas, &label, stacks->row[r].label).w);
        pare_metric_text(text, stacks->metric, stacks->row[r].total, false);
        right = fmax(right, pare_text_measure(canvas, &total_text, text).w);
    }
    pare_box plot = {box.x + left + 8, box.y, box.w - left - 8 - right - 6, box.h - 20};
    pare_axis axis = axis_of(stacks);
    axis.from = plot.x, axis.to = plot.x + plot.w;
    pare_axis_draw_bottom(canvas, &axis, plot, NULL);
    double slot = plot.h / fmax(1, stacks->rows), thick = fmin(slot * 0.76, 26);
    for (int r = 0; r < stacks->rows; r++) {
        const pare_stack_row *row = &stacks->row[r];
        double middle = plot.y + slot * (r + 0.5);
        pare_text_draw(canvas, plot.x - 6, middle, &label, row->label);
        if (row->total.absent) {
            pare_canvas_absent(canvas, plot.x + 8, middle);
            if (row->hot)
                pare_canvas_hot(canvas, (pare_box){plot.x, middle - 8, 20, 16}, "%s", row->hot);
        } else {
            draw_parts(canvas, stacks, row, &axis,
                       (pare_box){plot.x, middle - thick / 2, plot.w, thick});
        }
    }
}
