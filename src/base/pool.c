#define _GNU_SOURCE
#include "base/pool.h"

#include "base/fail.h"
#include "base/memory.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE = 64, MAX_THREADS = 1024 };

/* About 50 us at 4 GHz: longer than any operation of a small model, shorter than a scheduler's
 * tick. Past that the thread sleeps, so that an idle or oversubscribed machine does not burn. */
enum { SPINS = 4000 };

typedef struct worker {
    pthread_t thread;
    pare_pool *pool;
    int index;
} worker;

struct pare_pool {
    int threads, started;
    worker *workers;
    void (*function)(void *, int, int);
    void *argument;
    bool stop;
    /* Each on its own line: arrivals are written by all, generations are only read while waiting.
     */
    _Alignas(LINE) atomic_uint job;        /* counts calls of pare_pool_run */
    _Alignas(LINE) atomic_uint arrived;    /* threads at the barrier */
    _Alignas(LINE) atomic_uint generation; /* counts barriers passed */
    _Alignas(LINE) atomic_uint sleepers;   /* threads in futex_wait on generation or job */
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Waits until *word differs from `old`: spins, then sleeps in the kernel. */
static void wait_change(pare_pool *pool, atomic_uint *word, unsigned old)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old)
            return;
        relax();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(word) == old)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void announce(pare_pool *pool, atomic_uint *word)
{
    atomic_fetch_add(
        word, 1); /* sequentially consistent: ordered against `sleepers`, so no wake-up is lost */
    if (atomic_load(&pool->sleepers))
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, MAX_THREADS, NULL, NULL, 0);
}

void pare_pool_barrier(pare_pool *pool)
{
    if (pool->threads == 1)
        return;
    unsigned generation = atomic_load_explicit(&pool->generation, memory_order_acquire);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 == (unsigned)pool->threads) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        announce(pool, &pool->generation);
    } else {
        wait_change(pool, &pool->generation, generation);
    }
}

static void *work(void *argument)
{
    worker *self = argument;
    pare_pool *pool = self->pool;
    for (unsigned job = 0;; job++) {
        wait_change(pool, &pool->job, job);
        if (pool->stop)
            return NULL;
        pool->function(pool->argument, self->index, pool->threads);
        pare_pool_barrier(pool);
    }
}

void pare_pool_run(pare_pool *pool, void (*function)(void *, int, int), void *argument)
{
    pool->function = function;
    pool->argument = argument;
    if (pool->threads > 1)
        announce(pool, &pool->job);
    function(argument, 0, pool->threads);
    pare_pool_barrier(pool);
}

int pare_pool_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

pare_status pare_pool_create(int threads, pare_pool **out)
{
    *out = NULL;
    if (threads == 0)
        threads = pare_pool_cores();
    if (threads < 1 || threads > MAX_THREADS)
        return pare_fail(PARE_INVALID_ARGUMENT, "%d threads: use 1 to %d", threads, MAX_THREADS);
    pare_pool *pool = aligned_alloc(LINE, sizeof *pool);
    if (!pool)
        return pare_fail_memory(sizeof *pool, "a thread pool");
    memset(pool, 0, sizeof *pool);
    pool->threads = threads;
    pare_status status =
        pare_allocate((size_t)threads, sizeof *pool->workers, "a thread pool", &pool->workers);
    for (int i = 1; status == PARE_OK && i < threads; i++) {
        pool->workers[i] = (worker){.pool = pool, .index = i};
        if (pthread_create(&pool->workers[i].thread, NULL, work, &pool->workers[i]) != 0)
            status = pare_fail(PARE_OUT_OF_MEMORY, "thread %d of %d could not be started", i + 1,
                               threads);
        else
            pool->started++;
    }
    if (status != PARE_OK) {
        pare_pool_free(pool);
        return status;
    }
    *out = pool;
    return PARE_OK;
}

void pare_pool_free(pare_pool *pool)
{
    if (!pool)
        return;
    pool->stop = true;
    announce(pool, &pool->job);
    for (int i = 1; i <= pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    free(pool->workers);
    free(pool);
}

int pare_pool_threads(const pare_pool *pool)
{
    return pool->threads;
}
