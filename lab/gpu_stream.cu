/* How fast one H100 streams weights, by the way of copying, and what a link of a chain of kernels
 * costs. Not part of Pare.  nvcc -O3 -std=c++17 -gencode arch=compute_90,code=sm_90
 * lab/gpu_stream.cu
 *
 * read: one kernel reads 4 GB once, a block a multiprocessor (or two), each warp a row of 4 KiB at
 * a time, rows of a block side by side as in matvec.cuh; nothing is computed but a sum. link: 400
 * kernels of 132 blocks of 512 threads in a graph; each waits, reads 8 KB that the one in front
 * wrote, writes. */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        cudaError_t e = (x);                                                                       \
        if (e != cudaSuccess) {                                                                    \
            printf("%s: %s\n", #x, cudaGetErrorString(e));                                         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static __device__ uint32_t address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}
static __device__ uint32_t fold(uint4 v)
{
    return v.x ^ v.y ^ v.z ^ v.w;
}

enum { ROW = 4096 };

/* Registers: N loads of 16 bytes a lane at a time. */
template <int N> __global__ void read_registers(const uint8_t *p, int rows, uint32_t *out)
{
    int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int begin = (int)((int64_t)rows * blockIdx.x / gridDim.x),
        end = (int)((int64_t)rows * (blockIdx.x + 1) / gridDim.x);
    uint32_t sum = 0;
    for (int r = begin + warp; r < end; r += warps) {
        const uint8_t *row = p + (size_t)r * ROW + 16 * lane;
        for (int c = 0; c < ROW; c += 512 * N) {
            uint4 v[N];
#pragma unroll
            for (int i = 0; i < N; i++)
                asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
                             : "=r"(v[i].x), "=r"(v[i].y), "=r"(v[i].z), "=r"(v[i].w)
                             : "l"(row + c + 512 * i));
#pragma unroll
            for (int i = 0; i < N; i++)
                sum += fold(v[i]);
        }
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

/* cp.async, S stages of 1 KiB a warp. */
template <int S> __global__ void read_async(const uint8_t *p, int rows, uint32_t *out)
{
    extern __shared__ __align__(128) char shared[];
    int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int begin = (int)((int64_t)rows * blockIdx.x / gridDim.x),
        end = (int)((int64_t)rows * (blockIdx.x + 1) / gridDim.x);
    int mine = end - begin > warp ? (end - begin - warp + warps - 1) / warps : 0,
        total = mine * (ROW / 1024), ahead = 0;
    char *ring = shared + warp * S * 1024;
    uint32_t sum = 0;
    auto fill = [&](int slot) {
        if (ahead < total) {
            const uint8_t *from =
                p + (size_t)(begin + warp + ahead / 4 * warps) * ROW + ahead % 4 * 1024 + 16 * lane;
            for (int i = 0; i < 1024; i += 512)
                asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(
                                 address(ring + slot * 1024 + i + 16 * lane)),
                             "l"(from + i)
                             : "memory");
            ahead++;
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    for (int s = 0; s < S; s++)
        fill(s);
    for (int i = 0, slot = 0; i < total; i++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(S - 1) : "memory");
        __syncwarp();
        sum += fold(*(uint4 *)(ring + slot * 1024 + 16 * lane)) +
               fold(*(uint4 *)(ring + slot * 1024 + 512 + 16 * lane));
        __syncwarp();
        fill(slot);
        slot = slot + 1 < S ? slot + 1 : 0;
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

/* Bulk copies of BYTES by lane 0, S stages a warp. */
template <int S, int BYTES> __global__ void read_bulk(const uint8_t *p, int rows, uint32_t *out)
{
    extern __shared__ __align__(128) char shared[];
    __shared__ uint64_t barriers[32][S];
    int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int begin = (int)((int64_t)rows * blockIdx.x / gridDim.x),
        end = (int)((int64_t)rows * (blockIdx.x + 1) / gridDim.x);
    constexpr int PER = ROW / BYTES;
    int mine = end - begin > warp ? (end - begin - warp + warps - 1) / warps : 0,
        total = mine * PER, ahead = 0;
    char *ring = shared + warp * S * BYTES;
    uint32_t sum = 0;
    auto fill = [&](int slot) {
        if (ahead < total && lane == 0) {
            const uint8_t *from =
                p + (size_t)(begin + warp + ahead / PER * warps) * ROW + ahead % PER * BYTES;
            asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                             address(&barriers[warp][slot])),
                         "r"(BYTES)
                         : "memory");
            asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
                         "[%1], %2, [%3];" ::"r"(address(ring + slot * BYTES)),
                         "l"(from), "r"(BYTES), "r"(address(&barriers[warp][slot]))
                         : "memory");
        }
        ahead++;
    };
    if (lane == 0) {
        for (int s = 0; s < S; s++)
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address(&barriers[warp][s]))
                         : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncwarp();
    for (int s = 0; s < S; s++)
        fill(s);
    for (int i = 0, slot = 0, phase = 0; i < total; i++) {
        asm volatile("{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], "
                     "%1;\n@!p bra again;\n}" ::"r"(address(&barriers[warp][slot])),
                     "r"(phase)
                     : "memory");
        for (int c = 0; c < BYTES; c += 512)
            sum += fold(*(uint4 *)(ring + slot * BYTES + c + 16 * lane));
        __syncwarp();
        fill(slot);
        if (++slot == S)
            slot = 0, phase ^= 1;
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

/* ---- links ---- */

__global__ void link_kernel(const float4 *x, float *y, int *ready, int *done, int expected,
                            int late, unsigned *sink)
{
    if (!late)
        asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    if (ready) {
        if (threadIdx.x == 0) {
            int count;
            do
                asm volatile("ld.acquire.gpu.global.s32 %0, [%1];"
                             : "=r"(count)
                             : "l"(ready)
                             : "memory");
            while (count < expected);
        }
        __syncthreads();
    } else
        asm volatile("griddepcontrol.wait;" ::: "memory");
    float4 v = __ldcg(x + threadIdx.x);
    float sum = v.x + v.y + v.z + v.w;
    for (int i = 16; i; i >>= 1)
        sum += __shfl_xor_sync(~0u, sum, i);
    if (late)
        asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    if (threadIdx.x % 32 == 0)
        y[blockIdx.x * 16 + threadIdx.x / 32] = sum * 1e-3f;
    if (done) {
        __syncthreads();
        if (threadIdx.x == 0)
            asm volatile("red.release.gpu.global.add.s32 [%0], 1;" ::"l"(done) : "memory");
    }
}

static float time_graph(cudaGraphExec_t exec, cudaStream_t stream, int n)
{
    cudaEvent_t a, b;
    float ms;
    cudaEventCreate(&a), cudaEventCreate(&b);
    CHECK(cudaGraphLaunch(exec, stream));
    cudaEventRecord(a, stream);
    for (int i = 0; i < n; i++)
        CHECK(cudaGraphLaunch(exec, stream));
    cudaEventRecord(b, stream);
    CHECK(cudaStreamSynchronize(stream));
    cudaEventElapsedTime(&ms, a, b);
    return ms / n;
}

static void links(cudaStream_t stream, int counters, int late, int blocks, bool chained)
{
    enum { KERNELS = 400 };
    float *x, *y;
    int *count;
    CHECK(cudaMalloc(&x, 65536));
    CHECK(cudaMalloc(&y, 65536));
    CHECK(cudaMalloc(&count, 4 * KERNELS));
    cudaMemset(x, 0, 65536);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    cudaMemsetAsync(count, 0, 4 * KERNELS, stream);
    for (int i = 0; i < KERNELS; i++) {
        cudaLaunchAttribute attribute = {};
        attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attribute.val.programmaticStreamSerializationAllowed = 1;
        cudaLaunchConfig_t config = {};
        config.gridDim = blocks, config.blockDim = 512, config.stream = stream,
        config.attrs = &attribute, config.numAttrs = chained && i > 0;
        int *ready = counters && i > 0 ? count + i - 1 : NULL, *done = counters ? count + i : NULL;
        CHECK(cudaLaunchKernelEx(&config, link_kernel, (const float4 *)(i % 2 ? y : x),
                                 i % 2 ? x : y, ready, done, blocks, late, (unsigned *)NULL));
    }
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    printf("link: %s, %s, %d blocks: %.3f us\n", counters ? "counters" : "end of grid",
           !chained ? "not chained"
           : late   ? "released late"
                    : "released early",
           blocks, 1e3 * time_graph(exec, stream, 20) / KERNELS);
    fflush(stdout);
}

static const size_t BYTES = (size_t)4 << 30;
template <class K>
static void read(const char *name, K kernel, int grid, int threads, size_t shared, const uint8_t *p,
                 uint32_t *out)
{
    cudaEvent_t a, b;
    cudaEventCreate(&a), cudaEventCreate(&b);
    CHECK(cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               (int)shared));
    float best = 1e9;
    for (int i = 0; i < 4; i++) {
        float ms;
        cudaEventRecord(a);
        kernel<<<grid, threads, shared>>>(p, (int)(BYTES / ROW), out);
        cudaEventRecord(b);
        CHECK(cudaDeviceSynchronize());
        cudaEventElapsedTime(&ms, a, b);
        best = ms < best ? ms : best;
    }
    printf("read: %-24s grid %d x %d: %.0f GB/s\n", name, grid, threads,
           (double)BYTES / best / 1e6);
    fflush(stdout);
}

int main()
{
    uint8_t *p;
    uint32_t *out;
    cudaStream_t stream;
    CHECK(cudaMalloc(&p, BYTES));
    CHECK(cudaMalloc(&out, 4 << 20));
    CHECK(cudaMemset(p, 7, BYTES));
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    read("registers 8", read_registers<8>, 132, 512, 0, p, out);
    read("registers 8", read_registers<8>, 264, 512, 0, p, out);
    read("registers 8", read_registers<8>, 132, 1024, 0, p, out);
    read("registers 4", read_registers<4>, 264, 1024, 0, p, out);
    read("registers 2", read_registers<2>, 264, 1024, 0, p, out);
    read("async 2", read_async<2>, 132, 512, 16 * 2 << 10, p, out);
    read("async 4", read_async<4>, 132, 512, 16 * 4 << 10, p, out);
    read("async 6", read_async<6>, 132, 512, 16 * 6 << 10, p, out);
    read("async 8", read_async<8>, 132, 512, 16 * 8 << 10, p, out);
    read("async 6", read_async<6>, 264, 512, 16 * 6 << 10, p, out);
    read("async 12", read_async<12>, 132, 256, 8 * 12 << 10, p, out);
    read("bulk 4 of 1 KiB", read_bulk<4, 1024>, 132, 512, 16 * 4 << 10, p, out);
    read("bulk 6 of 1 KiB", read_bulk<6, 1024>, 132, 512, 16 * 6 << 10, p, out);
    read("bulk 8 of 1 KiB", read_bulk<8, 1024>, 132, 256, 8 * 8 << 10, p, out);
    read("bulk 3 of 4 KiB", read_bulk<3, 4096>, 132, 256, 8 * 3 * 4 << 10, p, out);
    read("bulk 3 of 2 KiB", read_bulk<3, 2048>, 132, 512, 16 * 3 * 2 << 10, p, out);
    for (int blocks = 1; blocks <= 132; blocks += 131)
        for (int i = 0; i < 5; i++)
            links(stream, i > 2, i == 2 || i == 4, blocks, i > 0);
    return 0;
}
