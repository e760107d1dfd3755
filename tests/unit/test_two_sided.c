/* src/calibrate/two_sided, allocate: codes chosen under both Gram matrices beat those chosen under
 * one, the target is the least-squares one, a budget is kept and spent well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "calibrate/allocate.h"
#include "calibrate/two_sided.h"
#include "quant/gptq.h"
#include "quant/linalg.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *correlated(int64_t n, int64_t samples, uint64_t seed, float **x_out)
{
    pare_random random = {seed};
    float *h = calloc((size_t)(n * n), sizeof *h), *x = calloc((size_t)(n * samples), sizeof *x);
    for (int64_t t = 0; t < samples; t++)
        for (int64_t i = 0; i < n; i++)
            x[t * n + i] = (float)pare_random_normal(&random) * (1 + (float)(i % 5)) +
                           (i ? 0.8f * x[t * n + i - 1] : 0);
    pare_add_gram_share(h, x, n, samples, n, 0, 1);
    pare_mirror(h, n);
    if (x_out)
        *x_out = x;
    else
        free(x);
    return h;
}

/* trace(G E H E^T) in double. */
static double trace(const float *g, const float *h, const float *w, const float *q, int64_t rows,
                    int64_t n)
{
    double *eh = calloc((size_t)(rows * n), sizeof *eh), sum = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < n; k++)
            for (int64_t c = 0; c < n; c++)
                eh[r * n + c] += ((double)w[r * n + k] - q[r * n + k]) * h[k * n + c];
    for (int64_t a = 0; a < rows; a++)
        for (int64_t b = 0; b < rows; b++)
            for (int64_t c = 0; c < n; c++)
                sum += (g ? g[a * rows + b] : a == b) * eh[a * n + c] *
                       ((double)w[b * n + c] - q[b * n + c]);
    free(eh);
    return sum;
}

static void two_sides_beat_one(void **state)
{
    enum { N = 256, R = 40 };
    const pare_type types[] = {PARE_TYPE_Q4_K, PARE_TYPE_Q3_K, PARE_TYPE_IQ4_XS};
    float *h = correlated(N, 600, 3, NULL), *g = correlated(R, 400, 5, NULL);
    float *w = malloc(sizeof *w * R * N), *q = malloc(sizeof *w * R * N),
          *again = malloc(sizeof *w * R * N);
    pare_random random = {11};
    for (int i = 0; i < R * N; i++)
        w[i] = (float)pare_random_normal(&random);
    const pare_output_gram gram = {.rows = R, .block = R, .count = 1, .tokens = 100000, .g = g};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        size_t row_bytes = pare_type_row_bytes(types[t], N);
        uint8_t *encoded = malloc(row_bytes * R), *encoded_again = malloc(row_bytes * R);
        double found[3];
        for (int kind = 0; kind < 3; kind++) { /* GPTQ's, two-sided, two-sided and descent */
            for (int threads = 1; threads <= 2; threads++) {
                pare_pool *pool;
                pare_rounding rounding;
                assert_int_equal(pare_pool_create(threads, &pool), PARE_OK);
                assert_int_equal(pare_rounding_create(pool, h, N, 0.01f, &rounding), PARE_OK);
                pare_rounding_task task = {.target = w,
                                           .rows = R,
                                           .type = types[t],
                                           .gram = &gram,
                                           .one_sided = kind == 0,
                                           .encoded = threads == 1 ? encoded : encoded_again,
                                           .decoded = threads == 1 ? q : again};
                assert_int_equal(pare_round_matrices(pool, &rounding, &task, 1, kind == 2 ? 8 : 0),
                                 PARE_OK);
                found[kind] = trace(g, h, w, q, R, N);
                assert_true(fabs(task.cost / found[kind] - 1) < 1e-2);
                pare_rounding_free(&rounding);
                pare_pool_free(pool);
            }
            assert_memory_equal(encoded, encoded_again, row_bytes * R);
            assert_memory_equal(q, again, sizeof *w * R * N);
            for (int64_t r = 0; r < R; r++)
                pare_type_get_traits(types[t])->decode(encoded + (size_t)r * row_bytes,
                                                       again + r * N, N);
            assert_memory_equal(q, again, sizeof *w * R * N);
        }
        print_message("%s: %g one-sided, %g two-sided, %g after descent\n",
                      pare_type_name(types[t]), found[0], found[1], found[2]);
        assert_true(found[1] < 0.85 * found[0] && found[2] < 0.97 * found[1]);
        free(encoded), free(encoded_again);
    }
    free(h), free(g), free(w), free(q), free(again);
}

/* Without G it is GPTQ's loss that falls. */
static void descent_improves_gptq(void **state)
{
    enum { N = 256, R = 20 };
    float *h = correlated(N, 600, 3, NULL), *w = malloc(sizeof *w * R * N),
          *q = malloc(sizeof *w * R * N), *p = malloc(sizeof *w * R * N);
    uint8_t *encoded = malloc(pare_type_row_bytes(PARE_TYPE_Q4_K, N) * R);
    pare_random random = {12};
    pare_pool *pool;
    pare_rounding rounding;
    for (int i = 0; i < R * N; i++)
        w[i] = p[i] = (float)pare_random_normal(&random);
    assert_int_equal(pare_pool_create(1, &pool), PARE_OK);
    const pare_gptq_options options = {.damping = 0.01f, .act_order = true, .weighted = true};
    assert_int_equal(pare_gptq(pool, p, R, N, h, PARE_TYPE_Q4_K, &options, encoded, NULL, NULL),
                     PARE_OK);
    assert_int_equal(pare_rounding_create(pool, h, N, 0.01f, &rounding), PARE_OK);
    pare_rounding_task task = {
        .target = w, .rows = R, .type = PARE_TYPE_Q4_K, .encoded = encoded, .decoded = q};
    assert_int_equal(pare_round_matrices(pool, &rounding, &task, 1, 0), PARE_OK);
    double same = trace(NULL, h, w, q, R, N), gptq = trace(NULL, h, w, p, R, N);
    assert_true(fabs(same / gptq - 1) < 0.02);
    assert_int_equal(pare_round_matrices(pool, &rounding, &task, 1, 8), PARE_OK);
    double descended = trace(NULL, h, w, q, R, N);
    print_message("%g by error feedback, %g after descent\n", gptq, descended);
    assert_true(descended < 0.99 * gptq);
    task.type = PARE_TYPE_F16;
    assert_int_equal(pare_round_matrices(pool, &rounding, &task, 1, 0), PARE_UNSUPPORTED);
    pare_rounding_free(&rounding);
    pare_pool_free(pool);
    free(h), free(w), free(q), free(p), free(encoded);
}

/* The target gives on the changed inputs what W gives on the exact ones, as far as it can. */
static void target_makes_up_for_inputs(void **state)
{
    enum { N = 64, R = 8, T = 500 };
    float *x, *h = correlated(N, T, 4, &x), w[R * N], t[R * N];
    float *changed = malloc(sizeof *x * N * T), *difference = malloc(sizeof *x * N * T);
    float *gram = calloc(N * N, sizeof *gram), *shift = calloc(N * N, sizeof *shift);
    pare_random random = {6};
    pare_pool *pool;
    pare_rounding rounding;
    for (int i = 0; i < R * N; i++)
        w[i] = (float)pare_random_normal(&random);
    for (int i = 0; i < N * T; i++) { /* a mixture with the neighbour: W can be adapted to it */
        changed[i] = 0.9f * x[i] + (i % N ? 0.2f * x[i - 1] : 0);
        difference[i] = x[i] - changed[i];
    }
    pare_add_gram_share(gram, changed, N, T, N, 0, 1);
    pare_mirror(gram, N);
    for (int i = 0; i < 3; i++)
        pare_add_product_share(shift, difference, N, changed, N, T, N, N, i, 3);
    assert_int_equal(pare_pool_create(2, &pool), PARE_OK);
    assert_int_equal(pare_rounding_create(pool, gram, N, 1e-5f, &rounding), PARE_OK);
    assert_int_equal(pare_rounding_target(pool, &rounding, w, R, shift, NULL, 1, t), PARE_OK);
    double before = 0, after = 0;
    for (int s = 0; s < T; s++)
        for (int r = 0; r < R; r++) {
            double exact = 0, same = 0, moved = 0;
            for (int i = 0; i < N; i++) {
                exact += (double)w[r * N + i] * x[s * N + i];
                same += (double)w[r * N + i] * changed[s * N + i];
                moved += (double)t[r * N + i] * changed[s * N + i];
            }
            before += (same - exact) * (same - exact);
            after += (moved - exact) * (moved - exact);
        }
    assert_true(after < 1e-3 * before);
    pare_rounding_free(&rounding);
    pare_pool_free(pool);
    free(x), free(h), free(changed), free(difference), free(gram), free(shift);
}

static void budgets_are_kept(void **state)
{
    enum { TENSORS = 5, KINDS = 3 };
    pare_choice choices[TENSORS];
    pare_random random = {8};
    for (int trial = 0; trial < 200; trial++) {
        for (int i = 0; i < TENSORS; i++) {
            double size = 1 + (double)pare_random_below(&random, 4),
                   loss = pare_random_uniform(&random);
            choices[i] = (pare_choice){.count = KINDS};
            for (int k = 0; k < KINDS; k++) {
                choices[i].price[k] = size * (2 + k);
                choices[i].loss[k] = loss * pow(0.25, k);
            }
        }
        double least = 0, most = 0, best = INFINITY, all = 0;
        for (int i = 0; i < TENSORS; i++) {
            least += choices[i].price[0];
            most += choices[i].price[KINDS - 1];
        }
        double budget = least + (most - least) * pare_random_uniform(&random);
        for (int code = 0; code < 243; code++) { /* every combination */
            double price = 0, loss = 0;
            for (int i = 0, c = code; i < TENSORS; c /= KINDS, i++) {
                price += choices[i].price[c % KINDS];
                loss += choices[i].loss[c % KINDS];
            }
            best = price <= budget && loss < best ? loss : best;
        }
        assert_int_equal(pare_allocate_budget(choices, TENSORS, budget), PARE_OK);
        double price = 0;
        for (int i = 0; i < TENSORS; i++) {
            price += choices[i].price[choices[i].picked];
            all += choices[i].loss[choices[i].picked];
        }
        assert_true(price <= budget + 1e-9);
        assert_true(all <= 2 * best + 1e-9); /* five tensors: what is left over weighs */
        assert_int_equal(pare_allocate_budget(choices, TENSORS, least - 0.01), PARE_LIMIT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_sides_beat_one),
        cmocka_unit_test(descent_improves_gptq),
        cmocka_unit_test(target_makes_up_for_inputs),
        cmocka_unit_test(budgets_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
