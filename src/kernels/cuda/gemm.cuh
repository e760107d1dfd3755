/* What the matrix products of gemm.cu and gemm_hopper.cu share: tiles of 128 tokens x 128 rows,
 * steps of 64 columns that cp.async brings. In shared memory a row is 8 pieces of 16 bytes, piece c
 * at c ^ (row % 8): copies, ldmatrix and wgmma then meet every bank once. */
#ifndef PARE_KERNELS_CUDA_GEMM_CUH
#define PARE_KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/numbers.cuh"

enum { GEMM_TILE = 128, GEMM_STEP = 64, GEMM_THREADS = 256, GEMM_PAIRS = 6 };
enum { GEMM_HALF_STAGE = GEMM_TILE * GEMM_STEP * 2, GEMM_STAGE = 2 * GEMM_HALF_STAGE };

/* Exact products are sums over pairs of planes, walked through as if the columns repeated, the
 * smallest first. */
struct gemm_args {
    gpu_gemm_args g;
    int pairs, x_plane[GEMM_PAIRS], w_plane[GEMM_PAIRS];
};

pare_status gemm_hopper(gpu_context *context, const gemm_args &a, dim3 grid);

/* The steps of a tile, and a thread's place in the copies: 4 pieces of x and of w, 32 rows apart.
 */
struct gemm_walk {
    int64_t first_token, first_row;
    int columns, steps;
    int step, pair, k; /* the next to be fetched */
};

__device__ inline gemm_walk gemm_walk_of(const gemm_args &a)
{
    gemm_walk w;
    w.first_token = (int64_t)blockIdx.x * GEMM_TILE;
    w.first_row = (int64_t)blockIdx.y * GEMM_TILE;
    w.columns = (int)((a.g.columns + 31) / 32 * 32);
    w.steps = a.pairs * ((w.columns + GEMM_STEP - 1) / GEMM_STEP);
    w.step = w.pair = w.k = 0;
    return w;
}

#if __CUDA_ARCH__ >= 800
__device__ inline void gemm_fetch(uint32_t to, const gpu_planes &p, int plane, int64_t first,
                                  int64_t rows, int k, int columns)
{
    int row = threadIdx.x / 8, piece = threadIdx.x % 8;
    bool live = k + 8 * piece < columns;
    const uint16_t *from = (const uint16_t *)p.data +
                           ((int64_t)plane * p.plane_rows + first + row) * p.stride + k + 8 * piece;
    to += (uint32_t)(row * 128 + (piece ^ (row & 7)) * 16);
#pragma unroll
    for (int i = 0; i < GEMM_TILE / 32; i++) { /* 32 rows further the swizzle is the same */
        bool inside = live && first + row + 32 * i < rows;
        int bytes = inside ? 16 : 0; /* the rest is filled with zeros */
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to + 4096u * i),
                     "l"(inside ? from + 32 * i * p.stride : (const uint16_t *)p.data), "r"(bytes)
                     : "memory");
    }
}

/* Always commits a group, so that counting groups counts steps. */
__device__ inline void gemm_fetch_step(const gemm_args &a, gemm_walk &w, uint32_t base, int stages)
{
    if (w.step < w.steps) {
        uint32_t to = base + (uint32_t)(w.step % stages) * GEMM_STAGE;
        gemm_fetch(to, a.g.x, a.x_plane[w.pair], w.first_token, a.g.tokens, w.k, w.columns);
        gemm_fetch(to + GEMM_HALF_STAGE, a.g.w, a.w_plane[w.pair], w.first_row, a.g.rows, w.k,
                   w.columns);
        w.step++;
        w.k += GEMM_STEP;
        if (w.k >= w.columns) {
            w.k = 0;
            w.pair++;
        }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
}
#endif

/* Two neighbours of a row of y; row is even. */
__device__ inline void gemm_store(const gemm_args &a, int64_t token, int64_t row, float v0,
                                  float v1)
{
    if (token >= a.g.tokens || row >= a.g.rows)
        return;
    bool second = row + 1 < a.g.rows;
    if (a.g.bias) {
        v0 += a.g.bias[row];
        v1 += second ? a.g.bias[row + 1] : 0;
    }
    float *y = a.g.y + token * a.g.y_stride + row;
    if (second && ((uintptr_t)y & 7) == 0) {
        if (a.g.add) {
            float2 old = *(float2 *)y;
            v0 += old.x;
            v1 += old.y;
        }
        *(float2 *)y = make_float2(v0, v1);
        return;
    }
    y[0] = a.g.add ? y[0] + v0 : v0;
    if (second)
        y[1] = a.g.add ? y[1] + v1 : v1;
}

#endif
