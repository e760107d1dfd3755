/* A chain of kernels that only stream, as a token's products do: matrices of a layer of
 * Llama-3.2-1B or Llama-2-7B one after the other, each kernel let in early, its ring filled before
 * it waits. What arrangement streams best? Not part of Pare. nvcc -O3 -std=c++17 -gencode
 * arch=compute_90,code=sm_90 lab/gpu_chain.cu */
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>
#include <vector>
#define CHECK(x)                                                                                   \
    do {                                                                                           \
        cudaError_t err_ = (x);                                                                    \
        if (err_ != cudaSuccess) {                                                                 \
            printf("%s: %s\n", #x, cudaGetErrorString(err_));                                      \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
static __device__ uint32_t address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}
struct job {
    const uint8_t *base;
    int rows, row_bytes, parts_log2, mode;
    int *counter;
    int late;
};
// a stage: R rows x P bytes
template <int R, int P, int S, int W, bool BULK, int MINB>
__global__ void __launch_bounds__(W * 32, MINB) stream(const job j, uint32_t *out)
{
    extern __shared__ __align__(128) char shared[];
    __shared__ uint64_t barriers[W][S];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    constexpr int STAGE = R * P;
    char *ring = shared + warp * S * STAGE;
    int units = j.rows / R, pieces = j.row_bytes / P;
    int items = units << j.parts_log2, item, step, end;
    if (j.mode == 0) { // contiguous
        int b = (int)((int64_t)units * blockIdx.x / gridDim.x) << j.parts_log2;
        end = (int)((int64_t)units * (blockIdx.x + 1) / gridDim.x) << j.parts_log2;
        item = b + warp, step = W;
    } else if (j.mode == 1) { // interleaved
        item = blockIdx.x + warp * gridDim.x, step = W * gridDim.x, end = items;
    } else { // from a counter, the first ones given
        item = blockIdx.x + warp * gridDim.x, step = 0, end = items;
    }
    int fetched = 0;
    auto next = [&](int i) {
        if (j.mode != 2)
            return i + step;
        int n = __shfl_sync(~0u, fetched, 0); // asked for earlier
        if (lane == 0)
            fetched = atomicAdd(j.counter, 1);
        return n;
    };
    if (j.mode == 2 && lane == 0)
        fetched = atomicAdd(j.counter, 1);
    int a_item = item, a_piece = 0, a_end = 0;
    auto open = [&](int it, int &p, int &e) {
        int part = it & ((1 << j.parts_log2) - 1);
        p = pieces * part >> j.parts_log2;
        e = pieces * (part + 1) >> j.parts_log2;
    };
    open(a_item, a_piece, a_end);
    int ahead = 0; // stages asked for and not used
    auto fill = [&](int slot) {
        if (a_item < end) {
            const uint8_t *from =
                j.base + (size_t)(a_item >> j.parts_log2) * R * j.row_bytes + (size_t)a_piece * P;
            char *to = ring + slot * STAGE;
            if (BULK) {
                if (lane == 0)
                    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                                     address(&barriers[warp][slot])),
                                 "r"(STAGE)
                                 : "memory");
                __syncwarp();
                if (lane < R)
                    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::"
                                 "bytes [%0], [%1], %2, [%3];" ::"r"(address(to + lane * P)),
                                 "l"(from + (size_t)lane * j.row_bytes), "r"(P),
                                 "r"(address(&barriers[warp][slot]))
                                 : "memory");
            } else {
#pragma unroll
                for (int i = 0; i < STAGE; i += 512) {
                    int at = i + 16 * lane;
                    if (i + 512 <= STAGE || at < STAGE)
                        asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(
                                         address(to + at)),
                                     "l"(from + (size_t)(at / P) * j.row_bytes + at % P)
                                     : "memory");
                }
            }
            ahead++;
            if (++a_piece == a_end) {
                a_item = next(a_item);
                if (a_item < end)
                    open(a_item, a_piece, a_end);
            }
        }
        if (!BULK)
            asm volatile("cp.async.commit_group;" ::: "memory");
    };
    if (BULK) {
        if (lane == 0) {
            for (int s = 0; s < S; s++)
                asm volatile(
                    "mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address(&barriers[warp][s]))
                    : "memory");
            asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        }
        __syncwarp();
    }
    for (int s = 0; s < S; s++)
        fill(s);
    if (!j.late)
        asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
    uint32_t sum = out[threadIdx.x];
    __syncthreads();
    if (j.late)
        asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    int slot = 0, phase = 0;
    while (ahead > 0) {
        if (BULK)
            asm volatile("{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, "
                         "[%0], %1;\n@!p bra again;\n}" ::"r"(address(&barriers[warp][slot])),
                         "r"(phase)
                         : "memory");
        else
            asm volatile("cp.async.wait_group %0;" ::"n"(S - 1) : "memory");
        __syncwarp();
        for (int c = 16 * lane; c < STAGE; c += 512) {
            uint4 v = *(uint4 *)(ring + slot * STAGE + c);
            sum += v.x ^ v.y ^ v.z ^ v.w;
        }
        __syncwarp();
        ahead--;
        fill(slot);
        if (++slot == S)
            slot = 0, phase ^= 1;
    }
    __syncthreads();
    if (sum == 12345)
        out[blockIdx.x * blockDim.x + threadIdx.x + 4096] = sum;
}
static uint8_t *data;
static uint32_t *out;
static int *counters;
static size_t total = (size_t)8 << 30;
template <int R, int P, int S, int W, bool BULK, int MINB>
void test(const char *name, int rb, int mode, int late, int k)
{
    // rb: bytes of a row of k columns; shapes of Llama-3.2-1B (k 2048) or 7B (k 4096)
    cudaStream_t st;
    CHECK(cudaStreamCreate(&st));
    auto kernel = stream<R, P, S, W, BULK, MINB>;
    size_t shared = (size_t)W * S * R * P;
    CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    int layers = k == 2048 ? 16 : 8, n = 0;
    size_t at = 0, bytes = 0;
    struct shape {
        int rows, mult;
    } shapes1[] = {{3072, 1}, {2048, 1}, {16384, 1}, {2048, 4}},
      shapes7[] = {{12288, 2}, {4096, 2}, {22016, 2}, {4096, 5}};
    cudaGraph_t g;
    cudaGraphExec_t e;
    CHECK(cudaStreamBeginCapture(st, cudaStreamCaptureModeThreadLocal));
    CHECK(cudaMemsetAsync(counters, 0, 4096 * 4, st));
    for (int l = 0; l < layers; l++)
        for (int i = 0; i < 4; i++) {
            shape s = k == 2048 ? shapes1[i] : shapes7[i];
            int row = rb * s.mult;
            job j = {data + at, s.rows, row, 0, mode, counters + n++, late};
            int units = s.rows / R, warps = W * 132, pieces = row / P; // parts: as matvec_plan_of
            double best = 0;
            for (int p = 0; p < 5 && 1 << p <= pieces; p++) {
                int per = ((units + 131) / 132) << p, turns = (per + W - 1) / W;
                double share = (double)per / (turns * W);
                if (share > best + 0.02)
                    best = share, j.parts_log2 = p;
                if (share >= 0.93)
                    break;
            }
            size_t size = (size_t)s.rows * row;
            at += size;
            bytes += size;
            if (at + ((size_t)1 << 29) > total)
                at = 0;
            cudaLaunchAttribute a = {};
            a.id = cudaLaunchAttributeProgrammaticStreamSerialization;
            a.val.programmaticStreamSerializationAllowed = 1;
            cudaLaunchConfig_t c = {};
            c.gridDim = 132;
            c.blockDim = W * 32;
            c.dynamicSmemBytes = shared;
            c.stream = st;
            c.attrs = &a;
            c.numAttrs = 1;
            CHECK(cudaLaunchKernelEx(&c, kernel, (const job)j, out));
        }
    CHECK(cudaStreamEndCapture(st, &g));
    CHECK(cudaGraphInstantiate(&e, g, 0));
    cudaEvent_t t0, t1;
    CHECK(cudaEventCreate(&t0));
    CHECK(cudaEventCreate(&t1));
    std::vector<float> ms;
    for (int r = 0; r < 12; r++) {
        CHECK(cudaEventRecord(t0, st));
        CHECK(cudaGraphLaunch(e, st));
        CHECK(cudaEventRecord(t1, st));
        CHECK(cudaEventSynchronize(t1));
        float m;
        CHECK(cudaEventElapsedTime(&m, t0, t1));
        ms.push_back(m);
    }
    std::sort(ms.begin(), ms.end());
    float m = ms[ms.size() / 2];
    printf("k %d row %5d %-4s %d x %4d B, %d slots, %2d warps, %s%s: %.1f us a layer, %4.0f GB/s\n",
           k, rb, BULK ? "bulk" : "cp", R, P, S, W, name, late ? " late" : "", 1e3 * m / layers,
           bytes / m / 1e6);
    cudaStreamDestroy(st);
}
__global__ void noise(uint32_t *p, size_t n)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        uint64_t x = i * 0x9E3779B97F4A7C15ull;
        x ^= x >> 29;
        x *= 0xBF58476D1CE4E5B9ull;
        p[i] = (uint32_t)(x >> 32);
    }
}
int main(int argc, char **argv)
{
    CHECK(cudaMalloc(&data, total));
    CHECK(cudaMemset(data, 1, total));
    CHECK(cudaMalloc(&out, 1 << 22));
    CHECK(cudaMemset(out, 0, 1 << 22));
    CHECK(cudaMalloc(&counters, 65536));
    const char *modes[] = {"blocks apart", "interleaved", "counter"};
#define T(R, P, S, W, B, M, RB, K)                                                                 \
    for (int mode = 0; mode < 3; mode++)                                                           \
        test<R, P, S, W, B, M>(modes[mode], RB, mode, 0, K);
#define T3(R, P, S, W, B, RB) T(R, P, S, W, B, 2, RB, 2048) T(R, P, S, W, B, 2, RB, 4096)
    for (int random = 0; random < 2; random++) {
        printf("%s\n", random ? "random" : "constant");
        if (random) {
            noise<<<1056, 512>>>((uint32_t *)data, total / 4);
            CHECK(cudaDeviceSynchronize());
        }
        test<4, 512, 2, 16, false, 2>("blocks apart", 4096, 0, 0, 2048);
        test<4, 512, 2, 16, true, 2>("blocks apart", 4096, 0, 0, 2048);
        test<4, 512, 2, 16, false, 2>("blocks apart", 4096, 0, 0, 4096);
        test<4, 512, 2, 16, true, 2>("blocks apart", 4096, 0, 0, 4096);
        test<4, 576, 2, 16, true, 2>("blocks apart", 1152, 0, 0, 2048);
        test<4, 576, 2, 16, true, 2>("blocks apart", 1152, 0, 0, 4096);
    }
    return 0;
}
