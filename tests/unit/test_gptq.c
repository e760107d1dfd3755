/* src/quant/linalg, src/quant/gptq: the factor is what it claims, and error feedback beats rounding
 * under the Hessian. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "quant/gptq.h"
#include "quant/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* X Xᵀ of correlated inputs: neighbours share a random walk. */
static float *correlated_gram(int64_t n, int64_t samples, uint64_t seed)
{
    pare_random random = {seed};
    float *h = calloc((size_t)(n * n), sizeof *h), *x = calloc((size_t)(n * samples), sizeof *x);
    for (int64_t t = 0; t < samples; t++)
        for (int64_t i = 0; i < n; i++)
            x[t * n + i] = (float)pare_random_normal(&random) * (1 + (float)(i % 7)) +
                           (i ? 0.7f * x[t * n + i - 1] : 0);
    for (int i = 0; i < 3; i++)
        pare_add_gram_share(h, x, n, samples, n, i, 3);
    pare_mirror(h, n);
    double expected = 0;
    for (int64_t t = 0; t < samples; t++)
        expected += (double)x[t * n + n - 1] * x[t * n];
    assert_true(fabs(h[n - 1] - expected) < 1e-3 * samples * 50);
    assert_true(h[n - 1] == h[(n - 1) * n]);
    free(x);
    return h;
}

static void factor_inverts(void **state)
{
    for (int threads = 1; threads <= 2; threads++)
        for (int64_t n = 1; n <= 130; n += 43) {
            pare_pool *pool;
            assert_int_equal(pare_pool_create(threads, &pool), PARE_OK);
            float *h = correlated_gram(n, 4 * n + 10, 7),
                  *copy = malloc(sizeof *h * (size_t)(n * n));
            float *u = calloc((size_t)(n * n), sizeof *u);
            memcpy(copy, h, sizeof *h * (size_t)(n * n));
            assert_int_equal(pare_inverse_factor(pool, copy, u, n), PARE_OK);
            for (int64_t i = 0; i < n; i++) /* Uᵀ U H = 1 */
                for (int64_t k = 0; k < n; k++) {
                    double sum = 0;
                    for (int64_t m = 0; m < n; m++) {
                        double inverse = 0;
                        for (int64_t l = 0; l <= (i < m ? i : m); l++)
                            inverse += (double)u[l * n + i] * u[l * n + m];
                        sum += inverse * h[m * n + k];
                    }
                    assert_true(fabs(sum - (i == k)) < 2e-3);
                }
            h[0] = -1;
            assert_int_equal(pare_inverse_factor(pool, h, u, n), PARE_LIMIT);
            free(h);
            free(copy);
            free(u);
            pare_pool_free(pool);
        }
}

/* tr((W - Q) H (W - Q)ᵀ) */
static double loss(const float *w, const float *q, const float *h, int64_t rows, int64_t n)
{
    double sum = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < n; k++)
                sum += ((double)w[r * n + i] - q[r * n + i]) * h[i * n + k] *
                       ((double)w[r * n + k] - q[r * n + k]);
    return sum;
}

static void feedback_beats_rounding(void **state)
{
    enum { N = 192, R = 37 };
    const pare_grid grids[] = {
        {64, -7, 7, true, true, 0}, {32, 0, 15, false, true, 0}, {N, 0, 7, false, true, 50}};
    pare_pool *one, *two;
    assert_int_equal(pare_pool_create(1, &one), PARE_OK);
    assert_int_equal(pare_pool_create(2, &two), PARE_OK);
    float *h = correlated_gram(N, 1000, 3), *w = malloc(sizeof *w * R * N),
          *q = malloc(sizeof *w * R * N);
    float *rounded = malloc(sizeof *w * R * N), *again = malloc(sizeof *w * R * N);
    int8_t *codes = malloc(R * N);
    float *scales = malloc(sizeof *w * R * N), *zeros = malloc(sizeof *w * R * N);
    for (int dead = 0; dead < 2; dead++) {
        if (dead) /* an input that is always zero */
            for (int i = 0; i < N; i++)
                h[5 * N + i] = h[i * N + 5] = 0;
        for (size_t g = 0; g < sizeof grids / sizeof *grids; g++)
            for (int act_order = 0; act_order < 2; act_order++) {
                pare_random random = {11};
                for (int i = 0; i < R * N; i++)
                    w[i] = q[i] = again[i] = (float)pare_random_normal(&random);
                for (int64_t r = 0; r < R; r++)
                    for (int64_t c = 0; c < N; c += grids[g].group) {
                        float s, z;
                        pare_grid_fit(&grids[g], w + r * N + c, NULL, grids[g].group, &s, &z);
                        for (int64_t i = c; i < c + grids[g].group; i++)
                            rounded[r * N + i] =
                                s * ((float)pare_grid_code(&grids[g], w[r * N + i], s, z) - z);
                    }
                const pare_gptq_options options = {0.01f, act_order, act_order};
                float damping;
                double error;
                assert_int_equal(pare_gptq(two, again, R, N, h, &grids[g], &options, codes, scales,
                                           zeros, NULL, NULL),
                                 PARE_OK);
                assert_int_equal(pare_gptq(one, q, R, N, h, &grids[g], &options, codes, scales,
                                           zeros, &damping, &error),
                                 PARE_OK);
                assert_memory_equal(q, again, sizeof *w * R * N);
                assert_true(damping == 0.01f && error > 0);
                assert_true(loss(w, q, h, R, N) < 0.75 * loss(w, rounded, h, R, N));
                for (int i = 0; i < R * N; i++) {
                    int64_t group = i / N * (N / grids[g].group) + i % N / grids[g].group;
                    assert_in_range(codes[i] + 128, grids[g].low + 128, grids[g].high + 128);
                    assert_true(q[i] == scales[group] * ((float)codes[i] - zeros[group]));
                }
            }
    }
    free(h), free(w), free(q), free(rounded), free(again), free(codes), free(scales), free(zeros);
    pare_pool_free(one);
    pare_pool_free(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factor_inverts),
        cmocka_unit_test(feedback_beats_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
