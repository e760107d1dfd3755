/* The most probable tokens of rows of logits, and the next token of one sequence. */
#include "kernels/cuda/best.cuh"

enum { BEST_THREADS = 128, CHOOSE_THREADS = 1024 };

/* grid.x: a part of the vocabulary; grid.y: a row. */
__global__ void best_part_kernel(const float *logits, int64_t stride, int vocab, gpu_best *parts)
{
    __shared__ gpu_best warps[BEST_THREADS / GPU_WARP];
    const float *row = logits + blockIdx.y * stride;
    int each = (vocab + GPU_BEST_PARTS - 1) / GPU_BEST_PARTS;
    int begin = (int)blockIdx.x * each, end = min(begin + each, vocab);
    gpu_best mine = best_none();
    gpu_release_next();
    gpu_depend();
#pragma unroll 8
    for (int i = begin + (int)threadIdx.x; i < end; i += BEST_THREADS)
        mine = best_of(mine, {row[i], i});
    mine = best_of_block(mine, warps);
    if (threadIdx.x == 0)
        parts[blockIdx.y * GPU_BEST_PARTS + blockIdx.x] = mine;
}

/* A warp a row. */
__global__ void best_row_kernel(const gpu_best *parts, int32_t *ids)
{
    gpu_release_next();
    gpu_depend();
    gpu_best mine = best_of_warp(parts[blockIdx.x * GPU_BEST_PARTS + threadIdx.x]);
    if (threadIdx.x == 0)
        ids[blockIdx.x] = best_token(mine);
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

/* The next token, from the largest of each block of the head's product. */
__global__ void choose_kernel(const gpu_best *best, int count, gpu_control *control, int32_t *ids)
{
    __shared__ gpu_best warps[CHOOSE_THREADS / GPU_WARP];
    gpu_release_next();
    gpu_depend();
    gpu_best mine = best_none();
    for (int i = threadIdx.x; i < count; i += CHOOSE_THREADS)
        mine = best_of(mine, best[i]);
    mine = best_of_block(mine, warps);
    if (threadIdx.x == 0) {
        int32_t id = best_token(mine);
        ids[control->position] = id;
        control->token = id;
        control->position++;
    }
}

extern "C" pare_status gpu_choose(gpu_context *context, const gpu_best *best, int count,
                                  gpu_control *control, int32_t *ids)
{
    return gpu_launch(context, "choosing a token", true, choose_kernel, dim3(1),
                      dim3(CHOOSE_THREADS), 0, best, count, control, ids);
}
