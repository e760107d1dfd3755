/* What the measuring process notes beside the times: energy, processor time, counters, clocks,
 * temperatures, the GPU. */
#ifndef PARE_BENCH_SENSORS_H
#define PARE_BENCH_SENSORS_H

#include "base/json.h"
#include "bench/message.h"

#include <pare/hw.h>

/* Starts as {0}. */
typedef struct pare_bench_sensors {
    pare_energy *energy;
    pare_counters *counters;
    pare_gpus *gpus;
    int gpu; /* which one runs the model */
    bool on_gpu;
    char energy_reason[400], counters_reason[400], temperature_reason[400], gpu_reason[400];
    double idle_watts;

    /* Of all kept repetitions. */
    pare_bench_series prefill_joules, decode_joules; /* of each repetition, idle power included */
    double seconds, cpu_seconds;
    pare_counts decode_counts; /* sums */
    double celsius;            /* the highest */
    pare_bench_series clock_hz;
    pare_gpu_reading gpu_sums, gpu_most;
    int gpu_readings;
} pare_bench_sensors;

/* One moment; differences of two are what a phase took. */
typedef struct pare_bench_moment {
    double seconds, cpu_seconds, joules; /* joules: NaN without counters */
    pare_counts counts;
} pare_bench_moment;

/* Before the session is created: its threads are to be counted. device as in
 * pare_session_options. */
void pare_bench_sensors_open(pare_bench_sensors *sensors, const char *device);
void pare_bench_sensors_close(pare_bench_sensors *sensors);
/* One second without work, for the idle power; nothing where no energy is told. */
void pare_bench_sensors_idle(pare_bench_sensors *sensors);
pare_bench_moment pare_bench_sensors_now(const pare_bench_sensors *sensors);
/* Keeps a repetition: its start, the end of its prefill and its end. The phases that it did not
 * have are left out. Reads clock, temperature and GPU, which still are those of the work. */
pare_status pare_bench_sensors_keep(pare_bench_sensors *sensors, const pare_bench_moment at[3],
                                    bool prefill, bool decode);
/* Adds what was noted to the process' report. */
void pare_bench_sensors_report(const pare_bench_sensors *sensors, json_t *message);

#endif
