/* The inputs of gpu_few: rows, normalized where asked for, in the order in which it reads them. */
#include "kernels/cuda/few_codes.cuh"

enum { FEW_PACK_THREADS = 256, FEW_CODES_THREADS = 512 };

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

__device__ inline void few_four(const float *x, int column, int columns, float v[4])
{
    float4 q = column < columns ? __ldcg((const float4 *)(x + column)) : make_float4(0, 0, 0, 0);
    v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w; /* padding is zero */
}

/* The same as codes. The first four columns of a thread stay in registers; an RMS norm's factor
 * multiplies the scales, so nothing but them waits for it. */
__global__ void __launch_bounds__(FEW_CODES_THREADS) few_codes_pack_kernel(const few_pack_args a)
{
    __shared__ float scratch[GPU_WARP];
    const gpu_few_pack_args &p = a.p;
    const float *x = p.x + blockIdx.x * p.stride;
    int columns = (int)p.columns, padded = (columns + GPU_GROUP - 1) / GPU_GROUP * GPU_GROUP;
    int first = 4 * (int)threadIdx.x;
    float kept[4], v[4], weight[4] = {1, 1, 1, 1}, bias[4] = {}, mean = 0, factor = 1, sum = 0;
    gpu_release_next();
    if (p.norm_weight)
        few_four(p.norm_weight, first, columns, weight);
    if (p.norm_bias)
        few_four(p.norm_bias, first, columns, bias);
    gpu_depend();
    few_four(x, first, columns, kept);
    if (p.norm == GPU_NORM_LAYER) {
#pragma unroll 1
        for (int i = first; i < padded; i += 4 * FEW_CODES_THREADS) {
            few_four(x, i, columns, v);
            sum += (v[0] + v[1]) + (v[2] + v[3]);
        }
        mean = gpu_block_sum(sum, scratch) / (float)columns;
    }
    if (p.norm != GPU_NORM_NONE) {
        sum = 0;
#pragma unroll 1
        for (int i = first; i < padded; i += 4 * FEW_CODES_THREADS) {
            if (i == first)
                for (int j = 0; j < 4; j++)
                    v[j] = kept[j];
            else
                few_four(x, i, columns, v);
            for (int j = 0; j < 4; j++)
                sum += i + j < columns ? (v[j] - mean) * (v[j] - mean) : 0;
        }
        factor = 1 / sqrtf(gpu_block_sum(sum, scratch) / (float)columns + p.epsilon);
    }
    bool scaled = !p.norm_bias; /* the factor may multiply the scale */
#pragma unroll 1
    for (int i = first; (i & ~127) < padded; i += 4 * FEW_CODES_THREADS) {
        if (i != first) {
            few_four(x, i, columns, kept);
            if (p.norm_weight)
                few_four(p.norm_weight, i, columns, weight);
            if (p.norm_bias)
                few_four(p.norm_bias, i, columns, bias);
        }
        for (int j = 0; j < 4; j++) {
            v[j] = (kept[j] - mean) * weight[j];
            v[j] = i + j < columns ? scaled ? v[j] : v[j] * factor + bias[j] : 0;
        }
        few_put_four(p.packed, a.tiles, i / GPU_GROUP, (int)blockIdx.x, v, scaled ? factor : 1,
                     i < padded);
    }
}

extern "C" pare_status gpu_few_pack(gpu_context *context, const gpu_few_pack_args *args)
{
    few_pack_args a = {*args, gpu_few_tiles(args->tokens)};
    if (args->number == GPU_INT8)
        return gpu_launch(context, "rounding inputs", true, few_codes_pack_kernel,
                          dim3((unsigned)args->tokens), dim3(FEW_CODES_THREADS), 0, a);
    return gpu_launch(context, "laying out inputs", true, few_pack_kernel,
                      dim3((unsigned)args->tokens), dim3(FEW_PACK_THREADS), 0, a);
}

extern "C" size_t gpu_few_bytes(int64_t columns, int64_t tokens)
{
    return (size_t)((columns + GPU_FEW_STEP - 1) / GPU_FEW_STEP) * GPU_FEW_STEP * 8 *
           (size_t)gpu_few_tiles(tokens) * sizeof(uint16_t);
}
