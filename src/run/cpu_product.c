/* Matrix products of the forward pass, and the forms in which they read their inputs. */
#include "run/cpu_thread.h"

void cpu_prepare_own(const cpu_thread *thread, const cpu_group *group, const float *x,
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
                        .count = thread->count,
                        .scale = group->input_scale,
                        .zero = group->input_zero};
}

static void prepare_codes(const cpu_thread *thread, const cpu_inputs *in)
{
    if (in->own.first < in->own.last)
        thread->cpu->kernels->int8->prepare(thread->prepared[0], &thread->rule, in->x, in->stride,
                                            in->tokens, in->columns, in->own.first, in->own.last);
}

void cpu_feed_normed(cpu_thread *thread, const cpu_group *group, int64_t l, pare_block_input input)
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
        cpu_round_tokens(cpu, &thread->rule, &in, in.own);
    cpu_prepare_own(thread, group, in.x, in.stride, in.tokens);
}

void cpu_feed_shared(cpu_thread *thread, const cpu_group *group, int64_t l, pare_block_input input,
                     float *x, int64_t stride)
{
    const cpu_state *cpu = thread->cpu;
    cpu_inputs in = inputs_of(thread, group, l, input, x, stride);
    pare_range mine = thread->single && thread->index > 0 ? (pare_range){0, 0} : in.own;
    in.complete = true;
    if (group->rounded)
        thread->rule = cpu_round_rule(cpu, &in);
    if (group->integers) {
        prepare_codes(thread, &in);
        cpu_token_barrier(thread);
        return;
    }
    if (group->rounded) {
        cpu_round_tokens(cpu, &thread->rule, &in, mine);
        cpu_barrier(thread);
    }
    cpu_prepare_own(thread, group, x, stride, in.tokens);
    if (group->prepare_count[thread->regime])
        cpu_token_barrier(thread);
}

void cpu_scale_shared(const cpu_thread *thread, const cpu_group *group, float *x, int64_t stride)
{
    if (!group->input_factors)
        return;
    pare_range mine = thread->single && thread->index > 0 ? (pare_range){0, 0} : thread->own;
    for (int64_t t = mine.first; t < mine.last; t++)
        for (int64_t c = 0; c < group->matrices[0].columns; c++)
            x[t * stride + c] *= group->input_factors[c];
    cpu_barrier(thread);
}

void cpu_multiply_rows(const cpu_thread *thread, const cpu_group *group, int m, pare_range rows,
                       const float *x, int64_t x_stride, int64_t tokens, float *y, int64_t y_stride)
{
    const cpu_matrix *matrix = &group->matrices[m];
    cpu_regime regime = thread->regime;
    int p = group->prepare_of[regime][m];
    const bool late_bias = group->integers && thread->rule.kind == PARE_INT8_LLM;
    if (rows.first >= rows.last)
        return;
    matrix->matmul[regime]->multiply(
        y + group->offsets[m], y_stride, matrix->weights[regime], matrix->tensor->type,
        p < 0 ? (const void *)x : thread->prepared[p], x_stride, late_bias ? NULL : matrix->bias,
        matrix->rows, matrix->columns, tokens, rows.first, rows.last, thread->scratch);
    if (group->integers)
        thread->cpu->kernels->int8->correct(y + group->offsets[m], y_stride,
                                            matrix->weights[regime], thread->prepared[p],
                                            &thread->rule, matrix->factors, matrix->bias,
                                            matrix->columns, tokens, rows.first, rows.last);
}

static int64_t common_step(const cpu_group *group, cpu_regime regime)
{
    int64_t step = CPU_SHARE;
    for (int m = 0; m < group->count; m++)
        while (step % group->matrices[m].matmul[regime]->row_step)
            step += CPU_SHARE;
    return step;
}

void cpu_look_ahead(const cpu_thread *thread, const cpu_group *group)
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

void cpu_multiply_stacked(const cpu_thread *thread, const cpu_group *group, const float *x,
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
        cpu_multiply_rows(thread, group, m, rows, x, x_stride, tokens, y, y_stride);
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

void cpu_multiply_up(const cpu_thread *thread, const cpu_group *group, const float *x,
                     int64_t tokens)
{
    const cpu_state *cpu = thread->cpu;
    const pare_decoder *d = cpu->decoder;
    pare_range rows =
        pare_share(d->mlp_hidden, common_step(group, thread->regime), thread->index, thread->count);
    for (int m = 0; m < group->count; m++)
        cpu_multiply_rows(thread, group, m, rows, x, cpu->hidden_stride, tokens, cpu->mlp,
                          cpu->mlp_stride);
    for (int64_t t = 0; t < tokens && rows.first < rows.last; t++) {
        float *gate = cpu->mlp + t * cpu->mlp_stride + rows.first;
        activate(cpu, gate, d->gated_mlp ? gate + cpu->up_offset : NULL, rows.last - rows.first);
    }
}
