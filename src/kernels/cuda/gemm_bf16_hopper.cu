#include "kernels/cuda/gemm_hopper.cuh"

pare_status gemm_hopper_bf16(gpu_context *context, const hopper_args &a, int shape, unsigned blocks)
{
    return hopper_start<GPU_BF16>(context, a, shape, blocks);
}
