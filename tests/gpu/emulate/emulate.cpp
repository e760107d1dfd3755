/* The emulated device: fibers, memory, graphs. */
#include <cuda_runtime_api.h>

#include <sys/mman.h>
#include <vector>

emulated_place threadIdx, blockIdx, blockDim, gridDim;
char *emulated_shared;

/* ---- fibers ---- */

enum { STACK = 48 << 10, THREADS = 1024 };

struct fiber {
    void *stack;
    bool over;
};
struct barrier {
    int waiting, members;
    unsigned generation;
};
static struct {
    fiber fibers[THREADS];
    char *stacks;
    void *scheduler;
    int current, count;
    barrier block, warps[THREADS / 32];
    uint64_t slots[THREADS];
    const std::function<void()> *body;
} device;

/* Saves the callee-saved registers and the stack pointer in *from, continues at `to`. */
extern "C" void emulated_switch(void **from, void *to);
#if defined(__x86_64__)
asm(".globl emulated_switch\n"
    "emulated_switch:\n"
    "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "mov %rsp, (%rdi); mov %rsi, %rsp\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
    "ret\n");
enum { SAVED = 6 };
#else
#error "the emulation knows x86-64 alone"
#endif

static void yield()
{
    emulated_switch(&device.fibers[device.current].stack, device.scheduler);
}

static void release(barrier &b)
{
    b.waiting = 0;
    b.generation++;
}

static void wait(barrier &b)
{
    unsigned mine = b.generation;
    if (++b.waiting == b.members)
        release(b);
    while (b.generation == mine)
        yield();
}

static void leave(barrier &b)
{
    if (--b.members == b.waiting && b.waiting)
        release(b);
}

void emulated_block_barrier()
{
    wait(device.block);
}

void emulated_warp_barrier()
{
    wait(device.warps[device.current / 32]);
}

uint64_t emulated_shuffle(uint64_t value, int from)
{
    device.slots[device.current] = value;
    emulated_warp_barrier();
    value = device.slots[device.current / 32 * 32 + from];
    emulated_warp_barrier();
    return value;
}

extern "C" {
#include "base/half.h"
}

static float matrix_number(uint32_t pair, int high, bool bf16)
{
    uint16_t bits = (uint16_t)(pair >> (16 * high));
    return bf16 ? pare_bf16_to_f32(bits) : pare_f16_to_f32(bits);
}

/* c += a b by a warp's fragments: adds what words of them contribute to an element. */
template <class C, class ADD>
static void multiply_fragments(C c[4], const uint32_t a[4], const uint32_t b[2], ADD add)
{
    static uint32_t rows[THREADS / 32][32][4], columns[THREADS / 32][32][2];
    int warp = device.current / 32, lane = device.current % 32;
    memcpy(rows[warp][lane], a, sizeof rows[warp][lane]);
    memcpy(columns[warp][lane], b, sizeof columns[warp][lane]);
    emulated_warp_barrier();
    for (int e = 0; e < 4; e++) /* row lane/4 + e/2 8, column lane%4 2 + e%2 */
        for (int quad = 0; quad < 4; quad++)
            for (int word = 0; word < 2; word++)
                add(c[e], rows[warp][lane / 4 * 4 + quad][e / 2 + word * 2],
                    columns[warp][(lane % 4 * 2 + e % 2) * 4 + quad][word]);
    emulated_warp_barrier();
}

void emulated_mma(float c[4], const uint32_t a[4], const uint32_t b[2], bool bf16)
{
    multiply_fragments(c, a, b, [bf16](float &sum, uint32_t x, uint32_t y) {
        for (int k = 0; k < 2; k++)
            sum += matrix_number(x, k, bf16) * matrix_number(y, k, bf16);
    });
}

void emulated_mma_bytes(int c[4], const uint32_t a[4], const uint32_t b[2], bool is_signed)
{
    multiply_fragments(c, a, b, [is_signed](int &sum, uint32_t x, uint32_t y) {
        for (int k = 0; k < 4; k++) {
            uint8_t byte = (uint8_t)(x >> (8 * k));
            sum += (is_signed ? (int8_t)byte : (int)byte) * (int8_t)(y >> (8 * k));
        }
    });
}

static void run_fiber()
{
    (*device.body)();
    leave(device.block);
    leave(device.warps[device.current / 32]);
    device.fibers[device.current].over = true;
    yield();
    abort();
}

static void run_block()
{
    device.count = (int)(blockDim.x * blockDim.y * blockDim.z);
    device.block = {0, device.count, 0};
    for (int i = 0; i < device.count; i++) {
        void **top = (void **)(device.stacks + (size_t)(i + 1) * STACK) - 1;
        *--top = (void *)run_fiber; /* aligned as after a call */
        device.fibers[i] = {top - SAVED, false};
        device.warps[i / 32] = {0, std::min(32, device.count - i / 32 * 32), 0};
    }
    for (int left = device.count; left;)
        for (int i = 0; i < device.count; i++) {
            if (device.fibers[i].over)
                continue;
            device.current = i;
            threadIdx = {(unsigned)i, 0, 0};
            emulated_switch(&device.scheduler, device.fibers[i].stack);
            left -= device.fibers[i].over;
        }
}

struct emulated_kernel {
    dim3 grid, block;
    size_t shared;
    std::function<void()> body;
};

static void run(const emulated_kernel &k)
{
    static std::vector<char> memory;
    memory.assign(k.shared + 1024, (char)0xff); /* NaN: shows what is read before it is written */
    emulated_shared = (char *)(((uintptr_t)memory.data() + 1023) & ~(uintptr_t)1023);
    if (!device.stacks)
        device.stacks = (char *)aligned_alloc(4096, (size_t)THREADS * STACK);
    device.body = &k.body;
    gridDim = {k.grid.x, k.grid.y, k.grid.z};
    blockDim = {k.block.x, k.block.y, k.block.z};
    for (unsigned z = 0; z < k.grid.z; z++)
        for (unsigned y = 0; y < k.grid.y; y++)
            for (unsigned x = 0; x < k.grid.x; x++) {
                blockIdx = {x, y, z};
                run_block();
            }
}

/* ---- graphs ---- */

struct emulated_graph {
    std::vector<emulated_kernel> kernels;
};
static emulated_graph *capturing;

void emulated_launch(dim3 grid, dim3 block, size_t shared, std::function<void()> body)
{
    emulated_kernel k = {grid, block, shared, body};
    if (capturing)
        capturing->kernels.push_back(k);
    else
        run(k);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, int)
{
    capturing = new emulated_graph;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph)
{
    *graph = capturing;
    capturing = nullptr;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, int)
{
    *exec = new emulated_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t)
{
    for (const emulated_kernel &k : exec->kernels)
        run(k);
    return cudaSuccess;
}

/* ---- device and memory ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    *p = {2, 8, 0, 100 << 10, 96 << 10, "an emulated device"};
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, int)
{
    *stream = (cudaStream_t)malloc(1);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return cudaSuccess;
}

/* Each allocation ends (to 16 bytes) at a page that may not be touched; its size stands in front.
 */
static const size_t PAGE = 4096;

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    size_t pages = (bytes + 15) / 16 * 16 + PAGE - 1 + 2 * PAGE;
    pages -= pages % PAGE;
    char *base =
        (char *)mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    *(size_t *)base = pages;
    mprotect(base + pages - PAGE, PAGE, PROT_NONE);
    *memory = base + pages - PAGE - (bytes + 15) / 16 * 16;
    memset(base + sizeof(size_t), 0xff, (size_t)((char *)*memory - base) - sizeof(size_t));
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    if (memory) { /* the size lies at the start of the page in front of the first one in use */
        char *base = (char *)((uintptr_t)memory / PAGE * PAGE);
        for (base -= PAGE; *(size_t *)base == (size_t)-1; base -= PAGE)
            ;
        munmap(base, *(size_t *)base);
    }
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    return cudaMalloc(memory, bytes);
}

cudaError_t cudaFreeHost(void *memory)
{
    return cudaFree(memory);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = *total = (size_t)1 << 32;
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind)
{
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t)
{
    return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t rows, cudaMemcpyKind)
{
    for (size_t r = 0; r < rows; r++)
        memcpy((char *)to + r * to_pitch, (const char *)from + r * from_pitch, width);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    memset(to, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t)
{
    return cudaMemset(to, value, bytes);
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? "out of memory" : "not supported";
}

const char *cudaGetErrorName(cudaError_t)
{
    return "emulated";
}
