/* The inputs of gpu_few: rows, normalized where asked for, in the order in which it reads them. */
#include "kernels/cuda/few.cuh"

enum { FEW_PACK_THREADS = 256 };

struct few_pack_args {
    gpu_few_pack_args p;
    int tiles;
};

/* A block a token. */
__global__ void few_pack_kernel(const few_pack_args a)
{
    __shared__ float scratch[GPU_WARP];
    const gpu_few_pack_args &p = a.p;
    const float *x = p.x + blockIdx.x * p.stride;
    int columns = (int)p.columns;
    float mean = 0, factor = 1, sum = 0, squares = 0;
    gpu_release_next();
    gpu_depend();
    if (p.norm == GPU_NORM_LAYER) {
        for (int i = threadIdx.x; i < columns; i += FEW_PACK_THREADS)
            sum += x[i];
        mean = gpu_block_sum(sum, scratch) / (float)columns;
    }
    if (p.norm != GPU_NORM_NONE) {
        for (int i = threadIdx.x; i < columns; i += FEW_PACK_THREADS)
            squares += (x[i] - mean) * (x[i] - mean);
        squares = gpu_block_sum(squares, scratch) / (float)columns;
        factor = 1 / sqrtf(squares + p.epsilon);
    }
    int padded = (columns + GPU_FEW_STEP - 1) / GPU_FEW_STEP * GPU_FEW_STEP;
    for (int i = 4 * threadIdx.x; i < padded; i += 4 * FEW_PACK_THREADS) {
        float v[4]; /* neighbours in memory on both sides */
        for (int j = 0; j < 4; j++) {
            bool live = i + j < columns;
            v[j] = live ? (x[i + j] - mean) * factor : 0;
            if (live && p.norm_weight)
                v[j] *= p.norm_weight[i + j];
            if (live && p.norm_bias)
                v[j] += p.norm_bias[i + j];
        }
        uint2 q;
        q.x = p.number == GPU_BF16 ? gpu_pair_bf16(v[0], v[1]) : gpu_pair_f16(v[0], v[1]);
        q.y = p.number == GPU_BF16 ? gpu_pair_bf16(v[2], v[3]) : gpu_pair_f16(v[2], v[3]);
        *(uint2 *)((uint16_t *)p.packed + gpu_few_index(a.tiles, i, (int)blockIdx.x)) = q;
    }
}

extern "C" pare_status gpu_few_pack(gpu_context *context, const gpu_few_pack_args *args)
{
    few_pack_args a = {*args, gpu_few_tiles(args->tokens)};
    return gpu_launch(context, "laying out inputs", true, few_pack_kernel,
                      dim3((unsigned)args->tokens), dim3(FEW_PACK_THREADS), 0, a);
}

extern "C" size_t gpu_few_bytes(int64_t columns, int64_t tokens)
{
    return (size_t)((columns + GPU_FEW_STEP - 1) / GPU_FEW_STEP) * GPU_FEW_STEP * 8 *
           (size_t)gpu_few_tiles(tokens) * sizeof(uint16_t);
}
