/* Many tokens on Hopper's matrix units (wgmma, sm_90a): as gemm.cu, whose layout of tiles in shared
 * memory is the units' own 128-byte swizzle, so that copies stay what they are. Two warpgroups take
 * 64 tokens each, 128 rows together. */
#include "kernels/cuda/gemm.cuh"

enum { HOPPER_STAGES = 3 };

#if __CUDA_ARCH_FEAT_SM90_ALL
/* A tile of rows of 128 bytes: 8 rows are 1024 bytes, swizzle of 128 bytes (1 in bits 62-63). */
__device__ inline uint64_t hopper_tile(uint32_t address)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 |
           (uint64_t)1 << 62;
}

#define HOPPER_8(c, i)                                                                             \
    "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]),    \
        "+f"(c[i + 6]), "+f"(c[i + 7])
#define HOPPER_MMA(TYPE)                                                                           \
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE " {"                 \
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "          \
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "     \
                 "%31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "     \
                 "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, "     \
                 "%61, %62, %63}, %64, %65, 1, 1, 1, 0, 0;"                                        \
                 : HOPPER_8(c, 0), HOPPER_8(c, 8), HOPPER_8(c, 16), HOPPER_8(c, 24),               \
                   HOPPER_8(c, 32), HOPPER_8(c, 40), HOPPER_8(c, 48), HOPPER_8(c, 56)              \
                 : "l"(x), "l"(w))

template <bool BF16> __device__ inline void hopper_mma(float c[64], uint64_t x, uint64_t w)
{
    if constexpr (BF16)
        HOPPER_MMA("bf16");
    else
        HOPPER_MMA("f16");
}
#endif

template <bool BF16>
__global__ void __launch_bounds__(GEMM_THREADS, 2)
    gemm_hopper_kernel(const __grid_constant__ gemm_args a)
{
#if __CUDA_ARCH_FEAT_SM90_ALL
    GPU_SHARED(char, 1024, shared);
    uint32_t base = (gpu_shared_address(shared) + 1023) & ~1023u;
    int lane = threadIdx.x % GPU_WARP, warp = threadIdx.x / GPU_WARP;
    gemm_walk walk = gemm_walk_of(a);
    float acc[64];
#pragma unroll
    for (int i = 0; i < 64; i++)
        acc[i] = 0;
    for (int i = 0; i < HOPPER_STAGES - 1; i++)
        gemm_fetch_step(a, walk, base, HOPPER_STAGES);
    for (int step = 0; step < walk.steps; step++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(HOPPER_STAGES - 2) : "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
        uint32_t x = base + (uint32_t)(step % HOPPER_STAGES) * GEMM_STAGE;
        uint64_t tokens = hopper_tile(x + (uint32_t)(warp / 4) * 64 * 128);
        uint64_t rows = hopper_tile(x + GEMM_HALF_STAGE);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (int k = 0; k < GEMM_STEP / 16; k++) /* 32 bytes further */
            hopper_mma<BF16>(acc, tokens + 2 * k, rows + 2 * k);
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        /* the stage of the step before is free once its products are done */
        asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
        __syncthreads();
        gemm_fetch_step(a, walk, base, HOPPER_STAGES);
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
    for (int i = 0; i < 64; i++)
        asm volatile("" : "+f"(acc[i])::"memory");
#pragma unroll
    for (int j = 0; j < 16; j++)
#pragma unroll
        for (int e = 0; e < 4; e += 2)
            gemm_store(a, walk.first_token + 16 * warp + lane / 4 + e / 2 * 8,
                       walk.first_row + 8 * j + lane % 4 * 2, acc[4 * j + e], acc[4 * j + e + 1]);
#endif
}

pare_status gemm_hopper(gpu_context *context, const gemm_args &a, dim3 grid)
{
    size_t shared = HOPPER_STAGES * GEMM_STAGE + 1024;
    return a.g.x.number == GPU_BF16
               ? gpu_launch(context, "a matrix product", false, gemm_hopper_kernel<true>, grid,
                            dim3(GEMM_THREADS), shared, a)
               : gpu_launch(context, "a matrix product", false, gemm_hopper_kernel<false>, grid,
                            dim3(GEMM_THREADS), shared, a);
}
