/* One token: the numbers stored as they are, and the choice of the kernel. */
#include "kernels/cuda/matvec.cuh"

bool matvec_dense_run(gpu_context *context, const gpu_matvec_args *args, pare_status *status)
{
    switch (args->weights.type) {
#define X(TYPE, F)                                                                                 \
    case PARE_TYPE_##TYPE:                                                                         \
        *status = matvec_launch<matvec_dense_dot<F>>(context, args);                               \
        return true;
        GPU_DENSE_LIST(X)
#undef X
    default:
        return false;
    }
}

extern "C" pare_status gpu_matvec(gpu_context *context, const gpu_matvec_args *args, bool fast)
{
    pare_status status = PARE_UNSUPPORTED;
    if (matvec_dense_run(context, args, &status) || matvec_int_run(context, args, fast, &status) ||
        matvec_k_run(context, args, fast, &status) ||
        matvec_table_run(context, args, fast, &status))
        return status;
    return gpu_check(cudaErrorNotSupported, pare_type_name(args->weights.type));
}

extern "C" int gpu_best_count(const gpu_context *context)
{
    return context->multiprocessors;
}
