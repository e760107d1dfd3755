/* How the inputs of gpu_few lie: [step of 128 columns][pair of instructions][tile of 8 tokens]
 * [lane][8 numbers], what a lane of few_kernel reads at once. */
#ifndef PARE_KERNELS_CUDA_FEW_CUH
#define PARE_KERNELS_CUDA_FEW_CUH

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/numbers.cuh"

/* Tiles that kernels are made for: 1, 2, 4, 8. */
__host__ __device__ inline int gpu_few_tiles(int64_t tokens)
{
    return tokens <= 8 ? 1 : tokens <= 16 ? 2 : tokens <= 32 ? 4 : 8;
}

/* Where column `column` of a token is, in numbers: column = 128 step + 32 lane%4 + 4 i + e goes
 * into instruction i. */
__device__ inline size_t gpu_few_index(int tiles, int64_t column, int token)
{
    int64_t step = column / GPU_FEW_STEP;
    int in = (int)(column % GPU_FEW_STEP), lane = token % 8 * 4 + in / 32, i = in % 32 / 4;
    return ((((size_t)step * 4 + i / 2) * tiles + token / 8) * GPU_WARP + lane) * 8 + i % 2 * 4 +
           in % 4;
}

__device__ inline void gpu_few_put(void *packed, gpu_number number, int tiles, int64_t column,
                                   int token, float v)
{
    uint32_t pair = number == GPU_BF16 ? gpu_pair_bf16(v, 0) : gpu_pair_f16(v, 0);
    ((uint16_t *)packed)[gpu_few_index(tiles, column, token)] = (uint16_t)pair;
}

#endif
