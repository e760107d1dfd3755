#include "calibrate/dense.h"

#include "base/memory.h"

#include <stdlib.h>

enum { LINE = 64, ROWS_APART = 64 };

typedef struct pack_job {
    const pare_dense *dense;
    const float *w;
} pack_job;

static void pack_share(void *argument, int index, int count)
{
    const pack_job *job = argument;
    const pare_dense *d = job->dense;
    const pare_matmul *m = d->matmul;
    pare_range rows = pare_share(d->rows, m->row_step, index, count);
    size_t before = rows.first ? m->packed_bytes(rows.first, d->columns) : 0;
    if (rows.first < rows.last)
        m->pack((char *)d->packed + before, job->w + rows.first * d->columns, PARE_TYPE_F32,
                rows.last - rows.first, d->columns, 0, rows.last - rows.first);
}

pare_status pare_dense_fill(pare_dense *dense, const pare_kernels *kernels, pare_pool *pool,
                            const float *w, int64_t rows, int64_t columns, bool transposed)
{
    float *turned = NULL;
    size_t elements = (size_t)(rows * columns);
    pare_status status;
    if (transposed) {
        status = pare_allocate(elements, sizeof *turned, "a transposed matrix", &turned);
        if (status != PARE_OK)
            return status;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++)
                turned[c * rows + r] = w[r * columns + c];
    }
    dense->rows = transposed ? columns : rows;
    dense->columns = transposed ? rows : columns;
    dense->matmul = kernels->matmul[PARE_TYPE_F32][PARE_OPERAND_F32];
    size_t bytes = dense->matmul->packed_bytes
                       ? dense->matmul->packed_bytes(dense->rows, dense->columns)
                       : elements * sizeof *w;
    if (dense->packed_bytes != bytes) {
        pare_dense_free(dense);
        status = pare_pages_allocate(bytes, "a packed matrix", &dense->packed);
        if (status != PARE_OK) {
            free(turned);
            return status;
        }
        dense->packed_bytes = bytes;
        dense->rows = transposed ? columns : rows;
        dense->columns = transposed ? rows : columns;
        dense->matmul = kernels->matmul[PARE_TYPE_F32][PARE_OPERAND_F32];
    }
    pack_job job = {dense, turned ? turned : w};
    if (dense->matmul->packed_bytes)
        pare_pool_run(pool, pack_share, &job);
    else
        for (size_t i = 0; i < elements; i++)
            ((float *)dense->packed)[i] = job.w[i];
    free(turned);
    return PARE_OK;
}

void pare_dense_free(pare_dense *dense)
{
    pare_pages_free(dense->packed, dense->packed_bytes);
    *dense = (pare_dense){0};
}

typedef struct multiply_job {
    const pare_dense *dense;
    pare_pool *pool;
    const float *x, *bias;
    float *y;
    int64_t tokens, x_stride, y_stride;
    void *prepared;
    char *scratch;
    size_t scratch_bytes;
} multiply_job;

static void multiply_share(void *argument, int index, int count)
{
    const multiply_job *j = argument;
    const pare_dense *d = j->dense;
    const pare_matmul *m = d->matmul;
    if (m->prepared_bytes) {
        pare_range own = pare_share(j->tokens, 1, index, count);
        if (own.first < own.last)
            m->prepare(j->prepared, j->x, j->x_stride, j->tokens, d->columns, own.first, own.last);
        pare_pool_barrier(j->pool);
    }
    int64_t step = m->row_step;
    while (step % ROWS_APART)
        step += m->row_step; /* shares fall on the same vectors for any number of threads */
    pare_range rows = pare_share(d->rows, step, index, count);
    if (rows.first < rows.last)
        m->multiply(j->y, j->y_stride, d->packed, PARE_TYPE_F32,
                    m->prepared_bytes ? j->prepared : (const void *)j->x, j->x_stride, j->bias,
                    d->rows, d->columns, j->tokens, rows.first, rows.last,
                    j->scratch + (size_t)index * j->scratch_bytes);
}

static pare_status reserve(void *pages /* void ** */, size_t *held, size_t needed)
{
    void **slot = pages;
    if (needed <= *held)
        return PARE_OK;
    pare_pages_free(*slot, *held);
    *slot = NULL;
    *held = 0;
    pare_status status = pare_pages_allocate(needed, "products of a backward pass", slot);
    if (status == PARE_OK)
        *held = needed;
    return status;
}

pare_status pare_dense_multiply(const pare_dense *dense, pare_pool *pool,
                                pare_dense_scratch *scratch, const float *x, int64_t x_stride,
                                int64_t tokens, const float *bias, float *y, int64_t y_stride)
{
    const pare_matmul *m = dense->matmul;
    size_t own = m->scratch_bytes ? m->scratch_bytes(dense->rows, dense->columns, tokens) : 0;
    own = (own + LINE - 1) / LINE * LINE;
    pare_status status = PARE_OK;
    if (m->prepared_bytes)
        status = reserve(&scratch->prepared, &scratch->prepared_bytes,
                         m->prepared_bytes(tokens, dense->columns));
    if (status == PARE_OK)
        status = reserve(&scratch->thread, &scratch->thread_bytes,
                         own * (size_t)pare_pool_threads(pool));
    if (status != PARE_OK)
        return status;
    multiply_job job = {.dense = dense,
                        .pool = pool,
                        .x = x,
                        .bias = bias,
                        .y = y,
                        .tokens = tokens,
                        .x_stride = x_stride,
                        .y_stride = y_stride,
                        .prepared = scratch->prepared,
                        .scratch = scratch->thread,
                        .scratch_bytes = own};
    pare_pool_run(pool, multiply_share, &job);
    return PARE_OK;
}

void pare_dense_scratch_free(pare_dense_scratch *scratch)
{
    pare_pages_free(scratch->prepared, scratch->prepared_bytes);
    pare_pages_free(scratch->thread, scratch->thread_bytes);
    *scratch = (pare_dense_scratch){0};
}
