/* A head of one token: its norm, its rotation, its place in the cache. A warp does one. */
#ifndef PARE_KERNELS_CUDA_HEADS_CUH
#define PARE_KERNELS_CUDA_HEADS_CUH

#include "kernels/cuda/common.cuh"

/* values[head_dim] in shared memory; plain: a value head, taken as it is. */
__device__ inline void gpu_take_head(const gpu_heads &h, const float *head, bool plain,
                                     const float *norm, int64_t position, float *values)
{
    int lane = threadIdx.x % GPU_WARP, dim = h.head_dim;
    float squares = 0;
    for (int i = lane; i < dim; i += GPU_WARP) {
        float v = __ldcg(head + i);
        values[i] = v;
        squares += v * v;
    }
    if (!plain && norm) {
        float factor = 1 / sqrtf(gpu_warp_sum(squares) / (float)dim + h.epsilon);
        for (int i = lane; i < dim; i += GPU_WARP)
            values[i] *= factor * norm[i];
    }
    __syncwarp();
    if (plain || !h.cosines)
        return;
    int half = h.rope_dims / 2;
    for (int i = lane; i < half; i += GPU_WARP) {
        float c = h.cosines[position * half + i], s = h.sines[position * half + i];
        int a = h.rope_pairs ? 2 * i : i, b = h.rope_pairs ? 2 * i + 1 : i + half;
        float x = values[a], y = values[b];
        values[a] = x * c - y * s;
        values[b] = x * s + y * c;
    }
    __syncwarp();
}

__device__ inline void gpu_store_head(const gpu_heads &h, int kv_head, bool is_v, int64_t position,
                                      const float *values)
{
    size_t row = ((size_t)kv_head * h.capacity + position) * h.cache_dim;
    void *cache = is_v ? h.values : h.keys;
    for (int i = threadIdx.x % GPU_WARP; i < h.head_dim; i += GPU_WARP) {
        if (h.cache_type == PARE_TYPE_F16)
            ((__half *)cache)[row + i] = __float2half_rn(values[i]);
        else
            ((float *)cache)[row + i] = values[i];
    }
}

/* Eight neighbours of a row of the cache. */
__device__ inline void gpu_load8(const __half *p, float v[8])
{
    uint4 a = *(const uint4 *)p;
    uint32_t q[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 two = __half22float2(*(__half2 *)&q[i]);
        v[2 * i] = two.x;
        v[2 * i + 1] = two.y;
    }
}

__device__ inline void gpu_load8(const float *p, float v[8])
{
    float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

#endif
