/* Few tokens, codes on both sides: which formats. See few_codes_kernel.cuh. */
#include "kernels/cuda/few_codes_kernel.cuh"

bool few_codes_take(pare_type type)
{
    switch (type) {
#define CODES_TAKEN(TYPE, F) case PARE_TYPE_##TYPE:
        GPU_INT_LIST(CODES_TAKEN) CODES_K_LIST(CODES_TAKEN) return true;
    default:
        return false;
    }
}

pare_status few_codes_run(gpu_context *context, const gpu_few_args *args)
{
    pare_status status;
    if (few_codes_int_run(context, args, &status) || few_codes_k_run(context, args, &status))
        return status;
    return gpu_check(cudaErrorNotSupported, pare_type_name(args->weights.type));
}
