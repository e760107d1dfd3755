/* What is done for each token of a prompt between the products, and the choice of a token. */
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/numbers.cuh"

enum { ROWS_THREADS = 256, CHOOSE_THREADS = 1024 };

struct norm_args {
    const float *x, *weight, *bias;
    int64_t stride;
    int columns;
    gpu_norm norm;
    float epsilon;
    gpu_planes to;
};

/* A block a row. Pieces of 8 columns; what lies behind the columns, up to 32, is zero in x, weight
 * and bias. */
__global__ void norm_kernel(const norm_args a)
{
    __shared__ float scratch[GPU_WARP];
    const float *x = a.x + blockIdx.x * a.stride;
    int padded = (a.columns + 31) / 32 * 32;
    float mean = 0, factor = 1, sum = 0;
    if (a.norm == GPU_NORM_LAYER) {
        for (int i = threadIdx.x; i < a.columns; i += ROWS_THREADS)
            sum += x[i];
        mean = gpu_block_sum(sum, scratch) / (float)a.columns;
    }
    if (a.norm != GPU_NORM_NONE) {
        float squares = 0;
        for (int i = threadIdx.x; i < a.columns; i += ROWS_THREADS)
            squares += (x[i] - mean) * (x[i] - mean);
        squares = gpu_block_sum(squares, scratch) / (float)a.columns;
        factor = 1 / sqrtf(squares + a.epsilon);
    }
    for (int k = 8 * threadIdx.x; k < padded; k += 8 * ROWS_THREADS) {
        float v[8];
        for (int i = 0; i < 8; i++) {
            v[i] = (x[k + i] - mean) * factor;
            if (a.weight)
                v[i] *= a.weight[k + i];
            if (a.bias)
                v[i] += a.bias[k + i];
        }
        gpu_put8(a.to, blockIdx.x, k, v);
    }
}

extern "C" pare_status gpu_norm_rows(gpu_context *context, const float *x, int64_t stride,
                                     int64_t tokens, int64_t columns, gpu_norm norm,
                                     const float *weight, const float *bias, float epsilon,
                                     const gpu_planes *to)
{
    norm_args a = {x, weight, bias, stride, (int)columns, norm, epsilon, *to};
    return gpu_launch(context, "a norm", false, norm_kernel, dim3((unsigned)tokens),
                      dim3(ROWS_THREADS), 0, a);
}

struct activate_args {
    const float *gate, *up;
    int step, columns;
    int64_t stride;
    gpu_activation activation;
    gpu_planes to;
};

__global__ void activate_kernel(const activate_args a)
{
    int k = 8 * (int)(blockIdx.x * ROWS_THREADS + threadIdx.x);
    if (k >= (a.columns + 31) / 32 * 32)
        return;
    const float *gate = a.gate + blockIdx.y * a.stride, *up = a.up + blockIdx.y * a.stride;
    float v[8];
    for (int i = 0; i < 8; i++) {
        v[i] = 0;
        if (k + i < a.columns) {
            v[i] = gpu_activate(gate[(k + i) * a.step], a.activation);
            if (a.up)
                v[i] *= up[(k + i) * a.step];
        }
    }
    gpu_put8(a.to, blockIdx.y, k, v);
}

extern "C" pare_status gpu_activate_rows(gpu_context *context, const float *gate, const float *up,
                                         int step, int64_t stride, int64_t tokens, int64_t columns,
                                         gpu_activation activation, const gpu_planes *to)
{
    activate_args a = {gate, up, step, (int)columns, stride, activation, *to};
    dim3 grid((unsigned)((columns + 8 * ROWS_THREADS - 1) / (8 * ROWS_THREADS)), (unsigned)tokens);
    return gpu_launch(context, "an activation", false, activate_kernel, grid, dim3(ROWS_THREADS), 0,
                      a);
}

/* ---- heads of a prompt ---- */

struct place_args {
    gpu_heads heads;
    float *qkv;
    int64_t stride, past, sequence;
};

/* A warp a head of a token. */
__global__ void place_kernel(const place_args a)
{
    __shared__ float values[ROWS_THREADS / GPU_WARP][GPU_HEAD_DIM_MAX];
    int warp = threadIdx.x / GPU_WARP;
    int unit = (int)(blockIdx.x * (ROWS_THREADS / GPU_WARP)) + warp;
    int units = a.heads.heads + 2 * a.heads.kv_heads, dim = a.heads.head_dim;
    int64_t position = a.past + blockIdx.y;
    if (unit >= units)
        return;
    float *head = a.qkv + blockIdx.y * a.stride + unit * dim;
    bool is_q = unit < a.heads.heads, is_v = unit >= a.heads.heads + a.heads.kv_heads;
    gpu_take_head(a.heads, head, is_v, is_q ? a.heads.q_norm : a.heads.k_norm, position,
                  values[warp]);
    if (is_q) {
        for (int i = threadIdx.x % GPU_WARP; i < dim; i += GPU_WARP)
            head[i] = values[warp][i];
        return;
    }
    gpu_store_head(a.heads, (size_t)a.sequence * a.heads.sequence_bytes,
                   (unit - a.heads.heads) % a.heads.kv_heads, is_v, position, values[warp]);
}

extern "C" pare_status gpu_place_heads(gpu_context *context, const gpu_heads *heads, float *qkv,
                                       int64_t stride, int64_t sequence, int64_t tokens,
                                       int64_t past)
{
    place_args a = {*heads, qkv, stride, past, sequence};
    int units = heads->heads + 2 * heads->kv_heads, each = ROWS_THREADS / GPU_WARP;
    return gpu_launch(context, "rotating heads", false, place_kernel,
                      dim3((unsigned)((units + each - 1) / each), (unsigned)tokens),
                      dim3(ROWS_THREADS), 0, a);
}

/* ---- the next token ---- */

__device__ inline bool better(gpu_best a, gpu_best b)
{
    return a.value > b.value || (a.value == b.value && a.id < b.id);
}

__global__ void choose_kernel(const gpu_best *best, int count, gpu_control *control, int32_t *ids)
{
    __shared__ gpu_best warps[CHOOSE_THREADS / GPU_WARP];
    gpu_release_next();
    gpu_depend();
    gpu_best mine = {-INFINITY, INT32_MAX};
    for (int i = threadIdx.x; i < count; i += CHOOSE_THREADS)
        if (better(best[i], mine))
            mine = best[i];
    for (int round = 0; round < 2; round++) {
        for (int i = 16; i; i >>= 1) {
            gpu_best other = {__shfl_xor_sync(GPU_ALL, mine.value, i),
                              __shfl_xor_sync(GPU_ALL, mine.id, i)};
            if (better(other, mine))
                mine = other;
        }
        if (round == 0) {
            if (threadIdx.x % GPU_WARP == 0)
                warps[threadIdx.x / GPU_WARP] = mine;
            __syncthreads();
            mine = warps[threadIdx.x % GPU_WARP];
        }
    }
    if (threadIdx.x == 0) {
        ids[control->position] = mine.id;
        control->token = mine.id;
        control->position++;
    }
}

extern "C" pare_status gpu_choose(gpu_context *context, const gpu_best *best, int count,
                                  gpu_control *control, int32_t *ids)
{
    return gpu_launch(context, "choosing a token", true, choose_kernel, dim3(1),
                      dim3(CHOOSE_THREADS), 0, best, count, control, ids);
}

__global__ void control_kernel(gpu_control *control, gpu_control value)
{
    *control = value;
}

extern "C" pare_status gpu_set_control(gpu_context *context, gpu_control *control,
                                       gpu_control value)
{
    return gpu_launch(context, "the token's position", false, control_kernel, dim3(1), dim3(1), 0,
                      control, value);
}
