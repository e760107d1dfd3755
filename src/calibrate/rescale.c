#include "calibrate/rescale.h"

#include "base/buffer.h"
#include "base/fail.h"
#include "base/memory.h"
#include "quant/methods.h"
#include "quant/plan.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pare_fold pare_fold_of(const pare_model *model, pare_block_input input)
{
    switch (input) {
    case PARE_BLOCK_OUTPUT:
        return pare_plan_keeps_output(model) ? PARE_FOLD_KEPT : PARE_FOLD_ROWS;
    case PARE_BLOCK_DOWN:
        return pare_plan_keeps_down(model) ? PARE_FOLD_KEPT : PARE_FOLD_ROWS;
    default:
        return PARE_FOLD_NORM;
    }
}

/* ---- one block ---- */

static pare_status copy_vector(const pare_tensor *tensor, float **copy)
{
    *copy = NULL;
    if (!tensor)
        return PARE_OK;
    int64_t n = pare_tensor_elements(tensor);
    pare_status status = pare_allocate((size_t)n, sizeof **copy, tensor->name, copy);
    if (status == PARE_OK)
        pare_type_get_traits(tensor->type)->decode(tensor->data, *copy, n);
    return status;
}

pare_status pare_rescale_start(pare_rescale *r, const pare_model *model,
                               const pare_quantize_result *plan, pare_block *block, int64_t layer)
{
    const pare_layer *l = &model->layers[layer];
    const pare_tensor *norms[2][2] = {{l->attention_norm, l->attention_norm_bias},
                                      {l->mlp_norm, l->mlp_norm_bias}};
    pare_status status;
    *r = (pare_rescale){
        .model = model, .plan = plan, .pool = pare_block_pool(block), .layer = layer};
    r->matrices = pare_block_get_matrices(block, &r->matrix_count);
    for (int i = 0; i < 4; i++)
        PARE_TRY(copy_vector(norms[i / 2][i % 2], &r->norms[i / 2][i % 2]));
    PARE_TRY(copy_vector(l->qkv ? l->qkv_bias : l->v_bias, &r->v_bias));
    status = copy_vector(l->up_bias, &r->up_bias);
fail:
    return status;
}

void pare_rescale_free(pare_rescale *r)
{
    for (int i = 0; i < 4; i++)
        free(r->norms[i / 2][i % 2]);
    free(r->v_bias);
    free(r->up_bias);
    free(r->kept[0]);
    free(r->kept[1]);
    *r = (pare_rescale){0};
}

/* Rows first.. of a matrix and of its bias are divided. */
static void divide_rows(pare_block_matrix *matrix, float *bias, int64_t first, int64_t n,
                        const float *scales)
{
    for (int64_t i = 0; i < n; i++) {
        float *row = matrix->weights + (first + i) * matrix->columns;
        for (int64_t c = 0; c < matrix->columns; c++)
            row[c] /= scales[i];
        if (bias)
            bias[first + i] /= scales[i];
    }
}

static pare_block_matrix *matrix_of(pare_rescale *r, const pare_tensor *tensor)
{
    for (int m = 0; m < r->matrix_count; m++)
        if (r->matrices[m].source == tensor)
            return &r->matrices[m];
    return NULL;
}

static pare_status fold(pare_rescale *r, pare_block_input input, int64_t columns,
                        const float *scales)
{
    const pare_layer *l = &r->model->layers[r->layer];
    const pare_decoder *d = &r->model->decoder;
    float **kept = &r->kept[input == PARE_BLOCK_DOWN];
    switch (pare_fold_of(r->model, input)) {
    case PARE_FOLD_NORM:
        for (int i = 0; i < 2; i++)
            for (int64_t c = 0; r->norms[input == PARE_BLOCK_UP][i] && c < columns; c++)
                r->norms[input == PARE_BLOCK_UP][i][c] /= scales[c];
        return PARE_OK;
    case PARE_FOLD_ROWS:
        if (input == PARE_BLOCK_DOWN)
            divide_rows(matrix_of(r, l->up), r->up_bias, 0, columns, scales);
        else
            divide_rows(matrix_of(r, l->qkv ? l->qkv : l->v), r->v_bias,
                        l->qkv ? (d->heads + d->kv_heads) * d->head_dim : 0, columns, scales);
        return PARE_OK;
    case PARE_FOLD_KEPT:
        break;
    }
    if (!*kept) {
        pare_status status = pare_allocate((size_t)columns, sizeof **kept, "input scales", kept);
        if (status != PARE_OK)
            return status;
        for (int64_t c = 0; c < columns; c++)
            (*kept)[c] = 1;
    }
    for (int64_t c = 0; c < columns; c++)
        (*kept)[c] *= scales[c];
    return PARE_OK;
}

typedef struct row_job {
    const pare_block_matrix *matrix;
    const float *scales;
    const pare_method_matrix *as;
    uint8_t *rows;
    size_t row_bytes;
} row_job;

static void multiply_share(void *argument, int index, int count)
{
    const row_job *j = argument;
    const int64_t n = j->matrix->columns;
    const pare_range rows = pare_share(j->matrix->rows, 1, index, count);
    for (int64_t i = rows.first; i < rows.last; i++)
        for (int64_t c = 0; c < n; c++)
            j->matrix->weights[i * n + c] *= j->scales[c];
}

pare_status pare_rescale_apply(pare_rescale *r, pare_block_input input, const float *scales)
{
    int64_t columns = 0;
    for (int m = 0; m < r->matrix_count; m++) {
        row_job job = {.matrix = &r->matrices[m], .scales = scales};
        if (job.matrix->input != input)
            continue;
        columns = job.matrix->columns;
        pare_pool_run(r->pool, multiply_share, &job);
    }
    return fold(r, input, columns, scales);
}

const pare_quantize_item *pare_rescale_item(const pare_rescale *r, const pare_tensor *tensor)
{
    for (size_t i = 0; i < r->plan->count; i++)
        if (tensor && pare_quantize_tensor(r->model, i) == tensor)
            return &r->plan->items[i];
    return NULL;
}

/* ---- what the blocks became ---- */

pare_status pare_rescaled_add(pare_rescaled *list, const pare_tensor *tensor, uint8_t *rows,
                              size_t bytes)
{
    pare_status status = pare_grow(&list->tensors, &list->capacity, list->count + 1,
                                   sizeof *list->tensors, "rescaled tensors");
    if (status != PARE_OK) {
        free(rows);
        return status;
    }
    list->tensors[list->count++] = (struct pare_rescaled_tensor){tensor, rows, bytes};
    return PARE_OK;
}

/* FP32 vectors as the file has them. */
static pare_status add_vector(pare_rescaled *list, const pare_tensor *tensor, const float *values)
{
    uint8_t *rows;
    if (!tensor || !values)
        return PARE_OK;
    size_t bytes = (size_t)pare_tensor_elements(tensor) * sizeof *values;
    pare_status status = pare_allocate(bytes, 1, tensor->name, &rows);
    if (status != PARE_OK)
        return status;
    memcpy(rows, values, bytes);
    return pare_rescaled_add(list, tensor, rows, bytes);
}

static pare_status add_kept(pare_rescaled *list, const pare_rescale *r, const char *name,
                            const float *values)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%lld.%s.input_scale", (long long)r->layer, name);
    for (size_t i = 0; i < r->plan->added_count; i++)
        if (strcmp(r->plan->added[i].name, full) == 0)
            return add_vector(list, &r->plan->added[i], values);
    return PARE_OK;
}

static void encode_share(void *argument, int index, int count)
{
    const row_job *j = argument;
    const pare_range rows = pare_share(j->matrix->rows, 1, index, count);
    for (int64_t i = rows.first; i < rows.last; i++)
        pare_method_encode(j->as, j->matrix->weights + i * j->matrix->columns, NULL,
                           j->rows + (size_t)i * j->row_bytes);
}

pare_status pare_rescaled_add_rounded(pare_rescaled *list, pare_pool *pool,
                                      const pare_block_matrix *matrix,
                                      const pare_quantize_item *item)
{
    const pare_method_matrix as = {
        .name = item->name, .type = item->type, .rows = matrix->rows, .columns = matrix->columns};
    const size_t row_bytes = pare_type_row_bytes(item->type, matrix->columns);
    uint8_t *rows;
    pare_status status = pare_allocate((size_t)matrix->rows, row_bytes, item->name, &rows);
    if (status != PARE_OK)
        return status;
    row_job job = {.matrix = matrix, .as = &as, .rows = rows, .row_bytes = row_bytes};
    pare_pool_run(pool, encode_share, &job);
    return pare_rescaled_add(list, matrix->source, rows, (size_t)matrix->rows * row_bytes);
}

pare_status pare_rescaled_add_rest(pare_rescaled *list, const pare_rescale *r)
{
    const pare_layer *l = &r->model->layers[r->layer];
    pare_status status;
    PARE_TRY(add_vector(list, l->attention_norm, r->norms[0][0]));
    PARE_TRY(add_vector(list, l->attention_norm_bias, r->norms[0][1]));
    PARE_TRY(add_vector(list, l->mlp_norm, r->norms[1][0]));
    PARE_TRY(add_vector(list, l->mlp_norm_bias, r->norms[1][1]));
    PARE_TRY(add_vector(list, l->qkv ? l->qkv_bias : l->v_bias, r->v_bias));
    PARE_TRY(add_vector(list, l->up_bias, r->up_bias));
    PARE_TRY(add_kept(list, r, "attn_output", r->kept[0]));
    PARE_TRY(add_kept(list, r, "ffn_down", r->kept[1]));
    for (int m = 0; m < r->matrix_count; m++) {
        const pare_quantize_item *item = pare_rescale_item(r, r->matrices[m].source);
        if (item && !item->chosen)
            PARE_TRY(pare_rescaled_add_rounded(list, r->pool, &r->matrices[m], item));
    }
fail:
    return status;
}

/* ---- the work file: a record for each tensor, then "block N" with their names, each with its NUL
 * ---- */

pare_status pare_rescaled_keep(const pare_rescaled *list, size_t first, int64_t layer,
                               pare_work *work)
{
    char name[32];
    pare_buffer names = {0};
    pare_status status = PARE_OK;
    for (size_t i = first; i < list->count; i++) {
        const struct pare_rescaled_tensor *t = &list->tensors[i];
        PARE_TRY(pare_work_add(work, t->tensor->name, t->rows, t->bytes));
        PARE_TRY(pare_buffer_append(&names, t->tensor->name, strlen(t->tensor->name) + 1));
    }
    snprintf(name, sizeof name, "block %lld", (long long)layer);
    PARE_TRY(pare_work_add(work, name, names.data, names.size));
    status = pare_work_sync(work);
fail:
    pare_buffer_free(&names);
    return status;
}

static const pare_tensor *tensor_of(const pare_model *model, const pare_quantize_result *plan,
                                    const char *name, size_t *bytes)
{
    const pare_tensor *tensor;
    for (size_t i = 0; i < plan->added_count; i++)
        if (strcmp(plan->added[i].name, name) == 0) {
            *bytes = (size_t)pare_tensor_elements(&plan->added[i]) * sizeof(float);
            return &plan->added[i];
        }
    for (size_t i = 0; (tensor = pare_quantize_tensor(model, i)); i++)
        if (strcmp(tensor->name, name) == 0) {
            *bytes = tensor->dims < 2 ? (size_t)pare_tensor_elements(tensor) * sizeof(float)
                                      : (size_t)pare_tensor_rows(tensor) *
                                            pare_type_row_bytes(plan->items[i].type,
                                                                pare_tensor_columns(tensor));
            return tensor;
        }
    return NULL;
}

static bool restore_tensor(pare_rescaled *list, const pare_model *model,
                           const pare_quantize_result *plan, const char *name,
                           const pare_work *work)
{
    size_t bytes = 0;
    uint8_t *rows;
    const pare_tensor *tensor = tensor_of(model, plan, name, &bytes);
    const void *kept = tensor ? pare_work_find(work, name, bytes) : NULL;
    if (!kept || pare_allocate(bytes, 1, name, &rows) != PARE_OK)
        return false;
    memcpy(rows, kept, bytes);
    return pare_rescaled_add(list, tensor, rows, bytes) == PARE_OK;
}

bool pare_rescaled_restore(pare_rescaled *list, const pare_model *model,
                           const pare_quantize_result *plan, int64_t layer, const pare_work *work)
{
    char name[32];
    const size_t first = list->count;
    size_t size = 0, at = 0;
    snprintf(name, sizeof name, "block %lld", (long long)layer);
    const char *names = pare_work_find_any(work, name, &size);
    bool whole = names && size > 0 && names[size - 1] == 0;
    for (; whole && at < size; at += strlen(names + at) + 1)
        whole = restore_tensor(list, model, plan, names + at, work);
    while (!whole && list->count > first)
        free(list->tensors[--list->count].rows);
    return whole;
}

const uint8_t *pare_rescaled_rows(const pare_rescaled *list, const pare_tensor *tensor)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->tensors[i].tensor == tensor)
            return list->tensors[i].rows;
    return NULL;
}

void pare_rescaled_free(pare_rescaled *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->tensors[i].rows);
    free(list->tensors);
    *list = (pare_rescaled){0};
}
