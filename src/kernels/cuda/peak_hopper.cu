/* The rate of Hopper's matrix instructions (wgmma, sm_90a): tiles in shared memory that stay there.
 */
#include "kernels/cuda/peak.cuh"

enum { HOPPER_TILE_ROWS = 128, HOPPER_ROW_BYTES = 128, HOPPER_CHAIN = 8 };

#if __CUDA_ARCH_FEAT_SM90_ALL
/* Rows of 128 bytes, 8 of them 1024 bytes, swizzle of 128 bytes: as gemm_hopper.cu. */
__device__ inline uint64_t peak_tile(uint32_t address)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 |
           (uint64_t)1 << 62;
}

#define PEAK_8(C, c, i)                                                                            \
    "+" C(c[i]), "+" C(c[i + 1]), "+" C(c[i + 2]), "+" C(c[i + 3]), "+" C(c[i + 4]),               \
        "+" C(c[i + 5]), "+" C(c[i + 6]), "+" C(c[i + 7])
#define PEAK_WGMMA(SHAPE, C, TAIL)                                                                 \
    asm volatile("wgmma.mma_async.sync.aligned." SHAPE " {"                                        \
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "          \
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "     \
                 "%31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "     \
                 "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, "     \
                 "%61, %62, %63}, %64, %65, 1" TAIL ";"                                            \
                 : PEAK_8(C, c, 0), PEAK_8(C, c, 8), PEAK_8(C, c, 16), PEAK_8(C, c, 24),           \
                   PEAK_8(C, c, 32), PEAK_8(C, c, 40), PEAK_8(C, c, 48), PEAK_8(C, c, 56)          \
                 : "l"(x), "l"(w))

template <int KIND, class T> __device__ inline void peak_wgmma(T c[64], uint64_t x, uint64_t w)
{
    if constexpr (KIND == GPU_PEAK_INT8)
        PEAK_WGMMA("m64n128k32.s32.s8.s8", "r", "");
    else if constexpr (KIND == GPU_PEAK_BF16)
        PEAK_WGMMA("m64n128k16.f32.bf16.bf16", "f", ", 1, 1, 0, 0");
    else
        PEAK_WGMMA("m64n128k16.f32.f16.f16", "f", ", 1, 1, 0, 0");
}

template <int KIND, class T> __device__ inline void peak_run(int rounds, uint32_t *out)
{
    __shared__ __align__(1024) uint32_t tiles[2 * HOPPER_TILE_ROWS * HOPPER_ROW_BYTES / 4];
    for (int i = threadIdx.x; i < 2 * HOPPER_TILE_ROWS * HOPPER_ROW_BYTES / 4; i += PEAK_THREADS)
        tiles[i] = 0x2c002c00u + (uint32_t)i * 2654435761u % 1021; /* small numbers of every kind */
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    uint32_t base = gpu_shared_address(tiles);
    uint64_t x = peak_tile(base + threadIdx.x / 128 * 64 * HOPPER_ROW_BYTES);
    uint64_t w = peak_tile(base + HOPPER_TILE_ROWS * HOPPER_ROW_BYTES);
    T c[64];
#pragma unroll
    for (int i = 0; i < 64; i++)
        c[i] = 0;
    for (int r = 0; r < rounds; r++) {
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (int i = 0; i < HOPPER_CHAIN; i++) /* 32 bytes further */
            peak_wgmma<KIND, T>(c, x + 2 * (i % 4), w + 2 * (i % 4));
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    }
    uint32_t sum = 0;
#pragma unroll
    for (int i = 0; i < 64; i++)
        sum ^= (uint32_t)c[i];
    out[blockIdx.x * PEAK_THREADS + threadIdx.x] = sum;
}
#endif

template <int KIND>
__global__ void __launch_bounds__(PEAK_THREADS, PEAK_BLOCKS)
    peak_hopper_kernel(int rounds, uint32_t *out)
{
#if __CUDA_ARCH_FEAT_SM90_ALL
    if constexpr (KIND == GPU_PEAK_INT8)
        peak_run<KIND, uint32_t>(rounds, out);
    else
        peak_run<KIND, float>(rounds, out);
#endif
}

pare_status peak_hopper(gpu_context *context, gpu_peak kind, int rounds, uint32_t *out,
                        double *operations)
{
    dim3 grid((unsigned)(PEAK_BLOCKS * context->multiprocessors)), block(PEAK_THREADS);
    const char *what = "matrix instructions";
    *operations = 2.0 * 64 * 128 * (kind == GPU_PEAK_INT8 ? 32 : 16) * HOPPER_CHAIN * rounds *
                  (PEAK_THREADS / 128) * grid.x;
    switch (kind) {
    case GPU_PEAK_F16:
        return gpu_launch(context, what, false, peak_hopper_kernel<GPU_PEAK_F16>, grid, block, 0,
                          rounds, out);
    case GPU_PEAK_BF16:
        return gpu_launch(context, what, false, peak_hopper_kernel<GPU_PEAK_BF16>, grid, block, 0,
                          rounds, out);
    default:
        return gpu_launch(context, what, false, peak_hopper_kernel<GPU_PEAK_INT8>, grid, block, 0,
                          rounds, out);
    }
}
