/* Achieved rates under the machine's measured roofs. */
#include "report/charts.h"
#include "report/plot.h"

#include <math.h>

enum { MOST_POINTS = 512, ROOFS = 3 };

static double least(const pare_view *view, const char *metric)
{
    double low = INFINITY;
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++) {
            pare_measure v = pare_view_get(view, m, c, 0, metric);
            if (!v.absent && v.value > 0)
                low = fmin(low, v.value);
        }
    return low;
}

static double most(const pare_view *view, const char *metric)
{
    double high = 0;
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++) {
            pare_measure v = pare_view_get(view, m, c, 0, metric);
            if (!v.absent)
                high = fmax(high, v.value);
        }
    return high;
}

/* Each roof: up along the bandwidth, flat at the peak of one kind of arithmetic. */
static int add_roofs(pare_view *view, double from, double to, pare_curve *curves)
{
    const pare_measure peaks[ROOFS] = {view->limits.int8_ops, view->limits.bf16_flops,
                                       view->limits.fp32_flops};
    static const char *const names[ROOFS] = {"8-bit peak", "BF16 peak", "FP32 peak"};
    int count = 0;
    pare_measure bandwidth = view->limits.read_bandwidth;
    for (int i = 0; i < ROOFS && !bandwidth.absent; i++) {
        double *x = pare_arena_allocate(&view->arena, 6 * sizeof *x), *y = x + 3;
        if (!x || peaks[i].absent)
            continue;
        double ridge = peaks[i].value / bandwidth.value;
        x[0] = from, x[1] = ridge, x[2] = fmax(to, ridge * 2);
        for (int k = 0; k < 3; k++)
            y[k] = fmin(peaks[i].value, x[k] * bandwidth.value);
        curves[count++] = (pare_curve){
            .x = x, .y = y, .count = 3, .series = -1, .dashed = i > 0, .label = names[i]};
    }
    return count;
}

/* A token's operations over what it reads; decode from its bandwidth where no rate is stored. */
static bool make_point(pare_view *view, int m, int c, bool prefill, pare_point *p)
{
    const char *intensity =
                   prefill ? "arithmetic_intensity_prefill" : "arithmetic_intensity_decode",
               *rate = prefill ? "prefill_ops_per_s" : "decode_ops_per_s";
    pare_measure x = pare_view_get(view, m, c, 0, intensity),
                 y = pare_view_get(view, m, c, 0, rate),
                 reads = pare_view_get(view, m, c, 0, "decode_bandwidth_bytes_per_s");
    if (!prefill && y.absent && !reads.absent && !x.absent)
        y = (pare_measure){reads.value * x.value, reads.low * x.value, reads.high * x.value, false};
    if (x.absent || y.absent || !(x.value > 0) || !(y.value > 0))
        return false;
    *p = (pare_point){.x = x,
                      .y = y,
                      .series = c,
                      .shape = view->models > 1 ? m : c,
                      .hot = pare_view_hot(
                          view, m, c, 0, prefill ? "prefill_tokens_per_s" : "decode_tokens_per_s")};
    return true;
}

void pare_draw_roofline(pare_canvas *canvas, pare_view *view)
{
    pare_point *points = pare_arena_allocate(&view->arena, MOST_POINTS * sizeof *points);
    pare_curve curves[ROOFS];
    int count = 0;
    if (!points)
        return;
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++)
            for (int prefill = 0; prefill < 2; prefill++)
                if (count < MOST_POINTS && make_point(view, m, c, prefill, &points[count]))
                    count++;
    double from = least(view, "arithmetic_intensity_decode"),
           to = fmax(most(view, "arithmetic_intensity_prefill"),
                     most(view, "arithmetic_intensity_decode"));
    int roofs = add_roofs(view, from / 2, to * 2, curves);
    pare_box box = pare_chart_begin(canvas, view, "Roofline");
    box = pare_chart_keys(canvas, view, box, "decode_tokens_per_s");
    const pare_points plot = {
        .x_metric = "arithmetic_intensity_decode",
        .y_metric = "prefill_ops_per_s",
        .x_title = "operations per byte read, logarithmic (left: decode, right: prefill)",
        .y_title = "operations per second, logarithmic; lines: measured bandwidth and peaks",
        .log_x = true,
        .log_y = true,
        .tight = true,
        .x_reference = NAN,
        .y_reference = NAN,
        .points = points,
        .count = count,
        .curves = curves,
        .curve_count = roofs};
    pare_plot_points(canvas, box, &plot);
}
