/* The attention of a layer in the forward pass: heads of q, k, v, the cache, and who computes what.
 */
#include "run/cpu_thread.h"

/* One head of one token: q is rotated in place, k rotated and stored, v stored. */
static void place_head(const cpu_state *cpu, const cpu_layer *layer, int64_t l, int64_t position,
                       int64_t unit, float *row)
{
    const pare_decoder *d = cpu->decoder;
    const pare_kernels *k = cpu->kernels;
    float *head = row + unit * d->head_dim;
    bool is_q = unit < d->heads, is_v = unit >= d->heads + d->kv_heads;
    if (!is_v) {
        const float *norm = is_q ? layer->q_norm : layer->k_norm;
        if (norm)
            k->rms_norm(head, head, norm, d->head_dim, d->norm_epsilon);
        if (d->position == PARE_POSITION_ROPE) {
            int64_t half = d->rope_dims / 2;
            k->rope(head, cpu->cosines + position * half, cpu->sines + position * half,
                    d->rope_dims, d->rope_pairs);
        }
    }
    if (is_q)
        return;
    int64_t kv_head = (unit - d->heads) % d->kv_heads;
    size_t offset =
        (size_t)((l * d->kv_heads + kv_head) * cpu->context + position) * cpu->kv_row_bytes;
    k->store_cache((is_v ? cpu->values : cpu->keys) + offset, head, d->head_dim, cpu->kv_type);
}

static void place_heads(const cpu_thread *thread, const cpu_layer *layer, int64_t l)
{
    const cpu_state *cpu = thread->cpu;
    const pare_decoder *d = cpu->decoder;
    int64_t units = d->heads + 2 * d->kv_heads;
    pare_range share = pare_share(thread->pass->tokens * units, 1, thread->index, thread->count);
    for (int64_t i = share.first; i < share.last; i++) {
        int64_t t = i / units;
        place_head(cpu, layer, l, thread->pass->past + t, i % units,
                   cpu->qkv + t * cpu->qkv_stride);
    }
}

/* True where every thread can have KV heads of its own, with the rows of q, k and v that they need.
 */
static bool divides_by_head(const cpu_thread *thread, const cpu_layer *layer)
{
    const pare_decoder *d = thread->cpu->decoder;
    int64_t rows = d->kv_heads / thread->count * d->head_dim;
    bool divides = thread->single && d->kv_heads % thread->count == 0;
    for (int m = 0; m < layer->qkv.count && divides; m++)
        divides = rows % layer->qkv.matrices[m].matmul[CPU_FEW]->row_step == 0;
    return divides;
}

/* q, k and v of the thread's own KV heads, rotated and stored: nobody else reads them. */
static void make_own_heads(const cpu_thread *thread, const cpu_layer *layer, int64_t l)
{
    const cpu_state *cpu = thread->cpu;
    const pare_decoder *d = cpu->decoder;
    int64_t each = d->kv_heads / thread->count, group = d->heads / d->kv_heads;
    const int64_t firsts[] = {thread->index * each * group, d->heads + thread->index * each,
                              d->heads + d->kv_heads + thread->index * each};
    for (int part = 0; part < 3; part++) {
        int64_t heads = part == 0 ? each * group : each, before = 0;
        int m = 0;
        if (layer->qkv.count > 1)
            for (; m < part; m++)
                before += layer->qkv.matrices[m].rows;
        pare_range rows = {firsts[part] * d->head_dim - before,
                           (firsts[part] + heads) * d->head_dim - before};
        cpu_multiply_rows(thread, &layer->qkv, m, rows, thread->normed, cpu->hidden_stride, 1,
                          cpu->qkv, cpu->qkv_stride);
    }
    for (int part = 0; part < 3; part++)
        for (int64_t i = 0; i < (part == 0 ? each * group : each); i++)
            place_head(cpu, layer, l, thread->pass->past, firsts[part] + i, cpu->qkv);
}

/* With several tokens, tasks are taken as threads become free: late positions cost more than early
 * ones, and which thread does a task changes nothing in its result. */
static void attend_tasks(const cpu_thread *thread, const pare_attention *a, int64_t l, bool by_head)
{
    const cpu_state *cpu = thread->cpu;
    const pare_kernels *k = cpu->kernels;
    int64_t tasks = k->attention_tasks(a), finish = k->attention_finish_tasks(a);
    if (thread->single) {
        pare_range share = pare_share(tasks, 1, thread->index, thread->count);
        if (share.first < share.last)
            k->attention(a, share.first, share.last, cpu->attention_scratch);
    } else {
        int64_t grain = tasks / (thread->count * 16) + 1, first;
        while ((first = atomic_fetch_add_explicit(&cpu->tasks[l * CPU_TASK_STRIDE], grain,
                                                  memory_order_relaxed)) < tasks)
            k->attention(a, first, first + grain < tasks ? first + grain : tasks,
                         cpu->attention_scratch);
    }
    if (!finish)
        return;
    if (!by_head)
        cpu_barrier(thread);
    pare_range share = pare_share(finish, 1, thread->index, thread->count);
    if (share.first < share.last)
        k->attention_finish(a, share.first, share.last, cpu->attention_scratch);
}

static pare_attention attention_of(const cpu_state *cpu, const cpu_pass *pass, int64_t l)
{
    const pare_decoder *d = cpu->decoder;
    size_t layer = (size_t)(l * d->kv_heads * cpu->context) * cpu->kv_row_bytes;
    return (pare_attention){
        .q = cpu->qkv,
        .out = cpu->attended,
        .q_stride = cpu->qkv_stride,
        .out_stride = cpu->attention_stride,
        .keys = cpu->keys + layer,
        .values = cpu->values + layer,
        .cache_type = cpu->kv_type,
        .cache_row_bytes = cpu->kv_row_bytes,
        .capacity = cpu->context,
        .tokens = pass->tokens,
        .past = pass->past,
        .heads = d->heads,
        .kv_heads = d->kv_heads,
        .head_dim = d->head_dim,
        .window = d->sliding_window,
        .scale = d->attention_scale[l],
    };
}

void cpu_attend(const cpu_thread *thread, const cpu_layer *layer, int64_t l)
{
    const cpu_state *cpu = thread->cpu;
    pare_attention attention = attention_of(cpu, thread->pass, l);
    bool by_head = divides_by_head(thread, layer);
    if (by_head) {
        make_own_heads(thread, layer, l);
    } else {
        cpu_multiply_stacked(thread, &layer->qkv, thread->normed, cpu->hidden_stride,
                             thread->pass->tokens, cpu->qkv, cpu->qkv_stride);
        cpu_barrier(thread);
        place_heads(thread, layer, l);
        cpu_barrier(thread);
    }
    cpu_look_ahead(thread, &layer->output);
    attend_tasks(thread, &attention, l, by_head);
    cpu_barrier(thread);
}
