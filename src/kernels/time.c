#include "kernels/time.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/random.h"
#include "quant/types.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SAMPLES = 4096 };

static const size_t WORKING_SET = (size_t)256 << 20;

/* Everything of one measurement; `weights` holds `copies` matrices of `matrix_bytes` each. */
typedef struct job {
    const pare_matmul *matmul;
    pare_pool *pool;
    pare_type type;
    int64_t rows, columns, tokens, x_stride, y_stride;
    uint8_t *stored, *weights, *prepared, *scratch;
    float *x, *y;
    size_t stored_bytes, matrix_bytes, weights_bytes, prepared_bytes, scratch_bytes, x_bytes,
        y_bytes;
    int64_t copies, turn;
    volatile uint64_t sink;
} job;

static const uint8_t *matrix(const job *j, int64_t copy)
{
    return j->weights + (size_t)(copy % j->copies) * j->matrix_bytes;
}

static void multiply_share(void *argument, int index, int count)
{
    job *j = argument;
    pare_range share = pare_share(j->rows, j->matmul->row_step, index, count);
    j->matmul->multiply(j->y, j->y_stride, matrix(j, j->turn), j->type,
                        j->matmul->prepared_bytes ? (const void *)j->prepared : j->x, j->x_stride,
                        NULL, j->rows, j->columns, j->tokens, share.first, share.last,
                        j->scratch + (size_t)index * (j->scratch_bytes / (size_t)count));
}

/* Two streams and no prefetching, as hw/peaks.h has it: an own prefetch makes it slower (Zen 3: 35
 * for 50 GB/s). */
static void read_share(void *argument, int index, int count)
{
    job *j = argument;
    pare_range share = pare_share((int64_t)(j->matrix_bytes / 128), 1, index, count);
    const uint64_t *one = (const uint64_t *)matrix(j, j->turn) + share.first * 16,
                   *other = one + (share.last - share.first) * 8;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (int64_t i = 0; i < (share.last - share.first) * 8; i += 4) {
        a ^= one[i] ^ other[i];
        b ^= one[i + 1] ^ other[i + 1];
        c ^= one[i + 2] ^ other[i + 2];
        d ^= one[i + 3] ^ other[i + 3];
    }
    j->sink = a ^ b ^ c ^ d;
}

static void pack_share(void *argument, int index, int count)
{
    job *j = argument;
    pare_range share = pare_share(j->rows, j->matmul->row_step, index, count);
    j->matmul->pack(j->weights, j->stored, j->type, j->rows, j->columns, share.first, share.last);
}

static pare_status make_weights(job *j, double *packed_per_s)
{
    const pare_type_traits *traits = pare_type_get_traits(j->type);
    size_t row_bytes = pare_type_row_bytes(j->type, j->columns);
    pare_random random = {7};
    float *row = j->x; /* one token is at least one row */
    for (int64_t r = 0; traits->encode && r < 32 && r < j->rows; r++) {
        for (int64_t c = 0; c < j->columns; c++)
            row[c] = (float)pare_random_normal(&random);
        traits->encode(row, j->stored + (size_t)r * row_bytes, j->columns, NULL);
    }
    for (int64_t r = 32; r < j->rows; r++)
        memcpy(j->stored + (size_t)r * row_bytes, j->stored + (size_t)(r % 32) * row_bytes,
               row_bytes);
    *packed_per_s = 0;
    if (j->matmul->pack) {
        double best = 1e30;
        for (int i = 0; i < 3; i++) {
            double start = pare_seconds();
            pare_pool_run(j->pool, pack_share, j);
            best = pare_seconds() - start < best ? pare_seconds() - start : best;
        }
        *packed_per_s = (double)(j->rows * j->columns) / best;
    } else {
        memcpy(j->weights, j->stored, j->matrix_bytes);
    }
    for (int64_t i = 1; i < j->copies; i++)
        memcpy(j->weights + (size_t)i * j->matrix_bytes, j->weights, j->matrix_bytes);
    for (int64_t i = 0; i < j->tokens * j->x_stride; i++)
        j->x[i] = (float)pare_random_normal(&random);
    if (j->matmul->prepare)
        j->matmul->prepare(j->prepared, j->x, j->x_stride, j->tokens, j->columns, 0, j->tokens);
    return PARE_OK;
}

static pare_status allocate(job *j, int threads)
{
    const pare_matmul *m = j->matmul;
    j->stored_bytes = (size_t)j->rows * pare_type_row_bytes(j->type, j->columns);
    j->matrix_bytes = m->packed_bytes ? m->packed_bytes(j->rows, j->columns) : j->stored_bytes;
    j->matrix_bytes = (j->matrix_bytes + 63) / 64 * 64;
    j->copies = (int64_t)(WORKING_SET / j->matrix_bytes) + 1;
    j->weights_bytes = (size_t)j->copies * j->matrix_bytes;
    j->prepared_bytes = m->prepared_bytes ? m->prepared_bytes(j->tokens, j->columns) : 0;
    j->scratch_bytes =
        ((m->scratch_bytes ? m->scratch_bytes(j->rows, j->columns, j->tokens) : 0) + 63) / 64 * 64;
    j->scratch_bytes *= (size_t)threads;
    j->x_stride = (j->columns + 15) / 16 * 16;
    j->y_stride = (j->rows + 15) / 16 * 16;
    j->x_bytes = (size_t)(j->tokens * j->x_stride) * sizeof(float);
    j->y_bytes = (size_t)(j->tokens * j->y_stride) * sizeof(float);
    pare_status status = PARE_OK;
    PARE_TRY(pare_pages_allocate(j->stored_bytes, "timing", &j->stored));
    PARE_TRY(pare_pages_allocate(j->weights_bytes, "timing", &j->weights));
    PARE_TRY(pare_pages_allocate(j->prepared_bytes, "timing", &j->prepared));
    PARE_TRY(pare_pages_allocate(j->scratch_bytes, "timing", &j->scratch));
    PARE_TRY(pare_pages_allocate(j->x_bytes, "timing", &j->x));
    PARE_TRY(pare_pages_allocate(j->y_bytes, "timing", &j->y));
fail:
    return status;
}

static void release(job *j)
{
    pare_pages_free(j->stored, j->stored_bytes);
    pare_pages_free(j->weights, j->weights_bytes);
    pare_pages_free(j->prepared, j->prepared_bytes);
    pare_pages_free(j->scratch, j->scratch_bytes);
    pare_pages_free(j->x, j->x_bytes);
    pare_pages_free(j->y, j->y_bytes);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double timed(job *j, void (*function)(void *, int, int))
{
    double start = pare_seconds();
    pare_pool_run(j->pool, function, j);
    j->turn++;
    return pare_seconds() - start;
}

static void measure(job *j, double seconds, double *products, double *reads, pare_kernel_time *time)
{
    int64_t n = 0;
    timed(j, multiply_share);
    for (double start = pare_seconds();
         n < 5 || (n < MAX_SAMPLES && pare_seconds() - start < seconds); n++) {
        products[n] = timed(j, multiply_share);
        reads[n] = timed(j, read_share);
    }
    qsort(products, (size_t)n, sizeof *products, by_value);
    qsort(reads, (size_t)n, sizeof *reads, by_value);
    time->repetitions = n;
    time->seconds = products[n / 2];
    time->best_seconds = products[0];
    time->spread = (products[3 * n / 4] - products[n / 4]) / products[n / 2];
    time->bytes_per_s = (double)j->matrix_bytes / time->seconds;
    time->operations_per_s =
        2.0 * (double)j->rows * (double)j->columns * (double)j->tokens / time->seconds;
    time->read_bytes_per_s = (double)j->matrix_bytes / reads[n / 2];
}

pare_status pare_kernels_time(const pare_kernels *kernels, pare_pool *pool, pare_type type,
                              pare_operand operand, int64_t rows, int64_t columns, int64_t tokens,
                              double seconds, pare_kernel_time *time)
{
    *time = (pare_kernel_time){0};
    if (type >= PARE_TYPE_COUNT || operand >= PARE_OPERAND_COUNT || !kernels->matmul[type][operand])
        return pare_fail(PARE_UNSUPPORTED, "%s has no such product on %s", pare_type_name(type),
                         pare_isa_name(kernels->isa));
    if (rows < 1 || columns < 1 || tokens < 1 || pare_type_row_bytes(type, columns) == 0)
        return pare_fail(PARE_INVALID_ARGUMENT, "%s has no matrix of %lld x %lld",
                         pare_type_name(type), (long long)rows, (long long)columns);
    job j = {.matmul = kernels->matmul[type][operand],
             .pool = pool,
             .type = type,
             .rows = rows,
             .columns = columns,
             .tokens = tokens};
    double *samples = NULL;
    pare_status status = PARE_OK;
    PARE_TRY(pare_allocate(2 * MAX_SAMPLES, sizeof *samples, "timing", &samples));
    PARE_TRY(allocate(&j, pare_pool_threads(pool)));
    PARE_TRY(make_weights(&j, &time->packed_weights_per_s));
    measure(&j, seconds, samples, samples + MAX_SAMPLES, time);
fail:
    release(&j);
    free(samples);
    return status;
}
