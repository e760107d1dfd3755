/* From what the children said to a record. */
#ifndef PARE_BENCH_RESULT_H
#define PARE_BENCH_RESULT_H

#include "base/json.h"
#include "bench/message.h"

#include <pare/bench.h>

enum { PARE_BENCH_PREFILL, PARE_BENCH_DECODE, PARE_BENCH_PHASES };

/* What was gathered about one configuration over its rounds. */
typedef struct pare_bench_entry {
    const pare_bench_config *config;
    json_t *model; /* the description; NULL where that failed */
    json_t *last;  /* the last round's report; NULL where none went well */
    pare_bench_series load, prefill, decode, tokens, bandwidth; /* seconds; bytes per second */
    double peak_rss_bytes;                                      /* the highest of all rounds */
    /* By phase: net energy of a token, power; tokens for a joule of decode; one each repetition. */
    pare_bench_series joules[PARE_BENCH_PHASES], watts[PARE_BENCH_PHASES], per_joule;
    pare_bench_series clocks;
    char round_samples[512]; /* repetitions of each round: "6,5" */
    double other_cpu_share;  /* the highest of all rounds */
    char failure[1400];
} pare_bench_entry;

/* Sequences at once. */
static inline double pare_bench_batch(const pare_bench_config *config)
{
    return config->session.batch > 1 ? (double)config->session.batch : 1;
}

/* Adds a round's report (a "done" message). */
pare_status pare_bench_entry_add(pare_bench_entry *entry, json_t *report);
void pare_bench_entry_free(pare_bench_entry *entry);

/* run: what all configurations of one call have in common, "" for a single configuration. */
pare_status pare_bench_make_result(const pare_bench_entry *entry, const pare_bench_options *options,
                                   const pare_hw *hw, const char *run, pare_bench_result *result);

#endif
