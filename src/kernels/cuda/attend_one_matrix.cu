/* Attention of one token on the tensor cores (mma.sync, sm_80 and later), for caches of 16 bits or
 * fewer.
 *
 * A warp takes 16 positions at a time. Scores are Q K^T with the query heads as rows: up to four
 * heads, each as two FP16 numbers whose sum it is, so that nothing is lost. Outputs are V^T P^T
 * with the heads as columns, again as two numbers. What a lane reads are whole pieces of rows; the
 * order of positions and elements inside an instruction is chosen so that they already lie where
 * the instruction wants them, and scores come out where the next one takes them.
 *
 * All positions but the newest are there before the kernel in front ends: their first pieces are
 * read before it is waited for. The newest is part of its own. Parts are added up in one block of
 * their cluster (sm_90), which the others write to; where parts are too many, or without clusters,
 * by the block that ends last. */
#include "kernels/cuda/attend_one_matrix.cuh"

enum {
    MATRIX_TILE = 16, /* positions of a warp at a time */
    MATRIX_DIM = 64,  /* elements of a head, at most: pieces of more do not fit in registers */
    MATRIX_CLUSTER = 8,
    MATRIX_OF_SEVERAL = 512, /* positions of a part, at least, where there are several sequences */
    MATRIX_AHEAD = 256,      /* positions of a part that are called into the L2 cache early */
    MATRIX_PITCH = GPU_HEAD_DIM_MAX + 4, /* of a query in shared memory: other banks each */
};

struct matrix_args {
    one_args one;
    int group;        /* query heads that share a KV head */
    uint32_t per_dim; /* 2^20 / head_dim, rounded up: elements over head_dim are multiplications */
    bool cluster;     /* grid.y blocks are one */
};

/* ---- the block ---- */

/* What the block has in shared memory. Softmaxes: of the warps, then that of the new position. */
struct matrix_shared {
    float q[MATRIX_HEADS][MATRIX_PITCH], fresh[2][GPU_HEAD_DIM_MAX];
    alignas(
        16) char rows[2][GPU_HEAD_DIM_MAX * 2]; /* the new key and value as the cache has them */
    float maxima[MATRIX_HEADS][GPU_WARP], sums[MATRIX_HEADS][GPU_WARP];
};

/* The heads of this token: queries by a warp each; in the block of the newest position the new key
 * and value, as the cache will have them. */
template <class CACHE, int NB>
__device__ inline void matrix_take_heads(const one_args &a, int kv, int first, int count,
                                         const gpu_control &control, bool newest,
                                         matrix_shared &shared)
{
    const gpu_heads &h = a.heads;
    int warp = threadIdx.x / GPU_WARP, lane = threadIdx.x % GPU_WARP, dim = h.head_dim;
    bool is_q = warp < MATRIX_HEADS, is_v = warp == MATRIX_HEADS + 1;
    if (is_q ? warp >= count : !newest || warp > MATRIX_HEADS + 1)
        return;
    int head = is_q ? first + warp : h.heads + (is_v ? h.kv_heads : 0) + kv;
    float *values = is_q ? shared.q[warp] : shared.fresh[is_v];
    gpu_take_head<NB>(h, a.qkv + blockIdx.z * a.stride + head * dim, is_v,
                      is_q ? h.q_norm : h.k_norm, control.position, values);
    if (is_q) {
#pragma unroll
        for (int j = 0; j < NB; j++) {
            int d = lane + GPU_WARP * j;
            if (d < h.cache_dim)
                values[d] =
                    d < dim ? fminf(fmaxf(values[d] * one_query_scale(h), -65504.0f), 65504.0f) : 0;
        }
        return;
    }
    char *row = shared.rows[is_v];
#pragma unroll 1
    for (int i = lane; 4 * i < (int)h.row_bytes; i += GPU_WARP)
        ((uint32_t *)row)[i] = 0; /* the padding */
    __syncwarp();
    CACHE::encode(row, dim, values);
    __syncwarp();
    if (8 * lane < h.cache_dim) {
        float v[8];
        CACHE::decode(CACHE::load(row, 8 * lane, h.cache_dim), v);
#pragma unroll
        for (int i = 0; i < 8; i++)
            values[8 * lane + i] = v[i];
    }
}

/* The new key's scores, behind those of the block's other softmaxes, and its place in the cache. */
template <int NB>
__device__ inline void matrix_add_newest(const gpu_heads &h, int kv, bool stores, int behind,
                                         const gpu_control &control, matrix_shared &shared)
{
    int warp = threadIdx.x / GPU_WARP, lane = threadIdx.x % GPU_WARP;
    if (warp < MATRIX_HEADS) {
        float score = 0;
#pragma unroll
        for (int j = 0; j < NB; j++)
            if (lane + GPU_WARP * j < h.head_dim)
                score += shared.q[warp][lane + GPU_WARP * j] * shared.fresh[0][lane + GPU_WARP * j];
        score = gpu_warp_sum(score);
        if (lane == 0)
            shared.maxima[warp][behind] = score;
    } else if (stores && warp < MATRIX_HEADS + 2) {
        bool is_v = warp == MATRIX_HEADS + 1;
        size_t at =
            (size_t)control.sequence * h.sequence_bytes + gpu_cache_row(h, kv, control.position);
        uint2 *to = (uint2 *)((char *)(is_v ? h.values : h.keys) + at);
#pragma unroll 1
        for (int i = lane; 8 * i < (int)h.row_bytes; i += GPU_WARP)
            to[i] = ((const uint2 *)shared.rows[is_v])[i];
    }
}

/* A warp's softmax into shared memory: columns of low parts are added to those of high ones, and
 * heads 2t and 2t + 1 are then in lanes t < 2. */
template <class T, int NB>
__device__ inline void matrix_put(const gpu_heads &h, int each, matrix_state<T, NB> &state,
                                  float *outputs, matrix_shared &shared)
{
    matrix_lane lane = matrix_lane_of();
    int warp = threadIdx.x / GPU_WARP;
    state.l += __shfl_xor_sync(GPU_ALL, state.l, 1);
    state.l += __shfl_xor_sync(GPU_ALL, state.l, 2);
    if (lane.t == 0 && lane.g < each) {
        shared.maxima[lane.g][warp] = state.m;
        shared.sums[lane.g][warp] = state.l;
    }
    float *to = outputs + 2 * lane.t * h.cache_dim + T::SOME * lane.g;
#pragma unroll
    for (int u = 0; u < matrix_sizes<T, NB>::UNITS; u++)
#pragma unroll
        for (int i = 0; i < T::SOME / 2; i++) {
            int d = 8 * T::SOME * u + 2 * i;
            float o[4];
#pragma unroll
            for (int e = 0; e < 4; e++)
                o[e] = state.o[u][i][e] + __shfl_xor_sync(GPU_ALL, state.o[u][i][e], 2);
            if (lane.t < 2 && T::SOME * lane.g + d < h.cache_dim) {
                if (2 * lane.t < each)
                    *(float2 *)(to + d) = make_float2(o[0], o[2]);
                if (2 * lane.t + 1 < each)
                    *(float2 *)(to + h.cache_dim + d) = make_float2(o[1], o[3]);
            }
        }
}

/* Softmaxes of a head, up to a warp's lanes: maxima become weights. A warp; returns the maximum. */
__device__ inline float matrix_weigh(float *maxima, int count)
{
    int lane = threadIdx.x % GPU_WARP;
    float m = lane < count ? maxima[lane] : -FLT_MAX, most = gpu_warp_most(m);
    if (lane < count)
        maxima[lane] = gpu_exp2(m - most);
    return most;
}

/* One element of softmaxes that are weighed, and its sum. */
template <int N>
__device__ inline float matrix_gather(const float *weights, const float *sums, const float *outputs,
                                      int pitch, int count, float &l)
{
    float o = 0;
    l = 0;
#pragma unroll
    for (int w = 0; w < N; w++, outputs += pitch)
        if (w < count) {
            o += weights[w] * *outputs;
            l += weights[w] * sums[w];
        }
    return o;
}

/* i / dim for elements of the block's heads. */
__device__ inline int matrix_head_of(const matrix_args &args, int i)
{
    return (int)((uint32_t)i * args.per_dim >> 20);
}

/* The next pieces into the L2 cache: positions from .. to - 1. */
__device__ inline void matrix_look_ahead(const gpu_heads &h, const char *keys, const char *values,
                                         int from, int to)
{
#if __CUDA_ARCH__ >= 900
    to = min(to, from + MATRIX_AHEAD);
    if (threadIdx.x < 2 && from < to) { /* whole pieces of 16 bytes */
        const char *cache = threadIdx.x ? values : keys;
        uintptr_t first = (uintptr_t)(cache + (size_t)from * h.row_bytes) & ~(uintptr_t)15;
        uintptr_t last = (uintptr_t)(cache + (size_t)to * h.row_bytes) & ~(uintptr_t)15;
        gpu_prefetch_bulk((const void *)first, (uint32_t)(last - first));
    }
#endif
}

/* ---- parts ----
 *
 * Of a cluster, in its first block: [each] maxima and sums of the parts, outputs
 * [parts][each][dim].
 */

struct matrix_parts_shared {
    float maxima[MATRIX_HEADS][GPU_WARP], sums[MATRIX_HEADS][GPU_WARP];
};

/* Behind the barrier of the cluster: its first block adds up the parts. */
__device__ inline void matrix_finish(const matrix_args &args, matrix_parts_shared &parts,
                                     const float *gathered, int head, int count, float *out)
{
    int dim = args.one.heads.head_dim, warp = threadIdx.x / GPU_WARP;
    if (warp < count)
        matrix_weigh(parts.maxima[warp], (int)gridDim.y);
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < count * dim; i += ONE_THREADS) {
        int g = matrix_head_of(args, i);
        float l, o = matrix_gather<MATRIX_CLUSTER>(parts.maxima[g], parts.sums[g], gathered + i,
                                                   count * dim, (int)gridDim.y, l);
        out[head * dim + i] = gpu_quotient(o, l);
    }
}

/* ---- the kernel ---- */

/* What a block does. */
struct matrix_work {
    int kv, in_group,
        count;      /* KV head; the query heads that share it: the first one here, how many */
    int low, end;   /* positions: the first, and the new one */
    int tile, last; /* tiles of this block: tile .. last - 1 */
    int parts;
};

__device__ inline matrix_work matrix_work_of(const matrix_args &args, int position)
{
    const one_args &a = args.one;
    const gpu_heads &h = a.heads;
    matrix_work w;
    w.kv = (int)(blockIdx.x / (uint32_t)a.per_kv);
    w.in_group = ((int)blockIdx.x - w.kv * a.per_kv) * a.each;
    w.count = min(a.each, args.group - w.in_group);
    w.end = position;
    w.low = h.window ? max(0, position - h.window + 1) : 0;
    uint32_t tiles = (uint32_t)(w.end - w.low + MATRIX_TILE - 1) / MATRIX_TILE;
    int of_part = (int)((tiles + gridDim.y - 1) / gridDim.y);
    w.parts = (int)gridDim.y;
    if (!args.cluster) {
        of_part = max(of_part, ONE_LEAST / MATRIX_TILE);
        w.parts = max(1, (int)((tiles + (uint32_t)of_part - 1) / (uint32_t)of_part));
    }
    w.tile = (int)blockIdx.y * of_part;
    w.last = min(w.tile + of_part, (int)tiles);
    return w;
}

template <class T, class CACHE, int NB>
__global__ void __launch_bounds__(ONE_THREADS, 2)
    matrix_kernel(const __grid_constant__ matrix_args args)
{
    GPU_SHARED(float, 16, outputs); /* [warps][each][cache_dim], then those of the parts */
    __shared__ matrix_shared shared;
    __shared__ matrix_parts_shared gathered_shared;
    const one_args &a = args.one;
    const gpu_heads &h = a.heads;
    int dim = h.head_dim, warp = threadIdx.x / GPU_WARP, part = (int)blockIdx.y;
    gpu_release_next();
    /* Only the last kernel of a token changes control, and no kernel starts before the token in
     * front is complete: the position and the keys and values before it may be read already. */
    gpu_control control = a.control[blockIdx.z];
    matrix_work work = matrix_work_of(args, control.position);
    if (part >= work.parts)
        return;
    size_t base = (size_t)control.sequence * h.sequence_bytes + gpu_cache_row(h, work.kv, 0);
    const char *keys = (const char *)h.keys + base, *values = (const char *)h.values + base;
    int head = work.kv * args.group + work.in_group;
    int used = max(0, min(work.last - work.tile, (int)ONE_WARPS)), softmaxes = used + (part == 0);
    matrix_tile<T, NB> held;
    matrix_state<T, NB> state = {};
    uint32_t q[NB][2][4];
    state.m = -FLT_MAX;
    /* A warp's tiles. In the first turn there is none yet: the first one's pieces are asked for,
     * and the kernel in front is waited for. The next one's pieces follow as soon as there is room.
     */
#pragma unroll 1
    for (int tile = work.tile + warp - ONE_WARPS;; tile += ONE_WARPS) {
        bool computes = tile >= work.tile;
        int first = work.low + MATRIX_TILE * tile, next = first + MATRIX_TILE * ONE_WARPS;
        bool more = tile + ONE_WARPS < work.last;
        float s[4];
        if (computes)
            matrix_scores(held, q, s);
        if (more)
            matrix_load_keys(h, keys, next, work.end, held);
        if (computes) {
            matrix_soften<T, NB>(first, work.end, s, state);
            matrix_add_values(held, s, state);
        }
        if (more)
            matrix_load_values(h, values, next, work.end, held);
        if (!computes) {
            if (args.cluster)
                gpu_cluster_arrive();
            matrix_look_ahead(h, keys, values, next + MATRIX_TILE * ONE_WARPS,
                              min(work.low + MATRIX_TILE * work.last, work.end));
            if (h.cosines && (int)threadIdx.x % GPU_WARP < h.rope_dims / 2) { /* near when needed */
                int64_t at = (int64_t)work.end * (h.rope_dims / 2) + threadIdx.x % GPU_WARP;
                gpu_touch(h.cosines + at);
                gpu_touch(h.sines + at);
            }
            gpu_depend();
            matrix_take_heads<CACHE, NB>(a, work.kv, head, work.count, control, part == 0, shared);
            __syncthreads();
            if (part == 0)
                matrix_add_newest<NB>(h, work.kv, work.in_group == 0, used, control, shared);
            matrix_query<NB>(shared.q[matrix_lane_of().g & (a.each - 1)], h.cache_dim, q);
        }
        if (!more)
            break;
    }
    if (warp < used)
        matrix_put<T, NB>(h, a.each, state, outputs + warp * a.each * h.cache_dim, shared);
    __syncthreads();

    float *out = a.out + blockIdx.z * a.out_stride;
    float *gathered = outputs + ONE_WARPS * a.each * h.cache_dim; /* [parts][count][dim] */
    if (args.cluster)
        gpu_cluster_wait(); /* all its blocks have started */
    if (warp < work.count) {
        float m = matrix_weigh(shared.maxima[warp], softmaxes);
        if (args.cluster && threadIdx.x % GPU_WARP == 0)
            gpu_cluster_put(&gathered_shared.maxima[warp][part], 0, m);
        else if (work.parts > 1 && threadIdx.x % GPU_WARP == 0)
            __stcg(one_part(a, head + warp, part), m);
    }
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < work.count * dim; i += ONE_THREADS) {
        int g = matrix_head_of(args, i), d = i - g * dim;
        const float *weights = shared.maxima[g];
        float l,
            o = matrix_gather<ONE_WARPS>(weights, shared.sums[g], outputs + g * h.cache_dim + d,
                                         a.each * h.cache_dim, used, l);
        if (part == 0) {
            o += weights[used] * shared.fresh[1][d];
            l += weights[used];
        }
        if (work.parts == 1) {
            out[head * dim + i] = gpu_quotient(o, l);
        } else if (args.cluster) {
            gpu_cluster_put(gathered + part * work.count * dim + i, 0, o);
            if (d == 0)
                gpu_cluster_put(&gathered_shared.sums[g][part], 0, l);
        } else {
            float *to = one_part(a, head + g, part);
            __stcg(to + 2 + d, o);
            if (d == 0)
                __stcg(to + 1, l);
        }
    }
    if (work.parts == 1)
        return;
    if (!args.cluster) {
        one_finish(a, head, work.count, work.parts, out);
        return;
    }
    gpu_cluster_arrive();
    if (part != 0)
        return;
    gpu_cluster_wait();
    matrix_finish(args, gathered_shared, gathered, head, work.count, out);
}

/* ---- launching ---- */

/* Short caches: the parts of a KV head are a cluster. Long ones: as many blocks as keep the memory
 * busy. */
static int matrix_parts(const gpu_context *context, const matrix_args *args)
{
    const gpu_heads *h = &args->one.heads;
    int blocks = h->kv_heads * args->one.per_kv, all = context->multiprocessors;
    int parts = args->cluster ? 1 : ONE_PER_PROCESSOR * all / blocks;
    while (args->cluster && parts < MATRIX_CLUSTER && 2 * parts * blocks <= all)
        parts *= 2;
    while (h->several && parts > 1 && (parts / 2) * MATRIX_OF_SEVERAL >= h->capacity)
        parts /= 2;
    return parts < 1 ? 1 : parts > ONE_PARTS ? ONE_PARTS : parts;
}

template <class T, class CACHE>
static pare_status matrix_run(gpu_context *context, const matrix_args &args, int64_t tokens)
{
    const gpu_heads *h = &args.one.heads;
    int parts = matrix_parts(context, &args);
    dim3 grid((unsigned)(h->kv_heads * args.one.per_kv), (unsigned)parts, (unsigned)tokens);
    size_t parts_bytes =
        args.cluster ? (size_t)(parts * args.one.each * h->head_dim) * sizeof(float) : 0;
    size_t bytes = ONE_WARPS * (size_t)(args.one.each * h->cache_dim) * sizeof(float);
    pare_status status = gpu_share_alike(matrix_kernel<T, CACHE, MATRIX_DIM / 32>, "attention");
    if (status != PARE_OK)
        return status;
    return gpu_launch_cluster(context, "attention", true, args.cluster ? parts : 1,
                              matrix_kernel<T, CACHE, MATRIX_DIM / 32>, grid, dim3(ONE_THREADS),
                              bytes + parts_bytes, args);
}

bool gpu_attend_one_matrix(gpu_context *context, const one_args *args, int64_t tokens,
                           pare_status *status)
{
    matrix_args a = {
        *args, args->heads.heads / args->heads.kv_heads,
        ((1u << 20) + (uint32_t)args->heads.head_dim - 1) / (uint32_t)args->heads.head_dim, false};
    const gpu_heads *h = &args->heads;
    if (context->major < 8 || h->cache_type == PARE_TYPE_F32 || h->cache_dim > MATRIX_DIM)
        return false;
    a.cluster = context->chained && h->capacity <= ONE_SHORT;
    a.one.each = a.group >= 3 ? 4 : a.group;
    a.one.per_kv = (a.group + a.one.each - 1) / a.one.each;
    *status =
        h->cache_type == PARE_TYPE_F16 ? matrix_run<matrix_f16, gpu_cache_f16>(context, a, tokens)
        : h->cache_type == PARE_TYPE_Q8_0 ? matrix_run<matrix_q8, gpu_cache_q8>(context, a, tokens)
                                          : matrix_run<matrix_q4, gpu_cache_q4>(context, a, tokens);
    return true;
}
