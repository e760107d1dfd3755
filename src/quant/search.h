/* Choosing scales (and minima) of a small group so that the weighted squared error of its rounded
 * values is low: the searches that the k-quants of llama.cpp are defined by (ggml-quants.c, MIT),
 * in the same order of operations, so that the resulting bytes are the same. Scales are searched on
 * a line of candidates around "absmax over the largest code", each candidate's codes are fixed by
 * rounding, and for given codes the best scale is the least-squares one. */
#ifndef PARE_QUANT_SEARCH_H
#define PARE_QUANT_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

enum { PARE_SEARCH_MAX = 256 }; /* the longest group */

/* Groups whose magnitude is below this become zero. */
#define PARE_GROUP_EPSILON 1e-15f

/* Mean of the squares, summed in order in FP32. */
float pare_mean_square(const float *x, int64_t n);
/* weights[i] = importance[i] * sqrt(mean_square + x[i]^2): how llama.cpp turns an importance matrix
 * into weights. */
void pare_importance_weights(const float *x, const float *importance, float mean_square,
                             float *weights, int n);

/* Blocks of 32 without a search. d puts the value of largest magnitude on code 0 (-half); halves
 * round up. Returns d as FP16. */
uint16_t pare_round_extreme(const float *x, int half, uint8_t *codes);
/* Codes 0..top over minimum .. maximum. Returns the step d as FP16. */
uint16_t pare_round_range(const float *x, int top, uint8_t *codes, float *minimum);

/* x ~ scale * (code - half), code in 0 .. 2 half - 1. 18 candidates beside the first. `weights`
 * NULL: x squared. */
float pare_search_symmetric(int n, int half, const float *x, const float *weights, uint8_t *codes);

/* The same target, by rounding once and then moving single codes while that lowers the error
 * (weights x squared). */
float pare_search_symmetric_descent(int n, int half, const float *x, uint8_t *codes);

/* x ~ scale * code - *minimum, code in 0..top, *minimum >= 0. Candidates: top + first + step * i, i
 * in 0..steps, over the range. `absolute`: the error is weighted |difference| instead of its
 * square. */
float pare_search_affine(int n, int top, const float *x, const float *weights, uint8_t *codes,
                         float *minimum, float first, float step, int steps, bool absolute);

/* x ~ scale * code for x >= 0 (scales of groups), code in 0..top. */
float pare_search_positive(int n, int top, const float *x, const float *weights, uint8_t *codes);

#endif
