/* Rounds that were measured, kept in files, so that a bench that was killed goes on after them. */
#ifndef PARE_BENCH_JOURNAL_H
#define PARE_BENCH_JOURNAL_H

#include "bench/message.h"

#include <jansson.h>

/* What the process said, and the bandwidth measured beside it from number `first` on. A file that
 * cannot be written is no failure: it costs a repetition at most. */
void pare_bench_journal_save(const char *folder, const char *key, int round, const json_t *report,
                             const pare_bench_series *bandwidth, size_t first);
/* NULL where that round is not kept; otherwise the caller's, and the bandwidth is added. */
json_t *pare_bench_journal_load(const char *folder, const char *key, int round,
                                pare_bench_series *bandwidth);
void pare_bench_journal_remove(const char *folder, const char *key, int rounds);

#endif
