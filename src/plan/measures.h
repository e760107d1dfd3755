/* Arithmetic with measures. */
#ifndef PARE_PLAN_MEASURES_H
#define PARE_PLAN_MEASURES_H

#include <pare/analysis.h>

/* a x factor + offset; a negative factor swaps the ends. */
pare_measure pare_measure_shift(pare_measure a, double factor, double offset);
/* a - b of independent measurements. */
pare_measure pare_measure_difference(pare_measure a, pare_measure b);
/* Same value of a condition in both, where both have it. */
bool pare_cells_agree(const pare_record *a, const pare_record *b, const char *key);
/* Mean of a[i] - b[i] with Student's interval. */
pare_measure pare_paired_mean(const double *a, const double *b, int64_t n);

#endif
