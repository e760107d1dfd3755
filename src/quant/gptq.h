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

/* Rows of a matrix whose codes are chosen at once. */
typedef struct pare_gptq_rows {
    const float *w; /* [rows, columns] */
    int64_t first, rows, columns;
    int64_t group, groups; /* columns that share a table; tables of a row */
    int levels;
    const float *tables; /* [rows, groups, levels]: pare_grid_table */
    uint8_t *codes;      /* out: [rows, columns], in stored order */
} pare_gptq_rows;

enum { PARE_GPTQ_SLICE = 256 << 20 }; /* bytes of one of a slice's arrays, about */

/* A device that holds H and does what takes long. */
typedef struct pare_gptq_device {
    void *user;
    /* Makes the factor U of H in this order of columns, with `added` on the diagonal (after zeros
     * there have become ones). PARE_LIMIT where it is not positive definite. */
    pare_status (*factor)(void *user, const int32_t *order, float added);
    /* Chooses codes column by column; the device keeps what they decode to. */
    pare_status (*rows)(void *user, const pare_gptq_rows *rows);
} pare_gptq_device;

/* The same as pare_gptq, on a device; diagonal [columns] is H's. W stays as it is. */
pare_status pare_gptq_on(const pare_gptq_device *device, pare_pool *pool, const float *w,
                         int64_t rows, int64_t columns, const float *diagonal, pare_type type,
                         const pare_gptq_options *options, uint8_t *encoded);

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
