/* One thread's walk through the layers: what the files of the forward pass share. cpu_forward.c has
 * the order of the phases, cpu_product.c the matrix products and what they read, cpu_attend.c what
 * happens between the rows of q, k, v and the output of attention. */
#ifndef PARE_RUN_CPU_THREAD_H
#define PARE_RUN_CPU_THREAD_H

#include "run/cpu.h"

/* One thread's view. */
typedef struct cpu_thread {
    const cpu_state *cpu;
    const cpu_pass *pass;
    int index, count;
    bool single;    /* one token: x, normed, prepared are this thread's own */
    pare_range own; /* the tokens of per-token phases */
    cpu_regime regime;
    float *x, *normed;
    char *const *prepared;
    void *scratch;
    pare_int8_rule rule; /* of the inputs that are being multiplied, where they are rounded */
} cpu_thread;

static inline void cpu_barrier(const cpu_thread *thread)
{
    pare_pool_barrier(thread->cpu->pool);
}

/* Behind work that shares the tokens. */
static inline void cpu_token_barrier(const cpu_thread *thread)
{
    if (!thread->single)
        cpu_barrier(thread);
}

static inline int64_t cpu_position(const cpu_pass *pass, int64_t t)
{
    return pass->pasts ? pass->pasts[t] : pass->past + t;
}

static inline int64_t cpu_sequence(const cpu_pass *pass, int64_t t)
{
    return pass->sequence + (pass->pasts ? t : 0);
}

/* ---- cpu_product.c ---- */

/* What the group is to read of normed: the thread's own rows (several tokens) or its own copy
 * (one). Ready for all behind the next cpu_token_barrier. */
void cpu_feed_normed(cpu_thread *thread, const cpu_group *group, int64_t l, pare_block_input input);
/* The same for rows that all threads read, ready on return: of a single token the first thread
 * changes the only copy. */
void cpu_feed_shared(cpu_thread *thread, const cpu_group *group, int64_t l, pare_block_input input,
                     float *x, int64_t stride);
/* x *= factors of the group's inputs, for rows that all threads read. */
void cpu_scale_shared(const cpu_thread *thread, const cpu_group *group, float *x, int64_t stride);
/* The activations in every form that the group's matrices read. */
void cpu_prepare_own(const cpu_thread *thread, const cpu_group *group, const float *x,
                     int64_t stride, int64_t tokens);
/* Matrix m of the group: these rows. */
void cpu_multiply_rows(const cpu_thread *thread, const cpu_group *group, int m, pare_range rows,
                       const float *x, int64_t x_stride, int64_t tokens, float *y,
                       int64_t y_stride);
/* The group as one matrix of all rows, cut into equal shares of whole steps. */
void cpu_multiply_stacked(const cpu_thread *thread, const cpu_group *group, const float *x,
                          int64_t x_stride, int64_t tokens, float *y, int64_t y_stride);
/* Gate and up by the same rows, then the activation of these rows: no barrier in between. */
void cpu_multiply_up(const cpu_thread *thread, const cpu_group *group, const float *x,
                     int64_t tokens);
/* The first weights that this thread will read in the next product are asked for before the
 * barrier: memory works while the threads meet and prepare the next activations. One token only:
 * with more of them the time goes elsewhere. */
void cpu_look_ahead(const cpu_thread *thread, const cpu_group *group);

/* ---- cpu_attend.c ---- */

/* From the inputs of layer l's q, k, v to the outputs of its attention, which all threads may read
 * on return. */
void cpu_attend(const cpu_thread *thread, const cpu_layer *layer, int64_t l);

#endif
