/* The forward pass: what cpu_forward.c does, as a queue of kernels.
 *
 * One token:   per layer  qkv (norm inside) | attention (rotation and cache inside) | output, added
 * | gate up (norm and activation inside) | down, added; then the head, and the choice of a token.
 * Many tokens: norms and activations are kernels of their own, and products run on the tensor
 * cores over weights as FP16 or BF16 numbers. */
#include "run/cuda.h"

#include "base/fail.h"

static gpu_norm norm_kind(const cuda_state *cuda)
{
    return cuda->decoder->norm == PARE_NORM_RMS ? GPU_NORM_RMS : GPU_NORM_LAYER;
}

static gpu_activation activation_kind(const cuda_state *cuda)
{
    static const gpu_activation kinds[] = {[PARE_MLP_SILU] = GPU_SILU,
                                           [PARE_MLP_GELU] = GPU_GELU,
                                           [PARE_MLP_GELU_TANH] = GPU_GELU_TANH,
                                           [PARE_MLP_RELU] = GPU_RELU};
    return kinds[cuda->decoder->activation];
}

static gpu_heads heads_of(const cuda_state *cuda, int64_t l)
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
        .capacity = cuda->context,
        .window = (int)d->sliding_window,
        .scale = d->attention_scale[l],
    };
}

/* ---- one token ---- */

/* norm NULL: the input is taken as it is. */
static pare_status multiply_one(cuda_state *cuda, const cuda_matrix *matrix, const float *x,
                                const cuda_norm *norm, float *y, gpu_epilogue epilogue,
                                gpu_best *best)
{
    gpu_matvec_args args = {
        .weights = matrix->weights,
        .bias = matrix->bias,
        .x = x,
        .y = y + (epilogue == GPU_STORE ? matrix->offset : 0),
        .epilogue = epilogue,
        .activation = activation_kind(cuda),
        .best = best,
    };
    if (norm) {
        args.norm = norm_kind(cuda);
        args.norm_weight = norm->weight;
        args.norm_bias = norm->bias;
        args.epsilon = cuda->decoder->norm_epsilon;
    }
    return gpu_matvec(&cuda->gpu, &args, cuda->fast);
}

static pare_status queue_up(cuda_state *cuda, const cuda_layer *layer)
{
    const cuda_group *up = &layer->up;
    gpu_epilogue first = up->gated ? GPU_GATED : GPU_ACTIVATE;
    pare_status status;
    PARE_TRY(
        multiply_one(cuda, &up->items[0], cuda->hidden, &layer->mlp_norm, cuda->mlp, first, NULL));
    if (up->count > 1)
        PARE_TRY(multiply_one(cuda, &up->items[1], cuda->hidden, &layer->mlp_norm, cuda->mlp,
                              GPU_MULTIPLY, NULL));
fail:
    return status;
}

static pare_status queue_layer(cuda_state *cuda, int64_t l)
{
    const cuda_layer *layer = &cuda->layers[l];
    gpu_heads heads = heads_of(cuda, l);
    pare_status status;
    for (int i = 0; i < layer->qkv.count; i++)
        PARE_TRY(multiply_one(cuda, &layer->qkv.items[i], cuda->hidden, &layer->attention_norm,
                              cuda->qkv, GPU_STORE, NULL));
    PARE_TRY(gpu_attend_one(&cuda->gpu, &heads, cuda->qkv, cuda->control, cuda->attended,
                            cuda->attention_scratch));
    PARE_TRY(multiply_one(cuda, &layer->output.items[0], cuda->attended, NULL, cuda->hidden,
                          GPU_ADD, NULL));
    PARE_TRY(queue_up(cuda, layer));
    PARE_TRY(
        multiply_one(cuda, &layer->down.items[0], cuda->mlp, NULL, cuda->hidden, GPU_ADD, NULL));
fail:
    return status;
}

pare_status cuda_queue_token(cuda_state *cuda)
{
    pare_status status;
    PARE_TRY(
        gpu_embed_one(&cuda->gpu, &cuda->embedding, &cuda->positions, cuda->control, cuda->hidden));
    for (int64_t l = 0; l < cuda->decoder->layers; l++)
        PARE_TRY(queue_layer(cuda, l));
    PARE_TRY(multiply_one(cuda, &cuda->head.items[0], cuda->hidden, &cuda->final_norm, cuda->logits,
                          GPU_STORE, cuda->best));
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
static pare_status multiply_group(cuda_state *cuda, const cuda_group *group, const float *x,
                                  int64_t stride, const cuda_norm *norm, int64_t n, float *y,
                                  int64_t y_stride, bool add)
{
    operand last = {0};
    pare_status status = PARE_OK;
    for (int i = 0; i < group->count; i++) {
        int64_t columns = group->items[i].weights.columns;
        operand o = operand_of(cuda, group->items[i].weights.type);
        gpu_planes to = x_planes(cuda, o, columns);
        if (i == 0 || o.number != last.number || o.x_planes != last.x_planes)
            PARE_TRY(gpu_norm_rows(&cuda->gpu, x, stride, n, columns,
                                   norm ? norm_kind(cuda) : GPU_NORM_NONE,
                                   norm ? norm->weight : NULL, norm ? norm->bias : NULL,
                                   cuda->decoder->norm_epsilon, &to));
        last = o;
        PARE_TRY(multiply(cuda, &group->items[i], o, n, y, y_stride, add));
    }
fail:
    return status;
}

static pare_status mlp_chunk(cuda_state *cuda, const cuda_layer *layer, float *x, int64_t n)
{
    const pare_decoder *d = cuda->decoder;
    const cuda_matrix *down = &layer->down.items[0];
    operand o = operand_of(cuda, down->weights.type);
    gpu_planes to = x_planes(cuda, o, d->mlp_hidden);
    const float *up = NULL;
    pare_status status;
    if (d->gated_mlp)
        up = cuda->mlp + (layer->up.gated ? 1 : cuda->up_offset);
    PARE_TRY(multiply_group(cuda, &layer->up, x, cuda->hidden_stride, &layer->mlp_norm, n,
                            cuda->mlp, cuda->mlp_stride, false));
    PARE_TRY(gpu_activate_rows(&cuda->gpu, cuda->mlp, up, layer->up.gated ? 2 : 1, cuda->mlp_stride,
                               n, d->mlp_hidden, activation_kind(cuda), &to));
    PARE_TRY(multiply(cuda, down, o, n, x, cuda->hidden_stride, true));
fail:
    return status;
}

static pare_status layer_chunk(cuda_state *cuda, int64_t l, float *x, int64_t n, int64_t past)
{
    const cuda_layer *layer = &cuda->layers[l];
    gpu_heads heads = heads_of(cuda, l);
    pare_status status;
    PARE_TRY(multiply_group(cuda, &layer->qkv, x, cuda->hidden_stride, &layer->attention_norm, n,
                            cuda->qkv, cuda->qkv_stride, false));
    PARE_TRY(gpu_place_heads(&cuda->gpu, &heads, cuda->qkv, cuda->qkv_stride, n, past));
    PARE_TRY(gpu_attend(&cuda->gpu, &heads, cuda->qkv, cuda->qkv_stride, n, past, cuda->attended,
                        cuda->attention_stride));
    PARE_TRY(multiply_group(cuda, &layer->output, cuda->attended, cuda->attention_stride, NULL, n,
                            x, cuda->hidden_stride, true));
    PARE_TRY(mlp_chunk(cuda, layer, x, n));
fail:
    return status;
}

pare_status cuda_queue_chunk(cuda_state *cuda, const int32_t *ids, int64_t n, int64_t past,
                             int64_t row)
{
    float *x = cuda->hidden + row * cuda->hidden_stride;
    pare_status status;
    PARE_TRY(gpu_embed(&cuda->gpu, &cuda->embedding, &cuda->positions, ids, n, past, x,
                       cuda->hidden_stride));
    for (int64_t l = 0; l < cuda->decoder->layers; l++)
        PARE_TRY(layer_chunk(cuda, l, x, n, past));
fail:
    return status;
}

pare_status cuda_queue_head(cuda_state *cuda, int64_t row, int64_t n)
{
    return multiply_group(cuda, &cuda->head, cuda->hidden + row * cuda->hidden_stride,
                          cuda->hidden_stride, &cuda->final_norm, n, cuda->logits,
                          cuda->vocab_stride, false);
}
