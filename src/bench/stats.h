/* Statistics of measured samples. No distribution is assumed: times have long tails and steps. */
#ifndef PARE_BENCH_STATS_H
#define PARE_BENCH_STATS_H

#include <pare/error.h>
#include <stddef.h>
#include <stdint.h>

/* A number and the interval that holds the true one with (about) the given coverage. */
typedef struct pare_estimate {
    double value, low, high;
    double
        coverage; /* what the interval can promise: 0.95, or less where there are too few samples */
} pare_estimate;

typedef struct pare_summary {
    size_t n;
    double mean, standard_error; /* NaN for n = 1 */
    double lowest, highest;
    pare_estimate median;
} pare_summary;

/* n >= 1 finite samples in any order; PARE_INVALID_ARGUMENT otherwise. */
pare_status pare_summarize(const double *samples, size_t n, pare_summary *summary);

/* Percentile p in 0..100 of n >= 1 ascending samples: at rank p / 100 * (n - 1), linear between
 * neighbours (definition 7 of Hyndman and Fan 1996, numpy's default). */
double pare_percentile(const double *sorted, size_t n, double p);
void pare_sort(double *samples, size_t n);

/* The median of ascending samples with its 95 % interval from order statistics: [x(k), x(n+1-k)]
 * covers the true median with probability 1 - 2 P(Binomial(n, 1/2) < k), whatever the distribution;
 * between the two neighbouring k the interval is interpolated (Hettmansperger and Sheather 1986),
 * which keeps the coverage within 1 % for n >= 6. Below 6 samples even the whole range covers less
 * than 95 %: the range is returned with its own coverage, 1 - 2^(1-n). */
pare_estimate pare_median_interval(const double *sorted, size_t n);

/* median(a) / median(b) with a 95 % interval by bootstrap: both are resampled independently 4000
 * times, percentile interval. For runs that were not paired. Positive samples, at least two of
 * each. The seed makes it repeatable. */
pare_status pare_ratio_of_medians(const double *a, size_t na, const double *b, size_t nb,
                                  uint64_t seed, pare_estimate *ratio);

/* The median of a[i] / b[i] with its order-statistic interval: for runs made in pairs (interleaved
 * rounds), where what disturbs one of a pair disturbs the other too. Positive samples. */
pare_status pare_paired_ratio(const double *a, const double *b, size_t n, pare_estimate *ratio);

/* Samples of several rounds (processes), sizes[r] > 0 of each. The value is the mean of the rounds'
 * medians, and its interval Student's t over them: what differs between processes and minutes is in
 * it, however many samples each took. Exact where the rounds' medians are normal, whatever the
 * shares of the spread inside and between rounds. One round: as pare_median_interval, which knows
 * nothing of other processes. */
pare_status pare_rounds_median(const double *samples, const size_t *sizes, size_t rounds,
                               pare_estimate *out);

/* b / a of two configurations whose rounds were run beside each other: the geometric mean of the
 * ratios of their medians, round by round, with Student's interval of the logarithms as relative
 * half-widths (exponents of two rounds' would be astronomic). What disturbs a round disturbs both.
 * Positive samples, at least two rounds. */
pare_status pare_rounds_ratio(const double *a, const size_t *a_sizes, const double *b,
                              const size_t *b_sizes, size_t rounds, pare_estimate *ratio);

/* The mean of n >= 1 values with Student's 95 % interval; of one value there is none (low = high =
 * value, coverage 0). */
pare_estimate pare_mean_interval(const double *values, size_t n);

/* The median of samples that come in `groups` of `each` (the tokens of a repetition), where what is
 * inside a group may be correlated: the interval is that of 200 resamplings of whole groups, their
 * standard deviation times Student's quantile with groups - 1 degrees of freedom. (For higher
 * percentiles it would come out too narrow: p90 is covered in 89 % of the cases.) Fewer than 4
 * groups give no interval: low = high = value. */
pare_status pare_grouped_median(const double *samples, size_t groups, size_t each, uint64_t seed,
                                pare_estimate *out);

#endif
