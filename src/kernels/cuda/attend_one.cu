/* Attention of one token without matrix instructions: for caches of FP32, heads of more than 64
 * elements, and cards before sm_80.
 *
 * A group of lanes takes a key, 8 elements each, and keeps a running maximum, sum and output for
 * every query head; groups, warps and parts are combined in that order, the parts by whichever
 * block ends last (always in the same order, so the bits do not depend on it). */
#include "kernels/cuda/attend_one.cuh"

/* Adds another running softmax to this one. */
template <int N>
__device__ inline void one_merge(float &m, float &l, float o[N], float m2, float l2,
                                 const float o2[N])
{
    float most = fmaxf(m, m2), a = exp2f(m - most), b = exp2f(m2 - most);
    m = most;
    l = l * a + l2 * b;
    for (int i = 0; i < N; i++)
        o[i] = o[i] * a + o2[i] * b;
}

template <int G> struct one_state {
    float m[G], l[G], o[G][8];
};

/* One key and its value. */
template <int G>
__device__ inline void one_add(one_state<G> &s, const float (*query)[8], const float k[8],
                               const float v[8], int key_lanes, bool live)
{
#pragma unroll
    for (int g = 0; g < G; g++) {
        float score = 0;
        for (int i = 0; i < 8; i++)
            score += query[g][i] * k[i];
#pragma unroll 1
        for (int i = key_lanes / 2; i; i >>= 1)
            score += __shfl_xor_sync(GPU_ALL, score, i);
        if (!live)
            continue;
        float most = fmaxf(s.m[g], score), keep = exp2f(s.m[g] - most);
        float p = exp2f(score - most);
        s.m[g] = most;
        s.l[g] = s.l[g] * keep + p;
        for (int i = 0; i < 8; i++)
            s.o[g][i] = s.o[g][i] * keep + p * v[i];
    }
}

/* The keys begin + first, + step, ... below end; a few are fetched before the first is used. */
template <class T, int G>
__device__ inline void one_walk(const one_args &a, int key_lanes,
                                const float (*q)[GPU_HEAD_DIM_MAX], size_t base, int begin, int end,
                                one_state<G> &s)
{
    constexpr int AHEAD = G > 4 ? 2 : 4;
    int lane = threadIdx.x % GPU_WARP, sub = lane % key_lanes, each = GPU_WARP / key_lanes;
    int step = ONE_WARPS * each;
    bool holds = 8 * sub < a.heads.cache_dim;
    const char *keys = (const char *)a.heads.keys + base;
    const char *values = (const char *)a.heads.values + base;
    float query[G][8];
#pragma unroll
    for (int g = 0; g < G; g++)
        for (int i = 0; i < 8; i++)
            query[g][i] = holds ? q[g][8 * sub + i] : 0;
    int first = begin + (int)(threadIdx.x / GPU_WARP) * each;
#pragma unroll 1
    for (int at = first; at < end; at += AHEAD * step) { /* the same for a warp: it shuffles */
        typename T::raw k[AHEAD], v[AHEAD];
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            int position = at + j * step + lane / key_lanes;
            k[j] = v[j] = {};
            if (position < end && holds) {
                size_t row = (size_t)position * a.heads.row_bytes;
                k[j] = T::load(keys + row, 8 * sub, a.heads.cache_dim);
                v[j] = T::load(values + row, 8 * sub, a.heads.cache_dim);
            }
        }
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            if (at + j * step >= end)
                break;
            float key[8], value[8];
            T::decode(k[j], key);
            T::decode(v[j], value);
            one_add<G>(s, query, key, value, key_lanes, at + j * step + lane / key_lanes < end);
        }
    }
#pragma unroll 1
    for (int off = key_lanes; off < GPU_WARP; off <<= 1)
#pragma unroll
        for (int g = 0; g < G; g++) {
            float o2[8], m2 = __shfl_xor_sync(GPU_ALL, s.m[g], off);
            float l2 = __shfl_xor_sync(GPU_ALL, s.l[g], off);
            for (int i = 0; i < 8; i++)
                o2[i] = __shfl_xor_sync(GPU_ALL, s.o[g][i], off);
            /* the lower lanes first, on both sides: equal bits in both */
            bool upper = lane & off;
            float m1 = upper ? m2 : s.m[g], l1 = upper ? l2 : s.l[g];
            float mb = upper ? s.m[g] : m2, lb = upper ? s.l[g] : l2, o1[8], ob[8];
            for (int i = 0; i < 8; i++) {
                o1[i] = upper ? o2[i] : s.o[g][i];
                ob[i] = upper ? s.o[g][i] : o2[i];
            }
            one_merge<8>(m1, l1, o1, mb, lb, ob);
            s.m[g] = m1, s.l[g] = l1;
            for (int i = 0; i < 8; i++)
                s.o[g][i] = o1[i];
        }
}

template <class T, int G>
__global__ void __launch_bounds__(ONE_THREADS, G > 2 ? 1 : 2)
    one_kernel(const __grid_constant__ one_args a)
{
    GPU_SHARED(float, 16, outputs); /* [warps][G][cache_dim] */
    __shared__ float q[G][GPU_HEAD_DIM_MAX], fresh[2][GPU_HEAD_DIM_MAX];
    __shared__ float maxima[ONE_WARPS][G], sums[ONE_WARPS][G];
    const gpu_heads &h = a.heads;
    int key_lanes = 1; /* of a key: a power of 2 */
    while (8 * key_lanes < h.cache_dim)
        key_lanes *= 2;
    int dim = h.head_dim, warp = threadIdx.x / GPU_WARP, lane = threadIdx.x % GPU_WARP;
    int kv = blockIdx.x / a.per_kv, group = h.heads / h.kv_heads;
    int first_head = blockIdx.x % a.per_kv * G, count = min(G, group - first_head);
    gpu_release_next();
    /* Only the last kernel of a token changes control, and no kernel starts before the token in
     * front is complete: the position and the keys and values before it may be read already. */
    gpu_control control = a.control[blockIdx.z];
    int position = control.position;
    int low = h.window && position - h.window + 1 > 0 ? position - h.window + 1 : 0;
    int length = position + 1 - low;
    int part = (length + (int)gridDim.y - 1) / (int)gridDim.y;
    part = part < ONE_LEAST ? ONE_LEAST : part;
    int parts = (length + part - 1) / part;
    int begin = low + (int)blockIdx.y * part, end = min(begin + part, position + 1);
    if (begin > position)
        return;
    size_t sequence = (size_t)control.sequence * h.sequence_bytes;
    size_t base = sequence + gpu_cache_row(h, kv, 0);
#if __CUDA_ARCH__ >= 900
    if (threadIdx.x < 2) { /* whole pieces of 16 bytes */
        const char *cache = (const char *)(threadIdx.x ? h.values : h.keys) + base;
        uintptr_t from = (uintptr_t)(cache + (size_t)begin * h.row_bytes) & ~(uintptr_t)15;
        uintptr_t to = (uintptr_t)(cache + (size_t)end * h.row_bytes) & ~(uintptr_t)15;
        if (to > from)
            gpu_prefetch_bulk((const void *)from, (uint32_t)(to - from));
    }
#endif
    if (h.cosines) /* so that they are near when the heads come */
        for (int i = lane; i < h.rope_dims / 2; i += GPU_WARP) {
            gpu_touch(h.cosines + (int64_t)position * (h.rope_dims / 2) + i);
            gpu_touch(h.sines + (int64_t)position * (h.rope_dims / 2) + i);
        }
    gpu_depend();
    const float *qkv = a.qkv + blockIdx.z * a.stride;
    const float *heads = qkv + (kv * group + first_head) * dim;
    float *out = a.out + blockIdx.z * a.out_stride;
    for (int i = warp; i < G + 2; i += ONE_WARPS) {
        if (i < count) {
            gpu_take_head(h, heads + i * dim, false, h.q_norm, position, q[i]);
            for (int d = lane; d < h.cache_dim; d += GPU_WARP)
                q[i][d] = d < dim ? q[i][d] * one_query_scale(h) : 0;
        } else if (i < G) {
            for (int d = lane; d < h.cache_dim; d += GPU_WARP)
                q[i][d] = 0;
        } else if (end == position + 1) { /* this block sees the new position: it stores it */
            bool is_v = i == G + 1;
            gpu_take_head(h, qkv + (h.heads + (is_v ? h.kv_heads : 0) + kv) * dim, is_v, h.k_norm,
                          position, fresh[is_v]);
            /* Several blocks of one KV head write the same bytes, each before it reads them. */
            gpu_store_head(h, sequence, kv, is_v, position, fresh[is_v]);
        }
    }
    __syncthreads();

    one_state<G> s;
#pragma unroll
    for (int g = 0; g < G; g++) {
        s.m[g] = -FLT_MAX;
        s.l[g] = 0;
        for (int i = 0; i < 8; i++)
            s.o[g][i] = 0;
    }
    one_walk<T, G>(a, key_lanes, q, base, begin, end, s);
    if (lane < key_lanes && 8 * lane < h.cache_dim)
#pragma unroll
        for (int g = 0; g < G; g++)
            for (int i = 0; i < 8; i++)
                outputs[(warp * G + g) * h.cache_dim + 8 * lane + i] = s.o[g][i];
    if (lane == 0)
#pragma unroll
        for (int g = 0; g < G; g++) {
            maxima[warp][g] = s.m[g];
            sums[warp][g] = s.l[g];
        }
    __syncthreads();

    for (int i = threadIdx.x; i < count * dim; i += ONE_THREADS) {
        int g = i / dim, d = i % dim, head = kv * group + first_head + g;
        float m, l;
        float o =
            one_gather_all<ONE_WARPS>(ONE_WARPS, m, l, [&](int w, float &m2, float &l2, float &o2) {
                m2 = maxima[w][g];
                l2 = sums[w][g];
                o2 = outputs[(w * G + g) * h.cache_dim + d];
            });
        if (parts == 1)
            out[head * dim + d] = o / l;
        else
            one_put(one_part(a, head, blockIdx.y), d, m, l, o);
    }
    if (parts > 1)
        one_finish(a, kv * group + first_head, count, parts, out);
}

static int heads_of_block(const gpu_heads *h)
{
    int group = h->heads / h->kv_heads;
    int most = h->capacity <= ONE_SHORT ? 2 : 8;
    int each = group >= 5 ? 8 : group >= 3 ? 4 : group;
    return each < most ? each : most;
}

static int blocks_of_kv(const gpu_heads *h, int each)
{
    return (h->heads / h->kv_heads + each - 1) / each;
}

/* Two blocks a multiprocessor where the positions suffice: one alone cannot keep enough of a long
 * cache on its way. */
static int parts_of(const gpu_context *context, const gpu_heads *h, int each)
{
    int parts =
        ONE_PER_PROCESSOR * context->multiprocessors / (h->kv_heads * blocks_of_kv(h, each));
    return parts < 1 ? 1 : parts > ONE_PARTS ? ONE_PARTS : parts;
}

/* Enough for any capacity: the most blocks of short caches, the most parts of long ones. */
extern "C" size_t gpu_attention_scratch(const gpu_context *context, const gpu_heads *h,
                                        int64_t tokens)
{
    int parts = parts_of(context, h, 8);
    return (size_t)tokens * (size_t)h->heads *
           (sizeof(int) + (size_t)parts * (2 + h->head_dim) * sizeof(float));
}

extern "C" int gpu_cache_dim(pare_type cache_type, int64_t head_dim)
{
    bool blocks = cache_type == PARE_TYPE_Q8_0 || cache_type == PARE_TYPE_Q4_0;
    return blocks ? (int)head_dim : (int)((head_dim + 7) / 8 * 8);
}

extern "C" size_t gpu_cache_row_bytes(pare_type cache_type, int cache_dim)
{
    size_t n = (size_t)cache_dim, scales = n / 32 * 2;
    size_t bytes = cache_type == PARE_TYPE_F32    ? 4 * n
                   : cache_type == PARE_TYPE_F16  ? 2 * n
                   : cache_type == PARE_TYPE_Q8_0 ? n + scales
                                                  : n / 2 + scales;
    return (bytes + 7) / 8 * 8;
}

template <class T, int G>
static pare_status attend_one(gpu_context *context, const one_args &a, int64_t tokens)
{
    const gpu_heads *h = &a.heads;
    int most = (int)((h->capacity + ONE_LEAST - 1) / ONE_LEAST),
        parts = parts_of(context, h, a.each);
    dim3 grid((unsigned)(h->kv_heads * a.per_kv), (unsigned)(parts < most ? parts : most),
              (unsigned)tokens);
    pare_status status = gpu_share_alike(one_kernel<T, G>, "attention");
    if (status != PARE_OK)
        return status;
    return gpu_launch(context, "attention", true, one_kernel<T, G>, grid, dim3(ONE_THREADS),
                      sizeof(float) * ONE_WARPS * G * (size_t)h->cache_dim, a);
}

template <class T>
static pare_status attend_typed(gpu_context *context, const one_args &a, int64_t tokens)
{
    switch (a.each) {
    case 1:
        return attend_one<T, 1>(context, a, tokens);
    case 2:
        return attend_one<T, 2>(context, a, tokens);
    case 4:
        return attend_one<T, 4>(context, a, tokens);
    default:
        return attend_one<T, 8>(context, a, tokens);
    }
}

extern "C" pare_status gpu_attend_one(gpu_context *context, const gpu_heads *heads,
                                      const float *qkv, int64_t stride, const gpu_control *control,
                                      int64_t tokens, float *out, int64_t out_stride, void *scratch)
{
    pare_status status;
    one_args a = {*heads,
                  qkv,
                  stride,
                  out_stride,
                  control,
                  out,
                  (char *)scratch,
                  gpu_attention_scratch(context, heads, 1),
                  heads_of_block(heads),
                  1};
    if (gpu_attend_one_matrix(context, &a, tokens, &status))
        return status;
    a.per_kv = blocks_of_kv(heads, a.each);
    return gpu_with_cache(heads->cache_type, [&](auto type) {
        return attend_typed<decltype(type)>(context, a, tokens);
    });
}
