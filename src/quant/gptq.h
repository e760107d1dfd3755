/* GPTQ: rounding with error feedback under the layer's Hessian (Frantar et al., arXiv:2210.17323),
 * on the grid of any format. */
#ifndef PARE_QUANT_GPTQ_H
#define PARE_QUANT_GPTQ_H

#include "base/pool.h"
#include "quant/grid.h"

#include <pare/error.h>
#include <stdbool.h>

typedef struct pare_gptq_options {
    float damping;  /* of the mean diagonal: 0.01; raised tenfold, up to 1, where the Hessian is not
                       positive definite */
    bool act_order; /* columns by falling diagonal of the Hessian */
    bool weighted;  /* the encoder's scale search weighs columns by the diagonal, where the format's
                       search has weights */
} pare_gptq_options;

/* Quantizes W [rows, columns] into `encoded` (rows of pare_type_row_bytes), and replaces W by what
 * `encoded` decodes to. H [columns, columns] is the sum of x xᵀ over the calibration's inputs (any
 * positive factor); it is left as it is. Scales are those that the format's own encoder gives the
 * original row (groups are static in the paper's later terms); the codes are then chosen column by
 * column, each column's error carried to those not yet done. A column that no input ever used
 * (diagonal 0) is rounded to nearest. *damping_used and *error (may be NULL) report the damping and
 * GPTQ's own loss, the sum of squared errors over U's diagonal. PARE_UNSUPPORTED where the format
 * has no grid. Source of the lazy update: section 4, step 2; blocks of 128 columns. */
pare_status pare_gptq(pare_pool *pool, float *w, int64_t rows, int64_t columns, const float *h,
                      pare_type type, const pare_gptq_options *options, uint8_t *encoded,
                      float *damping_used, double *error);

#endif
