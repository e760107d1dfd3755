/* The two pieces of linear algebra that error feedback needs, on symmetric FP32 matrices stored
 * whole, row by row. */
#ifndef PARE_QUANT_LINALG_H
#define PARE_QUANT_LINALG_H

#include "base/pool.h"

#include <pare/error.h>
#include <stdint.h>

/* Given a symmetric positive definite H [n, n], makes the upper triangular U with Uᵀ U = H⁻¹ (the
 * factor that GPTQ, arXiv:2210.17323, section 4, calls the Cholesky form of the inverse). H is
 * destroyed: its upper triangle then holds the triangular R with R Rᵀ = H, from which U = R⁻¹. U's
 * lower triangle is zeroed. PARE_LIMIT where H is not positive definite (the message names the
 * pivot): add damping and try again. */
pare_status pare_inverse_factor(pare_pool *pool, float *h, float *u, int64_t n);

/* H += Xᵀ X for X [rows, n] with row stride x_stride, the upper triangle: thread `index` of `count`
 * does its share. */
void pare_add_gram_share(float *h, const float *x, int64_t x_stride, int64_t rows, int64_t n,
                         int index, int count);
/* Copies the upper triangle to the lower. */
void pare_mirror(float *h, int64_t n);

/* P += Aᵀ B for A [rows, na], B [rows, nb] with their row strides; P is [na, nb]. */
void pare_add_product_share(float *p, const float *a, int64_t a_stride, const float *b,
                            int64_t b_stride, int64_t rows, int64_t na, int64_t nb, int index,
                            int count);
/* y [n] = sum over k of a[k] B[k, :], for B [m, n]. */
void pare_multiply_row(float *restrict y, const float *a, const float *restrict b, int64_t m,
                       int64_t n);

/* The same for `rows` rows of a and y: B is read once for four of them. */
void pare_multiply_rows(float *restrict y, int64_t y_stride, const float *a, int64_t a_stride,
                        const float *restrict b, int64_t rows, int64_t m, int64_t n);

/* y[0..n) -= a x[0..n). */
void pare_subtract_scaled(float *restrict y, const float *restrict x, float a, int64_t n);

#endif
