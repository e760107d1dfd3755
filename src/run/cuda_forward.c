/* The forward pass: what cpu_forward.c does, as a queue of kernels.
 *
 * One token:   per layer  qkv (norm inside) | attention (rotation and cache inside) | output, added
 * | gate up (norm and activation inside) | down, added; then the head, and the choice of a token.
 * Many tokens: norms and activations are kernels of their own, and products run on the tensor
 * cores over weights as FP16 or BF16 numbers. */
#include "run/cuda.h"

#include "base/fail.h"

gpu_norm cuda_norm_kind(const cuda_state *cuda)
{
    return cuda->decoder->norm == PARE_NORM_RMS ? GPU_NORM_RMS : GPU_NORM_LAYER;
}

gpu_activation cuda_activation_kind(const cuda_state *cuda)
{
    static const gpu_activation kinds[] = {[PARE_MLP_SILU] = GPU_SILU,
                                           [PARE_MLP_GELU] = GPU_GELU,
                                           [PARE_MLP_GELU_TANH] = GPU_GELU_TANH,
                                           [PARE_MLP_RELU] = GPU_RELU};
    return kinds[cuda->decoder->activation];
}

gpu_heads cuda_heads_of(const cuda_state *cuda, int64_t l)
{
    const pare_decoder *d = cuda->decoder;
    return (gpu_heads){
        .heads = (int)d->heads,
        .kv_heads = (int)d->kv_heads,
        .head_dim = (int)d->head_dim,
        .cache_dim = (int)cuda->cache_dim,
        .q_norm = cuda->layers[l].q_norm,
        .k_norm = cuda->layers[l].k_norm,
        .epsilon = d->norm_epsilon,
        .cosines = cuda->cosines,
        .sines = cuda->sines,
        .rope_dims = (int)d->rope_dims,
        .rope_pairs = d->rope_pairs,
        .cache_type = cuda->kv_type,
        .keys = cuda->keys + (size_t)l * cuda->kv_layer_bytes,
        .values = cuda->values + (size_t)l * cuda->kv_layer_bytes,
        .row_bytes = cuda->kv_row_bytes,
        .sequence_bytes = cuda->kv_sequence_bytes,
        .capacity = cuda->context,
        .window = (int)d->sliding_window,
        .scale = d->attention_scale[l],
    };
}

/* ---- one token ---- */

/* Matrix i of a group that reads `in` (of cuda_feed). */
static pare_status multiply_one(cuda_state *cuda, const cuda_group *group, int i,
                                const cuda_inputs *in, float *y, gpu_epilogue epilogue,
                                gpu_best *best)
{
    const cuda_matrix *matrix = &group->items[i];
    gpu_matvec_args args = {
        .weights = matrix->weights,
        .bias = matrix->bias,
        .x = in->x,
        .y = y + (epilogue == GPU_STORE ? matrix->offset : 0),
        .epilogue = epilogue,
        .activation = cuda_activation_kind(cuda),
        .best = best,
    };
    if (in->norm) {
        args.norm = cuda_norm_kind(cuda);
        args.norm_weight = in->norm->weight;
        args.norm_bias = in->norm->bias;
        args.epsilon = cuda->decoder->norm_epsilon;
    }
    return gpu_matvec(&cuda->gpu, &args, cuda->fast && !group->rounded);
}

static pare_status queue_up(cuda_state *cuda, const cuda_layer *layer)
{
    const cuda_group *up = &layer->up;
    cuda_inputs in = {cuda->hidden, cuda->hidden_stride, 1, &layer->mlp_norm};
    pare_status status;
    PARE_TRY(cuda_feed(cuda, up, &in));
    PARE_TRY(multiply_one(cuda, up, 0, &in, cuda->mlp, up->gated ? GPU_GATED : GPU_ACTIVATE, NULL));
    if (up->count > 1)
        PARE_TRY(multiply_one(cuda, up, 1, &in, cuda->mlp, GPU_MULTIPLY, NULL));
fail:
    return status;
}

/* Into the residual stream. */
static pare_status queue_added(cuda_state *cuda, const cuda_group *group, const float *x,
                               int64_t stride)
{
    cuda_inputs in = {x, stride, 1, NULL};
    pare_status status;
    PARE_TRY(cuda_feed(cuda, group, &in));
    PARE_TRY(multiply_one(cuda, group, 0, &in, cuda->hidden, GPU_ADD, NULL));
fail:
    return status;
}

static pare_status queue_layer(cuda_state *cuda, int64_t l)
{
    const cuda_layer *layer = &cuda->layers[l];
    gpu_heads heads = cuda_heads_of(cuda, l);
    cuda_inputs in = {cuda->hidden, cuda->hidden_stride, 1, &layer->attention_norm};
    pare_status status;
    PARE_TRY(cuda_feed(cuda, &layer->qkv, &in));
    for (int i = 0; i < layer->qkv.count; i++)
        PARE_TRY(multiply_one(cuda, &layer->qkv, i, &in, cuda->qkv, GPU_STORE, NULL));
    PARE_TRY(gpu_attend_one(&cuda->gpu, &heads, cuda->qkv, cuda->qkv_stride, cuda->control, 1,
                            cuda->attended, cuda->attention_stride, cuda->attention_scratch));
    PARE_TRY(queue_added(cuda, &layer->output, cuda->attended, cuda->attention_stride));
    PARE_TRY(queue_up(cuda, layer));
    PARE_TRY(queue_added(cuda, &layer->down, cuda->mlp, cuda->mlp_stride));
fail:
    return status;
}

pare_status cuda_queue_token(cuda_state *cuda)
{
    cuda_inputs in = {cuda->hidden, cuda->hidden_stride, 1, &cuda->final_norm};
    pare_status status;
    PARE_TRY(gpu_embed_next(&cuda->gpu, &cuda->embedding, &cuda->positions, cuda->control, 1,
                            cuda->hidden, cuda->hidden_stride));
    for (int64_t l = 0; l < cuda->decoder->layers; l++)
        PARE_TRY(queue_layer(cuda, l));
    PARE_TRY(multiply_one(cuda, &cuda->head, 0, &in, cuda->logits, GPU_STORE, cuda->best));
    PARE_TRY(
        gpu_choose(&cuda->gpu, cuda->best, gpu_best_count(&cuda->gpu), cuda->control, cuda->ids));
fail:
    return status;
}

/* ---- many tokens ---- */

/* As what numbers a matrix meets its activations. Exact: as many BF16 planes as hold every bit. */
typedef struct operand {
    gpu_number number;
    int x_planes, w_planes;
    bool direct; /* the weights are such numbers as they lie */
} operand;

static operand operand_of(const cuda_state *cuda, pare_type type)
{
    if (type == PARE_TYPE_BF16)
        return (operand){GPU_BF16, cuda->fast ? 1 : 3, 1, true};
    if (cuda->fast && type == PARE_TYPE_F16)
        return (operand){GPU_F16, 1, 1, true};
    if (cuda->fast && type != PARE_TYPE_F32)
        return (operand){GPU_F16, 1, 1, false};
    return (operand){GPU_BF16, 3, type == PARE_TYPE_F16 ? 2 : 3, false};
}

/* Rows that are made numbers at a time. */
static int64_t slice_rows(const gpu_weights *w)
{
    int64_t rows = CUDA_SLICE / cuda_stride(w->columns);
    return rows < 1 ? 1 : rows < w->rows ? rows : w->rows;
}

static int64_t numbers_of(const cuda_state *cuda, const cuda_group *group)
{
    int64_t most = 0;
    for (int i = 0; i < group->count; i++) {
        const gpu_weights *w = &group->items[i].weights;
        operand o = operand_of(cuda, w->type);
        int64_t n = o.direct ? 0 : o.w_planes * slice_rows(w) * cuda_stride(w->columns);
        most = n > most ? n : most;
    }
    return most;
}

int64_t cuda_plane_numbers(const cuda_state *cuda)
{
    int64_t most = numbers_of(cuda, &cuda->head);
    for (int64_t l = 0; l < cuda->decoder->layers; l++) {
        const cuda_layer *layer = &cuda->layers[l];
        const cuda_group *groups[] = {&layer->qkv, &layer->output, &layer->up, &layer->down};
        for (int i = 0; i < 4; i++) {
            int64_t n = numbers_of(cuda, groups[i]);
            most = n > most ? n : most;
        }
    }
    return most;
}

static gpu_planes x_planes(const cuda_state *cuda, operand o, int64_t columns)
{
    return (gpu_planes){cuda->x_planes, o.number, o.x_planes, cuda->chunk, cuda_stride(columns)};
}

static pare_status multiply(cuda_state *cuda, const cuda_matrix *matrix, operand o, int64_t n,
                            float *y, int64_t y_stride, bool add)
{
    const gpu_weights *w = &matrix->weights;
    int64_t stride = cuda_stride(w->columns), slice = o.direct ? w->rows : slice_rows(w);
    pare_status status = PARE_OK;
    gpu_gemm_args args = {.x = x_planes(cuda, o, w->columns),
                          .tokens = n,
                          .columns = w->columns,
                          .y_stride = y_stride,
                          .add = add};
    for (int64_t first = 0; first < w->rows; first += slice) {
        args.rows = w->rows - first < slice ? w->rows - first : slice;
        args.w = (gpu_planes){cuda->w_planes, o.number, o.w_planes, args.rows, stride};
        if (o.direct)
            args.w.data = (void *)w->data;
        else
            PARE_TRY(gpu_dequantize(&cuda->gpu, w, first, args.rows, &args.w));
        args.y = y + matrix->offset + first;
        args.bias = matrix->bias ? matrix->bias + first : NULL;
        PARE_TRY(gpu_gemm(&cuda->gpu, &args));
    }
fail:
    return status;
}

/* A group over rows x (normalized where norm is given), whose outputs lie side by side. */
static pare_status multiply_group(cuda_state *cuda, const cuda_group *group, cuda_inputs in,
                                  float *y, int64_t y_stride, bool add)
{
    operand last = {0};
    pare_status status;
    PARE_TRY(cuda_feed(cuda, group, &in));
    for (int i = 0; i < group->count; i++) {
        int64_t columns = group->items[i].weights.columns;
        operand o = operand_of(cuda, group->items[i].weights.type);
        gpu_planes to = x_planes(cuda, o, columns);
        if (i == 0 || o.number != last.number || o.x_planes != last.x_planes)
            PARE_TRY(gpu_norm_rows(&cuda->gpu, in.x, in.stride, in.tokens, columns,
                                   in.norm ? cuda_norm_kind(cuda) : GPU_NORM_NONE,
                                   in.norm ? in.norm->weight : NULL, in.norm ? in.norm->bias : NULL,
                                   cuda->decoder->norm_epsilon, &to));
        last = o;
        PARE_TRY(multiply(cuda, &group->items[i], o, in.tokens, y, y_stride, add));
    }
fail:
    return status;
}

pare_status cuda_queue_activated(cuda_state *cuda, int64_t l, const float *x, int64_t n,
                                 const gpu_planes *to)
{
    const pare_decoder *d = cuda->decoder;
    const cuda_layer *layer = &cuda->layers[l];
    cuda_inputs in = {x, cuda->hidden_stride, n, &layer->mlp_norm};
    const float *up = NULL;
    pare_status status;
    if (d->gated_mlp)
        up = cuda->mlp + (layer->up.gated ? 1 : cuda->up_offset);
    PARE_TRY(multiply_group(cuda, &layer->up, in, cuda->mlp, cuda->mlp_stride, false));
    PARE_TRY(gpu_activate_rows(&cuda->gpu, cuda->mlp, up, layer->up.gated ? 2 : 1, cuda->mlp_stride,
                               n, d->mlp_hidden, cuda_activation_kind(cuda), to));
fail:
    return status;
}

pare_status cuda_queue_mlp(cuda_state *cuda, int64_t l, float *x, int64_t n)
{
    const pare_decoder *d = cuda->decoder;
    const cuda_group *down = &cuda->layers[l].down;
    operand o = operand_of(cuda, down->items[0].weights.type);
    gpu_planes to = x_planes(cuda, o, d->mlp_hidden);
    pare_status status;
    if (cuda_group_feeds(down))
        to = (gpu_planes){cuda->rounded, GPU_F32, 1, n, cuda_stride(d->mlp_hidden)};
    PARE_TRY(cuda_queue_activated(cuda, l, x, n, &to));
    if (cuda_group_feeds(down)) {
        gpu_planes planes = x_planes(cuda, o, d->mlp_hidden);
        PARE_TRY(cuda_feed_made(cuda, down, n, d->mlp_hidden));
        PARE_TRY(gpu_norm_rows(&cuda->gpu, cuda->rounded, to.stride, n, d->mlp_hidden,
                               GPU_NORM_NONE, NULL, NULL, 0, &planes));
    }
    PARE_TRY(multiply(cuda, &down->items[0], o, n, x, cuda->hidden_stride, true));
fail:
    return status;
}

pare_status cuda_queue_attended(cuda_state *cuda, int64_t l, const float *x, int64_t n,
                                const gpu_control *control, int64_t past)
{
    const cuda_layer *layer = &cuda->layers[l];
    gpu_heads heads = cuda_heads_of(cuda, l);
    cuda_inputs in = {x, cuda->hidden_stride, n, &layer->attention_norm};
    pare_status status;
    PARE_TRY(multiply_group(cuda, &layer->qkv, in, cuda->qkv, cuda->qkv_stride, false));
    if (control) {
        PARE_TRY(gpu_attend_one(&cuda->gpu, &heads, cuda->qkv, cuda->qkv_stride, control, n,
                                cuda->attended, cuda->attention_stride, cuda->attention_scratch));
    } else {
        PARE_TRY(gpu_place_heads(&cuda->gpu, &heads, cuda->qkv, cuda->qkv_stride, cuda->sequence, n,
                                 past));
        PARE_TRY(gpu_attend(&cuda->gpu, &heads, cuda->qkv, cuda->qkv_stride, cuda->sequence, n,
                            past, cuda->attended, cuda->attention_stride));
    }
fail:
    return status;
}

pare_status cuda_queue_output(cuda_state *cuda, int64_t l, float *x, int64_t n)
{
    cuda_inputs attended = {cuda->attended, cuda->attention_stride, n, NULL};
    return multiply_group(cuda, &cuda->layers[l].output, attended, x, cuda->hidden_stride, true);
}

/* control NULL: tokens of the selected sequence from position past on. */
static pare_status layer_rows(cuda_state *cuda, int64_t l, float *x, int64_t n,
                              const gpu_control *control, int64_t past)
{
    pare_status status;
    PARE_TRY(cuda_queue_attended(cuda, l, x, n, control, past));
    PARE_TRY(cuda_queue_output(cuda, l, x, n));
    PARE_TRY(cuda_queue_mlp(cuda, l, x, n));
fail:
    return status;
}

pare_status cuda_queue_layer_batch(cuda_state *cuda, int64_t l, float *x, int64_t n,
                                   const gpu_control *control)
{
    return layer_rows(cuda, l, x, n, control, 0);
}

pare_status cuda_queue_chunk(cuda_state *cuda, const int32_t *ids, int64_t n, int64_t past,
                             int64_t row)
{
    float *x = cuda->hidden + row * cuda->hidden_stride;
    pare_status status;
    PARE_TRY(gpu_embed(&cuda->gpu, &cuda->embedding, &cuda->positions, ids, n, past, x,
                       cuda->hidden_stride));
    for (int64_t l = 0; l < cuda->decoder->layers; l++)
        PARE_TRY(layer_rows(cuda, l, x, n, NULL, past));
fail:
    return status;
}

pare_status cuda_queue_head(cuda_state *cuda, int64_t row, int64_t n)
{
    cuda_inputs in = {cuda->hidden + row * cuda->hidden_stride, cuda->hidden_stride, n,
                      &cuda->final_norm};
    if (cuda->few && n <= GPU_FEW_MOST)
        return cuda_queue_head_few(cuda, row, n);
    return multiply_group(cuda, &cuda->head, in, cuda->logits, cuda->vocab_stride, false);
}
