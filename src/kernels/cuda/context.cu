/* The device: opening, memory, errors. */
#include "kernels/cuda/gpu.h"

extern "C" {
#include "base/fail.h"
}

#include <cstdio>
#include <cstring>

pare_status gpu_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return PARE_OK;
    return pare_fail(error == cudaErrorMemoryAllocation ? PARE_OUT_OF_MEMORY : PARE_UNSUPPORTED,
                     "GPU: %s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

static pare_status find_device(int device)
{
    int count = 0, driver = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorInsufficientDriver) {
        cudaDriverGetVersion(&driver);
        if (driver == 0)
            return pare_fail(PARE_NOT_FOUND, "no NVIDIA driver is installed (libcuda.so.1)");
        return pare_fail(
            PARE_UNSUPPORTED, "the NVIDIA driver is too old: it knows CUDA %d.%d, %d.%d is needed",
            driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    }
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
        return pare_fail(PARE_NOT_FOUND, "there is no NVIDIA GPU");
    if (error != cudaSuccess)
        return gpu_check(error, "looking for devices");
    if (device < 0 || device >= count)
        return pare_fail(PARE_NOT_FOUND, "there is no device cuda:%d: this machine has %d", device,
                         count);
    return PARE_OK;
}

extern "C" pare_status gpu_open(gpu_context *context, int device)
{
    cudaDeviceProp properties;
    pare_status status;
    memset(context, 0, sizeof *context);
    PARE_TRY(find_device(device));
    PARE_TRY(gpu_check(cudaSetDevice(device), "choosing the device"));
    PARE_TRY(gpu_check(cudaGetDeviceProperties(&properties, device), "asking the device"));
    context->device = device;
    context->multiprocessors = properties.multiProcessorCount;
    context->major = properties.major;
    context->minor = properties.minor;
    context->shared_most = properties.sharedMemPerBlockOptin;
    context->shared_all = properties.sharedMemPerMultiprocessor;
    context->chained = properties.major >= 9;
    snprintf(context->name, sizeof context->name, "%s", properties.name);
    if (10 * properties.major + properties.minor < 75) {
        status = pare_fail(PARE_UNSUPPORTED, "%s has compute capability %d.%d, 7.5 is needed",
                           properties.name, properties.major, properties.minor);
        goto fail;
    }
    PARE_TRY(
        gpu_check(cudaStreamCreateWithFlags(&context->stream, cudaStreamNonBlocking), "a stream"));
fail:
    return status;
}

extern "C" void gpu_close(gpu_context *context)
{
    if (context->stream)
        cudaStreamDestroy(context->stream);
    memset(context, 0, sizeof *context);
}

extern "C" pare_status gpu_allocate(gpu_context *context, size_t bytes, const char *what, void *out)
{
    void *memory = NULL;
    size_t free = 0, total = 0;
    *(void **)out = NULL;
    bytes = bytes ? bytes : 16;
    cudaError_t error = cudaMalloc(&memory, bytes);
    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        cudaMemGetInfo(&free, &total);
        return pare_fail(
            PARE_OUT_OF_MEMORY,
            "GPU: out of memory: %.2f GB for %s, %.2f of %.2f GB are free (%.2f GB are "
            "held by this session): use fewer bits or a shorter --context",
            (double)bytes / 1e9, what, (double)free / 1e9, (double)total / 1e9,
            (double)context->allocated / 1e9);
    }
    pare_status status = gpu_check(error, what);
    if (status == PARE_OK)
        status = gpu_check(cudaMemsetAsync(memory, 0, bytes, context->stream), what);
    if (status != PARE_OK) {
        cudaFree(memory);
        return status;
    }
    context->allocated += bytes;
    *(void **)out = memory;
    return PARE_OK;
}

extern "C" void gpu_release(gpu_context *context, void *memory, size_t bytes)
{
    if (!memory)
        return;
    cudaFree(memory);
    context->allocated -= bytes ? bytes : 16;
}

/* On the stream: cudaMemcpy returns while pageable memory is still on its way, and the stream does
 * not wait for it. */
extern "C" pare_status gpu_upload(gpu_context *context, void *to, const void *from, size_t bytes)
{
    return gpu_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, context->stream),
                     "copying to the device");
}

extern "C" pare_status gpu_wait(gpu_context *context)
{
    return gpu_check(cudaStreamSynchronize(context->stream), "waiting for the kernels");
}
