/* What a measurement gave and under which conditions: the form in which results go from where they
 * are made to the store, to tables and to JSON. */
#ifndef PARE_RECORD_H
#define PARE_RECORD_H

#include <pare/measure.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* One number of a record, with the raw samples it came from. */
typedef struct pare_metric {
    const char *name;          /* as in JSON: "decode_tokens_per_s" */
    const char *unit;          /* "tokens/s", "bytes", "ratio", "nats", ... */
    pare_measure measure;      /* absent: stored as absent, with the reason */
    const char *absent_reason; /* NULL unless absent */
    const double *samples;     /* raw; may be NULL */
    int64_t sample_count;
} pare_metric;

/* A condition under which a record was made: "model", "format", "threads", "isa", "activations",
 * "study", ... */
typedef struct pare_condition {
    const char *key, *value;
} pare_condition;

/* What one measurement of one configuration gave. */
typedef struct pare_record {
    int64_t id;          /* given by the store */
    const char *kind;    /* "bench", "eval", "quantize", "limits" */
    const char *time;    /* UTC, "2026-11-24T10:33:51Z"; NULL on adding: now */
    const char *failure; /* NULL: it succeeded; otherwise why not */
    const pare_condition *conditions;
    int condition_count;
    const pare_metric *metrics;
    int metric_count;
} pare_record;

/* NULL where the record has none. */
const char *pare_record_condition(const pare_record *record, const char *key);
const pare_metric *pare_record_metric(const pare_record *record, const char *name);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
