/* The most probable token: of equal ones the first, and never one whose logit is NaN. */
#ifndef PARE_KERNELS_CUDA_BEST_CUH
#define PARE_KERNELS_CUDA_BEST_CUH

#include "kernels/cuda/common.cuh"

/* Less than any: nothing seen yet. */
__device__ inline gpu_best best_none()
{
    return {-INFINITY, INT32_MAX};
}

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

/* For every thread. scratch: shared, one for each warp. */
__device__ inline gpu_best best_of_block(gpu_best mine, gpu_best *scratch)
{
    int lane = threadIdx.x % GPU_WARP, warps = (int)blockDim.x / GPU_WARP;
    mine = best_of_warp(mine);
    if (lane == 0)
        scratch[threadIdx.x / GPU_WARP] = mine;
    __syncthreads();
    return best_of_warp(lane < warps ? scratch[lane] : best_none());
}

/* Where there is nothing but NaN: still a token. */
__device__ inline int32_t best_token(gpu_best best)
{
    return best.id == INT32_MAX ? 0 : best.id;
}

#endif
