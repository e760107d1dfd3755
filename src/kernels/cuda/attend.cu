/* Attention of many tokens over the cache, FP32 arithmetic: a block takes 64 queries of a head and
 * walks over tiles of 32 keys in shared memory; four threads share a query, each a quarter of the
 * head's elements. */
#include "kernels/cuda/heads.cuh"

#include <cfloat>

enum { ATTEND_QUERIES = 64, ATTEND_SHARE = 4, ATTEND_KEYS = 32 };
enum { ATTEND_THREADS = ATTEND_QUERIES * ATTEND_SHARE };

struct attend_args {
    gpu_heads heads;
    const float *qkv;
    float *out;
    int64_t stride, out_stride;
    int tokens, past;
    size_t sequence; /* bytes */
};

/* Rows of [ATTEND_KEYS][DIM] floats from the cache; zeros behind head_dim and past the end. */
template <class T, int DIM>
__device__ inline void attend_fetch(const attend_args &a, const void *cache, int kv, int first,
                                    int end, float *to)
{
    const char *base = (const char *)cache + a.sequence + gpu_cache_row(a.heads, kv, first);
    for (int i = threadIdx.x; i < ATTEND_KEYS * (DIM / 8); i += ATTEND_THREADS) {
        int key = i / (DIM / 8), d = i % (DIM / 8) * 8;
        float v[8] = {};
        if (first + key < end && d < a.heads.cache_dim)
            T::decode(T::load(base + (size_t)key * a.heads.row_bytes, d, a.heads.cache_dim), v);
        float4 *p = (float4 *)(to + key * DIM + d);
        p[0] = make_float4(v[0], v[1], v[2], v[3]);
        p[1] = make_float4(v[4], v[5], v[6], v[7]);
    }
}

template <class T, int DIM>
__global__ void __launch_bounds__(ATTEND_THREADS) attend_kernel(const attend_args a)
{
    constexpr int PIECES = DIM / 4 / ATTEND_SHARE;
    GPU_SHARED(float4, 16, tiles);
    float *keys = (float *)tiles, *values = keys + ATTEND_KEYS * DIM;
    const gpu_heads &h = a.heads;
    int head = blockIdx.x, kv = head / (h.heads / h.kv_heads), dim = h.head_dim;
    /* late tiles first: they take longest */
    int first = (int)(gridDim.y - 1 - blockIdx.y) * ATTEND_QUERIES;
    int t = first + (int)threadIdx.x / ATTEND_SHARE, sub = threadIdx.x % ATTEND_SHARE;
    bool live = t < a.tokens;
    int position = a.past + t, low = h.window ? max(0, position - h.window + 1) : 0;
    int last = a.past + min(first + ATTEND_QUERIES, a.tokens);
    int start = h.window ? max(0, a.past + first - h.window + 1) : 0;
    float q[PIECES][4], o[PIECES][4] = {}, m = -FLT_MAX, l = 0;
#pragma unroll
    for (int j = 0; j < PIECES; j++)
        for (int i = 0; i < 4; i++) {
            int d = 4 * (ATTEND_SHARE * j + sub) + i;
            q[j][i] = live && d < dim
                          ? a.qkv[t * a.stride + head * dim + d] * h.scale * 1.4426950408889634f
                          : 0;
        }
    for (int tile = start / ATTEND_KEYS * ATTEND_KEYS; tile < last; tile += ATTEND_KEYS) {
        __syncthreads();
        attend_fetch<T, DIM>(a, h.keys, kv, tile, last, keys);
        attend_fetch<T, DIM>(a, h.values, kv, tile, last, values);
        __syncthreads();
        float score[ATTEND_KEYS], most = m;
#pragma unroll
        for (int key = 0; key < ATTEND_KEYS; key++) {
            const float4 *k = (const float4 *)(keys + key * DIM) + sub;
            float sum = 0;
#pragma unroll
            for (int j = 0; j < PIECES; j++) {
                float4 v = k[ATTEND_SHARE * j];
                sum += q[j][0] * v.x + q[j][1] * v.y + q[j][2] * v.z + q[j][3] * v.w;
            }
            sum += __shfl_xor_sync(GPU_ALL, sum, 1);
            sum += __shfl_xor_sync(GPU_ALL, sum, 2);
            bool seen = tile + key <= position && tile + key >= low;
            score[key] = seen ? sum : -FLT_MAX;
            most = fmaxf(most, score[key]);
        }
        float keep = exp2f(m - most);
        m = most;
        l *= keep;
#pragma unroll
        for (int j = 0; j < PIECES; j++)
            for (int i = 0; i < 4; i++)
                o[j][i] *= keep;
#pragma unroll
        for (int key = 0; key < ATTEND_KEYS; key++) {
            float p = score[key] == -FLT_MAX ? 0 : exp2f(score[key] - m);
            const float4 *v4 = (const float4 *)(values + key * DIM) + sub;
            l += p;
#pragma unroll
            for (int j = 0; j < PIECES; j++) {
                float4 v = v4[ATTEND_SHARE * j];
                o[j][0] += p * v.x;
                o[j][1] += p * v.y;
                o[j][2] += p * v.z;
                o[j][3] += p * v.w;
            }
        }
    }
    if (!live)
        return;
    float *out = a.out + t * a.out_stride + head * dim;
#pragma unroll
    for (int j = 0; j < PIECES; j++)
        for (int i = 0; i < 4; i++) {
            int d = 4 * (ATTEND_SHARE * j + sub) + i;
            if (d < dim)
                out[d] = o[j][i] / l;
        }
}

template <class T, int DIM> static pare_status attend(gpu_context *context, const attend_args &a)
{
    dim3 grid((unsigned)a.heads.heads,
              (unsigned)((a.tokens + ATTEND_QUERIES - 1) / ATTEND_QUERIES));
    return gpu_launch(context, "attention of a prompt", false, attend_kernel<T, DIM>, grid,
                      dim3(ATTEND_THREADS), sizeof(float) * 2 * ATTEND_KEYS * DIM, a);
}

template <class T> static pare_status attend_typed(gpu_context *context, const attend_args &a)
{
    if (a.heads.cache_dim <= 64)
        return attend<T, 64>(context, a);
    if (a.heads.cache_dim <= 128)
        return attend<T, 128>(context, a);
    return attend<T, 256>(context, a);
}

extern "C" pare_status gpu_attend(gpu_context *context, const gpu_heads *heads, const float *qkv,
                                  int64_t stride, int64_t sequence, int64_t tokens, int64_t past,
                                  float *out, int64_t out_stride)
{
    attend_args a = {*heads,     qkv,         out,       stride,
                     out_stride, (int)tokens, (int)past, (size_t)sequence * heads->sequence_bytes};
    return gpu_with_cache(heads->cache_type,
                          [&](auto type) { return attend_typed<decltype(type)>(context, a); });
}

extern "C" bool gpu_attends_numbers(const gpu_context *context, const gpu_heads *heads)
{
    bool whole = !heads->cosines || heads->rope_dims == heads->head_dim;
#ifdef GPU_EMULATE
    bool own = true;
#else
    bool own = context->major == 9;
#endif
    return own && heads->cache_type == PARE_TYPE_F16 && heads->head_dim <= 128 &&
           heads->head_dim % 8 == 0 && whole;
}
