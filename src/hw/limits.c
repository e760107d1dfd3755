/* Measuring what the machine can do: docs/protocol.md, "Limits". */
#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/pool.h"
#include "hw/facts.h"
#include "hw/peaks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 11 };
#define PEAK_SECONDS                                                                               \
    0.02 /* of one sample: a few scheduler ticks, so that starting the threads does not count */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static pare_hw_limit summarize(const char *name, const char *isa, int threads, double *values,
                               int n)
{
    pare_hw_limit limit = {.threads = threads, .count = n};
    snprintf(limit.name, sizeof limit.name, "%s", name);
    snprintf(limit.isa, sizeof limit.isa, "%s", isa);
    qsort(values, (size_t)n, sizeof *values, compare);
    limit.low = values[0];
    limit.high = values[n - 1];
    limit.median = n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
    return limit;
}

static void keep(pare_hw_limits *limits, pare_hw_limit limit)
{
    if (limits->count < PARE_HW_MAX_LIMITS)
        limits->items[limits->count++] = limit;
}

/* ---- reading memory ---- */

struct pare_hw_bandwidth {
    pare_pool *pool;
    char *data;
    size_t bytes;
    const pare_peaks *peaks; /* with the widest loads */
    uint64_t *sums;          /* by thread; written, so that no load can be left out */
};

/* Much larger than all last-level caches (their lines would count as memory), at most a quarter of
 * what is free. */
static size_t buffer_bytes(void)
{
    size_t bytes = (size_t)512 << 20;
    pare_hw hw = {0};
    pare_hw_add_topology(&hw);
    const pare_hw_fact *size = pare_hw_find(&hw, "l3_bytes"),
                       *count = pare_hw_find(&hw, "l3_count"),
                       *free_memory = pare_hw_find(&hw, "memory_available_bytes");
    if (size && count && size->is_number && 8 * size->number * count->number > (double)bytes)
        bytes = (size_t)(8 * size->number * count->number);
    if (free_memory && free_memory->is_number && free_memory->number / 4 < (double)bytes)
        bytes = (size_t)(free_memory->number / 4);
    pare_arena_free(&hw.text);
    free(hw.facts);
    return bytes / (2 << 20) * (2 << 20);
}

/* Every thread touches what it will read: the pages then lie on its own NUMA node. */
static void fill(void *argument, int index, int count)
{
    pare_hw_bandwidth *probe = argument;
    pare_range share = pare_share((int64_t)probe->bytes, 2 << 20, index, count);
    memset(probe->data + share.first, 1 + index, (size_t)(share.last - share.first));
}

static void read_share(void *argument, int index, int count)
{
    pare_hw_bandwidth *probe = argument;
    pare_range share = pare_share((int64_t)probe->bytes, 2 << 20, index, count);
    probe->sums[8 * index] =
        probe->peaks->read(probe->data + share.first, (size_t)(share.last - share.first));
}

pare_status pare_hw_bandwidth_create(int threads, pare_hw_bandwidth **out)
{
    pare_hw_bandwidth *probe;
    const pare_peaks *available[PARE_MAX_PEAKS];
    *out = NULL;
    pare_status status = pare_allocate(1, sizeof *probe, "a bandwidth measurement", &probe);
    if (status != PARE_OK)
        return status;
    int tiers = pare_peaks_available(available);
    for (int i = 0; i < tiers; i++)
        if (available[i]->read)
            probe->peaks = available[i];
    PARE_TRY(pare_pool_create(threads, &probe->pool));
    PARE_TRY(pare_allocate(8 * (size_t)pare_pool_threads(probe->pool), sizeof *probe->sums, "sums",
                           &probe->sums));
    probe->bytes = buffer_bytes();
    if (!probe->bytes) {
        status = pare_fail(PARE_OUT_OF_MEMORY,
                           "less than 8 MiB are free: the bandwidth cannot be measured");
        goto fail;
    }
    PARE_TRY(
        pare_pages_allocate(probe->bytes, "a buffer to measure the bandwidth with", &probe->data));
    pare_pool_run(probe->pool, fill, probe);
    pare_pool_run(probe->pool, read_share, probe);
    *out = probe;
    return PARE_OK;
fail:
    pare_hw_bandwidth_free(probe);
    return status;
}

void pare_hw_bandwidth_free(pare_hw_bandwidth *probe)
{
    if (!probe)
        return;
    pare_pages_free(probe->data, probe->bytes);
    pare_pool_free(probe->pool);
    free(probe->sums);
    free(probe);
}

pare_status pare_hw_bandwidth_measure(pare_hw_bandwidth *probe, int samples, pare_hw_limit *limit)
{
    double values[64];
    if (samples < 1 || samples > 64)
        return pare_fail(PARE_INVALID_ARGUMENT, "%d samples of the bandwidth: use 1 to 64",
                         samples);
    for (int i = 0; i < samples; i++) {
        double start = pare_seconds();
        pare_pool_run(probe->pool, read_share, probe);
        values[i] = (double)probe->bytes / (pare_seconds() - start);
    }
    *limit = summarize("read_bandwidth_bytes_per_s", probe->peaks->isa,
                       pare_pool_threads(probe->pool), values, samples);
    return PARE_OK;
}

/* ---- arithmetic ---- */

typedef struct peak_run {
    pare_peak_loop loop;
    int64_t rounds;
    double *operations; /* by thread */
} peak_run;

static void run_peak(void *argument, int index, int count)
{
    peak_run *run = argument;
    run->operations[8 * index] = run->loop(run->rounds);
}

static double time_peak(pare_pool *pool, peak_run *run, double *operations)
{
    double start = pare_seconds();
    pare_pool_run(pool, run_peak, run);
    double seconds = pare_seconds() - start;
    *operations = 0;
    for (int i = 0; i < pare_pool_threads(pool); i++)
        *operations += run->operations[8 * i];
    return seconds;
}

static pare_status measure_peak(pare_pool *pool, const char *name, const char *isa,
                                pare_peak_loop loop, pare_hw_limits *limits)
{
    double values[SAMPLES], operations, seconds = 0;
    peak_run run = {.loop = loop, .rounds = 1 << 14};
    if (!loop)
        return PARE_OK;
    pare_status status = pare_allocate(8 * (size_t)pare_pool_threads(pool), sizeof(double),
                                       "counts", &run.operations);
    if (status != PARE_OK)
        return status;
    for (; run.rounds < (int64_t)1 << 40; run.rounds *= 2) { /* also wakes the clock up */
        seconds = time_peak(pool, &run, &operations);
        if (seconds >= PEAK_SECONDS / 2)
            break;
    }
    run.rounds = (int64_t)ceil((double)run.rounds * PEAK_SECONDS / seconds);
    for (int i = 0; i < SAMPLES; i++) {
        seconds = time_peak(pool, &run, &operations);
        values[i] = operations / seconds;
    }
    keep(limits, summarize(name, isa, pare_pool_threads(pool), values, SAMPLES));
    free(run.operations);
    return PARE_OK;
}

/* Cycles by a chain of dependent multiplications: imul has had a latency of 3 cycles on every x86
 * core since 2008, and no core shortens the chain. */
double pare_multiply_chain(int64_t rounds)
{
#if defined(__x86_64__)
    uint64_t x = 3;
    for (int64_t i = 0; i < rounds; i++)
        __asm__ volatile("imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0" : "+r"(x));
    return (double)rounds * 4 * 3;
#else
    return 0;
#endif
}

static bool tell(const pare_progress *progress, double done, const char *what)
{
    return !progress || !progress->update || progress->update(progress->user, done, 1, what);
}

static pare_status measure_bandwidths(int threads, pare_hw_limits *limits)
{
    for (int n = 1; n <= threads; n = n == threads ? n + 1 : 2 * n > threads ? threads : 2 * n) {
        pare_hw_bandwidth *probe;
        pare_hw_limit limit;
        pare_status status = pare_hw_bandwidth_create(n, &probe);
        if (status == PARE_OK)
            status = pare_hw_bandwidth_measure(probe, SAMPLES, &limit);
        pare_hw_bandwidth_free(probe);
        if (status != PARE_OK)
            return status;
        keep(limits, limit);
    }
    return PARE_OK;
}

pare_status pare_hw_measure(int threads, const pare_progress *progress, pare_hw_limits *limits)
{
    const pare_peaks *available[PARE_MAX_PEAKS];
    pare_pool *pool = NULL, *one = NULL;
    pare_status status;
    *limits = (pare_hw_limits){0};
    PARE_TRY(pare_pool_create(threads, &pool));
    PARE_TRY(pare_pool_create(1, &one));
    int tiers = pare_peaks_available(available);
    for (int i = 0; i < tiers; i++) {
        if (!tell(progress, 0.6 * i / tiers, "peak rates")) {
            status = pare_fail(PARE_CANCELLED, "measuring the machine was stopped");
            goto fail;
        }
        PARE_TRY(
            measure_peak(pool, "fp32_flops_per_s", available[i]->isa, available[i]->fp32, limits));
        PARE_TRY(
            measure_peak(pool, "bf16_flops_per_s", available[i]->isa, available[i]->bf16, limits));
        PARE_TRY(
            measure_peak(pool, "int8_ops_per_s", available[i]->isa, available[i]->int8, limits));
    }
#if defined(__x86_64__)
    PARE_TRY(measure_peak(one, "clock_hz", "ref", pare_multiply_chain, limits));
#endif
    if (!tell(progress, 0.6, "read bandwidth")) {
        status = pare_fail(PARE_CANCELLED, "measuring the machine was stopped");
        goto fail;
    }
    PARE_TRY(measure_bandwidths(pare_pool_threads(pool), limits));
    tell(progress, 1, "done");
fail:
    pare_pool_free(pool);
    pare_pool_free(one);
    return status;
}

/* ---- looking up ---- */

static int tier_rank(const char *isa)
{
    static const char *const order[] = {"ref", "avx2", "avxvnni", "avx512", "avx512vnni"};
    for (int i = 0; i < (int)(sizeof order / sizeof *order); i++)
        if (strcmp(order[i], isa) == 0)
            return i;
    return -1;
}

const pare_hw_limit *pare_hw_limit_find(const pare_hw_limits *limits, const char *name,
                                        const char *isa, int threads)
{
    const pare_hw_limit *best = NULL;
    for (int i = 0; i < limits->count; i++) {
        const pare_hw_limit *limit = &limits->items[i];
        if (strcmp(limit->name, name) != 0 || (threads && limit->threads != threads))
            continue;
        if (isa && tier_rank(limit->isa) > tier_rank(isa))
            continue;
        bool more_threads = best && !threads && limit->threads != best->threads;
        if (!best || (more_threads ? limit->threads > best->threads
                      : isa        ? tier_rank(limit->isa) > tier_rank(best->isa)
                                   : limit->median > best->median))
            best = limit;
    }
    return best;
}
