/* One token: see matvec.cuh. */
#include "kernels/cuda/matvec.cuh"

bool matvec_int_run(gpu_context *context, const gpu_matvec_args *args, bool fast,
                    pare_status *status)
{
    switch (args->weights.type) {
        GPU_INT_LIST(MATVEC_CODED_CASE)
    default:
        return false;
    }
}
