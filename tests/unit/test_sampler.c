/* The sampler: which tokens each filter leaves, how often they come, penalties, bias, seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pare/session.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 500, DRAWS = 20000 };

/* Probabilities 0.4, 0.3, 0.2, 0.06, 0.04 on tokens 400, 3, 77, 499, 0; the others have none worth
 * naming. */
static const int32_t likely[] = {400, 3, 77, 499, 0};
static const double shares[] = {0.4, 0.3, 0.2, 0.06, 0.04};

static void make_logits(float *logits)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -60 - 0.01f * (float)i;
    for (int i = 0; i < 5; i++)
        logits[likely[i]] = (float)log(shares[i]) + 2; /* a shift changes nothing */
}

static int32_t next(pare_sampler *sampler, const float *logits, const int32_t *history, int64_t n)
{
    int32_t id = -1;
    assert_int_equal(pare_sampler_next(sampler, logits, history, n, &id, NULL), PARE_OK);
    assert_in_range(id, 0, VOCAB - 1);
    return id;
}

/* Draws and compares with what is expected of each of the five; the binomial error of a share is at
 * most 0.0035. */
static void check_shares(pare_sampling sampling, const double expected[5])
{
    float logits[VOCAB];
    int counts[VOCAB] = {0};
    pare_sampler *sampler;
    make_logits(logits);
    sampling.seed = 5;
    assert_int_equal(pare_sampler_create(&sampling, VOCAB, &sampler), PARE_OK);
    for (int i = 0; i < DRAWS; i++)
        counts[next(sampler, logits, NULL, 0)]++;
    for (int i = 0; i < 5; i++) {
        double share = (double)counts[likely[i]] / DRAWS;
        if (expected[i] == 0)
            assert_int_equal(counts[likely[i]], 0);
        else if (fabs(share - expected[i]) > 0.014)
            fail_msg("token %d: drawn with %g, expected %g", likely[i], share, expected[i]);
    }
    pare_sampler_free(sampler);
}

static pare_sampling warm(void)
{
    pare_sampling sampling = pare_sampling_default();
    sampling.temperature = 1;
    return sampling;
}

static void filters(void **state)
{
    pare_sampling s = warm();
    check_shares(s, shares);
    s.top_k = 2;
    check_shares(s, (double[]){4 / 7.0, 3 / 7.0, 0, 0, 0});
    s = warm();
    s.top_p = 0.85f; /* 0.4 + 0.3 is less: the third is the one that reaches it */
    check_shares(s, (double[]){4 / 9.0, 3 / 9.0, 2 / 9.0, 0, 0});
    s = warm();
    s.min_p = 0.14f; /* 0.056 of 0.4 */
    check_shares(s, (double[]){40 / 96.0, 30 / 96.0, 20 / 96.0, 6 / 96.0, 0});
    s = warm();
    s.top_k = 3;
    s.top_p = 0.5f; /* of the three's 0.9: 0.44 is less than half, the second reaches it */
    check_shares(s, (double[]){4 / 7.0, 3 / 7.0, 0, 0, 0});
    s = warm();
    s.temperature = 0.5f; /* squares */
    double sum = 0.16 + 0.09 + 0.04 + 0.0036 + 0.0016;
    check_shares(s, (double[]){0.16 / sum, 0.09 / sum, 0.04 / sum, 0.0036 / sum, 0.0016 / sum});
    s = warm();
    s.top_p = 0.65f; /* temperature is applied last: flattened, 0.4 and 0.3 still are enough */
    s.temperature = 100;
    check_shares(s, (double[]){0.5007, 0.4993, 0, 0, 0});
}

/* Entropy 1.345: information is 0.916, 1.204, 1.609, 2.813, 3.219, distances 0.43, 0.14,
 * 0.26, 1.47, 1.87. */
static void typical(void **state)
{
    pare_sampling s = warm();
    s.typical_p = 0.25f;
    check_shares(s, (double[]){0, 1, 0, 0, 0});
    s.typical_p = 0.45f;
    check_shares(s, (double[]){0, 0.6, 0.4, 0, 0});
    s.typical_p = 0.85f;
    check_shares(s, (double[]){4 / 9.0, 3 / 9.0, 2 / 9.0, 0, 0});
}

static int32_t greedy_with(const pare_sampling *sampling, const float *logits,
                           const int32_t *history, int64_t n)
{
    pare_sampler *sampler;
    assert_int_equal(pare_sampler_create(sampling, VOCAB, &sampler), PARE_OK);
    next(sampler, logits, history, n); /* twice: counts must be clean again */
    int32_t id = next(sampler, logits, history, n);
    pare_sampler_free(sampler);
    return id;
}

static void greedy_and_penalties(void **state)
{
    float logits[VOCAB];
    make_logits(logits);
    pare_sampling s = pare_sampling_default();
    assert_int_equal(greedy_with(&s, logits, NULL, 0), 400);
    logits[77] = logits[400]; /* equals: the lower id */
    assert_int_equal(greedy_with(&s, logits, NULL, 0), 77);
    make_logits(logits); /* 400: 1.084, 3: 0.796, 77: 0.391 */

    const int32_t once[] = {400}, three[] = {400, 3, 400, 400}, old[70] = {400};
    s.repetition_penalty = 1.3f; /* 0.834 */
    assert_int_equal(greedy_with(&s, logits, once, 1), 400);
    s.repetition_penalty = 1.4f; /* 0.774 */
    assert_int_equal(greedy_with(&s, logits, once, 1), 3);
    s.repetition_penalty = 1.8f; /* 400: 0.602 once however often, 3: 0.442 */
    assert_int_equal(greedy_with(&s, logits, three, 4), 400);
    s.repetition_penalty = 10; /* out of the window of 64, but not of all */
    assert_int_equal(greedy_with(&s, logits, old, 70), 400);
    s.penalty_window = -1;
    assert_int_equal(greedy_with(&s, logits, old, 70), 3);

    s = pare_sampling_default();
    s.presence_penalty = 0.25f;
    assert_int_equal(greedy_with(&s, logits, (int32_t[]){400, 400, 400}, 3), 400);
    s.presence_penalty = 0.3f;
    assert_int_equal(greedy_with(&s, logits, once, 1), 3);
    s = pare_sampling_default();
    s.frequency_penalty = 0.2f;
    assert_int_equal(greedy_with(&s, logits, once, 1), 400);
    assert_int_equal(greedy_with(&s, logits, (int32_t[]){400, 400}, 2), 3);

    s = pare_sampling_default();
    s.bias_ids = (int32_t[]){499, 400};
    s.bias_values = (float[]){100, -INFINITY};
    s.bias_count = 2;
    assert_int_equal(greedy_with(&s, logits, NULL, 0), 499);
    for (int i = 0; i < VOCAB; i++) /* a negative logit is multiplied */
        logits[i] = -10;
    logits[5] = -1;
    logits[6] = -1.2f;
    s = pare_sampling_default();
    s.repetition_penalty = 1.3f;
    assert_int_equal(greedy_with(&s, logits, (int32_t[]){5}, 1), 6);
}

static void seeds(void **state)
{
    float logits[VOCAB];
    int32_t first[50], again[50], other[50];
    int32_t *runs[] = {first, again, other};
    make_logits(logits);
    for (int r = 0; r < 3; r++) {
        pare_sampling s = warm();
        s.seed = r < 2 ? 42 : 43;
        pare_sampler *sampler;
        assert_int_equal(pare_sampler_create(&s, VOCAB, &sampler), PARE_OK);
        for (int i = 0; i < 50; i++)
            runs[r][i] = next(sampler, logits, NULL, 0);
        pare_sampler_free(sampler);
    }
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
}

static void log_probabilities_and_errors(void **state)
{
    float logits[VOCAB], log_probability;
    int32_t id;
    make_logits(logits);
    pare_sampling s = pare_sampling_default();
    s.bias_ids = (int32_t[]){3};
    s.bias_values = (float[]){50};
    s.bias_count = 1;
    pare_sampler *sampler;
    assert_int_equal(pare_sampler_create(&s, VOCAB, &sampler), PARE_OK);
    assert_int_equal(pare_sampler_next(sampler, logits, NULL, 0, &id, &log_probability), PARE_OK);
    assert_int_equal(id, 3);
    assert_float_equal(log_probability, log(0.3), 1e-5); /* without the bias */
    logits[9] = NAN;
    assert_int_equal(pare_sampler_next(sampler, logits, NULL, 0, &id, NULL), PARE_FORMAT);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
    assert_int_equal(pare_sampler_next(sampler, logits, NULL, 0, &id, NULL), PARE_FORMAT);
    pare_sampler_free(sampler);

    pare_sampling bad[6];
    for (int i = 0; i < 6; i++)
        bad[i] = pare_sampling_default();
    bad[0].temperature = -1;
    bad[1].top_p = 0;
    bad[2].min_p = 2;
    bad[3].repetition_penalty = 0;
    bad[4].penalty_window = -2;
    bad[5].bias_ids = (int32_t[]){VOCAB};
    bad[5].bias_values = (float[]){1};
    bad[5].bias_count = 1;
    for (int i = 0; i < 6; i++)
        assert_int_equal(pare_sampler_create(&bad[i], VOCAB, &sampler), PARE_INVALID_ARGUMENT);
}

/* A flat distribution over many tokens: top-p has to sort far, and keeps exactly its share. */
static void wide(void **state)
{
    enum { MANY = 50000 };
    float *logits = calloc(MANY, sizeof *logits);
    assert_non_null(logits);
    for (int i = 0; i < MANY; i++)
        logits[i] = -1e-5f * (float)((i * 7919) % MANY); /* a permutation; 0.6 from end to end */
    pare_sampling s = warm();
    s.top_p = 0.3f;
    pare_sampler *sampler;
    assert_int_equal(pare_sampler_create(&s, MANY, &sampler), PARE_OK);
    /* sum of exp(-1e-5 r) up to R is 0.3 of the whole: R = -1e5 ln(1 - 0.3 (1 - e^-0.5)) */
    float lowest = (float)log(1 - 0.3 * (1 - exp(-0.5))) - 2e-4f;
    int seen_low = 0;
    for (int i = 0; i < 2000; i++) {
        int32_t id;
        assert_int_equal(pare_sampler_next(sampler, logits, NULL, 0, &id, NULL), PARE_OK);
        assert_true(logits[id] >= lowest);
        seen_low += logits[id] < lowest * 0.9f;
    }
    assert_true(seen_low > 100);
    pare_sampler_free(sampler);
    free(logits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters),
        cmocka_unit_test(typical),
        cmocka_unit_test(greedy_and_penalties),
        cmocka_unit_test(seeds),
        cmocka_unit_test(wide),
        cmocka_unit_test(log_probabilities_and_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
