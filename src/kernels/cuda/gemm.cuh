/* What the matrix products of gemm.cu and gemm_hopper.cu share: their arguments, and what becomes
 * of the sums. */
#ifndef PARE_KERNELS_CUDA_GEMM_CUH
#define PARE_KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/numbers.cuh"

enum { GEMM_STEP = 64, GEMM_PAIRS = 6 };

/* Exact products are sums over pairs of planes, walked through as if the columns repeated, the
 * smallest first. */
struct gemm_args {
    gpu_gemm_args g;
    int pairs, x_plane[GEMM_PAIRS], w_plane[GEMM_PAIRS];
};

pare_status gemm_hopper(gpu_context *context, const gemm_args &a);

/* x f(x) by the units for exponentials and reciprocals where 16-bit numbers follow: off by 1e-6. */
__device__ inline float gemm_activate(float x, gpu_activation f, bool exact)
{
    if (exact || f == GPU_GELU || f == GPU_RELU)
        return gpu_activate(x, f);
    float u = f == GPU_SILU ? x : 1.5957691216057308f * (x + 0.044715f * x * x * x);
    return x * __fdividef(1, 1 + __expf(-u));
}

/* ---- sums: a warp's 16 tokens x 32 rows as the matrix instructions leave them ----
 *
 * Lane l has, of tokens l / 4 + 8 h, rows 8 j + 2 (l % 4) + e in v[4 j + 2 h + e]. `token` is the
 * lane's first one, `row` the first of the 32 (a multiple of 32). */

/* Are the 32 rows there, and neighbours of y aligned as pairs? */
__device__ inline bool gemm_whole(const gpu_gemm_args &g, int64_t row)
{
    return row + 32 <= g.rows && (((uintptr_t)g.y | (uintptr_t)(4 * g.y_stride)) & 7) == 0;
}

__device__ inline float gemm_sum(float a, float b)
{
    return a + b;
}

__device__ inline float2 gemm_sum(float2 a, float2 b)
{
    return make_float2(a.x + b.x, a.y + b.y);
}

/* y (+)= v of one or two neighbours. An element has one writer, so that adding where it lies has
 * one result, and nobody waits for the old value. */
template <class T> __device__ inline void gemm_write(T *y, T v, bool add)
{
#if __CUDA_ARCH__ >= 900
    if (add)
        atomicAdd(y, v);
    else
        *y = v;
#else
    *y = add ? gemm_sum(*y, v) : v;
#endif
}

/* y (+)= v */
__device__ inline void gemm_store(const gpu_gemm_args &g, int64_t token, int64_t row,
                                  const float v[16])
{
    int64_t first = row + threadIdx.x % 4 * 2;
    bool whole = gemm_whole(g, row), add = g.epilogue == GPU_ADD;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float *y = g.y + (token + 8 * h) * g.y_stride + first;
        if (token + 8 * h >= g.tokens)
            return;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float *from = v + 4 * j + 2 * h;
            if (whole)
                gemm_write((float2 *)(y + 8 * j), make_float2(from[0], from[1]), add);
            else
                for (int e = 0; e < 2; e++)
                    if (first + 8 * j + e < g.rows)
                        gemm_write(y + 8 * j + e, from[e], add);
        }
    }
}

/* A pair's numbers, which are taken off its values (of BF16; FP16 has one plane). */
__device__ inline uint32_t gemm_round(gpu_number number, float v[2])
{
    uint32_t pair = gpu_pair(number, v[0], v[1]);
    v[0] -= __uint_as_float(pair << 16);
    v[1] -= __uint_as_float(pair & 0xffff0000);
    return pair;
}

/* Sums of a pair of rows, one number: 4 numbers for a lane and token. */
__device__ inline void gemm_put_gated(const gpu_gemm_args &g, int64_t token, int64_t row,
                                      const float v[16])
{
    int64_t outputs = g.rows / 2, first = row / 2 + threadIdx.x % 4 * 4;
    bool exact = g.to.planes > 1 || g.to.number == GPU_F32;
    float z[4][2];
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float gate = v[4 * j + 2 * h], up = v[4 * j + 2 * h + 1];
            bool there = row / 2 + 4 * j + threadIdx.x % 4 < outputs;
            z[j][h] = there ? gemm_activate(gate, g.activation, exact) * up : 0;
        }
    if (g.to.number == GPU_F32) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t w[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                w[j] = __float_as_uint(z[j][h]);
            gpu_exchange(w);
            float *to = (float *)g.to.data + (token + 8 * h) * g.to.stride + first;
            if (token + 8 * h < g.tokens && first < (outputs + 31) / 32 * 32)
                *(uint4 *)to = make_uint4(w[0], w[1], w[2], w[3]);
        }
        return;
    }
    for (int p = 0; p < g.to.planes; p++) {
        uint32_t w[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            w[j] = gemm_round(g.to.number, z[j]);
        gpu_exchange(w);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t choose = h ? 0x7632 : 0x5410;
            uint16_t *to =
                (uint16_t *)g.to.data + (p * g.to.plane_rows + token + 8 * h) * g.to.stride + first;
            if (token + 8 * h < g.tokens && first < (outputs + 31) / 32 * 32)
                *(uint2 *)to =
                    make_uint2(__byte_perm(w[0], w[1], choose), __byte_perm(w[2], w[3], choose));
        }
    }
}

/* 8 numbers for a lane and token. */
__device__ inline void gemm_put(const gpu_gemm_args &g, int64_t token, int64_t row,
                                const float v[16])
{
    int64_t first = row + threadIdx.x % 4 * 8;
    bool exact = g.to.planes > 1 || g.to.number == GPU_F32;
    bool active = g.epilogue == GPU_ACTIVATE;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float z[4][2];
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float x = v[4 * j + 2 * h + e];
                bool there = row + 8 * j + threadIdx.x % 4 * 2 + e < g.rows;
                z[j][e] = !there ? 0 : active ? gemm_activate(x, g.activation, exact) : x;
            }
        if (g.to.number == GPU_F32) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int64_t at = row + 8 * j + threadIdx.x % 4 * 2;
                float *to = (float *)g.to.data + (token + 8 * h) * g.to.stride + at;
                if (token + 8 * h < g.tokens && at < (g.rows + 31) / 32 * 32)
                    *(float2 *)to = make_float2(z[j][0], z[j][1]);
            }
            continue;
        }
        for (int p = 0; p < g.to.planes; p++) {
            uint32_t w[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                w[j] = gemm_round(g.to.number, z[j]);
            gpu_exchange(w);
            uint16_t *to =
                (uint16_t *)g.to.data + (p * g.to.plane_rows + token + 8 * h) * g.to.stride + first;
            if (token + 8 * h < g.tokens && first < (g.rows + 31) / 32 * 32)
                *(uint4 *)to = make_uint4(w[0], w[1], w[2], w[3]);
        }
    }
}

/* What becomes of the sums. All lanes of the warp call it. */
__device__ inline void gemm_finish(const gpu_gemm_args &g, int64_t token, int64_t row, float v[16])
{
    if (g.bias) {
        int64_t first = row + threadIdx.x % 4 * 2;
#pragma unroll
        for (int i = 0; i < 16; i++) {
            int64_t r = first + 8 * (i / 4) + i % 2;
            v[i] += r < g.rows ? g.bias[r] : 0;
        }
    }
    if (!g.to.data)
        gemm_store(g, token, row, v);
    else if (g.epilogue == GPU_GATED)
        gemm_put_gated(g, token, row, v);
    else
        gemm_put(g, token, row, v);
}

#endif
