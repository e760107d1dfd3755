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
 * and what stands in [] has a barrier of its own behind it only if there are several tokens. With a
 * single token and KV heads that divide evenly among the threads, each has heads of its own, and
 * there is no barrier between q k v and the end of attention. */
#include "run/cpu_thread.h"

#include <string.h>

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
    cpu_barrier(thread);
    pass->tap(pass->tap_user, input, x, stride, pass->tokens, columns, thread->index,
              thread->count);
    cpu_barrier(thread);
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
            (const char *)positions->data + position_row * (size_t)cpu_position(thread->pass, t),
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

/* False: a tap ended the pass. */
static bool run_layer(cpu_thread *thread, const cpu_layer *layer, int64_t l)
{
    const cpu_state *cpu = thread->cpu;
    int64_t tokens = thread->pass->tokens;

    norm_own(thread, &layer->attention_norm);
    cpu_feed_normed(thread, &layer->qkv, l, PARE_BLOCK_QKV);
    cpu_token_barrier(thread);
    if (show(thread, PARE_BLOCK_QKV, thread->normed, cpu->hidden_stride,
             layer->qkv.matrices[0].columns))
        return false;
    cpu_attend(thread, layer, l);
    cpu_scale_shared(thread, &layer->output, cpu->attended, cpu->attention_stride);
    if (show(thread, PARE_BLOCK_OUTPUT, cpu->attended, cpu->attention_stride,
             layer->output.matrices[0].columns))
        return false;
    cpu_feed_shared(thread, &layer->output, l, PARE_BLOCK_OUTPUT, cpu->attended,
                    cpu->attention_stride);
    cpu_multiply_stacked(thread, &layer->output, cpu->attended, cpu->attention_stride, tokens,
                         cpu->y, cpu->hidden_stride);
    cpu_look_ahead(thread, &layer->up);
    cpu_barrier(thread);

    add_residual(thread);
    norm_own(thread, &layer->mlp_norm);
    cpu_feed_normed(thread, &layer->up, l, PARE_BLOCK_UP);
    cpu_token_barrier(thread);
    if (show(thread, PARE_BLOCK_UP, thread->normed, cpu->hidden_stride,
             layer->up.matrices[0].columns))
        return false;
    cpu_multiply_up(thread, &layer->up, thread->normed, tokens);
    cpu_look_ahead(thread, &layer->down);
    cpu_barrier(thread);
    cpu_scale_shared(thread, &layer->down, cpu->mlp, cpu->mlp_stride);
    if (show(thread, PARE_BLOCK_DOWN, cpu->mlp, cpu->mlp_stride, layer->down.matrices[0].columns))
        return false;
    cpu_feed_shared(thread, &layer->down, l, PARE_BLOCK_DOWN, cpu->mlp, cpu->mlp_stride);
    cpu_multiply_stacked(thread, &layer->down, cpu->mlp, cpu->mlp_stride, tokens, cpu->y,
                         cpu->hidden_stride);
    cpu_look_ahead(thread, l + 1 < cpu->decoder->layers ? &layer[1].qkv : &cpu->head);
    cpu_barrier(thread);
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
    cpu_prepare_own(&thread, &cpu->head, pass->hidden, cpu->hidden_stride, pass->tokens);
    if (cpu->head.prepare_count[thread.regime])
        cpu_token_barrier(&thread);
    cpu_multiply_stacked(&thread, &cpu->head, pass->hidden, cpu->hidden_stride, pass->tokens,
                         pass->logits, pass->stride);
}

void cpu_head(cpu_state *cpu, const float *hidden, int64_t n, float *logits, int64_t stride)
{
    cpu_head_pass pass = {
        .cpu = cpu, .hidden = hidden, .tokens = n, .stride = stride, .logits = logits};
    pare_pool_run(cpu->pool, head_share, &pass);
}
