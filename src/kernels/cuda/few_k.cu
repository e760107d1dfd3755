/* Few tokens, formats with two scales for a group: see few_kernel.cuh. */
#include "kernels/cuda/few_kernel.cuh"

bool few_k_run(gpu_context *context, const few_args &a, pare_status *status)
{
    switch (a.f.weights.type) {
        FEW_CASE(Q2_K, gpu_q2_k)
        FEW_CASE(Q3_K, gpu_q3_k)
        FEW_CASE(Q6_K, gpu_q6_k)
    default:
        return false;
    }
}
