#include "plan/measures.h"

#include <math.h>
#include <pare/eval.h>
#include <string.h>

pare_measure pare_cell_measure(const pare_cell *cell, const char *metric)
{
    const pare_metric *found = cell ? pare_cell_metric(cell, metric) : NULL;
    pare_measure m = found ? found->measure : (pare_measure){.absent = true};
    if (!m.absent && !isfinite(m.value))
        m.absent = true;
    if (!isfinite(m.low) || !isfinite(m.high))
        m.low = m.high = m.value;
    return m;
}

pare_measure pare_measure_shift(pare_measure a, double factor, double offset)
{
    pare_measure out = {a.value * factor + offset, a.low * factor + offset,
                        a.high * factor + offset, a.absent};
    if (out.low > out.high) {
        double low = out.low;
        out.low = out.high;
        out.high = low;
    }
    return out;
}

/* By adding the relative half-widths in quadrature, upper with lower ends. */
pare_measure pare_measure_ratio(pare_measure a, pare_measure b)
{
    if (a.absent || b.absent || !(b.value > 0) || !(a.value > 0))
        return (pare_measure){.absent = true};
    double value = a.value / b.value,
           down = hypot((a.value - a.low) / a.value, (b.high - b.value) / b.value),
           up = hypot((a.high - a.value) / a.value, (b.value - b.low) / b.value);
    return (pare_measure){value, value * (1 - down), value * (1 + up), false};
}

pare_measure pare_measure_difference(pare_measure a, pare_measure b)
{
    if (a.absent || b.absent)
        return (pare_measure){.absent = true};
    double value = a.value - b.value;
    return (pare_measure){value, value - hypot(a.value - a.low, b.high - b.value),
                          value + hypot(a.high - a.value, b.value - b.low), false};
}

bool pare_cells_agree(const pare_record *a, const pare_record *b, const char *key)
{
    const char *x = a ? pare_record_condition(a, key) : NULL,
               *y = b ? pare_record_condition(b, key) : NULL;
    return !x || !y || strcmp(x, y) == 0;
}

pare_measure pare_paired_mean(const double *a, const double *b, int64_t n)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] - b[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (a[i] - b[i] - mean) * (a[i] - b[i] - mean);
    if (n < 2)
        return (pare_measure){mean, mean, mean, n < 1};
    double half = pare_eval_half_width(sqrt(squares / (double)(n - 1) / (double)n), n);
    return (pare_measure){mean, mean - half, mean + half, false};
}

/* ---- quality ---- */

static bool same_evaluation(const pare_cell *a, const pare_cell *b)
{
    static const char *const keys[] = {"text", "protocol", "context", "stride", "windows", "bos"};
    if (!a->eval || !b->eval)
        return false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!pare_cells_agree(a->eval, b->eval, keys[i]))
            return false;
    return true;
}

pare_measure pare_quality_loss(const pare_cell *cell, const pare_cell *baseline)
{
    pare_measure ratio = pare_cell_measure(cell, "perplexity_ratio");
    if (cell == baseline) /* by definition, where there is quality at all */
        return (pare_measure){0, 0, 0, cell->synthetic};
    if (!baseline || !baseline->eval)
        return pare_measure_shift(ratio, 1, -1);
    if (!same_evaluation(cell, baseline))
        return (pare_measure){.absent = true};
    const pare_metric *a = pare_record_metric(cell->eval, "mean_nll"),
                      *b = pare_record_metric(baseline->eval, "mean_nll");
    if (a && b && a->samples && b->samples && a->sample_count == b->sample_count &&
        a->sample_count > 1) {
        pare_measure m = pare_paired_mean(a->samples, b->samples, a->sample_count);
        return (pare_measure){expm1(m.value), expm1(m.low), expm1(m.high), false};
    }
    pare_measure of_base = pare_cell_measure(baseline, "perplexity_ratio");
    if (!ratio.absent && !of_base.absent &&
        pare_cells_agree(cell->eval, baseline->eval, "against_hash"))
        return pare_measure_shift(pare_measure_ratio(ratio, of_base), 1, -1);
    return pare_measure_shift(pare_measure_ratio(pare_cell_measure(cell, "perplexity"),
                                                 pare_cell_measure(baseline, "perplexity")),
                              1, -1);
}
