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

/* ---- rounds ---- */

/* How the true median speeds of processes differ: normal; a memory that is fast or slow by chance
 * for each; now and then one that is disturbed. All have the mean 1. */
typedef enum between { NORMAL, TWO_STATES, TAIL, BETWEEN_KINDS } between;

static double draw_round(pare_random *random, between kind, double spread)
{
    switch (kind) {
    case NORMAL:
        return 1 + spread * pare_random_normal(random);
    case TWO_STATES:
        return 1 + (pare_random_uniform(random) < 0.5 ? spread : -spread);
    default:
        return 1 + spread * (log(1 - pare_random_uniform(random)) + 1);
    }
}

enum { MOST_ROUNDS = 8, EACH_MOST = 16 };

/* Some repetitions are slower, as in `draw`; their number differs between rounds. */
static void draw_rounds(pare_random *random, between kind, double spread, double within,
                        size_t rounds, double *x, size_t *sizes)
{
    for (size_t r = 0; r < rounds; r++) {
        double speed = draw_round(random, kind, spread);
        sizes[r] = 6 + (size_t)pare_random_below(random, EACH_MOST - 6);
        for (size_t i = 0; i < sizes[r]; i++)
            *x++ = speed * (1 + within * pare_random_normal(random));
    }
}

static double rounds_coverage(between kind, double spread, double within, size_t rounds,
                              double *pooled, double *agreed)
{
    enum { TRIALS = 6000 };
    double x[MOST_ROUNDS * EACH_MOST], before = 0, half_before = 0;
    size_t sizes[MOST_ROUNDS];
    int covered = 0, covered_pooled = 0, agree = 0;
    pare_random random = {100 + rounds};
    for (int t = 0; t < TRIALS; t++) {
        pare_estimate e;
        pare_summary all;
        size_t n = 0;
        draw_rounds(&random, kind, spread, within, rounds, x, sizes);
        for (size_t r = 0; r < rounds; r++)
            n += sizes[r];
        assert_int_equal(pare_rounds_median(x, sizes, rounds, &e), PARE_OK);
        assert_int_equal(pare_summarize(x, n, &all), PARE_OK);
        covered += e.low <= 1 && 1 <= e.high;
        covered_pooled += all.median.low <= 1 && 1 <= all.median.high;
        double half = 0.5 * (e.high - e.low);
        agree += t % 2 && fabs(e.value - before) <= hypot(half, half_before);
        before = e.value;
        half_before = half;
    }
    *pooled = (double)covered_pooled / TRIALS;
    *agreed = (double)agree / (TRIALS / 2);
    return (double)covered / TRIALS;
}

/* The spread between rounds against that inside them: none, alike, three times and ten times. */
static void rounds_cover(void **state)
{
    static const double spreads[] = {0, 0.01, 0.03, 0.1};
    static const size_t counts[] = {4, 5, 6, 8};
    double pooled, agreed;
    for (size_t c = 0; c < 4; c++)
        for (size_t s = 0; s < 4; s++) {
            double coverage =
                rounds_coverage(NORMAL, spreads[s], 0.01, counts[c], &pooled, &agreed);
            if (coverage < 0.93 || coverage > 0.97)
                fail_msg("%zu rounds, spread %g: coverage %.4f", counts[c], spreads[s], coverage);
            /* Two runs differ by less than both intervals together allow. */
            if (agreed < 0.95)
                fail_msg("%zu rounds, spread %g: two runs agree in %.4f", counts[c], spreads[s],
                         agreed);
            /* Why the samples are not simply put together. */
            if (s >= 2)
                assert_true(pooled < 0.8);
        }
}

/* What is not normal at all covers less: a two-state machine that showed one state in all rounds,
 * and rare slow rounds that did not come, cannot be known of. */
static void odd_rounds_cover_nearly(void **state)
{
    double pooled, agreed;
    for (between kind = TWO_STATES; kind < BETWEEN_KINDS; kind++)
        for (size_t rounds = 5; rounds <= 8; rounds++) {
            double coverage = rounds_coverage(kind, 0.05, 0.01, rounds, &pooled, &agreed);
            if (coverage < 0.86 || coverage < pooled || agreed < 0.93)
                fail_msg("kind %d, %zu rounds: coverage %.4f, pooled %.4f, two runs agree in %.4f",
                         (int)kind, rounds, coverage, pooled, agreed);
        }
}

/* A machine that warms and cools over several rounds: both of a pair see it, and the ratio is
 * narrow where the speeds are not. */
static void ratios_of_rounds_cover(void **state)
{
    enum { TRIALS = 4000, ROUNDS = 5, N = 8 };
    double a[ROUNDS * N], b[ROUNDS * N], wide = 0, narrow = 0;
    const size_t sizes[ROUNDS] = {N, N, N, N, N};
    pare_random random = {5};
    int covered = 0;
    for (int t = 0; t < TRIALS; t++) {
        pare_estimate e, speed;
        double phase = 6.28 * pare_random_uniform(&random);
        for (int r = 0; r < ROUNDS; r++) {
            double drift = 1 + 0.1 * sin(phase + 0.8 * r),
                   own[2] = {1 + 0.005 * pare_random_normal(&random),
                             2 * (1 + 0.005 * pare_random_normal(&random))};
            for (int i = 0; i < N; i++) {
                a[r * N + i] = drift * own[0] * (1 + 0.01 * pare_random_normal(&random));
                b[r * N + i] = drift * own[1] * (1 + 0.01 * pare_random_normal(&random));
            }
        }
        assert_int_equal(pare_rounds_ratio(a, sizes, b, sizes, ROUNDS, &e), PARE_OK);
        assert_int_equal(pare_rounds_median(a, sizes, ROUNDS, &speed), PARE_OK);
        covered += e.low <= 2 && 2 <= e.high;
        narrow += (e.high - e.low) / e.value / TRIALS;
        wide += (speed.high - speed.low) / speed.value / TRIALS;
    }
    double coverage = (double)covered / TRIALS;
    if (coverage < 0.93 || coverage > 0.97 || narrow > 0.25 * wide)
        fail_msg("coverage %.4f; widths %.4f of the ratio, %.4f of a speed", coverage, narrow,
                 wide);
    pare_estimate e;
    assert_int_equal(pare_rounds_ratio(a, sizes, b, sizes, 1, &e), PARE_INVALID_ARGUMENT);
}

/* Means of 3, 5 and 10 with Student's quantile for 2 degrees of freedom; one round as it is. */
static void rounds_match_by_hand(void **state)
{
    const double x[] = {1, 3, 9, 5, 10};
    const size_t sizes[] = {3, 1, 1}, all[] = {5};
    pare_estimate e;
    assert_int_equal(pare_rounds_median(x, sizes, 3, &e), PARE_OK);
    near_to(e.value, 6, 1e-12);
    near_to(e.high - 6, 4.30265 * sqrt(13 / 3.0), 1e-3);
    near_to(6 - e.low, e.high - 6, 1e-12);
    assert_int_equal(pare_rounds_median(x, all, 1, &e), PARE_OK);
    near_to(e.value, 5, 0);
    near_to(e.low, 1, 0);
    assert_int_equal(pare_rounds_median(x, all, 0, &e), PARE_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_match_by_hand),        cmocka_unit_test(rounds_cover),
        cmocka_unit_test(odd_rounds_cover_nearly),     cmocka_unit_test(ratios_of_rounds_cover),
        cmocka_unit_test(percentiles_are_defined),     cmocka_unit_test(summary_is_right),
        cmocka_unit_test(interval_matches_the_tables), cmocka_unit_test(median_interval_covers),
        cmocka_unit_test(ratio_intervals_cover),       cmocka_unit_test(grouped_medians_cover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
