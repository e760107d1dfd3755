/* Models of exact shapes with random weights, in memory: each matrix holds TILE_ROWS rows, which
 * the GPU's loader repeats. */
#ifndef PARE_TESTS_SHAPE_MODEL_H
#define PARE_TESTS_SHAPE_MODEL_H

#include "base/memory.h"
#include "base/random.h"
#include "model/model.h"
#include "model/shapes.h"
#include "quant/types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TILE_ROWS = 16, TILES = 32 };

typedef struct shape_model {
    pare_model model;
    pare_model_private private;
    pare_layer *layers;
    pare_tensor *tensors;
    size_t count;
    struct {
        pare_type type;
        int64_t columns;
        void *rows;
    } tiles[TILES];
    int tile_count;
} shape_model;

static inline void *shape_tile(shape_model *s, pare_type type, int64_t columns)
{
    pare_random random = {(uint64_t)columns};
    for (int i = 0; i < s->tile_count; i++)
        if (s->tiles[i].type == type && s->tiles[i].columns == columns)
            return s->tiles[i].rows;
    size_t row = pare_type_row_bytes(type, columns);
    float *values = malloc((size_t)columns * sizeof *values);
    char *rows = malloc(row * TILE_ROWS);
    if (!values || !rows || s->tile_count == TILES || !row)
        abort();
    for (int r = 0; r < TILE_ROWS; r++) {
        for (int64_t i = 0; i < columns; i++)
            values[i] = (float)(0.02 * pare_random_normal(&random));
        pare_type_get_traits(type)->encode(values, rows + row * (size_t)r, columns, NULL);
    }
    free(values);
    s->tiles[s->tile_count].type = type;
    s->tiles[s->tile_count].columns = columns;
    s->tiles[s->tile_count++].rows = rows;
    return rows;
}

static inline const pare_tensor *shape_matrix(shape_model *s, pare_type type, int64_t rows,
                                              int64_t columns)
{
    pare_tensor *t = &s->tensors[s->count++];
    *t = (pare_tensor){.name = "random", .file = "memory", .type = type, .dims = 2};
    t->shape[0] = rows, t->shape[1] = columns, t->shape[2] = t->shape[3] = 1;
    t->data = shape_tile(s, type, columns);
    t->bytes = pare_type_row_bytes(type, columns) * (size_t)(rows < TILE_ROWS ? rows : TILE_ROWS);
    return t;
}

static inline const pare_tensor *shape_vector(shape_model *s, int64_t n, float value)
{
    pare_tensor *t = &s->tensors[s->count++];
    float *data = pare_arena_allocate(&s->private.arena, (size_t)n * sizeof *data);
    if (!data)
        abort();
    for (int64_t i = 0; i < n; i++)
        data[i] = value;
    *t = (pare_tensor){.name = "vector", .file = "memory", .type = PARE_TYPE_F32, .dims = 1};
    t->shape[0] = n, t->shape[1] = t->shape[2] = t->shape[3] = 1;
    t->data = data;
    t->bytes = (size_t)n * sizeof *data;
    return t;
}

static inline void shape_layer(shape_model *s, pare_layer *l, pare_type type)
{
    const pare_decoder *d = &s->model.decoder;
    bool biased = d->norm == PARE_NORM_LAYER;
    int64_t q = d->heads * d->head_dim, kv = d->kv_heads * d->head_dim;
    *l = (pare_layer){.attention_norm = shape_vector(s, d->hidden, 1),
                      .mlp_norm = shape_vector(s, d->hidden, 1)};
    l->q = shape_matrix(s, type, q, d->hidden);
    l->k = shape_matrix(s, type, kv, d->hidden);
    l->v = shape_matrix(s, type, kv, d->hidden);
    l->output = shape_matrix(s, type, d->hidden, q);
    l->up = shape_matrix(s, type, d->mlp_hidden, d->hidden);
    l->down = shape_matrix(s, type, d->hidden, d->mlp_hidden);
    if (d->gated_mlp)
        l->gate = shape_matrix(s, type, d->mlp_hidden, d->hidden);
    if (biased) {
        l->attention_norm_bias = shape_vector(s, d->hidden, 0);
        l->mlp_norm_bias = shape_vector(s, d->hidden, 0);
        l->q_bias = shape_vector(s, q, 0.01f);
        l->k_bias = shape_vector(s, kv, 0.01f);
        l->v_bias = shape_vector(s, kv, 0.01f);
        l->output_bias = shape_vector(s, d->hidden, 0.01f);
        l->up_bias = shape_vector(s, d->mlp_hidden, 0.01f);
        l->down_bias = shape_vector(s, d->hidden, 0.01f);
    }
}

/* PARE_OK, or the shape or format does not fit. head_type: of the embedding and the head. */
static inline pare_status shape_model_create(shape_model *s, const char *shape, pare_type type,
                                             pare_type head_type)
{
    const char *text = pare_shape_config(shape);
    json_t *config = NULL;
    memset(s, 0, sizeof *s);
    if (!text)
        return PARE_NOT_FOUND;
    pare_status status = pare_json_load_text(text, strlen(text), shape, &config);
    if (status == PARE_OK)
        status = pare_arch_from_config(config, shape, &s->private.arena, &s->model.decoder,
                                       &s->private.layout);
    json_decref(config);
    if (status != PARE_OK)
        return status;
    pare_model *m = &s->model;
    const pare_decoder *d = &m->decoder;
    if (!pare_type_row_bytes(type, d->hidden) || !pare_type_row_bytes(type, d->mlp_hidden))
        return PARE_UNSUPPORTED;
    s->layers = calloc((size_t)d->layers, sizeof *s->layers);
    s->tensors = calloc((size_t)d->layers * 20 + 8, sizeof *s->tensors);
    if (!s->layers || !s->tensors)
        abort();
    m->layers = s->layers;
    m->tensors = s->tensors;
    m->private = &s->private;
    m->info = (pare_model_info){
        .path = shape, .name = shape, .vocab = d->vocab, .context = d->context, .synthetic = true};
    m->token_embedding = shape_matrix(s, head_type, d->vocab, d->hidden);
    m->head = d->tied_head ? m->token_embedding : shape_matrix(s, head_type, d->vocab, d->hidden);
    if (d->position == PARE_POSITION_LEARNED)
        m->position_embedding = shape_matrix(s, PARE_TYPE_F32, d->context, d->hidden);
    m->final_norm = shape_vector(s, d->hidden, 1);
    if (d->norm == PARE_NORM_LAYER)
        m->final_norm_bias = shape_vector(s, d->hidden, 0);
    for (int64_t i = 0; i < d->layers; i++)
        shape_layer(s, &s->layers[i], type);
    m->tensor_count = s->count;
    return PARE_OK;
}

static inline void shape_model_free(shape_model *s)
{
    for (int i = 0; i < s->tile_count; i++)
        free(s->tiles[i].rows);
    free(s->layers);
    free(s->tensors);
    pare_arena_free(&s->private.arena);
}

#endif
