#include "bench/builder.h"

#include <math.h>
#include <string.h>

double pare_bench_number(const json_t *object, const char *key)
{
    const json_t *value = object ? json_object_get(object, key) : NULL;
    return json_is_number(value) ? json_number_value(value) : NAN;
}

pare_metric *pare_bench_add_metric(pare_bench_builder *b, const char *name, const char *unit)
{
    pare_metric *metric = &b->metrics[b->metric_count++];
    *metric = (pare_metric){.name = name, .unit = unit};
    return metric;
}

void pare_bench_add_absent(pare_bench_builder *b, const char *name, const char *unit,
                           const char *reason)
{
    pare_metric *metric = pare_bench_add_metric(b, name, unit);
    metric->measure.absent = true;
    metric->absent_reason = pare_arena_copy(&b->arena, reason, strlen(reason));
    if (!metric->absent_reason)
        b->status = PARE_OUT_OF_MEMORY;
}

void pare_bench_add_value(pare_bench_builder *b, const char *name, const char *unit, double value,
                          const char *reason)
{
    if (isfinite(value) && value >= 0)
        pare_bench_add_metric(b, name, unit)->measure = (pare_measure){value, value, value, false};
    else
        pare_bench_add_absent(b, name, unit, reason);
}

void pare_bench_add_plain(pare_bench_builder *b, const char *name, const char *unit, double value)
{
    pare_bench_add_value(b, name, unit, value, "the process did not tell");
}

pare_status pare_bench_estimate(const double *samples, const pare_bench_series *series,
                                pare_estimate *out)
{
    return pare_rounds_median(samples, series->rounds ? series->sizes : &series->count,
                              series->rounds ? series->rounds : 1, out);
}

void pare_bench_add_series(pare_bench_builder *b, const char *name, const char *unit,
                           const pare_bench_series *series, double scale, bool inverse,
                           const char *reason)
{
    pare_estimate median;
    if (!series->count) {
        pare_bench_add_absent(b, name, unit, reason);
        return;
    }
    double *samples = pare_arena_allocate(&b->arena, series->count * sizeof *samples);
    if (!samples) {
        b->status = PARE_OUT_OF_MEMORY;
        return;
    }
    for (size_t i = 0; i < series->count; i++)
        samples[i] = inverse ? scale / series->values[i] : scale * series->values[i];
    if (pare_bench_estimate(samples, series, &median) != PARE_OK) {
        pare_bench_add_absent(b, name, unit, "a sample is not finite");
        return;
    }
    pare_metric *metric = pare_bench_add_metric(b, name, unit);
    metric->measure =
        (pare_measure){median.value, fmin(fmax(median.low, 0), median.value), median.high, false};
    metric->samples = samples;
    metric->sample_count = (int64_t)series->count;
}

const pare_metric *pare_bench_find_metric(const pare_bench_builder *b, const char *name)
{
    for (int i = 0; i < b->metric_count; i++)
        if (strcmp(b->metrics[i].name, name) == 0)
            return &b->metrics[i];
    return NULL;
}

void pare_bench_add_scaled(pare_bench_builder *b, const char *name, const char *unit,
                           const char *rate_name, double work, double limit, const char *reason)
{
    const pare_metric *rate = pare_bench_find_metric(b, rate_name);
    if (!rate || rate->measure.absent) {
        pare_bench_add_absent(b, name, unit,
                              rate && rate->absent_reason ? rate->absent_reason : "not measured");
        return;
    }
    if (!(limit > 0) || !(work > 0)) {
        pare_bench_add_absent(b, name, unit, reason);
        return;
    }
    double factor = work / limit;
    pare_bench_add_metric(b, name, unit)->measure =
        (pare_measure){rate->measure.value * factor, rate->measure.low * factor,
                       rate->measure.high * factor, false};
}
