#ifndef PARE_BASE_CLOCK_H
#define PARE_BASE_CLOCK_H

#include <time.h>

/* Seconds of a clock that never steps. */
static inline double pare_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
