/* Up to 64 tokens: y = W x of integer codes on both sides (mma.sync on bytes, sm_80 and later).
 *
 * As in matvec.cuh a block a multiprocessor has a run of the rows, and each of its 16 warps reads
 * its weights through a ring of its own in shared memory, which is filled before the kernel waits
 * for the one in front. A warp's item is 16 rows (a tile) times a part of the columns; a stage of
 * the ring is 8 groups of 32 columns of these rows. A lane makes bytes of the 8 columns of a group
 * that it shares with its inputs, an instruction sums up a group, and both scales multiply the
 * exact sum. Sums of parts go through shared memory. How a matrix is cut depends on it alone, so
 * that a token's result is the same whatever stands beside it. */
#ifndef PARE_KERNELS_CUDA_FEW_CODES_KERNEL_CUH
#define PARE_KERNELS_CUDA_FEW_CODES_KERNEL_CUH

#include "kernels/cuda/few_codes.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/values.cuh"

enum {
    CODES_WARPS = 16, /* fewer where shared memory is short */
    CODES_THREADS = CODES_WARPS * GPU_WARP,
    CODES_ROWS = 16,  /* of a warp's tile */
    CODES_GROUPS = 8, /* of a stage */
    CODES_PITCH = CODES_ROWS + 4,
    CODES_RING = 7168,   /* bytes of a warp's ring: about three stages */
    CODES_BEHIND = 1024, /* shared memory of a block that is the device's own */
};

/* 2^23 + 2^22: added to an integer of up to 22 bits, the bits of a float that is so much larger. */
enum { CODES_MAGIC = 0x4b400000 };

struct codes_args {
    gpu_few_args f;
    int unit;       /* rows that stay in a block */
    int parts_log2; /* items of a tile */
    int warps_log2;
    int staged; /* bytes of inputs that are copied into shared memory: all or none */
};

/* A stage: of each of 16 rows the codes of 8 groups as a chunk of 8 groups has them, and the pieces
 * of 16 bytes that hold their scales. */
template <class F> struct codes_stage {
    static constexpr int CODES = (int)F::codes::bytes(CODES_GROUPS);
    static constexpr int LOW = (int)F::codes::low_bytes(CODES_GROUPS);
    static constexpr int HIGH = CODES - LOW;
    static constexpr int SCALES = (int)F::scales::bytes(CODES_GROUPS); /* at least 16 */
    static constexpr int ROW = CODES + SCALES;
    static constexpr int BYTES = CODES_ROWS * ROW;
    static constexpr int SLOTS = CODES_RING / BYTES < 2 ? 2 : CODES_RING / BYTES;
    static constexpr bool TWO = LOW == 32 * CODES_GROUPS; /* halves of 8-bit codes lie apart */
    /* Groups whose scales are in one piece: a stage's own, or more. */
    static constexpr int SHARED =
        F::scales::bytes(CODES_GROUPS) == F::scales::bytes(2 * CODES_GROUPS)
            ? (F::scales::bytes(CODES_GROUPS) == F::scales::bytes(4 * CODES_GROUPS) ? 4 : 2)
            : 1;
};

/* `bytes` of each of 16 rows. */
__device__ inline void codes_copy(char *to, int pitch, const uint8_t *from, uint32_t row_bytes,
                                  int rows, int each, int bytes)
{
    int lane = threadIdx.x % GPU_WARP, row = lane / each, piece = lane % each * 16;
#pragma unroll
    for (int i = 0; i < CODES_ROWS * each / GPU_WARP + (CODES_ROWS * each < GPU_WARP); i++) {
        int r = row + i * (GPU_WARP / each);
        if (r < min(rows, (int)CODES_ROWS) && piece < bytes)
            gpu_copy_async(to + r * pitch + piece, from + (size_t)r * row_bytes + piece);
    }
}

template <class F>
__device__ inline void codes_fill(char *slot, const gpu_weights &w, int row, int stage)
{
    using S = codes_stage<F>;
    int groups = (int)((w.columns + GPU_GROUP - 1) / GPU_GROUP), rows = (int)w.rows - row;
    int chunk = stage / 4, first = stage % 4 * CODES_GROUPS;
    int in_chunk = min(groups - chunk * GPU_CHUNK_GROUPS, (int)GPU_CHUNK_GROUPS);
    int n = min(in_chunk - first, (int)CODES_GROUPS);
    const uint8_t *at =
        w.data + (size_t)row * w.row_bytes + (size_t)chunk * F::chunk_bytes(GPU_CHUNK_GROUPS);
    if (S::TWO) {
        codes_copy(slot, S::ROW, at + 16 * first, w.row_bytes, rows, CODES_GROUPS, 16 * n);
        codes_copy(slot + 16 * CODES_GROUPS, S::ROW, at + 16 * in_chunk + 16 * first, w.row_bytes,
                   rows, CODES_GROUPS, 16 * n);
    } else {
        codes_copy(slot, S::ROW, at + 16 * first, w.row_bytes, rows, CODES_GROUPS, 16 * n);
    }
    const uint8_t *high = at + F::codes::low_bytes(in_chunk);
    if (S::HIGH)
        codes_copy(slot + S::LOW, S::ROW, high + S::HIGH / CODES_GROUPS * first, w.row_bytes, rows,
                   S::HIGH ? S::HIGH / 16 : 1, (S::HIGH / CODES_GROUPS * n + 15) & ~15);
    const uint8_t *scales = at + F::codes::bytes(in_chunk);
    int from = S::SHARED == 1 ? S::SCALES * (first / CODES_GROUPS)
                              : S::SCALES * (first / CODES_GROUPS / S::SHARED);
    codes_copy(slot + S::CODES, S::ROW, scales + from, w.row_bytes, rows, S::SCALES / 16,
               (int)F::scales::bytes(in_chunk) - from);
}

/* Items of a block, and where it stands in one. */
struct codes_walk {
    int item, items, stage, end;

    __device__ void open(int stages, int parts_log2)
    {
        int part = item & ((1 << parts_log2) - 1);
        stage = stages * part >> parts_log2;
        end = stages * (part + 1) >> parts_log2;
    }
};

template <class F>
__device__ inline void codes_next(char *slot, codes_walk &ahead, const codes_args &a, int first_row,
                                  int stages)
{
    if (ahead.item < ahead.items) {
        codes_fill<F>(slot, a.f.weights, first_row + CODES_ROWS * (ahead.item >> a.parts_log2),
                      ahead.stage);
        if (++ahead.stage == ahead.end) {
            ahead.item += 1 << a.warps_log2;
            ahead.open(stages, a.parts_log2);
        }
    }
    gpu_copy_commit();
}

/* One group: its 16 rows in `slot`, its inputs. */
template <class F, int NT>
__device__ inline void codes_group(const uint8_t *slot, int i, int scale_index, const few_record *x,
                                   float (*acc)[4])
{
    using S = codes_stage<F>;
    int lane = threadIdx.x % GPU_WARP, q = lane % 4;
    const uint8_t *upper = slot + lane / 4 * S::ROW, *lower = upper + 8 * S::ROW;
    uint32_t u[2], l[2];
    F::codes::load2(upper, CODES_GROUPS, i, q, u);
    F::codes::load2(lower, CODES_GROUPS, i, q, l);
    const uint32_t w[4] = {u[0], l[0], u[1], l[1]};
    gpu_scales su = F::scales::load(upper + S::CODES, GPU_CHUNK_GROUPS, scale_index);
    gpu_scales sl = F::scales::load(lower + S::CODES, GPU_CHUNK_GROUPS, scale_index);
    constexpr int ZERO = F::ZERO == GPU_SIGNED ? 0 : F::ZERO;
#pragma unroll
    for (int t = 0; t < NT; t++) {
        uint2 codes = *(const uint2 *)&x[t].codes[lane / 4][8 * q];
        uint4 both = *(const uint4 *)&x[t].tokens[2 * q];
        float scale[2] = {__uint_as_float(both.x), __uint_as_float(both.z)};
        int sum[2] = {(int)both.y, (int)both.w};
        int c[4];
#pragma unroll
        for (int e = 0; e < 4; e++)
            c[e] = (int)CODES_MAGIC - ZERO * sum[e % 2];
        gpu_mma_bytes<F::ZERO == GPU_SIGNED>(c, w, codes.x, codes.y);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const gpu_scales &s = e < 2 ? su : sl;
            float product = s.scale[0] * (__uint_as_float((uint32_t)c[e]) - 12582912.0f);
            if (F::MINIMUM)
                product += s.minimum[0] * (float)sum[e % 2];
            acc[t][e] += scale[e % 2] * product;
        }
    }
}

/* A stage: n groups. */
template <class F, int NT>
__device__ inline void codes_add(const uint8_t *slot, int n, int scale_index, const few_record *x,
                                 float (*acc)[4])
{
    if (n == CODES_GROUPS) {
#pragma unroll 2
        for (int i = 0; i < CODES_GROUPS; i++)
            codes_group<F, NT>(slot, i, scale_index + i, x + i * NT, acc);
    } else {
#pragma unroll 1
        for (int i = 0; i < n; i++)
            codes_group<F, NT>(slot, i, scale_index + i, x + i * NT, acc);
    }
}

/* What follows the sum v of a row (and of the next one, where gated). */
__device__ inline float codes_finish(const gpu_few_args &f, int64_t row, int token, float v,
                                     float up)
{
    if (f.bias)
        v += f.bias[row];
    if (f.epilogue == GPU_GATED)
        return gpu_activate(v, f.activation) * (up + (f.bias ? f.bias[row + 1] : 0));
    if (f.epilogue == GPU_ACTIVATE)
        return gpu_activate(v, f.activation);
    const float *y = f.y + token * f.y_stride + row;
    return f.epilogue == GPU_ADD ? v + __ldcg(y) : f.epilogue == GPU_MULTIPLY ? v * __ldcg(y) : v;
}

/* The rows of a round, whose parts' sums are in shared memory: a thread has an output of a token.
 */
__device__ inline void codes_round(const codes_args &a, int64_t first, int64_t end,
                                   const float *sums, int sums_of_warp)
{
    const gpu_few_args &f = a.f;
    int gated = f.epilogue == GPU_GATED, parts = 1 << a.parts_log2;
    int outs_log2 = a.warps_log2 + 4 - a.parts_log2 - gated; /* outputs of the warps' tiles */
#pragma unroll 1
    for (int i = threadIdx.x; (i & ~31) < f.tokens << outs_log2; i += (int)blockDim.x) {
        int token = i >> outs_log2, r = (i & ((1 << outs_log2) - 1)) << gated;
        int64_t row = first + r;
        bool live = row < end && token < f.tokens;
        const float *from = sums + (r / CODES_ROWS << a.parts_log2) * sums_of_warp +
                            token * CODES_PITCH + r % CODES_ROWS;
        float v = 0, up = 0;
        if (live) {
#pragma unroll 1
            for (int p = 0; p < parts; p++) {
                v += from[p * sums_of_warp];
                if (gated)
                    up += from[p * sums_of_warp + 1];
            }
            v = codes_finish(f, row, token, v, up);
        }
        int64_t out = row >> gated;
        if (f.packed && f.packed_number == GPU_INT8) {
            if (__any_sync(GPU_ALL, live)) /* a warp has a group of one token */
                few_put_codes(f.packed, f.tiles, out / GPU_GROUP, token, v);
        } else if (live && f.packed) {
            gpu_few_put(f.packed, f.packed_number, f.tiles, out, token, v);
        } else if (live) {
            f.y[token * f.y_stride + out] = v;
        }
    }
}

/* Inputs into shared memory: not by asynchronous copies, behind which the weights' would have to be
 * waited for. */
__device__ inline void codes_take(char *to, const char *from, int bytes)
{
    enum { AHEAD = 4 };
    int step = 16 * (int)blockDim.x;
#pragma unroll 1
    for (int i = 16 * (int)threadIdx.x; i < bytes; i += AHEAD * step) {
        uint4 v[AHEAD];
#pragma unroll
        for (int j = 0; j < AHEAD; j++)
            if (i + j * step < bytes)
                v[j] = __ldcg((const uint4 *)(from + i + j * step));
#pragma unroll
        for (int j = 0; j < AHEAD; j++)
            if (i + j * step < bytes)
                *(uint4 *)(to + i + j * step) = v[j];
    }
}

template <class F, int NT>
__global__ void __launch_bounds__(CODES_THREADS, NT <= 2 ? 2 : 1)
    codes_kernel(const __grid_constant__ codes_args a)
{
#if defined(GPU_EMULATE) || __CUDA_ARCH__ >= 800
    using S = codes_stage<F>;
    GPU_SHARED(char, 128, shared);
    const gpu_weights &w = a.f.weights;
    constexpr int SUMS = 8 * NT * CODES_PITCH;
    int lane = threadIdx.x % GPU_WARP, warp = threadIdx.x / GPU_WARP, warps = 1 << a.warps_log2;
    int groups = (int)((w.columns + GPU_GROUP - 1) / GPU_GROUP);
    int stages = (groups + CODES_GROUPS - 1) / CODES_GROUPS;
    uint32_t units = (uint32_t)((w.rows + a.unit - 1) / a.unit);
    int first_row = a.unit * (int)(units * blockIdx.x / gridDim.x);
    int end_row = min(a.unit * (int)(units * (blockIdx.x + 1) / gridDim.x), (int)w.rows);
    char *ring = shared + warp * S::SLOTS * S::BYTES;
    float *sums = (float *)(shared + warps * S::SLOTS * S::BYTES);
    char *input = (char *)(sums + warps * SUMS);

    int tiles = (end_row - first_row + CODES_ROWS - 1) / CODES_ROWS;
    codes_walk walk = {warp, tiles << a.parts_log2, 0, 0};
    walk.open(stages, a.parts_log2);
    codes_walk ahead = walk;
#pragma unroll 1
    for (int s = 0; s < S::SLOTS; s++)
        codes_next<F>(ring + s * S::BYTES, ahead, a, first_row, stages);
    gpu_release_next();
    gpu_depend();
    if (a.staged) {
        codes_take(input, (const char *)a.f.x, a.staged);
        __syncthreads();
    }

    char *slot = ring;
    int rounds = (walk.items + warps - 1) >> a.warps_log2;
#pragma unroll 1
    for (int round = 0; round < rounds; round++) {
        float acc[NT][4] = {};
        bool has = walk.item < walk.items;
#pragma unroll 1
        for (int stage = walk.stage; has && stage < walk.end; stage++) {
            int n = min(groups - stage * CODES_GROUPS, (int)CODES_GROUPS);
            int scale = S::SHARED > 1 ? stage % S::SHARED * CODES_GROUPS : 0;
            gpu_copy_wait<S::SLOTS - 1>();
            __syncwarp();
            size_t at = (size_t)stage * CODES_GROUPS * NT;
            if (a.staged)
                codes_add<F, NT>((const uint8_t *)slot, n, scale, (const few_record *)input + at,
                                 acc);
            else
                codes_add<F, NT>((const uint8_t *)slot, n, scale, (const few_record *)a.f.x + at,
                                 acc);
            __syncwarp();
            codes_next<F>(slot, ahead, a, first_row, stages);
            slot += S::BYTES;
            if (slot == ring + S::SLOTS * S::BYTES)
                slot = ring;
        }
        float *to = sums + warp * SUMS + lane % 4 * 2 * CODES_PITCH + lane / 4;
#pragma unroll
        for (int t = 0; t < NT; t++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                to[(8 * t + e % 2) * CODES_PITCH + e / 2 * 8] = acc[t][e];
        __syncthreads();
        codes_round(a, first_row + (int64_t)round * (warps * CODES_ROWS >> a.parts_log2), end_row,
                    sums, SUMS);
        if (round + 1 < rounds)
            __syncthreads();
        walk.item += warps;
        walk.open(stages, a.parts_log2);
    }
#endif
}

/* Bytes of a block, without inputs. */
template <class F> static inline size_t codes_shared(int warps, int tiles)
{
    size_t sums = sizeof(float) * 8 * (size_t)tiles * CODES_PITCH;
    return (size_t)warps * (codes_stage<F>::SLOTS * codes_stage<F>::BYTES + sums);
}

/* Rows that stay together: a tile, or what makes a whole group of the next product's input. Where
 * the result goes does not change its bits. */
static inline int codes_unit(const gpu_few_args &f)
{
    bool groups = f.epilogue == GPU_GATED || f.epilogue == GPU_ACTIVATE || f.packed;
    return groups ? GPU_GROUP << (f.epilogue == GPU_GATED) : CODES_ROWS;
}

/* Parts of a tile's columns: as few as keep the warps busy. */
static inline int codes_parts_log2(const gpu_context *context, const gpu_few_args &f, int unit,
                                   int warps)
{
    int all = context->multiprocessors, units = (int)((f.weights.rows + unit - 1) / unit);
    int tiles = (units + all - 1) / all * unit / CODES_ROWS, best = 0;
    int stages =
        (int)((f.weights.columns + GPU_GROUP * CODES_GROUPS - 1) / (GPU_GROUP * CODES_GROUPS));
    double most = 0;
    for (int log2 = 0; 1 << log2 <= stages && warps * CODES_ROWS >> log2 >= unit; log2++) {
        int items = tiles << log2, turns = (items + warps - 1) / warps;
        double share = (double)items / (turns * warps);
        if (share > most + 0.02)
            most = share, best = log2;
    }
    return best;
}

template <class F, int NT> static pare_status codes_launch_tiles(gpu_context *context, codes_args a)
{
    size_t input =
        (size_t)((a.f.weights.columns + GPU_GROUP - 1) / GPU_GROUP) * NT * sizeof(few_record);
    size_t shared = codes_shared<F>(1 << a.warps_log2, NT);
    auto kernel = codes_kernel<F, NT>;
    pare_status status = gpu_share_alike(kernel, "a product of few tokens");
    if (status != PARE_OK)
        return status;
    a.staged = shared + input + CODES_BEHIND <= context->shared_most ? (int)input : 0;
    return gpu_launch(context, "a product of few tokens", true, kernel,
                      dim3((unsigned)context->multiprocessors), dim3(GPU_WARP << a.warps_log2),
                      shared + (size_t)a.staged, a);
}

/* The number of warps, like the parts, must not depend on the number of tokens. */
template <class F> static pare_status codes_launch(gpu_context *context, const gpu_few_args *args)
{
    codes_args a = {*args};
    a.f.tiles = gpu_few_tiles(args->tokens);
    a.unit = codes_unit(a.f);
    a.warps_log2 = 4;
    while (codes_shared<F>(1 << a.warps_log2, GPU_FEW_MOST / 8) + CODES_BEHIND >
           context->shared_most)
        a.warps_log2--;
    a.parts_log2 = codes_parts_log2(context, a.f, a.unit, 1 << a.warps_log2);
    switch (a.f.tiles) {
    case 1:
        return codes_launch_tiles<F, 1>(context, a);
    case 2:
        return codes_launch_tiles<F, 2>(context, a);
    case 4:
        return codes_launch_tiles<F, 4>(context, a);
    default:
        return codes_launch_tiles<F, 8>(context, a);
    }
}

/* One per file of formats. False: the type is not in it. */
bool few_codes_int_run(gpu_context *context, const gpu_few_args *args, pare_status *status);
bool few_codes_k_run(gpu_context *context, const gpu_few_args *args, pare_status *status);

/* Codes with one scale for a group of 32. */
#define CODES_K_LIST(X)                                                                            \
    X(Q4_1, gpu_q4_1)                                                                              \
    X(Q5_0, gpu_q5_0)                                                                              \
    X(Q5_1, gpu_q5_1)                                                                              \
    X(Q4_K, gpu_q4_k)                                                                              \
    X(Q5_K, gpu_q5_k)
#define CODES_CASE(TYPE, F)                                                                        \
    case PARE_TYPE_##TYPE:                                                                         \
        *status = codes_launch<F>(context, args);                                                  \
        return true;

#endif
