/* What is sm_90's alone: tiles that the copy engine brings (TMA), the barriers on which they land,
 * and the matrix instructions that read them (wgmma). */
#ifndef PARE_KERNELS_CUDA_HOPPER_CUH
#define PARE_KERNELS_CUDA_HOPPER_CUH

#include "kernels/cuda/common.cuh"

#include <cuda.h>

/* A map of a matrix of `rows` rows, `row_bytes` apart (a multiple of 16), for tiles of `tile_rows`
 * rows of 128 bytes; what lies outside of the matrix is zero. */
pare_status hopper_map(gpu_context *context, const void *data, gpu_number number, int64_t rows,
                       int64_t columns, int64_t row_bytes, int tile_rows, CUtensorMap *map);

/* As gpu_launch, in clusters of `cluster` blocks, after the kernel in front where it says so
 * (gpu_depend). */
template <class A>
static pare_status hopper_launch(gpu_context *context, const char *what, void (*kernel)(A),
                                 dim3 blocks, int cluster, unsigned threads, size_t shared,
                                 const A &a)
{
    cudaLaunchAttribute attributes[2] = {};
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim.x = (unsigned)cluster;
    attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = blocks;
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared;
    config.stream = context->stream;
    config.attrs = attributes;
    config.numAttrs = context->chained ? 2 : 1;
    pare_status status =
        gpu_check(cudaFuncSetAttribute((const void *)kernel,
                                       cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
                  what);
    if (status != PARE_OK)
        return status;
    return gpu_check(cudaLaunchKernelEx(&config, kernel, a), what);
}

#if __CUDA_ARCH_FEAT_SM90_ALL

/* ---- barriers in shared memory: a phase ends when all have arrived and all bytes are there ----
 */

__device__ inline void hopper_barrier_start(uint32_t barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals)
                 : "memory");
}

/* After hopper_barrier_start, before other threads or the copy engine use them. */
__device__ inline void hopper_barriers_started()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* Arrives, and makes the phase wait for `bytes`. */
__device__ inline void hopper_barrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

__device__ inline void hopper_barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* At the barrier of that name in another block of the cluster. It orders what the copy engine and
 * the matrix units do, which needs no fence; .release.cluster would be one of all memory (1 us). */
__device__ inline void hopper_barrier_arrive_at(uint32_t barrier, int block)
{
    asm volatile("{\n.reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(barrier),
                 "r"(block)
                 : "memory");
}

/* For the phase of that parity to end; the phase before the first one has ended. */
__device__ inline void hopper_barrier_wait(uint32_t barrier, int parity)
{
    asm volatile("{\n.reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra ended;\n"
                 "bra again;\n"
                 "ended:\n}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}

__device__ inline int hopper_cluster_rank()
{
    int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

__device__ inline void hopper_cluster_sync()
{
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

/* ---- tiles ---- */

__device__ inline void hopper_load(uint32_t to, const CUtensorMap &map, uint32_t barrier,
                                   int column, int row)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(&map), "r"(column), "r"(row), "r"(barrier)
                 : "memory");
}

/* Into the same place of the first two blocks of the cluster, and to the barrier of each. */
__device__ inline void hopper_load_both(uint32_t to, const CUtensorMap &map, uint32_t barrier,
                                        int column, int row)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
                 "l"(&map), "r"(column), "r"(row), "r"(barrier), "h"((uint16_t)3)
                 : "memory");
}

/* ---- matrix instructions ---- */

/* A tile in shared memory for wgmma: rows of 128 bytes, 8 of them 1024 bytes, in which 16-byte
 * piece c of row r lies at c ^ (r % 8) (a swizzle of 128 bytes: 1 in bits 62-63). */
__device__ inline uint64_t hopper_tile(uint32_t address)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 |
           (uint64_t)1 << 62;
}

__device__ inline void hopper_mma_start()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ inline void hopper_mma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* All but the newest PENDING groups are done. */
template <int PENDING> __device__ inline void hopper_mma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

#define HOPPER_8(C, c, i)                                                                          \
    "+" C(c[i]), "+" C(c[i + 1]), "+" C(c[i + 2]), "+" C(c[i + 3]), "+" C(c[i + 4]),               \
        "+" C(c[i + 5]), "+" C(c[i + 6]), "+" C(c[i + 7])
#define HOPPER_32(C, c, i)                                                                         \
    HOPPER_8(C, c, i), HOPPER_8(C, c, i + 8), HOPPER_8(C, c, i + 16), HOPPER_8(C, c, i + 24)
#define HOPPER_NAMES_64                                                                            \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, "   \
    "%38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "   \
    "%56, %57, %58, %59, %60, %61, %62, %63"
#define HOPPER_NAMES_96                                                                            \
    HOPPER_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, "     \
                    "%78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, "  \
                    "%93, %94, %95"
#define HOPPER_NAMES_112                                                                           \
    HOPPER_NAMES_96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, "       \
                    "%108, %109, %110, %111"
#define HOPPER_NAMES_128                                                                           \
    HOPPER_NAMES_112 ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, "        \
                     "%123, %124, %125, %126, %127"

/* c += x w^T of 64 rows of x and N of w, 32 bytes of each; keep 0: c = x w^T. */
#define HOPPER_MMA(SHAPE, NAMES, X, W, KEEP, TAIL, ...)                                            \
    asm volatile("{\n.reg .pred keep;\nsetp.ne.b32 keep, %" KEEP ", 0;\n"                          \
                 "wgmma.mma_async.sync.aligned." SHAPE " {" NAMES "}, %" X ", %" W ", keep" TAIL   \
                 ";\n}"                                                                            \
                 : __VA_ARGS__                                                                     \
                 : "l"(x), "l"(w), "r"(keep))
#define HOPPER_MMA_N(K, TYPES, TAIL, C)                                                            \
    if constexpr (N == 256)                                                                        \
        HOPPER_MMA("m64n256" K TYPES, HOPPER_NAMES_128, "128", "129", "130", TAIL,                 \
                   HOPPER_32(C, c, 0), HOPPER_32(C, c, 32), HOPPER_32(C, c, 64),                   \
                   HOPPER_32(C, c, 96));                                                           \
    else if constexpr (N == 224)                                                                   \
        HOPPER_MMA("m64n224" K TYPES, HOPPER_NAMES_112, "112", "113", "114", TAIL,                 \
                   HOPPER_32(C, c, 0), HOPPER_32(C, c, 32), HOPPER_32(C, c, 64),                   \
                   HOPPER_8(C, c, 96), HOPPER_8(C, c, 104));                                       \
    else if constexpr (N == 192)                                                                   \
        HOPPER_MMA("m64n192" K TYPES, HOPPER_NAMES_96, "96", "97", "98", TAIL, HOPPER_32(C, c, 0), \
                   HOPPER_32(C, c, 32), HOPPER_32(C, c, 64));                                      \
    else                                                                                           \
        HOPPER_MMA("m64n128" K TYPES, HOPPER_NAMES_64, "64", "65", "66", TAIL, HOPPER_32(C, c, 0), \
                   HOPPER_32(C, c, 32))

template <int N, int NUMBER, class T>
__device__ inline void hopper_mma(T c[N / 2], uint64_t x, uint64_t w, int keep)
{
    static_assert(N == 128 || N == 192 || N == 224 || N == 256, "no such tile");
    if constexpr (NUMBER == GPU_INT8) {
        HOPPER_MMA_N("k32", ".s32.s8.s8", "", "r");
    } else if constexpr (NUMBER == GPU_BF16) {
        HOPPER_MMA_N("k16", ".f32.bf16.bf16", ", 1, 1, 0, 0", "f");
    } else {
        HOPPER_MMA_N("k16", ".f32.f16.f16", ", 1, 1, 0, 0", "f");
    }
}

/* c += x w of 64 rows of x in registers (16 columns of a warp's 16 rows as mma.sync has them) and
 * 16 rows of w in shared memory, whose N columns are neighbours: tiles of 64 columns (rows of 128
 * bytes), `next_tile` bytes apart. FP16. */
__device__ inline uint64_t hopper_tile_across(uint32_t address, uint32_t next_tile)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(next_tile >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

#define HOPPER_NAMES_32                                                                            \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HOPPER_MMA_ACROSS(SHAPE, NAMES, A, B, C, D, W, ...)                                        \
    asm volatile("wgmma.mma_async.sync.aligned." SHAPE ".f32.f16.f16 {" NAMES "}, {%" A ", %" B    \
                 ", %" C ", %" D "}, %" W ", 1, 1, 1, 1;"                                          \
                 : __VA_ARGS__                                                                     \
                 : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "l"(w))

template <int N>
__device__ inline void hopper_mma_across(float c[N / 2], const uint32_t x[4], uint64_t w)
{
    static_assert(N == 64 || N == 128, "no such tile");
    if constexpr (N == 128)
        HOPPER_MMA_ACROSS("m64n128k16", HOPPER_NAMES_64, "64", "65", "66", "67", "68",
                          HOPPER_32("f", c, 0), HOPPER_32("f", c, 32));
    else
        HOPPER_MMA_ACROSS("m64n64k16", HOPPER_NAMES_32, "32", "33", "34", "35", "36",
                          HOPPER_32("f", c, 0));
}

/* The compiler leaves values where they are: what the instructions in flight read or write. */
template <int N> __device__ inline void hopper_hold(float (&c)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(c[i])::"memory");
}

template <int N> __device__ inline void hopper_hold(int (&c)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+r"(c[i])::"memory");
}
#endif
#endif
