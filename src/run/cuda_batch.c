/* One token of each of several sequences, up to 64 at a time: products that read the packed weights
 * once (gpu_few), where activations may be rounded to 16 bits and the formats have such kernels;
 * otherwise those of many tokens. */
#include "run/cuda.h"

#include "base/fail.h"

/* ---- memory ---- */

static bool takes_group(const cuda_state *cuda, const cuda_group *group)
{
    for (int i = 0; i < group->count; i++)
        if (!gpu_few_takes(&cuda->gpu, group->items[i].weights.type))
            return false;
    return !cuda_group_feeds(group);
}

static bool takes_all(const cuda_state *cuda)
{
    bool all = cuda->fast && takes_group(cuda, &cuda->head);
    for (int64_t l = 0; l < cuda->decoder->layers && all; l++) {
        const cuda_layer *layer = &cuda->layers[l];
        all = takes_group(cuda, &layer->qkv) && takes_group(cuda, &layer->output) &&
              takes_group(cuda, &layer->up) && takes_group(cuda, &layer->down);
    }
    return all;
}

static void group_demand(const cuda_state *cuda, const cuda_group *group, size_t *partial,
                         size_t *done)
{
    for (int i = 0; i < group->count; i++) {
        size_t bytes = gpu_few_partial(&cuda->gpu, &group->items[i].weights);
        size_t flags = gpu_few_done(&group->items[i].weights);
        *partial = bytes > *partial ? bytes : *partial;
        *done = flags > *done ? flags : *done;
    }
}

pare_status cuda_allocate_few(cuda_state *cuda)
{
    const pare_decoder *d = cuda->decoder;
    int64_t most = cuda->batch > 1 ? cuda->tile : 1; /* one row: a prompt's last logits */
    size_t partial = 0, done = 0;
    pare_status status = PARE_OK;
    cuda->few = takes_all(cuda);
    if (!cuda->few)
        return PARE_OK;
    most = most > GPU_FEW_MOST ? GPU_FEW_MOST : most;
    group_demand(cuda, &cuda->head, &partial, &done);
    for (int64_t l = 0; l < d->layers; l++) {
        group_demand(cuda, &cuda->layers[l].qkv, &partial, &done);
        group_demand(cuda, &cuda->layers[l].output, &partial, &done);
        group_demand(cuda, &cuda->layers[l].up, &partial, &done);
        group_demand(cuda, &cuda->layers[l].down, &partial, &done);
    }
    PARE_TRY(cuda_hold(cuda, gpu_few_bytes(d->hidden, GPU_FEW_MOST), "scratch", &cuda->few_hidden));
    PARE_TRY(cuda_hold(cuda, gpu_few_bytes(d->heads * d->head_dim, most), "scratch",
                       &cuda->few_attended));
    PARE_TRY(cuda_hold(cuda, gpu_few_bytes(d->mlp_hidden, most), "scratch", &cuda->few_mlp));
    PARE_TRY(cuda_hold(cuda, partial, "scratch", &cuda->few_partial));
    PARE_TRY(cuda_hold(cuda, done, "scratch", &cuda->few_done));
fail:
    return status;
}

/* ---- products ---- */

static gpu_number number_of(const cuda_state *cuda, const cuda_group *group, int i)
{
    return gpu_few_number(&cuda->gpu, group->items[i].weights.type);
}

static gpu_few_args few_args(const cuda_state *cuda, const cuda_matrix *matrix, const void *packed,
                             int64_t n, float *y, int64_t y_stride, gpu_epilogue epilogue)
{
    return (gpu_few_args){
        .weights = matrix->weights,
        .bias = matrix->bias,
        .x = packed,
        .tokens = (int)n,
        .y = y + (epilogue == GPU_STORE ? matrix->offset : 0),
        .y_stride = y_stride,
        .epilogue = epilogue,
        .activation = cuda_activation_kind(cuda),
        .partial = cuda->few_partial,
        .done = cuda->few_done,
    };
}

static pare_status pack(cuda_state *cuda, const cuda_inputs *in, int64_t columns, gpu_number number,
                        void *packed)
{
    gpu_few_pack_args args = {.x = in->x,
                              .stride = in->stride,
                              .tokens = in->tokens,
                              .columns = columns,
                              .number = number,
                              .packed = packed};
    if (in->norm) {
        args.norm = cuda_norm_kind(cuda);
        args.norm_weight = in->norm->weight;
        args.norm_bias = in->norm->bias;
        args.epsilon = cuda->decoder->norm_epsilon;
    }
    return gpu_few_pack(&cuda->gpu, &args);
}

static pare_status multiply_group(cuda_state *cuda, const cuda_group *group, const cuda_inputs *in,
                                  void *packed, float *y, int64_t y_stride, gpu_epilogue epilogue)
{
    pare_status status = PARE_OK;
    for (int i = 0; i < group->count; i++) {
        gpu_few_args args =
            few_args(cuda, &group->items[i], packed, in->tokens, y, y_stride, epilogue);
        if (i == 0 || number_of(cuda, group, i) != number_of(cuda, group, i - 1))
            PARE_TRY(
                pack(cuda, in, group->items[i].weights.columns, number_of(cuda, group, i), packed));
        PARE_TRY(gpu_few(&cuda->gpu, &args));
    }
fail:
    return status;
}

/* Gate and up of one format, and an MLP without gate, leave their results as the inputs of down. */
static pare_status queue_up(cuda_state *cuda, const cuda_layer *layer, float *x, int64_t n)
{
    const cuda_group *up = &layer->up;
    cuda_inputs in = {x, cuda->hidden_stride, n, &layer->mlp_norm};
    cuda_inputs made = {cuda->mlp, cuda->mlp_stride, n, NULL};
    gpu_number next = number_of(cuda, &layer->down, 0);
    bool direct = up->count == 1 && (next != GPU_INT8 || number_of(cuda, up, 0) == GPU_INT8);
    pare_status status = PARE_OK;
    for (int i = 0; i < up->count; i++) {
        gpu_epilogue epilogue = up->gated ? GPU_GATED : i == 0 ? GPU_ACTIVATE : GPU_MULTIPLY;
        gpu_few_args args = few_args(cuda, &up->items[i], cuda->few_hidden, n, cuda->mlp,
                                     cuda->mlp_stride, epilogue);
        if (direct) {
            args.packed = cuda->few_mlp;
            args.packed_number = next;
        }
        if (i == 0 || number_of(cuda, up, i) != number_of(cuda, up, i - 1))
            PARE_TRY(
                pack(cuda, &in, cuda->decoder->hidden, number_of(cuda, up, i), cuda->few_hidden));
        PARE_TRY(gpu_few(&cuda->gpu, &args));
    }
    if (!direct)
        PARE_TRY(pack(cuda, &made, cuda->decoder->mlp_hidden, next, cuda->few_mlp));
fail:
    return status;
}

static pare_status queue_layer(cuda_state *cuda, int64_t l, float *x, int64_t n,
                               const gpu_control *control)
{
    const cuda_layer *layer = &cuda->layers[l];
    gpu_heads heads = cuda_heads_of(cuda, l);
    cuda_inputs in = {x, cuda->hidden_stride, n, &layer->attention_norm};
    cuda_inputs attended = {cuda->attended, cuda->attention_stride, n, NULL};
    gpu_few_args down =
        few_args(cuda, &layer->down.items[0], cuda->few_mlp, n, x, cuda->hidden_stride, GPU_ADD);
    pare_status status;
    heads.several = true;
    PARE_TRY(multiply_group(cuda, &layer->qkv, &in, cuda->few_hidden, cuda->qkv, cuda->qkv_stride,
                            GPU_STORE));
    PARE_TRY(gpu_attend_one(&cuda->gpu, &heads, cuda->qkv, cuda->qkv_stride, control, n,
                            cuda->attended, cuda->attention_stride, cuda->attention_scratch));
    PARE_TRY(multiply_group(cuda, &layer->output, &attended, cuda->few_attended, x,
                            cuda->hidden_stride, GPU_ADD));
    PARE_TRY(queue_up(cuda, layer, x, n));
    PARE_TRY(gpu_few(&cuda->gpu, &down));
fail:
    return status;
}

/* ---- the pass ---- */

/* Logits of all sequences, and what is chosen: rows of cuda->logits, then best_host. */
static pare_status queue_choices(cuda_state *cuda)
{
    float *all = cuda->logits;
    pare_status status = PARE_OK;
    for (int64_t first = 0; first < cuda->batch && status == PARE_OK; first += cuda->tile) {
        int64_t n = cuda->batch - first < cuda->tile ? cuda->batch - first : cuda->tile;
        cuda->logits = all + first * cuda->vocab_stride;
        status = cuda_queue_head(cuda, first, n);
    }
    cuda->logits = all;
    PARE_TRY(status);
    PARE_TRY(gpu_best_rows(&cuda->gpu, all, cuda->vocab_stride, cuda->batch, cuda->decoder->vocab,
                           cuda->best_parts, cuda->best_host));
fail:
    return status;
}

pare_status cuda_queue_batch(cuda_state *cuda)
{
    pare_status status = PARE_OK;
    for (int64_t first = 0; first < cuda->batch; first += cuda->tile) {
        int64_t n = cuda->batch - first < cuda->tile ? cuda->batch - first : cuda->tile;
        const gpu_control *control = cuda->control + first;
        float *x = cuda->hidden + first * cuda->hidden_stride;
        PARE_TRY(gpu_embed_next(&cuda->gpu, &cuda->embedding, &cuda->positions, control, n, x,
                                cuda->hidden_stride));
        for (int64_t l = 0; l < cuda->decoder->layers; l++)
            PARE_TRY(cuda->few ? queue_layer(cuda, l, x, n, control)
                               : cuda_queue_layer_batch(cuda, l, x, n, control));
    }
    if (cuda->batch <= CUDA_LOGITS)
        PARE_TRY(queue_choices(cuda));
fail:
    return status;
}

pare_status cuda_queue_head_few(cuda_state *cuda, int64_t row, int64_t n)
{
    cuda_inputs in = {cuda->hidden + row * cuda->hidden_stride, cuda->hidden_stride, n,
                      &cuda->final_norm};
    return multiply_group(cuda, &cuda->head, &in, cuda->few_hidden, cuda->logits,
                          cuda->vocab_stride, GPU_STORE);
}
