/* The forward pass of many tokens: norms are kernels of their own, and products and attention run
 * on the tensor cores, over FP16 or BF16 numbers or integers. Per layer:  norm | qkv | rotation and
 * cache | attention | output, added | norm | gate up (activation behind it) | down, added. */
#include "run/cuda.h"

#include "base/fail.h"

/* As what numbers a matrix meets its activations. Exact: as many BF16 planes as hold every bit. */
typedef struct operand {
    gpu_number number;
    int x_planes, w_planes;
    bool direct; /* the weights are such numbers as they lie */
} operand;

static operand operand_of(const cuda_state *cuda, const cuda_group *group, int i)
{
    pare_type type = group->items[i].weights.type;
    if (cuda_group_codes(cuda, group))
        return (operand){GPU_INT8, 1, 1, true};
    if (type == PARE_TYPE_BF16)
        return (operand){GPU_BF16, cuda->fast ? 1 : 3, 1, true};
    if (cuda->fast && type == PARE_TYPE_F16)
        return (operand){GPU_F16, 1, 1, true};
    if (cuda->fast && type != PARE_TYPE_F32)
        return (operand){GPU_F16, 1, 1, false};
    return (operand){GPU_BF16, 3, type == PARE_TYPE_F16 ? 2 : 3, false};
}

/* Rows that are made numbers at a time: whole tiles of a product's epilogue. */
static int64_t slice_rows(const gpu_weights *w)
{
    int64_t rows = CUDA_SLICE / cuda_stride(w->columns) / 64 * 64;
    return rows < 64 ? 64 : rows < w->rows ? rows : w->rows;
}

static int64_t numbers_of(const cuda_state *cuda, const cuda_group *group)
{
    int64_t most = 0;
    for (int i = 0; i < group->count; i++) {
        const gpu_weights *w = &group->items[i].weights;
        operand o = operand_of(cuda, group, i);
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

/* Where a product goes: rows of FP32, or numbers of the next product. */
typedef struct result {
    gpu_epilogue epilogue;
    float *y;
    int64_t y_stride;
    gpu_planes to;
} result;

static void *at_number(const gpu_planes *planes, int64_t i)
{
    return (char *)planes->data + i * (planes->number == GPU_F32 ? 4 : 2);
}

static pare_status multiply(cuda_state *cuda, const cuda_matrix *matrix, operand o, int64_t n,
                            void *x, const result *r)
{
    const gpu_weights *w = &matrix->weights;
    int64_t stride = cuda_stride(w->columns);
    bool gated = r->epilogue == GPU_GATED;
    int64_t slice = o.direct ? w->rows : slice_rows(w);
    pare_status status = PARE_OK;
    gpu_gemm_args args = {.x = x_planes(cuda, o, w->columns),
                          .tokens = n,
                          .columns = w->columns,
                          .epilogue = r->epilogue,
                          .activation = cuda_activation_kind(cuda),
                          .y_stride = r->y_stride,
                          .to = r->to};
    args.x.data = x;
    args.x_scales = cuda->token_scales;
    for (int64_t first = 0; first < w->rows; first += slice) {
        args.rows = w->rows - first < slice ? w->rows - first : slice;
        args.w = (gpu_planes){cuda->w_planes, o.number, o.w_planes, args.rows, stride};
        if (o.number == GPU_INT8)
            args.w.stride = w->row_bytes;
        if (o.direct)
            args.w.data = (void *)w->data;
        else
            PARE_TRY(gpu_dequantize(&cuda->gpu, w, first, args.rows, &args.w));
        if (r->to.data)
            args.to.data = at_number(&r->to, matrix->offset + (gated ? first / 2 : first));
        else
            args.y = r->y + matrix->offset + first;
        args.bias = matrix->bias ? matrix->bias + first : NULL;
        PARE_TRY(gpu_gemm(&cuda->gpu, &args));
    }
fail:
    return status;
}

/* A group over rows x (normalized where norm is given), whose outputs lie side by side. */
static pare_status multiply_group(cuda_state *cuda, const cuda_group *group, cuda_inputs in,
                                  const result *r)
{
    bool codes = cuda_group_codes(cuda, group);
    operand last = {0};
    pare_status status;
    if (codes)
        PARE_TRY(cuda_feed_codes(cuda, group, &in));
    else
        PARE_TRY(cuda_feed(cuda, group, &in));
    for (int i = 0; i < group->count; i++) {
        int64_t columns = group->items[i].weights.columns;
        operand o = operand_of(cuda, group, i);
        gpu_planes to = x_planes(cuda, o, columns);
        if (codes) {
            /* they are there */
        } else if (i == 0 || o.number != last.number || o.x_planes != last.x_planes)
            PARE_TRY(gpu_norm_rows(&cuda->gpu, in.x, in.stride, in.tokens, columns,
                                   in.norm ? cuda_norm_kind(cuda) : GPU_NORM_NONE,
                                   in.norm ? in.norm->weight : NULL, in.norm ? in.norm->bias : NULL,
                                   cuda->decoder->norm_epsilon, &to));
        last = o;
        PARE_TRY(multiply(cuda, &group->items[i], o, in.tokens, cuda->x_planes, r));
    }
fail:
    return status;
}

/* Activated in a kernel of its own only where gate and up are matrices of different formats. */
pare_status cuda_queue_activated(cuda_state *cuda, int64_t l, const float *x, int64_t n,
                                 const gpu_planes *to)
{
    const cuda_group *up = &cuda->layers[l].up;
    const float *second = cuda->decoder->gated_mlp ? cuda->mlp + cuda->up_offset : NULL;
    cuda_inputs in = {x, cuda->hidden_stride, n, &cuda->layers[l].mlp_norm};
    result made = {GPU_STORE, cuda->mlp, cuda->mlp_stride, {NULL}};
    pare_status status;
    if (up->count == 1) {
        made.epilogue = up->gated ? GPU_GATED : GPU_ACTIVATE;
        made.to = *to;
    }
    PARE_TRY(multiply_group(cuda, up, in, &made));
    if (up->count > 1)
        PARE_TRY(gpu_activate_rows(&cuda->gpu, cuda->mlp, second, 1, cuda->mlp_stride, n,
                                   cuda->decoder->mlp_hidden, cuda_activation_kind(cuda), to));
fail:
    return status;
}

/* Between up and down: planes that down takes, or FP32 where they are rounded or scaled first. */
pare_status cuda_queue_mlp(cuda_state *cuda, int64_t l, float *x, int64_t n)
{
    const cuda_layer *layer = &cuda->layers[l];
    int64_t columns = cuda->decoder->mlp_hidden;
    operand o = operand_of(cuda, &layer->down, 0);
    bool feeds = cuda_group_feeds(&layer->down);
    cuda_inputs between = {cuda->rounded, cuda_stride(columns), n, NULL};
    result added = {GPU_ADD, x, cuda->hidden_stride, {NULL}};
    gpu_planes to = x_planes(cuda, o, columns);
    pare_status status;
    if (feeds)
        to = (gpu_planes){cuda->rounded, GPU_F32, 1, n, between.stride};
    else if (layer->up.count == 1)
        to.data = cuda->mlp; /* x_planes are read meanwhile */
    PARE_TRY(cuda_queue_activated(cuda, l, x, n, &to));
    if (feeds)
        return multiply_group(cuda, &layer->down, between, &added);
    PARE_TRY(multiply(cuda, &layer->down.items[0], o, n, to.data, &added));
fail:
    return status;
}

pare_status cuda_queue_attended(cuda_state *cuda, int64_t l, const float *x, int64_t n,
                                const gpu_control *control, int64_t past)
{
    const cuda_layer *layer = &cuda->layers[l];
    gpu_heads heads = cuda_heads_of(cuda, l);
    cuda_inputs in = {x, cuda->hidden_stride, n, &layer->attention_norm};
    result qkv = {GPU_STORE, cuda->qkv, cuda->qkv_stride, {NULL}};
    pare_status status;
    PARE_TRY(multiply_group(cuda, &layer->qkv, in, &qkv));
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
    result added = {GPU_ADD, x, cuda->hidden_stride, {NULL}};
    return multiply_group(cuda, &cuda->layers[l].output, attended, &added);
}

/* Can attention be in 16-bit numbers? Then products leave qkv as such, in whole pieces of 32. */
static bool attends_fast(const cuda_state *cuda, const cuda_layer *layer, const gpu_heads *heads)
{
    bool fast = cuda->fast && gpu_attends_numbers(&cuda->gpu, heads);
    for (int i = 0; i < layer->qkv.count; i++)
        fast = fast && layer->qkv.items[i].weights.rows % 32 == 0;
    return fast && operand_of(cuda, &layer->output, 0).x_planes == 1;
}

/* Queries lie where exact attention has its results, results are the planes that the product takes;
 * inputs that are rounded are FP32, and queries lie in the planes. */
static pare_status attend_fast(cuda_state *cuda, int64_t l, const gpu_heads *heads, float *x,
                               int64_t n, int64_t past)
{
    const cuda_layer *layer = &cuda->layers[l];
    operand o = operand_of(cuda, &layer->output, 0);
    bool feeds = cuda_group_feeds(&layer->output);
    cuda_inputs in = {x, cuda->hidden_stride, n, &layer->attention_norm};
    gpu_planes qkv = {cuda->qkv, GPU_F16, 1, n, cuda->qkv_stride};
    gpu_planes q = {feeds ? cuda->x_planes : cuda->attended, GPU_F16, 1, n, cuda->attention_stride};
    gpu_planes to = x_planes(cuda, o, layer->output.items[0].weights.columns);
    result made = {GPU_STORE, NULL, 0, qkv}, added = {GPU_ADD, x, cuda->hidden_stride, {NULL}};
    pare_status status;
    if (feeds)
        to = (gpu_planes){cuda->attended, GPU_F32, 1, n, cuda->attention_stride};
    PARE_TRY(multiply_group(cuda, &layer->qkv, in, &made));
    PARE_TRY(gpu_place_numbers(&cuda->gpu, heads, &qkv, cuda->sequence, n, past, &q));
    PARE_TRY(gpu_attend_numbers(&cuda->gpu, heads, &q, cuda->sequence, n, past, &to));
    if (feeds)
        return cuda_queue_output(cuda, l, x, n);
    PARE_TRY(multiply(cuda, &layer->output.items[0], o, n, cuda->x_planes, &added));
fail:
    return status;
}

/* control NULL: tokens of the selected sequence from position past on. */
static pare_status layer_rows(cuda_state *cuda, int64_t l, float *x, int64_t n,
                              const gpu_control *control, int64_t past)
{
    gpu_heads heads = cuda_heads_of(cuda, l);
    pare_status status;
    if (!control && attends_fast(cuda, &cuda->layers[l], &heads)) {
        PARE_TRY(attend_fast(cuda, l, &heads, x, n, past));
    } else {
        PARE_TRY(cuda_queue_attended(cuda, l, x, n, control, past));
        PARE_TRY(cuda_queue_output(cuda, l, x, n));
    }
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
    result logits = {GPU_STORE, cuda->logits, cuda->vocab_stride, {NULL}};
    if (cuda->few && n <= GPU_FEW_MOST)
        return cuda_queue_head_few(cuda, row, n);
    return multiply_group(cuda, &cuda->head, in, &logits);
}
