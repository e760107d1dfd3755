/* Products of a chunk of a row with the input. */
#ifndef PARE_KERNELS_CUDA_MATVEC_DOT_CUH
#define PARE_KERNELS_CUDA_MATVEC_DOT_CUH

#include "kernels/cuda/matvec_input.cuh"

/* ---- products of a chunk ---- */

/* add(): columns first .. first + columns - 1 of ROWS rows, whose packed chunks lie at `chunk`,
 * CHUNK_BYTES apart. */

template <class F> struct matvec_dense_dot {
    using layout = matvec_dense<F>;
    __device__ static void add(const uint8_t *chunk, int first, int columns, const matvec_input &in,
                               const float *, float acc[layout::ROWS])
    {
        int lane = threadIdx.x % GPU_WARP;
        if (8 * lane >= columns)
            return;
        const float4 *x = (const float4 *)(in.x + first);
        float4 x0 = x[lane], x1 = x[GPU_WARP + lane];
#pragma unroll
        for (int r = 0; r < layout::ROWS; r++) {
            float w[8];
            F::load8(chunk + r * layout::CHUNK_BYTES + F::BYTES * 8 * lane, w);
            acc[r] += w[0] * x0.x + w[1] * x0.y + w[2] * x0.z + w[3] * x0.w;
            acc[r] += w[4] * x1.x + w[5] * x1.y + w[6] * x1.z + w[7] * x1.w;
        }
    }
};

/* FP32 inputs. Values of a table lie in shared memory: 16 banks, so no conflicts. */
template <class F> struct matvec_exact_dot {
    using layout = matvec_coded<F, false>;
    __device__ static void fill_table(float *table)
    {
        if constexpr (F::HAS_TABLE)
            if (threadIdx.x < 16)
                table[threadIdx.x] = gpu_table_value<typename F::table>((int)threadIdx.x);
    }
    __device__ static void add(const uint8_t *chunk, int first, int columns, const matvec_input &in,
                               const float *table, float acc[layout::ROWS])
    {
        int groups = (columns + GPU_GROUP - 1) / GPU_GROUP, lane = threadIdx.x % GPU_WARP;
        if (lane >= groups)
            return;
        const float4 *x = (const float4 *)(in.x + first) + lane;
#pragma unroll
        for (int r = 0; r < layout::ROWS; r += 2) {
            const uint8_t *row = chunk + r * layout::CHUNK_BYTES;
            uint32_t w[2][8];
            float part[2][2] = {};
            F::codes::load(row, groups, lane, w[0]);
            F::codes::load(row + layout::CHUNK_BYTES, groups, lane, w[1]);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float4 v = x[GPU_WARP * i];
#pragma unroll
                for (int k = 0; k < 2; k++) {
                    float c[4];
                    uint32_t word = F::ZERO == GPU_SIGNED ? w[k][i] ^ 0x80808080 : w[k][i];
#pragma unroll
                    for (int b = 0; b < 4; b++)
                        c[b] = F::HAS_TABLE ? table[word >> (8 * b) & 255]
                                            : gpu_code_value<F::ZERO>(word, b);
                    part[k][i / 4] += c[0] * v.x + c[1] * v.y + c[2] * v.z + c[3] * v.w;
                }
            }
            finish(row, groups, first, in, part[0], acc[r]);
            finish(row + layout::CHUNK_BYTES, groups, first, in, part[1], acc[r + 1]);
        }
    }
    __device__ static void finish(const uint8_t *row, int groups, int first, const matvec_input &in,
                                  const float part[2], float &acc)
    {
        int lane = threadIdx.x % GPU_WARP;
        gpu_scales s = F::load_scales(row, groups, lane);
        if (F::HALVES == 1)
            acc += s.scale[0] * (part[0] + part[1]);
        else
            acc += s.scale[0] * part[0] + s.scale[1] * part[1];
        if (F::MINIMUM) {
            float2 sum = in.sums[first / GPU_GROUP + lane];
            acc += s.minimum[0] * sum.x + s.minimum[1] * sum.y;
        }
    }
};

__device__ inline int matvec_dp4a(uint32_t codes, uint32_t x, int sum)
{
    return __dp4a((int)codes, (int)x, sum);
}

__device__ inline int matvec_dp4a_unsigned(uint32_t codes, uint32_t x, int sum)
{
#ifdef GPU_EMULATE
    for (int i = 0; i < 4; i++)
        sum += (int)(codes >> (8 * i) & 255) * (int8_t)(x >> (8 * i));
    return sum;
#else
    int d;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(codes), "r"(x), "r"(sum));
    return d;
#endif
}

/* 8-bit inputs. */
template <class F> struct matvec_fast_dot {
    using layout = matvec_coded<F, true>;

    __device__ static void codes_dot(const uint8_t *row, int groups, int lane, const uint32_t x[8],
                                     int dot[2])
    {
        uint32_t w[8];
        dot[0] = dot[1] = 0;
        if constexpr (F::HAS_TABLE) {
            uint4 a = *(const uint4 *)(row + 16 * lane);
            uint32_t q[4] = {a.x, a.y, a.z, a.w}, t[4], low[2] = {0, 0};
            F::table::high(t);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                gpu_look_up(t, q[j], w + 2 * j);
                dot[j / 2] = matvec_dp4a(w[2 * j], x[2 * j], dot[j / 2]);
                dot[j / 2] = matvec_dp4a(w[2 * j + 1], x[2 * j + 1], dot[j / 2]);
            }
            if constexpr (F::table::WIDE) {
                F::table::low(t);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    gpu_look_up(t, q[j], w + 2 * j);
                    low[j / 2] = matvec_dp4a_unsigned(w[2 * j], x[2 * j], (int)low[j / 2]);
                    low[j / 2] = matvec_dp4a_unsigned(w[2 * j + 1], x[2 * j + 1], (int)low[j / 2]);
                }
                dot[0] = 256 * dot[0] + (int)low[0];
                dot[1] = 256 * dot[1] + (int)low[1];
            }
        } else {
            F::codes::load(row, groups, lane, w);
#pragma unroll
            for (int i = 0; i < 8; i++)
                dot[i / 4] = matvec_dp4a(w[i], x[i], dot[i / 4]);
        }
    }

    __device__ static void add(const uint8_t *chunk, int first, int columns, const matvec_input &in,
                               const float *, float acc[layout::ROWS])
    {
        int groups = (columns + GPU_GROUP - 1) / GPU_GROUP, lane = threadIdx.x % GPU_WARP;
        if (lane >= groups)
            return;
        const uint4 *codes = (const uint4 *)(in.codes + first) + lane;
        uint4 a = codes[0], b = codes[GPU_WARP];
        const uint32_t x[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        float scale = in.scales[first / GPU_GROUP + lane];
        int sums = in.code_sums[first / GPU_GROUP + lane];
        int sum[2] = {(int)(int16_t)(sums & 0xffff), sums >> 16};
        constexpr int ZERO = F::ZERO == GPU_SIGNED ? 0 : F::ZERO;
#pragma unroll
        for (int r = 0; r < layout::ROWS; r++) {
            const uint8_t *row = chunk + r * layout::CHUNK_BYTES;
            int dot[2];
            codes_dot(row, groups, lane, x, dot);
            gpu_scales s = F::load_scales(row, groups, lane);
            float product;
            if (F::HALVES == 1) {
                product = s.scale[0] * unit() * (float)(dot[0] + dot[1] - ZERO * (sum[0] + sum[1]));
                if (F::MINIMUM)
                    product += s.minimum[0] * (float)(sum[0] + sum[1]);
            } else {
                product = s.scale[0] * (float)(dot[0] - ZERO * sum[0]) +
                          s.scale[1] * (float)(dot[1] - ZERO * sum[1]);
                if (F::MINIMUM)
                    product += s.minimum[0] * (float)sum[0] + s.minimum[1] * (float)sum[1];
            }
            acc[r] += scale * product;
        }
    }

    __host__ __device__ static constexpr float unit()
    {
        return F::table::WIDE ? 1.0f / 32767 : 1.0f;
    }
};

#endif
