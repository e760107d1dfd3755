/* Many tokens: y = x W^T on the tensor cores (mma.sync, sm_80 and later). Tiles of 128 tokens x 128
 * rows, steps of 64 columns that cp.async brings; 8 warps, each 64 tokens x 32 rows. In shared
 * memory a row is 8 pieces of 16 bytes, piece c at c ^ (row % 8): copies and ldmatrix then meet
 * every bank once. */
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/mma.cuh"

enum { GEMM_TILE = 128, GEMM_THREADS = 256, GEMM_STAGES = 3 };
enum { GEMM_HALF_STAGE = GEMM_TILE * GEMM_STEP * 2, GEMM_STAGE = 2 * GEMM_HALF_STAGE };

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

#if __CUDA_ARCH__ >= 800
__device__ inline void gemm_load4(uint32_t r[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
#endif

template <bool BF16>
__global__ void __launch_bounds__(GEMM_THREADS, 2) gemm_kernel(const __grid_constant__ gemm_args a)
{
#if __CUDA_ARCH__ >= 800
    GPU_SHARED(char, 128, shared);
    uint32_t base = gpu_shared_address(shared);
    int lane = threadIdx.x % GPU_WARP, warp = threadIdx.x / GPU_WARP;
    int warp_token = warp % 2 * 64, warp_row = warp / 2 * 32;
    gemm_walk walk = gemm_walk_of(a);
    float acc[4][16] = {};
    for (int i = 0; i < GEMM_STAGES - 1; i++)
        gemm_fetch_step(a, walk, base, GEMM_STAGES);
    for (int step = 0; step < walk.steps; step++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(GEMM_STAGES - 2) : "memory");
        __syncthreads();
        gemm_fetch_step(a, walk, base, GEMM_STAGES);
        uint32_t x = base + (uint32_t)(step % GEMM_STAGES) * GEMM_STAGE, w = x + GEMM_HALF_STAGE;
#pragma unroll
        for (int k = 0; k < GEMM_STEP / 16; k++) {
            uint32_t xa[4][4], wb[2][4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = warp_token + 16 * i + lane % 16, piece = 2 * k + lane / 16;
                gemm_load4(xa[i], x + (uint32_t)(row * 128 + (piece ^ (row & 7)) * 16));
            }
#pragma unroll
            for (int j = 0; j < 2; j++) {
                int row = warp_row + 16 * j + lane % 8 + lane / 16 * 8;
                int piece = 2 * k + lane / 8 % 2;
                gemm_load4(wb[j], w + (uint32_t)(row * 128 + (piece ^ (row & 7)) * 16));
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    gpu_mma<BF16>(acc[i] + 4 * j, xa[i], wb[j / 2][j % 2 * 2],
                                  wb[j / 2][j % 2 * 2 + 1]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int64_t token = walk.first_token + warp_token + 16 * i + lane / 4;
        gemm_finish(a.g, token, walk.first_row + warp_row, acc[i]);
    }
#endif
}

extern "C" bool gpu_multiplies_codes(const gpu_context *context)
{
    return context->major == 9;
}

extern "C" pare_status gpu_gemm(gpu_context *context, const gpu_gemm_args *args)
{
    gemm_args a = {*args};
    for (int sum = 2; sum >= 0; sum--)
        for (int i = 0; i <= sum; i++)
            if (i < args->x.planes && sum - i < args->w.planes) {
                a.x_plane[a.pairs] = i;
                a.w_plane[a.pairs++] = sum - i;
            }
    if (context->major == 9 && args->way != GPU_GEMM_PORTABLE)
        return gemm_hopper(context, a);
    dim3 grid((unsigned)((args->tokens + GEMM_TILE - 1) / GEMM_TILE),
              (unsigned)((args->rows + GEMM_TILE - 1) / GEMM_TILE));
    return args->x.number == GPU_BF16
               ? gpu_launch(context, "a matrix product", false, gemm_kernel<true>, grid,
                            dim3(GEMM_THREADS), GEMM_STAGES * GEMM_STAGE, a)
               : gpu_launch(context, "a matrix product", false, gemm_kernel<false>, grid,
                            dim3(GEMM_THREADS), GEMM_STAGES * GEMM_STAGE, a);
}
