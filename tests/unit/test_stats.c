/* src/bench/stats.c: exact small cases, and coverage of the intervals by simulation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "bench/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void near_to(double value, double wanted, double tolerance)
{
    if (!(fabs(value - wanted) <= tolerance))
        fail_msg("%.17g is not %.17g within %g", value, wanted, tolerance);
}

static void percentiles_are_defined(void **state)
{
    const double x[] = {1, 2, 3, 4, 10};
    near_to(pare_percentile(x, 5, 0), 1, 0);
    near_to(pare_percentile(x, 5, 50), 3, 0);
    near_to(pare_percentile(x, 5, 90), 7.6, 1e-12); /* numpy.percentile([1,2,3,4,10], 90) */
    near_to(pare_percentile(x, 5, 99), 9.76, 1e-12);
    near_to(pare_percentile(x, 5, 100), 10, 0);
    near_to(pare_percentile(x, 1, 37), 1, 0);
    near_to(pare_percentile(x, 4, 50), 2.5, 0);
}

static void summary_is_right(void **state)
{
    const double x[] = {4, 1, 3, 2, 10}, bad[] = {1, NAN};
    pare_summary s;
    assert_int_equal(pare_summarize(x, 5, &s), PARE_OK);
    near_to(s.mean, 4, 1e-15);
    near_to(s.standard_error, sqrt(12.5 / 5), 1e-12);
    near_to(s.median.value, 3, 0);
    near_to(s.median.low, 1, 0);
    near_to(s.median.high, 10, 0);
    near_to(s.median.coverage, 1 - 2 / 32.0, 1e-12); /* five samples cannot promise 95 % */
    assert_int_equal(pare_summarize(x, 1, &s), PARE_OK);
    assert_true(isnan(s.standard_error));
    near_to(s.median.coverage, 0, 0);
    assert_int_equal(pare_summarize(x, 0, &s), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_summarize(bad, 2, &s), PARE_INVALID_ARGUMENT);
}

/* For n = 10: [x2, x9] covers 0.978516, [x3, x8] 0.890625 (tables of the sign test). Interpolation
 * between them: excess = 0.324444, lambda = 8 * excess / (2 + 6 * excess) = 0.657611. */
static void interval_matches_the_tables(void **state)
{
    double x[10];
    for (int i = 0; i < 10; i++)
        x[i] = i + 1;
    pare_estimate e = pare_median_interval(x, 10);
    double excess = (0.978515625 - 0.95) / (0.978515625 - 0.890625),
           lambda = 8 * excess / (2 + 6 * excess);
    near_to(e.value, 5.5, 0);
    near_to(e.low, 2 + lambda, 1e-9);
    near_to(e.high, 9 - lambda, 1e-9);
    double many[5001];
    for (int i = 0; i < 5001; i++)
        many[i] = i;
    e = pare_median_interval(many, 5001); /* normal approximation: 2500 -+ 1.96 sqrt(5001) / 2 */
    near_to(e.low, 2500 - 69.3, 1);
    near_to(e.high, 2500 + 69.3, 1);
}

/* Distributions that times look like, with medians known exactly. */
static double draw(pare_random *random, int kind)
{
    switch (kind) {
    case 0:
        return 10 + pare_random_normal(random);
    case 1:
        return 1 - log(1 - pare_random_uniform(random)); /* a hard floor and a long tail */
    case 2:
        return exp(pare_random_normal(random)); /* log-normal */
    default:
        return pare_random_uniform(random) < 0.8
                   ? 1 + 0.01 * pare_random_normal(random)
                   : 1.5 + 0.3 * pare_random_normal(random); /* now and then disturbed */
    }
}

/* The disturbed mixture has no closed form; its median is where 0.8 Phi((m-1)/0.01) + 0.2
 * Phi((m-1.5)/0.3) = 1/2. */
static double true_median(int kind)
{
    if (kind == 0)
        return 10;
    if (kind == 1)
        return 1 + log(2.0);
    if (kind == 2)
        return 1;
    double low = 0.9, high = 1.1;
    for (int i = 0; i < 100; i++) {
        double m = 0.5 * (low + high);
        double p = 0.8 * 0.5 * erfc(-(m - 1) / 0.01 / sqrt(2)) +
                   0.2 * 0.5 * erfc(-(m - 1.5) / 0.3 / sqrt(2));
        *(p < 0.5 ? &low : &high) = m;
    }
    return low;
}

static void median_interval_covers(void **state)
{
    enum { TRIALS = 8000 };
    static const size_t sizes[] = {6, 7, 10, 15, 30, 101};
    double x[101];
    for (int kind = 0; kind < 4; kind++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            pare_random random = {1000u + (unsigned)kind * 10 + s};
            int covered = 0;
            for (int t = 0; t < TRIALS; t++) {
                for (size_t i = 0; i < sizes[s]; i++)
                    x[i] = draw(&random, kind);
                pare_sort(x, sizes[s]);
                pare_estimate e = pare_median_interval(x, sizes[s]);
                covered += e.low <= true_median(kind) && true_median(kind) <= e.high;
            }
            double coverage = (double)covered / TRIALS;
            if (coverage < 0.93 || coverage > 0.97)
                fail_msg("distribution %d, n = %zu: coverage %.4f", kind, sizes[s], coverage);
        }
}

static void ratio_intervals_cover(void **state)
{
    enum { TRIALS = 400, N = 25 };
    pare_random random = {7};
    int bootstrap = 0, paired = 0;
    double a[N], b[N];
    for (int t = 0; t < TRIALS; t++) {
        pare_estimate e;
        for (int i = 0; i < N; i++) {
            double common =
                exp(0.3 * pare_random_normal(&random)); /* what disturbs both of a pair */
            a[i] = 2 * common * exp(0.02 * pare_random_normal(&random));
            b[i] = common * exp(0.02 * pare_random_normal(&random));
        }
        assert_int_equal(pare_paired_ratio(a, b, N, &e), PARE_OK);
        paired += e.low <= 2 && 2 <= e.high;
        assert_true(e.high - e.low < 0.1); /* the common disturbance cancels */
        for (int i = 0; i < N; i++) {
            a[i] = 2 * draw(&random, 1);
            b[i] = draw(&random, 1);
        }
        assert_int_equal(pare_ratio_of_medians(a, N, b, N, (uint64_t)t, &e), PARE_OK);
        bootstrap += e.low <= 2 && 2 <= e.high;
    }
    /* 400 trials: the standard error of a coverage of 0.95 is 0.011; the percentile bootstrap is a
     * little conservative. */
    assert_in_range(paired, (int)(0.917 * TRIALS), (int)(0.983 * TRIALS));
    assert_in_range(bootstrap, (int)(0.917 * TRIALS), (int)(0.99 * TRIALS));
    pare_estimate e;
    a[0] = 0;
    assert_int_equal(pare_paired_ratio(a, b, N, &e), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_ratio_of_medians(b, 1, b, N, 1, &e), PARE_INVALID_ARGUMENT);
}

/* Repetitions differ, and now and then a token is disturbed: what latencies look like. */
static void draw_groups(pare_random *random, double *x, int groups, int each)
{
    for (int g = 0; g < groups; g++) {
        double common = exp(0.05 * pare_random_normal(random));
        for (int i = 0; i < each; i++) {
            double spike =
                pare_random_uniform(random) < 0.05 ? -log(1 - pare_random_uniform(random)) : 0;
            *x++ = common * exp(0.05 * pare_random_normal(random)) * (1 + spike);
        }
    }
}

static void grouped_medians_cover(void **state)
{
    enum { TRIALS = 400, EACH = 24, MANY = 20000 };
    static const int sizes[] = {6, 10, 24};
    pare_random random = {11};
    double *many = malloc((size_t)MANY * EACH * sizeof *many), x[24 * EACH];
    assert_non_null(many);
    draw_groups(&random, many, MANY, EACH);
    pare_sort(many, (size_t)MANY * EACH);
    double truth = pare_percentile(many, (size_t)MANY * EACH, 50);
    free(many);
    for (size_t s = 0; s < 3; s++) {
        int covered = 0;
        for (int t = 0; t < TRIALS; t++) {
            pare_estimate e;
            draw_groups(&random, x, sizes[s], EACH);
            assert_int_equal(pare_grouped_median(x, (size_t)sizes[s], EACH, (uint64_t)t, &e),
                             PARE_OK);
            covered += e.low <= truth && truth <= e.high;
        }
        /* The standard error of a coverage of 0.95 in 400 trials is 0.011. */
        double coverage = (double)covered / TRIALS;
        if (coverage < 0.93 - 0.011 || coverage > 0.97 + 0.011)
            fail_msg("%d groups: coverage %.3f", sizes[s], coverage);
    }
    pare_estimate e;
    assert_int_equal(pare_grouped_median(x, 3, EACH, 1, &e), PARE_OK);
    assert_true(e.low == e.value && e.high == e.value);
    assert_int_equal(pare_grouped_median(x, 0, EACH, 1, &e), PARE_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_defined),     cmocka_unit_test(summary_is_right),
        cmocka_unit_test(interval_matches_the_tables), cmocka_unit_test(median_interval_covers),
        cmocka_unit_test(ratio_intervals_cover),       cmocka_unit_test(grouped_medians_cover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
