/* The kernel of gemm_hopper.cu; gemm_*_hopper.cu hold one kind of number each.
 *
 * Many tokens on Hopper's matrix units (wgmma, sm_90a). A block computes tiles of 128 tokens x N
 * rows, one after the other: the copy engine, asked by one thread, fills a ring of stages (64
 * columns of x and of w each); two warpgroups take 64 tokens each. Blocks work in pairs on the same
 * rows and 256 tokens: each brings half of the stage's weights into both. */
#ifndef PARE_KERNELS_CUDA_GEMM_HOPPER_CUH
#define PARE_KERNELS_CUDA_GEMM_HOPPER_CUH

#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/hopper.cuh"

#include <type_traits>

enum {
    HOPPER_THREADS = 384, /* one warpgroup copies, two multiply */
    HOPPER_TOKENS = 128,
    HOPPER_ROW = 128, /* bytes of a stage's row: 64 columns */
    HOPPER_X_BYTES = HOPPER_TOKENS * HOPPER_ROW,
    HOPPER_SHARED = 227 << 10,
    HOPPER_SLACK = 3072, /* what aligning takes, barriers, scales of a tile's rows */
    HOPPER_CODES = 1024, /* codes of a chunk of i8_ch; then its scale, padded to 16 bytes */
};

struct hopper_args {
    CUtensorMap x, w; /* tiles of 128 and of N / 2 rows */
    gemm_args g;
    int token_tiles, tiles; /* of a cluster's tokens; all */
    int columns, step;      /* of x: all, of a stage */
    int scale_at;           /* of GPU_INT8: bytes from a row's codes to its scale */
};

#if __CUDA_ARCH_FEAT_SM90_ALL
template <int N> struct hopper_ring {
    static constexpr int STAGE = HOPPER_X_BYTES + N * HOPPER_ROW;
    static constexpr int STAGES = (HOPPER_SHARED - HOPPER_SLACK) / STAGE;
    uint32_t base, full, empty; /* stages; barriers */
    float *scales;              /* of a tile's rows */
    int stage, parity;
    __device__ void next()
    {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

/* In dynamic shared memory; then what other kernels wrote may be read. fills, empties: arrivals
 * that fill a stage and that give it back. */
template <int N>
__device__ inline hopper_ring<N> hopper_ring_of(char *shared, int fills, int empties)
{
    hopper_ring<N> ring;
    ring.base = (gpu_shared_address(shared) + 1023) & ~1023u;
    ring.full = ring.base + ring.STAGES * ring.STAGE;
    ring.empty = ring.full + 8 * ring.STAGES;
    ring.scales = (float *)(shared + (ring.empty + 8 * ring.STAGES - gpu_shared_address(shared)));
    ring.stage = ring.parity = 0;
    if (threadIdx.x == 0) {
        for (int i = 0; i < ring.STAGES; i++) {
            hopper_barrier_start(ring.full + 8 * i, fills);
            hopper_barrier_start(ring.empty + 8 * i, empties);
        }
        hopper_barriers_started();
    }
    gpu_release_next();
    hopper_cluster_sync();
    gpu_depend();
    return ring;
}

/* Where tile t of a cluster is for one of its blocks: they have the same rows, tokens side by side.
 */
struct hopper_place {
    int token, row;
};

template <int N, int CLUSTER>
__device__ inline hopper_place hopper_place_of(const hopper_args &a, int t, int rank)
{
    return {(t % a.token_tiles * CLUSTER + rank) * HOPPER_TOKENS, t / a.token_tiles * N};
}

template <int N, int NUMBER, int CLUSTER>
__device__ inline void hopper_copy(const hopper_args &a, hopper_ring<N> ring, int rank)
{
    for (int t = (int)blockIdx.x / CLUSTER; t < a.tiles; t += (int)gridDim.x / CLUSTER) {
        hopper_place place = hopper_place_of<N, CLUSTER>(a, t, rank);
        for (int pair = 0; pair < a.g.pairs; pair++) {
            int x_row = a.g.x_plane[pair] * (int)a.g.g.x.plane_rows + place.token;
            int w_row = a.g.w_plane[pair] * (int)a.g.g.w.plane_rows + place.row;
            for (int k = 0; k < a.columns; k += a.step) {
                int wk = NUMBER == GPU_INT8 ? k + k / HOPPER_CODES * 16 : k;
                uint32_t full = ring.full + 8 * ring.stage;
                uint32_t x = ring.base + (uint32_t)(ring.stage * ring.STAGE);
                uint32_t w = x + HOPPER_X_BYTES;
                hopper_barrier_wait(ring.empty + 8 * ring.stage, ring.parity ^ 1);
                hopper_barrier_expect(full, ring.STAGE);
                hopper_load(x, a.x, full, k, x_row);
                if (CLUSTER == 2) {
                    hopper_load_both(w + rank * (N / 2 * HOPPER_ROW), a.w, full, wk,
                                     w_row + rank * (N / 2));
                } else {
                    hopper_load(w, a.w, full, wk, w_row);
                    hopper_load(w + N / 2 * HOPPER_ROW, a.w, full, wk, w_row + N / 2);
                }
                ring.next();
            }
        }
    }
}

/* One arrival of each warp at both blocks' barriers: whose copies fill the stage. */
template <int CLUSTER> __device__ inline void hopper_give_back(uint32_t empty)
{
    int lane = threadIdx.x % GPU_WARP;
    if (lane < CLUSTER)
        hopper_barrier_arrive_at(empty, lane);
}

template <int NUMBER> using hopper_sum = std::conditional_t<NUMBER == GPU_INT8, int, float>;

/* Of warpgroups 1 and 2. */
__device__ inline void hopper_consumers_sync()
{
    asm volatile("bar.sync 1, 256;" ::: "memory");
}

/* One for each row of the tile. */
template <int N>
__device__ inline void hopper_fetch_scales(const hopper_args &a, const hopper_ring<N> &ring,
                                           int64_t first)
{
    int row = (int)threadIdx.x - 128;
    hopper_consumers_sync(); /* the tile before is done with */
    if (row < N)
        ring.scales[row] = first + row < a.g.g.rows
                               ? *(const float *)((const char *)a.g.g.w.data +
                                                  (first + row) * a.g.g.w.stride + a.scale_at)
                               : 0;
    hopper_consumers_sync();
}

/* Sums 16 i .. 16 i + 15 of a thread. Registers have no index, and a copy of the epilogue for each
 * i would not fit the instruction cache. */
template <int N, class T> __device__ inline void hopper_take(const T (&acc)[N / 2], int i, T v[16])
{
#pragma unroll
    for (int at = 0; at < N / 32; at++)
        if (at == i)
#pragma unroll
            for (int e = 0; e < 16; e++)
                v[e] = acc[16 * at + e];
}

template <int N, int NUMBER>
__device__ inline void hopper_finish(const hopper_args &a, const hopper_ring<N> &ring,
                                     int64_t token, int64_t row,
                                     const hopper_sum<NUMBER> (&acc)[N / 2])
{
    const gpu_gemm_args &g = a.g.g;
    float scale[2] = {1, 1};
    for (int h = 0; h < 2 && NUMBER == GPU_INT8; h++)
        scale[h] = token + 8 * h < g.tokens ? g.x_scales[token + 8 * h] : 0;
#pragma unroll 1
    for (int i = 0; i < N / 32; i++) {
        hopper_sum<NUMBER> sums[16];
        float v[16];
        hopper_take<N>(acc, i, sums);
#pragma unroll
        for (int e = 0; e < 16; e++) {
            v[e] = (float)sums[e];
            if (NUMBER == GPU_INT8)
                v[e] *= scale[e / 2 % 2] *
                        ring.scales[32 * i + e / 4 * 8 + threadIdx.x % 4 * 2 + e % 2];
        }
        gemm_finish(g, token, row + 32 * i, v);
    }
}

template <int N, int NUMBER, int CLUSTER>
__device__ inline void hopper_multiply(const hopper_args &a, hopper_ring<N> ring, int rank)
{
    int warp = threadIdx.x / GPU_WARP - 4, lane = threadIdx.x % GPU_WARP;
    int steps = a.g.pairs * ((a.columns + a.step - 1) / a.step);
    for (int t = (int)blockIdx.x / CLUSTER; t < a.tiles; t += (int)gridDim.x / CLUSTER) {
        hopper_place place = hopper_place_of<N, CLUSTER>(a, t, rank);
        int64_t token = place.token + 16 * warp + lane / 4, row = place.row;
        uint32_t before = 0;
        hopper_sum<NUMBER> acc[N / 2];
        if (NUMBER == GPU_INT8)
            hopper_fetch_scales<N>(a, ring, row);
        for (int step = 0; step < steps; step++) {
            uint32_t x = ring.base + (uint32_t)(ring.stage * ring.STAGE);
            uint64_t tokens = hopper_tile(x + (uint32_t)(warp / 4) * 64 * HOPPER_ROW);
            uint64_t rows = hopper_tile(x + HOPPER_X_BYTES);
            hopper_barrier_wait(ring.full + 8 * ring.stage, ring.parity);
            hopper_mma_start();
#pragma unroll
            for (int k = 0; k < 4; k++) /* 32 bytes further */
                hopper_mma<N, NUMBER>(acc, tokens + 2 * k, rows + 2 * k, step > 0 || k > 0);
            hopper_mma_commit();
            hopper_mma_wait<1>();
            if (step > 0)
                hopper_give_back<CLUSTER>(before);
            before = ring.empty + 8 * ring.stage;
            ring.next();
        }
        hopper_mma_wait<0>();
        hopper_hold(acc);
        hopper_give_back<CLUSTER>(before);
        hopper_finish<N, NUMBER>(a, ring, token, row, acc);
    }
}
#endif

template <int N, int NUMBER, int CLUSTER>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    gemm_hopper_kernel(const __grid_constant__ hopper_args a)
{
#if __CUDA_ARCH_FEAT_SM90_ALL
    GPU_SHARED(char, 1024, shared);
    hopper_ring<N> ring = hopper_ring_of<N>(shared, 1, 8 * CLUSTER);
    int rank = CLUSTER == 2 ? hopper_cluster_rank() : 0;
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0)
            hopper_copy<N, NUMBER, CLUSTER>(a, ring, rank);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        hopper_multiply<N, NUMBER, CLUSTER>(a, ring, rank);
    }
    hopper_cluster_sync(); /* nobody leaves while the other writes into it */
#endif
}

/* Rows of a tile, blocks of a cluster. */
#define HOPPER_SHAPES(X) X(128, 1) X(128, 2) X(192, 2) X(224, 2) X(256, 2)

pare_status gemm_hopper_f16(gpu_context *, const hopper_args &, int shape, unsigned blocks);
pare_status gemm_hopper_bf16(gpu_context *, const hopper_args &, int shape, unsigned blocks);
pare_status gemm_hopper_int8(gpu_context *, const hopper_args &, int shape, unsigned blocks);

template <int NUMBER>
static pare_status hopper_start(gpu_context *context, const hopper_args &a, int shape,
                                unsigned blocks)
{
    const char *what = "a matrix product";
#define X(N, CLUSTER)                                                                              \
    if (shape-- == 0)                                                                              \
        return hopper_launch(context, what, gemm_hopper_kernel<N, NUMBER, CLUSTER>, dim3(blocks),  \
                             CLUSTER, HOPPER_THREADS, HOPPER_SHARED, a);
    HOPPER_SHAPES(X)
#undef X
    return gpu_check(cudaErrorInvalidValue, what);
}

#endif
