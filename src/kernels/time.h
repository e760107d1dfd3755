/* Timing a matrix product beside the memory bandwidth of the same moment. */
#ifndef PARE_KERNELS_TIME_H
#define PARE_KERNELS_TIME_H

#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct pare_kernel_time {
    double seconds;          /* median of one product */
    double best_seconds;     /* the fastest: what an undisturbed machine does */
    double spread;           /* (third quartile - first) / median */
    double bytes_per_s;      /* weights as packed, over the median */
    double operations_per_s; /* 2 rows columns tokens, over the median */
    double
        read_bytes_per_s; /* plain reading of the same memory, runs interleaved with the products */
    double packed_weights_per_s; /* repacking from the stored form; 0 where used as stored */
    int64_t repetitions;
} pare_kernel_time;

/* Multiplies random weights of [rows, columns] with `tokens` tokens on all threads of the pool for
 * about `seconds`. So many copies of the matrix take turns that they fill 256 MiB: what is measured
 * is memory, not the cache. PARE_UNSUPPORTED where the table has no such product. */
pare_status pare_kernels_time(const pare_kernels *kernels, pare_pool *pool, pare_type type,
                              pare_operand operand, int64_t rows, int64_t columns, int64_t tokens,
                              double seconds, pare_kernel_time *time);

#endif
