/* Means over tokens that come in windows, and their standard errors. */
#ifndef PARE_EVAL_STATISTICS_H
#define PARE_EVAL_STATISTICS_H

#include <stdint.h>

/* The mean sum(sums) / sum(weights) of n clusters, and its standard error: clusters are
 * independent, what is inside one is not. The estimator is that of a ratio, linearized, with the n
 * / (n - 1) correction (Cochran 1977, 2.11 and 6.3). NaN for the error of a single cluster. */
double pare_cluster_mean(const double *sums, const double *weights, int64_t n,
                         double *standard_error);

/* The value below which `share` of the n values lie, interpolated between neighbours; sorts the
 * values. */
double pare_quantile(double *values, int64_t n, double share);

#endif
