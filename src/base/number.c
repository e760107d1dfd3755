#include "base/number.h"

#include <math.h>
#include <stdio.h>

/* Decimals that show three significant digits, as no speed or size here is known better. */
static int decimals(double value)
{
    double magnitude = fabs(value);
    return magnitude >= 99.95 ? 0 : magnitude >= 9.995 ? 1 : 2;
}

typedef struct style {
    double scale;
    int places;
    const char *suffix;
    bool sign;
} style;

/* Powers of 1000, one suffix for each; below the first prefix in whole numbers. */
static style prefixed(double value, double least, const char *const suffixes[5])
{
    int power = 0;
    while (power < 4 && fabs(value) >= least && fabs(value) / pow(1000, power) >= 999.5)
        power++;
    return (style){pow(1000, -power), power ? decimals(value / pow(1000, power)) : 0,
                   suffixes[power], false};
}

/* Three significant digits, however small. */
static int plain_decimals(double value)
{
    int places = decimals(value);
    double magnitude = fabs(value);
    while (magnitude > 0 && places < 6 && magnitude < 0.9995 * pow(10, 2 - places))
        places++;
    return places;
}

static style choose(double value, pare_unit unit)
{
    static const char *const bytes[] = {" B", " kB", " MB", " GB", " TB"},
                             *const counts[] = {"", " k", " M", " G", " T"},
                             *const hertz[] = {" Hz", " kHz", " MHz", " GHz", " THz"},
                             *const bytes_per_s[] = {" B/s", " kB/s", " MB/s", " GB/s", " TB/s"},
                             *const ops[] = {" OP/s", " kOP/s", " MOP/s", " GOP/s", " TOP/s"},
                             *const flops[] = {" FLOP/s", " kFLOP/s", " MFLOP/s", " GFLOP/s",
                                               " TFLOP/s"};
    switch (unit) {
    case PARE_UNIT_BYTES:
        return prefixed(value, 0, bytes);
    case PARE_UNIT_COUNT:
        return prefixed(value, 9999.5, counts);
    case PARE_UNIT_HZ:
        return prefixed(value, 0, hertz);
    case PARE_UNIT_BYTES_PER_S:
        return prefixed(value, 0, bytes_per_s);
    case PARE_UNIT_OPS_PER_S:
        return prefixed(value, 0, ops);
    case PARE_UNIT_FLOPS_PER_S:
        return prefixed(value, 0, flops);
    case PARE_UNIT_PLAIN:
        return (style){1, plain_decimals(value), "", false};
    case PARE_UNIT_RATIO:
        return (style){1, fabs(value) < 1.9995 ? 3 : 2, "", false};
    case PARE_UNIT_RATE:
        return (style){1, decimals(value), "", false};
    case PARE_UNIT_FACTOR:
        return (style){1, 2, "x", false};
    case PARE_UNIT_PERCENT:
        return (style){100, 1, " %", false};
    case PARE_UNIT_CHANGE:
        return (style){100, fabs(value) < 0.0995 ? 2 : 1, " %", true};
    case PARE_UNIT_PERPLEXITY:
        return (style){1, fabs(value) >= 999.5 ? 0 : 2, "", false};
    case PARE_UNIT_NATS:
        return (style){1, fabs(value) < 0.00995 ? 5 : 4, "", false};
    case PARE_UNIT_BITS:
        return (style){1, 2, "", false};
    }
    return (style){1, 2, "", false};
}

const char *pare_number(char out[PARE_NUMBER_BYTES], pare_measure measure, pare_unit unit,
                        bool interval)
{
    if (measure.absent || !isfinite(measure.value)) {
        snprintf(out, PARE_NUMBER_BYTES, "-");
        return out;
    }
    style s = choose(measure.value, unit);
    double half = (measure.high - measure.low) / 2;
    int places = s.places;
    if (interval && half > 0) /* an interval that would print as zero gets the digits it needs */
        while (places < 6 && half * s.scale < 0.5 * pow(10, -places))
            places++;
    double value = measure.value * s.scale;
    if (fabs(value) < 0.5 * pow(10, -places))
        value = 0; /* no "-0.00" */
    int n = snprintf(out, PARE_NUMBER_BYTES, s.sign ? "%+.*f" : "%.*f", places, value);
    if (interval && half > 0)
        n += snprintf(out + n, (size_t)(PARE_NUMBER_BYTES - n), " \xc2\xb1 %.*f", places,
                      half * s.scale);
    snprintf(out + n, (size_t)(PARE_NUMBER_BYTES - n), "%s", s.suffix);
    return out;
}
