/* Choosing the codes of a matrix so that trace(G E H E^T), E = target - stored, is small: G is the
 * Gram matrix of the gradients of its outputs (output_gram.h), H that of its inputs. With G = 1 it
 * is what GPTQ minimizes.
 *
 * Rows are done one after the other, each column by column as in GPTQ; what a finished row has
 * wrong is carried to the rows behind it by G's factor just as a column's error is carried by H's
 * (Tseng et al., YAQA, arXiv:2505.22988, show that this is the two-sided form of the same
 * algorithm). Then single codes are moved while that lowers the trace (coordinate descent), in
 * sweeps over the matrix. Scales are those that the format's encoder gives the target, weighted by
 * H's diagonal. */
#ifndef PARE_CALIBRATE_TWO_SIDED_H
#define PARE_CALIBRATE_TWO_SIDED_H

#include "base/pool.h"
#include "calibrate/output_gram.h"

#include <pare/types.h>

/* H prepared for all matrices that read the same input. Starts as {0}. */
typedef struct pare_rounding {
    int64_t columns;
    int64_t *order;  /* working position -> stored column, by falling diagonal */
    float *diagonal; /* of H, in stored order */
    float *h;        /* damped, in working order */
    float *u, *ut;   /* U^T U = h^-1, and U's transpose */
    float added;     /* to h's diagonal */
} pare_rounding;

pare_status pare_rounding_create(pare_pool *pool, const float *gram, int64_t columns, float damping,
                                 pare_rounding *rounding);
void pare_rounding_free(pare_rounding *rounding);

/* The target of W for inputs that differ from those W was made for: the least-squares solution of
 * "what W gives on the exact inputs" over the present ones, T = W + (share W M + share R) h^-1,
 * M = sum (x - x') x'^T [columns, columns], R = sum (r - r') x'^T [rows, columns] for matrices
 * whose output is added to a residual stream r (NULL: none). t [rows, columns] must not be w. */
pare_status pare_rounding_target(pare_pool *pool, const pare_rounding *rounding, const float *w,
                                 int64_t rows, const float *shift, const float *residual,
                                 float share, float *t);

typedef struct pare_rounding_task {
    const float *target; /* [rows, columns] */
    int64_t rows;
    pare_type type;
    const pare_output_gram *gram; /* NULL: G = 1 */
    bool one_sided;               /* G only judges the result */
    uint8_t *encoded;             /* [rows] encoded rows */
    float *decoded;               /* [rows, columns] or NULL */
    double cost;                  /* out: trace(G E H E^T), without damping */
} pare_rounding_task;

/* PARE_UNSUPPORTED where a format has no grid. The result does not depend on the threads. */
pare_status pare_round_matrices(pare_pool *pool, const pare_rounding *rounding,
                                pare_rounding_task *tasks, int count, int sweeps);

#endif
