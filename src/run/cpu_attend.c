/* The attention of a layer in the forward pass: heads of q, k, v, the cache, and who computes what.
 */
#include "run/cpu_thread.h"

#include "kernels/key_cache.h"

/* One head of token t: q is rotated in place, k rotated and stored, v stored. */
static void place_head(const cpu_pass *pass, const cpu_layer *layer, int64_t l, int64_t t,
                       int64_t unit)
{
    const cpu_state *cpu = pass->cpu;
    const pare_decoder *d = cpu->decoder;
    const pare_kernels *k = cpu->kernels;
    int64_t position = cpu_position(pass, t);
    float *head = cpu->qkv + t * cpu->qkv_stride + unit * d->head_dim;
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
    size_t plane = (size_t)cpu_sequence(pass, t) * cpu->sequence_bytes +
                   (size_t)((l * d->kv_heads + kv_head) * cpu->capacity) * cpu->kv_row_bytes;
    if (is_v) {
        k->store_cache(cpu->values + plane + (size_t)position * cpu->kv_row_bytes, head,
                       d->head_dim, cpu->kv_type);
        return;
    }
    _Alignas(CPU_LINE) char row[PARE_HEAD_DIM_MAX * sizeof(float)];
    k->store_cache(row, head, d->head_dim, cpu->kv_type);
    pare_key_store(cpu->keys + plane, cpu->kv_row_bytes, position, row, d->head_dim, cpu->kv_type);
}

static void place_heads(const cpu_thread *thread, const cpu_layer *layer, int64_t l)
{
    const pare_decoder *d = thread->cpu->decoder;
    int64_t units = d->heads + 2 * d->kv_heads;
    pare_range share = pare_share(thread->pass->tokens * units, 1, thread->index, thread->count);
    for (int64_t i = share.first; i < share.last; i++)
        place_head(thread->pass, layer, l, i / units, i % units);
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
            place_head(thread->pass, layer, l, 0, firsts[part] + i);
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

/* All tokens of a sequence, from t = 0; or, of several sequences, the one token t. */
static pare_attention attention_of(const cpu_pass *pass, int64_t l, int64_t t)
{
    const cpu_state *cpu = pass->cpu;
    const pare_decoder *d = cpu->decoder;
    size_t layer = (size_t)cpu_sequence(pass, t) * cpu->sequence_bytes +
                   (size_t)(l * d->kv_heads * cpu->capacity) * cpu->kv_row_bytes;
    return (pare_attention){
        .q = cpu->qkv + t * cpu->qkv_stride,
        .out = cpu->attended + t * cpu->attention_stride,
        .q_stride = cpu->qkv_stride,
        .out_stride = cpu->attention_stride,
        .keys = cpu->keys + layer,
        .values = cpu->values + layer,
        .cache_type = cpu->kv_type,
        .cache_row_bytes = cpu->kv_row_bytes,
        .capacity = cpu->capacity,
        .tokens = pass->pasts ? 1 : pass->tokens,
        .past = cpu_position(pass, t),
        .heads = d->heads,
        .kv_heads = d->kv_heads,
        .head_dim = d->head_dim,
        .window = d->sliding_window,
        .scale = d->attention_scale[l],
    };
}

/* The thread's share of all sequences' tasks (or of what finishes them), which stand one after the
 * other. */
static void share_sequences(const cpu_thread *thread, int64_t l, bool finish)
{
    const cpu_state *cpu = thread->cpu;
    const pare_kernels *k = cpu->kernels;
    int64_t (*count_tasks)(const pare_attention *) =
        finish ? k->attention_finish_tasks : k->attention_tasks;
    int64_t total = 0, before = 0;
    for (int64_t t = 0; t < thread->pass->tokens; t++) {
        pare_attention a = attention_of(thread->pass, l, t);
        total += count_tasks(&a);
    }
    pare_range share = pare_share(total, 1, thread->index, thread->count);
    for (int64_t t = 0; t < thread->pass->tokens && before < share.last; t++) {
        pare_attention a = attention_of(thread->pass, l, t);
        int64_t tasks = count_tasks(&a), first = share.first - before, last = share.last - before;
        char *scratch = cpu->attention_scratch + (size_t)t * cpu->attention_bytes;
        before += tasks;
        first = first > 0 ? first : 0;
        last = last < tasks ? last : tasks;
        if (first < last)
            (finish ? k->attention_finish : k->attention)(&a, first, last, scratch);
    }
}

static bool any_finish(const cpu_thread *thread, int64_t l)
{
    for (int64_t t = 0; t < thread->pass->tokens; t++) {
        pare_attention a = attention_of(thread->pass, l, t);
        if (thread->cpu->kernels->attention_finish_tasks(&a))
            return true;
    }
    return false;
}

static void attend_sequences(const cpu_thread *thread, int64_t l)
{
    share_sequences(thread, l, false);
    if (!any_finish(thread, l))
        return;
    cpu_barrier(thread);
    share_sequences(thread, l, true);
}

void cpu_attend(const cpu_thread *thread, const cpu_layer *layer, int64_t l)
{
    const cpu_state *cpu = thread->cpu;
    pare_attention attention = attention_of(thread->pass, l, 0);
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
    if (thread->pass->pasts && !thread->single)
        attend_sequences(thread, l);
    else
        attend_tasks(thread, &attention, l, by_head);
    cpu_barrier(thread);
}
