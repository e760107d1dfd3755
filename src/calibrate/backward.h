/* One block of a decoder on a batch of sequences, forward and backward in FP32: where gradients of
 * the model's output with respect to what its linear layers give come from. It computes what the
 * ordinary forward pass computes (a test holds them together), in a form that can be turned round.
 */
#ifndef PARE_CALIBRATE_BACKWARD_H
#define PARE_CALIBRATE_BACKWARD_H

#include "calibrate/dense.h"
#include "model/decoder.h"
#include "run/block.h"

typedef struct pare_backward_matrix {
    const pare_tensor *tensor, *bias_tensor;
    pare_dense forward, backward;
    float *bias; /* NULL: none */
} pare_backward_matrix;

typedef struct pare_backward {
    const pare_model *model;
    const pare_kernels *kernels;
    pare_pool *pool;
    int64_t layer, sequences, length, tokens; /* tokens = sequences x length */

    pare_backward_matrix matrices[PARE_BLOCK_MATRICES]; /* in the order of the pass */
    int count, first_up; /* matrices[first_up]: gate where there is one, else up */
    float *norms[4];     /* attention norm, its bias, MLP norm, its bias */
    float *q_norm, *k_norm;
    float *cosines, *sines; /* [length, rope_dims / 2], and the sines negated */
    float *back_sines;

    /* [tokens] rows of the strides below; all in one region. */
    int64_t hidden_stride, qkv_stride, attention_stride, mlp_stride, k_offset, v_offset;
    float *normed, *qkv, *raw; /* raw: q and k before their norm and rotation */
    float *attended, *middle, *normed_up, *gate, *up, *activated;
    float *d_normed, *d_qkv, *d_attended, *d_gate, *d_up, *d_activated, *spare;
    float *probabilities; /* per thread: [2, length] */
    float *region;
    size_t region_bytes;
    pare_dense_scratch scratch;
} pare_backward;

pare_status pare_backward_create(const pare_model *model, pare_pool *pool, int64_t sequences,
                                 int64_t length, pare_backward *pass);
void pare_backward_free(pare_backward *pass); /* accepts {0} */

/* Takes the weights of a block. */
pare_status pare_backward_load(pare_backward *pass, int64_t layer, bool backward);

/* x, y: [tokens] rows of hidden_stride floats; y may be NULL (only what the way back needs). */
pare_status pare_backward_forward(pare_backward *pass, const float *x, float *y);

/* Called for each matrix with the gradient of its output: [tokens] rows, `stride` apart. */
typedef pare_status (*pare_backward_tap)(void *user, const pare_tensor *matrix, const float *d,
                                         int64_t stride);

/* d holds the gradient of the block's output and gets that of its input x; computes the forward
 * pass again on the way. */
pare_status pare_backward_run(pare_backward *pass, const float *x, float *d, pare_backward_tap tap,
                              void *user);

/* y = norm(x) of `tokens` rows, and the gradient of x added to dx, given dy. */
void pare_norm_rows(const pare_decoder *decoder, const pare_kernels *kernels, pare_pool *pool,
                    const float *weight, const float *bias, const float *x, int64_t stride,
                    int64_t tokens, float *y);
void pare_norm_rows_back(const pare_decoder *decoder, pare_pool *pool, const float *weight,
                         const float *x, const float *dy, int64_t stride, int64_t tokens,
                         float *dx);

/* attention_backward.c: attended of all heads, and the gradients of q, k and v (after rotation). */
void pare_attention_rows(pare_backward *pass);
void pare_attention_rows_back(pare_backward *pass);

/* A tensor's values in FP32. *values is malloc'ed; NULL for a NULL tensor. */
pare_status pare_tensor_floats(const pare_kernels *kernels, const pare_tensor *tensor,
                               float **values);

#endif
