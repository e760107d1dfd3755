#ifndef PARE_PLAN_COMPARE_H
#define PARE_PLAN_COMPARE_H

#include <pare/analysis.h>
#include <stdarg.h>

/* Fills unfair, unfair_count and refused from a and b. */
void pare_compare_fairness(pare_comparison *c);

#endif
