/* Inputs rounded as other libraries do it (kernels/int8.h has the rules): rows of FP32 become the
 * values of their codes, in place. */
#include "kernels/cuda/formats.cuh"
#include "kernels/cuda/round.cuh"

enum { ROUND_THREADS = 256 };

struct round_args {
    float *x;
    int64_t stride, tokens;
    int columns;
    gpu_round_rule rule;
    gpu_round_scratch scratch;
    unsigned long long *outliers;
};

/* ---- statistics over all tokens ---- */

/* LLM.int8(), a thread a column. */
__global__ void outliers_kernel(const round_args a)
{
    __shared__ float scratch[GPU_WARP];
    int c = (int)(blockIdx.x * ROUND_THREADS + threadIdx.x);
    bool found = false;
    for (int64_t t = 0; t < a.tokens && c < a.columns; t++) {
        found |= round_apart(a.rule, round_seen(a.rule, a.x[t * a.stride + c]));
    }
    if (c < a.columns)
        a.scratch.outlier[c] = found;
    float sum = gpu_block_sum(found ? 1.0f : 0.0f, scratch); /* exact: at most 256 */
    if (threadIdx.x == 0 && a.outliers && sum > 0)
        atomicAdd(a.outliers, (unsigned long long)sum);
}

/* ONNX Runtime: the range of each token, with zero in it. */
__global__ void range_kernel(const round_args a)
{
    __shared__ float low[ROUND_THREADS / GPU_WARP], high[ROUND_THREADS / GPU_WARP];
    const float *x = a.x + blockIdx.x * a.stride;
    float least = 0, most = 0;
    for (int c = threadIdx.x; c < a.columns; c += ROUND_THREADS) {
        least = fminf(least, x[c]);
        most = fmaxf(most, x[c]);
    }
    for (int i = 16; i; i >>= 1) {
        least = fminf(least, __shfl_xor_sync(GPU_ALL, least, i));
        most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, i));
    }
    if (threadIdx.x % GPU_WARP == 0) {
        low[threadIdx.x / GPU_WARP] = least;
        high[threadIdx.x / GPU_WARP] = most;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < ROUND_THREADS / GPU_WARP; w++) {
            least = fminf(least, low[w]);
            most = fmaxf(most, high[w]);
        }
        a.scratch.ranges[blockIdx.x] = {least, most};
    }
}

/* ---- rounding ---- */

/* One for all tokens. */
__device__ inline round_scale tensor_scale(const round_args &a, float *scratch)
{
    float least = 0, most = 0;
    for (int64_t t = threadIdx.x; t < a.tokens; t += ROUND_THREADS) {
        least = fmaxf(least, -a.scratch.ranges[t].x);
        most = fmaxf(most, a.scratch.ranges[t].y);
    }
    least = -gpu_block_most(least, scratch);
    most = gpu_block_most(most, scratch);
    return round_tensor_scale(least, most);
}

/* The token's own: its largest magnitude below the threshold. */
__device__ inline round_scale token_scale(const round_args &a, const float *x, float *scratch)
{
    float most = 0;
    for (int c = threadIdx.x; c < a.columns; c += ROUND_THREADS) {
        float v = fabsf(round_seen(a.rule, x[c]));
        if (!round_apart(a.rule, v))
            most = fmaxf(most, v);
    }
    most = gpu_block_most(most, scratch);
    return round_token_scale(a.rule, most);
}

/* A block a token. */
__global__ void round_kernel(const round_args a)
{
    __shared__ float scratch[ROUND_THREADS / GPU_WARP];
    float *x = a.x + blockIdx.x * a.stride;
    bool tensor = a.rule.kind == GPU_ROUND_TENSOR, apart = a.rule.kind == GPU_ROUND_OUTLIERS;
    round_scale s = tensor ? tensor_scale(a, scratch) : token_scale(a, x, scratch);
    for (int c = threadIdx.x; c < a.columns; c += ROUND_THREADS) {
        if (apart && a.scratch.outlier[c])
            continue;
        x[c] = round_value(a.rule, s, x[c]);
    }
}

extern "C" pare_status gpu_round_rows(gpu_context *context, float *x, int64_t stride,
                                      int64_t tokens, int64_t columns, const gpu_round_rule *rule,
                                      const gpu_round_scratch *scratch, int64_t *outliers)
{
    round_args a = {
        x, stride, tokens, (int)columns, *rule, *scratch, (unsigned long long *)outliers};
    pare_status status = PARE_OK;
    const char *what = "rounding inputs";
    if (rule->kind == GPU_ROUND_OUTLIERS)
        status = gpu_launch(context, what, false, outliers_kernel,
                            dim3((unsigned)((columns + ROUND_THREADS - 1) / ROUND_THREADS)),
                            dim3(ROUND_THREADS), 0, a);
    else if (rule->kind == GPU_ROUND_TENSOR)
        status = gpu_launch(context, what, false, range_kernel, dim3((unsigned)tokens),
                            dim3(ROUND_THREADS), 0, a);
    if (status != PARE_OK)
        return status;
    return gpu_launch(context, what, false, round_kernel, dim3((unsigned)tokens),
                      dim3(ROUND_THREADS), 0, a);
}

/* ---- codes ---- */

struct codes_args {
    round_args round;
    int8_t *codes;
    int64_t stride;
    float *scales;
};

/* Where column c of a packed row of bytes lies, without the scales between its chunks
 * (formats.cuh): runs of 16 columns stay together. */
__device__ inline int code_place(int c, int columns)
{
    int first = c / GPU_CHUNK * GPU_CHUNK, groups = (columns - first + GPU_GROUP - 1) / GPU_GROUP;
    groups = min(groups, (int)GPU_CHUNK_GROUPS);
    return first + (c / 16 % 2 * groups + (c - first) / GPU_GROUP) * 16 + c % 16;
}

/* A block a token, four columns a thread. */
__global__ void codes_kernel(const codes_args a)
{
    __shared__ float scratch[ROUND_THREADS / GPU_WARP];
    const round_args &r = a.round;
    const float *x = r.x + blockIdx.x * r.stride;
    gpu_release_next();
    gpu_depend();
    float scale = token_scale(r, x, scratch).scale;
    for (int c = 4 * threadIdx.x; c < (r.columns + 31) / 32 * 32; c += 4 * ROUND_THREADS) {
        uint32_t word = 0;
        for (int i = 0; i < 4; i++) {
            float code = c + i < r.columns && scale > 0 ? rintf(__fdiv_rn(x[c + i], scale)) : 0;
            word |= ((uint32_t)(int)fminf(fmaxf(code, -128.0f), 127.0f) & 255) << (8 * i);
        }
        *(uint32_t *)(a.codes + blockIdx.x * a.stride + code_place(c, r.columns)) = word;
    }
    if (threadIdx.x == 0)
        a.scales[blockIdx.x] = scale;
}

extern "C" pare_status gpu_round_codes(gpu_context *context, const float *x, int64_t x_stride,
                                       int64_t tokens, int64_t columns, const gpu_round_rule *rule,
                                       int8_t *codes, int64_t stride, float *scales)
{
    round_args round = {(float *)x, x_stride, tokens, (int)columns, *rule, {}, NULL};
    codes_args a = {round, codes, stride, scales};
    return gpu_launch(context, "rounding inputs", true, codes_kernel, dim3((unsigned)tokens),
                      dim3(ROUND_THREADS), 0, a);
}

/* ---- factors ---- */

__global__ void scale_kernel(float *x, int64_t stride, int columns, const float *factors)
{
    x += blockIdx.x * stride;
    for (int c = threadIdx.x; c < columns; c += ROUND_THREADS)
        x[c] *= factors[c];
}

extern "C" pare_status gpu_scale_rows(gpu_context *context, float *x, int64_t stride,
                                      int64_t tokens, int64_t columns, const float *factors)
{
    return gpu_launch(context, "scaling inputs", false, scale_kernel, dim3((unsigned)tokens),
                      dim3(ROUND_THREADS), 0, x, stride, (int)columns, factors);
}
