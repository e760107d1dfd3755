/* Methods that look at the weights alone: bounds for all kinds of input, for every format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "quant/methods.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 512 };
enum { NORMAL, CONSTANT, ZERO, OUTLIER, SUBNORMAL, POSITIVE, LAPLACE, KINDS };

static float make(int kind, int i, pare_random *random)
{
    float normal = (float)pare_random_normal(random);
    switch (kind) {
    case NORMAL:
        return normal * 0.02f;
    case CONSTANT:
        return -0.37f;
    case OUTLIER:
        return i == 100 ? 50 : normal * 0.01f;
    case SUBNORMAL:
        return normal * 1e-40f;
    case POSITIVE:
        return 1 + fabsf(normal);
    case LAPLACE:
        return normal * fabsf((float)pare_random_normal(random)) * 0.05f;
    default:
        return 0;
    }
}

/* Mean absolute error, and the largest, of a row after encoding and decoding. */
static double mean_error(const pare_method *method, pare_type type, const float *x, double *largest)
{
    static uint8_t stored[8 * COLUMNS];
    static float ones[COLUMNS], y[COLUMNS];
    float absmax = 0;
    double sum = 0;
    for (int i = 0; i < COLUMNS; i++) {
        ones[i] = 1;
        absmax = fmaxf(absmax, fabsf(x[i]));
    }
    pare_method_matrix matrix = {.name = "test",
                                 .type = type,
                                 .rows = 1,
                                 .columns = COLUMNS,
                                 .importance = ones,
                                 .absmax = absmax};
    method->encode_row(&matrix, x, stored);
    pare_type_get_traits(type)->decode(stored, y, COLUMNS);
    *largest = 0;
    for (int i = 0; i < COLUMNS; i++) {
        double error = fabs((double)x[i] - (double)y[i]);
        if (!isfinite(y[i]))
            fail_msg("%s of %s: element %d is not finite", method->name, pare_type_name(type), i);
        sum += error;
        *largest = fmax(*largest, error);
    }
    return sum / COLUMNS;
}

/* Nothing is further off than the largest weight, zero stays zero, and nothing becomes infinite. */
static void every_input_stays_within_bounds(void **state)
{
    const pare_method *methods[] = {&pare_method_rtn, &pare_method_hqq, &pare_method_imatrix};
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        if (!pare_type_writable((pare_type)type))
            continue;
        for (int kind = 0; kind < KINDS; kind++) {
            float x[COLUMNS], absmax = 0;
            pare_random random = {(uint64_t)kind + 1};
            for (int i = 0; i < COLUMNS; i++) {
                x[i] = make(kind, i, &random);
                absmax = fmaxf(absmax, fabsf(x[i]));
            }
            for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
                double largest;
                mean_error(methods[m], (pare_type)type, x, &largest);
                if (largest > (double)absmax)
                    fail_msg("%s of %s, kind %d: off by %g, the largest weight is %g",
                             methods[m]->name, pare_type_name((pare_type)type), kind, largest,
                             (double)absmax);
            }
        }
    }
}

/* The zero point that HQQ chooses is where the absolute error is smaller: seen where it is kept. */
static void hqq_lowers_the_absolute_error(void **state)
{
    const pare_type types[] = {PARE_TYPE_Q4_1, PARE_TYPE_Q5_1};
    pare_random random = {9};
    for (size_t t = 0; t < 2; t++) {
        double hqq = 0, rounded = 0;
        for (int round = 0; round < 40; round++) {
            float x[COLUMNS];
            double largest;
            for (int i = 0; i < COLUMNS; i++)
                x[i] = make(LAPLACE, i, &random);
            hqq += mean_error(&pare_method_hqq, types[t], x, &largest);
            static uint8_t stored[8 * COLUMNS];
            static float y[COLUMNS];
            pare_type_get_traits(types[t])->encode(x, stored, COLUMNS, NULL);
            pare_type_get_traits(types[t])->decode(stored, y, COLUMNS);
            for (int i = 0; i < COLUMNS; i++)
                rounded += fabs((double)x[i] - (double)y[i]) / COLUMNS;
        }
        if (!(hqq < 0.99 * rounded))
            fail_msg("%s: %g, rounded %g", pare_type_name(types[t]), hqq, rounded);
    }
}

/* Searched scales have a smaller squared error than the rule's. */
static void searching_lowers_the_squared_error(void **state)
{
    const pare_type types[] = {PARE_TYPE_I4_G128,      PARE_TYPE_I4_G64_ASYM, PARE_TYPE_I3_G32,
                               PARE_TYPE_I3_G128_ASYM, PARE_TYPE_I2_G64,      PARE_TYPE_NF4,
                               PARE_TYPE_FP4,          PARE_TYPE_MXFP4,       PARE_TYPE_NVFP4_CH};
    static uint8_t stored[8 * COLUMNS];
    static float ones[COLUMNS], x[COLUMNS], y[COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        ones[i] = 1;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const pare_type_traits *traits = pare_type_get_traits(types[t]);
        pare_random random = {t + 1};
        double errors[2] = {0, 0};
        for (int round = 0; round < 20; round++) {
            for (int i = 0; i < COLUMNS; i++)
                x[i] = (float)pare_random_normal(&random);
            for (int searched = 0; searched < 2; searched++) {
                traits->encode(x, stored, COLUMNS, searched ? ones : NULL);
                traits->decode(stored, y, COLUMNS);
                for (int i = 0; i < COLUMNS; i++)
                    errors[searched] += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
            }
        }
        if (!(errors[1] < errors[0]))
            fail_msg("%s: %g searched, %g by its rule", traits->name, errors[1], errors[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_input_stays_within_bounds),
        cmocka_unit_test(hqq_lowers_the_absolute_error),
        cmocka_unit_test(searching_lowers_the_squared_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
