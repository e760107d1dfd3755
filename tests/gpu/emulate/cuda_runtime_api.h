/* CUDA on the host, as far as Pare's kernels use it: a block's threads are fibers of one thread, so
 * that the kernels' arithmetic and indexing run, and are tested, on machines without a GPU. Nothing
 * here is fast. Whatever needs a GPU's own instructions (asm, tensor cores) has a plain form behind
 * GPU_EMULATE. */
#ifndef PARE_EMULATE_CUDA_H
#define PARE_EMULATE_CUDA_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CUDART_VERSION 13000
#define GPU_EMULATE 1

/* ---- what C sees too ---- */

typedef enum cudaError {
    cudaSuccess,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorNotSupported = 801
} cudaError_t;
typedef enum cudaMemcpyKind {
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
} cudaMemcpyKind;
typedef struct emulated_stream *cudaStream_t;
typedef struct emulated_graph *cudaGraph_t;
typedef struct emulated_graph *cudaGraphExec_t;
enum { cudaStreamNonBlocking, cudaStreamCaptureModeThreadLocal };
typedef struct cudaDeviceProp {
    int multiProcessorCount, major, minor;
    size_t sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
    char name[64];
} cudaDeviceProp;

#ifdef __cplusplus
extern "C" {
#endif
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, int flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMallocHost(void **memory, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t rows, cudaMemcpyKind kind);
cudaError_t cudaMemset(void *to, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaGetLastError(void);
const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);
/* Between begin and end kernels are kept instead of run; a graph runs them in that order. */
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, int mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, int flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
#ifdef __cplusplus
}

/* ---- what the kernels see ---- */

#include <algorithm>
#include <functional>
#include <tuple>

#define __global__ static
#define __device__
#define __host__
#define __noinline__
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};
struct emulated_place {
    unsigned x, y, z;
};
extern emulated_place threadIdx, blockIdx, blockDim, gridDim;
extern char *emulated_shared;

void emulated_block_barrier();
void emulated_warp_barrier();
/* mma.sync.m16n8k16: a warp's fragments as the PTX manual lays them out. */
void emulated_mma(float c[4], const uint32_t a[4], const uint32_t b[2], bool bf16);
/* mma.sync.m16n8k32 of bytes: a signed or not, b signed. */
void emulated_mma_bytes(int c[4], const uint32_t a[4], const uint32_t b[2], bool is_signed);
uint64_t emulated_shuffle(uint64_t value, int from);
void emulated_launch(dim3 grid, dim3 block, size_t shared, std::function<void()> body);

#define __syncthreads() emulated_block_barrier()
#define __syncwarp() emulated_warp_barrier()
#define __threadfence()
template <class T> T emulated_shuffle_as(T v, int from)
{
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = emulated_shuffle(bits, from);
    memcpy(&v, &bits, sizeof v);
    return v;
}
#define emulated_lane ((int)(threadIdx.x % 32))
#define __shfl_sync(mask, v, i) emulated_shuffle_as(v, (i) & 31)
#define __shfl_xor_sync(mask, v, i) emulated_shuffle_as(v, emulated_lane ^ (i))
#define __any_sync(mask, v) emulated_any(v)
#define __shfl_down_sync(mask, v, i) emulated_shuffle_as(v, (emulated_lane + (i)) & 31)
static inline bool emulated_any(bool v)
{
    for (int i = 16; i; i >>= 1)
        v |= __shfl_xor_sync(0, v, i);
    return v;
}
static inline int atomicAdd(int *p, int v)
{
    int old = *p;
    *p += v;
    return old;
}
static inline unsigned long long atomicAdd(unsigned long long *p, unsigned long long v)
{
    unsigned long long old = *p;
    *p += v;
    return old;
}
template <class T> T __ldcg(const T *p)
{
    return *p;
}
template <class T> void __stcg(T *p, T v)
{
    *p = v;
}

struct float2 {
    float x, y;
};
struct float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct char2 {
    signed char x, y;
};
struct uchar2 {
    unsigned char x, y;
};
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w)
{
    return {x, y, z, w};
}
static inline float __uint_as_float(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, 4);
    return v;
}
static inline uint32_t __float_as_uint(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return bits;
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
static inline int __float2int_rn(float v)
{
    return (int)lrintf(v);
}
/* Selector nibbles choose bytes of (b, a); bit 3 would replicate a sign, which no kernel uses. */
static inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector)
{
    uint64_t both = (uint64_t)b << 32 | a;
    uint32_t r = 0;
    for (int i = 0; i < 4; i++)
        r |= (uint32_t)(both >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
    return r;
}
static inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++)
        c += (int8_t)(a >> (8 * i)) * (int8_t)(b >> (8 * i));
    return c;
}
using std::max;
using std::min;

/* ---- launching ---- */

enum {
    cudaLaunchAttributeProgrammaticStreamSerialization,
    cudaLaunchAttributeClusterDimension,
    cudaFuncAttributeMaxDynamicSharedMemorySize,
    cudaFuncAttributePreferredSharedMemoryCarveout
};
struct cudaLaunchAttribute {
    int id;
    struct {
        int programmaticStreamSerializationAllowed;
        dim3 clusterDim;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    int numAttrs;
};
static inline cudaError_t cudaFuncSetAttribute(const void *, int, int)
{
    return cudaSuccess;
}
template <class... P>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...),
                               P... arguments)
{
    emulated_launch(config->gridDim, config->blockDim, config->dynamicSmemBytes,
                    [=] { kernel(arguments...); });
    return cudaSuccess;
}
#endif
#endif
