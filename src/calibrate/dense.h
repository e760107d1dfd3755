/* FP32 matrices multiplied by the kernels of the forward pass, as they are and transposed: what a
 * backward pass needs. */
#ifndef PARE_CALIBRATE_DENSE_H
#define PARE_CALIBRATE_DENSE_H

#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct pare_dense {
    const pare_matmul *matmul;
    int64_t rows, columns;
    void *packed; /* pages of packed_bytes */
    size_t packed_bytes;
} pare_dense;

/* What products of up to `tokens` rows and `columns` inputs need besides. Starts as {0}; grows. */
typedef struct pare_dense_scratch {
    void *prepared;
    size_t prepared_bytes;
    char *thread; /* of all threads */
    size_t thread_bytes;
} pare_dense_scratch;

/* Row strides of activations are multiples of 16 floats and rows 64-byte aligned. */
static inline int64_t pare_dense_stride(int64_t columns)
{
    return (columns + 15) / 16 * 16;
}

/* W [rows, columns], or its transpose where `transposed`: the product then maps `rows` inputs to
 * `columns` outputs. The dense matrix starts as {0} and may be filled again with a matrix of the
 * same shape. */
pare_status pare_dense_fill(pare_dense *dense, const pare_kernels *kernels, pare_pool *pool,
                            const float *w, int64_t rows, int64_t columns, bool transposed);
void pare_dense_free(pare_dense *dense);

/* y [tokens, rows] = x [tokens, columns] Wᵀ (+ bias [rows], or NULL). */
pare_status pare_dense_multiply(const pare_dense *dense, pare_pool *pool,
                                pare_dense_scratch *scratch, const float *x, int64_t x_stride,
                                int64_t tokens, const float *bias, float *y, int64_t y_stride);
void pare_dense_scratch_free(pare_dense_scratch *scratch);

#endif
