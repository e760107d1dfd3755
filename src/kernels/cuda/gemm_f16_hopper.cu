#include "kernels/cuda/gemm_hopper.cuh"

pare_status gemm_hopper_f16(gpu_context *context, const hopper_args &a, int shape, unsigned blocks)
{
    return hopper_start<GPU_F16>(context, a, shape, blocks);
}
