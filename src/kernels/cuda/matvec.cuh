/* One token: y = W norm(x), fused with what follows.
 *
 * Bandwidth decides, so everything serves one stream of weights that never stops. A block a
 * multiprocessor, 8 warps; a warp multiplies two rows at a time and reads their chunks through a
 * ring in shared memory that the copy engine fills (sm_90; elsewhere straight from memory). The
 * ring is filled before the kernel waits for the one in front of it (gpu_depend): while that one
 * ends and the input is normalized, rounded and laid out, weights keep coming. */
#ifndef PARE_KERNELS_CUDA_MATVEC_CUH
#define PARE_KERNELS_CUDA_MATVEC_CUH

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/formats.cuh"

enum {
    MATVEC_WARPS = 8,
    MATVEC_THREADS = MATVEC_WARPS * GPU_WARP,
    MATVEC_RING = 12 << 10, /* bytes of a warp */
    MATVEC_STAGES = 8,      /* at most */
    MATVEC_KEPT = 4,        /* pieces of 8 inputs that a thread keeps while they are normalized */
    MATVEC_NORM_MOST = MATVEC_KEPT * 8 * MATVEC_THREADS,
};

/* ---- how a lane's columns lie in a chunk ---- */

template <class F> struct matvec_dense {
    static constexpr int LANE = 8; /* consecutive columns of a lane */
    static constexpr int CHUNK = F::BYTES == 2 ? 512 : 256;
    static constexpr int SPAN = 1; /* chunks of a stage of the ring */
    static constexpr bool SUMS = false, QUANTIZED = false;
    __host__ __device__ static uint32_t chunk_bytes(int columns)
    {
        return (uint32_t)(F::BYTES * ((columns + 31) / 32 * 32));
    }
};

template <class F, bool FAST> struct matvec_coded {
    static constexpr int LANE = GPU_GROUP;
    static constexpr int CHUNK = GPU_CHUNK;
    static constexpr int SPAN = F::chunk_bytes(GPU_CHUNK_GROUPS) > 1024 ? 1 : 2;
    static constexpr bool SUMS = FAST || F::MINIMUM; /* of a group's inputs */
    static constexpr bool QUANTIZED = FAST;
    __host__ __device__ static uint32_t chunk_bytes(int columns)
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
        float inverse = most > 0x1p-100f ? __fdiv_rn(127.0f, most) : 0;
        int c[8], sum = 0;
        for (int i = 0; i < 8; i++)
            sum += c[i] = __float2int_rn(__fmul_rn(v[i], inverse));
        uint2 packed;
        packed.x = (c[0] & 255) | (c[1] & 255) << 8 | (c[2] & 255) << 16 | (uint32_t)c[3] << 24;
        packed.y = (c[4] & 255) | (c[5] & 255) << 8 | (c[6] & 255) << 16 | (uint32_t)c[7] << 24;
        int at = k / 1024 * 1024 + k % 32 / 16 * 512 + k % 1024 / 32 * 16 + k % 16;
        *(uint2 *)(in.codes + at) = packed;
        sum += __shfl_xor_sync(GPU_ALL, sum, 1);
        int other = __shfl_xor_sync(GPU_ALL, sum, 2);
        if (piece % 4 == 0) {
            in.scales[group] = most > 0x1p-100f ? __fdiv_rn(most, 127.0f) : 0;
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

template <class L>
__device__ inline void matvec_load_plain(const matvec_input &in, const float *x, int columns)
{
    int pieces = (columns + 31) / 32 * 4;
    for (int first = 0; first < pieces; first += MATVEC_THREADS) {
        float v[8];
        int piece = first + (int)threadIdx.x;
        matvec_get(x, 8 * piece, columns, v);
        if (first + (int)(threadIdx.x & ~31) < pieces) /* a warp's pieces: all or whole groups */
            matvec_put<L>(in, piece, v);
    }
}

/* The norm's weights, which do not depend on the kernel in front: the first piece is kept, the
 * others come as far as the L2 cache. */
struct matvec_norm {
    float weight[8], bias[8];
};

__device__ inline void matvec_prefetch_norm(const gpu_matvec_args &a, matvec_norm &n)
{
    int columns = (int)a.weights.columns;
    for (int j = 0; j < 8; j++)
        n.weight[j] = n.bias[j] = 0;
    if (a.norm == GPU_NORM_NONE)
        return;
    matvec_get(a.norm_weight, 8 * (int)threadIdx.x, columns, n.weight);
    if (a.norm_bias)
        matvec_get(a.norm_bias, 8 * (int)threadIdx.x, columns, n.bias);
    for (int k = 8 * ((int)threadIdx.x + MATVEC_THREADS); k < columns; k += 8 * MATVEC_THREADS)
        gpu_prefetch(a.norm_weight + k);
}

template <class L>
__device__ inline void matvec_load_normed(const matvec_input &in, const gpu_matvec_args &a,
                                          const matvec_norm &first, float *scratch)
{
    int columns = (int)a.weights.columns, pieces = (columns + 31) / 32 * 4;
    float v[MATVEC_KEPT][8], sum = 0, squares = 0, mean = 0;
#pragma unroll
    for (int i = 0; i < MATVEC_KEPT; i++) {
        matvec_get(a.x, 8 * ((int)threadIdx.x + i * MATVEC_THREADS), columns, v[i]);
        for (int j = 0; j < 8; j++)
            sum += v[i][j];
    }
    if (a.norm == GPU_NORM_LAYER)
        mean = gpu_block_sum(sum, scratch) / (float)columns;
#pragma unroll
    for (int i = 0; i < MATVEC_KEPT; i++)
        for (int j = 0; j < 8; j++) {
            int k = 8 * ((int)threadIdx.x + i * MATVEC_THREADS) + j;
            v[i][j] = k < columns ? v[i][j] - mean : 0;
            squares += v[i][j] * v[i][j];
        }
    squares = gpu_block_sum(squares, scratch) / (float)columns;
    float factor = 1 / sqrtf(squares + a.epsilon);
#pragma unroll
    for (int i = 0; i < MATVEC_KEPT; i++) {
        int piece = (int)threadIdx.x + i * MATVEC_THREADS, k = 8 * piece;
        if (i * MATVEC_THREADS + (int)(threadIdx.x & ~31) >= pieces)
            break;
        matvec_norm n = first;
        if (i > 0) {
            matvec_get(a.norm_weight, k, columns, n.weight);
            if (a.norm_bias)
                matvec_get(a.norm_bias, k, columns, n.bias);
        }
        for (int j = 0; j < 8; j++)
            v[i][j] = v[i][j] * factor * n.weight[j] + n.bias[j];
        matvec_put<L>(in, piece, v[i]);
    }
}

/* ---- products of a chunk ---- */

template <class F> struct matvec_dense_dot {
    using layout = matvec_dense<F>;
    template <int R>
    __device__ static void add(const uint8_t *const rows[R], int first, int columns, int lane,
                               const matvec_input &in, const float *, float acc[R])
    {
#pragma unroll
        for (int b = 0; b < layout::CHUNK; b += 256) {
            if (b + 8 * lane >= columns)
                break;
            const float4 *x = (const float4 *)(in.x + first + b);
            float4 x0 = x[lane], x1 = x[GPU_WARP + lane];
#pragma unroll
            for (int r = 0; r < R; r++) {
                float w[8];
                F::load8(rows[r] + F::BYTES * (b + 8 * lane), w);
                acc[r] += w[0] * x0.x + w[1] * x0.y + w[2] * x0.z + w[3] * x0.w;
                acc[r] += w[4] * x1.x + w[5] * x1.y + w[6] * x1.z + w[7] * x1.w;
            }
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
    template <int R>
    __device__ static void add(const uint8_t *const rows[R], int first, int columns, int lane,
                               const matvec_input &in, const float *table, float acc[R])
    {
        int groups = (columns + GPU_GROUP - 1) / GPU_GROUP;
        if (lane >= groups)
            return;
        uint32_t w[R][8];
        float part[R][2];
#pragma unroll
        for (int r = 0; r < R; r++) {
            F::codes::load(rows[r], groups, lane, w[r]);
            part[r][0] = part[r][1] = 0;
        }
        const float4 *x = (const float4 *)(in.x + first) + lane;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float4 v = x[GPU_WARP * i];
#pragma unroll
            for (int r = 0; r < R; r++) {
                float c[4];
                uint32_t word = F::ZERO == GPU_SIGNED ? w[r][i] ^ 0x80808080 : w[r][i];
#pragma unroll
                for (int b = 0; b < 4; b++)
                    c[b] = F::HAS_TABLE ? table[word >> (8 * b) & 255]
                                        : gpu_code_value<F::ZERO>(word, b);
                part[r][i / 4] += c[0] * v.x + c[1] * v.y + c[2] * v.z + c[3] * v.w;
            }
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            gpu_scales s = F::load_scales(rows[r], groups, lane);
            if (F::HALVES == 1)
                acc[r] += s.scale[0] * (part[r][0] + part[r][1]);
            else
                acc[r] += s.scale[0] * part[r][0] + s.scale[1] * part[r][1];
            if (F::MINIMUM) {
                float2 sum = in.sums[first / GPU_GROUP + lane];
                acc[r] += s.minimum[0] * sum.x + s.minimum[1] * sum.y;
            }
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
                gpu_look_up(t, q[j], &w[2 * j], &w[2 * j + 1]);
                dot[j / 2] = matvec_dp4a(w[2 * j], x[2 * j], dot[j / 2]);
                dot[j / 2] = matvec_dp4a(w[2 * j + 1], x[2 * j + 1], dot[j / 2]);
            }
            if constexpr (F::table::WIDE) {
                F::table::low(t);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    gpu_look_up(t, q[j], &w[2 * j], &w[2 * j + 1]);
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

    template <int R>
    __device__ static void add(const uint8_t *const rows[R], int first, int columns, int lane,
                               const matvec_input &in, const float *, float acc[R])
    {
        int groups = (columns + GPU_GROUP - 1) / GPU_GROUP;
        if (lane >= groups)
            return;
        const uint4 *codes = (const uint4 *)(in.codes + first) + lane;
        uint4 a = codes[0], b = codes[GPU_WARP];
        const uint32_t x[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        float scale = in.scales[first / GPU_GROUP + lane];
        int sums = in.code_sums[first / GPU_GROUP + lane];
        int sum[2] = {(int)(int16_t)(sums & 0xffff), sums >> 16};
#pragma unroll
        for (int r = 0; r < R; r++) {
            int dot[2];
            codes_dot(rows[r], groups, lane, x, dot);
            gpu_scales s = F::load_scales(rows[r], groups, lane);
            constexpr int ZERO = F::ZERO == GPU_SIGNED ? 0 : F::ZERO;
            constexpr float UNIT = unit();
            if (F::HALVES == 1) {
                float product =
                    s.scale[0] * UNIT * (float)(dot[0] + dot[1] - ZERO * (sum[0] + sum[1]));
                if (F::MINIMUM)
                    product += s.minimum[0] * (float)(sum[0] + sum[1]);
                acc[r] += scale * product;
            } else {
                float product = s.scale[0] * (float)(dot[0] - ZERO * sum[0]) +
                                s.scale[1] * (float)(dot[1] - ZERO * sum[1]);
                if (F::MINIMUM)
                    product += s.minimum[0] * (float)sum[0] + s.minimum[1] * (float)sum[1];
                acc[r] += scale * product;
            }
        }
    }

    __host__ __device__ static constexpr float unit()
    {
        return F::table::WIDE ? 1.0f / 32767 : 1.0f;
    }
};

/* ---- the kernel ---- */

/* Where the weights of a warp's pairs of rows are, stage after stage. A pair of the last, odd row
 * reads it twice. */
struct matvec_walk {
    const uint8_t *row0, *row1;
    int stage, stages; /* of a row */
    int pair, pairs;   /* of the warp; `pair` counts its own */
    int row, rows;     /* the pair's first row; of the matrix */
    uint32_t bytes, last_bytes, row_bytes;

    __device__ bool over() const
    {
        return pair >= pairs;
    }
    __device__ uint32_t size() const
    {
        return stage == stages - 1 ? last_bytes : bytes;
    }
    __device__ void next()
    {
        uint32_t n = size();
        row0 += n;
        row1 += n;
        if (++stage < stages)
            return;
        stage = 0;
        pair++;
        row += 2 * MATVEC_WARPS;
        row0 += (2 * MATVEC_WARPS - 1) * (size_t)row_bytes;
        row1 = row + 1 < rows ? row0 + row_bytes : row0;
    }
};

template <class L> __device__ inline matvec_walk matvec_walk_of(const gpu_weights &w)
{
    int all = ((int)w.rows + 1) / 2, warp = threadIdx.x / GPU_WARP;
    int begin = (int)((int64_t)all * blockIdx.x / gridDim.x);
    int count = (int)((int64_t)all * (blockIdx.x + 1) / gridDim.x) - begin;
    matvec_walk walk;
    walk.row = 2 * (begin + warp);
    walk.rows = (int)w.rows;
    walk.row_bytes = w.row_bytes;
    walk.row0 = w.data + (size_t)walk.row * w.row_bytes;
    walk.row1 = walk.row + 1 < walk.rows ? walk.row0 + w.row_bytes : walk.row0;
    walk.pair = 0;
    walk.pairs = count > warp ? (count - warp + MATVEC_WARPS - 1) / MATVEC_WARPS : 0;
    walk.stage = 0;
    walk.bytes = L::SPAN * L::chunk_bytes(L::CHUNK);
    walk.stages = (int)((w.columns + L::SPAN * L::CHUNK - 1) / (L::SPAN * L::CHUNK));
    walk.last_bytes = w.row_bytes - (uint32_t)(walk.stages - 1) * walk.bytes;
    return walk;
}

/* What the result is added to or multiplied with, by lanes 0 and 1: loaded while weights come. */
struct matvec_extra {
    float bias, old;
};

__device__ inline matvec_extra matvec_fetch_extra(const gpu_matvec_args &a, int row)
{
    matvec_extra e = {0, 0};
    int lane = threadIdx.x % GPU_WARP;
    if (lane > 1 || row + lane >= a.weights.rows)
        return e;
    if (a.bias)
        e.bias = a.bias[row + lane];
    if (a.epilogue == GPU_ADD || a.epilogue == GPU_MULTIPLY)
        e.old = __ldcg(a.y + row + lane);
    return e;
}

/* v: of row + lane, in lanes 0 and 1. All lanes call it. */
__device__ inline void matvec_finish(const gpu_matvec_args &a, int row, float v,
                                     const matvec_extra &extra, gpu_best &best)
{
    int lane = threadIdx.x % GPU_WARP;
    v += extra.bias;
    if (a.epilogue == GPU_GATED) {
        float up = __shfl_down_sync(GPU_ALL, v, 1);
        if (lane == 0)
            a.y[row / 2] = gpu_activate(v, a.activation) * up;
        return;
    }
    if (lane > 1 || row + lane >= a.weights.rows)
        return;
    if (v > best.value)
        best = {v, row + lane};
    if (a.epilogue == GPU_ADD)
        v += extra.old;
    else if (a.epilogue == GPU_ACTIVATE)
        v = gpu_activate(v, a.activation);
    else if (a.epilogue == GPU_MULTIPLY)
        v *= extra.old;
    a.y[row + lane] = v;
}

/* The larger of lanes 0 and 1; of equal ones the lower row. */
__device__ inline void matvec_put_best(gpu_best *to, gpu_best best)
{
    float value = __shfl_down_sync(GPU_ALL, best.value, 1);
    int32_t id = __shfl_down_sync(GPU_ALL, best.id, 1);
    if (value > best.value || (value == best.value && id < best.id))
        best = {value, id};
    if (threadIdx.x % GPU_WARP == 0)
        *to = best;
}

template <class D>
__global__ void __launch_bounds__(MATVEC_THREADS)
    matvec_kernel(const __grid_constant__ gpu_matvec_args a)
{
    using layout = typename D::layout;
    GPU_SHARED(char, 128, shared);
    __shared__ float scratch[GPU_WARP], table[16];
    int columns = (int)a.weights.columns, lane = threadIdx.x % GPU_WARP;
    matvec_walk walk = matvec_walk_of<layout>(a.weights);
    matvec_norm norm;

#if __CUDA_ARCH__ >= 900
    __shared__ uint64_t barriers[MATVEC_WARPS][MATVEC_STAGES];
    int warp = threadIdx.x / GPU_WARP;
    uint64_t *barrier = barriers[warp];
    const uint32_t room = walk.stages > 1 ? walk.bytes : walk.last_bytes; /* of a row in a stage */
    int slots = (int)(MATVEC_RING / (2 * room));
    slots = slots < MATVEC_STAGES ? slots : MATVEC_STAGES;
    char *ring = shared + warp * MATVEC_RING;
    matvec_walk ahead = walk;
    auto fill = [&](int slot) { /* by lane 0 */
                                uint32_t bytes = ahead.size();
                                char *to = ring + (uint32_t)slot * 2 * room;
                                gpu_barrier_expect(&barrier[slot], 2 * bytes);
                                gpu_copy_bulk(to, ahead.row0, bytes, &barrier[slot]);
                                gpu_copy_bulk(to + room, ahead.row1, bytes, &barrier[slot]);
                                ahead.next();
    };
    if (lane == 0) {
        for (int s = 0; s < slots; s++)
            gpu_barrier_init(&barrier[s]);
        gpu_barrier_fence();
        for (int s = 0; s < slots && !ahead.over(); s++)
            fill(s);
    }
    matvec_input in = matvec_input_at<layout>(shared + MATVEC_WARPS * MATVEC_RING, columns);
#else
    matvec_input in = matvec_input_at<layout>(shared, columns);
#endif
    gpu_release_next();
    matvec_prefetch_norm(a, norm);
    if constexpr (!layout::QUANTIZED && layout::LANE == GPU_GROUP)
        D::fill_table(table);
    gpu_depend();
    if (a.norm == GPU_NORM_NONE)
        matvec_load_plain<layout>(in, a.x, columns);
    else
        matvec_load_normed<layout>(in, a, norm, scratch);
    __syncthreads();

    float acc[2] = {0, 0};
    gpu_best best = {-INFINITY, INT32_MAX};
    matvec_extra extra = {0, 0};
#if __CUDA_ARCH__ >= 900
    int slot = 0, phase = 0;
    __syncwarp();
#endif
    for (int column = 0; !walk.over();) {
        if (walk.stage == 0)
            extra = matvec_fetch_extra(a, walk.row);
        const uint8_t *rows[2] = {walk.row0, walk.row1};
#if __CUDA_ARCH__ >= 900
        gpu_barrier_wait(&barrier[slot], (uint32_t)phase);
        rows[0] = (const uint8_t *)ring + (uint32_t)slot * 2 * room;
        rows[1] = rows[0] + room;
#endif
#pragma unroll
        for (int s = 0; s < layout::SPAN; s++) {
            int n = columns - column < layout::CHUNK ? columns - column : layout::CHUNK;
            if (n > 0)
                D::template add<2>(rows, column, n, lane, in, table, acc);
            column += layout::CHUNK;
            rows[0] += layout::chunk_bytes(layout::CHUNK);
            rows[1] += layout::chunk_bytes(layout::CHUNK);
        }
#if __CUDA_ARCH__ >= 900
        __syncwarp();
        if (lane == 0 && !ahead.over())
            fill(slot);
        if (++slot == slots)
            slot = 0, phase ^= 1;
#endif
        if (walk.stage == walk.stages - 1) {
            float v0 = gpu_warp_sum(acc[0]), v1 = gpu_warp_sum(acc[1]);
            matvec_finish(a, walk.row, lane == 0 ? v0 : v1, extra, best);
            acc[0] = acc[1] = 0;
            column = 0;
        }
        walk.next();
    }
    if (a.best)
        matvec_put_best(&a.best[blockIdx.x * MATVEC_WARPS + threadIdx.x / GPU_WARP], best);
}

template <class D>
static pare_status matvec_launch(gpu_context *context, const gpu_matvec_args *args)
{
    size_t shared = matvec_input_bytes<typename D::layout>(args->weights.columns);
    if (context->major >= 9)
        shared += MATVEC_WARPS * MATVEC_RING;
    return gpu_launch(context, "a matrix-vector product", true, matvec_kernel<D>,
                      dim3(context->multiprocessors), dim3(MATVEC_THREADS), shared, *args);
}

/* One per file of formats. False: the type is not in it. */
bool matvec_dense_run(gpu_context *context, const gpu_matvec_args *args, pare_status *status);
bool matvec_int_run(gpu_context *context, const gpu_matvec_args *args, bool fast,
                    pare_status *status);
bool matvec_k_run(gpu_context *context, const gpu_matvec_args *args, bool fast,
                  pare_status *status);
bool matvec_table_run(gpu_context *context, const gpu_matvec_args *args, bool fast,
                      pare_status *status);

#define MATVEC_CODED_CASE(TYPE, F)                                                                 \
    case PARE_TYPE_##TYPE:                                                                         \
        *status = fast ? matvec_launch<matvec_fast_dot<F>>(context, args)                          \
                       : matvec_launch<matvec_exact_dot<F>>(context, args);                        \
        return true;

#endif
