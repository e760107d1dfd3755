/* Sums over the inputs of a linear layer: Gram matrices (a product on the tensor cores, whose
 * columns are the tokens) and what single columns hold. */
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/numbers.cuh"

enum { GRAM_TOKENS = 64, GRAM_COLUMNS = 32, GRAM_THREADS = 256, GRAM_SLICE = 2048 };

/* x [tokens] rows becomes planes of [columns] rows; tokens up to the next 32 become zeros. */
__global__ void turn_kernel(const float *x, int64_t stride, int64_t tokens, int64_t columns,
                            const gpu_planes to)
{
    __shared__ float tile[GRAM_TOKENS][GRAM_COLUMNS + 1];
    int64_t first = (int64_t)blockIdx.x * GRAM_TOKENS, column = (int64_t)blockIdx.y * GRAM_COLUMNS;
    for (int i = threadIdx.x; i < GRAM_TOKENS * GRAM_COLUMNS; i += GRAM_THREADS) {
        int64_t t = first + i / GRAM_COLUMNS, c = column + i % GRAM_COLUMNS;
        tile[i / GRAM_COLUMNS][i % GRAM_COLUMNS] =
            t < tokens && c < columns ? x[t * stride + c] : 0;
    }
    __syncthreads();
    int c = threadIdx.x / (GRAM_TOKENS / 8), t = threadIdx.x % (GRAM_TOKENS / 8) * 8;
    float v[8];
    for (int i = 0; i < 8; i++)
        v[i] = tile[t + i][c];
    if (column + c < columns && first + t < (tokens + 31) / 32 * 32)
        gpu_put8(to, column + c, first + t, v);
}

/* Below the diagonal: what is above it. */
__global__ void mirror_kernel(float *gram, int64_t n)
{
    int64_t column = (int64_t)blockIdx.x * GRAM_THREADS + threadIdx.x, row = blockIdx.y;
    if (column < row && column < n)
        gram[row * n + column] = gram[column * n + row];
}

size_t gpu_gram_scratch(int64_t tokens, int64_t columns)
{
    return 3 * (size_t)columns * (size_t)((tokens + 31) / 32 * 32) * sizeof(uint16_t);
}

extern "C" pare_status gpu_add_gram(gpu_context *context, const float *x, int64_t stride,
                                    int64_t tokens, int64_t columns, void *scratch, float *gram)
{
    int64_t padded = (tokens + 31) / 32 * 32;
    gpu_planes planes = {scratch, GPU_BF16, 3, columns, padded};
    pare_status status = gpu_launch(context, "a Gram matrix", false, turn_kernel,
                                    dim3((unsigned)((padded + GRAM_TOKENS - 1) / GRAM_TOKENS),
                                         (unsigned)((columns + GRAM_COLUMNS - 1) / GRAM_COLUMNS)),
                                    dim3(GRAM_THREADS), 0, x, stride, tokens, columns, planes);
    /* Stripes of rows from the diagonal on: half of the products. */
    for (int64_t first = 0; first < columns && status == PARE_OK; first += GRAM_SLICE) {
        int64_t rows = columns - first < GRAM_SLICE ? columns - first : GRAM_SLICE;
        gpu_planes from = planes;
        from.data = (uint16_t *)scratch + first * padded;
        gpu_gemm_args args = {};
        args.x = args.w = from;
        args.tokens = rows;
        args.rows = columns - first;
        args.columns = tokens;
        args.y = gram + first * columns + first;
        args.y_stride = columns;
        args.epilogue = GPU_ADD;
        status = gpu_gemm(context, &args);
    }
    return status;
}

extern "C" pare_status gpu_mirror(gpu_context *context, float *gram, int64_t n)
{
    return gpu_launch(context, "a Gram matrix", false, mirror_kernel,
                      dim3((unsigned)((n + GRAM_THREADS - 1) / GRAM_THREADS), (unsigned)n),
                      dim3(GRAM_THREADS), 0, gram, n);
}

/* ---- columns ---- */

/* 32 columns a block; 8 threads share one, each every eighth token, added up in their order. */
__global__ void columns_kernel(const float *x, int64_t stride, int64_t tokens, int64_t columns,
                               const gpu_column_sums to)
{
    enum { SHARE = GRAM_THREADS / GRAM_COLUMNS };
    __shared__ double magnitudes[SHARE][GRAM_COLUMNS], squares[SHARE][GRAM_COLUMNS];
    __shared__ float largest[SHARE][GRAM_COLUMNS];
    int lane = threadIdx.x % GRAM_COLUMNS, share = threadIdx.x / GRAM_COLUMNS;
    int64_t column = (int64_t)blockIdx.x * GRAM_COLUMNS + lane;
    double magnitude = 0, square = 0;
    float most = 0;
    if (column < columns)
        for (int64_t t = share; t < tokens; t += SHARE) {
            float v = fabsf(x[t * stride + column]);
            magnitude += (double)v;
            square += (double)v * (double)v;
            most = fmaxf(most, v);
        }
    magnitudes[share][lane] = magnitude;
    squares[share][lane] = square;
    largest[share][lane] = most;
    __syncthreads();
    if (share || column >= columns)
        return;
    for (int i = 1; i < SHARE; i++) {
        magnitude += magnitudes[i][lane];
        square += squares[i][lane];
        most = fmaxf(most, largest[i][lane]);
    }
    to.magnitudes[column] += magnitude;
    to.squares[column] += square;
    to.largest[column] = fmaxf(to.largest[column], most);
}

extern "C" pare_status gpu_add_columns(gpu_context *context, const float *x, int64_t stride,
                                       int64_t tokens, int64_t columns, const gpu_column_sums *to)
{
    return gpu_launch(context, "sums of columns", false, columns_kernel,
                      dim3((unsigned)((columns + GRAM_COLUMNS - 1) / GRAM_COLUMNS)),
                      dim3(GRAM_THREADS), 0, x, stride, tokens, columns, *to);
}
