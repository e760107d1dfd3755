/* Weights: from mapped files into the device's layouts. */
#include "run/cuda.h"

#include "base/fail.h"
#include "base/half.h"
#include "base/memory.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>

/* While weights are loaded. */
typedef struct loader {
    cuda_state *cuda;
    void *staging;  /* device, CUDA_STAGING bytes */
    uint16_t *rows; /* host: decoded rows of formats that have no layout */
    size_t rows_capacity;
    float *values; /* host: one decoded row */
    size_t values_capacity;
    char *made; /* host: stored rows that lie in no file as they are */
    size_t made_capacity;
} loader;

typedef struct part {
    const pare_tensor *tensor, *bias;
    int64_t rows;
} part;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- vectors ---- */

/* n values of each part in turn (zeros where one has none) every `step` floats, padded. NULL where
 * no part has any. */
static pare_status load_vector(loader *load, const part *parts, int count, int64_t step,
                               const float **out)
{
    cuda_state *cuda = load->cuda;
    int64_t total = 0, at = 0;
    bool any = false;
    float *host = NULL, *device, *decoded = NULL;
    pare_status status = PARE_OK;
    *out = NULL;
    for (int i = 0; i < count; i++) {
        total += parts[i].rows;
        any = any || parts[i].bias;
    }
    if (!any)
        return PARE_OK;
    size_t bytes = (size_t)cuda_stride(total) * sizeof(float);
    PARE_TRY(pare_allocate((size_t)cuda_stride(total), sizeof *host, "a vector", &host));
    PARE_TRY(pare_allocate((size_t)total, sizeof *decoded, "a vector", &decoded));
    for (int i = 0; i < count; i++) {
        const pare_tensor *tensor = parts[i].bias;
        int64_t n = parts[i].rows, first = step == 1 ? at : i;
        at += n;
        if (!tensor)
            continue;
        const pare_type_traits *traits = pare_type_get_traits(tensor->type);
        if (pare_tensor_elements(tensor) != n || !traits->decode) {
            status = pare_fail(PARE_FORMAT, "%s: tensor '%s' has %lld values of %s, %lld expected",
                               tensor->file, tensor->name, (long long)pare_tensor_elements(tensor),
                               traits->name, (long long)n);
            goto fail;
        }
        traits->decode(tensor->data, decoded, n);
        for (int64_t j = 0; j < n; j++)
            host[first + j * step] = decoded[j];
    }
    PARE_TRY(cuda_hold(cuda, bytes, "vectors", &device));
    PARE_TRY(gpu_upload(&cuda->gpu, device, host, bytes));
    cuda->memory.weights_bytes += (int64_t)bytes;
    *out = device;
fail:
    free(decoded);
    free(host);
    return status;
}

static pare_status load_one(loader *load, const pare_tensor *tensor, int64_t n, const float **out)
{
    return load_vector(load, &(part){.bias = tensor, .rows = n}, 1, 1, out);
}

/* ---- matrices ---- */

/* Rows first .. first + n - 1 as stored. */
static pare_status stored_rows(loader *load, const pare_tensor *tensor, int64_t first, int64_t n,
                               size_t row, const void **rows)
{
    pare_status status = PARE_OK;
    *rows = (const char *)tensor->data + row * (size_t)first;
    if (!tensor->source)
        return PARE_OK;
    PARE_TRY(pare_grow(&load->made, &load->made_capacity, row * (size_t)n, 1, "weights"));
    PARE_TRY(pare_tensor_read(tensor, first, n, load->made, rows));
fail:
    return status;
}

/* n rows of a format without a layout, as FP16. */
static pare_status decode_rows(loader *load, const pare_tensor *tensor, const void *stored,
                               int64_t n)
{
    const pare_type_traits *traits = pare_type_get_traits(tensor->type);
    int64_t columns = pare_tensor_columns(tensor);
    size_t row = pare_type_row_bytes(tensor->type, columns);
    pare_status status;
    if (!traits->decode)
        return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' is stored as %s, which cannot be read",
                         tensor->file, tensor->name, traits->name);
    PARE_TRY(pare_grow(&load->rows, &load->rows_capacity, (size_t)(n * columns), sizeof *load->rows,
                       "weights"));
    PARE_TRY(pare_grow(&load->values, &load->values_capacity, (size_t)columns, sizeof *load->values,
                       "weights"));
    for (int64_t r = 0; r < n; r++) {
        traits->decode((const char *)stored + row * (size_t)r, load->values, columns);
        for (int64_t c = 0; c < columns; c++)
            load->rows[r * columns + c] = pare_f32_to_f16(load->values[c]);
    }
fail:
    return status;
}

/* The tensor's rows go to rows first, first + step, ... A tensor that holds fewer rows than its
 * shape says repeats them (synthetic models). */
static pare_status pack_tensor(loader *load, const pare_tensor *tensor, const gpu_weights *to,
                               int64_t first, int64_t step)
{
    cuda_state *cuda = load->cuda;
    int64_t rows = pare_tensor_rows(tensor), columns = to->columns;
    bool as_stored = to->type == tensor->type;
    size_t stored = pare_type_row_bytes(tensor->type, columns);
    size_t row = as_stored ? stored : (size_t)columns * sizeof(uint16_t);
    if (row == 0 || tensor->bytes < stored)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' has rows of no whole blocks", tensor->file,
                         tensor->name);
    int64_t present = smaller(rows, (int64_t)(tensor->bytes / stored));
    int64_t most = row < CUDA_STAGING ? (int64_t)(CUDA_STAGING / row) : 1;
    pare_status status = PARE_OK;
    for (int64_t done = 0; done < rows;) {
        int64_t n = smaller(most, present - done % present), packed = n;
        const void *from;
        if (present <= most && present < rows)
            packed = rows - done; /* all that is present is there: repeat it */
        PARE_TRY(stored_rows(load, tensor, done % present, n, stored, &from));
        if (!as_stored) {
            PARE_TRY(decode_rows(load, tensor, from, n));
            from = load->rows;
        }
        PARE_TRY(gpu_upload(&cuda->gpu, load->staging, from, row * (size_t)n));
        if (present == rows)
            pare_tensor_release(tensor, done, n);
        PARE_TRY(
            gpu_pack(&cuda->gpu, load->staging, row, packed, n, to, first + done * step, step));
        done += packed;
    }
fail:
    return status;
}

static pare_status check_shape(const cuda_state *cuda, const pare_tensor *tensor, int64_t rows,
                               int64_t columns)
{
    if (!tensor)
        return pare_fail(PARE_FORMAT, "%s: a weight matrix of %lld x %lld is missing",
                         cuda->model->info.path, (long long)rows, (long long)columns);
    if (pare_tensor_rows(tensor) != rows || pare_tensor_columns(tensor) != columns)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' is %lld x %lld, %lld x %lld was expected",
                         tensor->file, tensor->name, (long long)pare_tensor_rows(tensor),
                         (long long)pare_tensor_columns(tensor), (long long)rows,
                         (long long)columns);
    return PARE_OK;
}

static pare_status load_weights(loader *load, const part *parts, int count, int64_t columns,
                                bool alternate, gpu_weights *weights)
{
    cuda_state *cuda = load->cuda;
    int64_t rows = 0, at = 0;
    pare_status status;
    for (int i = 0; i < count; i++)
        rows += parts[i].rows;
    *weights = (gpu_weights){.rows = rows, .columns = columns};
    weights->type = gpu_packed_type(parts[0].tensor->type);
    weights->row_bytes = gpu_row_bytes(weights->type, columns);
    size_t bytes = (size_t)rows * weights->row_bytes;
    PARE_TRY(cuda_hold(cuda, bytes, "weights", &weights->data));
    cuda->memory.weights_bytes += (int64_t)bytes;
    for (int i = 0; i < count; i++) {
        PARE_TRY(
            pack_tensor(load, parts[i].tensor, weights, alternate ? i : at, alternate ? count : 1));
        at += parts[i].rows;
    }
fail:
    return status;
}

static pare_status add_matrix(loader *load, cuda_group *group, const part *parts, int count,
                              int64_t columns, bool alternate, int64_t offset)
{
    cuda_matrix *matrix = &group->items[group->count];
    pare_status status;
    PARE_TRY(load_weights(load, parts, count, columns, alternate, &matrix->weights));
    PARE_TRY(load_vector(load, parts, count, alternate ? count : 1, &matrix->bias));
    matrix->offset = offset;
    group->count++;
fail:
    return status;
}

/* Neighbours of one format become one matrix. */
static pare_status add_group(loader *load, cuda_group *group, const part *parts, int count,
                             int64_t columns)
{
    int64_t offset = 0;
    pare_status status = PARE_OK;
    for (int i = 0; i < count; i++)
        PARE_TRY(check_shape(load->cuda, parts[i].tensor, parts[i].rows, columns));
    for (int i = 0, n; i < count; i += n) {
        int64_t rows = parts[i].rows;
        for (n = 1; i + n < count && parts[i + n].tensor->type == parts[i].tensor->type; n++)
            rows += parts[i + n].rows;
        PARE_TRY(add_matrix(load, group, parts + i, n, columns, false, offset));
        offset += rows;
    }
fail:
    return status;
}

static pare_status add_up(loader *load, cuda_layer *to, const pare_layer *from)
{
    const pare_decoder *d = load->cuda->decoder;
    part parts[2] = {{from->gate, from->gate_bias, d->mlp_hidden},
                     {from->up, from->up_bias, d->mlp_hidden}};
    pare_status status;
    if (!d->gated_mlp)
        return add_group(load, &to->up, parts + 1, 1, d->hidden);
    for (int i = 0; i < 2; i++)
        PARE_TRY(check_shape(load->cuda, parts[i].tensor, parts[i].rows, d->hidden));
    to->up.gated = from->gate->type == from->up->type;
    if (to->up.gated)
        return add_matrix(load, &to->up, parts, 2, d->hidden, true, 0);
    PARE_TRY(add_matrix(load, &to->up, parts, 1, d->hidden, false, 0));
    PARE_TRY(add_matrix(load, &to->up, parts + 1, 1, d->hidden, false, load->cuda->up_offset));
fail:
    return status;
}

/* 1 / the values: inputs are divided by AWQ's scales that could not be folded. */
static pare_status load_factors(loader *load, const pare_tensor *scale, int64_t n,
                                const float **out)
{
    float *values = NULL;
    pare_status status = PARE_OK;
    if (!scale)
        return PARE_OK;
    PARE_TRY(load_one(load, scale, n, out)); /* checks, and makes the room */
    PARE_TRY(pare_allocate((size_t)n, sizeof *values, "a vector", &values));
    pare_type_get_traits(scale->type)->decode(scale->data, values, n);
    for (int64_t i = 0; i < n; i++) {
        values[i] = 1 / values[i];
        if (!isfinite(values[i]) || values[i] == 0) {
            status = pare_fail(PARE_FORMAT, "%s: tensor '%s', element %lld cannot be divided by",
                               scale->file, scale->name, (long long)i);
            goto fail;
        }
    }
    PARE_TRY(gpu_upload(&load->cuda->gpu, (float *)*out, values, (size_t)n * sizeof *values));
fail:
    free(values);
    return status;
}

/* What is done to the inputs of a layer's matrices. */
static pare_status load_inputs(loader *load, cuda_layer *to, const pare_layer *from)
{
    cuda_state *cuda = load->cuda;
    const pare_decoder *d = cuda->decoder;
    const pare_tensor *apart[] = {from->q, from->k, from->v, NULL}, *joined[] = {from->qkv, NULL};
    const pare_tensor *up[] = {from->up, d->gated_mlp ? from->gate : NULL, NULL};
    const pare_tensor *output[] = {from->output, NULL}, *down[] = {from->down, NULL};
    pare_status status;
    PARE_TRY(cuda_start_rounding(cuda, &to->qkv, from->qkv ? joined : apart));
    PARE_TRY(cuda_start_rounding(cuda, &to->output, output));
    PARE_TRY(cuda_start_rounding(cuda, &to->up, up));
    PARE_TRY(cuda_start_rounding(cuda, &to->down, down));
    PARE_TRY(load_factors(load, from->output_scale, d->heads * d->head_dim, &to->output.factors));
    PARE_TRY(load_factors(load, from->down_scale, d->mlp_hidden, &to->down.factors));
fail:
    return status;
}

static pare_status load_layer(loader *load, cuda_layer *to, const pare_layer *from)
{
    const pare_decoder *d = load->cuda->decoder;
    int64_t q = d->heads * d->head_dim, kv = d->kv_heads * d->head_dim;
    part apart[3] = {
        {from->q, from->q_bias, q}, {from->k, from->k_bias, kv}, {from->v, from->v_bias, kv}};
    part joined = {from->qkv, from->qkv_bias, q + 2 * kv};
    pare_status status;
    PARE_TRY(load_inputs(load, to, from));
    PARE_TRY(add_group(load, &to->qkv, from->qkv ? &joined : apart, from->qkv ? 1 : 3, d->hidden));
    PARE_TRY(
        add_group(load, &to->output, &(part){from->output, from->output_bias, d->hidden}, 1, q));
    PARE_TRY(add_up(load, to, from));
    PARE_TRY(add_group(load, &to->down, &(part){from->down, from->down_bias, d->hidden}, 1,
                       d->mlp_hidden));
    PARE_TRY(load_one(load, from->attention_norm, d->hidden, &to->attention_norm.weight));
    PARE_TRY(load_one(load, from->attention_norm_bias, d->hidden, &to->attention_norm.bias));
    PARE_TRY(load_one(load, from->mlp_norm, d->hidden, &to->mlp_norm.weight));
    PARE_TRY(load_one(load, from->mlp_norm_bias, d->hidden, &to->mlp_norm.bias));
    PARE_TRY(load_one(load, from->q_norm, d->head_dim, &to->q_norm));
    PARE_TRY(load_one(load, from->k_norm, d->head_dim, &to->k_norm));
    if (!to->attention_norm.weight || !to->mlp_norm.weight)
        return pare_fail(PARE_FORMAT, "%s: a norm of a layer is missing",
                         load->cuda->model->info.path);
fail:
    return status;
}

static pare_status load_layers(loader *load)
{
    cuda_state *cuda = load->cuda;
    pare_status status = PARE_OK;
    for (int64_t l = 0; l < cuda->decoder->layers; l++)
        PARE_TRY(load_layer(load, &cuda->layers[l], &cuda->model->layers[l]));
    PARE_TRY(gpu_wait(&cuda->gpu));
fail:
    return status;
}

static pare_status load_all(loader *load)
{
    cuda_state *cuda = load->cuda;
    const pare_model *model = cuda->model;
    const pare_decoder *d = cuda->decoder;
    const pare_tensor *positions = model->position_embedding;
    part head = {model->head, NULL, d->vocab}, table = {model->token_embedding, NULL, d->vocab};
    pare_status status;
    PARE_TRY(check_shape(cuda, table.tensor, d->vocab, d->hidden));
    PARE_TRY(add_group(load, &cuda->head, &head, 1, d->hidden));
    PARE_TRY(load_layers(load));
    PARE_TRY(load_one(load, model->final_norm, d->hidden, &cuda->final_norm.weight));
    PARE_TRY(load_one(load, model->final_norm_bias, d->hidden, &cuda->final_norm.bias));
    if (!cuda->final_norm.weight)
        return pare_fail(PARE_FORMAT, "%s: the final norm is missing", model->info.path);
    cuda->memory.decode_bytes = cuda->memory.weights_bytes;
    cuda->embedding = cuda->head.items[0].weights;
    if (model->head != model->token_embedding)
        PARE_TRY(load_weights(load, &table, 1, d->hidden, false, &cuda->embedding));
    if (d->position == PARE_POSITION_LEARNED) {
        PARE_TRY(check_shape(cuda, positions, d->context, d->hidden));
        PARE_TRY(load_weights(load, &(part){positions, NULL, d->context}, 1, d->hidden, false,
                              &cuda->positions));
    }
    PARE_TRY(gpu_wait(&cuda->gpu));
fail:
    return status;
}

static pare_status prepare(cuda_state *cuda, pare_status (*function)(loader *))
{
    loader load = {.cuda = cuda};
    pare_status status;
    PARE_TRY(pare_allocate((size_t)cuda->decoder->layers, sizeof *cuda->layers, "layers",
                           &cuda->layers));
    PARE_TRY(gpu_allocate(&cuda->gpu, CUDA_STAGING, "staging", &load.staging));
    PARE_TRY(function(&load));
fail:
    gpu_release(&cuda->gpu, load.staging, CUDA_STAGING);
    free(load.rows);
    free(load.values);
    free(load.made);
    return status;
}

pare_status cuda_prepare_weights(cuda_state *cuda)
{
    return prepare(cuda, load_all);
}

pare_status cuda_prepare_layers(cuda_state *cuda)
{
    return prepare(cuda, load_layers);
}

gpu_weights *cuda_place_of(cuda_state *cuda, int64_t l, pare_block_input input, int index,
                           int64_t *first, int64_t *step)
{
    const pare_decoder *d = cuda->decoder;
    cuda_layer *layer = &cuda->layers[l];
    *first = 0;
    *step = 1;
    switch (input) {
    case PARE_BLOCK_QKV: /* one under the other */
        *first =
            (index > 0 ? d->heads * d->head_dim : 0) + (index > 1 ? d->kv_heads * d->head_dim : 0);
        return &layer->qkv.items[0].weights;
    case PARE_BLOCK_UP: /* in turn */
        *first = index;
        *step = layer->up.gated ? 2 : 1;
        return &layer->up.items[0].weights;
    case PARE_BLOCK_OUTPUT:
        return &layer->output.items[0].weights;
    default:
        return &layer->down.items[0].weights;
    }
}
