/* The device that kernels are tested on, and memory on it. Behind cmocka.h. */
#ifndef PARE_TESTS_GPU_DEVICE_MEMORY_H
#define PARE_TESTS_GPU_DEVICE_MEMORY_H

#include "kernels/cuda/gpu.h"

static gpu_context gpu;

static inline void ok(pare_status status)
{
    if (status != PARE_OK)
        fail_msg("%s", pare_error_message());
}

/* from NULL: zeros. */
static inline void *upload(const void *from, size_t bytes)
{
    void *to;
    ok(gpu_allocate(&gpu, bytes, "a test", &to));
    if (from)
        ok(gpu_upload(&gpu, to, from, bytes));
    ok(gpu_wait(&gpu));
    return to;
}

static inline void fetch(void *to, const void *from, size_t bytes)
{
    ok(gpu_wait(&gpu));
    ok(gpu_check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copy"));
}

/* NaN as floats. */
static inline void *poisoned(size_t bytes)
{
    void *to = upload(NULL, bytes);
    ok(gpu_check(cudaMemset(to, 0xff, bytes), "poison"));
    return to;
}

#endif
