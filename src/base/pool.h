/* A thread pool that runs one function on all its threads at once (SPMD), with a spin-then-wait
 * barrier.
 *
 * The forward pass is one such function: every thread walks the whole layer loop and takes its
 * share of each operation, so that an operation costs one barrier and no hand-over. Shares depend
 * on nothing but (index, count), and no result depends on the shares: 1 and 2 threads give the same
 * bits. */
#ifndef PARE_BASE_POOL_H
#define PARE_BASE_POOL_H

#include <pare/error.h>
#include <stdint.h>

typedef struct pare_pool pare_pool;

/* Cores that the process may use. */
int pare_pool_cores(void);

/* threads: 0 for all cores the process may use. The calling thread is one of them. */
pare_status pare_pool_create(int threads, pare_pool **out);
void pare_pool_free(pare_pool *pool);
int pare_pool_threads(const pare_pool *pool);

/* Calls function(argument, index, count) on all threads, index 0 on the caller; returns when all
 * have returned. One caller at a time. */
void pare_pool_run(pare_pool *pool, void (*function)(void *argument, int index, int count),
                   void *argument);

/* Waits for all threads of the running function; everything written before is visible after. A
 * no-op with one thread. */
void pare_pool_barrier(pare_pool *pool);

typedef struct pare_range {
    int64_t first, last; /* first .. last-1 */
} pare_range;

/* The share of `index` of n items, in whole steps of `step` items (the last step may be short). */
static inline pare_range pare_share(int64_t n, int64_t step, int index, int count)
{
    int64_t steps = (n + step - 1) / step;
    pare_range range = {steps * index / count * step, steps * (index + 1) / count * step};
    if (range.last > n)
        range.last = n;
    if (range.first > n)
        range.first = n;
    return range;
}

#endif
