/* The elementwise operations in plain C: what each of them means. Sums are in double, functions are
 * libm's. */
#include "kernels/kernels.h"

#include "base/half.h"
#include "quant/types.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void rms_norm(float *y, const float *x, const float *weight, int64_t n, float epsilon)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    float factor = (float)(1.0 / sqrt(sum / (double)n + epsilon));
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * factor * weight[i];
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, int64_t n,
                       float epsilon)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    float mean = (float)(sum / (double)n);
    /* Around the mean, not as a difference of squares: that would cancel where the mean is large.
     */
    for (int64_t i = 0; i < n; i++) {
        double d = x[i] - mean;
        squares += d * d;
    }
    float factor = (float)(1.0 / sqrt(squares / (double)n + epsilon));
    for (int64_t i = 0; i < n; i++) {
        float scaled = (x[i] - mean) * factor * weight[i];
        y[i] = bias ? scaled + bias[i] : scaled;
    }
}

static void add(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* x sigmoid(x). exp(-x) may overflow to infinity, which gives the right limit, -0. */
static float silu_of(float x)
{
    return (float)(x / (1.0 + exp(-(double)x)));
}

/* x Phi(x). By erfc, whose relative error stays small in the negative tail, where 1 + erf would
 * cancel. */
static float gelu_of(float x)
{
    return (float)(0.5 * x * erfc(-M_SQRT1_2 * x));
}

/* 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3): the second form does not
 * cancel. */
static float gelu_tanh_of(float x)
{
    double u = 0.79788456080286536 * x * (1.0 + 0.044715 * x * x);
    return (float)(x / (1.0 + exp(-2.0 * u)));
}

#define ACTIVATION(name)                                                                           \
    static void name(float *y, const float *x, int64_t n)                                          \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++)                                                            \
            y[i] = name##_of(x[i]);                                                                \
    }                                                                                              \
    static void name##_multiply(float *y, const float *gate, const float *up, int64_t n)           \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++)                                                            \
            y[i] = name##_of(gate[i]) * up[i];                                                     \
    }

ACTIVATION(silu)
ACTIVATION(gelu)
ACTIVATION(gelu_tanh)

static void rope(float *head, const float *cosines, const float *sines, int64_t dims, bool pairs)
{
    int64_t half = dims / 2, next = pairs ? 1 : half, step = pairs ? 2 : 1;
    for (int64_t i = 0; i < half; i++) {
        float *a = head + i * step, *b = a + next;
        float rotated = *a * cosines[i] - *b * sines[i];
        *b = *a * sines[i] + *b * cosines[i];
        *a = rotated;
    }
}

static void store_cache(void *row, const float *values, int64_t n, pare_type cache_type)
{
    if (cache_type == PARE_TYPE_F32) {
        memcpy(row, values, (size_t)n * sizeof(float));
        return;
    }
    if (cache_type == PARE_TYPE_F16) {
        uint16_t *halves = row;
        for (int64_t i = 0; i < n; i++)
            halves[i] = pare_f32_to_f16(values[i]);
        return;
    }
    if (cache_type == PARE_TYPE_Q4_0) {
        pare_type_get_traits(cache_type)->encode(values, row, n, NULL);
        return;
    }
    assert(cache_type == PARE_TYPE_Q8_0 && n % 32 == 0);
    pare_block_q8_0 *blocks = row;
    for (int64_t b = 0; b < n / 32; b++) {
        const float *x = values + 32 * b;
        float absmax = 0;
        for (int i = 0; i < 32; i++)
            absmax = fmaxf(absmax, fabsf(x[i]));
        float inverse = absmax > 0 ? 127.0f / absmax : 0.0f;
        blocks[b].d = pare_f32_to_f16(absmax / 127.0f);
        for (int i = 0; i < 32; i++)
            blocks[b].q[i] = (int8_t)lrintf(x[i] * inverse);
    }
}

static double log_sum_exp(const float *x, int64_t n, float *maximum)
{
    float highest = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        highest = x[i] > highest ? x[i] : highest;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - highest);
    *maximum = highest;
    return log(sum) + highest;
}

void pare_kernels_add_ref_ops(pare_kernels *kernels)
{
    for (int type = 0; type < PARE_TYPE_COUNT; type++)
        kernels->decode_row[type] = pare_type_get_traits((pare_type)type)->decode;
    kernels->rms_norm = rms_norm;
    kernels->layer_norm = layer_norm;
    kernels->add = add;
    kernels->silu = silu;
    kernels->silu_multiply = silu_multiply;
    kernels->gelu = gelu;
    kernels->gelu_multiply = gelu_multiply;
    kernels->gelu_tanh = gelu_tanh;
    kernels->gelu_tanh_multiply = gelu_tanh_multiply;
    kernels->rope = rope;
    kernels->store_cache = store_cache;
    kernels->log_sum_exp = log_sum_exp;
    pare_kernels_add_ref_attention(kernels);
}
