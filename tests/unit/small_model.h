/* Models of random weights, built in memory: two layers, odd sizes, every branch of the decoder
 * reachable. */
#ifndef PARE_TESTS_SMALL_MODEL_H
#define PARE_TESTS_SMALL_MODEL_H

#include "base/half.h"
#include "base/memory.h"
#include "base/random.h"
#include "model/decoder.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_TENSORS = 64, SMALL_COLUMNS = 512 };

typedef struct small_model {
    pare_model model;
    pare_layer layers[2];
    pare_tensor tensors[SMALL_TENSORS];
    int count;
    pare_arena arena;
    pare_random random;
    float scales[2];
    float frequencies[8];
} small_model;

/* rows x columns (rows 0: a vector) of normal values times `scale` plus `offset`, in any writable
 * format. */
static inline const pare_tensor *small_tensor(small_model *s, pare_type type, int64_t rows,
                                              int64_t columns, float scale, float offset)
{
    int64_t count = rows ? rows : 1;
    size_t row_bytes = pare_type_row_bytes(type, columns);
    pare_tensor *tensor = &s->tensors[s->count++];
    char *data = pare_arena_allocate(&s->arena, row_bytes * (size_t)count);
    float values[SMALL_COLUMNS];
    for (int64_t r = 0; r < count; r++)
        for (int64_t first = 0, n; first < columns; first += n) { /* in pieces of whole blocks */
            n = columns - first < SMALL_COLUMNS ? columns - first : SMALL_COLUMNS;
            for (int64_t i = 0; i < n; i++)
                values[i] = (float)pare_random_normal(&s->random) * scale + offset;
            pare_type_get_traits(type)->encode(
                values, data + row_bytes * (size_t)r + pare_type_row_bytes(type, first), n, NULL);
        }
    *tensor = (pare_tensor){.name = "random", .file = "memory", .type = type, .data = data};
    tensor->dims = rows ? 2 : 1;
    tensor->shape[0] = rows ? rows : columns;
    tensor->shape[1] = rows ? columns : 1;
    tensor->shape[2] = tensor->shape[3] = 1;
    tensor->bytes = row_bytes * (size_t)count;
    return tensor;
}

static inline void small_layer(small_model *s, pare_layer *layer, pare_type type)
{
    const pare_decoder *d = &s->model.decoder;
    bool biased = d->norm == PARE_NORM_LAYER;
    int64_t q = d->heads * d->head_dim, kv = d->kv_heads * d->head_dim;
#define MATRIX(rows, columns) small_tensor(s, type, rows, columns, 1 / sqrtf((float)(columns)), 0)
#define VECTOR(n, offset) small_tensor(s, PARE_TYPE_F32, 0, n, 0.1f, offset)
    *layer = (pare_layer){.attention_norm = VECTOR(d->hidden, 1), .mlp_norm = VECTOR(d->hidden, 1)};
    layer->q = MATRIX(q, d->hidden);
    layer->k = MATRIX(kv, d->hidden);
    layer->v = MATRIX(kv, d->hidden);
    layer->output = MATRIX(d->hidden, q);
    layer->up = MATRIX(d->mlp_hidden, d->hidden);
    layer->down = MATRIX(d->hidden, d->mlp_hidden);
    if (d->gated_mlp)
        layer->gate = MATRIX(d->mlp_hidden, d->hidden);
    if (d->qk_norm) {
        layer->q_norm = VECTOR(d->head_dim, 1);
        layer->k_norm = VECTOR(d->head_dim, 1);
    }
    if (biased) {
        layer->attention_norm_bias = VECTOR(d->hidden, 0);
        layer->mlp_norm_bias = VECTOR(d->hidden, 0);
        layer->q_bias = VECTOR(q, 0);
        layer->k_bias = VECTOR(kv, 0);
        layer->v_bias = VECTOR(kv, 0);
        layer->output_bias = VECTOR(d->hidden, 0);
        layer->up_bias = VECTOR(d->mlp_hidden, 0);
        layer->down_bias = VECTOR(d->hidden, 0);
    }
}

/* llama: RMS norm, RoPE, grouped heads, gated SILU, QK norm, own head. gpt2: layer norm with
 * biases, learned positions, plain GELU, tied head. */
static inline pare_model *small_model_create(small_model *s, bool llama, pare_type type,
                                             int64_t window)
{
    memset(s, 0, sizeof *s);
    s->random.state = 7;
    pare_decoder *d = &s->model.decoder;
    *d = (pare_decoder){.layers = 2,
                        .hidden = 96,
                        .heads = 6,
                        .kv_heads = llama ? 2 : 6,
                        .head_dim = llama ? 20 : 16,
                        .mlp_hidden = 200,
                        .vocab = 331,
                        .context = 1100,
                        .norm_epsilon = 1e-5f,
                        .sliding_window = window,
                        .bos = -1,
                        .eos = -1};
    if (type != PARE_TYPE_F32 && type != PARE_TYPE_BF16) { /* widths of whole blocks */
        d->hidden = 256;
        d->heads = 8;
        d->kv_heads = llama ? 2 : 8;
        d->head_dim = 32;
        d->mlp_hidden = 512;
    }
    d->norm = llama ? PARE_NORM_RMS : PARE_NORM_LAYER;
    d->position = llama ? PARE_POSITION_ROPE : PARE_POSITION_LEARNED;
    d->activation = llama ? PARE_MLP_SILU : PARE_MLP_GELU_TANH;
    d->gated_mlp = d->qk_norm = llama;
    d->tied_head = !llama;
    d->attention_scale = s->scales;
    d->rope_frequencies = s->frequencies;
    d->rope_dims = llama ? 16 : 0;
    d->rope_magnitude = 1;
    for (int i = 0; i < 8; i++)
        s->frequencies[i] = powf(10000, -(float)i / 8);
    s->scales[0] = s->scales[1] = 1 / sqrtf((float)d->head_dim);
    pare_model *m = &s->model;
    m->layers = s->layers;
    m->tensors = s->tensors;
    m->info = (pare_model_info){.path = "memory",
                                .name = "small",
                                .architecture = "test",
                                .format = "f32",
                                .vocab = d->vocab,
                                .context = d->context};
    m->token_embedding = small_tensor(s, type, d->vocab, d->hidden, 1, 0);
    if (!llama)
        m->position_embedding = small_tensor(s, PARE_TYPE_F32, d->context, d->hidden, 0.3f, 0);
    m->final_norm = small_tensor(s, PARE_TYPE_F32, 0, d->hidden, 0.1f, 1);
    if (!llama)
        m->final_norm_bias = small_tensor(s, PARE_TYPE_F32, 0, d->hidden, 0.1f, 0);
    m->head = llama ? small_tensor(s, type, d->vocab, d->hidden, 0.1f, 0) : m->token_embedding;
    for (int l = 0; l < 2; l++)
        small_layer(s, &s->layers[l], type);
    m->tensor_count = (size_t)s->count;
    return m;
#undef MATRIX
#undef VECTOR
}

static inline void small_model_free(small_model *s)
{
    pare_arena_free(&s->arena);
}

#endif
