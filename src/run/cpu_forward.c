/* The forward pass: one function that all threads run at once. Every thread walks all layers; in
 * each phase it takes its share, and a barrier separates phases that read what others wrote.
 *
 * A phase is one of two kinds. Matrix products share the rows of the weights. What is done per
 * token (norms, residual sums, preparing activations for the next product) shares the tokens; with
 * a single token there is nothing to share, and every thread does it for itself on a copy of its
 * own: that costs a microsecond of arithmetic and saves the barrier.
 *
 * Per layer:  [norm, prepare] | q k v | rotate, store | attention (| combine) | [prepare] | output
 * | [add, norm, prepare] | gate up, activation | [prepare] | down | [add ... where | is a barrier,
 * and what stands in [] has a barrier of its own behind it only if there are several tokens. */
#include "run/cpu.h"

#include <string.h>

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

static cpu_thread thread_view(const cpu_state *cpu, const cpu_pass *pass, int64_t tokens, int index,
                              int count)
{
    const cpu_private *mine = &cpu->private[index];
    bool single = tokens == 1;
    return (cpu_thread){
        .cpu = cpu,
        .pass = pass,
        .index = index,
        .count = count,
        .single = single,
        .own = single ? (pare_range){0, 1} : pare_share(tokens, 1, index, count),
        .regime = cpu_regime_of(tokens),
        .x = single ? mine->x : cpu->x,
        .normed = single ? mine->normed : cpu->normed,
        .prepared = single ? mine->prepared : cpu->prepared,
        .scratch = mine->scratch,
    };
}

static void barrier(const cpu_thread *thread)
{
    pare_pool_barrier(thread->cpu->pool);
}

static void token_barrier(const cpu_thread *thread)
{
    if (!thread->single)
        barrier(thread);
}

static void load_states(const cpu_thread *thread)
{
    const cpu_pass *pass = thread->pass;
    for (int64_t t = thread->own.first; t < thread->own.last; t++)
        memcpy(thread->x + t * thread->cpu->hidden_stride, pass->states + t * pass->states_stride,
               (size_t)thread->cpu->decoder->hidden * sizeof(float));
}

static void store_states(const cpu_thread *thread)
{
    const cpu_pass *pass = thread->pass;
    for (int64_t t = thread->own.first; t < thread->own.last; t++)
        memcpy(pass->states + t * pass->states_stride, thread->x + t * thread->cpu->hidden_stride,
               (size_t)thread->cpu->decoder->hidden * sizeof(float));
}

/* Shows the inputs of linear layers to the pass's tap. True: the pass ends here. */
static bool show(const cpu_thread *thread, pare_block_input input, const float *x, int64_t stride,
                 int64_t columns)
{
    const cpu_pass *pass = thread->pass;
    if (!pass->tap)
        return false;
    barrier(thread);
    pass->tap(pass->tap_user, input, x, stride, pass->tokens, columns, thread->index,
              thread->count);
    barrier(thread);
    return input == pass->last;
}

static void embed(const cpu_thread *thread)
{
    const cpu_state *cpu = thread->cpu;
    const pare_tensor *table = cpu->model->token_embedding,
                      *positions = cpu->model->position_embedding;
    int64_t hidden = cpu->decoder->hidden;
    size_t row = pare_type_row_bytes(table->type, hidden);
    for (int64_t t = thread->own.first; t < thread->own.last; t++) {
        float *x = thread->x + t * cpu->hidden_stride;
        cpu->kernels->decode_row[table->type](
            (const char *)table->data + row * (size_t)thread->pass->ids[t], x, hidden);
        if (cpu->decoder->position != PARE_POSITION_LEARNED)
            continue;
        size_t position_row = pare_type_row_bytes(positions->type, hidden);
        float *position = thread->normed + t * cpu->hidden_stride; /* free at this point */
        cpu->kernels->decode_row[positions->type](
            (const char *)positions->data + position_row * (size_t)(thread->pass->past + t),
            position, hidden);
        cpu->kernels->add(x, position, hidden);
    }
}

static void norm_row(const cpu_state *cpu, float *y, const float *x, const cpu_norm *norm)
{
    const pare_decoder *d = cpu->decoder;
    if (d->norm == PARE_NORM_RMS)
        cpu->kernels->rms_norm(y, x, norm->weight, d->hidden, d->norm_epsilon);
    else
        cpu->kernels->layer_norm(y, x, norm->weight, norm->bias, d->hidden, d->norm_epsilon);
}

/* x += y of the product before, where there was one. */
static void add_residual(const cpu_thread *thread)
{
    const cpu_state *cpu = thread->cpu;
    for (int64_t t = thread->own.first; t < thread->own.last; t++)
        cpu->kernels->add(thread->x + t * cpu->hidden_stride, cpu->y + t * cpu->hidden_stride,
                          cpu->decoder->hidden);
}

static void norm_own(const cpu_thread *thread, const cpu_norm *norm)
{
    const cpu_state *cpu = thread->cpu;
    for (int64_t t = thread->own.first; t < thread->own.last; t++)
        norm_row(cpu, thread->normed + t * cpu->hidden_stride, thread->x + t * cpu->hidden_stride,
                 norm);
}

/* The activations in every form that the group's matrices read. */
static void prepare_own(const cpu_thread *thread, const cpu_group *group, const float *x,
                        int64_t stride, int64_t tokens)
{
    for (int p = 0; p < group->prepare_count[thread->regime]; p++)
        if (thread->own.first < thread->own.last)
            group->prepares[thread->regime][p]->prepare(thread->prepared[p], x, stride, tokens,
                                                        group->matrices[0].columns,
                                                        thread->own.first, thread->own.last);
}

static cpu_inputs inputs_of(const cpu_thread *thread, const cpu_group *group, int64_t l,
                            pare_block_input input, float *x, int64_t stride)
{
    return (cpu_inputs){.x = x,
                        .stride = stride,
                        .tokens = thread->pass->tokens,
                        .columns = group->matrices[0].columns,
                        .own = thread->own,
                        .statistics = l * PARE_BLOCK_INPUTS + (int64_t)input,
                        .index = thread->index,
                        .count = thread->count};
}

static void prepare_codes(const cpu_thread *thread, const cpu_inputs *in)
{
    if (in->own.first < in->own.last)
        thread->cpu->kernels->int8->prepare(thread->prepared[0], &thread->rule, in->x, in->stride,
                                            in->tokens, in->columns, in->own.first, in->own.last);
}

/* What the group is to read of normed: the thread's own rows (several tokens) or its own copy
 * (one). Ready for all behind the next token_barrier. */
static void feed_normed(cpu_thread *thread, const cpu_group *group, int64_t l,
                        pare_block_input input)
{
    const cpu_state *cpu = thread->cpu;
    cpu_inputs in = inputs_of(thread, group, l, input, thread->normed, cpu->hidden_stride);
    in.complete = thread->single;
    if (group->rounded)
        thread->rule = cpu_round_rule(cpu, &in);
    if (group->integers) {
        prepare_codes(thread, &in);
        return;
    }
    if (group->rounded)
        cpu_round_tokens(&thread->rule, &in, in.own);
    prepare_own(thread, group, in.x, in.stride, in.tokens);
}

/* The same for rows that all threads read, ready on return: of a single token the first thread
 * changes the only copy. */
static void feed_shared(cpu_thread *thread, const cpu_group *group, int64_t l,
                        pare_block_input input, float *x, int64_t stride)
{
    const cpu_state *cpu = thread->cpu;
    cpu_inputs in = inputs_of(thread, group, l, input, x, stride);
    pare_range mine = thread->single && thread->index > 0 ? (pare_range){0, 0} : in.own;
    in.complete = true;
    if (group->rounded)
        thread->rule = cpu_round_rule(cpu, &in);
    if (group->integers) {
        prepare_codes(thread, &in);
        token_barrier(thread);
        return;
    }
    if (group->rounded) {
        cpu_round_tokens(&thread->rule, &in, mine);
        barrier(thread);
    }
    prepare_own(thread, group, x, stride, in.tokens);
    if (group->prepare_count[thread->regime])
        token_barrier(thread);
}

/* x *= factors, for rows that all threads read. */
static void scale_shared(const cpu_thread *thread, const cpu_group *group, float *x, int64_t stride)
{
    if (!group->input_factors)
        return;
    pare_range mine = thread->single && thread->index > 0 ? (pare_range){0, 0} : thread->own;
    for (int64_t t = mine.first; t < mine.last; t++)
        for (int64_t c = 0; c < group->matrices[0].columns; c++)
            x[t * stride + c] *= group->input_factors[c];
    barrier(thread);
}

static void multiply_rows(const cpu_thread *thread, const cpu_group *group, int m, pare_range rows,
                          const float *x, int64_t x_stride, int64_t tokens, float *y,
                          int64_t y_stride)
{
    const cpu_matrix *matrix = &group->matrices[m];
    cpu_regime regime = thread->regime;
    int p = group->prepare_of[regime][m];
    if (rows.first >= rows.last)
        return;
    matrix->matmul[regime]->multiply(
        y + group->offsets[m], y_stride, matrix->weights[regime], matrix->tensor->type,
        p < 0 ? (const void *)x : thread->prepared[p], x_stride, matrix->bias, matrix->rows,
        matrix->columns, tokens, rows.first, rows.last, thread->scratch);
    if (group->integers)
        thread->cpu->kernels->int8->correct(
            y + group->offsets[m], y_stride, matrix->weights[regime], thread->prepared[p],
            &thread->rule, matrix->row_sums, matrix->columns, tokens, rows.first, rows.last);
}

static int64_t common_step(const cpu_group *group, cpu_regime regime)
{
    int64_t step = CPU_SHARE;
    for (int m = 0; m < group->count; m++)
        while (step % group->matrices[m].matmul[regime]->row_step)
            step += CPU_SHARE;
    return step;
}

/* The first weights that this thread will read in the next product are asked for before the
 * barrier: memory works while the threads meet and prepare the next activations. One token only:
 * with more of them the time goes elsewhere. */
static void look_ahead(const cpu_thread *thread, const cpu_group *group)
{
    const cpu_matrix *matrix = &group->matrices[0];
    const pare_matmul *matmul = matrix->matmul[CPU_FEW];
    if (!thread->single || !matmul->packed_bytes)
        return;
    int64_t row =
        pare_share(matrix->rows, common_step(group, CPU_FEW), thread->index, thread->count).first;
    const char *weights = matrix->weights[CPU_FEW];
    size_t first = row ? matmul->packed_bytes(row, matrix->columns) : 0;
    for (size_t i = 0; i < CPU_AHEAD; i += CPU_LINE)
        __builtin_prefetch(weights + first + i, 0, 3);
}

/* The group as one matrix of all rows, cut into equal shares of whole steps. */
static void multiply_stacked(const cpu_thread *thread, const cpu_group *group, const float *x,
                             int64_t x_stride, int64_t tokens, float *y, int64_t y_stride)
{
    int64_t steps[CPU_GROUP], total = 0, before = 0;
    for (int m = 0; m < group->count; m++) {
        const cpu_matrix *matrix = &group->matrices[m];
        int64_t step = matrix->matmul[thread->regime]->row_step;
        total += steps[m] = (matrix->rows + step - 1) / step;
    }
    pare_range share = pare_share(total, 1, thread->index, thread->count);
    for (int m = 0; m < group->count; before += steps[m++]) {
        const cpu_matrix *matrix = &group->matrices[m];
        int64_t step = matrix->matmul[thread->regime]->row_step;
        int64_t first = share.first - before, last = share.last - before;
        pare_range rows = {first < 0 ? 0 : first * step,
                           last > steps[m] ? matrix->rows : last * step};
        if (rows.last > matrix->rows)
            rows.last = matrix->rows;
        multiply_rows(thread, group, m, rows, x, x_stride, tokens, y, y_stride);
    }
}

static void activate(const cpu_state *cpu, float *gate, const float *up, int64_t n)
{
    const pare_kernels *k = cpu->kernels;
    switch (cpu->decoder->activation) {
    case PARE_MLP_SILU:
        up ? k->silu_multiply(gate, gate, up, n) : k->silu(gate, gate, n);
        break;
    case PARE_MLP_GELU:
        up ? k->gelu_multiply(gate, gate, up, n) : k->gelu(gate, gate, n);
        break;
    case PARE_MLP_GELU_TANH:
        up ? k->gelu_tanh_multiply(gate, gate, up, n) : k->gelu_tanh(gate, gate, n);
        break;
    case PARE_MLP_RELU:
        for (int64_t i = 0; i < n; i++)
            gate[i] = (gate[i] > 0 ? gate[i] : 0) * (up ? up[i] : 1);
        break;
    }
}

/* Gate and up by the same rows, then the activation of these rows: no barrier in between. */
static void multiply_up(const cpu_thread *thread, const cpu_group *group, const float *x,
                        int64_t tokens)
{
    const cpu_state *cpu = thread->cpu;
    const pare_decoder *d = cpu->decoder;
    pare_range rows =
        pare_share(d->mlp_hidden, common_step(group, thread->regime), thread->index, thread->count);
    for (int m = 0; m < group->count; m++)
        multiply_rows(thread, group, m, rows, x, cpu->hidden_stride, tokens, cpu->mlp,
                      cpu->mlp_stride);
    for (int64_t t = 0; t < tokens && rows.first < rows.last; t++) {
        float *gate = cpu->mlp + t * cpu->mlp_stride + rows.first;
        activate(cpu, gate, d->gated_mlp ? gate + cpu->up_offset : NULL, rows.last - rows.first);
    }
}

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
        multiply_rows(thread, &layer->qkv, m, rows, thread->normed, cpu->hidden_stride, 1, cpu->qkv,
                      cpu->qkv_stride);
    }
    for (int part = 0; part < 3; part++)
        for (int64_t i = 0; i < (part == 0 ? each * group : each); i++)
            place_head(cpu, layer, l, thread->pass->past, firsts[part] + i, cpu->qkv);
}

/* With several tokens, tasks are taken as threads become free: late positions cost more than early
 * ones, and which thread does a task changes nothing in its result. */
static void attend(const cpu_thread *thread, const pare_attention *a, int64_t l, bool by_head)
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
        barrier(thread);
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

/* False: a tap ended the pass. */
static bool run_layer(cpu_thread *thread, const cpu_layer *layer, int64_t l)
{
    const cpu_state *cpu = thread->cpu;
    int64_t tokens = thread->pass->tokens;
    pare_attention attention = attention_of(cpu, thread->pass, l);

    norm_own(thread, &layer->attention_norm);
    feed_normed(thread, &layer->qkv, l, PARE_BLOCK_QKV);
    token_barrier(thread);
    if (show(thread, PARE_BLOCK_QKV, thread->normed, cpu->hidden_stride,
             layer->qkv.matrices[0].columns))
        return false;
    bool by_head = divides_by_head(thread, layer);
    if (by_head) {
        make_own_heads(thread, layer, l);
    } else {
        multiply_stacked(thread, &layer->qkv, thread->normed, cpu->hidden_stride, tokens, cpu->qkv,
                         cpu->qkv_stride);
        barrier(thread);
        place_heads(thread, layer, l);
        barrier(thread);
    }
    look_ahead(thread, &layer->output);
    attend(thread, &attention, l, by_head);
    barrier(thread);
    scale_shared(thread, &layer->output, cpu->attended, cpu->attention_stride);
    if (show(thread, PARE_BLOCK_OUTPUT, cpu->attended, cpu->attention_stride,
             layer->output.matrices[0].columns))
        return false;
    feed_shared(thread, &layer->output, l, PARE_BLOCK_OUTPUT, cpu->attended, cpu->attention_stride);
    multiply_stacked(thread, &layer->output, cpu->attended, cpu->attention_stride, tokens, cpu->y,
                     cpu->hidden_stride);
    look_ahead(thread, &layer->up);
    barrier(thread);

    add_residual(thread);
    norm_own(thread, &layer->mlp_norm);
    feed_normed(thread, &layer->up, l, PARE_BLOCK_UP);
    token_barrier(thread);
    if (show(thread, PARE_BLOCK_UP, thread->normed, cpu->hidden_stride,
             layer->up.matrices[0].columns))
        return false;
    multiply_up(thread, &layer->up, thread->normed, tokens);
    look_ahead(thread, &layer->down);
    barrier(thread);
    scale_shared(thread, &layer->down, cpu->mlp, cpu->mlp_stride);
    if (show(thread, PARE_BLOCK_DOWN, cpu->mlp, cpu->mlp_stride, layer->down.matrices[0].columns))
        return false;
    feed_shared(thread, &layer->down, l, PARE_BLOCK_DOWN, cpu->mlp, cpu->mlp_stride);
    multiply_stacked(thread, &layer->down, cpu->mlp, cpu->mlp_stride, tokens, cpu->y,
                     cpu->hidden_stride);
    look_ahead(thread, l + 1 < cpu->decoder->layers ? &layer[1].qkv : &cpu->head);
    barrier(thread);
    add_residual(thread);
    return true;
}

static void walk(void *argument, int index, int count)
{
    const cpu_pass *pass = argument;
    const cpu_state *cpu = pass->cpu;
    cpu_thread thread = thread_view(cpu, pass, pass->tokens, index, count);
    pass->states ? load_states(&thread) : embed(&thread);
    for (int64_t l = 0; l < cpu->decoder->layers; l++)
        if (!run_layer(&thread, &cpu->layers[l], l))
            return;
    if (thread.single && index > 0)
        return; /* every thread has the same token */
    if (pass->states) {
        store_states(&thread);
        return;
    }
    for (int64_t t = thread.own.first; t < thread.own.last; t++)
        norm_row(cpu, pass->hidden + t * cpu->hidden_stride, thread.x + t * cpu->hidden_stride,
                 &cpu->final_norm);
}

void cpu_run_pass(cpu_pass *pass)
{
    cpu_state *cpu = pass->cpu;
    for (int64_t l = 0; l < cpu->decoder->layers; l++)
        atomic_store_explicit(&cpu->tasks[l * CPU_TASK_STRIDE], 0, memory_order_relaxed);
    pare_pool_run(cpu->pool, walk, pass);
}

void cpu_forward_chunk(cpu_state *cpu, const int32_t *ids, int64_t n, int64_t past, float *hidden)
{
    cpu_run_pass(&(cpu_pass){.cpu = cpu, .ids = ids, .tokens = n, .past = past, .hidden = hidden});
}

typedef struct cpu_head_pass {
    const cpu_state *cpu;
    const float *hidden;
    int64_t tokens, stride;
    float *logits;
} cpu_head_pass;

static void head_share(void *argument, int index, int count)
{
    const cpu_head_pass *pass = argument;
    const cpu_state *cpu = pass->cpu;
    cpu_thread thread = thread_view(cpu, NULL, pass->tokens, index, count);
    prepare_own(&thread, &cpu->head, pass->hidden, cpu->hidden_stride, pass->tokens);
    if (cpu->head.prepare_count[thread.regime])
        token_barrier(&thread);
    multiply_stacked(&thread, &cpu->head, pass->hidden, cpu->hidden_stride, pass->tokens,
                     pass->logits, pass->stride);
}

void cpu_head(cpu_state *cpu, const float *hidden, int64_t n, float *logits, int64_t stride)
{
    cpu_head_pass pass = {
        .cpu = cpu, .hidden = hidden, .tokens = n, .stride = stride, .logits = logits};
    pare_pool_run(cpu->pool, head_share, &pass);
}
