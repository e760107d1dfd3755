/* Packed rows as numbers: embeddings, and the tensor cores' operand. */
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/numbers.cuh"
#include "kernels/cuda/values.cuh"

enum { DEQUANTIZE_THREADS = 128, DEQUANTIZE_ROWS = 4 };

/* A thread's 8 columns of a row. */
template <class F>
__device__ inline void row_values(const gpu_weights &w, int64_t row, int piece, float v[8])
{
    const uint8_t *data = w.data + (size_t)row * w.row_bytes;
    int groups = (int)(w.columns + 31) / 32, group = piece / 4, chunk = group / GPU_CHUNK_GROUPS;
    int in_chunk = groups - chunk * GPU_CHUNK_GROUPS;
    in_chunk = in_chunk < GPU_CHUNK_GROUPS ? in_chunk : GPU_CHUNK_GROUPS;
    gpu_eight_values<F>(data + (size_t)chunk * F::chunk_bytes(GPU_CHUNK_GROUPS), in_chunk,
                        group % GPU_CHUNK_GROUPS, piece % 4, v);
}
#define X(TYPE, F)                                                                                 \
    template <>                                                                                    \
    __device__ inline void row_values<F>(const gpu_weights &w, int64_t row, int piece, float v[8]) \
    {                                                                                              \
        F::load8(w.data + (size_t)row * w.row_bytes + piece * 8 * F::BYTES, v);                    \
    }
GPU_DENSE_LIST(X)
#undef X

static int64_t pieces_of(const gpu_weights *w)
{
    return (w->columns + 31) / 32 * 4;
}

struct dequantize_args {
    gpu_weights weights;
    int64_t first, rows;
    gpu_planes to;
};

/* A thread has a few rows, whose loads are on their way together. */
template <class F> __global__ void dequantize_kernel(const dequantize_args a)
{
    int piece = (int)(blockIdx.y * DEQUANTIZE_THREADS + threadIdx.x);
    int64_t row = (int64_t)blockIdx.x * DEQUANTIZE_ROWS;
    float v[DEQUANTIZE_ROWS][8];
    gpu_release_next();
    gpu_depend(); /* the product in front reads what is written here */
    if (piece >= (int)(a.weights.columns + 31) / 32 * 4)
        return;
#pragma unroll
    for (int i = 0; i < DEQUANTIZE_ROWS; i++)
        row_values<F>(a.weights, a.first + min(row + i, a.rows - 1), piece, v[i]);
#pragma unroll
    for (int i = 0; i < DEQUANTIZE_ROWS; i++)
        if (row + i < a.rows)
            gpu_put8(a.to, row + i, 8 * piece, v[i]);
}

extern "C" pare_status gpu_dequantize(gpu_context *context, const gpu_weights *weights,
                                      int64_t first, int64_t rows, const gpu_planes *to)
{
    dequantize_args a = {*weights, first, rows, *to};
    dim3 grid((unsigned)((rows + DEQUANTIZE_ROWS - 1) / DEQUANTIZE_ROWS),
              (unsigned)((pieces_of(weights) + DEQUANTIZE_THREADS - 1) / DEQUANTIZE_THREADS));
    switch (weights->type) {
#define X(TYPE, F)                                                                                 \
    case PARE_TYPE_##TYPE:                                                                         \
        return gpu_launch(context, "dequantizing", true, dequantize_kernel<F>, grid,               \
                          dim3(DEQUANTIZE_THREADS), 0, a);
        GPU_CODED_LIST(X)
        GPU_DENSE_LIST(X)
#undef X
    default:
        return gpu_check(cudaErrorNotSupported, pare_type_name(weights->type));
    }
}

/* ---- embeddings ---- */

struct embed_args {
    gpu_weights table, positions;
    const int32_t *ids; /* NULL: the tokens and positions of control[] */
    const gpu_control *control;
    int64_t past, stride;
    float *x;
};

template <class F>
__device__ inline void add_row(const gpu_weights &w, int64_t row, int piece, float *x, bool add)
{
    float v[8];
    row_values<F>(w, row, piece, v);
    for (int i = 0; i < 8 && 8 * piece + i < w.columns; i++)
        x[8 * piece + i] = add ? x[8 * piece + i] + v[i] : v[i];
}

__device__ inline void add_any_row(const gpu_weights &w, int64_t row, int piece, float *x, bool add)
{
    switch (w.type) {
#define X(TYPE, F)                                                                                 \
    case PARE_TYPE_##TYPE:                                                                         \
        add_row<F>(w, row, piece, x, add);                                                         \
        break;
        GPU_CODED_LIST(X)
        GPU_DENSE_LIST(X)
#undef X
    default:
        break;
    }
}

__global__ void embed_kernel(const embed_args a)
{
    int piece = (int)(blockIdx.x * DEQUANTIZE_THREADS + threadIdx.x);
    gpu_release_next();
    gpu_depend();
    if (piece >= (int)(a.table.columns + 31) / 32 * 4)
        return;
    int64_t t = blockIdx.y, token = a.ids ? a.ids[t] : a.control[t].token;
    float *x = a.x + t * a.stride;
    add_any_row(a.table, token, piece, x, false);
    if (a.positions.data)
        add_any_row(a.positions, a.ids ? a.past + t : a.control[t].position, piece, x, true);
}

static pare_status embed(gpu_context *context, const embed_args &a, int64_t tokens, bool chain)
{
    int64_t pieces = pieces_of(&a.table);
    dim3 grid((unsigned)((pieces + DEQUANTIZE_THREADS - 1) / DEQUANTIZE_THREADS), (unsigned)tokens);
    return gpu_launch(context, "embedding", chain, embed_kernel, grid, dim3(DEQUANTIZE_THREADS), 0,
                      a);
}

extern "C" pare_status gpu_embed_next(gpu_context *context, const gpu_weights *table,
                                      const gpu_weights *positions, const gpu_control *control,
                                      int64_t tokens, float *x, int64_t stride)
{
    return embed(context, {*table, *positions, NULL, control, 0, stride, x}, tokens, true);
}

extern "C" pare_status gpu_embed(gpu_context *context, const gpu_weights *table,
                                 const gpu_weights *positions, const int32_t *ids, int64_t tokens,
                                 int64_t past, float *x, int64_t stride)
{
    return embed(context, {*table, *positions, ids, NULL, past, stride, x}, tokens, false);
}
