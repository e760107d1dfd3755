/* Error feedback (GPTQ): the factor of the inverse Hessian, and the rounding of rows column by
 * column. */
#include "kernels/cuda/common.cuh"

/* ---- the factor ---- */

/* The CPU (src/quant/linalg.c) makes R R^T = H with R upper triangular, from the last column to
 * the first, and U = R^-1. Turned round by 180 degrees that is the ordinary L L^T = H, X = L^-1 of
 * H with its rows and columns in reverse order: U(i, j) = X(n-1-i, n-1-j), a view. Both are made
 * together, PANEL columns at a time: H's lower triangle becomes L below the panels, `x` starts as
 * the identity and becomes X. */
enum { PANEL = 64, PANEL_ROW = PANEL + 1, FACTOR_THREADS = 256 };

__global__ void order_kernel(const float *gram, const int32_t *order, int64_t n, float added,
                             float *h, float *x)
{
    int64_t column = (int64_t)blockIdx.x * FACTOR_THREADS + threadIdx.x, row = blockIdx.y;
    if (column >= n)
        return;
    float v = gram[(int64_t)order[n - 1 - row] * n + order[n - 1 - column]];
    if (row == column)
        v = (v > 0 ? v : 1) + added;
    h[row * n + column] = v;
    x[row * n + column] = row == column ? 1 : 0;
}

/* inverse [PANEL, PANEL] = L^-1 of the block of h at `first`, of `size` columns. *bad: the first
 * column without a positive pivot, n where there is none. */
__global__ void __launch_bounds__(FACTOR_THREADS)
    panel_kernel(const float *h, int64_t n, int64_t first, int size, float *inverse, int32_t *bad)
{
    __shared__ float l[PANEL][PANEL_ROW], x[PANEL][PANEL_ROW];
    for (int i = threadIdx.x; i < PANEL * PANEL; i += FACTOR_THREADS) {
        int row = i / PANEL, column = i % PANEL;
        bool inside = row < size && column < size;
        l[row][column] = inside ? h[(first + row) * n + first + column] : row == column;
        x[row][column] = row == column;
    }
    __syncthreads();
    for (int k = 0; k < size; k++) {
        float pivot = l[k][k], root = sqrtf(pivot);
        __syncthreads();
        if (threadIdx.x == 0) {
            if (!(pivot > 0) || !isfinite(pivot))
                *bad = min(*bad, (int32_t)first + k);
            l[k][k] = root;
        }
        for (int i = k + 1 + (int)threadIdx.x; i < size; i += FACTOR_THREADS)
            l[i][k] /= root;
        __syncthreads();
        for (int i = threadIdx.x; i < size * PANEL; i += FACTOR_THREADS) {
            int row = i / PANEL, column = i % PANEL;
            if (column > k && column <= row)
                l[row][column] -= l[row][k] * l[column][k];
        }
        __syncthreads();
    }
    /* Row k of X, then its share of the rows below. */
    for (int k = 0; k < size; k++) {
        for (int c = threadIdx.x; c <= k; c += FACTOR_THREADS)
            x[k][c] /= l[k][k];
        __syncthreads();
        for (int i = threadIdx.x; i < size * PANEL; i += FACTOR_THREADS) {
            int row = i / PANEL, column = i % PANEL;
            if (row > k && column <= k)
                x[row][column] -= l[row][k] * x[k][column];
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < PANEL * PANEL; i += FACTOR_THREADS)
        inverse[i] = x[i / PANEL][i % PANEL];
}

static pare_status eliminate(gpu_context *context, float *h, float *x, int64_t n, int64_t first,
                             float *inverse)
{
    int64_t size = n - first < PANEL ? n - first : PANEL, next = first + size, rest = n - next;
    float *below = h + next * n + first, *row = x + first * n;
    pare_status status;
    gpu_product_args panel = {}, own = {}, trailing = {}, carried = {};
    /* L = H L_own^-T, in place: a tile reads its own rows alone */
    panel.a = panel.c = (gpu_view){below, n, 1};
    panel.b = (gpu_view){inverse, 1, PANEL};
    panel.m = rest, panel.n = panel.depth = size, panel.alpha = 1;
    /* this row of X, in place: a tile reads its own columns alone */
    own.a = (gpu_view){inverse, PANEL, 1};
    own.b = own.c = (gpu_view){row, n, 1};
    own.m = own.depth = size, own.n = next, own.alpha = 1;
    trailing.a = (gpu_view){below, n, 1};
    trailing.b = (gpu_view){below, 1, n};
    trailing.c = (gpu_view){h + next * n + next, n, 1};
    trailing.m = trailing.n = rest, trailing.depth = size;
    trailing.alpha = -1, trailing.add = trailing.lower = true;
    carried.a = (gpu_view){below, n, 1};
    carried.b = (gpu_view){row, n, 1};
    carried.c = (gpu_view){x + next * n, n, 1};
    carried.m = rest, carried.n = next, carried.depth = size;
    carried.alpha = -1, carried.add = true;
    status = gpu_product(context, &panel);
    if (status == PARE_OK)
        status = gpu_product(context, &own);
    if (status == PARE_OK)
        status = gpu_product(context, &trailing);
    return status == PARE_OK ? gpu_product(context, &carried) : status;
}

size_t gpu_factor_scratch(int64_t n)
{
    return (size_t)n * (size_t)n * sizeof(float) + (PANEL * PANEL + 4) * sizeof(float);
}

extern "C" pare_status gpu_factor(gpu_context *context, const float *gram, const int32_t *order,
                                  int64_t n, float added, void *scratch, float *x, int32_t **bad)
{
    float *h = (float *)scratch, *inverse = h + n * n;
    int32_t *worst = (int32_t *)(inverse + PANEL * PANEL);
    dim3 grid((unsigned)((n + FACTOR_THREADS - 1) / FACTOR_THREADS), (unsigned)n);
    int32_t none = (int32_t)n;
    pare_status status = gpu_upload(context, worst, &none, sizeof none);
    *bad = worst;
    if (status == PARE_OK)
        status = gpu_launch(context, "ordering a Hessian", false, order_kernel, grid,
                            dim3(FACTOR_THREADS), 0, gram, order, n, added, h, x);
    for (int64_t first = 0; first < n && status == PARE_OK; first += PANEL) {
        int size = (int)(n - first < PANEL ? n - first : PANEL);
        status =
            gpu_launch(context, "factorizing a Hessian", false, panel_kernel, dim3(1),
                       dim3(FACTOR_THREADS), 0, (const float *)h, n, first, size, inverse, worst);
        if (status == PARE_OK)
            status = eliminate(context, h, x, n, first, inverse);
    }
    return status;
}

/* ---- rows ---- */

enum { BLOCK = GPU_FEEDBACK_BLOCK, SLOTS = BLOCK / GPU_WARP, FEEDBACK_THREADS = 256 };

struct feedback_args {
    gpu_feedback_args f;
    int64_t first;
    int count; /* columns of the block */
};

__global__ void gather_kernel(const gpu_feedback_args f)
{
    int64_t k = (int64_t)blockIdx.x * FEEDBACK_THREADS + threadIdx.x;
    if (k < f.columns)
        f.work[blockIdx.y * f.columns + k] = f.w[blockIdx.y * f.columns + f.order[k]];
}

/* The code whose value is nearest to v, as pare_grid_nearest finds it. */
__device__ inline int feedback_nearest(const float *values, int levels, float v)
{
    int low = 0, high = levels - 1;
    bool falling = values[low] > values[high];
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (falling ? values[middle] > v : values[middle] < v)
            low = middle;
        else
            high = middle;
    }
    return fabsf(v - values[low]) <= fabsf(values[high] - v) ? low : high;
}

/* A warp a row, whose columns of the block lie in its registers: lane l has columns l, l + 32, ...
 */
__global__ void __launch_bounds__(FEEDBACK_THREADS) feedback_kernel(const feedback_args a)
{
    GPU_SHARED(float, 16, u); /* [BLOCK][BLOCK]; zero below the diagonal */
    const gpu_feedback_args &f = a.f;
    int lane = threadIdx.x % GPU_WARP;
    for (int i = threadIdx.x; i < BLOCK * BLOCK; i += FEEDBACK_THREADS) {
        int row = i / BLOCK, column = i % BLOCK;
        u[i] = row < a.count && column < a.count && row <= column
                   ? f.u.data[(a.first + row) * f.u.row + (a.first + column) * f.u.column]
                   : 0;
    }
    __syncthreads();
    int64_t row = (int64_t)blockIdx.x * (FEEDBACK_THREADS / GPU_WARP) + threadIdx.x / GPU_WARP;
    if (row >= f.rows)
        return;
    const float *table = f.tables + row * f.groups * f.levels;
    float w[SLOTS];
    int32_t stored[SLOTS];
#pragma unroll
    for (int i = 0; i < SLOTS; i++) {
        int k = lane + GPU_WARP * i;
        w[i] = k < a.count ? f.work[row * f.columns + a.first + k] : 0;
        stored[i] = k < a.count ? f.order[a.first + k] : 0;
    }
#pragma unroll
    for (int slot = 0; slot < SLOTS; slot++)
        for (int owner = 0; owner < GPU_WARP && slot * GPU_WARP + owner < a.count; owner++) {
            int k = slot * GPU_WARP + owner;
            float v = __shfl_sync(GPU_ALL, w[slot], owner);
            int32_t column = __shfl_sync(GPU_ALL, stored[slot], owner);
            const float *values = table + column / f.group * f.levels;
            int code = feedback_nearest(values, f.levels, v);
            float e = (v - values[code]) / u[k * BLOCK + k];
#pragma unroll
            for (int i = slot; i < SLOTS; i++)
                w[i] -= e * u[k * BLOCK + lane + GPU_WARP * i];
            if (lane == 0) {
                f.errors[row * BLOCK + k] = e;
                f.w[row * f.columns + column] = values[code];
                f.codes[row * f.columns + column] = (uint8_t)code;
            }
        }
}

extern "C" pare_status gpu_feedback(gpu_context *context, const gpu_feedback_args *args)
{
    const int each = FEEDBACK_THREADS / GPU_WARP;
    const int64_t n = args->columns;
    dim3 whole((unsigned)((n + FEEDBACK_THREADS - 1) / FEEDBACK_THREADS), (unsigned)args->rows);
    dim3 grid((unsigned)((args->rows + each - 1) / each));
    pare_status status = gpu_launch(context, "ordering rows", false, gather_kernel, whole,
                                    dim3(FEEDBACK_THREADS), 0, *args);
    for (int64_t first = 0; first < n && status == PARE_OK; first += BLOCK) {
        feedback_args a = {*args, first, (int)(n - first < BLOCK ? n - first : BLOCK)};
        int64_t next = first + a.count;
        gpu_product_args carry = {};
        carry.a = (gpu_view){args->errors, BLOCK, 1};
        carry.b = args->u;
        carry.b.data += first * args->u.row + next * args->u.column;
        carry.c = (gpu_view){args->work + next, n, 1};
        carry.m = args->rows, carry.n = n - next, carry.depth = a.count;
        carry.alpha = -1, carry.add = true;
        status = gpu_launch(context, "rounding columns", false, feedback_kernel, grid,
                            dim3(FEEDBACK_THREADS), BLOCK * BLOCK * sizeof(float), a);
        if (status == PARE_OK)
            status = gpu_product(context, &carry);
    }
    return status;
}
