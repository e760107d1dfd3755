/* The results database: every measured result is written here once, and everything later reads only from here.
 * The schema is documented in docs/store.md. */
#ifndef PARE_STORE_H
#define PARE_STORE_H

#include <pare/error.h>
#include <pare/measure.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pare_store pare_store;

/* Opens or creates the database and brings its schema up to date. path NULL: $PARE_STORE, or
 * $XDG_DATA_HOME/pare/results.db, or ~/.local/share/pare/results.db (folders are created). A locked, read-only, foreign or
 * newer database is an error that says which. One thread at a time. */
pare_status pare_store_open(const char *path, pare_store **out);
void pare_store_close(pare_store *store); /* accepts NULL */
const char *pare_store_path(const pare_store *store);

/* One number of a record, with the raw samples it came from. */
typedef struct pare_metric {
    const char *name; /* as in JSON: "decode_tokens_per_s" */
    const char *unit; /* "tokens/s", "bytes", "ratio", "nats", ... */
    pare_measure measure; /* absent: stored as absent, with the reason */
    const char *absent_reason; /* NULL unless absent */
    const double *samples;     /* raw; may be NULL */
    int64_t sample_count;
} pare_metric;

/* A condition under which a record was made: "model", "format", "threads", "isa", "activations", "study", ... */
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

/* Adds a record in one transaction; *id (may be NULL) is its number. */
pare_status pare_store_add(pare_store *store, const pare_record *record, int64_t *id);

/* Keeps what is known about a machine under its fingerprint (pare/hw.h), replacing what was there; records name it in their
 * condition "machine". facts_json of get is malloc'ed; PARE_NOT_FOUND where the fingerprint is unknown. */
pare_status pare_store_put_machine(pare_store *store, const char *fingerprint, const char *facts_json);
pare_status pare_store_get_machine(pare_store *store, const char *fingerprint, char **facts_json);

/* Which records are wanted; NULL and 0 leave a field free. Oldest first. */
typedef struct pare_filter {
    const char *kind;
    const pare_condition *conditions; /* all must be equal; a value of NULL asks only that the key is there */
    int condition_count;
    const char *metric; /* only records that have it */
    const char *since;  /* UTC time */
    int64_t last;       /* only the newest so many */
} pare_filter;

/* Calls `each` for every record; what it gets is valid during the call. Samples are loaded only where with_samples.
 * `each` returns PARE_OK to go on; another status ends the walk and is returned. */
pare_status pare_store_query(pare_store *store, const pare_filter *filter, bool with_samples,
                             pare_status (*each)(void *user, const pare_record *record), void *user);

/* NULL where the record has none. */
const char *pare_record_condition(const pare_record *record, const char *key);
const pare_metric *pare_record_metric(const pare_record *record, const char *name);

#ifdef __cplusplus
}
#endif
#endif
