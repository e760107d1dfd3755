#include "bench/stats.h"

#include "base/fail.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
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

static double resampled_median(const double *samples, size_t n, double *scratch,
                               pare_random *random)
{
    for (size_t i = 0; i < n; i++)
        scratch[i] = samples[pare_random_below(random, n)];
    pare_sort(scratch, n);
    return pare_percentile(scratch, n, 50);
}

pare_status pare_ratio_of_medians(const double *a, size_t na, const double *b, size_t nb,
                                  uint64_t seed, pare_estimate *ratio)
{
    double *scratch = NULL, *ratios = NULL;
    pare_random random = {seed};
    size_t longest = na > nb ? na : nb;
    pare_status status;
    PARE_TRY(check(a, na, 2, 0));
    PARE_TRY(check(b, nb, 2, 0));
    PARE_TRY(pare_allocate(longest, sizeof *scratch, "samples", &scratch));
    PARE_TRY(pare_allocate(RESAMPLES, sizeof *ratios, "resampled ratios", &ratios));
    for (int i = 0; i < RESAMPLES; i++) {
        double above = resampled_median(a, na, scratch, &random);
        ratios[i] = above / resampled_median(b, nb, scratch, &random);
    }
    pare_sort(ratios, RESAMPLES);
    memcpy(scratch, a, na * sizeof *scratch);
    pare_sort(scratch, na);
    ratio->value = pare_percentile(scratch, na, 50);
    memcpy(scratch, b, nb * sizeof *scratch);
    pare_sort(scratch, nb);
    ratio->value /= pare_percentile(scratch, nb, 50);
    ratio->low = pare_percentile(ratios, RESAMPLES, 100 * (1 - CONFIDENCE) / 2);
    ratio->high = pare_percentile(ratios, RESAMPLES, 100 * (1 + CONFIDENCE) / 2);
    ratio->coverage = CONFIDENCE;
fail:
    free(scratch);
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

/* ---- groups ---- */

/* Quantile 0.975 of Student's t, by Cornish and Fisher's expansion; 1 % too low at 3 degrees of
 * freedom, exact to four digits from 6 on. */
static double student(double v)
{
    double z = 1.959964, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
    return z + (z3 + z) / (4 * v) + (5 * z5 + 16 * z3 + 3 * z) / (96 * v * v) +
           (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * v * v * v);
}

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
        double half = student(g - 1) * sqrt(fmax(variance, 0) * g / (g - 1));
        *out = (pare_estimate){value, value - half, value + half, CONFIDENCE};
    }
fail:
    free(scratch);
    return status;
}
