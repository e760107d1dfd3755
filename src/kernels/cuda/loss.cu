/* The losses of rows of logits, and how far two models' rows are apart, where the logits are. */
#include "kernels/cuda/common.cuh"

enum { LOSS_THREADS = 512, LOSS_WARPS = LOSS_THREADS / GPU_WARP };

/* Of a row: its largest logit, the first that has it, and the log of the sum of exponentials. */
struct loss_row {
    gpu_best best;
    double log_sum;
};

/* The same for every thread; in an order that depends on the length alone. */
__device__ inline gpu_best loss_best(const float *row, int vocab)
{
    __shared__ gpu_best warps[LOSS_WARPS];
    gpu_best mine = {-INFINITY, INT32_MAX};
    auto take = [&](gpu_best other) {
        if (other.value > mine.value || (other.value == mine.value && other.id < mine.id))
            mine = other;
    };
    for (int i = threadIdx.x; i < vocab; i += LOSS_THREADS)
        take({row[i], i});
    for (int i = 16; i; i >>= 1)
        take({__shfl_xor_sync(GPU_ALL, mine.value, i), __shfl_xor_sync(GPU_ALL, mine.id, i)});
    __syncthreads(); /* the call before has read them */
    if (threadIdx.x % GPU_WARP == 0)
        warps[threadIdx.x / GPU_WARP] = mine;
    __syncthreads();
    for (int w = 0; w < LOSS_WARPS; w++)
        take(warps[w]);
    return mine;
}

__device__ inline double loss_sum(double sum)
{
    __shared__ double warps[LOSS_WARPS];
    for (int i = 16; i; i >>= 1)
        sum += __shfl_xor_sync(GPU_ALL, sum, i);
    __syncthreads();
    if (threadIdx.x % GPU_WARP == 0)
        warps[threadIdx.x / GPU_WARP] = sum;
    __syncthreads();
    sum = warps[0];
    for (int w = 1; w < LOSS_WARPS; w++)
        sum += warps[w];
    return sum;
}

__device__ inline loss_row loss_read(const float *row, int vocab)
{
    gpu_best best = loss_best(row, vocab);
    double sum = 0;
    for (int i = threadIdx.x; i < vocab; i += LOSS_THREADS)
        sum += (double)expf(row[i] - best.value);
    return {best, log(loss_sum(sum)) + (double)best.value};
}

/* A block a row. */
__global__ void loss_kernel(const float *logits, int64_t stride, int vocab, const int32_t *targets,
                            double *losses)
{
    const float *row = logits + blockIdx.x * stride;
    int target = targets[blockIdx.x];
    double loss = 0;
    if (target >= 0) /* the whole block */
        loss = loss_read(row, vocab).log_sum - (double)row[target];
    if (threadIdx.x == 0)
        losses[blockIdx.x] = loss;
}

extern "C" pare_status gpu_losses(gpu_context *context, const float *logits, int64_t stride,
                                  int64_t rows, int64_t vocab, const int32_t *targets,
                                  double *losses)
{
    return gpu_launch(context, "losses", false, loss_kernel, dim3((unsigned)rows),
                      dim3(LOSS_THREADS), 0, logits, stride, (int)vocab, targets, losses);
}

/* A block a position. The divergence in the order of pare_kl_divergence: log p - log q is the
 * difference of logits plus that of the sums. */
__global__ void compare_kernel(const float *logits, const float *base, int64_t stride, int vocab,
                               const int32_t *targets, pare_divergence *rows)
{
    const float *x = logits + blockIdx.x * stride, *b = base + blockIdx.x * stride;
    int target = targets[blockIdx.x];
    loss_row mine = loss_read(x, vocab), other = loss_read(b, vocab);
    double offset = mine.log_sum - other.log_sum, kld = 0;
    float log_sum = (float)other.log_sum;
    for (int i = threadIdx.x; i < vocab; i += LOSS_THREADS) {
        float probability = expf(b[i] - log_sum);
        if (probability > 0)
            kld += (double)probability * ((double)b[i] - (double)x[i] + offset);
    }
    kld = loss_sum(kld);
    if (threadIdx.x == 0)
        rows[blockIdx.x] = {target < 0 ? 0 : mine.log_sum - (double)x[target],
                            target < 0 ? 0 : other.log_sum - (double)b[target], kld,
                            mine.best.id == other.best.id};
}

extern "C" pare_status gpu_compare(gpu_context *context, const float *logits, const float *base,
                                   int64_t stride, int64_t rows, int64_t vocab,
                                   const int32_t *targets, pare_divergence *divergences)
{
    return gpu_launch(context, "divergences", false, compare_kernel, dim3((unsigned)rows),
                      dim3(LOSS_THREADS), 0, logits, base, stride, (int)vocab, targets,
                      divergences);
}
