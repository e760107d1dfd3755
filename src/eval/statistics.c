#include "eval/statistics.h"

#include <math.h>
#include <pare/eval.h>
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

double pare_eval_half_width(double standard_error, int64_t n)
{
    /* Quantiles 0.975 for 1 to 30 degrees of freedom; then Cornish and Fisher's expansion, right to
     * four digits. */
    static const double quantiles[] = {
        12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
        2.2010,  2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
        2.0796,  2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423};
    int64_t freedom = n - 1;
    if (freedom < 1)
        return NAN;
    if (freedom <= 30)
        return standard_error * quantiles[freedom - 1];
    double z = 1.959964, v = (double)freedom;
    return standard_error * (z + (z * z * z + z) / (4 * v) +
                             (5 * pow(z, 5) + 16 * z * z * z + 3 * z) / (96 * v * v));
}
