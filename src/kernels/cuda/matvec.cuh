/* One token: y = W norm(x), fused with what follows.
 *
 * A block a multiprocessor has a run of the rows. They are cut into items: ROWS neighbouring rows,
 * times a part of the columns where there are too few rows for all warps. A warp takes item after
 * item and reads its chunks through a ring of its own in shared memory, which its lanes fill with
 * asynchronous copies (sm_75: ordinary ones). Sums go to shared memory; when all are there, a
 * thread finishes a row.
 *
 * The ring is filled before the kernel waits for the one in front of it (gpu_depend), and the next
 * kernel may start at once: while this one ends and the next one's input is normalized, rounded and
 * laid out, its first weights are there. What bounds 4-bit formats is the number of instructions:
 * rows share the input's, and whole chunks are a case of their own. */
#ifndef PARE_KERNELS_CUDA_MATVEC_CUH
#define PARE_KERNELS_CUDA_MATVEC_CUH

#include "kernels/cuda/best.cuh"
#include "kernels/cuda/matvec_dot.cuh"

enum {
    MATVEC_BEHIND = 2048
}; /* shared memory of a block that is not dynamic, and the device's own */

/* How a block's work is cut; by the host. */
struct matvec_plan {
    int chunks;     /* of a row */
    int parts_log2; /* items of the same rows */
};

template <class L> struct matvec_ring {
    static constexpr uint32_t STAGE = L::ROWS * L::CHUNK_BYTES;
    static constexpr int SLOTS = MATVEC_RING / STAGE < 2 ? 2 : MATVEC_RING / STAGE;
    static constexpr int PIECES = (int)(L::CHUNK_BYTES / 16); /* of a row's chunk */
    static constexpr int COPIES = (L::ROWS * PIECES + GPU_WARP - 1) / GPU_WARP; /* of a lane */
};

/* The rows of a block: first .. first + rows - 1, from a whole unit of ROWS rows on. */
struct matvec_block {
    int first, rows;
};

template <class L> __device__ inline matvec_block matvec_block_of(const gpu_weights &w)
{
    int rows = (int)w.rows;
    uint32_t units = (uint32_t)(rows + L::ROWS - 1) / L::ROWS; /* fewer than 2^31 / blocks */
    int begin = L::ROWS * (int)(units * blockIdx.x / gridDim.x);
    int end = L::ROWS * (int)(units * (blockIdx.x + 1) / gridDim.x);
    return {begin, (end < rows ? end : rows) - begin};
}

/* A warp's items, chunk after chunk. */
struct matvec_walk {
    int item, items, chunk, end;

    __device__ bool over() const
    {
        return item >= items;
    }
    __device__ void open(const matvec_plan &plan)
    {
        int part = item & ((1 << plan.parts_log2) - 1);
        chunk = plan.chunks * part >> plan.parts_log2;
        end = plan.chunks * (part + 1) >> plan.parts_log2;
    }
    __device__ void next()
    {
        item += (int)blockDim.x / GPU_WARP;
    }
};

/* What fills the ring. offset: where a lane's pieces lie, from the chunk of the first row. */
template <class L> struct matvec_ahead {
    matvec_walk walk;
    const uint8_t *at;
    uint32_t offset[matvec_ring<L>::COPIES];
};

template <class L>
__device__ inline void matvec_point(matvec_ahead<L> &s, const gpu_weights &w,
                                    const matvec_plan &plan, const matvec_block &block)
{
    int row = block.first + L::ROWS * (s.walk.item >> plan.parts_log2);
    s.at = w.data + (size_t)row * w.row_bytes + (size_t)s.walk.chunk * L::CHUNK_BYTES;
}

/* A chunk that ends early, or fewer than ROWS rows: those that are missing are not read. */
template <int ROWS, int PIECES>
__device__ __noinline__ void matvec_fill_rest(char *slot, const uint8_t *at, uint32_t row_bytes,
                                              int rows, uint32_t bytes)
{
    for (int i = threadIdx.x % GPU_WARP; i < ROWS * PIECES; i += GPU_WARP) {
        int r = i / PIECES;
        uint32_t from = 16 * (uint32_t)(i % PIECES);
        if (r < rows && from < bytes)
            gpu_copy_async(slot + 16 * i, at + (size_t)r * row_bytes + from);
    }
}

/* The next stage into the ring; an empty group of copies where there is none. */
template <class L>
__device__ inline void matvec_fill(char *slot, matvec_ahead<L> &s, const gpu_weights &w,
                                   const matvec_plan &plan, const matvec_block &block)
{
    using ring = matvec_ring<L>;
    if (!s.walk.over()) {
        int lane = threadIdx.x % GPU_WARP, columns = (int)w.columns - s.walk.chunk * L::CHUNK;
        int rows = block.rows - L::ROWS * (s.walk.item >> plan.parts_log2);
        if (columns < L::CHUNK || rows < L::ROWS)
            matvec_fill_rest<L::ROWS, ring::PIECES>(
                slot, s.at, w.row_bytes, rows,
                L::chunk_bytes(columns < L::CHUNK ? columns : L::CHUNK));
        else
#pragma unroll
            for (int i = 0; i < ring::COPIES; i++)
                if (GPU_WARP * (i + 1) <= L::ROWS * ring::PIECES ||
                    GPU_WARP * i + lane < L::ROWS * ring::PIECES)
                    gpu_copy_async(slot + 16 * (GPU_WARP * i + lane), s.at + s.offset[i]);
        s.at += L::CHUNK_BYTES;
        if (++s.walk.chunk == s.walk.end) {
            s.walk.next();
            s.walk.open(plan);
            matvec_point(s, w, plan, block);
        }
    }
    gpu_copy_commit();
}

/* Sums of ROWS rows over the warp's lanes, to to[0 .. ROWS - 1]. Lanes split the rows between them
 * first, so that 6 exchanges do for 4 rows. */
template <int ROWS> __device__ inline void matvec_reduce(const float acc[ROWS], float *to)
{
    int lane = threadIdx.x % GPU_WARP, row = lane / 16;
    float v;
    if constexpr (ROWS == 4) {
        bool high = lane & 16, odd = lane & 8;
        float a = (high ? acc[2] : acc[0]) + __shfl_xor_sync(GPU_ALL, high ? acc[0] : acc[2], 16);
        float b = (high ? acc[3] : acc[1]) + __shfl_xor_sync(GPU_ALL, high ? acc[1] : acc[3], 16);
        v = (odd ? b : a) + __shfl_xor_sync(GPU_ALL, odd ? a : b, 8);
        row = lane / 8;
    } else {
        bool high = lane & 16;
        v = (high ? acc[1] : acc[0]) + __shfl_xor_sync(GPU_ALL, high ? acc[0] : acc[1], 16);
        v += __shfl_xor_sync(GPU_ALL, v, 8);
    }
#pragma unroll
    for (int i = 4; i; i >>= 1)
        v += __shfl_xor_sync(GPU_ALL, v, i);
    if (lane % (GPU_WARP / ROWS) == 0)
        to[row] = v;
}

/* ---- a row is finished by a thread ---- */

/* What a row's sum is added to or multiplied with: the thread's first row's is loaded early. */
struct matvec_extra {
    float bias, old;
};

__device__ inline matvec_extra matvec_fetch_extra(const gpu_matvec_args &a, int row)
{
    matvec_extra e = {0, 0};
    if (a.bias)
        e.bias = a.bias[row];
    if (a.epilogue == GPU_ADD || a.epilogue == GPU_MULTIPLY)
        e.old = __ldcg(a.y + row);
    return e;
}

/* Row `row` of the block. */
template <class L>
__device__ inline float matvec_sum(const matvec_plan &plan, const float *sums, int row)
{
    const float *from = sums + (row / L::ROWS << plan.parts_log2) * L::ROWS + row % L::ROWS;
    float v = from[0];
#pragma unroll 1
    for (int part = 1; part < 1 << plan.parts_log2; part++)
        v += from[part * L::ROWS];
    return v;
}

template <class L>
__device__ inline void matvec_finish(const gpu_matvec_args &a, const matvec_plan &plan,
                                     const matvec_block &block, const float *sums, float factor,
                                     matvec_extra extra, gpu_best &best)
{
    bool gated = a.epilogue == GPU_GATED; /* the gate; up is the next row */
#pragma unroll 1
    for (int i = (int)threadIdx.x << gated; i < block.rows; i += (int)blockDim.x << gated) {
        int row = block.first + i;
        if (gated || i >= (int)blockDim.x)
            extra = matvec_fetch_extra(a, row);
        float v = factor * matvec_sum<L>(plan, sums, i) + extra.bias;
        if (v > best.value)
            best = {v, row};
        if (gated || a.epilogue == GPU_ACTIVATE)
            v = gpu_activate(v, a.activation);
        if (gated)
            extra.old = factor * matvec_sum<L>(plan, sums, i + 1) + (a.bias ? a.bias[row + 1] : 0);
        if (a.epilogue == GPU_ADD)
            v += extra.old;
        else if (gated || a.epilogue == GPU_MULTIPLY)
            v *= extra.old;
        a.y[gated ? row / 2 : row] = v;
    }
}

/* ---- the kernel ---- */

template <class D>
__device__ inline void matvec_items(const gpu_matvec_args &a, const matvec_plan &plan,
                                    const matvec_block &block, matvec_walk walk, char *ring_memory,
                                    matvec_ahead<typename D::layout> &ahead, const matvec_input &in,
                                    const float *table, float *sums)
{
    using layout = typename D::layout;
    using ring = matvec_ring<layout>;
    char *slot = ring_memory;
    while (!walk.over()) {
        float acc[layout::ROWS] = {};
        for (int chunk = walk.chunk; chunk < walk.end; chunk++) {
            int first = chunk * layout::CHUNK, columns = (int)a.weights.columns - first;
            gpu_copy_wait<ring::SLOTS - 1>();
            __syncwarp();
            if (columns >= layout::CHUNK)
                D::add((const uint8_t *)slot, first, layout::CHUNK, in, table, acc);
            else
                D::add((const uint8_t *)slot, first, columns, in, table, acc);
            __syncwarp();
            matvec_fill<layout>(slot, ahead, a.weights, plan, block);
            slot += ring::STAGE;
            if (slot == ring_memory + ring::SLOTS * ring::STAGE)
                slot = ring_memory;
        }
        matvec_reduce<layout::ROWS>(acc, sums + walk.item * layout::ROWS);
        walk.next();
        walk.open(plan);
    }
}

/* What is done to the input: a kernel for each, because code costs even where it does not run. */
enum matvec_kind {
    MATVEC_PLAIN,
    MATVEC_RMS,   /* the norm's factor multiplies the sums */
    MATVEC_OTHER, /* other norms, factors, rounding */
};

template <class D, matvec_kind KIND>
__global__ void __launch_bounds__(MATVEC_THREADS, 2)
    matvec_kernel(const __grid_constant__ gpu_matvec_args a, const matvec_plan plan)
{
    using layout = typename D::layout;
    using ring = matvec_ring<layout>;
    GPU_SHARED(char, 128, shared);
    __shared__ float scratch[GPU_WARP], table[16];
    __shared__ gpu_best bests[MATVEC_WARPS];
    int warps = (int)blockDim.x / GPU_WARP, warp = threadIdx.x / GPU_WARP;
    int columns = (int)a.weights.columns;
    char *mine = shared + warp * ring::SLOTS * ring::STAGE;
    char *input = shared + warps * ring::SLOTS * ring::STAGE;
    matvec_input in = matvec_input_at<layout>(input, columns);
    float *sums = (float *)(input + matvec_input_bytes<layout>(columns));

    matvec_block block = matvec_block_of<layout>(a.weights);
    matvec_ahead<layout> ahead;
    ahead.walk = {warp, (block.rows + layout::ROWS - 1) / layout::ROWS << plan.parts_log2, 0, 0};
    ahead.walk.open(plan);
    matvec_walk walk = ahead.walk;
    matvec_point(ahead, a.weights, plan, block);
#pragma unroll
    for (int i = 0; i < ring::COPIES; i++) {
        int piece = GPU_WARP * i + (int)threadIdx.x % GPU_WARP;
        ahead.offset[i] = (uint32_t)(piece / ring::PIECES) * a.weights.row_bytes +
                          16 * (uint32_t)(piece % ring::PIECES);
    }
#pragma unroll 1
    for (int s = 0; s < ring::SLOTS; s++)
        matvec_fill<layout>(mine + s * ring::STAGE, ahead, a.weights, plan, block);
    gpu_release_next();
    matvec_norm norm;
    if constexpr (KIND != MATVEC_PLAIN)
        matvec_prefetch_norm(a, norm);
    if constexpr (!layout::QUANTIZED && layout::LANE == GPU_GROUP)
        D::fill_table(table);
    gpu_depend();
    matvec_extra extra = {0, 0};
    if ((int)threadIdx.x < block.rows)
        extra = matvec_fetch_extra(a, block.first + (int)threadIdx.x);
    if constexpr (KIND == MATVEC_PLAIN)
        matvec_load_plain<layout>(in, a);
    else if constexpr (KIND == MATVEC_RMS)
        matvec_load_rms<layout>(in, a, norm, scratch);
    else
        matvec_load_other<layout>(in, a, norm, scratch);
    __syncthreads();

    gpu_best best = best_none();
    matvec_items<D>(a, plan, block, walk, mine, ahead, in, table, sums);
    float factor = KIND == MATVEC_RMS ? matvec_rms_factor(a, scratch) : 1;
    __syncthreads();
    matvec_finish<layout>(a, plan, block, sums, factor, extra, best);
    if (a.best) {
        best = best_of_block(best, bests);
        if (threadIdx.x == 0)
            a.best[blockIdx.x] = best;
    }
}

/* Parts of rows: the fewest with which at least 15 of 16 turns of the warps are used; where there
 * are none, those with the most. */
static inline matvec_plan matvec_plan_of(int units, int chunks, int warps)
{
    matvec_plan plan = {chunks, 0};
    double most = 0;
    for (int log2 = 0; log2 < 5 && 1 << log2 <= chunks; log2++) {
        int items = units << log2, turns = (items + warps - 1) / warps;
        double share = (double)items / (turns * warps);
        if (share > most + 0.02) {
            most = share;
            plan.parts_log2 = log2;
        }
        if (share >= 0.93)
            break;
    }
    return plan;
}

/* Half of a multiprocessor's shared memory, so that the next kernel fits beside this one; more, and
 * then fewer warps, where the input needs it. */
template <class D>
static pare_status matvec_launch(gpu_context *context, const gpu_matvec_args *args)
{
    using layout = typename D::layout;
    using ring = matvec_ring<layout>;
    const gpu_weights *w = &args->weights;
    int warps = MATVEC_WARPS, all = context->multiprocessors;
    int units = (int)((w->rows + layout::ROWS - 1) / layout::ROWS), each = (units + all - 1) / all;
    int chunks = (int)((w->columns + layout::CHUNK - 1) / layout::CHUNK);
    size_t input = matvec_input_bytes<layout>(w->columns), shared;
    matvec_plan plan;
    do {
        plan = matvec_plan_of(each, chunks, warps);
        shared = (size_t)warps * ring::SLOTS * ring::STAGE + input +
                 ((size_t)(each * layout::ROWS) << plan.parts_log2) * sizeof(float);
    } while (shared + MATVEC_BEHIND > context->shared_most && (warps /= 2) > 1);
    bool plain = args->norm == GPU_NORM_NONE && !args->norm_weight;
    auto kernel = args->rounding.kind != GPU_ROUND_NONE            ? matvec_kernel<D, MATVEC_OTHER>
                  : plain                                          ? matvec_kernel<D, MATVEC_PLAIN>
                  : args->norm == GPU_NORM_RMS && !args->norm_bias ? matvec_kernel<D, MATVEC_RMS>
                                                                   : matvec_kernel<D, MATVEC_OTHER>;
    pare_status status = gpu_share_alike(kernel, "a matrix-vector product");
    if (status != PARE_OK)
        return status;
    return gpu_launch(context, "a matrix-vector product", true, kernel, dim3(all),
                      dim3(warps * GPU_WARP), shared, *args, plan);
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
