/* src/calibrate/backward, output_gram: the block computes what the ordinary forward pass computes,
 * and its gradients are those of differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calibrate/backward.h"
#include "calibrate/output_gram.h"
#include "run/block.h"
#include "unit/small_model.h"

enum { SEQUENCES = 2, LENGTH = 33, TOKENS = SEQUENCES * LENGTH };

static float *random_rows(const pare_backward *pass, uint64_t seed)
{
    size_t n = (size_t)(TOKENS * pass->hidden_stride);
    float *rows = aligned_alloc(64, (n * sizeof *rows + 63) / 64 * 64);
    pare_random random = {seed};
    for (size_t i = 0; i < n; i++)
        rows[i] = (float)pare_random_normal(&random);
    return rows;
}

static pare_status no_tap(void *user, const pare_tensor *matrix, const float *d, int64_t stride)
{
    *(int *)user += matrix != NULL && d != NULL && stride > 0;
    return PARE_OK;
}

/* sum of y * weight over the real columns. */
static double score(const pare_backward *pass, const float *y, const float *weight)
{
    double sum = 0;
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t i = 0; i < pass->model->decoder.hidden; i++)
            sum += (double)y[t * pass->hidden_stride + i] * weight[t * pass->hidden_stride + i];
    return sum;
}

static void check_model(bool llama, int64_t window, int threads)
{
    small_model small;
    pare_model *model = small_model_create(&small, llama, PARE_TYPE_F32, window);
    pare_pool *pool;
    pare_backward pass;
    pare_block *block;
    assert_int_equal(pare_pool_create(threads, &pool), PARE_OK);
    assert_int_equal(pare_backward_create(model, pool, SEQUENCES, LENGTH, &pass), PARE_OK);
    assert_int_equal(pare_backward_load(&pass, 1, true), PARE_OK);
    float *x = random_rows(&pass, 1), *y = random_rows(&pass, 2), *weight = random_rows(&pass, 3);
    float *d = random_rows(&pass, 4), *same = random_rows(&pass, 5);
    size_t bytes = (size_t)(TOKENS * pass.hidden_stride) * sizeof *x;

    assert_int_equal(pare_backward_forward(&pass, x, y), PARE_OK);
    assert_int_equal(pare_block_create(model, 1, 1, LENGTH, &block), PARE_OK);
    memcpy(same, x, bytes);
    for (int s = 0; s < SEQUENCES; s++)
        pare_block_forward(block, same + s * LENGTH * pass.hidden_stride, pass.hidden_stride,
                           LENGTH, PARE_BLOCK_INPUTS, NULL, NULL);
    pare_block_free(block);
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t i = 0; i < model->decoder.hidden; i++) {
            int64_t at = t * pass.hidden_stride + i;
            if (!(fabsf(y[at] - same[at]) < 1e-4f))
                fail_msg("token %d, element %d: %g, the forward pass has %g", (int)t, (int)i, y[at],
                         same[at]);
        }

    int taps = 0;
    memcpy(d, weight, bytes);
    assert_int_equal(pare_backward_run(&pass, x, d, no_tap, &taps), PARE_OK);
    assert_int_equal(taps, llama ? 7 : 6);
    pare_random random = {9};
    for (int i = 0; i < 40; i++) {
        const float step = 1e-2f;
        int64_t at = (int64_t)pare_random_below(&random, TOKENS) * pass.hidden_stride +
                     (int64_t)pare_random_below(&random, (uint64_t)model->decoder.hidden);
        float before = x[at];
        x[at] = before + step;
        assert_int_equal(pare_backward_forward(&pass, x, y), PARE_OK);
        double up = score(&pass, y, weight);
        x[at] = before - step;
        assert_int_equal(pare_backward_forward(&pass, x, y), PARE_OK);
        double slope = (up - score(&pass, y, weight)) / (2 * step);
        x[at] = before;
        if (!(fabs(slope - d[at]) < 0.02 * (1 + fabs(slope))))
            fail_msg("%s, place %d: gradient %g, differences give %g", llama ? "llama" : "gpt2",
                     (int)at, d[at], slope);
    }
    free(x), free(y), free(weight), free(d), free(same);
    pare_backward_free(&pass);
    pare_pool_free(pool);
    small_model_free(&small);
}

static void gradients_are_those_of_differences(void **state)
{
    check_model(true, 0, 1);
    check_model(false, 0, 1);
    check_model(true, 7, 2);
}

/* 1/2 trace(G dW H dW^T) against the divergence that a small change of one matrix makes is checked
 * by the golden tests on a real model; here: the same bits for any number of threads, symmetry. */
static void grams_do_not_depend_on_threads(void **state)
{
    small_model small;
    pare_model *model = small_model_create(&small, true, PARE_TYPE_F32, 0);
    int32_t ids[8 * 64];
    pare_random random = {3};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        ids[i] = (int32_t)pare_random_below(&random, (uint64_t)model->decoder.vocab);
    pare_calibration calibration = {.ids = ids, .count = 8 * 64, .sequences = 8, .length = 64};
    pare_output_grams grams[2];
    for (int i = 0; i < 2; i++) {
        pare_pool *pool;
        assert_int_equal(pare_pool_create(i + 1, &pool), PARE_OK);
        assert_int_equal(pare_output_grams_create(model, NULL, &grams[i]), PARE_OK);
        assert_int_equal(
            pare_output_grams_measure(model, &calibration, 8, 64, pool, NULL, &grams[i]), PARE_OK);
        pare_pool_free(pool);
    }
    assert_int_equal(grams[0].count, 14);
    for (size_t i = 0; i < grams[0].count; i++) {
        const pare_output_gram *g = &grams[0].items[i];
        assert_memory_equal(g->g, grams[1].items[i].g, pare_output_gram_bytes(g));
        double trace = 0;
        for (int64_t r = 0; r < g->rows; r++) {
            trace += g->g[r * g->rows + r];
            for (int64_t c = 0; c < r; c++)
                assert_true(g->g[r * g->rows + c] == g->g[c * g->rows + r]);
        }
        assert_true(trace > 0 && isfinite(trace));
    }
    pare_output_grams_free(&grams[0]);
    pare_output_grams_free(&grams[1]);
    small_model_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_differences),
        cmocka_unit_test(grams_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
