/* What the card can do, measured: memory read and copied, and the rates of its matrix instructions
 * (the faster of mma.sync and the card's own). */
#include "run/cuda.h"

#include "base/clock.h"
#include "base/fail.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT_SAMPLES = 7, LIMIT_ROUNDS_MOST = 1 << 22 };
#define LIMIT_SECONDS 0.02 /* of a sample: launching it then does not count */

typedef struct limit_bench {
    gpu_context gpu;
    char *data, *to; /* what is read, and copied to */
    void *scratch;
    size_t bytes;
} limit_bench;

/* One of the things that are measured: does it `rounds` times, tells how many operations or bytes
 * that was. */
typedef struct limit_of {
    const char *name;
    pare_status (*run)(limit_bench *bench, int kind, int rounds, double *work);
    int kind;
} limit_of;

static pare_status read_memory(limit_bench *b, int kind, int rounds, double *work)
{
    pare_status status = PARE_OK;
    for (int i = 0; i < rounds; i++)
        PARE_TRY(gpu_read_all(&b->gpu, b->data, b->bytes, b->scratch));
    *work = (double)rounds * (double)b->bytes;
fail:
    return status;
}

/* Read and written bytes count. */
static pare_status copy_memory(limit_bench *b, int kind, int rounds, double *work)
{
    pare_status status = PARE_OK;
    for (int i = 0; i < rounds; i++)
        PARE_TRY(gpu_check(
            cudaMemcpyAsync(b->to, b->data, b->bytes, cudaMemcpyDeviceToDevice, b->gpu.stream),
            "copying memory"));
    *work = 2.0 * (double)rounds * (double)b->bytes;
fail:
    return status;
}

static pare_status multiply_all(limit_bench *b, int kind, int rounds, double *work)
{
    return gpu_matrix_peak(&b->gpu, (gpu_peak)(kind / 2), kind % 2, rounds, b->scratch, work);
}

static const limit_of limits_of[] = {
    {"gpu_read_bandwidth_bytes_per_s", read_memory, 0},
    {"gpu_copy_bandwidth_bytes_per_s", copy_memory, 0},
    {"gpu_f16_flops_per_s", multiply_all, 2 * GPU_PEAK_F16},
    {"gpu_f16_flops_per_s", multiply_all, 2 * GPU_PEAK_F16 + 1},
    {"gpu_bf16_flops_per_s", multiply_all, 2 * GPU_PEAK_BF16},
    {"gpu_bf16_flops_per_s", multiply_all, 2 * GPU_PEAK_BF16 + 1},
    {"gpu_int8_ops_per_s", multiply_all, 2 * GPU_PEAK_INT8},
    {"gpu_int8_ops_per_s", multiply_all, 2 * GPU_PEAK_INT8 + 1},
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static pare_status sample(limit_bench *b, const limit_of *of, int rounds, double *seconds,
                          double *work)
{
    pare_status status;
    PARE_TRY(gpu_wait(&b->gpu));
    double start = pare_seconds();
    PARE_TRY(of->run(b, of->kind, rounds, work));
    PARE_TRY(gpu_wait(&b->gpu));
    *seconds = pare_seconds() - start;
fail:
    return status;
}

/* Left out where the card has no such instruction. */
static pare_status measure_one(limit_bench *b, const limit_of *of, pare_hw_limit *limit)
{
    double rates[LIMIT_SAMPLES], seconds = 0, work = 0;
    int rounds = 1;
    pare_status status = PARE_OK;
    limit->count = 0;
    while (seconds < LIMIT_SECONDS && rounds < LIMIT_ROUNDS_MOST) { /* the first ones warm up */
        rounds *= 2;
        PARE_TRY(sample(b, of, rounds, &seconds, &work));
        if (work == 0)
            return PARE_OK;
    }
    for (int i = 0; i < LIMIT_SAMPLES; i++) {
        PARE_TRY(sample(b, of, rounds, &seconds, &work));
        rates[i] = work / seconds;
    }
    qsort(rates, LIMIT_SAMPLES, sizeof *rates, by_value);
    snprintf(limit->name, sizeof limit->name, "%s", of->name);
    snprintf(limit->isa, sizeof limit->isa, "sm_%d%d", b->gpu.major, b->gpu.minor);
    limit->threads = 1;
    limit->median = rates[LIMIT_SAMPLES / 2];
    limit->low = rates[0];
    limit->high = rates[LIMIT_SAMPLES - 1];
    limit->count = LIMIT_SAMPLES;
fail:
    return status;
}

/* Of two ways to do the same the faster is the limit. */
static void keep(pare_hw_limits *limits, const pare_hw_limit *limit)
{
    pare_hw_limit *last = limits->count ? &limits->items[limits->count - 1] : NULL;
    if (limit->count == 0)
        return;
    if (last && strcmp(last->name, limit->name) == 0) {
        if (limit->median > last->median)
            *last = *limit;
        return;
    }
    if (limits->count < PARE_HW_MAX_LIMITS)
        limits->items[limits->count++] = *limit;
}

/* Much larger than the caches, a small part of what is free. */
static pare_status choose_bytes(limit_bench *b)
{
    size_t free_bytes, total;
    pare_status status = gpu_check(cudaMemGetInfo(&free_bytes, &total), "asking for free memory");
    b->bytes = (size_t)1 << 30;
    if (status == PARE_OK && free_bytes / 64 < b->bytes)
        b->bytes = free_bytes / 64 / 4096 * 4096;
    return status;
}

pare_status cuda_measure(int device, pare_hw_limits *limits)
{
    limit_bench b = {.bytes = 0};
    pare_status status;
    PARE_TRY(gpu_open(&b.gpu, device));
    PARE_TRY(choose_bytes(&b));
    PARE_TRY(gpu_allocate(&b.gpu, b.bytes, "memory to read", &b.data));
    PARE_TRY(gpu_allocate(&b.gpu, b.bytes, "memory to write", &b.to));
    PARE_TRY(gpu_allocate(&b.gpu, gpu_peak_scratch(&b.gpu), "scratch", &b.scratch));
    for (size_t i = 0; i < sizeof limits_of / sizeof *limits_of; i++) {
        pare_hw_limit limit = {.count = 0};
        PARE_TRY(measure_one(&b, &limits_of[i], &limit));
        keep(limits, &limit);
    }
fail:
    gpu_release(&b.gpu, b.data, b.bytes);
    gpu_release(&b.gpu, b.to, b.bytes);
    gpu_release(&b.gpu, b.scratch, 0);
    gpu_close(&b.gpu);
    return status;
}
