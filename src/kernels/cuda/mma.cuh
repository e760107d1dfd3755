/* The matrix instruction of sm_80 and later. */
#ifndef PARE_KERNELS_CUDA_MMA_CUH
#define PARE_KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/common.cuh"

/* types: the instruction's shape and types; sums: the constraint of c, a float or an int. */
#define GPU_MMA_SYNC(types, sums)                                                                  \
    asm("mma.sync.aligned." types " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"         \
        : "+" sums(c[0]), "+" sums(c[1]), "+" sums(c[2]), "+" sums(c[3])                           \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))

/* c += a b: 16 rows x 16 columns times 16 columns x 8 tokens. */
template <bool BF16>
__device__ inline void gpu_mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#ifdef GPU_EMULATE
    const uint32_t b[2] = {b0, b1};
    emulated_mma(c, a, b, BF16);
#elif __CUDA_ARCH__ >= 800
    if (BF16)
        GPU_MMA_SYNC("m16n8k16.row.col.f32.bf16.bf16.f32", "f");
    else
        GPU_MMA_SYNC("m16n8k16.row.col.f32.f16.f16.f32", "f");
#endif
}

/* c += a b of bytes: 16 rows x 32 columns (SIGNED or not) times 32 columns x 8 tokens. */
template <bool SIGNED>
__device__ inline void gpu_mma_bytes(int c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#ifdef GPU_EMULATE
    const uint32_t b[2] = {b0, b1};
    emulated_mma_bytes(c, a, b, SIGNED);
#elif __CUDA_ARCH__ >= 800
    if (SIGNED)
        GPU_MMA_SYNC("m16n8k32.row.col.s32.s8.s8.s32", "r");
    else
        GPU_MMA_SYNC("m16n8k32.row.col.s32.u8.s8.s32", "r");
#endif
}

#endif
