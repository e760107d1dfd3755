/* Eight values into planes of 16-bit numbers whose sum they are. */
#ifndef PARE_KERNELS_CUDA_NUMBERS_CUH
#define PARE_KERNELS_CUDA_NUMBERS_CUH

#include "kernels/cuda/common.cuh"

/* FP16 as far as it goes: a value beyond stays its largest number, so that one activation out of
 * range does not make everything NaN. */
__device__ inline uint32_t gpu_pair_f16(float a, float b)
{
    __half2 h = __floats2half2_rn(fminf(fmaxf(a, -65504.0f), 65504.0f),
                                  fminf(fmaxf(b, -65504.0f), 65504.0f));
    return *(uint32_t *)&h;
}

__device__ inline uint32_t gpu_pair_bf16(float a, float b)
{
    __nv_bfloat162 h = __floats2bfloat162_rn(a, b);
    return *(uint32_t *)&h;
}

__device__ inline uint32_t gpu_pair(gpu_number number, float a, float b)
{
    return number == GPU_F16 ? gpu_pair_f16(a, b) : gpu_pair_bf16(a, b);
}

/* Four neighbouring lanes exchange words: lane q gets word q of each. Matrix instructions leave two
 * columns of 8 to a lane; afterwards it has 8 of 32. */
__device__ inline void gpu_exchange(uint32_t w[4])
{
#pragma unroll
    for (int bit = 1; bit < 4; bit *= 2)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (!(i & bit)) {
                bool low = threadIdx.x & bit;
                uint32_t got = __shfl_xor_sync(GPU_ALL, low ? w[i] : w[i | bit], bit);
                w[i] = low ? got : w[i];
                w[i | bit] = low ? w[i | bit] : got;
            }
}

/* k a multiple of 8. */
__device__ inline void gpu_put8(const gpu_planes &to, int64_t row, int64_t k, const float *v)
{
    if (to.number == GPU_F32) {
        float4 *p = (float4 *)((float *)to.data + row * to.stride + k);
        p[0] = make_float4(v[0], v[1], v[2], v[3]);
        p[1] = make_float4(v[4], v[5], v[6], v[7]);
        return;
    }
    float rest[8];
    for (int i = 0; i < 8; i++)
        rest[i] = v[i];
    for (int p = 0; p < to.planes; p++) {
        uint32_t q[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            q[i] = to.number == GPU_F16 ? gpu_pair_f16(rest[2 * i], rest[2 * i + 1])
                                        : gpu_pair_bf16(rest[2 * i], rest[2 * i + 1]);
            rest[2 * i] -= __uint_as_float(q[i] << 16); /* of BF16; FP16 has one plane */
            rest[2 * i + 1] -= __uint_as_float(q[i] & 0xffff0000);
        }
        uint16_t *base = (uint16_t *)to.data + (p * to.plane_rows + row) * to.stride + k;
        *(uint4 *)base = make_uint4(q[0], q[1], q[2], q[3]);
    }
}

#endif
