/* The numbers that packed weights stand for, exactly as the reference computes them. */
#ifndef PARE_KERNELS_CUDA_VALUES_CUH
#define PARE_KERNELS_CUDA_VALUES_CUH

#include "kernels/cuda/formats.cuh"

/* Exact values of the table formats (quant/format_nf4.c, format_iq4.c). */
template <class TABLE> __device__ inline float gpu_table_value(int code);
template <> __device__ inline float gpu_table_value<gpu_table_iq4>(int code)
{
    static const float v[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};
    return v[code];
}
template <> __device__ inline float gpu_table_value<gpu_table_nf4>(int code)
{
    static const float v[16] = {
        -1.0f,
        -0.6961928009986877f,
        -0.5250730514526367f,
        -0.39491748809814453f,
        -0.28444138169288635f,
        -0.18477343022823334f,
        -0.09105003625154495f,
        0.0f,
        0.07958029955625534f,
        0.16093020141124725f,
        0.24611230194568634f,
        0.33791524171829224f,
        0.44070982933044434f,
        0.5626170039176941f,
        0.7229568362236023f,
        1.0f,
    };
    return v[code];
}
template <> __device__ inline float gpu_table_value<gpu_table_fp4>(int code)
{
    static const float v[16] = {
        0.0f,       0.0625f / 12, 8.0f / 12,  12.0f / 12,    4.0f / 12,  6.0f / 12,
        2.0f / 12,  3.0f / 12,    -0.0f,      -0.0625f / 12, -8.0f / 12, -12.0f / 12,
        -4.0f / 12, -6.0f / 12,   -2.0f / 12, -3.0f / 12,
    };
    return v[code];
}

/* Byte b of a word as a number: 2^23 + byte has the byte in its lowest bits. Exact. */
template <int ZERO> __device__ inline float gpu_code_value(uint32_t word, int b)
{
    return __uint_as_float(__byte_perm(word, 0x4b000000, 0x7650 | b)) - (8388608.0f + ZERO);
}

/* Eight values of a group, columns 8q .. 8q+7, of their codes: scale (code - ZERO) + minimum, as
 * the reference computes them. */
template <class F>
__device__ inline void gpu_word_values(const uint32_t w[2], const gpu_scales &s, int q, float v[8])
{
    float scale = F::HALVES == 2 && q >= 2 ? s.scale[1] : s.scale[0];
    float minimum = F::HALVES == 2 && q >= 2 ? s.minimum[1] : s.minimum[0];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float code;
        if constexpr (F::HAS_TABLE)
            code = gpu_table_value<typename F::table>(w[i / 4] >> (i % 4 * 8) & 255);
        else
            code = gpu_code_value<F::ZERO>(F::ZERO == GPU_SIGNED ? w[i / 4] ^ 0x80808080 : w[i / 4],
                                           i % 4);
        v[i] = __fmul_rn(scale, code);
        if (F::MINIMUM)
            v[i] = __fadd_rn(v[i], minimum);
    }
}

template <class F>
__device__ inline void gpu_eight_values(const uint8_t *chunk, int groups, int lane, int q,
                                        float v[8])
{
    uint32_t w[2];
    F::codes::load2(chunk, groups, lane, q, w);
    gpu_word_values<F>(w, F::load_scales(chunk, groups, lane), q, v);
}

/* ---- numbers stored as they are ---- */

struct gpu_f32 {
    using number = float;
    static constexpr int BYTES = 4;
    __device__ static void load8(const uint8_t *p, float v[8])
    {
        float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    }
};
struct gpu_f16 {
    static constexpr int BYTES = 2;
    __device__ static void load8(const uint8_t *p, float v[8])
    {
        uint4 a = *(const uint4 *)p;
        uint32_t q[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[2 * i] = gpu_half((uint16_t)q[i]);
            v[2 * i + 1] = gpu_half((uint16_t)(q[i] >> 16));
        }
    }
};
struct gpu_bf16 {
    static constexpr int BYTES = 2;
    __device__ static void load8(const uint8_t *p, float v[8])
    {
        uint4 a = *(const uint4 *)p;
        uint32_t q[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[2 * i] = __uint_as_float(q[i] << 16);
            v[2 * i + 1] = __uint_as_float(q[i] & 0xffff0000);
        }
    }
};
#define GPU_DENSE_LIST(X)                                                                          \
    X(F32, gpu_f32)                                                                                \
    X(F16, gpu_f16)                                                                                \
    X(BF16, gpu_bf16)

#endif
