/* The input of a product in shared memory: normalized, rounded, in the order in which lanes read.
 */
#ifndef PARE_KERNELS_CUDA_MATVEC_INPUT_CUH
#define PARE_KERNELS_CUDA_MATVEC_INPUT_CUH

#include "kernels/cuda/round.cuh"
#include "kernels/cuda/values.cuh"

enum {
    MATVEC_WARPS = 16, /* fewer where shared memory is short */
    MATVEC_THREADS = MATVEC_WARPS * GPU_WARP,
    MATVEC_RING = 4600, /* bytes of a warp's ring: about two stages */
};

/* ---- how a lane's columns lie in a chunk ---- */

/* A warp multiplies ROWS rows at a time, so that they share the input's way from shared memory. */

template <class F> struct matvec_dense {
    static constexpr int LANE = 8; /* consecutive columns of a lane */
    static constexpr int CHUNK = GPU_WARP * LANE;
    static constexpr int ROWS = F::BYTES == 2 ? 4 : 2;
    static constexpr uint32_t CHUNK_BYTES = F::BYTES * CHUNK;
    static constexpr bool SUMS = false, QUANTIZED = false, PAIRED = false;
    __host__ __device__ static constexpr uint32_t chunk_bytes(int columns)
    {
        return (uint32_t)(F::BYTES * ((columns + 31) / 32 * 32));
    }
};

template <class F, bool FAST> struct matvec_coded {
    static constexpr int LANE = GPU_GROUP;
    static constexpr int CHUNK = GPU_CHUNK;
    static constexpr uint32_t CHUNK_BYTES = F::chunk_bytes(GPU_CHUNK_GROUPS);
    static constexpr int ROWS = CHUNK_BYTES > 704 ? 2 : 4;
    static constexpr bool SUMS = FAST || F::MINIMUM; /* of a group's inputs */
    static constexpr bool QUANTIZED = FAST;
    static constexpr bool PAIRED = F::HAS_TABLE; /* codes in the order of gpu_look_up() */
    __host__ __device__ static constexpr uint32_t chunk_bytes(int columns)
    {
        return F::chunk_bytes((columns + 31) / 32);
    }
};

/* The input in shared memory: FP32 in the order of lanes, [columns / (32 LANE)][LANE / 4][32][4];
 * or bytes, [columns / 1024][2][32][16], with each group's scale. Then each group's sums: of the
 * halves' codes (two 16-bit numbers), or of the halves' values. */
struct matvec_input {
    float *x;
    int8_t *codes;
    float *scales;
    int *code_sums;
    float2 *sums;
};

template <class L> __host__ __device__ inline size_t matvec_input_bytes(int64_t columns)
{
    size_t padded = (size_t)(columns + 1023) / 1024 * 1024, groups = padded / 32;
    if (L::QUANTIZED)
        return padded + groups * (sizeof(float) + sizeof(int));
    return padded * sizeof(float) + (L::SUMS ? groups * sizeof(float2) : 0);
}

template <class L> __device__ inline matvec_input matvec_input_at(char *shared, int64_t columns)
{
    size_t padded = (size_t)(columns + 1023) / 1024 * 1024, groups = padded / 32;
    matvec_input in = {};
    if (L::QUANTIZED) {
        in.codes = (int8_t *)shared;
        in.scales = (float *)(shared + padded);
        in.code_sums = (int *)(in.scales + groups);
    } else {
        in.x = (float *)shared;
        in.sums = (float2 *)(in.x + padded);
    }
    return in;
}

/* a / b rounded to nearest, where neither a, b nor the result is near the ends of the range:
 * __fdiv_rn is a call. */
__device__ inline float matvec_divide(float a, float b)
{
#ifdef GPU_EMULATE
    return a / b;
#else
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(b));
    float q = __fmul_rn(a, r);
    return __fmaf_rn(__fmaf_rn(-q, b, a), r, q);
#endif
}

/* The scale of the codes of a group with this largest magnitude, and what makes codes of values. */
__device__ inline float matvec_code_scale(float most)
{
    return most > 0x1p-100f ? matvec_divide(most, 127.0f) : 0;
}

__device__ inline float matvec_code_inverse(float most)
{
    return most > 0x1p-100f ? matvec_divide(127.0f, most) : 0;
}

__device__ inline uint32_t matvec_bytes(int a, int b, int c, int d)
{
    return (a & 255) | (b & 255) << 8 | (c & 255) << 16 | (uint32_t)d << 24;
}

/* Eight inputs from column 8 piece on. All lanes of a warp call it, with consecutive pieces. */
template <class L> __device__ inline void matvec_put(const matvec_input &in, int piece, float v[8])
{
    int k = 8 * piece, group = k / GPU_GROUP;
    if (L::QUANTIZED) {
        float most = 0;
        for (int i = 0; i < 8; i++)
            most = fmaxf(most, fabsf(v[i]));
        most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, 1));
        most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, 2));
        float inverse = matvec_code_inverse(most);
        int c[8], sum = 0;
        for (int i = 0; i < 8; i++)
            sum += c[i] = __float2int_rn(__fmul_rn(v[i], inverse));
        uint2 packed;
        constexpr int second = L::PAIRED ? 4 : 1, third = L::PAIRED ? 1 : 2,
                      next = L::PAIRED ? 2 : 4;
        packed.x = matvec_bytes(c[0], c[second], c[third], c[third + second]);
        packed.y =
            matvec_bytes(c[next], c[next + second], c[next + third], c[next + third + second]);
        int at = k / 1024 * 1024 + k % 32 / 16 * 512 + k % 1024 / 32 * 16 + k % 16;
        *(uint2 *)(in.codes + at) = packed;
        sum += __shfl_xor_sync(GPU_ALL, sum, 1);
        int other = __shfl_xor_sync(GPU_ALL, sum, 2);
        if (piece % 4 == 0) {
            in.scales[group] = matvec_code_scale(most);
            in.code_sums[group] = (sum & 0xffff) | other << 16;
        }
        return;
    }
    int block = GPU_WARP * L::LANE, lane = k % block / L::LANE, j = k % L::LANE / 4;
    float4 *to = (float4 *)(in.x + k / block * block) + j * GPU_WARP + lane;
    to[0] = make_float4(v[0], v[1], v[2], v[3]);
    to[GPU_WARP] = make_float4(v[4], v[5], v[6], v[7]);
    if (L::SUMS) {
        float sum = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
        sum += __shfl_xor_sync(GPU_ALL, sum, 1);
        float other = __shfl_xor_sync(GPU_ALL, sum, 2);
        if (piece % 4 == 0)
            in.sums[group] = make_float2(sum, other);
    }
}

__device__ inline void matvec_get(const float *x, int k, int columns, float v[8])
{
    float4 a = make_float4(0, 0, 0, 0), b = a;
    if (k < columns) { /* what lies between columns and the next multiple of 32 is zero */
        a = __ldcg((const float4 *)(x + k));
        b = __ldcg((const float4 *)(x + k) + 1);
    }
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

/* One body for all pieces, the next one's values on their way: code that runs once is not in the
 * instruction cache. */
template <class L>
__device__ inline void matvec_load_plain(const matvec_input &in, const gpu_matvec_args &a)
{
    int columns = (int)a.weights.columns, pieces = (columns + 31) / 32 * 4;
    int threads = (int)blockDim.x, piece = (int)threadIdx.x;
    float v[8], next[8];
    matvec_get(a.x, 8 * piece, columns, v);
#pragma unroll 1
    for (; (piece & ~31) < pieces; piece += threads) { /* a warp's pieces: all or whole groups */
        matvec_get(a.x, 8 * (piece + threads), columns, next);
        matvec_put<L>(in, piece, v);
        for (int j = 0; j < 8; j++)
            v[j] = next[j];
    }
}

/* The norm's weights, which do not depend on the kernel in front: the first piece is kept, the
 * others come as far as the L2 cache. */
struct matvec_norm {
    float weight[8], bias[8];
};

__device__ inline void matvec_prefetch_norm(const gpu_matvec_args &a, matvec_norm &n)
{
    int columns = (int)a.weights.columns, threads = (int)blockDim.x;
    for (int j = 0; j < 8; j++)
        n.weight[j] = 1, n.bias[j] = 0;
    if (!a.norm_weight)
        return;
    matvec_get(a.norm_weight, 8 * (int)threadIdx.x, columns, n.weight);
    if (a.norm_bias)
        matvec_get(a.norm_bias, 8 * (int)threadIdx.x, columns, n.bias);
    for (int k = 8 * ((int)threadIdx.x + threads); k < columns; k += 8 * threads)
        gpu_prefetch(a.norm_weight + k);
}

/* Of the RMS norm a row's factor multiplies the sums at the end: nothing waits for it. What it
 * follows from, a sum of each warp, goes to squares[]. */
template <class L>
__device__ inline void matvec_load_rms(const matvec_input &in, const gpu_matvec_args &a,
                                       const matvec_norm &first, float *squares)
{
    int columns = (int)a.weights.columns, pieces = (columns + 31) / 32 * 4;
    int threads = (int)blockDim.x, piece = (int)threadIdx.x;
    float v[8], sum = 0;
    matvec_norm n = first;
    matvec_get(a.x, 8 * piece, columns, v);
#pragma unroll 1
    for (int i = piece; (i & ~31) < pieces; i += threads) {
        if (i != piece) {
            matvec_get(a.x, 8 * i, columns, v);
            matvec_get(a.norm_weight, 8 * i, columns, n.weight);
        }
        for (int j = 0; j < 8; j++) {
            sum += v[j] * v[j];
            v[j] *= n.weight[j];
        }
        matvec_put<L>(in, i, v);
    }
    sum = gpu_warp_sum(sum);
    if (threadIdx.x % GPU_WARP == 0)
        squares[threadIdx.x / GPU_WARP] = sum;
}

__device__ inline float matvec_rms_factor(const gpu_matvec_args &a, const float *squares)
{
    float sum = 0;
#pragma unroll 4
    for (int w = 0; w < (int)blockDim.x / GPU_WARP; w++)
        sum += squares[w];
    return 1 / sqrtf(sum / (float)a.weights.columns + a.epsilon);
}

/* Any norm, or factors alone. A thread's first piece stays in registers; others, of more than 4096
 * columns, are read again. */
template <class L>
__device__ inline void matvec_load_normed(const matvec_input &in, const gpu_matvec_args &a,
                                          const matvec_norm &first, float *scratch)
{
    int columns = (int)a.weights.columns, pieces = (columns + 31) / 32 * 4;
    int threads = (int)blockDim.x, piece = (int)threadIdx.x;
    float kept[8], v[8], sum = 0, squares = 0, mean = 0;
    matvec_get(a.x, 8 * piece, columns, kept);
    if (a.norm == GPU_NORM_LAYER) {
        for (int j = 0; j < 8; j++)
            sum += kept[j];
#pragma unroll 1
        for (int i = piece + threads; i < pieces; i += threads) {
            matvec_get(a.x, 8 * i, columns, v);
            for (int j = 0; j < 8; j++)
                sum += v[j];
        }
        mean = gpu_block_sum(sum, scratch) / (float)columns;
    }
    for (int j = 0; j < 8; j++) {
        float d = 8 * piece + j < columns ? kept[j] - mean : 0;
        squares += d * d;
    }
#pragma unroll 1
    for (int i = piece + threads; i < pieces; i += threads) {
        matvec_get(a.x, 8 * i, columns, v);
        for (int j = 0; j < 8; j++) {
            float d = 8 * i + j < columns ? v[j] - mean : 0;
            squares += d * d;
        }
    }
    squares = gpu_block_sum(squares, scratch) / (float)columns;
    float factor = a.norm == GPU_NORM_NONE ? 1 : 1 / sqrtf(squares + a.epsilon);
    matvec_norm n = first;
#pragma unroll 1
    for (int i = piece; (i & ~31) < pieces; i += threads) {
        if (i != piece) {
            matvec_get(a.x, 8 * i, columns, kept);
            if (a.norm_weight)
                matvec_get(a.norm_weight, 8 * i, columns, n.weight);
            if (a.norm_bias)
                matvec_get(a.norm_bias, 8 * i, columns, n.bias);
        }
        for (int j = 0; j < 8; j++) {
            float d = 8 * i + j < columns ? kept[j] - mean : 0;
            kept[j] = d * factor * n.weight[j] + n.bias[j];
        }
        matvec_put<L>(in, i, kept);
    }
}

/* ---- rounded inputs ---- */

/* Eight values as matvec_put() left them. */
template <class L>
__device__ inline void matvec_get_put(const matvec_input &in, int piece, float v[8])
{
    int k = 8 * piece, block = GPU_WARP * L::LANE, lane = k % block / L::LANE, j = k % L::LANE / 4;
    const float4 *from = (const float4 *)(in.x + k / block * block) + j * GPU_WARP + lane;
    float4 a = from[0], b = from[GPU_WARP];
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

/* What lies in shared memory becomes the values of its codes; a thread takes the pieces that it
 * put. */
template <class L>
__device__ inline void matvec_round(const matvec_input &in, const gpu_matvec_args &a,
                                    float *scratch)
{
    int pieces = ((int)a.weights.columns + 31) / 32 * 4, threads = (int)blockDim.x;
    bool apart = a.rounding.kind == GPU_ROUND_OUTLIERS;
    float v[8], least = 0, most = 0, largest = 0, found = 0; /* largest: of those not apart */
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < pieces; i += threads) {
        matvec_get_put<L>(in, i, v);
        for (int j = 0; j < 8; j++) {
            float x = round_seen(a.rounding, v[j]);
            bool out = apart && round_apart(a.rounding, x);
            found += out;
            largest = out ? largest : fmaxf(largest, fabsf(x));
            least = fminf(least, x);
            most = fmaxf(most, x);
        }
    }
    __syncthreads(); /* scratch is free */
    round_scale s;
    if (a.rounding.kind == GPU_ROUND_TENSOR) {
        least = -gpu_block_most(-least, scratch);
        s = round_tensor_scale(least, gpu_block_most(most, scratch));
    } else {
        s = round_token_scale(a.rounding, gpu_block_most(largest, scratch));
    }
    if (apart && a.outliers && blockIdx.x == 0) {
        found = gpu_block_sum(found, scratch); /* exact */
        if (threadIdx.x == 0 && found > 0)
            atomicAdd((unsigned long long *)a.outliers, (unsigned long long)found);
    }
#pragma unroll 1
    for (int i = (int)threadIdx.x; (i & ~31) < pieces; i += threads) {
        matvec_get_put<L>(in, i, v);
        for (int j = 0; j < 8; j++) {
            float x = round_seen(a.rounding, v[j]);
            if (!apart || !round_apart(a.rounding, x))
                v[j] = round_value(a.rounding, s, v[j]);
        }
        matvec_put<L>(in, i, v);
    }
}

template <class L>
__device__ inline void matvec_load_other(const matvec_input &in, const gpu_matvec_args &a,
                                         const matvec_norm &norm, float *scratch)
{
    matvec_load_normed<L>(in, a, norm, scratch);
    if constexpr (!L::QUANTIZED)
        if (a.rounding.kind != GPU_ROUND_NONE)
            matvec_round<L>(in, a, scratch);
}

#endif
