/* One token: see matvec.cuh. */
#include "kernels/cuda/matvec.cuh"

bool matvec_table_run(gpu_context *context, const gpu_matvec_args *args, bool fast,
                      pare_status *status)
{
    switch (args->weights.type) {
        GPU_TABLE_LIST(MATVEC_CODED_CASE)
    default:
        return false;
    }
}
