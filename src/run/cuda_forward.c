/* The forward pass of one token: what cpu_forward.c does, as a queue of kernels: per layer  qkv
 * (norm inside) | attention (rotation and cache inside) | output, added | gate up (norm and
 * activation inside) | down, added; then the head, and the choice of a token. */
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

/* Matrix i of a group that reads `in`. */
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
    if (group->factors)
        args.norm_weight = group->factors;
    if (group->rounded) {
        args.rounding = cuda_round_rule(cuda);
        args.outliers = i == 0 ? group->outliers : NULL;
    }
    return gpu_matvec(&cuda->gpu, &args, cuda->fast && !group->rounded);
}

static pare_status queue_up(cuda_state *cuda, const cuda_layer *layer)
{
    const cuda_group *up = &layer->up;
    cuda_inputs in = {cuda->hidden, cuda->hidden_stride, 1, &layer->mlp_norm};
    pare_status status;
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
    return multiply_one(cuda, group, 0, &in, cuda->hidden, GPU_ADD, NULL);
}

static pare_status queue_layer(cuda_state *cuda, int64_t l)
{
    const cuda_layer *layer = &cuda->layers[l];
    gpu_heads heads = cuda_heads_of(cuda, l);
    cuda_inputs in = {cuda->hidden, cuda->hidden_stride, 1, &layer->attention_norm};
    pare_status status;
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
