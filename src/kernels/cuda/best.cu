/* The most probable tokens of rows of logits; of equal ones the first. */
#include "kernels/cuda/common.cuh"

enum { BEST_THREADS = 128 };

__device__ inline gpu_best best_of(gpu_best a, gpu_best b)
{
    return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a;
}

/* For every lane. */
__device__ inline gpu_best best_of_warp(gpu_best mine)
{
    for (int i = 16; i; i >>= 1)
        mine = best_of(
            mine, {__shfl_xor_sync(GPU_ALL, mine.value, i), __shfl_xor_sync(GPU_ALL, mine.id, i)});
    return mine;
}

/* grid.x: a part of the vocabulary; grid.y: a row. */
__global__ void best_part_kernel(const float *logits, int64_t stride, int vocab, gpu_best *parts)
{
    __shared__ gpu_best warps[BEST_THREADS / GPU_WARP];
    const float *row = logits + blockIdx.y * stride;
    int each = (vocab + GPU_BEST_PARTS - 1) / GPU_BEST_PARTS;
    int begin = (int)blockIdx.x * each, end = min(begin + each, vocab);
    gpu_best mine = {-INFINITY, INT32_MAX};
    gpu_release_next();
    gpu_depend();
#pragma unroll 8
    for (int i = begin + (int)threadIdx.x; i < end; i += BEST_THREADS)
        mine = best_of(mine, {row[i], i});
    mine = best_of_warp(mine);
    if (threadIdx.x % GPU_WARP == 0)
        warps[threadIdx.x / GPU_WARP] = mine;
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int w = 1; w < BEST_THREADS / GPU_WARP; w++)
        mine = best_of(mine, warps[w]);
    parts[blockIdx.y * GPU_BEST_PARTS + blockIdx.x] = mine;
}

/* A warp a row. */
__global__ void best_row_kernel(const gpu_best *parts, int32_t *ids)
{
    gpu_release_next();
    gpu_depend();
    gpu_best mine = best_of_warp(parts[blockIdx.x * GPU_BEST_PARTS + threadIdx.x]);
    if (threadIdx.x == 0)
        ids[blockIdx.x] = mine.id == INT32_MAX ? 0 : mine.id;
}

extern "C" pare_status gpu_best_rows(gpu_context *context, const float *logits, int64_t stride,
                                     int64_t rows, int64_t vocab, gpu_best *parts, int32_t *ids)
{
    static_assert((int)GPU_BEST_PARTS == (int)GPU_WARP, "a lane a part");
    pare_status status = gpu_launch(context, "choosing tokens", true, best_part_kernel,
                                    dim3(GPU_BEST_PARTS, (unsigned)rows), dim3(BEST_THREADS), 0,
                                    logits, stride, (int)vocab, parts);
    if (status != PARE_OK)
        return status;
    return gpu_launch(context, "choosing tokens", true, best_row_kernel, dim3((unsigned)rows),
                      dim3(GPU_WARP), 0, (const gpu_best *)parts, ids);
}
