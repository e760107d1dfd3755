#include "bench/stats.h"

#include "base/fail.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <pare/eval.h>
#include <stdlib.h>
#include <string.h>

static const double CONFIDENCE = 0.95;
enum { RESAMPLES = 4000 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void pare_sort(double *samples, size_t n)
{
    qsort(samples, n, sizeof *samples, ascending);
}

double pare_percentile(const double *sorted, size_t n, double p)
{
    double rank = p / 100 * (double)(n - 1);
    if (rank <= 0)
        return sorted[0];
    if (rank >= (double)(n - 1))
        return sorted[n - 1];
    size_t below = (size_t)rank;
    return sorted[below] + (rank - (double)below) * (sorted[below + 1] - sorted[below]);
}

/* P(Binomial(n, 1/2) = k), through logarithms: 2^-n underflows from n = 1075 on. */
static double binomial(size_t n, size_t k)
{
    double dn = (double)n, dk = (double)k;
    return exp(lgamma(dn + 1) - lgamma(dk + 1) - lgamma(dn - dk + 1) - dn * 0.6931471805599453);
}

pare_estimate pare_median_interval(const double *sorted, size_t n)
{
    pare_estimate estimate = {.value = pare_percentile(sorted, n, 50)};
    /* k counts from 1, coverage belongs to [x(k), x(n+1-k)]. Find the last k that still covers
     * enough. */
    double coverage = 1 - 2 * binomial(n, 0), next = coverage;
    size_t k = 1;
    if (coverage < CONFIDENCE) {
        estimate.low = sorted[0];
        estimate.high = sorted[n - 1];
        estimate.coverage = coverage < 0 ? 0 : coverage;
        return estimate;
    }
    for (; k + 1 <= n / 2; k++) {
        next = coverage - 2 * binomial(n, k);
        if (next < CONFIDENCE)
            break;
        coverage = next;
    }
    double excess = next < coverage ? (coverage - CONFIDENCE) / (coverage - next) : 0;
    if (excess > 1)
        excess = 1;
    double dn = (double)n, dk = (double)k;
    double lambda = (dn - dk) * excess / (dk + (dn - 2 * dk) * excess);
    estimate.low = (1 - lambda) * sorted[k - 1] + lambda * sorted[k];
    estimate.high = (1 - lambda) * sorted[n - k] + lambda * sorted[n - k - 1];
    estimate.coverage = CONFIDENCE;
    return estimate;
}

static pare_status check(const double *samples, size_t n, size_t least, double above)
{
    if (n < least)
        return pare_fail(PARE_INVALID_ARGUMENT, "%zu samples: at least %zu are needed", n, least);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(samples[i]) || samples[i] <= above)
            return pare_fail(PARE_INVALID_ARGUMENT, "sample %zu is %g", i, samples[i]);
    return PARE_OK;
}

pare_status pare_summarize(const double *samples, size_t n, pare_summary *summary)
{
    double *sorted, sum = 0, squares = 0;
    pare_status status = check(samples, n, 1, -INFINITY);
    if (status == PARE_OK)
        status = pare_allocate(n, sizeof *sorted, "samples", &sorted);
    if (status != PARE_OK)
        return status;
    memcpy(sorted, samples, n * sizeof *sorted);
    pare_sort(sorted, n);
    *summary = (pare_summary){.n = n, .lowest = sorted[0], .highest = sorted[n - 1]};
    for (size_t i = 0; i < n; i++)
        sum += sorted[i];
    summary->mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (sorted[i] - summary->mean) * (sorted[i] - summary->mean);
    summary->standard_error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : NAN;
    summary->median = pare_median_interval(sorted, n);
    free(sorted);
    return PARE_OK;
}

/* The median of n draws from ascending samples: counting how often each was drawn is sorting. */
static double resampled_median(const double *sorted, size_t n, unsigned *drawn, pare_random *random)
{
    size_t low = (n - 1) / 2, high = n / 2, seen = 0, i = 0;
    memset(drawn, 0, n * sizeof *drawn);
    for (size_t draw = 0; draw < n; draw++)
        drawn[pare_random_below(random, n)]++;
    while (seen + drawn[i] <= low)
        seen += drawn[i++];
    double below = sorted[i];
    while (seen + drawn[i] <= high)
        seen += drawn[i++];
    return 0.5 * (below + sorted[i]);
}

static pare_status sorted_copy(const double *samples, size_t n, double **out)
{
    pare_status status = pare_allocate(n, sizeof **out, "samples", out);
    if (status == PARE_OK) {
        memcpy(*out, samples, n * sizeof **out);
        pare_sort(*out, n);
    }
    return status;
}

pare_status pare_ratio_of_medians(const double *a, size_t na, const double *b, size_t nb,
                                  uint64_t seed, pare_estimate *ratio)
{
    double *above = NULL, *below = NULL, *ratios = NULL;
    unsigned *drawn = NULL;
    pare_random random = {seed};
    pare_status status;
    PARE_TRY(check(a, na, 2, 0));
    PARE_TRY(check(b, nb, 2, 0));
    PARE_TRY(sorted_copy(a, na, &above));
    PARE_TRY(sorted_copy(b, nb, &below));
    PARE_TRY(pare_allocate(na > nb ? na : nb, sizeof *drawn, "samples", &drawn));
    PARE_TRY(pare_allocate(RESAMPLES, sizeof *ratios, "resampled ratios", &ratios));
    for (int i = 0; i < RESAMPLES; i++) {
        double top = resampled_median(above, na, drawn, &random);
        ratios[i] = top / resampled_median(below, nb, drawn, &random);
    }
    pare_sort(ratios, RESAMPLES);
    ratio->value = pare_percentile(above, na, 50) / pare_percentile(below, nb, 50);
    ratio->low = pare_percentile(ratios, RESAMPLES, 100 * (1 - CONFIDENCE) / 2);
    ratio->high = pare_percentile(ratios, RESAMPLES, 100 * (1 + CONFIDENCE) / 2);
    ratio->coverage = CONFIDENCE;
fail:
    free(above);
    free(below);
    free(drawn);
    free(ratios);
    return status;
}

pare_status pare_paired_ratio(const double *a, const double *b, size_t n, pare_estimate *ratio)
{
    double *ratios = NULL;
    pare_status status;
    PARE_TRY(check(a, n, 1, 0));
    PARE_TRY(check(b, n, 1, 0));
    PARE_TRY(pare_allocate(n, sizeof *ratios, "ratios", &ratios));
    for (size_t i = 0; i < n; i++)
        ratios[i] = a[i] / b[i];
    pare_sort(ratios, n);
    *ratio = pare_median_interval(ratios, n);
fail:
    free(ratios);
    return status;
}

/* ---- rounds ---- */

pare_estimate pare_mean_interval(const double *values, size_t n)
{
    double sum = 0, squares = 0, dn = (double)n;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    double mean = sum / dn;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    if (n < 2)
        return (pare_estimate){mean, mean, mean, 0};
    double half = pare_eval_half_width(sqrt(squares / (dn - 1) / dn), (int64_t)n);
    return (pare_estimate){mean, mean - half, mean + half, CONFIDENCE};
}

/* medians[rounds] */
static pare_status medians_of(const double *samples, const size_t *sizes, size_t rounds,
                              double **medians)
{
    double *sorted = NULL;
    pare_status status;
    PARE_TRY(pare_allocate(rounds, sizeof **medians, "rounds", medians));
    for (size_t r = 0; r < rounds; r++) {
        PARE_TRY(check(samples, sizes[r], 1, -INFINITY));
        PARE_TRY(sorted_copy(samples, sizes[r], &sorted));
        (*medians)[r] = pare_percentile(sorted, sizes[r], 50);
        samples += sizes[r];
        free(sorted);
        sorted = NULL;
    }
fail:
    free(sorted);
    return status;
}

pare_status pare_rounds_median(const double *samples, const size_t *sizes, size_t rounds,
                               pare_estimate *out)
{
    double *medians = NULL;
    pare_summary summary;
    pare_status status;
    if (rounds < 2) {
        status = pare_summarize(samples, rounds ? sizes[0] : 0, &summary);
        if (status == PARE_OK)
            *out = summary.median;
        return status;
    }
    PARE_TRY(medians_of(samples, sizes, rounds, &medians));
    *out = pare_mean_interval(medians, rounds);
fail:
    free(medians);
    return status;
}

pare_status pare_rounds_ratio(const double *a, const size_t *a_sizes, const double *b,
                              const size_t *b_sizes, size_t rounds, pare_estimate *ratio)
{
    double *below = NULL, *above = NULL;
    pare_status status;
    PARE_TRY(medians_of(a, a_sizes, rounds, &below));
    PARE_TRY(medians_of(b, b_sizes, rounds, &above));
    PARE_TRY(check(below, rounds, 2, 0));
    PARE_TRY(check(above, rounds, 2, 0));
    for (size_t r = 0; r < rounds; r++)
        above[r] = log(above[r] / below[r]);
    pare_estimate e = pare_mean_interval(above, rounds);
    double value = exp(e.value), half = value * (e.high - e.value);
    *ratio = (pare_estimate){value, fmax(value - half, 0), value + half, e.coverage};
fail:
    free(below);
    free(above);
    return status;
}

/* ---- groups ---- */

pare_status pare_grouped_median(const double *samples, size_t groups, size_t each, uint64_t seed,
                                pare_estimate *out)
{
    enum { TIMES = 200, LEAST_GROUPS = 4 };
    size_t n = groups * each;
    double *scratch = NULL, sum = 0, squares = 0;
    pare_random random = {seed};
    pare_status status;
    PARE_TRY(check(samples, n, 1, -INFINITY));
    PARE_TRY(pare_allocate(n, sizeof *scratch, "samples", &scratch));
    memcpy(scratch, samples, n * sizeof *scratch);
    pare_sort(scratch, n);
    double value = pare_percentile(scratch, n, 50);
    *out = (pare_estimate){value, value, value, 0};
    for (int i = 0; i < TIMES && groups >= LEAST_GROUPS; i++) {
        for (size_t g = 0; g < groups; g++)
            memcpy(scratch + g * each, samples + pare_random_below(&random, groups) * each,
                   each * sizeof *scratch);
        pare_sort(scratch, n);
        double resampled = pare_percentile(scratch, n, 50) - value;
        sum += resampled;
        squares += resampled * resampled;
    }
    if (groups >= LEAST_GROUPS) {
        double g = (double)groups, variance = (squares - sum * sum / TIMES) / (TIMES - 1);
        double half = pare_eval_half_width(sqrt(fmax(variance, 0) * g / (g - 1)), (int64_t)groups);
        *out = (pare_estimate){value, value - half, value + half, CONFIDENCE};
    }
fail:
    free(scratch);
    return status;
}
