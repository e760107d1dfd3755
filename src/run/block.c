#include "run/block.h"

#include "base/fail.h"
#include "base/memory.h"
#include "run/cpu.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct pare_block {
    pare_model model; /* of one layer, without embedding and head */
    pare_layer layer;
    float scale; /* attention_scale of this layer */
    pare_tensor tensors[PARE_BLOCK_MATRICES];
    pare_block_matrix matrices[PARE_BLOCK_MATRICES];
    int count;
    pare_pool *pool;
    cpu_state *cpu; /* NULL: its weights are all there is. The pool is its own otherwise. */
};

static pare_status decode_rows(const pare_kernels *kernels, const pare_tensor *source,
                               pare_range rows, float *weights)
{
    enum { SOME = 64 };
    int64_t columns = pare_tensor_columns(source);
    size_t row_bytes = pare_tensor_row_bytes(source);
    char *buffer = NULL;
    const void *stored;
    pare_status status;
    PARE_TRY(pare_allocate(SOME, row_bytes, source->name, &buffer));
    for (int64_t r = rows.first; r < rows.last; r += SOME) {
        int64_t n = rows.last - r < SOME ? rows.last - r : SOME;
        PARE_TRY(pare_tensor_read(source, r, n, buffer, &stored));
        for (int64_t i = 0; i < n; i++)
            kernels->decode_row[source->type]((const char *)stored + (size_t)i * row_bytes,
                                              weights + (r + i) * columns, columns);
    }
fail:
    free(buffer);
    return status;
}

typedef struct decode_job {
    const pare_kernels *kernels;
    const pare_block_matrix *matrix;
    atomic_bool failed;
} decode_job;

static void decode_share(void *argument, int index, int count)
{
    decode_job *job = argument;
    if (decode_rows(job->kernels, job->matrix->source,
                    pare_share(job->matrix->rows, 1, index, count),
                    job->matrix->weights) != PARE_OK)
        job->failed = true;
}

static pare_status decode_matrix(const pare_block *block, const pare_kernels *kernels,
                                 const pare_block_matrix *matrix)
{
    decode_job job = {.kernels = kernels, .matrix = matrix};
    if (!block->pool)
        return decode_rows(kernels, matrix->source, (pare_range){0, matrix->rows}, matrix->weights);
    pare_pool_run(block->pool, decode_share, &job);
    return job.failed
               ? pare_fail_memory(pare_tensor_row_bytes(matrix->source) * 64, matrix->source->name)
               : PARE_OK;
}

static pare_status add_matrix(pare_block *block, const pare_kernels *kernels,
                              const pare_tensor **slot, pare_block_input input)
{
    const pare_tensor *source = *slot;
    if (!source)
        return PARE_OK;
    pare_block_matrix *matrix = &block->matrices[block->count];
    pare_tensor *tensor = &block->tensors[block->count];
    int64_t rows = pare_tensor_rows(source), columns = pare_tensor_columns(source);
    if (!kernels->decode_row[source->type])
        return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' is stored as %s, which cannot be read",
                         source->file, source->name, pare_type_name(source->type));
    pare_status status =
        pare_allocate((size_t)(rows * columns), sizeof(float), source->name, &matrix->weights);
    if (status != PARE_OK)
        return status;
    matrix->source = source;
    matrix->rows = rows;
    matrix->columns = columns;
    matrix->input = input;
    *tensor = *source;
    tensor->type = PARE_TYPE_F32;
    tensor->data = matrix->weights;
    tensor->source = NULL;
    tensor->mapped = false;
    tensor->bytes = (size_t)(rows * columns) * sizeof(float);
    *slot = tensor;
    block->count++; /* the weights are freed with the block from here on */
    return decode_matrix(block, kernels, matrix);
}

static pare_status decode_block(pare_block *block, const pare_model *model, int64_t layer)
{
    const pare_kernels *kernels = pare_kernels_get(pare_isa_best());
    pare_layer *l = &block->layer;
    const struct {
        const pare_tensor **slot;
        pare_block_input input;
    } all[] = {{&l->qkv, PARE_BLOCK_QKV},       {&l->q, PARE_BLOCK_QKV},
               {&l->k, PARE_BLOCK_QKV},         {&l->v, PARE_BLOCK_QKV},
               {&l->output, PARE_BLOCK_OUTPUT}, {&l->gate, PARE_BLOCK_UP},
               {&l->up, PARE_BLOCK_UP},         {&l->down, PARE_BLOCK_DOWN}};
    pare_status status = PARE_OK;
    block->layer = model->layers[layer];
    block->model.info = model->info;
    block->model.decoder = model->decoder;
    block->model.decoder.layers = 1;
    block->model.decoder.input_rounding =
        PARE_INPUTS_EXACT; /* calibration sees what was computed */
    block->scale = model->decoder.attention_scale[layer];
    block->model.decoder.attention_scale = &block->scale;
    block->model.layers = &block->layer;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        PARE_TRY(add_matrix(block, kernels, all[i].slot, all[i].input));
fail:
    return status;
}

pare_status pare_block_decode(const pare_model *model, int64_t layer, int threads, pare_block **out)
{
    pare_block *block;
    pare_status status;
    *out = NULL;
    status = pare_allocate(1, sizeof *block, "a block", &block);
    if (status != PARE_OK)
        return status;
    status = pare_pool_create(threads, &block->pool);
    if (status == PARE_OK)
        status = decode_block(block, model, layer);
    if (status == PARE_OK)
        *out = block;
    else
        pare_block_free(block);
    return status;
}

pare_status pare_block_create(const pare_model *model, int64_t layer, int threads, int64_t length,
                              pare_block **out)
{
    pare_session_options options = pare_session_options_default();
    pare_block *block;
    void *state;
    pare_status status;
    *out = NULL;
    status = pare_allocate(1, sizeof *block, "a block", &block);
    if (status != PARE_OK)
        return status;
    options.threads = threads;
    options.context = length;
    options.kv_type = PARE_TYPE_F32;
    PARE_TRY(decode_block(block, model, layer));
    PARE_TRY(pare_backend_cpu.create(&block->model, &options, &state));
    block->cpu = state;
    block->pool = block->cpu->pool;
    *out = block;
    return PARE_OK;
fail:
    pare_block_free(block);
    return status;
}

void pare_block_free(pare_block *block)
{
    if (!block)
        return;
    if (block->cpu)
        pare_backend_cpu.free(block->cpu);
    else
        pare_pool_free(block->pool);
    for (int i = 0; i < block->count; i++)
        free(block->matrices[i].weights);
    free(block);
}

pare_block_matrix *pare_block_get_matrices(pare_block *block, int *count)
{
    *count = block->count;
    return block->matrices;
}

pare_pool *pare_block_pool(pare_block *block)
{
    return block->pool;
}

const pare_model *pare_block_model(const pare_block *block)
{
    return &block->model;
}

void pare_block_refresh(pare_block *block)
{
    if (block->cpu)
        (void)cpu_pack_weights(block->cpu); /* fails only where rows have to be made */
}

void pare_block_forward(pare_block *block, float *hidden, int64_t stride, int64_t tokens,
                        pare_block_input last, pare_block_tap tap, void *user)
{
    cpu_state *cpu = block->cpu;
    cpu_extend_angles(cpu, tokens);
    for (int64_t done = 0; done < tokens;) {
        int64_t n = tokens - done < cpu->chunk ? tokens - done : cpu->chunk;
        cpu_pass pass = {.cpu = cpu,
                         .tokens = n,
                         .past = done,
                         .states = hidden + done * stride,
                         .states_stride = stride,
                         .tap = tap,
                         .last = last,
                         .tap_user = user};
        cpu_run_pass(&pass);
        done += n;
    }
}

const float *pare_block_residual(const pare_block *block, int64_t tokens, int index,
                                 int64_t *stride)
{
    *stride = block->cpu->hidden_stride;
    return tokens == 1 ? block->cpu->private[index].x : block->cpu->x;
}

pare_status pare_block_embed(const pare_model *model, const int32_t *ids, int64_t tokens,
                             float *hidden, int64_t stride)
{
    const pare_kernels *kernels = pare_kernels_get(pare_isa_best());
    const pare_tensor *table = model->token_embedding, *positions = model->position_embedding;
    int64_t n = model->decoder.hidden;
    float *position;
    if (!kernels->decode_row[table->type] || (positions && !kernels->decode_row[positions->type]))
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: the embeddings are stored as %s, which cannot be read", table->file,
                         pare_type_name(table->type));
    pare_status status = pare_allocate((size_t)n, sizeof *position, "an embedding", &position);
    if (status != PARE_OK)
        return status;
    for (int64_t t = 0; t < tokens; t++) {
        float *x = hidden + t * stride;
        kernels->decode_row[table->type](
            (const char *)table->data + (size_t)ids[t] * pare_type_row_bytes(table->type, n), x, n);
        if (positions) {
            kernels->decode_row[positions->type](
                (const char *)positions->data + (size_t)t * pare_type_row_bytes(positions->type, n),
                position, n);
            kernels->add(x, position, n);
        }
    }
    free(position);
    return PARE_OK;
}
