/* Many tokens: y = x W^T on the tensor cores (mma.sync, sm_80 and later). 8 warps, each 64 tokens x
 * 32 rows. */
#include "kernels/cuda/gemm.cuh"

enum { GEMM_STAGES = 3 };

#if __CUDA_ARCH__ >= 800
__device__ inline void gemm_load4(uint32_t r[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

template <bool BF16>
__device__ inline void gemm_mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    if (BF16)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                     "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                     "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
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
    float acc[4][4][4] = {};
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
                    gemm_mma<BF16>(acc[i][j], xa[i], wb[j / 2][j % 2 * 2],
                                   wb[j / 2][j % 2 * 2 + 1]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 4; e += 2)
                gemm_store(a, walk.first_token + warp_token + 16 * i + lane / 4 + e / 2 * 8,
                           walk.first_row + warp_row + 8 * j + lane % 4 * 2, acc[i][j][e],
                           acc[i][j][e + 1]);
#endif
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
    dim3 grid((unsigned)((args->tokens + GEMM_TILE - 1) / GEMM_TILE),
              (unsigned)((args->rows + GEMM_TILE - 1) / GEMM_TILE));
    if (context->major == 9 && !args->portable)
        return gemm_hopper(context, a, grid);
    return args->x.number == GPU_BF16
               ? gpu_launch(context, "a matrix product", false, gemm_kernel<true>, grid,
                            dim3(GEMM_THREADS), GEMM_STAGES * GEMM_STAGE, a)
               : gpu_launch(context, "a matrix product", false, gemm_kernel<false>, grid,
                            dim3(GEMM_THREADS), GEMM_STAGES * GEMM_STAGE, a);
}
