/* Few tokens: which kernel; how few_kernel.cuh cuts a matrix, and its formats that are numbers. */
#include "kernels/cuda/few_codes.cuh"
#include "kernels/cuda/few_kernel.cuh"

static int few_parts(const gpu_context *context, const gpu_weights *w)
{
    int64_t tiles = (w->rows + FEW_ROWS - 1) / FEW_ROWS;
    int64_t wanted = 2 * context->multiprocessors / tiles;
    int64_t most = w->columns / (GPU_FEW_STEP * FEW_WARPS); /* a step for each warp */
    wanted = wanted < most ? wanted : most;
    return (int)(wanted < 1 ? 1 : wanted > FEW_PARTS ? FEW_PARTS : wanted);
}

extern "C" size_t gpu_few_partial(const gpu_context *context, const gpu_weights *w)
{
    int parts = few_parts(context, w);
    return parts == 1 ? 0 : sizeof(float) * GPU_FEW_MOST * (size_t)parts * (size_t)(w->rows + 1);
}

extern "C" size_t gpu_few_done(const gpu_weights *w)
{
    return sizeof(int) * (size_t)((w->rows + FEW_ROWS - 1) / FEW_ROWS);
}

extern "C" bool gpu_few_takes(const gpu_context *context, pare_type type)
{
    return context->major >= 8 && type != PARE_TYPE_F32;
}

extern "C" gpu_number gpu_few_number(const gpu_context *context, pare_type type)
{
    return type == PARE_TYPE_BF16 ? GPU_BF16 : few_codes_take(type) ? GPU_INT8 : GPU_F16;
}

extern "C" pare_status gpu_few(gpu_context *context, const gpu_few_args *args)
{
    if (few_codes_take(args->weights.type))
        return few_codes_run(context, args);
    few_args a = {*args, few_parts(context, &args->weights)};
    pare_status status = PARE_UNSUPPORTED;
    a.f.tiles = gpu_few_tiles(args->tokens);
    if (args->weights.type == PARE_TYPE_F16)
        return few_launch<few_dense<false>>(context, a);
    if (args->weights.type == PARE_TYPE_BF16)
        return few_launch<few_dense<true>>(context, a);
    if (few_k_run(context, a, &status) || few_table_run(context, a, &status))
        return status;
    return gpu_check(cudaErrorNotSupported, pare_type_name(args->weights.type));
}
