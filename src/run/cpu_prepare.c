/* Weights: which function multiplies each matrix, in which layout, and the packing into it. */
#include "run/cpu.h"

#include "base/checked.h"
#include "base/fail.h"
#include "base/memory.h"
#include "quant/types.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    PACK_SLICE = 8 << 20
}; /* bytes of a source that are packed before its pages are given back */

static bool is_fp8(pare_type type)
{
    return type == PARE_TYPE_F8_E4M3 || type == PARE_TYPE_F8_E5M2 || type == PARE_TYPE_F8_E4M3_CH ||
           type == PARE_TYPE_F8_E5M2_CH;
}

static const pare_matmul *choose(const cpu_state *cpu, const cpu_group *group, pare_type type,
                                 cpu_regime regime)
{
    pare_operand operand = PARE_OPERAND_F32;
    if (group->integers)
        return cpu->kernels->int8->matmul;
    if (cpu->activations == PARE_ACTIVATIONS_FAST && !group->rounded) {
        /* One token of FP16 is as fast in FP32: memory is the limit. */
        if (type == PARE_TYPE_BF16)
            operand = PARE_OPERAND_BF16;
        else if (type == PARE_TYPE_F16)
            operand = regime == CPU_BATCH ? PARE_OPERAND_BF16 : PARE_OPERAND_F32;
        else if (is_fp8(type)) /* no integer codes: a product for batches only */
            operand = regime == CPU_BATCH ? PARE_OPERAND_Q8 : PARE_OPERAND_F32;
        else if (type != PARE_TYPE_F32)
            operand = PARE_OPERAND_Q8;
    }
    const pare_matmul *const *paths = cpu->kernels->matmul[type];
    /* nf4, fp4 and FP8 have no integer codes: with AVX-512 batches go by BF16 instead. */
    if (operand == PARE_OPERAND_Q8 && !paths[operand] && regime == CPU_BATCH)
        operand = PARE_OPERAND_BF16;
    return paths[operand] ? paths[operand] : paths[PARE_OPERAND_F32];
}

static pare_status to_f32(cpu_state *cpu, const pare_tensor *tensor, int64_t expected,
                          const float **values)
{
    *values = NULL;
    if (!tensor)
        return PARE_OK;
    int64_t n = pare_tensor_elements(tensor);
    if (n != expected)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' has %lld values, %lld were expected",
                         tensor->file, tensor->name, (long long)n, (long long)expected);
    if (!cpu->kernels->decode_row[tensor->type])
        return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' is stored as %s, which cannot be read",
                         tensor->file, tensor->name, pare_type_name(tensor->type));
    /* 64-byte aligned: the arena gives 16. */
    char *memory = pare_arena_allocate(&cpu->arena, (size_t)n * sizeof(float) + CPU_LINE);
    if (!memory)
        return PARE_OUT_OF_MEMORY;
    float *copy = (float *)(((uintptr_t)memory + CPU_LINE - 1) & ~(uintptr_t)(CPU_LINE - 1));
    cpu->kernels->decode_row[tensor->type](tensor->data, copy, n);
    cpu->memory.weights_bytes += n * (int64_t)sizeof(float);
    *values = copy;
    return PARE_OK;
}

/* A row's scale, of LLM.int8(), or that times the sum of its codes; false where a code is -128,
 * which integer products may not have. */
static bool row_factor(const int8_t *row, int64_t columns, bool llm, float *factor)
{
    int32_t codes = 0;
    int8_t least = 0;
    float scale;
    for (int64_t c = 0; c < columns; c++) {
        codes += row[c];
        least = row[c] < least ? row[c] : least;
    }
    memcpy(&scale, row + columns, sizeof scale);
    *factor = llm ? scale : scale * (float)codes;
    return least > -128;
}

static pare_status make_factors(cpu_state *cpu, const pare_tensor *tensor, const float **factors,
                                bool *usable)
{
    enum { SOME = 64 };
    const bool llm = cpu->decoder->input_rounding == PARE_INPUTS_LLM_INT8;
    const int64_t columns = pare_tensor_columns(tensor), rows = pare_tensor_rows(tensor);
    const size_t row_bytes = pare_tensor_row_bytes(tensor);
    float *made = pare_arena_allocate(&cpu->arena, (size_t)rows * sizeof *made);
    char *buffer = NULL;
    const void *stored;
    pare_status status;
    *factors = made;
    *usable = true;
    if (!made)
        return PARE_OUT_OF_MEMORY;
    PARE_TRY(pare_allocate(SOME, row_bytes, tensor->name, &buffer));
    for (int64_t r = 0; r < rows; r += SOME) {
        int64_t n = rows - r < SOME ? rows - r : SOME;
        PARE_TRY(pare_tensor_read(tensor, r, n, buffer, &stored));
        for (int64_t i = 0; i < n; i++)
            if (!row_factor((const int8_t *)stored + (size_t)i * row_bytes, columns, llm,
                            &made[r + i]))
                *usable = false;
    }
fail:
    free(buffer);
    return status;
}

/* All matrices of a group read one input, rounded once. */
static pare_status take_static(cpu_group *group, const pare_tensor *first,
                               const pare_tensor *tensor)
{
    if (first->input_scale != tensor->input_scale || first->input_zero != tensor->input_zero ||
        first->rounds_inputs != tensor->rounds_inputs)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: tensors '%s' and '%s' read the same activations, but the file rounds "
                         "these differently for each (input_scale, or one is not quantized), "
                         "which is not handled",
                         tensor->file, first->name, tensor->name);
    group->input_scale = tensor->input_scale;
    group->input_zero = tensor->input_zero;
    return PARE_OK;
}

/* Decides before matrices are added whether the group's inputs are rounded, and how its products
 * are made. A checkpoint's library rounds for all layers that it quantized, whatever they became
 * here. */
static pare_status start_group(cpu_state *cpu, cpu_group *group, const pare_tensor *const *tensors)
{
    pare_status status = PARE_OK;
    if (cpu->decoder->input_rounding == PARE_INPUTS_EXACT)
        return PARE_OK;
    /* LLM.int8() in integers always: rounded twice on the way, its sums would be other numbers. */
    group->integers = (cpu->activations == PARE_ACTIVATIONS_FAST ||
                       cpu->decoder->input_rounding == PARE_INPUTS_LLM_INT8) &&
                      cpu_rounds_to_integers(cpu->decoder->input_rounding);
    const pare_tensor *first = NULL;
    for (int m = 0; m < CPU_GROUP && status == PARE_OK; m++) {
        if (!tensors[m])
            continue;
        bool bytes = tensors[m]->type == PARE_TYPE_I8_CH, usable = bytes;
        first = first ? first : tensors[m];
        PARE_TRY(take_static(group, first, tensors[m]));
        group->rounded =
            group->rounded || (cpu->model->info.checkpoint ? tensors[m]->rounds_inputs : bytes);
        if (group->integers && bytes)
            status = make_factors(cpu, tensors[m], &group->matrices[m].factors, &usable);
        group->integers = group->integers && usable;
    }
fail:
    return status;
}

/* Adds a matrix to the group; its output starts at the next aligned place, or right behind where
 * `offset` says so. */
static pare_status group_add(cpu_state *cpu, cpu_group *group, const pare_tensor *tensor,
                             const pare_tensor *bias, int64_t rows, int64_t columns, int64_t offset)
{
    if (!tensor)
        return pare_fail(PARE_FORMAT, "%s: a weight matrix of %lld x %lld is missing",
                         cpu->model->info.path, (long long)rows, (long long)columns);
    if (pare_tensor_rows(tensor) != rows || pare_tensor_columns(tensor) != columns)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' is %lld x %lld, %lld x %lld was expected",
                         tensor->file, tensor->name, (long long)pare_tensor_rows(tensor),
                         (long long)pare_tensor_columns(tensor), (long long)rows,
                         (long long)columns);
    cpu_matrix *matrix = &group->matrices[group->count];
    *matrix = (cpu_matrix){
        .tensor = tensor, .rows = rows, .columns = columns, .factors = matrix->factors};
    for (int regime = 0; regime < CPU_REGIMES; regime++) {
        matrix->matmul[regime] = choose(cpu, group, tensor->type, (cpu_regime)regime);
        if (!matrix->matmul[regime])
            return pare_fail(PARE_UNSUPPORTED,
                             "%s: tensor '%s' is stored as %s, which no kernel multiplies",
                             tensor->file, tensor->name, pare_type_name(tensor->type));
    }
    group->offsets[group->count++] = offset;
    return to_f32(cpu, bias, rows, &matrix->bias);
}

/* Matrices whose activations are prepared by the same function read one prepared copy. */
static void group_finish(cpu_group *group)
{
    for (int regime = 0; regime < CPU_REGIMES; regime++) {
        const pare_matmul **prepares = group->prepares[regime];
        for (int m = 0; m < group->count; m++) {
            const pare_matmul *matmul = group->matrices[m].matmul[regime];
            int found = -1;
            if (matmul->prepared_bytes) {
                for (found = 0; found < group->prepare_count[regime]; found++)
                    if (prepares[found]->prepare == matmul->prepare &&
                        prepares[found]->prepared_bytes == matmul->prepared_bytes)
                        break;
                if (found == group->prepare_count[regime])
                    prepares[group->prepare_count[regime]++] = matmul;
            }
            group->prepare_of[regime][m] = found;
        }
    }
}

/* AWQ's scales that could not be folded into the layer before: inputs are divided by them. */
static pare_status input_factors(cpu_state *cpu, cpu_group *group, const pare_tensor *scale,
                                 int64_t columns)
{
    pare_status status = to_f32(cpu, scale, columns, &group->input_factors);
    for (int64_t c = 0; group->input_factors && c < columns && status == PARE_OK; c++) {
        float *factor = (float *)group->input_factors + c;
        *factor = 1 / *factor;
        if (!isfinite(*factor) || *factor == 0)
            return pare_fail(PARE_FORMAT, "%s: tensor '%s', element %lld cannot be divided by",
                             scale->file, scale->name, (long long)c);
    }
    return status;
}

static pare_status describe_attention(cpu_state *cpu, cpu_layer *to, const pare_layer *from)
{
    const pare_decoder *d = cpu->decoder;
    int64_t q = d->heads * d->head_dim, kv = d->kv_heads * d->head_dim;
    pare_status status;
    const pare_tensor *parts[CPU_GROUP] = {from->qkv ? from->qkv : from->q, from->k, from->v};
    PARE_TRY(start_group(cpu, &to->qkv, parts));
    PARE_TRY(start_group(cpu, &to->output, (const pare_tensor *[CPU_GROUP]){from->output}));
    PARE_TRY(input_factors(cpu, &to->output, from->output_scale, q));
    if (from->qkv) {
        PARE_TRY(group_add(cpu, &to->qkv, from->qkv, from->qkv_bias, q + 2 * kv, d->hidden, 0));
    } else {
        PARE_TRY(group_add(cpu, &to->qkv, from->q, from->q_bias, q, d->hidden, 0));
        PARE_TRY(group_add(cpu, &to->qkv, from->k, from->k_bias, kv, d->hidden, q));
        PARE_TRY(group_add(cpu, &to->qkv, from->v, from->v_bias, kv, d->hidden, q + kv));
    }
    PARE_TRY(group_add(cpu, &to->output, from->output, from->output_bias, d->hidden, q, 0));
    PARE_TRY(to_f32(cpu, from->q_norm, d->head_dim, &to->q_norm));
    PARE_TRY(to_f32(cpu, from->k_norm, d->head_dim, &to->k_norm));
    group_finish(&to->qkv);
    group_finish(&to->output);
fail:
    return status;
}

static pare_status describe_layer(cpu_state *cpu, cpu_layer *to, const pare_layer *from)
{
    const pare_decoder *d = cpu->decoder;
    pare_status status;
    PARE_TRY(describe_attention(cpu, to, from));
    const pare_tensor *gate = d->gated_mlp ? from->gate : from->up,
                      *up = d->gated_mlp ? from->up : NULL;
    to->up.side_by_side = true;
    PARE_TRY(start_group(cpu, &to->up, (const pare_tensor *[CPU_GROUP]){gate, up}));
    PARE_TRY(start_group(cpu, &to->down, (const pare_tensor *[CPU_GROUP]){from->down}));
    PARE_TRY(input_factors(cpu, &to->down, from->down_scale, d->mlp_hidden));
    if (d->gated_mlp)
        PARE_TRY(group_add(cpu, &to->up, from->gate, from->gate_bias, d->mlp_hidden, d->hidden, 0));
    PARE_TRY(group_add(cpu, &to->up, from->up, from->up_bias, d->mlp_hidden, d->hidden,
                       d->gated_mlp ? cpu->up_offset : 0));
    PARE_TRY(group_add(cpu, &to->down, from->down, from->down_bias, d->hidden, d->mlp_hidden, 0));
    group_finish(&to->up);
    group_finish(&to->down);
    PARE_TRY(to_f32(cpu, from->attention_norm, d->hidden, &to->attention_norm.weight));
    PARE_TRY(to_f32(cpu, from->attention_norm_bias, d->hidden, &to->attention_norm.bias));
    PARE_TRY(to_f32(cpu, from->mlp_norm, d->hidden, &to->mlp_norm.weight));
    PARE_TRY(to_f32(cpu, from->mlp_norm_bias, d->hidden, &to->mlp_norm.bias));
    if (!to->attention_norm.weight || !to->mlp_norm.weight)
        return pare_fail(PARE_FORMAT, "%s: a layer has no norm weights", cpu->model->info.path);
fail:
    return status;
}

/* ---- packing ---- */

static bool same_copy(const pare_matmul *a, const pare_matmul *b)
{
    return a == b || strcmp(a->layout, b->layout) == 0;
}

/* Goes over every matrix and copy: with packed NULL it adds up the bytes, otherwise it sets the
 * addresses. */
static pare_status place(cpu_state *cpu, cpu_group *group, char *packed, size_t *offset)
{
    for (int m = 0; m < group->count; m++) {
        cpu_matrix *matrix = &group->matrices[m];
        for (int regime = 0; regime < CPU_REGIMES; regime++) {
            const pare_matmul *matmul = matrix->matmul[regime];
            if (regime == CPU_BATCH && same_copy(matmul, matrix->matmul[CPU_FEW])) {
                matrix->weights[regime] = matrix->weights[CPU_FEW];
                continue;
            }
            if (!matmul->packed_bytes && !matrix->tensor->source) {
                matrix->weights[regime] = matrix->tensor->data;
                if (!packed)
                    cpu->memory.weights_bytes += (int64_t)matrix->tensor->bytes;
                continue;
            }
            if (packed)
                matrix->weights[regime] = packed + *offset;
            size_t bytes = matmul->packed_bytes
                               ? matmul->packed_bytes(matrix->rows, matrix->columns)
                               : matrix->tensor->bytes,
                   end;
            if (!pare_add_size(*offset, bytes, &end) || !pare_align_size(end, CPU_LINE, offset))
                return pare_fail_memory(SIZE_MAX, "packed weights");
        }
    }
    return PARE_OK;
}

static pare_status for_each_group(cpu_state *cpu, char *packed, size_t *offset)
{
    pare_status status = PARE_OK;
    *offset = 0;
    for (int64_t l = 0; l < cpu->decoder->layers; l++) {
        cpu_layer *layer = &cpu->layers[l];
        cpu_group *groups[] = {&layer->qkv, &layer->output, &layer->up, &layer->down};
        for (int g = 0; g < 4; g++)
            PARE_TRY(place(cpu, groups[g], packed, offset));
    }
    PARE_TRY(place(cpu, &cpu->head, packed, offset));
fail:
    return status;
}

/* A number of rows that is whole steps for every function of the group. */
static int64_t common_step(const cpu_group *group)
{
    int64_t step = CPU_SHARE;
    for (int m = 0; m < group->count; m++)
        for (int regime = 0; regime < CPU_REGIMES; regime++)
            while (step % group->matrices[m].matmul[regime]->row_step)
                step += CPU_SHARE;
    return step;
}

typedef struct pack_job {
    const cpu_matrix *matrix;
    const pare_int8 *unscaled; /* NULL: rows keep their scales */
    int64_t step, first, last; /* rows */
    char *buffer;              /* for the slice's rows, where they have to be made */
    atomic_bool failed;
} pack_job;

/* The copy of one regime, as the file would have it or packed. Rows first.. of the matrix are a
 * matrix of their own for the packing: a layout is a run of panels. */
static void pack_rows(const pack_job *job, cpu_regime regime, const void *rows, int64_t first,
                      int64_t count)
{
    const cpu_matrix *matrix = job->matrix;
    const pare_matmul *matmul = matrix->matmul[regime];
    char *to = (char *)matrix->weights[regime];
    size_t row_bytes = pare_tensor_row_bytes(matrix->tensor);
    if (!matmul->packed_bytes) {
        if (matrix->tensor->source)
            memcpy(to + (size_t)first * row_bytes, rows, (size_t)count * row_bytes);
        return;
    }
    to += first ? matmul->packed_bytes(first, matrix->columns) : 0;
    matmul->pack(to, rows, matrix->tensor->type, count, matrix->columns, 0, count);
    if (job->unscaled)
        job->unscaled->unscale(to, count, matrix->columns);
}

static void pack_share(void *argument, int index, int count)
{
    pack_job *job = argument;
    const cpu_matrix *matrix = job->matrix;
    pare_range rows = pare_share(job->last - job->first, job->step, index, count);
    int64_t first = job->first + rows.first, n = rows.last - rows.first;
    char *buffer = job->buffer;
    const void *stored;
    if (n <= 0)
        return;
    if (buffer)
        buffer += (size_t)rows.first * pare_tensor_row_bytes(matrix->tensor);
    if (pare_tensor_read(matrix->tensor, first, n, buffer, &stored) != PARE_OK) {
        job->failed = true;
        return;
    }
    for (int regime = 0; regime < CPU_REGIMES; regime++)
        if (regime == CPU_FEW || matrix->weights[CPU_BATCH] != matrix->weights[CPU_FEW])
            pack_rows(job, (cpu_regime)regime, stored, first, n);
}

static bool used_as_mapped(const cpu_matrix *matrix)
{
    return !matrix->tensor->source &&
           (!matrix->matmul[CPU_FEW]->packed_bytes || !matrix->matmul[CPU_BATCH]->packed_bytes);
}

/* In slices, so that no more than a slice is in memory twice: the packed copy replaces the mapped
 * one, whose pages are given back. */
static pare_status pack_matrix(cpu_state *cpu, const cpu_group *group, const cpu_matrix *matrix)
{
    const int64_t step = common_step(group);
    const bool sums = group->integers && cpu->decoder->input_rounding == PARE_INPUTS_LLM_INT8;
    size_t row_bytes = pare_tensor_row_bytes(matrix->tensor);
    int64_t slice = PACK_SLICE / (int64_t)(row_bytes + 1) / step * step;
    pack_job job = {.matrix = matrix, .unscaled = sums ? cpu->kernels->int8 : NULL, .step = step};
    pare_status status = PARE_OK;
    slice = slice < step ? step : slice;
    if (matrix->tensor->source)
        PARE_TRY(pare_pages_allocate((size_t)slice * row_bytes, "rows of weights", &job.buffer));
    for (; job.first < matrix->rows; job.first = job.last) {
        job.last = job.first + slice < matrix->rows ? job.first + slice : matrix->rows;
        pare_pool_run(cpu->pool, pack_share, &job);
        if (job.failed) {
            status = pare_fail_memory((size_t)slice * row_bytes, matrix->tensor->name);
            break;
        }
        if (!used_as_mapped(matrix))
            pare_tensor_release(matrix->tensor, job.first, job.last - job.first);
    }
fail:
    pare_pages_free(job.buffer, (size_t)slice * row_bytes);
    return status;
}

static pare_status pack_group(cpu_state *cpu, const cpu_group *group)
{
    pare_status status = PARE_OK;
    for (int m = 0; m < group->count && status == PARE_OK; m++)
        status = pack_matrix(cpu, group, &group->matrices[m]);
    return status;
}

pare_status cpu_pack_weights(cpu_state *cpu)
{
    pare_status status = PARE_OK;
    for (int64_t l = 0; l < cpu->decoder->layers; l++) {
        cpu_layer *layer = &cpu->layers[l];
        PARE_TRY(pack_group(cpu, &layer->qkv));
        PARE_TRY(pack_group(cpu, &layer->output));
        PARE_TRY(pack_group(cpu, &layer->up));
        PARE_TRY(pack_group(cpu, &layer->down));
    }
    status = pack_group(cpu, &cpu->head);
fail:
    return status;
}

static pare_status pack(cpu_state *cpu)
{
    pare_status status;
    size_t offset;
    PARE_TRY(for_each_group(cpu, NULL, &cpu->packed_bytes));
    if (cpu->packed_bytes) {
        PARE_TRY(pare_pages_allocate(cpu->packed_bytes, "packed weights", &cpu->packed));
        PARE_TRY(for_each_group(cpu, cpu->packed, &offset));
    }
    PARE_TRY(cpu_pack_weights(cpu));
    cpu->memory.weights_bytes += (int64_t)cpu->packed_bytes;
fail:
    return status;
}

/* The embedding's rows are looked up as stored. Where the head is tied and used as stored it is
 * counted already; where it is tied and packed, only the rows that are looked up become resident.
 */
static int64_t embedding_bytes(const cpu_state *cpu)
{
    const pare_model *model = cpu->model;
    int64_t bytes = model->position_embedding ? (int64_t)model->position_embedding->bytes : 0;
    if (model->head != model->token_embedding)
        bytes += (int64_t)model->token_embedding->bytes;
    return bytes;
}

pare_status cpu_prepare_weights(cpu_state *cpu)
{
    const pare_model *model = cpu->model;
    const pare_decoder *d = cpu->decoder;
    pare_status status;
    PARE_TRY(cpu_prepare_statistics(cpu));
    PARE_TRY(pare_allocate((size_t)d->layers, sizeof *cpu->layers, "layers", &cpu->layers));
    for (int64_t l = 0; l < d->layers; l++)
        PARE_TRY(describe_layer(cpu, &cpu->layers[l], &model->layers[l]));
    if (!model->head) /* a block by itself */
        return pack(cpu);
    PARE_TRY(to_f32(cpu, model->final_norm, d->hidden, &cpu->final_norm.weight));
    PARE_TRY(to_f32(cpu, model->final_norm_bias, d->hidden, &cpu->final_norm.bias));
    if (!cpu->final_norm.weight)
        return pare_fail(PARE_FORMAT, "%s: the final norm is missing", model->info.path);
    PARE_TRY(group_add(cpu, &cpu->head, model->head, NULL, d->vocab, d->hidden, 0));
    group_finish(&cpu->head);
    PARE_TRY(pack(cpu));
    cpu->memory.decode_bytes = cpu->memory.weights_bytes;
    cpu->memory.weights_bytes += embedding_bytes(cpu);
fail:
    return status;
}
