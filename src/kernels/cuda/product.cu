/* FP32 matrices on the ordinary cores, for what calibration does once: products of any strides,
 * and the quadratic forms of AWQ's search. Tiles of 128 x 128, a thread has 8 x 8 of them: rows
 * 4 ty + {0..3} and 64 more, columns likewise, so that loads of shared memory meet every bank
 * once. */
#include "kernels/cuda/common.cuh"

enum { TILE = 128, STEP = 8, PRODUCT_THREADS = 256, ROW = TILE + 4, LOADS = TILE * STEP / 256 };

/* Four elements of a tile of `view`, whose first index is `first` + up to TILE and whose second is
 * k + up to STEP; lanes go along the index that lies together in memory. */
__device__ inline void product_fetch(float v[LOADS], const float *data, int64_t along,
                                     int64_t across, bool deep, int64_t first, int64_t count,
                                     int64_t k, int64_t depth)
{
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        int t = (int)threadIdx.x + PRODUCT_THREADS * i;
        int64_t row = first + (deep ? t / STEP : t % TILE),
                column = k + (deep ? t % STEP : t / TILE);
        v[i] = row < count && column < depth ? data[row * along + column * across] : 0;
    }
}

__device__ inline void product_put(const float v[LOADS], bool deep, float *tile)
{
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        int t = (int)threadIdx.x + PRODUCT_THREADS * i;
        tile[(deep ? t % STEP : t / TILE) * ROW + (deep ? t / STEP : t % TILE)] = v[i];
    }
}

__device__ inline bool product_deep(int64_t across)
{
    return across == 1 || across == -1;
}

__global__ void __launch_bounds__(PRODUCT_THREADS) product_kernel(const gpu_product_args p)
{
    __shared__ float tiles[2][2][STEP * ROW];
    int64_t first_row = (int64_t)blockIdx.y * TILE, first_column = (int64_t)blockIdx.x * TILE;
    int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    bool a_deep = product_deep(p.a.column), b_deep = product_deep(p.b.row);
    float a[LOADS], b[LOADS], sum[8][8] = {};
    if (p.lower && first_column > first_row + TILE - 1)
        return;
    product_fetch(a, p.a.data, p.a.row, p.a.column, a_deep, first_row, p.m, 0, p.depth);
    product_fetch(b, p.b.data, p.b.column, p.b.row, b_deep, first_column, p.n, 0, p.depth);
    for (int64_t k = 0, turn = 0; k < p.depth; k += STEP, turn ^= 1) {
        product_put(a, a_deep, tiles[turn][0]);
        product_put(b, b_deep, tiles[turn][1]);
        __syncthreads();
        if (k + STEP < p.depth) {
            product_fetch(a, p.a.data, p.a.row, p.a.column, a_deep, first_row, p.m, k + STEP,
                          p.depth);
            product_fetch(b, p.b.data, p.b.column, p.b.row, b_deep, first_column, p.n, k + STEP,
                          p.depth);
        }
#pragma unroll
        for (int s = 0; s < STEP; s++) {
            float x[8], y[8];
#pragma unroll
            for (int h = 0; h < 2; h++) {
                *(float4 *)(x + 4 * h) = *(float4 *)(tiles[turn][0] + s * ROW + 64 * h + 4 * ty);
                *(float4 *)(y + 4 * h) = *(float4 *)(tiles[turn][1] + s * ROW + 64 * h + 4 * tx);
            }
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < 8; j++)
                    sum[i][j] += x[i] * y[j];
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) {
            int64_t row = first_row + i / 4 * 64 + 4 * ty + i % 4;
            int64_t column = first_column + j / 4 * 64 + 4 * tx + j % 4;
            if (row >= p.m || column >= p.n)
                continue;
            float *c = p.c.data + row * p.c.row + column * p.c.column;
            *c = (p.add ? *c : 0) + p.alpha * sum[i][j];
        }
}

extern "C" pare_status gpu_product(gpu_context *context, const gpu_product_args *args)
{
    dim3 grid((unsigned)((args->n + TILE - 1) / TILE), (unsigned)((args->m + TILE - 1) / TILE));
    if (args->m <= 0 || args->n <= 0)
        return PARE_OK;
    return gpu_launch(context, "a matrix product", false, product_kernel, grid,
                      dim3(PRODUCT_THREADS), 0, *args);
}

/* ---- sums ---- */

/* out[row]: the sum of a row of x times that of y. */
__global__ void dot_rows_kernel(const float *x, const float *y, int64_t stride, int64_t columns,
                                double *out)
{
    __shared__ double sums[PRODUCT_THREADS];
    double sum = 0;
    x += blockIdx.x * stride;
    y += blockIdx.x * stride;
    for (int64_t i = threadIdx.x; i < columns; i += PRODUCT_THREADS)
        sum += (double)x[i] * (double)y[i];
    sums[threadIdx.x] = sum;
    for (int half = PRODUCT_THREADS / 2; half; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half)
            sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0)
        out[blockIdx.x] = sums[0];
}

extern "C" pare_status gpu_dot_rows(gpu_context *context, const float *x, const float *y,
                                    int64_t stride, int64_t rows, int64_t columns, double *out)
{
    return gpu_launch(context, "sums of rows", false, dot_rows_kernel, dim3((unsigned)rows),
                      dim3(PRODUCT_THREADS), 0, x, y, stride, columns, out);
}
