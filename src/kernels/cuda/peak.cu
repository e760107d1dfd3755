/* What the card can do: memory read at once, and matrix instructions without memory. */
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/peak.cuh"

enum { READ_THREADS = 256, READ_BLOCKS = 8, PEAK_CHAINS = 8 };

/* Every byte is read; the sum is written so that no load can be left out. */
__global__ void read_kernel(const uint4 *data, size_t count, uint32_t *sums)
{
    size_t step = (size_t)gridDim.x * READ_THREADS;
    uint32_t sum = 0;
#pragma unroll 4
    for (size_t i = (size_t)blockIdx.x * READ_THREADS + threadIdx.x; i < count; i += step) {
        uint4 q = data[i];
        sum ^= q.x ^ q.y ^ q.z ^ q.w;
    }
    sums[blockIdx.x * READ_THREADS + threadIdx.x] = sum;
}

extern "C" size_t gpu_peak_scratch(const gpu_context *context)
{
    return sizeof(uint32_t) * READ_THREADS * READ_BLOCKS * (size_t)context->multiprocessors;
}

extern "C" pare_status gpu_read_all(gpu_context *context, const void *data, size_t bytes,
                                    void *scratch)
{
    return gpu_launch(context, "reading memory", false, read_kernel,
                      dim3((unsigned)(READ_BLOCKS * context->multiprocessors)), dim3(READ_THREADS),
                      0, (const uint4 *)data, bytes / sizeof(uint4), (uint32_t *)scratch);
}

/* ---- matrix instructions (mma.sync) ---- */

template <int KIND> __device__ inline void peak_mma(uint32_t c[4], uint32_t a, uint32_t b)
{
#ifdef GPU_EMULATE
    const uint32_t left[4] = {a, a, a, a}, right[2] = {b, b};
    float sums[4] = {0, 0, 0, 0};
    emulated_mma(sums, left, right, KIND == GPU_PEAK_BF16);
    for (int i = 0; i < 4; i++)
        c[i] ^= __float_as_uint(sums[i]);
#elif __CUDA_ARCH__ >= 800
    if constexpr (KIND == GPU_PEAK_INT8) {
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, "
                     "{%4,%4,%4,%4}, {%5,%5}, {%0,%1,%2,%3};"
                     : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                     : "r"(a), "r"(b));
    } else if constexpr (KIND == GPU_PEAK_BF16) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                     "{%4,%4,%4,%4}, {%5,%5}, {%0,%1,%2,%3};"
                     : "+f"(*(float *)&c[0]), "+f"(*(float *)&c[1]), "+f"(*(float *)&c[2]),
                       "+f"(*(float *)&c[3])
                     : "r"(a), "r"(b));
    } else {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                     "{%4,%4,%4,%4}, {%5,%5}, {%0,%1,%2,%3};"
                     : "+f"(*(float *)&c[0]), "+f"(*(float *)&c[1]), "+f"(*(float *)&c[2]),
                       "+f"(*(float *)&c[3])
                     : "r"(a), "r"(b));
    }
#endif
}

template <int KIND> __global__ void peak_kernel(int rounds, uint32_t *out)
{
    uint32_t c[PEAK_CHAINS][4] = {}, sum = 0;
    uint32_t a = 0x3c003c00u + threadIdx.x, b = 0x3c013c00u ^ threadIdx.x;
    for (int r = 0; r < rounds; r++)
#pragma unroll
        for (int i = 0; i < PEAK_CHAINS; i++)
            peak_mma<KIND>(c[i], a, b);
#pragma unroll
    for (int i = 0; i < PEAK_CHAINS; i++)
        sum ^= c[i][0] ^ c[i][1] ^ c[i][2] ^ c[i][3];
    out[blockIdx.x * PEAK_THREADS + threadIdx.x] = sum;
}

extern "C" pare_status gpu_matrix_peak(gpu_context *context, gpu_peak kind, bool own, int rounds,
                                       void *scratch, double *operations)
{
    unsigned blocks = (unsigned)(PEAK_BLOCKS * context->multiprocessors);
    uint32_t *out = (uint32_t *)scratch;
    const char *what = "matrix instructions";
    *operations = 0;
    if (context->major < 8)
        return PARE_OK;
#ifndef GPU_EMULATE
    if (own && context->major == 9)
        return peak_hopper(context, kind, rounds, out, operations);
#endif
    if (own)
        return PARE_OK;
    *operations = 2.0 * 16 * 8 * (kind == GPU_PEAK_INT8 ? 32 : 16) * PEAK_CHAINS * rounds *
                  (PEAK_THREADS / GPU_WARP) * blocks;
    switch (kind) {
    case GPU_PEAK_F16:
        return gpu_launch(context, what, false, peak_kernel<GPU_PEAK_F16>, dim3(blocks),
                          dim3(PEAK_THREADS), 0, rounds, out);
    case GPU_PEAK_BF16:
        return gpu_launch(context, what, false, peak_kernel<GPU_PEAK_BF16>, dim3(blocks),
                          dim3(PEAK_THREADS), 0, rounds, out);
    default:
        return gpu_launch(context, what, false, peak_kernel<GPU_PEAK_INT8>, dim3(blocks),
                          dim3(PEAK_THREADS), 0, rounds, out);
    }
}
