/* Binding tensors to their roles in the decoder: names, order, shapes. */
#include "base/fail.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- roles ---- */

typedef enum role_extent { NONE, HIDDEN, Q, KV, QKV, HEAD, MLP, VOCAB, CONTEXT } role_extent;

typedef enum role_group {
    ALWAYS,
    LAYER_NORM, /* biases of norms */
    LEARNED,    /* position embedding */
    UNTIED,
    FUSED,
    SEPARATE,
    FUSED_BIAS,
    SEPARATE_BIAS,
    OUTPUT_BIAS,
    QK_NORM,
    GATED,
    GATED_BIAS,
    MLP_BIAS,
    OPTIONAL, /* where a file has them */
} role_group;

typedef struct weight_role {
    const char *name;          /* canonical; of a layer's tensors, what follows "blk.N." */
    size_t field;              /* offset of the pointer in pare_layer or pare_model */
    role_extent rows, columns; /* columns NONE: a vector */
    role_group group;
} weight_role;

#define GLOBAL(name, member, rows, columns, group)                                                 \
    {                                                                                              \
        name, offsetof(pare_model, member), rows, columns, group                                   \
    }
#define LAYER(name, member, rows, columns, group)                                                  \
    {                                                                                              \
        name, offsetof(pare_layer, member), rows, columns, group                                   \
    }

/* In the order of a written file; the layers stand between the second and the third. */
static const weight_role global_roles[] = {
    GLOBAL("token_embd.weight", token_embedding, VOCAB, HIDDEN, ALWAYS),
    GLOBAL("position_embd.weight", position_embedding, CONTEXT, HIDDEN, LEARNED),
    GLOBAL("output_norm.weight", final_norm, HIDDEN, NONE, ALWAYS),
    GLOBAL("output_norm.bias", final_norm_bias, HIDDEN, NONE, LAYER_NORM),
    GLOBAL("output.weight", head, VOCAB, HIDDEN, UNTIED),
};
enum { GLOBAL_ROLES = sizeof global_roles / sizeof *global_roles, GLOBAL_BEFORE_LAYERS = 2 };

static const weight_role layer_roles[] = {
    LAYER("attn_norm.weight", attention_norm, HIDDEN, NONE, ALWAYS),
    LAYER("attn_norm.bias", attention_norm_bias, HIDDEN, NONE, LAYER_NORM),
    LAYER("attn_qkv.weight", qkv, QKV, HIDDEN, FUSED),
    LAYER("attn_qkv.bias", qkv_bias, QKV, NONE, FUSED_BIAS),
    LAYER("attn_q.weight", q, Q, HIDDEN, SEPARATE),
    LAYER("attn_q.bias", q_bias, Q, NONE, SEPARATE_BIAS),
    LAYER("attn_k.weight", k, KV, HIDDEN, SEPARATE),
    LAYER("attn_k.bias", k_bias, KV, NONE, SEPARATE_BIAS),
    LAYER("attn_v.weight", v, KV, HIDDEN, SEPARATE),
    LAYER("attn_v.bias", v_bias, KV, NONE, SEPARATE_BIAS),
    LAYER("attn_q_norm.weight", q_norm, HEAD, NONE, QK_NORM),
    LAYER("attn_k_norm.weight", k_norm, HEAD, NONE, QK_NORM),
    LAYER("attn_output.weight", output, HIDDEN, Q, ALWAYS),
    LAYER("attn_output.bias", output_bias, HIDDEN, NONE, OUTPUT_BIAS),
    LAYER("attn_output.input_scale", output_scale, Q, NONE, OPTIONAL),
    LAYER("ffn_norm.weight", mlp_norm, HIDDEN, NONE, ALWAYS),
    LAYER("ffn_norm.bias", mlp_norm_bias, HIDDEN, NONE, LAYER_NORM),
    LAYER("ffn_gate.weight", gate, MLP, HIDDEN, GATED),
    LAYER("ffn_gate.bias", gate_bias, MLP, NONE, GATED_BIAS),
    LAYER("ffn_up.weight", up, MLP, HIDDEN, ALWAYS),
    LAYER("ffn_up.bias", up_bias, MLP, NONE, MLP_BIAS),
    LAYER("ffn_down.weight", down, HIDDEN, MLP, ALWAYS),
    LAYER("ffn_down.bias", down_bias, HIDDEN, NONE, MLP_BIAS),
    LAYER("ffn_down.input_scale", down_scale, MLP, NONE, OPTIONAL),
};
enum { LAYER_ROLES = sizeof layer_roles / sizeof *layer_roles };

static pare_need need_of(role_group group, const pare_decoder *decoder, const pare_layout *layout)
{
    bool needed = true;
    switch (group) {
    case ALWAYS:
        break;
    case LAYER_NORM:
        needed = decoder->norm == PARE_NORM_LAYER;
        break;
    case LEARNED:
        needed = decoder->position == PARE_POSITION_LEARNED;
        break;
    case OPTIONAL:
        return PARE_NEED_MAYBE;
    case UNTIED:
        return layout->head;
    case FUSED:
        needed = layout->fused_qkv;
        break;
    case SEPARATE:
        needed = !layout->fused_qkv;
        break;
    case FUSED_BIAS:
        return layout->fused_qkv ? layout->qkv_bias : PARE_NEED_NO;
    case SEPARATE_BIAS:
        return layout->fused_qkv ? PARE_NEED_NO : layout->qkv_bias;
    case OUTPUT_BIAS:
        return layout->output_bias;
    case QK_NORM:
        needed = decoder->qk_norm;
        break;
    case GATED:
        needed = decoder->gated_mlp;
        break;
    case GATED_BIAS:
        return decoder->gated_mlp ? layout->mlp_bias : PARE_NEED_NO;
    case MLP_BIAS:
        return layout->mlp_bias;
    }
    return needed ? PARE_NEED_YES : PARE_NEED_NO;
}

static int64_t size_of(role_extent extent, const pare_decoder *decoder)
{
    switch (extent) {
    case NONE:
        return 1;
    case HIDDEN:
        return decoder->hidden;
    case Q:
        return decoder->heads * decoder->head_dim;
    case KV:
        return decoder->kv_heads * decoder->head_dim;
    case QKV:
        return (decoder->heads + 2 * decoder->kv_heads) * decoder->head_dim;
    case HEAD:
        return decoder->head_dim;
    case MLP:
        return decoder->mlp_hidden;
    case VOCAB:
        return decoder->vocab;
    case CONTEXT:
        return decoder->context;
    }
    return 0;
}

static const weight_role *find_role(const weight_role *roles, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(roles[i].name, name) == 0)
            return &roles[i];
    return NULL;
}

/* ---- collecting ---- */

/* A tensor of the model before it is in order. */
typedef struct found_tensor {
    pare_tensor tensor;   /* with its canonical name; shape turned already where `turned` */
    const char *original; /* its name in the file, for messages */
    const weight_role *role;
    int64_t layer; /* -1: none */
    bool turned;
} found_tensor;

typedef struct binding {
    pare_model *model;
    pare_model_private *private;
    const char *file;
    found_tensor *found;
    size_t count;
} binding;

static pare_status unexpected(const pare_tensor *tensor, const char *why)
{
    return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' %s", tensor->file, tensor->name, why);
}

/* Finds the role of a canonical name. */
static pare_status assign_role(const binding *b, const pare_tensor *source, const char *canonical,
                               found_tensor *found)
{
    const pare_decoder *decoder = &b->model->decoder;
    const char *rest;
    found->layer = -1;
    if (pare_name_split(canonical, "blk.", &found->layer, &rest)) {
        found->role = find_role(layer_roles, LAYER_ROLES, rest);
        if (found->layer >= decoder->layers)
            return pare_fail(PARE_FORMAT,
                             "%s: tensor '%s' is of layer %" PRId64 ", the model has %" PRId64,
                             source->file, source->name, found->layer, decoder->layers);
    } else {
        found->role = find_role(global_roles, GLOBAL_ROLES, canonical);
    }
    if (!found->role)
        return unexpected(source, "has no role in this architecture");
    if (need_of(found->role->group, decoder, &b->private->layout) == PARE_NEED_NO)
        return unexpected(source, "does not go with the model's configuration");
    return PARE_OK;
}

/* Embeddings are looked up row by row in the file. */
static pare_status check_type(const pare_tensor *tensor, const weight_role *role)
{
    bool embedding = role->field == offsetof(pare_model, token_embedding) && role->rows == VOCAB;
    if (tensor->source && embedding)
        return unexpected(tensor, "is quantized, which is not handled for embeddings");
    switch (tensor->type) {
    case PARE_TYPE_I8:
    case PARE_TYPE_I16:
    case PARE_TYPE_I32:
    case PARE_TYPE_I64:
    case PARE_TYPE_U8:
    case PARE_TYPE_BOOL:
    case PARE_TYPE_F8_E4M3:
    case PARE_TYPE_F8_E5M2:
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: tensor '%s' is stored as %s, which is not handled for weights",
                         tensor->file, tensor->name, pare_type_name(tensor->type));
    default:
        return PARE_OK;
    }
}

static pare_status check_shape(const binding *b, const pare_tensor *source,
                               const found_tensor *found)
{
    const pare_decoder *decoder = &b->model->decoder;
    int64_t rows = size_of(found->role->rows, decoder),
            columns = size_of(found->role->columns, decoder);
    const int64_t *shape = found->tensor.shape;
    if (found->role->columns == NONE) {
        if (found->tensor.dims == 1 && shape[0] == rows)
            return PARE_OK;
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' should be a vector of %" PRId64,
                         source->file, source->name, rows);
    }
    if (found->tensor.dims == 2 && shape[0] == rows && shape[1] == columns)
        return PARE_OK;
    char is[96] = "a scalar";
    for (int d = 0, n = 0; d < source->dims; d++)
        n += snprintf(is + n, sizeof is - (size_t)n, "%s%" PRId64 "%s", d ? ", " : "[",
                      source->shape[d], d == source->dims - 1 ? "]" : "");
    bool turned = found->turned;
    return pare_fail(PARE_FORMAT, "%s: tensor '%s' is %s, should be [%" PRId64 ", %" PRId64 "]",
                     source->file, source->name, is, turned ? columns : rows,
                     turned ? rows : columns);
}

/* *skip: the tensor belongs to the file, but not to the model's weights. */
static pare_status translate(const binding *b, const pare_tensor *source,
                             char canonical[PARE_NAME_BYTES], bool *turned, bool *skip)
{
    const pare_layout *layout = &b->private->layout;
    *turned = *skip = false;
    if (!layout->names) {
        *skip = strcmp(source->name, "rope_freqs.weight") == 0 &&
                b->model->decoder.position == PARE_POSITION_ROPE;
        snprintf(canonical, PARE_NAME_BYTES, "%s", source->name);
        return PARE_OK;
    }
    pare_name_kind kind = pare_name_from_hf(layout->names, source->name, canonical, turned);
    if (kind == PARE_NAME_UNKNOWN)
        return unexpected(source, "has no role in this architecture");
    /* A tied head may be saved too; transformers then uses the embedding all the same. */
    *skip = kind == PARE_NAME_IGNORED ||
            (b->model->decoder.tied_head && strcmp(canonical, "output.weight") == 0);
    return PARE_OK;
}

/* AutoGPTQ saved a bias of zeros for every layer, also where the model has none. */
static bool is_spare_bias(const binding *b, const pare_tensor *source, const char *canonical)
{
    const char *rest;
    int64_t layer;
    if (!b->private->layout.library || source->source ||
        !pare_name_split(canonical, "blk.", &layer, &rest))
        return false;
    const weight_role *role = find_role(layer_roles, LAYER_ROLES, rest);
    if (!role || role->columns != NONE ||
        need_of(role->group, &b->model->decoder, &b->private->layout) != PARE_NEED_NO)
        return false;
    const char *data = source->data;
    for (size_t i = 0; i < source->bytes; i++)
        if (data[i])
            return false;
    return true;
}

static pare_status collect(binding *b, const pare_tensors *tensors)
{
    pare_status status =
        pare_allocate(tensors->count, sizeof *b->found, "tensor descriptions", &b->found);
    for (size_t i = 0; i < tensors->count && status == PARE_OK; i++) {
        const pare_tensor *source = &tensors->items[i];
        found_tensor *next = &b->found[b->count];
        char canonical[PARE_NAME_BYTES];
        bool skip;
        PARE_TRY(translate(b, source, canonical, &next->turned, &skip));
        if (skip || is_spare_bias(b, source, canonical))
            continue;
        if (source->source)
            next->turned = false; /* quantized layers are [out, in] whatever the class */
        next->tensor = *source;
        next->original = source->name;
        next->tensor.name = pare_arena_copy(&b->private->arena, canonical, strlen(canonical));
        if (!next->tensor.name)
            return PARE_OUT_OF_MEMORY;
        if (next->turned && source->dims == 2) {
            next->tensor.shape[0] = source->shape[1];
            next->tensor.shape[1] = source->shape[0];
        }
        PARE_TRY(assign_role(b, source, canonical, next));
        PARE_TRY(check_type(source, next->role));
        PARE_TRY(check_shape(b, source, next));
        b->count++;
    }
fail:
    return status;
}

/* ---- order and pointers ---- */

/* Where a tensor stands in a written file. */
static int64_t place(const found_tensor *found)
{
    if (found->layer >= 0)
        return GLOBAL_ROLES + found->layer * LAYER_ROLES + (found->role - layer_roles);
    int64_t i = found->role - global_roles;
    return i < GLOBAL_BEFORE_LAYERS ? i : INT64_MAX - GLOBAL_ROLES + i;
}

static int by_place(const void *a, const void *b)
{
    int64_t x = place(a), y = place(b);
    return x < y ? -1 : x > y;
}

static pare_status bind_all(binding *b)
{
    pare_model *model = b->model;
    qsort(b->found, b->count, sizeof *b->found, by_place);
    model->tensors = pare_arena_allocate(&b->private->arena, b->count * sizeof *model->tensors);
    model->layers = pare_arena_allocate(&b->private->arena,
                                        (size_t)model->decoder.layers * sizeof *model->layers);
    if (!model->tensors || !model->layers)
        return PARE_OUT_OF_MEMORY;
    model->tensor_count = b->count;
    for (size_t i = 0; i < b->count; i++) {
        const found_tensor *found = &b->found[i];
        char *base = found->layer < 0 ? (char *)model : (char *)&model->layers[found->layer];
        const pare_tensor **pointer = (const pare_tensor **)(void *)(base + found->role->field);
        if (*pointer) /* "h.0.x" and "transformer.h.0.x" */
            return pare_fail(PARE_FORMAT, "%s: tensor '%s' occurs twice", found->tensor.file,
                             found->original);
        model->tensors[i] = found->tensor;
        *pointer = &model->tensors[i];
    }
    return PARE_OK;
}

static pare_status missing(const binding *b, const weight_role *role, int64_t layer)
{
    char canonical[PARE_NAME_BYTES], hf[PARE_NAME_BYTES];
    if (layer < 0)
        snprintf(canonical, sizeof canonical, "%s", role->name);
    else
        snprintf(canonical, sizeof canonical, "blk.%" PRId64 ".%s", layer, role->name);
    const pare_name_table *names = b->private->layout.names;
    bool known = names && pare_name_to_hf(names, canonical, hf);
    return pare_fail(PARE_NOT_FOUND, "%s: tensor '%s' is missing", b->file, known ? hf : canonical);
}

static pare_status check_complete(const binding *b)
{
    const pare_model *model = b->model;
    const pare_decoder *decoder = &model->decoder;
    for (int i = 0; i < GLOBAL_ROLES; i++) {
        const void *const *pointer =
            (const void *const *)(const void *)((const char *)model + global_roles[i].field);
        if (!*pointer &&
            need_of(global_roles[i].group, decoder, &b->private->layout) == PARE_NEED_YES)
            return missing(b, &global_roles[i], -1);
    }
    for (int64_t layer = 0; layer < decoder->layers; layer++)
        for (int i = 0; i < LAYER_ROLES; i++) {
            const char *base = (const char *)&model->layers[layer];
            const void *const *pointer =
                (const void *const *)(const void *)(base + layer_roles[i].field);
            if (!*pointer &&
                need_of(layer_roles[i].group, decoder, &b->private->layout) == PARE_NEED_YES)
                return missing(b, &layer_roles[i], layer);
        }
    return PARE_OK;
}

/* model->tensors and found are in the same order. */
static pare_status turn_all(binding *b)
{
    pare_status status = PARE_OK;
    for (size_t i = 0; i < b->count && status == PARE_OK; i++)
        if (b->found[i].turned)
            status = pare_tensor_turn(&b->model->tensors[i], b->found[i].original);
    return status;
}

pare_status pare_weights_bind(pare_model *model, const pare_tensors *source, const char *file)
{
    binding b = {model, pare_model_get_private(model), file, NULL, 0};
    pare_status status;
    PARE_TRY(collect(&b, source));
    PARE_TRY(bind_all(&b));
    PARE_TRY(check_complete(&b));
    PARE_TRY(turn_all(&b));
    if (model->decoder.tied_head)
        model->head = model->token_embedding;
fail:
    free(b.found);
    return status;
}

/* ---- what a model needs, without files ---- */

typedef struct visit {
    const pare_decoder *decoder;
    const pare_layout *layout;
    pare_status (*each)(void *user, const char *name, int64_t rows, int64_t columns);
    void *user;
} visit;

static pare_status visit_role(const visit *v, const weight_role *role, int64_t layer)
{
    char name[PARE_NAME_BYTES];
    if (need_of(role->group, v->decoder, v->layout) != PARE_NEED_YES)
        return PARE_OK;
    if (layer < 0)
        snprintf(name, sizeof name, "%s", role->name);
    else
        snprintf(name, sizeof name, "blk.%" PRId64 ".%s", layer, role->name);
    return v->each(v->user, name, size_of(role->rows, v->decoder),
                   role->columns == NONE ? 0 : size_of(role->columns, v->decoder));
}

pare_status pare_weights_each(const pare_decoder *decoder, const pare_layout *layout,
                              pare_status (*each)(void *user, const char *name, int64_t rows,
                                                  int64_t columns),
                              void *user)
{
    const visit v = {decoder, layout, each, user};
    pare_status status = PARE_OK;
    for (int i = 0; status == PARE_OK && i < GLOBAL_BEFORE_LAYERS; i++)
        status = visit_role(&v, &global_roles[i], -1);
    for (int64_t layer = 0; layer < decoder->layers; layer++)
        for (int i = 0; status == PARE_OK && i < LAYER_ROLES; i++)
            status = visit_role(&v, &layer_roles[i], layer);
    for (int i = GLOBAL_BEFORE_LAYERS; status == PARE_OK && i < GLOBAL_ROLES; i++)
        status = visit_role(&v, &global_roles[i], -1);
    return status;
}
