/* A measured value. */
#ifndef PARE_MEASURE_H
#define PARE_MEASURE_H

#include <stdbool.h>

/* A value and its 95 % interval (low = high = value where it has none), or nothing: what was not
 * measured is absent, never zero. */
typedef struct pare_measure {
    double value, low, high;
    bool absent;
} pare_measure;

#endif
