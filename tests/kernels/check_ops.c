/* Every tier's elementwise operations against exact values or the reference, on ordinary and
 * extreme numbers, at odd lengths, with guard bytes. The bounds are the measured worst cases,
 * rounded up. */
#include "guarded.h"

#include "base/half.h"
#include "kernels/kernels.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>

static const int64_t lengths[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 127, 576, 2049};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static pare_isa tiers[PARE_ISA_COUNT];
static int tier_count;

#define FOR_TIERS(k)                                                                               \
    for (int tier_index = 0; tier_index < tier_count; tier_index++)                                \
        for (const pare_kernels *k = pare_kernels_get(tiers[tier_index]); k; k = NULL)

static double silu_exact(double x)
{
    return x / (1 + exp(-x));
}

static double gelu_exact(double x)
{
    return 0.5 * x * erfc(-x * M_SQRT1_2);
}

static double gelu_tanh_exact(double x)
{
    double u = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    return x / (1 + exp(-2 * u));
}

/* |a - b| in units of the last place of b, subnormals counted as the least normal number's. */
static double ulps(float a, double b)
{
    double unit = ldexp(1, ilogb(fmax(fabs(b), 0x1p-126)) - 23);
    return fabs((double)a - b) / unit;
}

typedef void (*unary)(float *y, const float *x, int64_t n);

/* The worst error over a dense walk through -limit..limit and the small magnitudes. */
static double worst_error(unary f, double (*exact)(double), double limit)
{
    enum { N = 4096 };
    static float x[N], y[N];
    double worst = 0;
    pare_random random = {7};
    for (int round = 0; round < 256; round++) {
        for (int i = 0; i < N; i++) {
            double u = 2 * pare_random_uniform(&random) - 1;
            x[i] = (float)(round % 2 ? limit * u
                                     : limit * u * exp(-40 * pare_random_uniform(&random)));
        }
        f(y, x, N);
        for (int i = 0; i < N; i++)
            worst = fmax(worst, ulps(y[i], exact(x[i])));
    }
    return worst;
}

/* x sigmoid(2u) has u rounded in the exponent: its error grows with |u|, up to 87. */
static void test_activation_accuracy(void **state)
{
    (void)state;
    FOR_TIERS(k)
    {
        double silu = worst_error(k->silu, silu_exact, 80),
               gelu = worst_error(k->gelu, gelu_exact, 12);
        double tanh = worst_error(k->gelu_tanh, gelu_tanh_exact, 3);
        double tail = worst_error(k->gelu_tanh, gelu_tanh_exact, 9);
        printf("%-10s worst error in ulp: silu %.2f, gelu %.2f, gelu_tanh %.2f (|x| < 3), %.2f "
               "(|x| < 9)\n",
               pare_isa_name(k->isa), silu, gelu, tanh, tail);
        assert_true(silu < 4);
        assert_true(gelu < 8);
        assert_true(tanh < 24);
        assert_true(tail < 300);
    }
}

static void test_activation_extremes(void **state)
{
    (void)state;
    const float x[] = {0,    -0.0f, 1e-45f, 1e-38f, 88,     -88,   104,
                       -104, 200,   -200,   1e10f,  -1e10f, 3e38f, -3e38f};
    enum { N = sizeof x / sizeof *x };
    FOR_TIERS(k)
    {
        float y[N];
        const unary functions[] = {k->silu, k->gelu, k->gelu_tanh};
        for (int f = 0; f < 3; f++) {
            functions[f](y, x, N);
            for (int i = 0; i < N; i++) {
                if (x[i] >= 88)
                    assert_true(y[i] == x[i]);
                if (x[i] <= -88)
                    assert_true(y[i] <= 0 && y[i] > -1e-35f);
                if (fabsf(x[i]) < 1)
                    assert_true(fabsf(y[i]) <= fabsf(x[i]));
            }
        }
    }
}

/* Plain, in place, and times `up`, at every length: the same bits as one long call, nothing outside
 * written. */
static void test_activation_lengths(void **state)
{
    (void)state;
    pare_random random = {3};
    FOR_TIERS(k)
    {
        const unary plain[] = {k->silu, k->gelu, k->gelu_tanh};
        void (*const multiplied[])(float *, const float *, const float *, int64_t) = {
            k->silu_multiply, k->gelu_multiply, k->gelu_tanh_multiply};
        for (int l = 0; l < LENGTHS; l++) {
            int64_t n = lengths[l];
            guarded x = guarded_allocate(n * 4), y = guarded_allocate(n * 4),
                    up = guarded_allocate(n * 4);
            guarded product = guarded_allocate(n * 4);
            fill_normal((float *)x.data, n, 3, &random);
            fill_normal((float *)up.data, n, 3, &random);
            for (int f = 0; f < 3; f++) {
                float *values = (float *)y.data, *products = (float *)product.data;
                plain[f](values, (float *)x.data, n);
                multiplied[f](products, (float *)x.data, (float *)up.data, n);
                for (int64_t i = 0; i < n; i++) {
                    float alone;
                    plain[f](&alone, (float *)x.data + i, 1);
                    assert_true(alone == values[i]);
                    assert_true(products[i] == values[i] * ((float *)up.data)[i]);
                }
            }
            guarded_free(&x), guarded_free(&y), guarded_free(&up), guarded_free(&product);
        }
    }
}

static void assert_close(const float *a, const float *b, int64_t n, double bound)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - b[i]) <= bound * (1 + fabs((double)b[i]))))
            fail_msg("element %ld of %ld: %.9g instead of %.9g", (long)i, (long)n, a[i], b[i]);
}

/* Both sum in double; what remains is the rounding of the last few operations. A large mean must
 * not hurt. */
static void check_norms(const pare_kernels *k, int64_t n, double mean, pare_random *random)
{
    const pare_kernels *reference = pare_kernels_get(PARE_ISA_REF);
    guarded x = guarded_allocate(n * 4), w = guarded_allocate(n * 4), b = guarded_allocate(n * 4);
    guarded y = guarded_allocate(n * 4), expected = guarded_allocate(n * 4);
    float *xs = (float *)x.data, *ys = (float *)y.data, *es = (float *)expected.data;
    fill_normal(xs, n, 1, random);
    for (int64_t i = 0; i < n; i++)
        xs[i] += (float)mean;
    fill_normal((float *)w.data, n, 1, random);
    fill_normal((float *)b.data, n, 1, random);
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        const float *bias = with_bias ? (float *)b.data : NULL;
        k->layer_norm(ys, xs, (float *)w.data, bias, n, 1e-5f);
        reference->layer_norm(es, xs, (float *)w.data, bias, n, 1e-5f);
        assert_close(ys, es, n, 1e-6);
    }
    reference->rms_norm(es, xs, (float *)w.data, n, 1e-6f);
    memcpy(ys, xs, (size_t)n * 4);
    k->rms_norm(ys, ys, (float *)w.data, n, 1e-6f);
    assert_close(ys, es, n, 1e-6);
    k->add(ys, xs, n);
    for (int64_t i = 0; i < n; i++)
        es[i] += xs[i];
    assert_close(ys, es, n, 1e-6);
    guarded_free(&x), guarded_free(&w), guarded_free(&b), guarded_free(&y), guarded_free(&expected);
}

static void test_norms(void **state)
{
    (void)state;
    pare_random random = {5};
    FOR_TIERS(k)
    for (int l = 0; l < LENGTHS; l++) {
        check_norms(k, lengths[l], 0, &random);
        check_norms(k, lengths[l], 1000, &random);
    }
}

static void test_rope(void **state)
{
    (void)state;
    const pare_kernels *reference = pare_kernels_get(PARE_ISA_REF);
    pare_random random = {6};
    FOR_TIERS(k)
    for (int64_t dims = 2; dims <= 128; dims += 2)
        for (int pairs = 0; pairs < 2; pairs++) {
            guarded head = guarded_allocate(dims * 4);
            float cosines[64], sines[64], expected[128];
            for (int64_t i = 0; i < dims / 2; i++) {
                double angle = 100 * pare_random_uniform(&random);
                cosines[i] = (float)cos(angle), sines[i] = (float)sin(angle);
            }
            fill_normal(expected, dims, 1, &random);
            memcpy(head.data, expected, (size_t)dims * 4);
            k->rope((float *)head.data, cosines, sines, dims, pairs);
            reference->rope(expected, cosines, sines, dims, pairs);
            assert_close((float *)head.data, expected, dims, 3e-7);
            guarded_free(&head);
        }
}

/* The same bytes as the reference. */
static void test_store_cache(void **state)
{
    (void)state;
    const pare_kernels *reference = pare_kernels_get(PARE_ISA_REF);
    const pare_type types[] = {PARE_TYPE_F32, PARE_TYPE_F16, PARE_TYPE_Q8_0, PARE_TYPE_Q4_0};
    pare_random random = {8};
    FOR_TIERS(k)
    for (int t = 0; t < 4; t++)
        for (int64_t n = 1; n <= 256; n++) {
            size_t bytes = pare_type_row_bytes(types[t], n);
            if (!bytes)
                continue;
            guarded row = guarded_allocate(bytes), expected = guarded_allocate(bytes);
            float values[256];
            fill_normal(values, n, n % 3 ? 1 : 1e-6, &random); /* subnormal halves too */
            if (n % 64 == 0)
                memset(values, 0, 32 * sizeof(float)); /* a block of zeros */
            k->store_cache(row.data, values, n, types[t]);
            reference->store_cache(expected.data, values, n, types[t]);
            assert_memory_equal(row.data, expected.data, bytes);
            guarded_free(&row), guarded_free(&expected);
        }
}

/* Against long double: relative to the sum the error is that of one exponential, so the logarithm's
 * is about 1e-7. */
static void test_log_sum_exp(void **state)
{
    (void)state;
    pare_random random = {9};
    const int64_t sizes[] = {1, 2, 15, 16, 17, 63, 64, 65, 1000, 50257, 128256};
    FOR_TIERS(k)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int wide = 0; wide < 2; wide++) {
            int64_t n = sizes[s];
            guarded x = guarded_allocate((size_t)n * 4);
            float *xs = (float *)x.data, maximum = 0, highest = -INFINITY;
            fill_normal(xs, n, wide ? 40 : 2, &random);
            long double sum = 0;
            for (int64_t i = 0; i < n; i++)
                highest = fmaxf(highest, xs[i]);
            for (int64_t i = 0; i < n; i++)
                sum += expl((long double)xs[i] - highest);
            double value = k->log_sum_exp(xs, n, &maximum);
            assert_true(maximum == highest);
            assert_true(fabsl(value - (highest + logl(sum))) < 1.5e-7L + 1e-13L * fabsl(highest));
            guarded_free(&x);
        }
}

int main(void)
{
    for (pare_isa isa = 0; isa < PARE_ISA_COUNT; isa++)
        if (pare_isa_supported(isa))
            tiers[tier_count++] = isa;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activation_accuracy),
        cmocka_unit_test(test_activation_extremes),
        cmocka_unit_test(test_activation_lengths),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_store_cache),
        cmocka_unit_test(test_log_sum_exp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
