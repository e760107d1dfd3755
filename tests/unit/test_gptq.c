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
#include "quant/types.h"

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

/* The table says what the decoder gives, and putting codes back restores what the encoder chose. */
static void grids_agree_with_decoders(void **state)
{
    enum { N = 512 };
    int seen = 0;
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        const pare_grid *grid = pare_type_grid((pare_type)type);
        if (!grid)
            continue;
        seen++;
        const pare_type_traits *traits = pare_type_get_traits((pare_type)type);
        size_t bytes = pare_type_row_bytes((pare_type)type, N);
        uint8_t *row = calloc(1, bytes), *blank = malloc(bytes);
        float x[N], decoded[N], again[N], *table = malloc(sizeof(float) * N * (size_t)grid->levels);
        pare_random random = {(uint64_t)type};
        for (int i = 0; i < N; i++)
            x[i] = (float)pare_random_normal(&random) * (i < 300 ? 1 : 0.1f);
        traits->encode(x, row, N, NULL);
        traits->decode(row, decoded, N);
        memcpy(blank, row, bytes);
        pare_grid_table(grid, (pare_type)type, blank, N, table, again);
        int64_t group = grid->group ? grid->group : N;
        for (int i = 0; i < N; i++) {
            const float *values = table + i / group * grid->levels;
            int code = pare_grid_nearest(values, grid->levels, decoded[i]);
            if (values[code] != decoded[i])
                fail_msg("%s: column %d decodes to %g, nearest in its table is %g", traits->name, i,
                         decoded[i], values[code]);
            grid->put(blank, N, i, code);
        }
        traits->decode(blank, again, N);
        for (int i = 0; i < N; i++) /* not by bytes: there are two zeros */
            assert_true(decoded[i] == again[i]);
        free(row), free(blank), free(table);
    }
    assert_true(seen >= 40);
}

static void feedback_beats_rounding(void **state)
{
    enum { N = 512, R = 37 };
    const pare_type types[] = {PARE_TYPE_Q4_0, PARE_TYPE_Q4_K, PARE_TYPE_I4_G128_ASYM,
                               PARE_TYPE_Q3_K, PARE_TYPE_IQ4_NL};
    pare_pool *one, *two;
    assert_int_equal(pare_pool_create(1, &one), PARE_OK);
    assert_int_equal(pare_pool_create(2, &two), PARE_OK);
    float *h = correlated_gram(N, 1000, 3), *w = malloc(sizeof *w * R * N),
          *q = malloc(sizeof *w * R * N);
    float *rounded = malloc(sizeof *w * R * N), *again = malloc(sizeof *w * R * N);
    for (int dead = 0; dead < 2; dead++) {
        for (int i = 0; i < N && dead; i++) /* an input that is always zero */
            h[5 * N + i] = h[i * N + 5] = 0;
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            for (int act_order = 0; act_order < 2; act_order++) {
                const pare_type_traits *traits = pare_type_get_traits(types[t]);
                size_t row_bytes = pare_type_row_bytes(types[t], N);
                uint8_t *encoded = malloc(row_bytes * R), *encoded_again = malloc(row_bytes * R);
                pare_random random = {11};
                for (int i = 0; i < R * N; i++)
                    w[i] = q[i] = again[i] = (float)pare_random_normal(&random);
                for (int64_t r = 0; r < R; r++) {
                    traits->encode(w + r * N, encoded, N, NULL);
                    traits->decode(encoded, rounded + r * N, N);
                }
                const pare_gptq_options options = {0.01f, act_order, false};
                float damping;
                double error;
                assert_int_equal(
                    pare_gptq(two, again, R, N, h, types[t], &options, encoded_again, NULL, NULL),
                    PARE_OK);
                assert_int_equal(
                    pare_gptq(one, q, R, N, h, types[t], &options, encoded, &damping, &error),
                    PARE_OK);
                assert_memory_equal(q, again, sizeof *w * R * N);
                assert_memory_equal(encoded, encoded_again, row_bytes * R);
                assert_true(damping == 0.01f && error > 0);
                assert_true(loss(w, q, h, R, N) < 0.8 * loss(w, rounded, h, R, N));
                for (int64_t r = 0; r < R; r++)
                    traits->decode(encoded + (size_t)r * row_bytes, again + r * N, N);
                assert_memory_equal(q, again, sizeof *w * R * N);
                free(encoded), free(encoded_again);
            }
    }
    const pare_gptq_options options = {0.01f, true, false};
    assert_int_equal(pare_gptq(one, w, R, N, h, PARE_TYPE_F16, &options, NULL, NULL, NULL),
                     PARE_UNSUPPORTED);
    free(h), free(w), free(q), free(rounded), free(again);
    pare_pool_free(one);
    pare_pool_free(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factor_inverts),
        cmocka_unit_test(grids_agree_with_decoders),
        cmocka_unit_test(feedback_beats_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
