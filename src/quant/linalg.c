#include "quant/linalg.h"

#include "base/clones.h"
#include "base/fail.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns eliminated together: their panel (BLOCK x n floats) stays in the second-level cache. */
enum { BLOCK = 32, TILE = 8 };

/* y[0..n) -= a[0] x0 + a[1] x1 + a[2] x2 + a[3] x3. */
PARE_CLONES static void subtract4(float *restrict y, const float *restrict x, int64_t x_stride,
                                  const float *a, int64_t n)
{
    const float *restrict x0 = x, *restrict x1 = x + x_stride, *restrict x2 = x + 2 * x_stride,
                          *restrict x3 = x + 3 * x_stride;
    float a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
    for (int64_t j = 0; j < n; j++)
        y[j] -= (a0 * x0[j] + a1 * x1[j]) + (a2 * x2[j] + a3 * x3[j]);
}

PARE_CLONES static void subtract_scaled(float *restrict y, const float *restrict x, float a,
                                        int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        y[j] -= a * x[j];
}

void pare_subtract_scaled(float *restrict y, const float *restrict x, float a, int64_t n)
{
    subtract_scaled(y, x, a, n);
}

typedef struct factor {
    pare_pool *pool;
    float *h, *u, *panel; /* panel [BLOCK, n]: the eliminated columns, contiguous */
    int64_t n, bad_pivot; /* -1: none */
} factor;

/* Eliminates columns first..last-1 from the last down, on the rows above each; updates only those
 * columns. */
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
        for (int64_t i = 0; i < k; i++) {
            int64_t j = i > first ? i : first;
            pare_subtract_scaled(h + i * n + j, column + j, column[i], k - j);
        }
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
                pare_subtract_scaled(row + k + 1, r + k + 1, value, n - k - 1);
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
        return pare_fail(PARE_LIMIT, "the Hessian is not positive definite at column %lld",
                         (long long)f.bad_pivot);
    return PARE_OK;
}

enum { GRAM = 4 };

/* GRAM rows of H, from column 0 on, times GRAM rows of X: 16 products for 8 loads. */
PARE_CLONES static void add_gram_tile(float *restrict h, int64_t h_stride, const float *restrict x,
                                      int64_t x_stride, const float *a, int64_t n)
{
    const float *restrict x0 = x, *restrict x1 = x + x_stride, *restrict x2 = x + 2 * x_stride,
                          *restrict x3 = x + 3 * x_stride;
    float *restrict h0 = h, *restrict h1 = h + h_stride, *restrict h2 = h + 2 * h_stride,
                    *restrict h3 = h + 3 * h_stride;
    for (int64_t j = 0; j < n; j++) {
        float v0 = x0[j], v1 = x1[j], v2 = x2[j], v3 = x3[j];
        h0[j] += (a[0] * v0 + a[1] * v1) + (a[2] * v2 + a[3] * v3);
        h1[j] += (a[4] * v0 + a[5] * v1) + (a[6] * v2 + a[7] * v3);
        h2[j] += (a[8] * v0 + a[9] * v1) + (a[10] * v2 + a[11] * v3);
        h3[j] += (a[12] * v0 + a[13] * v1) + (a[14] * v2 + a[15] * v3);
    }
}

/* Whole tiles from the diagonal on: up to GRAM - 1 elements below it are computed too, and
 * overwritten by pare_mirror. */
static void add_gram_rows(float *h, const float *x, int64_t x_stride, int64_t rows, int64_t n,
                          int64_t i)
{
    int64_t t = 0;
    for (; t + GRAM <= rows; t += GRAM) {
        const float *from = x + t * x_stride + i;
        float a[GRAM * GRAM];
        for (int r = 0; r < GRAM; r++)
            for (int k = 0; k < GRAM; k++)
                a[r * GRAM + k] = from[k * x_stride + r];
        add_gram_tile(h + i * n + i, n, from, x_stride, a, n - i);
    }
    for (; t < rows; t++)
        for (int r = 0; r < GRAM; r++)
            pare_subtract_scaled(h + (i + r) * n + i, x + t * x_stride + i,
                                 -x[t * x_stride + i + r], n - i);
}

void pare_add_gram_share(float *h, const float *x, int64_t x_stride, int64_t rows, int64_t n,
                         int index, int count)
{
    int64_t whole = n / GRAM * GRAM;
    for (int64_t i = (int64_t)index * GRAM; i < whole;
         i += (int64_t)count * GRAM) /* dealt out in turn: a triangle */
        add_gram_rows(h, x, x_stride, rows, n, i);
    for (int64_t i = whole; i < n && index == 0; i++)
        for (int64_t t = 0; t < rows; t++)
            pare_subtract_scaled(h + i * n + i, x + t * x_stride + i, -x[t * x_stride + i], n - i);
}

void pare_add_product_share(float *p, const float *a, int64_t a_stride, const float *b,
                            int64_t b_stride, int64_t rows, int64_t na, int64_t nb, int index,
                            int count)
{
    for (int64_t i = (int64_t)index * GRAM; i < na; i += (int64_t)count * GRAM) {
        int64_t t = 0, width = na - i < GRAM ? na - i : GRAM;
        for (; t + GRAM <= rows && width == GRAM; t += GRAM) {
            const float *from = a + t * a_stride + i;
            float tile[GRAM * GRAM];
            for (int r = 0; r < GRAM; r++)
                for (int k = 0; k < GRAM; k++)
                    tile[r * GRAM + k] = from[k * a_stride + r];
            add_gram_tile(p + i * nb, nb, b + t * b_stride, b_stride, tile, nb);
        }
        for (; t < rows; t++)
            for (int64_t r = 0; r < width; r++)
                pare_subtract_scaled(p + (i + r) * nb, b + t * b_stride, -a[t * a_stride + i + r],
                                     nb);
    }
}

void pare_multiply_row(float *restrict y, const float *a, const float *restrict b, int64_t m,
                       int64_t n)
{
    int64_t k = 0;
    memset(y, 0, (size_t)n * sizeof *y);
    for (; k + 4 <= m; k += 4) {
        const float minus[4] = {-a[k], -a[k + 1], -a[k + 2], -a[k + 3]};
        subtract4(y, b + k * n, n, minus, n);
    }
    for (; k < m; k++)
        pare_subtract_scaled(y, b + k * n, -a[k], n);
}

void pare_multiply_rows(float *restrict y, int64_t y_stride, const float *a, int64_t a_stride,
                        const float *restrict b, int64_t rows, int64_t m, int64_t n)
{
    int64_t whole = m / GRAM * GRAM, r = 0;
    for (; r + GRAM <= rows && whole == m; r += GRAM) {
        for (int i = 0; i < GRAM; i++)
            memset(y + (r + i) * y_stride, 0, (size_t)n * sizeof *y);
        for (int64_t k = 0; k < m; k += GRAM) {
            float tile[GRAM * GRAM];
            for (int i = 0; i < GRAM; i++)
                memcpy(tile + i * GRAM, a + (r + i) * a_stride + k, GRAM * sizeof *tile);
            add_gram_tile(y + r * y_stride, y_stride, b + k * n, n, tile, n);
        }
    }
    for (; r < rows; r++)
        pare_multiply_row(y + r * y_stride, a + r * a_stride, b, m, n);
}

void pare_mirror(float *h, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            h[i * n + j] = h[j * n + i];
}
