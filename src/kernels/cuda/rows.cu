/* What is done for each token of a prompt between the products, and the choice of a token. */
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/numbers.cuh"

enum { ROWS_THREADS = 256 };

struct norm_args {
    const float *x, *weight, *bias;
    int64_t stride;
    int columns;
    gpu_norm norm;
    float epsilon;
    gpu_planes to;
};

__device__ inline void load8(const float *from, float v[8])
{
    float4 a = ((const float4 *)from)[0], b = ((const float4 *)from)[1];
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

/* A block a row, which it keeps: PIECES pieces of 8 columns a thread. What lies behind the columns,
 * up to 32, is zero in x, weight and bias. */
template <int PIECES> __global__ void norm_kernel(const norm_args a)
{
    __shared__ float scratch[GPU_WARP];
    const float *x = a.x + blockIdx.x * a.stride;
    int padded = (a.columns + 31) / 32 * 32;
    float v[PIECES][8], mean = 0, factor = 1, sum = 0;
    gpu_release_next();
    gpu_depend();
#pragma unroll
    for (int p = 0; p < PIECES; p++) {
        int k = 8 * (p * ROWS_THREADS + (int)threadIdx.x);
        for (int i = 0; i < 8; i++)
            v[p][i] = 0;
        if (k < padded)
            load8(x + k, v[p]);
        for (int i = 0; i < 8; i++)
            sum += v[p][i];
    }
    if (a.norm == GPU_NORM_LAYER)
        mean = gpu_block_sum(sum, scratch) / (float)a.columns;
    if (a.norm != GPU_NORM_NONE) {
        float squares = 0;
#pragma unroll
        for (int p = 0; p < PIECES; p++)
            for (int i = 0; i < 8; i++) {
                float off = v[p][i] - mean;
                if (8 * (p * ROWS_THREADS + (int)threadIdx.x) + i < a.columns)
                    squares += off * off;
            }
        squares = gpu_block_sum(squares, scratch) / (float)a.columns;
        factor = 1 / sqrtf(squares + a.epsilon);
    }
#pragma unroll
    for (int p = 0; p < PIECES; p++) {
        int k = 8 * (p * ROWS_THREADS + (int)threadIdx.x);
        float w[8];
        if (k >= padded)
            return;
        for (int i = 0; i < 8; i++)
            v[p][i] = (v[p][i] - mean) * factor;
        if (a.weight) {
            load8(a.weight + k, w);
            for (int i = 0; i < 8; i++)
                v[p][i] *= w[i];
        }
        if (a.bias) {
            load8(a.bias + k, w);
            for (int i = 0; i < 8; i++)
                v[p][i] += w[i];
        }
        gpu_put8(a.to, blockIdx.x, k, v[p]);
    }
}

/* The same of rows that are longer: read three times. */
__global__ void norm_long_kernel(const norm_args a)
{
    __shared__ float scratch[GPU_WARP];
    const float *x = a.x + blockIdx.x * a.stride;
    int padded = (a.columns + 31) / 32 * 32;
    float mean = 0, factor = 1, sum = 0;
    gpu_depend();
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
    int64_t piece = 8 * ROWS_THREADS;
    auto kernel = columns <= piece       ? norm_kernel<1>
                  : columns <= 2 * piece ? norm_kernel<2>
                  : columns <= 4 * piece ? norm_kernel<4>
                                         : norm_long_kernel;
    return gpu_launch(context, "a norm", true, kernel, dim3((unsigned)tokens), dim3(ROWS_THREADS),
                      0, a);
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

/* ---- the same of FP16 numbers ---- */

struct place_numbers_args {
    gpu_heads heads;
    gpu_planes qkv, q;
    int64_t past, sequence;
};

__device__ inline float2 pair_at(const __half *p)
{
    return __half22float2(*(const __half2 *)p);
}

/* a, b = a c - b s, a s + b c */
__device__ inline void rotate(float *a, float *b, float c, float s)
{
    float x = *a, y = *b;
    *a = x * c - y * s;
    *b = x * s + y * c;
}

/* A warp a head of a token; a lane elements 2 l, 2 l + 1 of both halves of the head. */
__global__ void place_numbers_kernel(const place_numbers_args a)
{
    const gpu_heads &h = a.heads;
    int unit = (int)(blockIdx.x * (ROWS_THREADS / GPU_WARP) + threadIdx.x / GPU_WARP);
    int at = threadIdx.x % GPU_WARP * 2, half = h.head_dim / 2, kv = unit - h.heads;
    bool live = unit < h.heads + 2 * h.kv_heads && at < half;
    bool is_q = kv < 0, is_v = kv >= h.kv_heads;
    int64_t position = a.past + blockIdx.y;
    gpu_release_next();
    gpu_depend();
    const __half *from =
        (const __half *)a.qkv.data + blockIdx.y * a.qkv.stride + unit * h.head_dim + at;
    float2 low = {0, 0}, high = {0, 0};
    if (live) {
        low = pair_at(from);
        high = pair_at(from + half);
    }
    const float *norm = is_v ? NULL : is_q ? h.q_norm : h.k_norm;
    if (norm) { /* all lanes of a warp */
        float squares = low.x * low.x + low.y * low.y + high.x * high.x + high.y * high.y;
        float factor = 1 / sqrtf(gpu_warp_sum(squares) / (float)h.head_dim + h.epsilon);
        if (live) {
            low = make_float2(low.x * factor * norm[at], low.y * factor * norm[at + 1]);
            high = make_float2(high.x * factor * norm[half + at],
                               high.y * factor * norm[half + at + 1]);
        }
    }
    if (!live)
        return;
    if (!is_v && h.cosines) {
        const float *c = h.cosines + position * half, *s = h.sines + position * half;
        if (h.rope_pairs) {
            rotate(&low.x, &low.y, c[at / 2], s[at / 2]);
            rotate(&high.x, &high.y, c[(half + at) / 2], s[(half + at) / 2]);
        } else {
            rotate(&low.x, &high.x, c[at], s[at]);
            rotate(&low.y, &high.y, c[at + 1], s[at + 1]);
        }
    }
    float scale = is_q ? h.scale * 1.4426950408889634f : 1; /* exponentials are of 2 */
    char *cache = (char *)(is_v ? h.values : h.keys) + (size_t)a.sequence * h.sequence_bytes;
    __half *to = is_q ? (__half *)a.q.data + blockIdx.y * a.q.stride + unit * h.head_dim
                      : (__half *)(cache + gpu_cache_row(h, kv % h.kv_heads, position));
    *(uint32_t *)(to + at) = gpu_pair_f16(low.x * scale, low.y * scale);
    *(uint32_t *)(to + half + at) = gpu_pair_f16(high.x * scale, high.y * scale);
}

extern "C" pare_status gpu_place_numbers(gpu_context *context, const gpu_heads *heads,
                                         const gpu_planes *qkv, int64_t sequence, int64_t tokens,
                                         int64_t past, const gpu_planes *q)
{
    place_numbers_args a = {*heads, *qkv, *q, past, sequence};
    int units = heads->heads + 2 * heads->kv_heads, each = ROWS_THREADS / GPU_WARP;
    return gpu_launch(context, "rotating heads", true, place_numbers_kernel,
                      dim3((unsigned)((units + each - 1) / each), (unsigned)tokens),
                      dim3(ROWS_THREADS), 0, a);
}

/* ---- the token's place ---- */

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

__global__ void controls_kernel(gpu_control *control, const gpu_control *from, int n)
{
    for (int i = threadIdx.x; i < n; i += ROWS_THREADS)
        control[i] = from[i];
}

extern "C" pare_status gpu_set_controls(gpu_context *context, gpu_control *control,
                                        const gpu_control *from, int64_t n)
{
    return gpu_launch(context, "the tokens' positions", false, controls_kernel, dim3(1),
                      dim3(ROWS_THREADS), 0, control, from, (int)n);
}
