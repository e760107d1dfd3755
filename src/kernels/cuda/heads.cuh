/* A head of one token: its norm, its rotation, its place in the cache. A warp does one. */
#ifndef PARE_KERNELS_CUDA_HEADS_CUH
#define PARE_KERNELS_CUDA_HEADS_CUH

#include "kernels/cuda/common.cuh"

/* values[head_dim] in shared memory; plain: a value head, taken as it is. N: elements of a lane, at
 * most; all are asked for before the first is used. */
template <int N = GPU_HEAD_DIM_MAX / GPU_WARP>
__device__ inline void gpu_take_head(const gpu_heads &h, const float *head, bool plain,
                                     const float *norm, int64_t position, float *values)
{
    int lane = threadIdx.x % GPU_WARP, dim = h.head_dim;
    float v[N];
#pragma unroll
    for (int j = 0; j < N; j++)
        v[j] = lane + GPU_WARP * j < dim ? __ldcg(head + lane + GPU_WARP * j) : 0;
    if (!plain && norm) {
        float squares = 0;
#pragma unroll
        for (int j = 0; j < N; j++)
            squares += v[j] * v[j];
        float factor = 1 / sqrtf(gpu_warp_sum(squares) / (float)dim + h.epsilon);
#pragma unroll
        for (int j = 0; j < N; j++)
            if (lane + GPU_WARP * j < dim)
                v[j] *= factor * norm[lane + GPU_WARP * j];
    }
#pragma unroll
    for (int j = 0; j < N; j++)
        if (lane + GPU_WARP * j < dim)
            values[lane + GPU_WARP * j] = v[j];
    __syncwarp();
    if (plain || !h.cosines)
        return;
    int half = h.rope_dims / 2;
#pragma unroll 1
    for (int i = lane; i < half; i += GPU_WARP) {
        float c = h.cosines[position * half + i], s = h.sines[position * half + i];
        int a = h.rope_pairs ? 2 * i : i, b = h.rope_pairs ? 2 * i + 1 : i + half;
        float x = values[a], y = values[b];
        values[a] = x * c - y * s;
        values[b] = x * s + y * c;
    }
    __syncwarp();
}

/* ---- rows of the cache ----
 *
 * f32, f16   the numbers, padded to 8
 * q8_0       a byte an element, then an FP16 scale for each 32
 * q4_0       half a byte: of 8 elements, those of the first four in the low nibbles of 4 bytes;
 *            then the scales
 *
 * so that a lane's 8 elements are one load. Codes and scales are those of the formats on disk. */

/* Unsigned byte b of a word less ZERO: 2^23 + byte has the byte in its lowest bits. */
template <int ZERO> __device__ inline float gpu_cache_code(uint32_t word, int b)
{
    return __uint_as_float(__byte_perm(word, 0x4b000000, 0x7650 | b)) - (8388608.0f + ZERO);
}

__device__ inline float gpu_cache_inverse(float d)
{
    float inverse = d != 0 ? __fdiv_rn(1, d) : 0;
    return isfinite(inverse) ? inverse : 0;
}

/* As pare_encode_q8_0: 32 elements, one a lane. */
__device__ inline void gpu_store_q8(char *row, int dim, int block, float v)
{
    float most = fabsf(v);
    for (int i = 16; i; i >>= 1)
        most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, i));
    float d = __fdiv_rn(most, 127), code = roundf(v * gpu_cache_inverse(d));
    int lane = threadIdx.x % GPU_WARP;
    row[32 * block + lane] = (char)(int)fminf(fmaxf(code, -127.0f), 127.0f);
    if (lane == 0)
        ((__half *)(row + dim))[block] = __float2half_rn(fminf(d, 65504.0f));
}

/* As pare_encode_q4_0: the value of largest magnitude, the first of equal ones, becomes code 0. */
__device__ inline void gpu_store_q4(char *row, int dim, int block, float v)
{
    int lane = threadIdx.x % GPU_WARP, at = lane;
    float extreme = v;
    for (int i = 16; i; i >>= 1) {
        float other = __shfl_xor_sync(GPU_ALL, extreme, i);
        int from = __shfl_xor_sync(GPU_ALL, at, i);
        if (fabsf(other) > fabsf(extreme) || (fabsf(other) == fabsf(extreme) && from < at)) {
            extreme = other;
            at = from;
        }
    }
    float d = extreme / -8, shifted = v * gpu_cache_inverse(d) + 8.5f;
    int code = shifted > 0 ? (int)fminf(shifted, 15.0f) : 0;
    int high = __shfl_down_sync(GPU_ALL, code, 4);
    if (lane % 8 < 4)
        row[16 * block + lane / 8 * 4 + lane % 4] = (char)(code | high << 4);
    if (lane == 0)
        ((__half *)(row + dim / 2))[block] = __float2half_rn(fminf(fmaxf(d, -65504.0f), 65504.0f));
}

/* load: elements d .. d + 7 of a row of `dim`, as they lie; decode: their values; encode: a row of
 * a head's values, by a warp. */

struct gpu_cache_f32 {
    struct raw {
        float4 low, high;
    };
    __device__ static raw load(const char *row, int d, int)
    {
        const float4 *p = (const float4 *)(row + 4 * d);
        return {p[0], p[1]};
    }
    __device__ static void decode(const raw &r, float v[8])
    {
        v[0] = r.low.x, v[1] = r.low.y, v[2] = r.low.z, v[3] = r.low.w;
        v[4] = r.high.x, v[5] = r.high.y, v[6] = r.high.z, v[7] = r.high.w;
    }
    __device__ static void encode(char *row, int dim, const float *values)
    {
        for (int i = threadIdx.x % GPU_WARP; i < dim; i += GPU_WARP)
            ((float *)row)[i] = values[i];
    }
};

struct gpu_cache_f16 {
    struct raw {
        uint4 q;
    };
    __device__ static raw load(const char *row, int d, int)
    {
        return {*(const uint4 *)(row + 2 * d)};
    }
    __device__ static void decode(const raw &r, float v[8])
    {
        uint32_t q[4] = {r.q.x, r.q.y, r.q.z, r.q.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float2 two = __half22float2(*(__half2 *)&q[i]);
            v[2 * i] = two.x;
            v[2 * i + 1] = two.y;
        }
    }
    __device__ static void encode(char *row, int dim, const float *values)
    {
#pragma unroll 1
        for (int i = threadIdx.x % GPU_WARP; i < dim; i += GPU_WARP)
            ((__half *)row)[i] = __float2half_rn(values[i]);
    }
};

struct gpu_cache_q8 {
    struct raw {
        uint2 q;
        uint16_t scale;
    };
    __device__ static raw load(const char *row, int d, int dim)
    {
        return {*(const uint2 *)(row + d), ((const uint16_t *)(row + dim))[d / 32]};
    }
    __device__ static void decode(const raw &r, float v[8])
    {
        float scale = __half2float(__ushort_as_half(r.scale));
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = scale * gpu_cache_code<128>((i < 4 ? r.q.x : r.q.y) ^ 0x80808080, i % 4);
    }
    __device__ static void encode(char *row, int dim, const float *values)
    {
#pragma unroll 1
        for (int b = 0; b < dim / GPU_WARP; b++)
            gpu_store_q8(row, dim, b, values[GPU_WARP * b + threadIdx.x % GPU_WARP]);
    }
};

struct gpu_cache_q4 {
    struct raw {
        uint32_t q;
        uint16_t scale;
    };
    __device__ static raw load(const char *row, int d, int dim)
    {
        return {*(const uint32_t *)(row + d / 2), ((const uint16_t *)(row + dim / 2))[d / 32]};
    }
    __device__ static void decode(const raw &r, float v[8])
    {
        float scale = __half2float(__ushort_as_half(r.scale));
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = scale * gpu_cache_code<8>((i < 4 ? r.q : r.q >> 4) & 0x0f0f0f0f, i % 4);
    }
    __device__ static void encode(char *row, int dim, const float *values)
    {
#pragma unroll 1
        for (int b = 0; b < dim / GPU_WARP; b++)
            gpu_store_q4(row, dim, b, values[GPU_WARP * b + threadIdx.x % GPU_WARP]);
    }
};

/* The row of a position, from the start of the sequence's keys or values. */
__device__ inline size_t gpu_cache_row(const gpu_heads &h, int kv_head, int64_t position)
{
    return ((size_t)kv_head * h.capacity + position) * h.row_bytes;
}

/* `sequence`: the byte where its keys (and values) start. */
__device__ inline void gpu_store_head(const gpu_heads &h, size_t sequence, int kv_head, bool is_v,
                                      int64_t position, const float *values)
{
    char *row = (char *)(is_v ? h.values : h.keys) + sequence + gpu_cache_row(h, kv_head, position);
    switch (h.cache_type) {
    case PARE_TYPE_F32:
        return gpu_cache_f32::encode(row, h.head_dim, values);
    case PARE_TYPE_F16:
        return gpu_cache_f16::encode(row, h.head_dim, values);
    case PARE_TYPE_Q8_0:
        return gpu_cache_q8::encode(row, h.head_dim, values);
    default:
        return gpu_cache_q4::encode(row, h.head_dim, values);
    }
}

/* Calls f with a value of the cache's type. */
template <class FUNCTION> static pare_status gpu_with_cache(pare_type type, FUNCTION f)
{
    switch (type) {
    case PARE_TYPE_F32:
        return f(gpu_cache_f32());
    case PARE_TYPE_F16:
        return f(gpu_cache_f16());
    case PARE_TYPE_Q8_0:
        return f(gpu_cache_q8());
    case PARE_TYPE_Q4_0:
        return f(gpu_cache_q4());
    default:
        return gpu_check(cudaErrorNotSupported, "this type of KV cache");
    }
}

#endif
