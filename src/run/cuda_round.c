/* Inputs that are not taken as they are: AWQ's scales that fold nowhere, and activations rounded as
 * the file asks; what cpu_round.c does. */
#include "run/cuda.h"

#include "base/fail.h"

static bool wide(const pare_decoder *d)
{
    return d->input_rounding == PARE_INPUTS_LLM_INT8 ||
           d->input_rounding == PARE_INPUTS_ORT_DYNAMIC;
}

/* A checkpoint's library rounds for all its layers, whatever they became here; otherwise those of
 * i8_ch are rounded. */
pare_status cuda_start_rounding(cuda_state *cuda, cuda_group *group,
                                const pare_tensor *const *tensors)
{
    pare_status status = PARE_OK;
    if (cuda->decoder->input_rounding == PARE_INPUTS_EXACT)
        return PARE_OK;
    group->rounded = cuda->model->info.checkpoint != NULL;
    for (; *tensors; tensors++)
        group->rounded = group->rounded || (*tensors)->type == PARE_TYPE_I8_CH;
    if (group->rounded && cuda->decoder->input_rounding == PARE_INPUTS_LLM_INT8)
        status = cuda_hold(cuda, sizeof *group->outliers, "statistics", &group->outliers);
    return status;
}

bool cuda_group_feeds(const cuda_group *group)
{
    return group->rounded || group->factors;
}

static bool feeds_any(const cuda_state *cuda)
{
    bool any = false;
    for (int64_t l = 0; l < cuda->decoder->layers; l++) {
        const cuda_layer *layer = &cuda->layers[l];
        any = any || cuda_group_feeds(&layer->qkv) || cuda_group_feeds(&layer->output) ||
              cuda_group_feeds(&layer->up) || cuda_group_feeds(&layer->down);
    }
    return any;
}

pare_status cuda_allocate_rounding(cuda_state *cuda)
{
    pare_status status = PARE_OK;
    if (!feeds_any(cuda))
        return PARE_OK;
    PARE_TRY(cuda_hold(cuda, (size_t)(cuda->chunk * cuda->widest) * sizeof(float), "scratch",
                       &cuda->rounded));
    PARE_TRY(cuda_hold(cuda, (size_t)cuda->chunk * sizeof(float), "scratch", &cuda->token_scales));
    if (wide(cuda->decoder)) {
        PARE_TRY(cuda_hold(cuda, (size_t)cuda->widest, "scratch", &cuda->round_scratch.outlier));
        PARE_TRY(cuda_hold(cuda, (size_t)cuda->chunk * sizeof(gpu_range), "scratch",
                           &cuda->round_scratch.ranges));
    }
fail:
    return status;
}

gpu_round_rule cuda_round_rule(const cuda_state *cuda)
{
    const pare_decoder *d = cuda->decoder;
    switch (d->input_rounding) {
    case PARE_INPUTS_LLM_INT8:
        return (gpu_round_rule){GPU_ROUND_OUTLIERS, d->outlier_threshold};
    case PARE_INPUTS_ORT_DYNAMIC:
        return (gpu_round_rule){GPU_ROUND_TENSOR, 0};
    case PARE_INPUTS_TOKEN_INT8:
        return (gpu_round_rule){GPU_ROUND_TOKEN_128, 0};
    default:
        return (gpu_round_rule){GPU_ROUND_TOKEN_127, 0};
    }
}

/* Rows, normalized where a norm is given, scaled where the group asks for it, become rows of
 * cuda->rounded. They may lie there already. */
static pare_status make_rows(cuda_state *cuda, const cuda_group *group, cuda_inputs *in)
{
    int64_t columns = group->items[0].weights.columns;
    gpu_planes to = {cuda->rounded, GPU_F32, 1, in->tokens, cuda_stride(columns)};
    const cuda_norm *norm = in->norm;
    pare_status status = PARE_OK;
    if (in->x != cuda->rounded)
        PARE_TRY(gpu_norm_rows(&cuda->gpu, in->x, in->stride, in->tokens, columns,
                               norm ? cuda_norm_kind(cuda) : GPU_NORM_NONE,
                               norm ? norm->weight : NULL, norm ? norm->bias : NULL,
                               cuda->decoder->norm_epsilon, &to));
    *in = (cuda_inputs){cuda->rounded, to.stride, in->tokens, NULL};
    if (group->factors)
        PARE_TRY(gpu_scale_rows(&cuda->gpu, cuda->rounded, to.stride, in->tokens, columns,
                                group->factors));
fail:
    return status;
}

pare_status cuda_feed(cuda_state *cuda, const cuda_group *group, cuda_inputs *in)
{
    gpu_round_rule rule = cuda_round_rule(cuda);
    pare_status status;
    if (!cuda_group_feeds(group))
        return PARE_OK;
    PARE_TRY(make_rows(cuda, group, in));
    if (group->rounded)
        PARE_TRY(gpu_round_rows(&cuda->gpu, cuda->rounded, in->stride, in->tokens,
                                group->items[0].weights.columns, &rule, &cuda->round_scratch,
                                group->outliers));
fail:
    return status;
}

bool cuda_group_codes(const cuda_state *cuda, const cuda_group *group)
{
    gpu_round_kind kind = cuda_round_rule(cuda).kind;
    bool codes = group->rounded && gpu_multiplies_codes(&cuda->gpu) &&
                 (kind == GPU_ROUND_TOKEN_127 || kind == GPU_ROUND_TOKEN_128);
    for (int i = 0; i < group->count; i++)
        codes = codes && group->items[i].weights.type == PARE_TYPE_I8_CH;
    return codes;
}

pare_status cuda_feed_codes(cuda_state *cuda, const cuda_group *group, const cuda_inputs *in)
{
    gpu_round_rule rule = cuda_round_rule(cuda);
    int64_t columns = group->items[0].weights.columns;
    cuda_inputs rows = *in;
    pare_status status;
    if (in->norm || group->factors)
        PARE_TRY(make_rows(cuda, group, &rows));
    PARE_TRY(gpu_round_codes(&cuda->gpu, rows.x, rows.stride, rows.tokens, columns, &rule,
                             cuda->x_planes, cuda_stride(columns), cuda->token_scales));
fail:
    return status;
}

/* ---- the share of outliers ---- */

static pare_status add_share(cuda_state *cuda, const cuda_group *group, double *outliers,
                             double *columns)
{
    int64_t count = 0;
    pare_status status = PARE_OK;
    if (!group->outliers)
        return PARE_OK;
    PARE_TRY(gpu_check(cudaMemcpy(&count, group->outliers, sizeof count, cudaMemcpyDeviceToHost),
                       "copying statistics"));
    *outliers += (double)count;
    *columns += (double)(cuda->passes * group->items[0].weights.columns);
fail:
    return status;
}

pare_status cuda_outlier_share(cuda_state *cuda, int64_t layer, double *share)
{
    const cuda_layer *of = &cuda->layers[layer];
    double outliers = 0, columns = 0;
    pare_status status;
    *share = 0;
    PARE_TRY(gpu_wait(&cuda->gpu));
    PARE_TRY(add_share(cuda, &of->qkv, &outliers, &columns));
    PARE_TRY(add_share(cuda, &of->output, &outliers, &columns));
    PARE_TRY(add_share(cuda, &of->up, &outliers, &columns));
    PARE_TRY(add_share(cuda, &of->down, &outliers, &columns));
    *share = columns > 0 ? outliers / columns : 0;
fail:
    return status;
}
