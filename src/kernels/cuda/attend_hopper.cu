/* Attention of many tokens on Hopper's matrix units, in FP16 with sums in FP32: a block takes 128
 * queries of a head, two warpgroups 64 each; the copy engine brings tiles of 128 keys and values
 * out of the cache. A warpgroup's scores of the next tile are computed, and their exponentials
 * taken, while the values of the last one are added up. */
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/numbers.cuh"

enum {
    FLASH_QUERIES = 128,
    FLASH_KEYS = 128,
    FLASH_STAGES = 2,
    FLASH_THREADS = 384,
    FLASH_ROW = 128, /* bytes: 64 elements of a head */
    FLASH_TILE = FLASH_KEYS * FLASH_ROW,
};

struct flash_args {
    CUtensorMap q, keys, values;
    gpu_planes to;
    int heads, group, head_dim; /* group: heads that share keys */
    int capacity, tokens, past, window;
};

#if __CUDA_ARCH_FEAT_SM90_ALL
/* Shared memory: queries, then stages of keys, stages of values; tiles of 64 elements side by side.
 */
template <int DIM> struct flash_place {
    static constexpr int PARTS = DIM / 64, BYTES = PARTS * FLASH_TILE;
    static constexpr int SHARED = BYTES * (1 + 2 * FLASH_STAGES);
    uint32_t q, keys, values;
    /* barriers: queries there; keys and values there, and free again */
    uint32_t q_full, key_full, key_empty, value_full, value_empty;
    int head, first, start, end; /* of queries; of positions: the first tile's, behind the last */

    __device__ flash_place(const flash_args &a, const void *shared)
    {
        q = (gpu_shared_address(shared) + 1023) & ~1023u;
        keys = q + BYTES;
        values = keys + FLASH_STAGES * BYTES;
        q_full = values + FLASH_STAGES * BYTES;
        key_full = q_full + 8;
        key_empty = key_full + 8 * FLASH_STAGES;
        value_full = key_empty + 8 * FLASH_STAGES;
        value_empty = value_full + 8 * FLASH_STAGES;
        head = blockIdx.x;
        first = (int)(gridDim.y - 1 - blockIdx.y) * FLASH_QUERIES; /* the longest first */
        end = a.past + min(first + FLASH_QUERIES, a.tokens);
        start = a.window ? max(0, a.past + first - a.window + 1) / FLASH_KEYS * FLASH_KEYS : 0;
    }
};

template <int DIM>
__device__ inline void flash_load(uint32_t to, const CUtensorMap &map, uint32_t full, int column,
                                  int row)
{
#pragma unroll
    for (int i = 0; i < DIM / 64; i++)
        hopper_load(to + i * FLASH_TILE, map, full, column + 64 * i, row);
}

template <int DIM> __device__ inline void flash_copy(const flash_args &a, const flash_place<DIM> &p)
{
    int row = p.head / a.group * a.capacity, stage = 0, parity = 0;
    hopper_barrier_expect(p.q_full, p.BYTES);
    flash_load<DIM>(p.q, a.q, p.q_full, p.head * a.head_dim, p.first);
    for (int tile = p.start; tile < p.end; tile += FLASH_KEYS) {
        hopper_barrier_wait(p.key_empty + 8 * stage, parity ^ 1);
        hopper_barrier_expect(p.key_full + 8 * stage, p.BYTES);
        flash_load<DIM>(p.keys + stage * p.BYTES, a.keys, p.key_full + 8 * stage, 0, row + tile);
        hopper_barrier_wait(p.value_empty + 8 * stage, parity ^ 1);
        hopper_barrier_expect(p.value_full + 8 * stage, p.BYTES);
        flash_load<DIM>(p.values + stage * p.BYTES, a.values, p.value_full + 8 * stage, 0,
                        row + tile);
        if (++stage == FLASH_STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
}

/* A warpgroup's state. A thread has two queries, 8 apart (h): element 2 (lane % 4) + e of each 8
 * keys or elements j is in [4 j + 2 h + e]. */
template <int DIM> struct flash_rows {
    float score[FLASH_KEYS / 2], out[DIM / 2];
    uint32_t weight[FLASH_KEYS / 16][4]; /* of the last tile, FP16 */
    float most[2], sum[2];
};

template <int DIM>
__device__ inline void flash_scores(flash_rows<DIM> &r, uint32_t queries, uint32_t keys)
{
    hopper_mma_start();
#pragma unroll
    for (int k = 0; k < DIM / 16; k++)
        hopper_mma<FLASH_KEYS, GPU_F16>(
            r.score, hopper_tile(queries + k / 4 * FLASH_TILE) + 2 * (k % 4),
            hopper_tile(keys + k / 4 * FLASH_TILE) + 2 * (k % 4), k > 0);
    hopper_mma_commit();
}

template <int DIM> __device__ inline void flash_add(flash_rows<DIM> &r, uint32_t values)
{
    hopper_mma_start();
#pragma unroll
    for (int k = 0; k < FLASH_KEYS / 16; k++)
        hopper_mma_across<DIM>(r.out, r.weight[k],
                               hopper_tile_across(values + k * 16 * FLASH_ROW, FLASH_TILE));
    hopper_mma_commit();
}

/* Scores of keys from `tile` on become exponentials; factor[h]: by which what was added up before
 * is multiplied. `position`: of the thread's first query. Finite numbers stand for -infinity: rows
 * that see nothing of a tile get weights that the next tile's factor takes away. */
template <int DIM>
__device__ inline void flash_exponentials(flash_rows<DIM> &r, const flash_args &a, int tile,
                                          int position, bool masked, float factor[2])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float most = r.most[h], sum = 0;
        int last = position + 8 * h - tile - (int)threadIdx.x % 4 * 2;
        int low = a.window ? last - a.window : -FLASH_KEYS;
#pragma unroll
        for (int i = 0; i < FLASH_KEYS / 2; i++)
            if ((i & 2) == 2 * h) {
                int key = i / 4 * 8 + i % 2;
                if (masked && (key > last || key <= low))
                    r.score[i] = -1e30f;
                most = fmaxf(most, r.score[i]);
            }
        most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, 1));
        most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, 2));
        factor[h] = exp2f(r.most[h] - most);
        r.most[h] = most;
#pragma unroll
        for (int i = 0; i < FLASH_KEYS / 2; i++)
            if ((i & 2) == 2 * h) {
                r.score[i] = exp2f(r.score[i] - most);
                sum += r.score[i];
            }
        r.sum[h] = r.sum[h] * factor[h] + sum;
    }
}

template <int DIM> __device__ inline void flash_weights(flash_rows<DIM> &r)
{
#pragma unroll
    for (int k = 0; k < FLASH_KEYS / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            __half2 pair = __floats2half2_rn(r.score[8 * k + 2 * i], r.score[8 * k + 2 * i + 1]);
            r.weight[k][i] = *(uint32_t *)&pair;
        }
}

/* 8 elements of a row for a lane at a time; FP32 two. */
template <int DIM>
__device__ inline void flash_store(const flash_args &a, const flash_place<DIM> &p,
                                   flash_rows<DIM> &r, int query)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float sum = r.sum[h];
        sum += __shfl_xor_sync(GPU_ALL, sum, 1);
        sum += __shfl_xor_sync(GPU_ALL, sum, 2);
        float scale = __fdividef(1, sum);
        int64_t at = (query + 8 * h) * a.to.stride + p.head * a.head_dim;
        bool there = query + 8 * h < a.tokens;
        if (a.to.number == GPU_F32) {
#pragma unroll
            for (int j = 0; j < DIM / 8; j++) {
                int d = 8 * j + (int)threadIdx.x % 4 * 2;
                const float *v = r.out + 4 * j + 2 * h;
                if (there && d < a.head_dim)
                    *(float2 *)((float *)a.to.data + at + d) =
                        make_float2(v[0] * scale, v[1] * scale);
            }
            continue;
        }
#pragma unroll
        for (int block = 0; block < DIM / 32; block++) {
            int d = 32 * block + (int)threadIdx.x % 4 * 8;
            uint32_t w[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float *v = r.out + 4 * (4 * block + j) + 2 * h;
                w[j] = gpu_pair(a.to.number, v[0] * scale, v[1] * scale);
            }
            gpu_exchange(w);
            if (there && d < a.head_dim)
                *(uint4 *)((uint16_t *)a.to.data + at + d) = make_uint4(w[0], w[1], w[2], w[3]);
        }
    }
}

template <int DIM>
__device__ inline void flash_attend(const flash_args &a, const flash_place<DIM> &p)
{
    int warp = threadIdx.x / GPU_WARP - 4, lane = threadIdx.x % GPU_WARP;
    int query = p.first + 16 * warp + lane / 4, position = a.past + query;
    uint32_t queries = p.q + warp / 4 * 64 * FLASH_ROW;
    int stage = 0, parity = 0, before = 0, before_parity = 0;
    float factor[2];
    flash_rows<DIM> r;
    r.most[0] = r.most[1] = -1e30f;
    r.sum[0] = r.sum[1] = 0;
#pragma unroll
    for (int i = 0; i < DIM / 2; i++)
        r.out[i] = 0;
    hopper_barrier_wait(p.q_full, 0);
    for (int tile = p.start; tile < p.end; tile += FLASH_KEYS) {
        bool masked = tile + FLASH_KEYS > a.past + p.first || a.window;
        hopper_barrier_wait(p.key_full + 8 * stage, parity);
        flash_scores(r, queries, p.keys + stage * p.BYTES);
        if (tile > p.start) {
            hopper_barrier_wait(p.value_full + 8 * before, before_parity);
            flash_add(r, p.values + before * p.BYTES);
            hopper_mma_wait<1>();
        } else {
            hopper_mma_wait<0>();
        }
        hopper_hold(r.score);
        if (lane == 0)
            hopper_barrier_arrive(p.key_empty + 8 * stage);
        flash_exponentials(r, a, tile, position, masked, factor);
        hopper_mma_wait<0>();
        hopper_hold(r.out);
        if (tile > p.start && lane == 0)
            hopper_barrier_arrive(p.value_empty + 8 * before);
#pragma unroll
        for (int i = 0; i < DIM / 2; i++)
            r.out[i] *= factor[i / 2 % 2];
        flash_weights(r);
        before = stage;
        before_parity = parity;
        if (++stage == FLASH_STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
    hopper_barrier_wait(p.value_full + 8 * before, before_parity);
    flash_add(r, p.values + before * p.BYTES);
    hopper_mma_wait<0>();
    hopper_hold(r.out);
    flash_store(a, p, r, query);
}
#endif

template <int DIM>
__global__ void __launch_bounds__(FLASH_THREADS, 1)
    flash_kernel(const __grid_constant__ flash_args a)
{
#if __CUDA_ARCH_FEAT_SM90_ALL
    GPU_SHARED(char, 1024, shared);
    flash_place<DIM> p(a, shared);
    if (threadIdx.x == 0) {
        hopper_barrier_start(p.q_full, 1);
        for (int i = 0; i < FLASH_STAGES; i++) {
            hopper_barrier_start(p.key_full + 8 * i, 1);
            hopper_barrier_start(p.key_empty + 8 * i, 8);
            hopper_barrier_start(p.value_full + 8 * i, 1);
            hopper_barrier_start(p.value_empty + 8 * i, 8);
        }
        hopper_barriers_started();
    }
    gpu_release_next();
    __syncthreads();
    gpu_depend();
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0)
            flash_copy(a, p);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        flash_attend(a, p);
    }
#endif
}

template <int DIM> static pare_status flash(gpu_context *context, const flash_args &a)
{
    size_t shared = (size_t)(1 + 2 * FLASH_STAGES) * DIM / 64 * FLASH_TILE + 1024 + 128;
    dim3 grid((unsigned)a.heads, (unsigned)((a.tokens + FLASH_QUERIES - 1) / FLASH_QUERIES));
    return hopper_launch(context, "attention of a prompt", flash_kernel<DIM>, grid, 1,
                         FLASH_THREADS, shared, a);
}

extern "C" pare_status gpu_attend_numbers(gpu_context *context, const gpu_heads *h,
                                          const gpu_planes *q, int64_t sequence, int64_t tokens,
                                          int64_t past, const gpu_planes *to)
{
    size_t offset = (size_t)sequence * h->sequence_bytes;
    int64_t rows = h->kv_heads * h->capacity, row_bytes = (int64_t)h->row_bytes;
    flash_args a = {};
    a.to = *to;
    a.heads = h->heads;
    a.group = h->heads / h->kv_heads;
    a.head_dim = h->head_dim;
    a.capacity = (int)h->capacity;
    a.tokens = (int)tokens;
    a.past = (int)past;
    a.window = h->window;
    pare_status status =
        hopper_map(context, q->data, GPU_F16, tokens, (int64_t)h->heads * h->head_dim,
                   q->stride * 2, FLASH_QUERIES, &a.q);
    if (status == PARE_OK)
        status = hopper_map(context, (char *)h->keys + offset, GPU_F16, rows, h->head_dim,
                            row_bytes, FLASH_KEYS, &a.keys);
    if (status == PARE_OK)
        status = hopper_map(context, (char *)h->values + offset, GPU_F16, rows, h->head_dim,
                            row_bytes, FLASH_KEYS, &a.values);
    if (status != PARE_OK)
        return status;
    return h->head_dim <= 64 ? flash<64>(context, a) : flash<128>(context, a);
}
