#include "quant/linalg.h"

#include "base/fail.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns eliminated together: their panel (BLOCK x n floats) stays in the second-level cache. */
enum { BLOCK = 32, TILE = 8 };

/* y[0..n) -= a[0] x0 + a[1] x1 + a[2] x2 + a[3] x3: the inner loop of everything here, vectorized by the compiler. */
static void subtract4(float *restrict y, const float *restrict x, int64_t x_stride, const float a[4], int64_t n)
{
    const float *restrict x0 = x, *restrict x1 = x + x_stride, *restrict x2 = x + 2 * x_stride,
                *restrict x3 = x + 3 * x_stride;
    for (int64_t j = 0; j < n; j++)
        y[j] -= (a[0] * x0[j] + a[1] * x1[j]) + (a[2] * x2[j] + a[3] * x3[j]);
}

typedef struct factor {
    pare_pool *pool;
    float *h, *u, *panel; /* panel [BLOCK, n]: the eliminated columns, contiguous */
    int64_t n, bad_pivot; /* -1: none */
} factor;

/* Eliminates columns first..last-1 from the last down, on the rows above each; updates only those columns. */
static void eliminate_panel(factor *f, int64_t first, int64_t last)
{
    float *h = f->h;
    int64_t n = f->n;
    for (int64_t k = last - 1; k >= first; k--) {
        float pivot = h[k * n + k];
        if (!(pivot > 0) || !isfinite(pivot)) {
            f->bad_pivot = k;
            return;
        }
        float root = sqrtf(pivot), *column = f->panel + (k - first) * n;
        h[k * n + k] = root;
        for (int64_t i = 0; i < k; i++)
            column[i] = h[i * n + k] /= root;
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = i > first ? i : first; j < k; j++)
                h[i * n + j] -= column[i] * column[j];
    }
}

/* R Rᵀ = H, in place in the upper triangle, from the last column to the first. */
static void run_factor(void *argument, int index, int count)
{
    factor *f = argument;
    int64_t n = f->n;
    for (int64_t last = n; last > 0; last -= BLOCK) {
        int64_t first = last > BLOCK ? last - BLOCK : 0;
        if (index == 0)
            eliminate_panel(f, first, last);
        pare_pool_barrier(f->pool);
        if (f->bad_pivot >= 0)
            return;
        /* Row i has first - i elements left: dealing rows out in turn balances the triangle. */
        for (int64_t i = index; i < first; i += count) {
            float *row = f->h + i * n + i;
            int64_t k = 0, width = last - first;
            for (; k + 4 <= width; k += 4) {
                const float *x = f->panel + k * n;
                const float a[4] = {x[i], x[n + i], x[2 * n + i], x[3 * n + i]};
                subtract4(row, x + i, n, a, first - i);
            }
            for (; k < width; k++)
                for (int64_t j = i; j < first; j++)
                    f->h[i * n + j] -= f->panel[k * n + i] * f->panel[k * n + j];
        }
        pare_pool_barrier(f->pool);
    }
}

/* Row i of U solves u R = eᵢ: rows are independent. TILE rows together share the reading of R. */
static void run_inverse(void *argument, int index, int count)
{
    factor *f = argument;
    int64_t n = f->n;
    for (int64_t tile = index * TILE; tile < n; tile += count * TILE) {
        int64_t end = tile + TILE < n ? tile + TILE : n;
        for (int64_t i = tile; i < end; i++) {
            memset(f->u + i * n, 0, (size_t)n * sizeof *f->u);
            f->u[i * n + i] = 1;
        }
        for (int64_t k = tile; k < n; k++) {
            const float *r = f->h + k * n;
            for (int64_t i = tile; i < end && i <= k; i++) {
                float *row = f->u + i * n, value = row[k] / r[k];
                row[k] = value;
                for (int64_t j = k + 1; j < n; j++)
                    row[j] -= value * r[j];
            }
        }
    }
}

pare_status pare_inverse_factor(pare_pool *pool, float *h, float *u, int64_t n)
{
    factor f = {.pool = pool, .h = h, .u = u, .n = n, .bad_pivot = -1};
    f.panel = malloc(BLOCK * (size_t)n * sizeof *f.panel);
    if (!f.panel)
        return pare_fail_memory(BLOCK * (size_t)n * sizeof *f.panel, "a matrix factorization");
    pare_pool_run(pool, run_factor, &f);
    if (f.bad_pivot < 0)
        pare_pool_run(pool, run_inverse, &f);
    free(f.panel);
    if (f.bad_pivot >= 0)
        return pare_fail(PARE_LIMIT, "the Hessian is not positive definite at column %lld", (long long)f.bad_pivot);
    return PARE_OK;
}

/* 4 rows of X at a time; thread i owns rows i, i + count, ... of H, which balances the triangle. */
void pare_add_gram_share(float *h, const float *x, int64_t x_stride, int64_t rows, int64_t n, float alpha, int index,
                         int count)
{
    for (int64_t i = index; i < n; i += count) {
        float *row = h + i * n + i;
        int64_t t = 0;
        for (; t + 4 <= rows; t += 4) {
            const float *from = x + t * x_stride + i;
            const float a[4] = {-alpha * from[0], -alpha * from[x_stride], -alpha * from[2 * x_stride],
                                -alpha * from[3 * x_stride]};
            subtract4(row, from, x_stride, a, n - i);
        }
        for (; t < rows; t++)
            for (int64_t j = i; j < n; j++)
                h[i * n + j] += alpha * x[t * x_stride + i] * x[t * x_stride + j];
    }
}

void pare_mirror(float *h, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            h[i * n + j] = h[j * n + i];
}
