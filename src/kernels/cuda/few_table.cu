/* Few tokens: see few_kernel.cuh. */
#include "kernels/cuda/few_kernel.cuh"

bool few_table_run(gpu_context *context, const few_args &a, pare_status *status)
{
    switch (a.f.weights.type) {
        GPU_TABLE_LIST(FEW_CASE)
    default:
        return false;
    }
}
