/* This machine: what it is (read from the system) and what it can do (measured). */
#ifndef PARE_HW_H
#define PARE_HW_H

#include <pare/error.h>
#include <pare/progress.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Pare's own version, and the commit it was built from ("unknown" outside a repository; "-dirty"
 * with local changes). */
const char *pare_version(void);
const char *pare_commit(void);

/* ---- what it is ---- */

/* One fact. Exactly one of `text` and `absent` is set: a thing that is not there, or cannot be
 * read, says why. */
typedef struct pare_hw_fact {
    const char *key;    /* "l3_bytes": the JSON key, with the unit last */
    const char *label;  /* "L3 cache": for people */
    const char *text;   /* the value: "33554432" for numbers; NULL where absent */
    const char *shown;  /* the value for people: "32 MiB"; NULL where absent */
    const char *absent; /* the reason */
    bool is_number;
    double number;
} pare_hw_fact;

typedef struct pare_hw pare_hw;

/* Reads everything (about 20 ms). Only memory shortage fails: whatever cannot be read is absent. */
pare_status pare_hw_probe(pare_hw **out);
void pare_hw_free(pare_hw *hw); /* accepts NULL */

/* Facts in a fixed order; pointers are valid as long as hw. */
size_t pare_hw_count(const pare_hw *hw);
const pare_hw_fact *pare_hw_get(const pare_hw *hw, size_t i);
const pare_hw_fact *pare_hw_find(const pare_hw *hw, const char *key); /* NULL: no such key */

/* 16 hex digits over what does not change while the machine stays the same (CPU, topology, caches,
 * memory, hypervisor). */
const char *pare_hw_fingerprint(const pare_hw *hw);

/* All facts as one JSON object, absent ones null and their reasons in "absent"; malloc'ed, NULL
 * when out of memory. */
char *pare_hw_to_json(const pare_hw *hw);

/* ---- what it can do ---- */

/* One measured limit. The median of `count` samples, their lowest and highest. */
typedef struct pare_hw_limit {
    char name[40]; /* read_bandwidth_bytes_per_s, int8_ops_per_s, bf16_flops_per_s,
                      fp32_flops_per_s, clock_hz */
    char isa[16];  /* the tier whose instructions were used: "avx512vnni" (names of --isa; "ref" is
                      the baseline) */
    int threads;
    double median, low, high;
    int count;
} pare_hw_limit;

enum { PARE_HW_MAX_LIMITS = 64 };

typedef struct pare_hw_limits {
    pare_hw_limit items[PARE_HW_MAX_LIMITS];
    int count;
} pare_hw_limits;

/* Measures every limit with `threads` threads (0: all), the read bandwidth also for 1, 2, 4, ... of
 * them and the clock with one; about 3 s. Rates count a multiply-add as two operations. progress
 * may be NULL. */
pare_status pare_hw_measure(int threads, const pare_progress *progress, pare_hw_limits *limits);

/* Read bandwidth alone, by `samples` passes (about 25 ms each), with the widest loads of this
 * machine: for measuring beside a run. The buffer is kept between calls by the caller: *probe
 * starts as NULL. */
typedef struct pare_hw_bandwidth pare_hw_bandwidth;
pare_status pare_hw_bandwidth_create(int threads, pare_hw_bandwidth **out);
void pare_hw_bandwidth_free(pare_hw_bandwidth *probe); /* accepts NULL */
pare_status pare_hw_bandwidth_measure(pare_hw_bandwidth *probe, int samples, pare_hw_limit *limit);

/* The limit of that name: of tier `isa` where given (or the highest lower tier that has one),
 * otherwise the fastest of any tier; with that many threads, 0: the most. NULL where there is none.
 */
const pare_hw_limit *pare_hw_limit_find(const pare_hw_limits *limits, const char *name,
                                        const char *isa, int threads);

/* ---- energy ---- */

/* Energy counters of the CPU packages (RAPL through /sys/class/powercap). Opening fails with
 * PARE_NOT_FOUND or PARE_IO where the machine has none or they may not be read; the message is the
 * reason to store. */
typedef struct pare_energy pare_energy;
pare_status pare_energy_open(pare_energy **out);
void pare_energy_close(pare_energy *energy); /* accepts NULL */
/* Joules since open, over all packages; wrap-around is handled as long as it is called once a
 * minute. */
pare_status pare_energy_read(pare_energy *energy, double *joules);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
