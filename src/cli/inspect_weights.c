#include "cli/inspect_weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* JSON has no infinity: an exact copy's ratio is null. */
static json_t *number_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *worst_json(const int64_t *indices, const double *values, const char *index_key,
                          const char *value_key)
{
    json_t *list = json_array();
    for (int i = 0; i < PARE_WEIGHT_WORST && indices[i] >= 0; i++)
        json_array_append_new(
            list, json_pack("{s:I, s:f}", index_key, (json_int_t)indices[i], value_key, values[i]));
    return list;
}

static json_t *tensor_json(const pare_weight_tensor *t)
{
    json_t *bins = json_array();
    for (int i = 0; i < PARE_WEIGHT_BINS; i++)
        json_array_append_new(bins, json_integer((json_int_t)t->bins[i]));
    double elements = (double)t->rows * (double)t->columns;
    json_t *object = json_pack(
        "{s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:o, s:I, s:o}", "name", t->name,
        "format", t->format, "rows", (json_int_t)t->rows, "columns", (json_int_t)t->columns,
        "bits_per_weight", elements > 0 ? 8 * (double)t->bytes / elements : 0, "minimum",
        t->minimum, "maximum", t->maximum, "mean", t->mean, "deviation", t->deviation, "zeros",
        (json_int_t)t->zeros, "not_finite", (json_int_t)t->not_finite, "histogram", bins,
        "outlier_columns", (json_int_t)t->outlier_count, "largest_outliers",
        worst_json(t->outliers, t->outlier_ratios, "column", "ratio"));
    if (t->compared) {
        json_object_set_new(object, "base_format", json_string(t->base_format));
        json_object_set_new(object, "relative_error", number_json(t->relative_error));
        json_object_set_new(object, "snr_db", number_json(t->snr_db));
        json_object_set_new(object, "largest_error", number_json(t->largest_error));
        json_object_set_new(
            object, "worst_rows",
            worst_json(t->worst_rows, t->worst_row_errors, "row", "relative_error"));
    }
    return object;
}

json_t *cli_weights_json(const pare_weights *weights)
{
    json_t *list = json_array();
    for (size_t i = 0; i < weights->count; i++)
        json_array_append_new(list, tensor_json(&weights->tensors[i]));
    return list;
}

/* ---- text ---- */

enum { NAME_WIDTH = 30, BAR = 20, SPARKS = PARE_WEIGHT_BINS / 2 };

/* Names come from files: control characters must not reach the terminal. */
static void print_name(const char *name)
{
    int width = 0;
    for (; *name && width < NAME_WIDTH; name++, width++)
        putchar((unsigned char)*name < 0x20 || *name == 0x7f ? '?' : *name);
    printf("%*s", NAME_WIDTH - width, "");
}

/* A bar of `share` of BAR characters, by eighths. */
static void print_bar(double share)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int steps = (int)lrint(share * BAR * 8);
    steps = steps < 0 ? 0 : steps > BAR * 8 ? BAR * 8 : steps;
    for (int i = 0; i < steps / 8; i++)
        fputs("█", stdout);
    fputs(eighths[steps % 8], stdout);
}

/* Heights are logarithms of the counts, so that tails are seen. */
static void print_histogram(const pare_weight_tensor *t)
{
    static const char *const heights[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double counts[SPARKS], most = 1;
    for (int i = 0; i < SPARKS; i++) {
        counts[i] = log2(1 + (double)t->bins[2 * i] + (double)t->bins[2 * i + 1]);
        most = fmax(most, counts[i]);
    }
    for (int i = 0; i < SPARKS; i++)
        fputs(counts[i] > 0 ? heights[(int)(counts[i] / most * 7)] : " ", stdout);
}

static void print_errors(const pare_weights *weights)
{
    double most = 0;
    printf("\n%-*s %-12s %10s %8s  %s\n", NAME_WIDTH, "tensor, error against the base", "format",
           "relative", "SNR dB", "worst rows (relative error)");
    for (size_t i = 0; i < weights->count; i++)
        if (weights->tensors[i].compared && isfinite(weights->tensors[i].relative_error))
            most = fmax(most, weights->tensors[i].relative_error);
    for (size_t i = 0; i < weights->count; i++) {
        const pare_weight_tensor *t = &weights->tensors[i];
        int used = 0;
        char rows[96] = "";
        if (!t->compared || t->rows < 2)
            continue;
        print_name(t->name);
        if (!(t->largest_error > 0)) {
            printf(" %-12s %10s\n", t->format, "the same");
            continue;
        }
        for (int k = 0; k < PARE_WEIGHT_WORST && t->worst_rows[k] >= 0; k++)
            used += snprintf(rows + used, sizeof rows - (size_t)used, "%s%" PRId64 " (%.3g)",
                             k ? ", " : "", t->worst_rows[k], t->worst_row_errors[k]);
        printf(" %-12s %8.3f %% %8.2f  %-42s ", t->format, 100 * t->relative_error, t->snr_db,
               rows);
        print_bar(t->relative_error / most);
        putchar('\n');
    }
    printf("%-*s %-12s %8.3f %% %8.2f\n", NAME_WIDTH, "what differs, together", "",
           100 * weights->relative_error, weights->snr_db);
}

static void print_distributions(const pare_weights *weights)
{
    printf("\n%-*s %10s %10s %9s %8s  %s\n", NAME_WIDTH, "tensor, distribution", "minimum",
           "maximum", "deviation", "outliers", "histogram (logarithm of counts, ends at +-absmax)");
    for (size_t i = 0; i < weights->count; i++) {
        const pare_weight_tensor *t = &weights->tensors[i];
        print_name(t->name);
        printf(" %10.4g %10.4g %9.3g %8" PRId64 "  ", t->minimum, t->maximum, t->deviation,
               t->outlier_count);
        print_histogram(t);
        for (int k = 0; k < PARE_WEIGHT_WORST && t->outliers[k] >= 0; k++)
            printf("%s%" PRId64 " (%.1fx)", k ? ", " : "  columns ", t->outliers[k],
                   t->outlier_ratios[k]);
        if (t->not_finite)
            printf("  %" PRId64 " not finite", t->not_finite);
        putchar('\n');
    }
    printf("outliers: columns whose root mean square is %g times the median column's or more\n",
           PARE_WEIGHT_OUTLIER);
}

void cli_weights_print(const pare_weights *weights, bool histogram)
{
    if (weights->base)
        print_errors(weights);
    if (histogram)
        print_distributions(weights);
}
