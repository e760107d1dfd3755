#include "eval/statistics.h"

#include <math.h>
#include <stdlib.h>

double pare_cluster_mean(const double *sums, const double *weights, int64_t n,
                         double *standard_error)
{
    double sum = 0, weight = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += sums[i];
        weight += weights[i];
    }
    double mean = sum / weight;
    for (int64_t i = 0; i < n; i++) {
        double residual = sums[i] - mean * weights[i];
        squares += residual * residual;
    }
    *standard_error = n > 1 ? sqrt(squares * (double)n / (double)(n - 1)) / weight : NAN;
    return mean;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double pare_quantile(double *values, int64_t n, double share)
{
    qsort(values, (size_t)n, sizeof *values, ascending);
    double place = share * (double)(n - 1);
    int64_t below = (int64_t)place, above = below + 1 < n ? below + 1 : below;
    return values[below] + (place - (double)below) * (values[above] - values[below]);
}
