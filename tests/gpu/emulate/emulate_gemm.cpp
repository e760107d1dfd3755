/* The tensor cores' product, plainly: the same pairs of planes in the same order. */
#include "kernels/cuda/gpu.h"

#include <cuda_bf16.h>

static float number(const gpu_planes &p, int plane, int64_t row, int64_t k)
{
    uint16_t bits =
        ((const uint16_t *)p.data)[((int64_t)plane * p.plane_rows + row) * p.stride + k];
    return p.number == GPU_F16 ? pare_f16_to_f32(bits) : pare_bf16_to_f32(bits);
}

static void multiply(const gpu_gemm_args *a)
{
    for (int64_t t = 0; t < a->tokens; t++)
        for (int64_t r = 0; r < a->rows; r++) {
            double v = 0;
            for (int sum = 2; sum >= 0; sum--)
                for (int i = 0; i <= sum; i++)
                    for (int64_t k = 0; k < a->columns && i < a->x.planes && sum - i < a->w.planes;
                         k++)
                        v += (double)number(a->x, i, t, k) * (double)number(a->w, sum - i, r, k);
            float *y = a->y + t * a->y_stride + r, f = (float)v + (a->bias ? a->bias[r] : 0);
            *y = a->add ? *y + f : f;
        }
}

extern "C" pare_status gpu_gemm(gpu_context *, const gpu_gemm_args *args)
{
    gpu_gemm_args a = *args; /* a kernel, so that graphs keep it */
    emulated_launch(dim3(1), dim3(1), 0, [a] { multiply(&a); });
    return PARE_OK;
}
