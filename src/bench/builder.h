/* Putting a record together: metrics and conditions that live until its memory is freed. */
#ifndef PARE_BENCH_BUILDER_H
#define PARE_BENCH_BUILDER_H

#include "base/json.h"
#include "base/memory.h"
#include "bench/message.h"
#include "bench/result.h"
#include "bench/stats.h"

#include <pare/record.h>

enum { PARE_BENCH_MOST_METRICS = 80, PARE_BENCH_MOST_CONDITIONS = 64 };

typedef struct pare_bench_builder {
    pare_arena arena;
    pare_metric metrics[PARE_BENCH_MOST_METRICS];
    pare_condition conditions[PARE_BENCH_MOST_CONDITIONS];
    int metric_count, condition_count, extra_count;
    const pare_condition *extra;
    pare_status status;
} pare_bench_builder;

pare_metric *pare_bench_add_metric(pare_bench_builder *b, const char *name, const char *unit);
void pare_bench_add_absent(pare_bench_builder *b, const char *name, const char *unit,
                           const char *reason);
/* A value that is not finite or negative was not told by the process. */
void pare_bench_add_plain(pare_bench_builder *b, const char *name, const char *unit, double value);
/* The same with another reason. */
void pare_bench_add_value(pare_bench_builder *b, const char *name, const char *unit, double value,
                          const char *reason);
/* The median of samples (one for each value of the series) over its rounds, with its interval. */
pare_status pare_bench_estimate(const double *samples, const pare_bench_series *series,
                                pare_estimate *out);
/* The samples scale / x (rates) or scale * x (times), with their median and its interval. An
 * interval that reaches below zero is cut there (net energy may be below, as a value: then it is
 * not). */
void pare_bench_add_series(pare_bench_builder *b, const char *name, const char *unit,
                           const pare_bench_series *series, double scale, bool inverse,
                           const char *reason);
const pare_metric *pare_bench_find_metric(const pare_bench_builder *b, const char *name);
/* rate x work / limit, with the rate's interval. */
void pare_bench_add_scaled(pare_bench_builder *b, const char *name, const char *unit,
                           const char *rate_name, double work, double limit, const char *reason);
/* A member of an object; NaN where it is no number. */
double pare_bench_number(const json_t *object, const char *key);

/* result_hardware.c */
pare_status pare_bench_entry_add_sensors(pare_bench_entry *entry, const json_t *report);
void pare_bench_add_hardware(pare_bench_builder *b, const pare_bench_entry *entry,
                             double decode_bytes);

#endif
