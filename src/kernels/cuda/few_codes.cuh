/* Inputs of up to 64 tokens as bytes: codes, and for each group of 32 columns a scale and the sum
 * of the codes. [group][tile of 8 tokens]: a few_record, whose codes are what a lane of a matrix
 * instruction reads at once: columns 8 (lane % 4) .. + 7 of token lane / 4. */
#ifndef PARE_KERNELS_CUDA_FEW_CODES_CUH
#define PARE_KERNELS_CUDA_FEW_CODES_CUH

#include "kernels/cuda/few.cuh"
#include "kernels/cuda/matvec_input.cuh"

struct few_token {
    float scale;
    int sum;
};

struct few_record {
    int8_t codes[8][GPU_GROUP];
    few_token tokens[8];
};

/* A group of one token by a whole warp: lane i has column i. */
__device__ inline void few_put_codes(void *packed, int tiles, int64_t group, int token, float v)
{
    int lane = threadIdx.x % GPU_WARP;
    few_record *to = (few_record *)packed + group * tiles + token / 8;
    float most = fabsf(v);
#pragma unroll
    for (int i = 16; i; i >>= 1)
        most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, i));
    int code = __float2int_rn(__fmul_rn(v, matvec_code_inverse(most))), sum = code;
#pragma unroll
    for (int i = 16; i; i >>= 1)
        sum += __shfl_xor_sync(GPU_ALL, sum, i);
    to->codes[token % 8][lane] = (int8_t)code;
    if (lane == 0)
        to->tokens[token % 8] = {matvec_code_scale(most), sum};
}

/* Four columns of a token in each of the 8 lanes that have a group, of whole warps; factor: of the
 * scale. */
__device__ inline void few_put_four(void *packed, int tiles, int64_t group, int token,
                                    const float v[4], float factor, bool live)
{
    int lane = threadIdx.x % 8, c[4], sum = 0;
    few_record *to = (few_record *)packed + group * tiles + token / 8;
    float most = fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3])));
#pragma unroll
    for (int i = 4; i; i >>= 1)
        most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, i));
    float inverse = matvec_code_inverse(most);
#pragma unroll
    for (int i = 0; i < 4; i++)
        sum += c[i] = __float2int_rn(__fmul_rn(v[i], inverse));
#pragma unroll
    for (int i = 4; i; i >>= 1)
        sum += __shfl_xor_sync(GPU_ALL, sum, i);
    if (!live)
        return;
    *(uint32_t *)&to->codes[token % 8][4 * lane] = matvec_bytes(c[0], c[1], c[2], c[3]);
    if (lane == 0)
        to->tokens[token % 8] = {matvec_code_scale(most) * factor, sum};
}

/* Is there a kernel for these weights and such inputs? */
bool few_codes_take(pare_type type);
pare_status few_codes_run(gpu_context *context, const gpu_few_args *args);

#endif
