/* The one way in which a measured number becomes text: tables, pages and sentences all go through
 * here. */
#ifndef PARE_NUMBER_H
#define PARE_NUMBER_H

#include <pare/measure.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef enum pare_unit {
    PARE_UNIT_BYTES,       /* "23.1 MB": powers of 1000 */
    PARE_UNIT_RATE,        /* tokens/s: "412", "38.2" */
    PARE_UNIT_FACTOR,      /* "1.85x" */
    PARE_UNIT_PERCENT,     /* a share of 1: "57.2 %" */
    PARE_UNIT_CHANGE,      /* a signed share of 1: "+1.3 %" */
    PARE_UNIT_PERPLEXITY,  /* "29.72" */
    PARE_UNIT_NATS,        /* "0.0472" */
    PARE_UNIT_BITS,        /* "4.50" */
    PARE_UNIT_RATIO,       /* "1.013", "3.42": two digits behind the point, three below 2 */
    PARE_UNIT_PLAIN,       /* three significant digits at any size: "0.00123", "61.4" */
    PARE_UNIT_COUNT,       /* "512", "1.85 M": prefixes from 10 000 on */
    PARE_UNIT_HZ,          /* "2.60 GHz" */
    PARE_UNIT_BYTES_PER_S, /* "23.1 GB/s" */
    PARE_UNIT_OPS_PER_S,   /* "412 GOP/s" */
    PARE_UNIT_FLOPS_PER_S, /* "412 GFLOP/s" */
} pare_unit;

enum { PARE_NUMBER_BYTES = 48 };

/* "-" where the value is absent. `interval` adds " ± 0.4" (half the interval's width) where there
 * is one. */
const char *pare_number(char out[PARE_NUMBER_BYTES], pare_measure measure, pare_unit unit,
                        bool interval);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
