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

/* ---- GPUs ---- */

/* NVIDIA's, through their management library (libnvidia-ml.so.1, opened at run time). Opening fails
 * with PARE_NOT_FOUND where there is no driver or no GPU; the message is the reason to store. */
typedef struct pare_gpus pare_gpus;

/* What is not told is "", 0, or NaN. */
typedef struct pare_gpu_info {
    char name[96], uuid[96], architecture[24]; /* "Hopper" */
    char driver[80], cuda[16], nvml[80];       /* versions; cuda: the newest that the driver runs */
    int capability_major, capability_minor;
    int multiprocessors, tensor_cores;
    double memory_bytes, memory_bytes_per_s; /* the latter from bus width and highest clock */
    double power_limit_watts;                /* the default limit: the TDP */
    double clock_most_hz;
} pare_gpu_info;

/* NaN where the GPU does not tell. */
typedef struct pare_gpu_reading {
    double utilization;        /* share of the last sampling period (up to 1 s) with a kernel */
    double memory_utilization; /* the same with memory being read or written */
    double memory_used_bytes;  /* by all processes */
    double watts, joules;      /* joules: since the driver was loaded */
    double celsius, clock_hz, memory_clock_hz;
    /* Since the reading before, as shares of 1; Hopper and later. */
    double sm_activity, tensor_activity, dram_activity;
} pare_gpu_reading;

pare_status pare_gpus_open(pare_gpus **out);
void pare_gpus_close(pare_gpus *gpus); /* accepts NULL */
int pare_gpus_count(const pare_gpus *gpus);
const pare_gpu_info *pare_gpus_info(const pare_gpus *gpus, int index);
/* Takes about a millisecond. One thread at a time. */
pare_gpu_reading pare_gpus_read(pare_gpus *gpus, int index);
/* The joules alone, at once; what pare_gpus_read tells of the time since its last call stays. */
double pare_gpus_joules(const pare_gpus *gpus, int index);

/* ---- counters and sensors of the processor ---- */

/* What the processor counted for this process: its own instructions in user mode, over all threads
 * that were started after opening. */
typedef struct pare_counters pare_counters;
typedef struct pare_counts {
    double instructions, cycles, llc_misses; /* since opening; NaN where not counted */
} pare_counts;
/* Fails with PARE_NOT_FOUND or PARE_IO where the kernel gives none (virtual machines, containers);
 * the message is the reason to store. Some may be counted and others not. */
pare_status pare_counters_open(pare_counters **out);
void pare_counters_close(pare_counters *counters); /* accepts NULL */
pare_counts pare_counters_read(const pare_counters *counters);

/* The processor's temperature in degrees Celsius (hwmon, or a thermal zone of the package).
 * PARE_NOT_FOUND with the reason where no sensor is told. */
pare_status pare_temperature_read(double *celsius);

/* The clock that this thread runs at now, by a chain of dependent multiplications of about a
 * millisecond; NaN where it is not known (other than x86). Too low where others use the core. */
double pare_clock_measure(void);

/* ---- energy ---- */

/* Energy counters of the CPU packages (RAPL through /sys/class/powercap); where there are none, of
 * hwmon sensors: energy counters, or power sensors of a board or package, read 50 times a second.
 * Opening fails with PARE_NOT_FOUND or PARE_IO where the machine has none or they may not be read;
 * the message is the reason to store. */
typedef struct pare_energy pare_energy;
pare_status pare_energy_open(pare_energy **out);
void pare_energy_close(pare_energy *energy);               /* accepts NULL */
const char *pare_energy_source(const pare_energy *energy); /* "RAPL packages" */
/* Joules since open, over all packages; wrap-around is handled as long as it is called once a
 * minute. */
pare_status pare_energy_read(pare_energy *energy, double *joules);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
