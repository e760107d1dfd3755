/* What runs on the tensor cores, plainly: products (the same pairs of planes in the same order) and
 * attention of 16-bit numbers. */
#include "base/half.h"
#include "kernels/cuda/gpu.h"

#include <cuda_bf16.h>

static float number(const gpu_planes &p, int plane, int64_t row, int64_t k)
{
    uint16_t bits =
        ((const uint16_t *)p.data)[((int64_t)plane * p.plane_rows + row) * p.stride + k];
    return p.number == GPU_F16 ? pare_f16_to_f32(bits) : pare_bf16_to_f32(bits);
}

static float activate(float x, gpu_activation f)
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

/* Codes of a row of i8_ch: chunks of 1024, each followed by its scale and 12 bytes. */
static float sum_of_codes(const gpu_gemm_args *a, int64_t t, int64_t r)
{
    int64_t columns = (a->columns + 31) / 32 * 32;
    const int8_t *x = (const int8_t *)a->x.data + t * a->x.stride;
    const int8_t *w = (const int8_t *)a->w.data + r * a->w.stride;
    int v = 0;
    for (int64_t k = 0; k < columns; k++)
        v += x[k] * w[k + k / 1024 * 16];
    return (float)v * (a->x_scales[t] * *(const float *)(w + (columns < 1024 ? columns : 1024)));
}

static float sum(const gpu_gemm_args *a, int64_t t, int64_t r)
{
    double v = 0;
    if (a->x.number == GPU_INT8)
        return sum_of_codes(a, t, r) + (a->bias ? a->bias[r] : 0);
    for (int sum = 2; sum >= 0; sum--)
        for (int i = 0; i <= sum; i++)
            for (int64_t k = 0; k < a->columns && i < a->x.planes && sum - i < a->w.planes; k++)
                v += (double)number(a->x, i, t, k) * (double)number(a->w, sum - i, r, k);
    return (float)v + (a->bias ? a->bias[r] : 0);
}

static void put(const gpu_planes &to, int64_t row, int64_t k, float v)
{
    if (to.number == GPU_F32)
        ((float *)to.data)[row * to.stride + k] = v;
    for (int p = 0; p < to.planes && to.number != GPU_F32; p++) {
        uint16_t bits = to.number == GPU_F16 ? pare_f32_to_f16(fminf(fmaxf(v, -65504), 65504))
                                             : pare_f32_to_bf16(v);
        ((uint16_t *)to.data)[(p * to.plane_rows + row) * to.stride + k] = bits;
        v -= pare_bf16_to_f32(bits); /* FP16 has one plane */
    }
}

static void multiply(const gpu_gemm_args *a)
{
    bool gated = a->epilogue == GPU_GATED;
    int64_t outputs = gated ? a->rows / 2 : a->rows;
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t i = 0; i < outputs; i++) {
            float v = sum(a, t, gated ? 2 * i : i);
            if (a->epilogue == GPU_ACTIVATE || gated)
                v = activate(v, a->activation) * (gated ? sum(a, t, 2 * i + 1) : 1);
            if (a->to.data) {
                put(a->to, t, i, v);
                continue;
            }
            float *y = a->y + t * a->y_stride + i;
            *y = a->epilogue == GPU_ADD ? *y + v : v;
        }
        for (int64_t i = outputs; a->to.data && i < (outputs + 31) / 32 * 32; i++)
            put(a->to, t, i, 0);
    }
}

extern "C" bool gpu_multiplies_codes(const gpu_context *)
{
    return true;
}

extern "C" pare_status gpu_gemm(gpu_context *, const gpu_gemm_args *args)
{
    gpu_gemm_args a = *args; /* a kernel, so that graphs keep it */
    emulated_launch(dim3(1), dim3(1), 0, [a] { multiply(&a); });
    return PARE_OK;
}

static void attend(const gpu_heads &h, const gpu_planes &q, size_t sequence, int64_t t,
                   int64_t past, int head, const gpu_planes &to)
{
    int64_t position = past + t, low = h.window ? std::max<int64_t>(0, position - h.window + 1) : 0;
    size_t first = sequence * h.sequence_bytes +
                   (size_t)(head / (h.heads / h.kv_heads) * h.capacity) * h.row_bytes;
    double out[GPU_HEAD_DIM_MAX] = {0}, total = 0;
    for (int64_t i = low; i <= position; i++) {
        const uint16_t *key = (const uint16_t *)((char *)h.keys + first + (size_t)i * h.row_bytes);
        const uint16_t *value =
            (const uint16_t *)((char *)h.values + first + (size_t)i * h.row_bytes);
        double score = 0;
        for (int d = 0; d < h.head_dim; d++)
            score += (double)number(q, 0, t, head * h.head_dim + d) * pare_f16_to_f32(key[d]);
        score = exp2(score); /* small models: nothing overflows */
        total += score;
        for (int d = 0; d < h.head_dim; d++)
            out[d] += score * pare_f16_to_f32(value[d]);
    }
    for (int d = 0; d < h.head_dim; d++) {
        int64_t column = head * h.head_dim + d;
        put(to, t, column, (float)(out[d] / total));
    }
}

extern "C" pare_status gpu_attend_numbers(gpu_context *, const gpu_heads *heads,
                                          const gpu_planes *queries, int64_t sequence,
                                          int64_t tokens, int64_t past, const gpu_planes *to)
{
    gpu_heads h = *heads;
    gpu_planes q = *queries, out = *to;
    emulated_launch(dim3(1), dim3(1), 0, [=] {
        for (int64_t t = 0; t < tokens; t++)
            for (int head = 0; head < h.heads; head++)
                attend(h, q, (size_t)sequence, t, past, head, out);
    });
    return PARE_OK;
}
