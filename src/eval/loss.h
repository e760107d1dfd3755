/* Losses and divergences of a block of positions, shared among a pool's threads by position. */
#ifndef PARE_EVAL_LOSS_H
#define PARE_EVAL_LOSS_H

#include "base/pool.h"
#include "kernels/kernels.h"

/* Row i holds the logits of position i. targets[i] is the token that follows, -1 where it is not
 * scored. Written where the pointer is not NULL: nll[i], base_nll[i] (0 where not scored), kld[i] =
 * KL(base || model) in nats, same[i] = both have the same most probable token. base NULL: nll only.
 */
typedef struct pare_loss {
    const pare_kernels *kernels;
    const float *logits, *base;
    int64_t vocab, count;
    const int32_t *targets;
    double *nll, *base_nll, *kld;
    bool *same;
} pare_loss;

void pare_loss_compute(pare_pool *pool, const pare_loss *loss);

/* sum over i of p_i (log p_i - log q_i), p and q the softmax of the logits; given the logs of their
 * sums of exponentials. */
double pare_kl_divergence(const float *p, double p_log_sum, const float *q, double q_log_sum,
                          int64_t n);

#endif
