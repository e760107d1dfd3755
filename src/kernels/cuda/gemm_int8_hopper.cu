#include "kernels/cuda/gemm_hopper.cuh"

pare_status gemm_hopper_int8(gpu_context *context, const hopper_args &a, int shape, unsigned blocks)
{
    return hopper_start<GPU_INT8>(context, a, shape, blocks);
}
