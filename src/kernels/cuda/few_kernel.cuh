/* Up to 64 tokens: y = W x that reads the packed weights once (mma.sync, sm_80 and later).
 *
 * A block takes 64 rows and a part of the columns; its 8 warps take steps of 128 columns in turn.
 * In a step a thread reads one group of 32 columns (its quad reads the four groups) of 8 rows,
 * makes FP16 numbers of the codes in registers, and four of its columns go into each of 8 matrix
 * instructions: which columns an instruction sums over does not matter as long as the inputs lie in
 * the same order, so gpu_few_pack lays them out that way. Sums of warps, then of parts, are added
 * in a fixed order; how rows and columns are cut depends on the matrix alone, so that a token's
 * result is the same whatever stands beside it. */
#ifndef PARE_KERNELS_CUDA_FEW_KERNEL_CUH
#define PARE_KERNELS_CUDA_FEW_KERNEL_CUH

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/few.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/numbers.cuh"
#include "kernels/cuda/values.cuh"

enum {
    FEW_WARPS = 8,
    FEW_THREADS = FEW_WARPS * GPU_WARP,
    FEW_TILES = 4, /* of 16 rows */
    FEW_ROWS = 16 * FEW_TILES,
    FEW_PARTS = 8,  /* of the columns, at most */
    FEW_AHEAD = 16, /* lines that a thread asks for before it waits for the inputs */
};
/* Scales of codes are multiplied by it, sums divided: keeps small ones out of FP16's subnormals. */
enum { FEW_UNIT = 16 };

/* ---- weights as the matrix instruction's operand ---- */

__device__ inline uint32_t few_bits(__half2 h)
{
    return *(uint32_t *)&h;
}

/* A lane's group of one row: 32 numbers, [8][2] pairs. */
template <class F> struct few_coded {
    static constexpr bool BF16 = false;
    uint32_t codes[8];
    __half2 scale[2], minimum[2];

    __device__ void load(const uint8_t *row, int step, int groups)
    {
        int chunk = step / 8, lane = step % 8 * 4 + threadIdx.x % 4;
        int in_chunk = min(groups - chunk * GPU_CHUNK_GROUPS, (int)GPU_CHUNK_GROUPS);
        gpu_scales s = {{0, 0}, {0, 0}};
        if (lane < in_chunk) {
            const uint8_t *at = row + (size_t)chunk * F::chunk_bytes(GPU_CHUNK_GROUPS);
            F::codes::load(at, in_chunk, lane, codes);
            s = F::load_scales(at, in_chunk, lane);
        } else {
            for (int i = 0; i < 8; i++)
                codes[i] = 0;
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float most = 65504.0f;
            float a = fminf(fmaxf(s.scale[i] * FEW_UNIT, -most), most);
            float b = fminf(fmaxf(s.minimum[i] * FEW_UNIT, -most), most);
            scale[i] = __floats2half2_rn(a, a);
            minimum[i] = __floats2half2_rn(b, b);
        }
    }

    /* Columns 4i .. 4i + 3. */
    __device__ void numbers(int i, const uint32_t *table, uint32_t out[2]) const
    {
        uint32_t word = F::ZERO == GPU_SIGNED ? codes[i] ^ 0x80808080 : codes[i], q[2];
        if constexpr (F::HAS_TABLE) {
#pragma unroll
            for (int j = 0; j < 2; j++)
                q[j] = table[word >> (16 * j) & 255] | table[word >> (16 * j + 8) & 255] << 16;
        } else { /* 1024 + byte has the byte in its lowest bits */
            q[0] = __byte_perm(word, 0x64646464, 0x4140);
            q[1] = __byte_perm(word, 0x64646464, 0x4342);
        }
        __half2 offset = __floats2half2_rn(1024.0f + F::ZERO, 1024.0f + F::ZERO);
        int half = F::HALVES == 2 ? i / 4 : 0;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            __half2 v = *(__half2 *)&q[j];
            if (!F::HAS_TABLE)
                v = __hsub2(v, offset);
            out[j] = few_bits(F::MINIMUM ? __hfma2(v, scale[half], minimum[half])
                                         : __hmul2(v, scale[half]));
        }
    }

    /* FP16 bits of the table's values. */
    __device__ static void fill_table(uint32_t *table)
    {
        if constexpr (F::HAS_TABLE)
            if (threadIdx.x < 16)
                table[threadIdx.x] = __half_as_ushort(
                    __float2half_rn(gpu_table_value<typename F::table>((int)threadIdx.x)));
    }
    __device__ static float unit()
    {
        return 1.0f / FEW_UNIT;
    }
};

template <bool IS_BF16> struct few_dense {
    static constexpr bool BF16 = IS_BF16;
    uint32_t pairs[16];

    __device__ void load(const uint8_t *row, int step, int groups)
    {
        int group = 4 * step + threadIdx.x % 4;
        const uint4 *at = (const uint4 *)(row + (size_t)group * GPU_GROUP * 2);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint4 q = make_uint4(0, 0, 0, 0);
            if (group < groups)
                q = at[i];
            pairs[4 * i] = q.x, pairs[4 * i + 1] = q.y;
            pairs[4 * i + 2] = q.z, pairs[4 * i + 3] = q.w;
        }
    }
    __device__ void numbers(int i, const uint32_t *, uint32_t out[2]) const
    {
        out[0] = pairs[2 * i];
        out[1] = pairs[2 * i + 1];
    }
    __device__ static void fill_table(uint32_t *)
    {
    }
    __device__ static float unit()
    {
        return 1;
    }
};

/* ---- the kernel ---- */

struct few_args {
    gpu_few_args f;
    int parts;
};

/* Rows row and row + 1 of a token: what follows the sum. row is even. */
__device__ inline void few_finish(const gpu_few_args &f, int64_t row, int token, float v0, float v1)
{
    if (row >= f.weights.rows || token >= f.tokens)
        return;
    bool second = row + 1 < f.weights.rows;
    if (f.bias) {
        v0 += f.bias[row];
        v1 += second ? f.bias[row + 1] : 0;
    }
    float v[2] = {v0, v1};
    int count = second ? 2 : 1;
    int64_t first = row;
    if (f.epilogue == GPU_GATED) {
        v[0] = gpu_activate(v0, f.activation) * v1;
        count = 1;
        first = row / 2;
    }
    float *y = f.y + token * f.y_stride + first;
    for (int i = 0; i < count; i++) {
        if (f.epilogue == GPU_ACTIVATE)
            v[i] = gpu_activate(v[i], f.activation);
        else if (f.epilogue == GPU_ADD)
            v[i] += y[i];
        else if (f.epilogue == GPU_MULTIPLY)
            v[i] *= y[i];
        if (f.packed)
            gpu_few_put(f.packed, f.packed_number, f.tiles, first + i, token, v[i]);
        else
            y[i] = v[i];
    }
}

/* The weights' lines of the block, which do not depend on the kernel in front. */
__device__ inline void few_look_ahead(const few_args &a, int64_t first_row, int begin, int end)
{
    const gpu_weights &w = a.f.weights;
    int steps = (int)((w.columns + GPU_FEW_STEP - 1) / GPU_FEW_STEP);
    uint32_t from = (uint32_t)((uint64_t)w.row_bytes * begin / steps) & ~127u;
    uint32_t to = (uint32_t)((uint64_t)w.row_bytes * end / steps);
    int lines = (int)((to - from + 127) / 128), all = lines * FEW_ROWS;
    all = all < FEW_AHEAD * FEW_THREADS ? all : FEW_AHEAD * FEW_THREADS;
    for (int i = threadIdx.x; i < all; i += FEW_THREADS) {
        int64_t row = first_row + i / lines;
        if (row < w.rows)
            gpu_prefetch(w.data + row * w.row_bytes + from + i % lines * 128);
    }
}

/* Sums of the block's warps, [token][row] of a tile of 8 tokens; then what follows, or the part's
 * place in memory. */
template <int NT>
__device__ inline void few_gather(const few_args &a, int64_t first_row, float unit,
                                  float (*acc)[NT][4])
{
    __shared__ float sums[FEW_WARPS][8][FEW_ROWS];
    int lane = threadIdx.x % GPU_WARP, warp = threadIdx.x / GPU_WARP;
    int64_t row = first_row + 2 * lane;
#pragma unroll
    for (int n = 0; n < NT; n++) {
#pragma unroll
        for (int t = 0; t < FEW_TILES; t++)
            for (int e = 0; e < 4; e++)
                sums[warp][lane % 4 * 2 + e % 2][16 * t + lane / 4 + e / 2 * 8] = acc[t][n][e];
        __syncthreads();
        float v0 = 0, v1 = 0; /* warp: the token */
        for (int w = 0; w < FEW_WARPS; w++) {
            v0 += sums[w][warp][2 * lane];
            v1 += sums[w][warp][2 * lane + 1];
        }
        v0 *= unit, v1 *= unit;
        int token = 8 * n + warp;
        if (a.parts == 1) {
            few_finish(a.f, row, token, v0, v1);
        } else if (row < a.f.weights.rows && token < a.f.tokens) {
            int64_t rows = (a.f.weights.rows + 1) / 2 * 2;
            float *to = a.f.partial + ((int64_t)blockIdx.y * GPU_FEW_MOST + token) * rows + row;
            __stcg(to, v0);
            __stcg(to + 1, v1);
        }
        __syncthreads();
    }
}

/* The block that ends last adds up the parts. */
__device__ inline void few_join(const few_args &a, int64_t first_row)
{
    __shared__ int last;
    int lane = threadIdx.x % GPU_WARP, warp = threadIdx.x / GPU_WARP;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicAdd(&a.f.done[blockIdx.x], 1) == a.parts - 1;
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    int64_t row = first_row + 2 * lane, rows = (a.f.weights.rows + 1) / 2 * 2;
    for (int token = warp; token < a.f.tokens && row < a.f.weights.rows; token += FEW_WARPS) {
        float v0 = 0, v1 = 0;
        for (int p = 0; p < a.parts; p++) {
            const float *from = a.f.partial + ((int64_t)p * GPU_FEW_MOST + token) * rows + row;
            v0 += __ldcg(from);
            v1 += __ldcg(from + 1);
        }
        few_finish(a.f, row, token, v0, v1);
    }
    if (threadIdx.x == 0)
        a.f.done[blockIdx.x] = 0;
}

template <class W, int NT>
__global__ void __launch_bounds__(FEW_THREADS) few_kernel(const __grid_constant__ few_args a)
{
#if defined(GPU_EMULATE) || __CUDA_ARCH__ >= 800
    __shared__ uint32_t table[16];
    const gpu_weights &w = a.f.weights;
    int lane = threadIdx.x % GPU_WARP, warp = threadIdx.x / GPU_WARP;
    int steps = (int)((w.columns + GPU_FEW_STEP - 1) / GPU_FEW_STEP);
    int groups = (int)((w.columns + GPU_GROUP - 1) / GPU_GROUP);
    int begin = steps * (int)blockIdx.y / a.parts, end = steps * ((int)blockIdx.y + 1) / a.parts;
    int64_t first_row = (int64_t)blockIdx.x * FEW_ROWS;
    const uint8_t *rows[2 * FEW_TILES];
#pragma unroll
    for (int i = 0; i < 2 * FEW_TILES; i++) {
        int64_t row = min(first_row + 8 * i + lane / 4, w.rows - 1);
        rows[i] = w.data + row * w.row_bytes;
    }
    gpu_release_next();
    few_look_ahead(a, first_row, begin, end);
    W::fill_table(table);
    __syncthreads();
    gpu_depend();

    float acc[FEW_TILES][NT][4] = {};
    for (int step = begin + warp; step < end; step += FEW_WARPS) {
        W weights[2 * FEW_TILES];
#pragma unroll
        for (int i = 0; i < 2 * FEW_TILES; i++)
            weights[i].load(rows[i], step, groups);
        const uint4 *x = (const uint4 *)a.f.x + (size_t)step * 4 * NT * GPU_WARP + lane;
#pragma unroll
        for (int pair = 0; pair < 4; pair++) {
            uint4 in[NT];
#pragma unroll
            for (int n = 0; n < NT; n++)
                in[n] = x[(pair * NT + n) * GPU_WARP];
#pragma unroll
            for (int t = 0; t < FEW_TILES; t++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    uint32_t upper[2], lower[2];
                    weights[2 * t].numbers(2 * pair + i, table, upper);
                    weights[2 * t + 1].numbers(2 * pair + i, table, lower);
                    const uint32_t operand[4] = {upper[0], lower[0], upper[1], lower[1]};
#pragma unroll
                    for (int n = 0; n < NT; n++)
                        gpu_mma<W::BF16>(acc[t][n], operand, i ? in[n].z : in[n].x,
                                         i ? in[n].w : in[n].y);
                }
        }
    }
    few_gather<NT>(a, first_row, W::unit(), acc);
    if (a.parts > 1)
        few_join(a, first_row);
#endif
}

/* ---- launching ---- */

template <class W> static pare_status few_launch(gpu_context *context, const few_args &a)
{
    dim3 grid((unsigned)((a.f.weights.rows + FEW_ROWS - 1) / FEW_ROWS), (unsigned)a.parts);
    const char *what = "a product of few tokens";
    switch (a.f.tiles) {
    case 1:
        return gpu_launch(context, what, true, few_kernel<W, 1>, grid, dim3(FEW_THREADS), 0, a);
    case 2:
        return gpu_launch(context, what, true, few_kernel<W, 2>, grid, dim3(FEW_THREADS), 0, a);
    case 4:
        return gpu_launch(context, what, true, few_kernel<W, 4>, grid, dim3(FEW_THREADS), 0, a);
    default:
        return gpu_launch(context, what, true, few_kernel<W, 8>, grid, dim3(FEW_THREADS), 0, a);
    }
}

/* One per file of formats. False: the type is not in it. */
bool few_k_run(gpu_context *context, const few_args &a, pare_status *status);
bool few_table_run(gpu_context *context, const few_args &a, pare_status *status);

#define FEW_CASE(TYPE, F)                                                                          \
    case PARE_TYPE_##TYPE:                                                                         \
        *status = few_launch<few_coded<F>>(context, a);                                            \
        return true;

#endif
