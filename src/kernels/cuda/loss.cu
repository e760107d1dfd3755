/* The losses of rows of logits, where the logits are. */
#include "kernels/cuda/common.cuh"

enum { LOSS_THREADS = 512, LOSS_WARPS = LOSS_THREADS / GPU_WARP };

/* A block a row; sums in double, in an order that depends on the vocabulary alone. */
__global__ void loss_kernel(const float *logits, int64_t stride, int vocab, const int32_t *targets,
                            double *losses)
{
    __shared__ float maxima[LOSS_WARPS];
    __shared__ double sums[LOSS_WARPS];
    const float *row = logits + blockIdx.x * stride;
    int target = targets[blockIdx.x], warp = threadIdx.x / GPU_WARP;
    float most = -INFINITY;
    double sum = 0;
    if (target < 0) { /* the whole block */
        if (threadIdx.x == 0)
            losses[blockIdx.x] = 0;
        return;
    }
    for (int i = threadIdx.x; i < vocab; i += LOSS_THREADS)
        most = fmaxf(most, row[i]);
    for (int i = 16; i; i >>= 1)
        most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, i));
    if (threadIdx.x % GPU_WARP == 0)
        maxima[warp] = most;
    __syncthreads();
    for (int w = 0; w < LOSS_WARPS; w++)
        most = fmaxf(most, maxima[w]);
    for (int i = threadIdx.x; i < vocab; i += LOSS_THREADS)
        sum += (double)expf(row[i] - most);
    for (int i = 16; i; i >>= 1)
        sum += __shfl_xor_sync(GPU_ALL, sum, i);
    if (threadIdx.x % GPU_WARP == 0)
        sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int w = 1; w < LOSS_WARPS; w++)
        sum += sums[w];
    losses[blockIdx.x] = log(sum) + (double)most - (double)row[target];
}

extern "C" pare_status gpu_losses(gpu_context *context, const float *logits, int64_t stride,
                                  int64_t rows, int64_t vocab, const int32_t *targets,
                                  double *losses)
{
    return gpu_launch(context, "losses", false, loss_kernel, dim3((unsigned)rows),
                      dim3(LOSS_THREADS), 0, logits, stride, (int)vocab, targets, losses);
}
