/* What all kernels use: launching, dependent launch, asynchronous copies, sums over a warp. */
#ifndef PARE_KERNELS_CUDA_COMMON_CUH
#define PARE_KERNELS_CUDA_COMMON_CUH

#include "kernels/cuda/gpu.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

enum { GPU_WARP = 32 };
constexpr unsigned GPU_ALL = 0xffffffff; /* lanes */

/* The largest shared memory, whatever the kernel needs: kernels of a token's chain divide the
 * memory of a multiprocessor alike, which changes it only when it is empty. */
template <class... P> static pare_status gpu_share_alike(void (*kernel)(P...), const char *what)
{
    return gpu_check(cudaFuncSetAttribute((const void *)kernel,
                                          cudaFuncAttributePreferredSharedMemoryCarveout, 100),
                     what);
}

/* Launches on the context's stream. `chain`: the kernel calls gpu_depend() before it reads what
 * others wrote and may start before they end. `cluster`: so many blocks in y can reach each other's
 * shared memory (more than 1: sm_90 and later). */
template <class... P, class... A>
static pare_status gpu_launch_cluster(gpu_context *context, const char *what, bool chain,
                                      int cluster, void (*kernel)(P...), dim3 grid, dim3 block,
                                      size_t shared, A... arguments)
{
    cudaLaunchAttribute attributes[2] = {};
    int count = 0;
    if (chain && context->chained) {
        attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster > 1) {
        attributes[count].id = cudaLaunchAttributeClusterDimension;
        attributes[count].val.clusterDim.x = attributes[count].val.clusterDim.z = 1;
        attributes[count++].val.clusterDim.y = (unsigned)cluster;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = context->stream;
    config.attrs = attributes;
    config.numAttrs = (unsigned)count;
    if (shared > 32 << 10) { /* with what is not dynamic more than any kernel may have unasked */
        pare_status status = gpu_check(
            cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 (int)shared),
            what);
        if (status != PARE_OK)
            return status;
    }
    return gpu_check(cudaLaunchKernelEx(&config, kernel, P(arguments)...), what);
}

template <class... P, class... A>
static pare_status gpu_launch(gpu_context *context, const char *what, bool chain,
                              void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                              A... arguments)
{
    return gpu_launch_cluster(context, what, chain, 1, kernel, grid, block, shared, arguments...);
}

/* The next kernel of the chain may be started. */
__device__ inline void gpu_release_next()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* All kernels in front of this one are complete and what they wrote is visible. */
__device__ inline void gpu_depend()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ inline float gpu_warp_sum(float v)
{
#pragma unroll
    for (int i = 16; i; i >>= 1)
        v += __shfl_xor_sync(GPU_ALL, v, i);
    return v;
}

/* The largest of a warp's values, in every lane: floats are compared as integers of their order. */
__device__ inline float gpu_warp_most(float v)
{
#if __CUDA_ARCH__ >= 800
    int bits = __float_as_int(v), order = bits ^ (bits >> 31 & 0x7fffffff);
    order = __reduce_max_sync(GPU_ALL, order);
    return __int_as_float(order ^ (order >> 31 & 0x7fffffff));
#else
#pragma unroll
    for (int i = 16; i; i >>= 1)
        v = fmaxf(v, __shfl_xor_sync(GPU_ALL, v, i));
    return v;
#endif
}

/* The same sum for every thread of the block; scratch: 32 floats that are free on both sides. */
__device__ inline float gpu_block_sum(float v, float *scratch)
{
    int warps = (int)blockDim.x / GPU_WARP, lane = threadIdx.x % GPU_WARP;
    v = gpu_warp_sum(v);
    if (lane == 0)
        scratch[threadIdx.x / GPU_WARP] = v;
    __syncthreads();
    v = gpu_warp_sum(lane < warps ? scratch[lane] : 0);
    __syncthreads();
    return v;
}

/* The largest of all threads' values that are not negative, as gpu_block_sum(). */
__device__ inline float gpu_block_most(float v, float *scratch)
{
    int warps = (int)blockDim.x / GPU_WARP, lane = threadIdx.x % GPU_WARP;
    for (int round = 0; round < 2; round++) {
#pragma unroll
        for (int i = 16; i; i >>= 1)
            v = fmaxf(v, __shfl_xor_sync(GPU_ALL, v, i));
        if (round == 0) {
            if (lane == 0)
                scratch[threadIdx.x / GPU_WARP] = v;
            __syncthreads();
            v = lane < warps ? scratch[lane] : 0;
        }
    }
    __syncthreads();
    return v;
}

#if __CUDA_ARCH__ >= 800
__device__ inline uint32_t gpu_shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}
#endif

__device__ inline void gpu_prefetch(const void *p)
{
#ifndef GPU_EMULATE
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
#endif
}

/* Into the L1 cache: for what nobody writes while the kernel runs. */
__device__ inline void gpu_touch(const void *p)
{
#ifndef GPU_EMULATE
    asm volatile("prefetch.global.L1 [%0];" ::"l"(p));
#endif
}

/* Dynamic shared memory under a name. */
#ifdef GPU_EMULATE
#define GPU_SHARED(type, alignment, name) type *name = (type *)emulated_shared
#else
#define GPU_SHARED(type, alignment, name)                                                          \
    extern __shared__ __align__(alignment)                                                         \
    type name[]
#endif

/* ---- blocks of a cluster (sm_90 and later; elsewhere there are none) ---- */

/* A barrier in two halves; what was written before the first is seen behind the second. */
__device__ inline void gpu_cluster_arrive()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}

__device__ inline void gpu_cluster_wait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

/* Into the shared memory of another block, where this block has `to`. */
__device__ inline void gpu_cluster_put(float *to, int rank, float v)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("{.reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "st.shared::cluster.f32 [there], %2;}" ::"r"(gpu_shared_address(to)),
                 "r"(rank), "f"(v)
                 : "memory");
#else
    *to = v;
#endif
}

#if __CUDA_ARCH__ >= 900
/* Into the L2 cache; 16-byte aligned, a multiple of 16 bytes. */
__device__ inline void gpu_prefetch_bulk(const void *from, uint32_t bytes)
{
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
#endif

/* ---- 16 bytes into shared memory while the thread goes on (sm_75: at once) ---- */

__device__ inline void gpu_copy_async(void *to, const void *from)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(gpu_shared_address(to)),
                 "l"(from)
                 : "memory");
#else
    *(uint4 *)to = *(const uint4 *)from;
#endif
}

/* What the thread asked for since the last call becomes a group. */
__device__ inline void gpu_copy_commit()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* All of the thread's groups but the newest PENDING are there. */
template <int PENDING> __device__ inline void gpu_copy_wait()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

/* Powers of 2, and quotients, in one or two instructions: off by 2 in the last place. */
__device__ inline float gpu_exp2(float x)
{
#ifdef GPU_EMULATE
    return exp2f(x);
#else
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
#endif
}

__device__ inline float gpu_quotient(float a, float b)
{
#ifdef GPU_EMULATE
    return a / b;
#else
    return __fdividef(a, b);
#endif
}

/* ---- activation functions, as the CPU's reference computes them ---- */

__device__ inline float gpu_activate(float x, gpu_activation f)
{
    switch (f) {
    case GPU_SILU:
        return x / (1 + expf(-x));
    case GPU_GELU:
        return 0.5f * x * erfcf(-x * 0.70710678118654752f);
    case GPU_GELU_TANH:
        return x / (1 + expf(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
    default:
        return x > 0 ? x : 0;
    }
}

#endif
