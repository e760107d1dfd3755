/* What a warp does in attend_one_matrix.cu: tiles of 16 positions in registers, their scores, and
 * the running softmax. */
#ifndef PARE_KERNELS_CUDA_ATTEND_ONE_MATRIX_CUH
#define PARE_KERNELS_CUDA_ATTEND_ONE_MATRIX_CUH

#include "kernels/cuda/attend_one.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/numbers.cuh"

enum { MATRIX_HEADS = 4 }; /* query heads of a block, at most */

/* ---- what a lane holds of the cache ----
 *
 * eight: elements d .. d + 7 of a key. some: SOME elements of a value. SCALED: codes, and a scale
 * for each 32 elements. */

struct matrix_f16 {
    static constexpr bool SCALED = false, BF16 = false;
    static constexpr int SOME = 8;
    using eight = uint4;
    using some = uint4;

    __device__ static const eight *key_at(const char *row, int d)
    {
        return (const eight *)(row + 2 * d);
    }
    __device__ static const some *value_at(const char *row, int d)
    {
        return (const some *)(row + 2 * d);
    }
    __device__ static some take(some v)
    {
        return v;
    }
    /* Pairs of FP16 numbers. */
    __device__ static void key_pairs(const eight &k, uint32_t w[4])
    {
        w[0] = k.x, w[1] = k.y, w[2] = k.z, w[3] = k.w;
    }
    /* Elements 2i and 2i + 1 of four positions as the instruction's rows. */
    __device__ static void value_rows(int i, const some v[4], uint32_t a[4])
    {
        uint32_t w[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            w[j] = i == 0 ? v[j].x : i == 1 ? v[j].y : i == 2 ? v[j].z : v[j].w;
        a[0] = __byte_perm(w[0], w[1], 0x5410);
        a[1] = __byte_perm(w[0], w[1], 0x7632);
        a[2] = __byte_perm(w[2], w[3], 0x5410);
        a[3] = __byte_perm(w[2], w[3], 0x7632);
    }
};

__device__ inline uint32_t matrix_less(uint32_t a, uint32_t b)
{
    __half2 r = __hsub2(*(__half2 *)&a, *(__half2 *)&b);
    return *(uint32_t *)&r;
}

__device__ inline uint32_t matrix_less_bf16(uint32_t a, uint32_t b)
{
    __nv_bfloat162 r = __hsub2(*(__nv_bfloat162 *)&a, *(__nv_bfloat162 *)&b);
    return *(uint32_t *)&r;
}

/* Keys as FP16: 1024 + byte has the byte in its lowest bits. Values as BF16, which has room for
 * probabilities times any scale: 128 + 7 bits. */
struct matrix_q8 {
    static constexpr bool SCALED = true, BF16 = true;
    static constexpr int SOME = 4, SCALES_AT = 1; /* bytes of a row: dim / SCALES_AT */
    using eight = uint2;
    using some = uint32_t;

    __device__ static const eight *key_at(const char *row, int d)
    {
        return (const eight *)(row + d);
    }
    __device__ static const some *value_at(const char *row, int d)
    {
        return (const some *)(row + d);
    }
    __device__ static some take(some v)
    {
        return v;
    }
    __device__ static void key_pairs(const eight &k, uint32_t w[4])
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t word = (i < 2 ? k.x : k.y) ^ 0x80808080;
            w[i] = matrix_less(__byte_perm(word, 0x64646464, i % 2 ? 0x4342 : 0x4140), 0x64806480);
        }
    }
    __device__ static void value_rows(int i, const some v[4], uint32_t a[4])
    {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int byte = 2 * i + j % 2;
            uint32_t both = __byte_perm(v[j / 2 * 2], v[j / 2 * 2 + 1], byte | (byte + 4) << 8);
            a[j] = matrix_less_bf16((both & 0x007f007f) | 0x43004300,
                                    (both & 0x00800080) | 0x43004300);
        }
    }
};

struct matrix_q4 {
    static constexpr bool SCALED = true, BF16 = true;
    static constexpr int SOME = 4, SCALES_AT = 2;
    using eight = uint32_t;
    using some = uint32_t;

    __device__ static const eight *key_at(const char *row, int d)
    {
        return (const eight *)(row + d / 2);
    }
    __device__ static const some *value_at(const char *row, int d)
    {
        return (const some *)(row + d / 8 * 4);
    }
    /* Lanes with odd g take the high nibbles. */
    __device__ static some take(some v)
    {
        return v >> (threadIdx.x & 4) & 0x0f0f0f0f;
    }
    __device__ static void key_pairs(const eight &k, uint32_t w[4])
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t word = (i < 2 ? k : k >> 4) & 0x0f0f0f0f;
            w[i] = matrix_less(__byte_perm(word, 0x64646464, i % 2 ? 0x4342 : 0x4140), 0x64086408);
        }
    }
    __device__ static void value_rows(int i, const some v[4], uint32_t a[4])
    {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int byte = 2 * i + j % 2;
            uint32_t both = __byte_perm(v[j / 2 * 2], v[j / 2 * 2 + 1], byte | (byte + 4) << 8);
            a[j] = matrix_less_bf16(__byte_perm(both, 0x43434343, 0x4240), 0x43084308);
        }
    }
};

/* Of 16 positions: lane (g, t), g = lane / 4, has of the keys 4 (g / 2) + g % 2 and that + 2 the
 * elements 8t .. 8t + 7 of each 32; of the values of positions 4t .. 4t + 3 the elements SOME g ..
 * of each 8 SOME; and these positions' scales. NB: 32s of elements, at most. */
template <class T, int NB> struct matrix_sizes {
    static constexpr int UNITS = 4 * NB / T::SOME, PAIRS = T::SCALED ? NB / 2 : 0;
};

template <class T, int NB> struct matrix_tile {
    using sizes = matrix_sizes<T, NB>;
    typename T::eight keys[2][NB];
    typename T::some values[sizes::UNITS][4];
    uint32_t scales[2][4][sizes::PAIRS ? sizes::PAIRS : 1]; /* of keys, of values */
};

struct matrix_lane {
    int g, t;
};

__device__ inline matrix_lane matrix_lane_of()
{
    int lane = threadIdx.x % GPU_WARP;
    return {lane / 4, lane % 4};
}

/* A row of the cache, from where a KV head's rows start. */
__device__ inline const char *matrix_row(const gpu_heads &h, const char *rows, int position)
{
    return rows + (uint64_t)(uint32_t)position * (uint32_t)h.row_bytes;
}

template <class P> __device__ inline void matrix_load(P &to, const P *from, bool there)
{
    to = P{};
    if (there)
        to = *from;
}

/* The scales of four positions. */
template <class T, int NB>
__device__ inline void matrix_load_scales(const gpu_heads &h, const char *rows, bool values,
                                          int first, int end, matrix_tile<T, NB> &tile)
{
    if constexpr (T::SCALED) {
        int position = first + 4 * matrix_lane_of().t;
        const char *row = matrix_row(h, rows, position) + h.cache_dim / T::SCALES_AT;
#pragma unroll
        for (int j = 0; j < 4; j++, row += h.row_bytes)
#pragma unroll
            for (int i = 0; i < NB / 2; i++)
                matrix_load(tile.scales[values][j][i], (const uint32_t *)row + i,
                            position + j < end && 64 * i < h.cache_dim);
    }
}

/* Positions first .. that are before end; what is missing is zero. */
template <class T, int NB>
__device__ inline void matrix_load_keys(const gpu_heads &h, const char *rows, int first, int end,
                                        matrix_tile<T, NB> &tile)
{
    matrix_lane lane = matrix_lane_of();
    int position = first + 4 * (lane.g / 2) + lane.g % 2;
    const char *row = matrix_row(h, rows, position);
#pragma unroll
    for (int j = 0; j < 2; j++, row += 2 * h.row_bytes)
#pragma unroll
        for (int b = 0; b < NB; b++) {
            int d = 32 * b + 8 * lane.t;
            matrix_load(tile.keys[j][b], T::key_at(row, d),
                        position + 2 * j < end && d < h.cache_dim);
        }
    matrix_load_scales(h, rows, false, first, end, tile);
}

template <class T, int NB>
__device__ inline void matrix_load_values(const gpu_heads &h, const char *rows, int first, int end,
                                          matrix_tile<T, NB> &tile)
{
    matrix_lane lane = matrix_lane_of();
    int position = first + 4 * lane.t;
    const char *row = matrix_row(h, rows, position);
#pragma unroll
    for (int j = 0; j < 4; j++, row += h.row_bytes)
#pragma unroll
        for (int u = 0; u < matrix_sizes<T, NB>::UNITS; u++) {
            int d = T::SOME * (8 * u + lane.g);
            matrix_load(tile.values[u][j], T::value_at(row, d),
                        position + j < end && d < h.cache_dim);
        }
    matrix_load_scales(h, rows, true, first, end, tile);
}

__device__ inline float matrix_scale(uint32_t pair, int high)
{
    return __half2float(__ushort_as_half((uint16_t)(high ? pair >> 16 : pair)));
}

/* ---- the running softmax of a warp ---- */

template <class T, int NB> struct matrix_state {
    float m, l; /* of head g % 4; l: of this lane's positions */
    float o[matrix_sizes<T, NB>::UNITS][T::SOME / 2][4];
};

/* Scores of head g % 4 with positions 4t .. 4t + 3. q: [NB][2][4], of which the first two and the
 * last two are the parts of a number that are high and low. */
template <class T, int NB>
__device__ inline void matrix_scores(matrix_tile<T, NB> &tile, const uint32_t q[NB][2][4],
                                     float s[4])
{
#pragma unroll
    for (int j = 0; j < 2; j++) {
        float c[4] = {};
        s[2 * j] = s[2 * j + 1] = 0;
#pragma unroll
        for (int b = 0; b < NB; b++) {
            uint32_t k[4];
            T::key_pairs(tile.keys[j][b], k);
            gpu_mma<false>(c, q[b][0], k[0], k[1]);
            gpu_mma<false>(c, q[b][1], k[2], k[3]);
            if (T::SCALED) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    s[2 * j + e] +=
                        matrix_scale(tile.scales[0][2 * j + e][b / 2], b % 2) * (c[e] + c[2 + e]);
                    c[e] = c[2 + e] = 0;
                }
            }
        }
        if (!T::SCALED) {
            s[2 * j] = c[0] + c[2];
            s[2 * j + 1] = c[1] + c[3];
        }
    }
}

/* Probabilities as the instruction's columns: high parts in lanes g < 4, what they leave in others.
 */
template <bool BF16>
__device__ inline void matrix_columns(const float p[4], bool low, uint32_t b[2])
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float x = p[2 * i], y = p[2 * i + 1];
        uint32_t high = BF16 ? gpu_pair_bf16(x, y) : gpu_pair_f16(x, y);
        float2 kept;
        if (BF16)
            kept = make_float2(__uint_as_float(high << 16), __uint_as_float(high & 0xffff0000));
        else
            kept = __half22float2(*(__half2 *)&high);
        uint32_t rest =
            BF16 ? gpu_pair_bf16(x - kept.x, y - kept.y) : gpu_pair_f16(x - kept.x, y - kept.y);
        b[i] = low ? rest : high;
    }
}

/* The maximum follows only when it grows by more than this: powers of 2 stay in range, and sums
 * need no new scale most of the time. */
constexpr float MATRIX_SLACK = 8;

template <class T, int NB>
__device__ inline void matrix_rescale(matrix_state<T, NB> &state, float most)
{
    bool grows = most > state.m + MATRIX_SLACK;
    if (!__any_sync(GPU_ALL, grows))
        return;
    float factor = grows ? gpu_exp2(state.m - most) : 1;
    if (grows)
        state.m = most;
    state.l *= factor;
    int head = threadIdx.x % 2 * 8; /* a lane whose g is 2t, of 4 */
    float even = __shfl_sync(GPU_ALL, factor, head), odd = __shfl_sync(GPU_ALL, factor, head + 4);
#pragma unroll
    for (int u = 0; u < matrix_sizes<T, NB>::UNITS; u++)
#pragma unroll
        for (int i = 0; i < T::SOME / 2; i++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                state.o[u][i][e] *= e % 2 ? odd : even;
}

template <class T, int NB>
__device__ inline void matrix_add_values(matrix_tile<T, NB> &tile, const float p[4],
                                         matrix_state<T, NB> &state)
{
    bool low = matrix_lane_of().g >= MATRIX_HEADS;
    uint32_t columns[2];
    if (!T::SCALED)
        matrix_columns<T::BF16>(p, low, columns);
#pragma unroll
    for (int u = 0; u < matrix_sizes<T, NB>::UNITS; u++) {
        if (T::SCALED) {
            float scaled[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                scaled[j] = p[j] * matrix_scale(tile.scales[1][j][u / 2], u % 2);
            matrix_columns<T::BF16>(scaled, low, columns);
        }
        typename T::some v[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = T::take(tile.values[u][j]);
#pragma unroll
        for (int i = 0; i < T::SOME / 2; i++) {
            uint32_t rows[4];
            T::value_rows(i, v, rows);
            gpu_mma<T::BF16>(state.o[u][i], rows, columns[0], columns[1]);
        }
    }
}

/* The scores of a tile become probabilities: positions that do not exist have none. */
template <class T, int NB>
__device__ inline void matrix_soften(int first, int end, float s[4], matrix_state<T, NB> &state)
{
    float most = -FLT_MAX;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        if (first + 4 * matrix_lane_of().t + j >= end)
            s[j] = -FLT_MAX;
        most = fmaxf(most, s[j]);
    }
    most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, 1));
    most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, 2));
    matrix_rescale<T, NB>(state, most);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        s[j] = gpu_exp2(s[j] - state.m);
        state.l += s[j];
    }
}

/* Head g's query as the instruction's rows. */
template <int NB>
__device__ inline void matrix_query(const float *query, int dim, uint32_t q[NB][2][4])
{
    int t = matrix_lane_of().t;
#pragma unroll
    for (int b = 0; b < NB; b++) {
        float v[8] = {};
        int d = 32 * b + 8 * t;
        if (d < dim) {
            float4 x = *(const float4 *)(query + d), y = *(const float4 *)(query + d + 4);
            v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
            v[4] = y.x, v[5] = y.y, v[6] = y.z, v[7] = y.w;
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t high = gpu_pair_f16(v[2 * i], v[2 * i + 1]);
            float2 kept = __half22float2(*(__half2 *)&high);
            q[b][i / 2][i % 2 * 2] = high;
            q[b][i / 2][i % 2 * 2 + 1] = gpu_pair_f16(v[2 * i] - kept.x, v[2 * i + 1] - kept.y);
        }
    }
}

#endif
