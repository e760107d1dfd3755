/* The elementwise operations, written with the vector operations of one tier: included by
 * avx2_ops.c and avx512_ops.c. */
#include "kernels/kernels.h"

#include "base/half.h"
#include "quant/types.h"
#include "vector_math.h"

#include <assert.h>
#include <string.h>

/* Sums of squares are exact products added in double, as in the reference: norms cost next to
 * nothing beside the products. */
static double sum_squares(const float *x, int64_t n, float mean)
{
    vecd low = vd_zero(), high = vd_zero();
    vec m = v_set1(mean);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec d = v_load(x + i) - m;
        low = vd_fma(vd_low(d), vd_low(d), low);
        high = vd_fma(vd_high(d), vd_high(d), high);
    }
    double sum = vd_sum(low + high);
    for (; i < n; i++) {
        float d = x[i] - mean;
        sum += (double)d * d;
    }
    return sum;
}

static void rms_norm(float *y, const float *x, const float *weight, int64_t n, float epsilon)
{
    float factor = (float)(1.0 / sqrt(sum_squares(x, n, 0) / (double)n + epsilon));
    vec f = v_set1(factor);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(y + i, v_load(x + i) * f * v_load(weight + i));
    for (; i < n; i++)
        y[i] = x[i] * factor * weight[i];
}

static float mean_of(const float *x, int64_t n)
{
    vecd low = vd_zero(), high = vd_zero();
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        low += vd_low(v_load(x + i));
        high += vd_high(v_load(x + i));
    }
    double sum = vd_sum(low + high);
    for (; i < n; i++)
        sum += x[i];
    return (float)(sum / (double)n);
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, int64_t n,
                       float epsilon)
{
    float mean = mean_of(x, n);
    float factor = (float)(1.0 / sqrt(sum_squares(x, n, mean) / (double)n + epsilon));
    vec m = v_set1(mean), f = v_set1(factor);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec scaled = (v_load(x + i) - m) * f * v_load(weight + i);
        v_store(y + i, scaled + (bias ? v_load(bias + i) : v_set1(0)));
    }
    for (; i < n; i++) {
        float scaled = (x[i] - mean) * factor * weight[i];
        y[i] = bias ? scaled + bias[i] : scaled;
    }
}

static void add(float *y, const float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(y + i, v_load(y + i) + v_load(x + i));
    for (; i < n; i++)
        y[i] += x[i];
}

#define ACTIVATION(name)                                                                           \
    static void name(float *y, const float *x, int64_t n)                                          \
    {                                                                                              \
        int64_t i = 0;                                                                             \
        for (; i + LANES <= n; i += LANES)                                                         \
            v_store(y + i, v_##name(v_load(x + i)));                                               \
        if (i < n)                                                                                 \
            v_store_partial(y + i, v_##name(v_load_partial(x + i, n - i, 0)), n - i);              \
    }                                                                                              \
    static void name##_multiply(float *y, const float *gate, const float *up, int64_t n)           \
    {                                                                                              \
        int64_t i = 0;                                                                             \
        for (; i + LANES <= n; i += LANES)                                                         \
            v_store(y + i, v_##name(v_load(gate + i)) * v_load(up + i));                           \
        if (i < n) {                                                                               \
            vec g = v_load_partial(gate + i, n - i, 0), u = v_load_partial(up + i, n - i, 0);      \
            v_store_partial(y + i, v_##name(g) * u, n - i);                                        \
        }                                                                                          \
    }

ACTIVATION(silu)
ACTIVATION(gelu)
ACTIVATION(gelu_tanh)

static void rope_adjacent(float *head, const float *cosines, const float *sines, int64_t half)
{
    int64_t i = 0;
    for (; i + LANES / 2 <= half; i += LANES / 2) {
        vec c = v_load_twice(cosines + i), s = v_load_twice(sines + i);
        v_store(head + 2 * i, v_rotate_pairs(v_load(head + 2 * i), c, s));
    }
    for (; i < half; i++) {
        float a = head[2 * i], b = head[2 * i + 1];
        head[2 * i] = a * cosines[i] - b * sines[i];
        head[2 * i + 1] = a * sines[i] + b * cosines[i];
    }
}

static void rope_halves(float *head, const float *cosines, const float *sines, int64_t half)
{
    int64_t i = 0;
    for (; i + LANES <= half; i += LANES) {
        vec c = v_load(cosines + i), s = v_load(sines + i);
        vec a = v_load(head + i), b = v_load(head + half + i);
        v_store(head + i, v_fnma(b, s, a * c));
        v_store(head + half + i, v_fma(b, c, a * s));
    }
    for (; i < half; i++) {
        float a = head[i], b = head[half + i];
        head[i] = a * cosines[i] - b * sines[i];
        head[half + i] = a * sines[i] + b * cosines[i];
    }
}

static void rope(float *head, const float *cosines, const float *sines, int64_t dims, bool pairs)
{
    if (pairs)
        rope_adjacent(head, cosines, sines, dims / 2);
    else
        rope_halves(head, cosines, sines, dims / 2);
}

/* The same bits as the reference: every step is rounded the same way. */
static void store_q8_0(pare_block_q8_0 *blocks, const float *values, int64_t n)
{
    assert(n % 32 == 0);
    for (int64_t b = 0; b < n / 32; b++) {
        const float *x = values + 32 * b;
        vec absmax = v_abs(v_load(x));
        for (int i = LANES; i < 32; i += LANES)
            absmax = v_max(absmax, v_abs(v_load(x + i)));
        float highest = v_highest(absmax);
        vec inverse = v_set1(highest > 0 ? 127.0f / highest : 0.0f);
        blocks[b].d = pare_f32_to_f16(highest / 127.0f);
        for (int i = 0; i < 32; i += LANES)
            v_store_i8(blocks[b].q + i, v_load(x + i) * inverse);
    }
}

static void store_f16(uint16_t *row, const float *values, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store_f16(row + i, v_load(values + i));
    if (i < n)
        v_store_f16_partial(row + i, v_load_partial(values + i, n - i, 0), n - i);
}

static void store_cache(void *row, const float *values, int64_t n, pare_type cache_type)
{
    if (cache_type == PARE_TYPE_F16)
        store_f16(row, values, n);
    else if (cache_type == PARE_TYPE_Q8_0)
        store_q8_0(row, values, n);
    else if (cache_type == PARE_TYPE_Q4_0)
        pare_type_get_traits(cache_type)->encode(values, row, n, NULL);
    else
        memcpy(row, values, (size_t)n * sizeof(float));
}

static double log_sum_exp(const float *x, int64_t n, float *maximum)
{
    vec m0 = v_set1(-INFINITY), m1 = m0, m2 = m0, m3 = m0;
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        m0 = v_max(m0, v_load(x + i));
        m1 = v_max(m1, v_load(x + i + LANES));
        m2 = v_max(m2, v_load(x + i + 2 * LANES));
        m3 = v_max(m3, v_load(x + i + 3 * LANES));
    }
    float highest = v_highest(v_max(v_max(m0, m1), v_max(m2, m3)));
    for (; i < n; i++)
        highest = x[i] > highest ? x[i] : highest;

    vec shift = v_set1(highest);
    vecd low = vd_zero(), high = vd_zero();
    for (i = 0; i + LANES <= n; i += LANES) {
        vec e = v_exp(v_load(x + i) - shift);
        low += vd_low(e);
        high += vd_high(e);
    }
    if (i < n) {
        vec e = v_exp(v_load_partial(x + i, n - i, -INFINITY) - shift);
        low += vd_low(e);
        high += vd_high(e);
    }
    *maximum = highest;
    return log(vd_sum(low + high)) + highest;
}

static void add_ops(pare_kernels *kernels)
{
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
}
