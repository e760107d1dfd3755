/* Attention of one token, split over the cache: what both ways of computing it share.
 *
 * grid.x: a KV head and some of the query heads that share it; grid.y: a part of the positions;
 * grid.z: a token, each of its own sequence. */
#ifndef PARE_KERNELS_CUDA_ATTEND_ONE_CUH
#define PARE_KERNELS_CUDA_ATTEND_ONE_CUH

#include "kernels/cuda/heads.cuh"

#include <cfloat>

enum {
    ONE_WARPS = 8,
    ONE_THREADS = ONE_WARPS * GPU_WARP,
    ONE_LEAST =
        128, /* positions of a part: fewer cost more to combine through memory than they save */
    ONE_PER_PROCESSOR = 2,
    ONE_SHORT = 4096, /* positions: up to here more blocks with fewer heads are faster */
    ONE_PARTS = 64,   /* at most */
};

struct one_args {
    gpu_heads heads;
    const float *qkv;
    int64_t stride, out_stride;
    const gpu_control *control; /* [grid.z] */
    float *out;
    char *scratch;        /* for each token: counters [grid.x], then [heads][parts][2 + head_dim] */
    size_t token_scratch; /* bytes */
    int each;             /* query heads of a block, at most */
    int per_kv;           /* blocks in x for one KV head */
};

/* Scores are powers of 2. */
__device__ inline float one_query_scale(const gpu_heads &h)
{
    return h.scale * 1.4426950408889634f;
}

/* Adds up to N of them, element by element: all are fetched before the first is used. get(i, m, l,
 * o) is called for 0 .. count - 1. */
template <int N, class F>
__device__ inline void one_gather(float &m, float &l, float &o, int count, F get)
{
    float m2[N], l2[N], o2[N], most = m;
#pragma unroll
    for (int i = 0; i < N; i++) {
        m2[i] = -FLT_MAX;
        l2[i] = o2[i] = 0;
        if (i < count)
            get(i, m2[i], l2[i], o2[i]);
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        most = fmaxf(most, m2[i]);
    float keep = exp2f(m - most);
    m = most;
    l *= keep;
    o *= keep;
#pragma unroll
    for (int i = 0; i < N; i++) {
        float weight = exp2f(m2[i] - most);
        l += l2[i] * weight;
        o += o2[i] * weight;
    }
}

/* Running softmaxes of `count` parts of one element; N are fetched before the first is used. */
template <int N, class F>
__device__ inline float one_gather_all(int count, float &m, float &l, F get)
{
    float o = 0;
    m = -FLT_MAX, l = 0;
#pragma unroll 1
    for (int p = 0; p < count; p += N)
        one_gather<N>(m, l, o, count - p,
                      [&](int i, float &m2, float &l2, float &o2) { get(p + i, m2, l2, o2); });
    return o;
}

/* This block's part of head `head` in scratch: maximum, sum, outputs. */
__device__ inline float *one_part(const one_args &a, int head, int part)
{
    float *partial = (float *)(a.scratch + blockIdx.z * a.token_scratch + gridDim.x * sizeof(int));
    return partial + ((size_t)head * gridDim.y + part) * (2 + a.heads.head_dim);
}

/* Behind one_part(): the block that ends last adds up the parts, in their order. */
__device__ inline void one_finish(const one_args &a, int head, int count, int parts, float *out)
{
    __shared__ int last;
    int *done = (int *)(a.scratch + blockIdx.z * a.token_scratch) + blockIdx.x;
    int dim = a.heads.head_dim;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicAdd(done, 1) == parts - 1;
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    for (int i = threadIdx.x; i < count * dim; i += ONE_THREADS) {
        int g = i / dim, d = i % dim;
        const float *from = one_part(a, head + g, 0);
        float m, l;
        float o = one_gather_all<8>(parts, m, l, [&](int p, float &m2, float &l2, float &o2) {
            m2 = __ldcg(from + p * (2 + dim));
            l2 = __ldcg(from + p * (2 + dim) + 1);
            o2 = __ldcg(from + p * (2 + dim) + 2 + d);
        });
        out[(head + g) * dim + d] = o / l;
    }
    if (threadIdx.x == 0)
        *done = 0;
}

/* Writes an element's part: what one_finish() reads. */
__device__ inline void one_put(float *to, int d, float m, float l, float o)
{
    __stcg(to + 2 + d, o);
    if (d == 0) {
        __stcg(to, m);
        __stcg(to + 1, l);
    }
}

/* On the tensor cores, where the cache has 16 bits or fewer and heads up to 64 elements: false if
 * it does not take it. */
bool gpu_attend_one_matrix(gpu_context *context, const one_args *args, int64_t tokens,
                           pare_status *status);

#endif
