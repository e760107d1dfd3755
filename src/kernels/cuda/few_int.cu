/* Few tokens: see few_kernel.cuh. */
#include "kernels/cuda/few_kernel.cuh"

bool few_int_run(gpu_context *context, const few_args &a, pare_status *status)
{
    switch (a.f.weights.type) {
        GPU_INT_LIST(FEW_CASE)
    default:
        return false;
    }
}
