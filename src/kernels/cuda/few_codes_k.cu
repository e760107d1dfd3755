/* Few tokens, codes on both sides: see few_codes_kernel.cuh. */
#include "kernels/cuda/few_codes_kernel.cuh"

bool few_codes_k_run(gpu_context *context, const gpu_few_args *args, pare_status *status)
{
    switch (args->weights.type) {
        CODES_K_LIST(CODES_CASE)
    default:
        return false;
    }
}
