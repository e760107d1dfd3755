/* How fast are products of many tokens? Times gpu_gemm over the shapes of a layer of Llama-2-7B,
 * after the epilogue that each has: gpu_gemm [bf16 | int8 | TOKENS]... Random normal
 * numbers: zeros would need less power. (Codes are the same bytes.) */
#include "kernels/cuda/gpu.h"

#include <pare/types.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

static void check(pare_status status)
{
    if (status != PARE_OK) {
        fprintf(stderr, "%s\n", pare_error_message());
        exit(1);
    }
}

static void *made(gpu_context *gpu, size_t numbers, bool random)
{
    void *to;
    check(gpu_allocate(gpu, numbers * 2, "a bench", &to));
    if (!random)
        return to;
    size_t block = 1 << 20;
    uint16_t *host = (uint16_t *)malloc(block * 2);
    for (size_t i = 0; i < block; i++) { /* BF16, about normal */
        float v = 0;
        for (int k = 0; k < 8; k++)
            v += (float)rand() / (float)RAND_MAX - 0.5f;
        uint32_t bits;
        memcpy(&bits, &v, 4);
        host[i] = (uint16_t)(bits >> 16);
    }
    for (size_t at = 0; at < numbers; at += block) {
        size_t n = numbers - at < block ? numbers - at : block;
        check(gpu_check(cudaMemcpy((uint16_t *)to + at, host, n * 2, cudaMemcpyHostToDevice),
                        "copy"));
    }
    free(host);
    return to;
}

static double time_of(gpu_context *gpu, const gpu_gemm_args *args, int layers, size_t w_numbers)
{
    cudaEvent_t start, end;
    float ms = 0, best = 1e9f;
    cudaEventCreate(&start);
    cudaEventCreate(&end);
    for (int r = 0; r < 4; r++) {
        cudaEventRecord(start, gpu->stream);
        for (int i = 0; i < layers; i++) {
            gpu_gemm_args a = *args;
            a.w.data = (uint16_t *)a.w.data + w_numbers * (size_t)(i % 4);
            check(gpu_gemm(gpu, &a));
        }
        cudaEventRecord(end, gpu->stream);
        check(gpu_wait(gpu));
        cudaEventElapsedTime(&ms, start, end);
        best = ms < best && r ? ms : best;
    }
    return best * 1e-3 / layers;
}

/* The product of numbers as one of codes. */
static void use(gpu_gemm_args *a, const char *kind)
{
    if (strcmp(kind, "bf16") == 0)
        return;
    if (strcmp(kind, "int8") == 0) {
        a->x_scales = (float *)a->x.data;
        a->x.number = a->w.number = GPU_INT8;
        a->w.stride = gpu_row_bytes(PARE_TYPE_I8_CH, a->columns);
        return;
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int64_t rows, columns;
        gpu_epilogue epilogue;
    } shapes[] = {{"qkv", 12288, 4096, GPU_STORE},
                  {"output", 4096, 4096, GPU_ADD},
                  {"gate, up", 22016, 4096, GPU_GATED},
                  {"down", 4096, 11008, GPU_ADD}};
    gpu_context gpu;
    check(gpu_open(&gpu, 0));
    size_t most = 2048u * 22016u;
    void *x = made(&gpu, most, true), *w = made(&gpu, 4u * 22016u * 4096u, true);
    void *y = made(&gpu, 2 * most, false), *to = made(&gpu, most, false);
    const char *kind = "bf16";
    for (int i = 1; i < argc; i++) {
        int64_t tokens = atoi(argv[i]);
        if (!tokens) {
            kind = argv[i];
            printf("%s\n", kind);
            continue;
        }
        double total = 0, work = 0;
        for (auto &s : shapes) {
            gpu_gemm_args a = {};
            a.x = {x, GPU_BF16, 1, tokens, s.columns};
            a.w = {w, GPU_BF16, 1, s.rows, s.columns};
            a.tokens = tokens, a.rows = s.rows, a.columns = s.columns;
            a.epilogue = s.epilogue;
            a.activation = GPU_SILU;
            a.y = (float *)y, a.y_stride = s.rows;
            if (s.epilogue == GPU_GATED)
                a.to = {to, GPU_BF16, 1, tokens, s.rows / 2};
            use(&a, kind);
            double took = time_of(&gpu, &a, 20, (size_t)(s.rows * s.columns));
            double flops = 2.0 * (double)tokens * (double)s.rows * (double)s.columns;
            printf("%5d tokens  %-8s %8.1f us  %6.1f TFLOP/s\n", (int)tokens, s.name, took * 1e6,
                   flops / took * 1e-12);
            total += took;
            work += flops;
        }
        printf("%5d tokens  layer    %8.1f us  %6.1f TFLOP/s\n", (int)tokens, total * 1e6,
               work / total * 1e-12);
    }
    return 0;
}
