/* The CPU backend's life: memory, cache, chunks. */
#include "run/cpu.h"

#include "base/checked.h"
#include "base/fail.h"
#include "base/memory.h"
#include "kernels/int8.h"
#include "kernels/key_cache.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

/* Cuts one region into 64-byte aligned pieces: the first round, with no base, adds up. */
typedef struct carver {
    char *base;
    size_t used;
    bool overflow;
} carver;

static void *carve(carver *c, int64_t count, size_t size)
{
    size_t bytes, end;
    void *piece = c->base ? c->base + c->used : NULL;
    if (count < 0 || !pare_mul_size((size_t)count, size, &bytes) ||
        !pare_add_size(c->used, bytes, &end) || !pare_align_size(end, CPU_LINE, &c->used)) {
        c->overflow = true;
        return NULL;
    }
    return piece;
}

typedef struct demand {
    size_t prepared[CPU_GROUP], prepared_single[CPU_GROUP], scratch;
} demand;

static void at_least(size_t *bytes, size_t wanted)
{
    if (*bytes < wanted)
        *bytes = wanted;
}

static size_t prepared_bytes(const cpu_state *cpu, const cpu_group *group, int regime, int p,
                             int64_t tokens)
{
    int64_t columns = group->matrices[0].columns;
    if (group->integers)
        return pare_int8_prepared_bytes(tokens, columns,
                                        cpu->decoder->input_rounding == PARE_INPUTS_LLM_INT8);
    return group->prepares[regime][p]->prepared_bytes(tokens, columns);
}

static void add_demand(const cpu_state *cpu, const cpu_group *group, demand *all)
{
    for (int regime = 0; regime < CPU_REGIMES; regime++) {
        int64_t columns = group->matrices[0].columns, tokens = cpu->chunk;
        if (regime == CPU_FEW && tokens > CPU_MANY - 1)
            tokens = CPU_MANY - 1;
        for (int p = 0; p < group->prepare_count[regime]; p++) {
            at_least(&all->prepared[p], prepared_bytes(cpu, group, regime, p, tokens));
            at_least(&all->prepared_single[p], prepared_bytes(cpu, group, regime, p, 1));
        }
        for (int m = 0; m < group->count; m++) {
            const cpu_matrix *matrix = &group->matrices[m];
            if (!matrix->matmul[regime]->scratch_bytes)
                continue;
            at_least(&all->scratch,
                     matrix->matmul[regime]->scratch_bytes(matrix->rows, columns, tokens));
            at_least(&all->scratch,
                     matrix->matmul[regime]->scratch_bytes(matrix->rows, columns, 1));
        }
    }
}

static demand find_demand(const cpu_state *cpu)
{
    demand all = {0};
    for (int64_t l = 0; l < cpu->decoder->layers; l++) {
        const cpu_layer *layer = &cpu->layers[l];
        add_demand(cpu, &layer->qkv, &all);
        add_demand(cpu, &layer->output, &all);
        add_demand(cpu, &layer->up, &all);
        add_demand(cpu, &layer->down, &all);
    }
    add_demand(cpu, &cpu->head, &all);
    return all;
}

static int64_t whole_groups(int64_t positions)
{
    return (positions + PARE_KEY_GROUP - 1) / PARE_KEY_GROUP * PARE_KEY_GROUP;
}

static size_t attention_scratch_bytes(const cpu_state *cpu, int64_t tokens)
{
    const pare_decoder *d = cpu->decoder;
    pare_attention largest = {
        .q_stride = cpu->qkv_stride,
        .out_stride = cpu->attention_stride,
        .cache_type = cpu->kv_type,
        .cache_row_bytes = cpu->kv_row_bytes,
        .capacity = cpu->capacity,
        .tokens = tokens,
        .past = cpu->context - tokens,
        .heads = d->heads,
        .kv_heads = d->kv_heads,
        .head_dim = d->head_dim,
        .window = d->sliding_window,
    };
    return cpu->kernels->attention_scratch_bytes(&largest);
}

/* Of a pass of one sequence, or of one token of each. */
static void *carve_attention(cpu_state *cpu, carver *c)
{
    int64_t tokens = cpu->chunk < cpu->context ? cpu->chunk : cpu->context,
            sequences = cpu->batch < cpu->chunk ? cpu->batch : cpu->chunk;
    size_t one = attention_scratch_bytes(cpu, tokens), all;
    if (cpu->batch == 1)
        return carve(c, 1, one);
    if (!pare_align_size(attention_scratch_bytes(cpu, 1), CPU_LINE, &cpu->attention_bytes) ||
        !pare_mul_size((size_t)sequences, cpu->attention_bytes, &all)) {
        c->overflow = true;
        return NULL;
    }
    return carve(c, 1, one > all ? one : all);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void carve_scratch(cpu_state *cpu, carver *c, const demand *sizes)
{
    const pare_decoder *d = cpu->decoder;
    int64_t half = d->position == PARE_POSITION_ROPE ? d->rope_dims / 2 : 0, chunk = cpu->chunk;
    cpu->x = carve(c, chunk * cpu->hidden_stride, sizeof(float));
    cpu->normed = carve(c, chunk * cpu->hidden_stride, sizeof(float));
    cpu->y = carve(c, chunk * cpu->hidden_stride, sizeof(float));
    cpu->qkv = carve(c, chunk * cpu->qkv_stride, sizeof(float));
    cpu->attended = carve(c, chunk * cpu->attention_stride, sizeof(float));
    cpu->mlp = carve(c, chunk * cpu->mlp_stride, sizeof(float));
    cpu->bounce = carve(c, cpu->bounce_rows * cpu->vocab_stride, sizeof(float));
    for (int p = 0; p < CPU_GROUP; p++)
        cpu->prepared[p] = carve(c, 1, sizes->prepared[p]);
    cpu->attention_scratch = carve_attention(cpu, c);
    cpu->tasks = carve(c, d->layers * CPU_TASK_STRIDE, sizeof *cpu->tasks);
    cpu->cosines = carve(c, cpu->context * half, sizeof(float));
    cpu->sines = carve(c, cpu->context * half, sizeof(float));
    for (int i = 0; i < pare_pool_threads(cpu->pool); i++) {
        carve(c, 1, CPU_LINE); /* keeps the threads' lines apart, also from a prefetcher of pairs */
        cpu_private *mine = &cpu->private[i];
        mine->x = carve(c, cpu->hidden_stride, sizeof(float));
        mine->normed = carve(c, cpu->hidden_stride, sizeof(float));
        for (int p = 0; p < CPU_GROUP; p++)
            mine->prepared[p] = carve(c, 1, sizes->prepared_single[p]);
        mine->scratch = carve(c, 1, sizes->scratch);
    }
    cpu->memory.scratch_bytes = (int64_t)c->used;
    cpu->hidden = carve(c, larger(cpu->context, cpu->batch) * cpu->hidden_stride, sizeof(float));
}

static pare_status allocate_scratch(cpu_state *cpu)
{
    demand sizes = find_demand(cpu);
    carver size = {0}, cut = {0};
    pare_status status;
    PARE_TRY(pare_allocate((size_t)pare_pool_threads(cpu->pool), sizeof *cpu->private, "threads",
                           &cpu->private));
    carve_scratch(cpu, &size, &sizes);
    if (size.overflow)
        return pare_fail(PARE_LIMIT, "a context of %lld tokens is too large",
                         (long long)cpu->context);
    PARE_TRY(pare_pages_allocate(size.used, "scratch memory", &cpu->scratch));
    cpu->scratch_bytes = size.used;
    cut.base = cpu->scratch;
    carve_scratch(cpu, &cut, &sizes);
fail:
    return status;
}

static pare_status allocate_cache(cpu_state *cpu)
{
    const pare_decoder *d = cpu->decoder;
    size_t row = pare_type_row_bytes(cpu->kv_type, d->head_dim);
    if (row == 0)
        return pare_fail(PARE_UNSUPPORTED,
                         "a KV cache of %s: heads of %lld are no multiple of its %lld",
                         pare_type_name(cpu->kv_type), (long long)d->head_dim,
                         (long long)pare_type_block(cpu->kv_type));
    int64_t rows;
    pare_status status;
    /* Rows of numbers start a cache line; those of blocks would grow by half or more, and lose what
     * they are for. */
    bool blocks = pare_type_block(cpu->kv_type) > 1;
    if (!pare_align_size(row, blocks ? 2 : CPU_LINE, &cpu->kv_row_bytes) ||
        !pare_mul_i64(d->layers * d->kv_heads, cpu->capacity, &rows) ||
        !pare_mul_size((size_t)rows, cpu->kv_row_bytes, &cpu->sequence_bytes) ||
        !pare_mul_size((size_t)cpu->batch, cpu->sequence_bytes, &cpu->kv_bytes))
        return pare_fail(PARE_LIMIT, "a context of %lld tokens is too large",
                         (long long)cpu->context);
    PARE_TRY(pare_pages_allocate(cpu->kv_bytes, "the KV cache", &cpu->keys));
    PARE_TRY(pare_pages_allocate(cpu->kv_bytes, "the KV cache", &cpu->values));
    cpu->memory.kv_bytes = 2 * (int64_t)cpu->kv_bytes;
fail:
    return status;
}

static void set_strides(cpu_state *cpu)
{
    const pare_decoder *d = cpu->decoder;
    cpu->hidden_stride = cpu_stride(d->hidden);
    cpu->qkv_stride = cpu_stride((d->heads + 2 * d->kv_heads) * d->head_dim);
    cpu->attention_stride = cpu_stride(d->heads * d->head_dim);
    cpu->up_offset = cpu_stride(d->mlp_hidden);
    cpu->mlp_stride = d->gated_mlp ? 2 * cpu->up_offset : cpu->up_offset;
    cpu->vocab_stride = cpu_stride(d->vocab);
}

/* ---- the backend's functions ---- */

static void cpu_free(void *state)
{
    cpu_state *cpu = state;
    if (!cpu)
        return;
    pare_pool_free(cpu->pool);
    pare_pages_free(cpu->packed, cpu->packed_bytes);
    pare_pages_free(cpu->keys, cpu->kv_bytes);
    pare_pages_free(cpu->values, cpu->kv_bytes);
    pare_pages_free(cpu->scratch, cpu->scratch_bytes);
    pare_arena_free(&cpu->arena);
    free(cpu->layers);
    free(cpu->private);
    free(cpu);
}

static pare_status check_readable(const pare_kernels *kernels, const pare_tensor *tensor)
{
    if (!tensor || kernels->decode_row[tensor->type])
        return PARE_OK;
    return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' is stored as %s, which cannot be read",
                     tensor->file, tensor->name, pare_type_name(tensor->type));
}

static pare_status cpu_create(const pare_model *model, const pare_session_options *options,
                              void **state)
{
    pare_isa isa;
    pare_status status;
    cpu_state *cpu = NULL;
    *state = NULL;
    PARE_TRY(pare_isa_from_name(options->isa, &isa));
    PARE_TRY(pare_allocate(1, sizeof *cpu, "a session", &cpu));
    cpu->model = model;
    cpu->decoder = &model->decoder;
    cpu->kernels = pare_kernels_get(isa);
    cpu->activations = options->activations;
    cpu->context = options->context;
    cpu->capacity = whole_groups(options->context);
    cpu->batch = larger(options->batch, 1);
    bool wide = model->decoder.input_rounding == PARE_INPUTS_LLM_INT8 ||
                model->decoder.input_rounding == PARE_INPUTS_ORT_DYNAMIC;
    cpu->chunk = wide ? CPU_WIDE_CHUNK : CPU_CHUNK;
    if (larger(cpu->context, cpu->batch) < cpu->chunk)
        cpu->chunk = larger(cpu->context, cpu->batch);
    cpu->bounce_rows = cpu->batch < CPU_BOUNCE        ? CPU_BOUNCE
                       : cpu->batch < CPU_BOUNCE_MOST ? cpu->batch
                                                      : CPU_BOUNCE_MOST;
    cpu->kv_type = options->kv_type;
    set_strides(cpu);
    if (model->decoder.head_dim > PARE_HEAD_DIM_MAX) {
        status = pare_fail(PARE_UNSUPPORTED, "%s: heads of %lld elements: at most %d are handled",
                           model->info.path, (long long)model->decoder.head_dim, PARE_HEAD_DIM_MAX);
        goto fail;
    }
    PARE_TRY(
        check_readable(cpu->kernels, model->token_embedding)); /* absent in a block by itself */
    PARE_TRY(check_readable(cpu->kernels, model->position_embedding));
    PARE_TRY(pare_pool_create(options->threads, &cpu->pool));
    PARE_TRY(cpu_prepare_weights(cpu));
    PARE_TRY(allocate_cache(cpu));
    PARE_TRY(allocate_scratch(cpu));
    *state = cpu;
    return PARE_OK;
fail:
    cpu_free(cpu);
    return status;
}

/* Cosines and sines up to position `end`, in double: at position 8191 an FP32 angle is off by
 * 2^-12. */
void cpu_extend_angles(cpu_state *cpu, int64_t end)
{
    const pare_decoder *d = cpu->decoder;
    if (d->position != PARE_POSITION_ROPE)
        return;
    int64_t half = d->rope_dims / 2;
    for (; cpu->angles < end; cpu->angles++)
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)cpu->angles * d->rope_frequencies[i];
            cpu->cosines[cpu->angles * half + i] = (float)(cos(angle) * d->rope_magnitude);
            cpu->sines[cpu->angles * half + i] = (float)(sin(angle) * d->rope_magnitude);
        }
}

static pare_status cpu_forward(void *state, const int32_t *ids, int64_t n, int64_t past)
{
    cpu_state *cpu = state;
    cpu_extend_angles(cpu, past + n);
    for (int64_t done = 0; done < n;) {
        int64_t chunk = n - done < cpu->chunk ? n - done : cpu->chunk;
        cpu_run_pass(&(cpu_pass){.cpu = cpu,
                                 .ids = ids + done,
                                 .tokens = chunk,
                                 .past = past + done,
                                 .sequence = cpu->sequence,
                                 .hidden = cpu->hidden + done * cpu->hidden_stride});
        done += chunk;
    }
    if (cpu->held < n)
        cpu->held = n;
    return PARE_OK;
}

static void cpu_select(void *state, int64_t sequence)
{
    ((cpu_state *)state)->sequence = sequence;
}

static pare_status cpu_forward_batch(void *state, const int32_t *ids, const int64_t *past)
{
    cpu_state *cpu = state;
    for (int64_t s = 0; s < cpu->batch; s++)
        cpu_extend_angles(cpu, past[s] + 1);
    for (int64_t done = 0; done < cpu->batch;) {
        int64_t chunk = cpu->batch - done < cpu->chunk ? cpu->batch - done : cpu->chunk;
        cpu_run_pass(&(cpu_pass){.cpu = cpu,
                                 .ids = ids + done,
                                 .tokens = chunk,
                                 .pasts = past + done,
                                 .sequence = done,
                                 .hidden = cpu->hidden + done * cpu->hidden_stride});
        done += chunk;
    }
    cpu->held = larger(cpu->held, cpu->batch);
    return PARE_OK;
}

static pare_status cpu_logits(void *state, int64_t first, int64_t count, float *logits)
{
    cpu_state *cpu = state;
    int64_t vocab = cpu->decoder->vocab;
    const float *hidden = cpu->hidden + first * cpu->hidden_stride;
    bool direct = vocab == cpu->vocab_stride && (uintptr_t)logits % CPU_LINE == 0;
    int64_t step = direct ? cpu->chunk : cpu->bounce_rows;
    for (int64_t done = 0; done < count;) {
        int64_t n = count - done < step ? count - done : step;
        if (direct) {
            cpu_head(cpu, hidden + done * cpu->hidden_stride, n, logits + done * vocab, vocab);
        } else {
            cpu_head(cpu, hidden + done * cpu->hidden_stride, n, cpu->bounce, cpu->vocab_stride);
            for (int64_t t = 0; t < n; t++)
                memcpy(logits + (done + t) * vocab, cpu->bounce + t * cpu->vocab_stride,
                       (size_t)vocab * sizeof(float));
        }
        done += n;
    }
    return PARE_OK;
}

static size_t cpu_cache_bytes(void *state, int64_t positions)
{
    const cpu_state *cpu = state;
    return 2 * (size_t)(cpu->decoder->layers * cpu->decoder->kv_heads * whole_groups(positions)) *
           cpu->kv_row_bytes;
}

/* The saved form: for each layer and head, the keys of all positions in whole groups, then as many
 * values. */
static void copy_cache(cpu_state *cpu, int64_t positions, char *saved, bool save)
{
    size_t bytes = (size_t)whole_groups(positions) * cpu->kv_row_bytes,
           plane = (size_t)cpu->capacity * cpu->kv_row_bytes,
           sequence = (size_t)cpu->sequence * cpu->sequence_bytes;
    int64_t planes = cpu->decoder->layers * cpu->decoder->kv_heads;
    for (int64_t p = 0; p < planes; p++)
        for (int side = 0; side < 2; side++, saved += bytes) {
            char *cache = (side ? cpu->values : cpu->keys) + sequence + (size_t)p * plane;
            if (save)
                memcpy(saved, cache, bytes);
            else
                memcpy(cache, saved, bytes);
        }
}

static pare_status cpu_cache_save(void *state, int64_t positions, void *to)
{
    copy_cache(state, positions, to, true);
    return PARE_OK;
}

static pare_status cpu_cache_load(void *state, int64_t positions, const void *from)
{
    copy_cache(state, positions, (char *)from, false);
    return PARE_OK;
}

static pare_session_memory cpu_memory(void *state)
{
    const cpu_state *cpu = state;
    pare_session_memory memory = cpu->memory;
    memory.scratch_bytes += cpu->held * cpu->hidden_stride * (int64_t)sizeof(float);
    return memory;
}

static const char *cpu_isa(void *state)
{
    return pare_isa_name(((const cpu_state *)state)->kernels->isa);
}

static int cpu_threads(void *state)
{
    return pare_pool_threads(((const cpu_state *)state)->pool);
}

static double outlier_share(void *state, int64_t layer)
{
    return cpu_outlier_share(state, layer);
}

const pare_backend_functions pare_backend_cpu = {
    .name = "cpu",
    .create = cpu_create,
    .free = cpu_free,
    .forward = cpu_forward,
    .logits = cpu_logits,
    .select = cpu_select,
    .forward_batch = cpu_forward_batch,
    .cache_bytes = cpu_cache_bytes,
    .cache_save = cpu_cache_save,
    .cache_load = cpu_cache_load,
    .memory = cpu_memory,
    .isa = cpu_isa,
    .threads = cpu_threads,
    .outlier_share = outlier_share,
};
