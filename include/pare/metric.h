/* What each metric is called, in which unit it is, whether more of it is better, and how it is
 * written: every number that is shown goes through here (and pare/number.h below it). */
#ifndef PARE_METRIC_H
#define PARE_METRIC_H

#include <pare/measure.h>
#include <pare/number.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct pare_metric_info {
    const char *name;   /* as in records and JSON: "decode_tokens_per_s" */
    const char *title;  /* for axes and headings: "Decode speed" */
    const char *column; /* for narrow tables: "decode t/s" */
    const char *unit;   /* for axes: "tokens/s", "bytes"; "" for a plain ratio */
    pare_unit format;
    signed char better; /* 1: more is better, -1: less is better, 0: neither */
} pare_metric_info;

/* Metrics in the order in which they are shown; NULL past the last one. */
const pare_metric_info *pare_metric_get(size_t i);
/* NULL where the table has no such name. */
const pare_metric_info *pare_metric_find(const char *name);

/* "38.2", "23.1 MB", "57.2 %": the number as it stands in a column whose head names the unit. "-"
 * where it is absent. `interval` adds " ± 0.4". A name that the table lacks is written with three
 * significant digits. */
const char *pare_metric_text(char out[PARE_NUMBER_BYTES], const char *name, pare_measure measure,
                             bool interval);
/* The same for sentences, with the unit where the number does not carry it already: "38.2 ± 0.4
 * tokens/s". */
const char *pare_metric_text_unit(char out[PARE_NUMBER_BYTES], const char *name,
                                  pare_measure measure, bool interval);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
