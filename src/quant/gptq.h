/* GPTQ: rounding with error feedback under the layer's Hessian (Frantar et al., arXiv:2210.17323).
 */
#ifndef PARE_QUANT_GPTQ_H
#define PARE_QUANT_GPTQ_H

#include "base/pool.h"

#include <pare/error.h>
#include <stdbool.h>
#include <stdint.h>

/* A grid of integers: w = scale (q - zero), q in low..high. A group of columns of one row shares
 * scale and zero. */
typedef struct pare_grid {
    int64_t group; /* columns; divides the matrix's columns, or is all of them */
    int low, high; /* symmetric 4-bit: -8..7 with zero 0; asymmetric: 0..15 */
    bool symmetric;
    bool half_scales; /* scales are rounded to FP16 before use, as they will be stored */
    float fit_steps;  /* 0: absmax / min-max; otherwise the scale is searched over 1 - i/100, i <
                         fit_steps, minimizing the  weighted squared error */
} pare_grid;

typedef struct pare_gptq_options {
    float damping;  /* of the mean diagonal: 0.01; raised tenfold, up to 1, where the Hessian is not
                       positive definite */
    bool act_order; /* columns by falling diagonal of the Hessian; groups stay those of the stored
                       order (static) */
    bool static_groups; /* scales from the original weights, before any error arrives; implied by
                           act_order */
} pare_gptq_options;

/* Quantizes W [rows, columns] in place: on return it holds the dequantized values. H [columns,
 * columns] is the sum of x xᵀ over the calibration's inputs (any positive factor), kept as it is.
 * codes [rows, columns] gets q; scales and zeros [rows, columns / group] what the grid used.
 * *damping_used and *error (both may be NULL) report the damping share and the sum of squared
 * errors divided by the diagonal of U, GPTQ's own loss. A column that no input ever used (H's
 * diagonal 0) is rounded to nearest, its weights unchanged by others. Source of the lazy update:
 * section 4, step 2 of the paper; blocks of 128 columns. */
pare_status pare_gptq(pare_pool *pool, float *w, int64_t rows, int64_t columns, const float *h,
                      const pare_grid *grid, const pare_gptq_options *options, int8_t *codes,
                      float *scales, float *zeros, float *damping_used, double *error);

/* Scale and zero of one group of n values, weighted by `weights` (NULL: equally). */
void pare_grid_fit(const pare_grid *grid, const float *values, const float *weights, int64_t n,
                   float *scale, float *zero);

/* The code of a value and what it means. */
static inline int pare_grid_code(const pare_grid *grid, float value, float scale, float zero)
{
    float q = scale > 0 ? __builtin_rintf(value / scale) + zero : zero;
    return q < grid->low ? grid->low : q > grid->high ? grid->high : (int)q;
}

#endif
