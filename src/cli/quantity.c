#include "cli/quantity.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

typedef struct unit {
    const char *name;
    double factor;
} unit;

static bool parse(const char *text, const unit *units, bool zero, double *value)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || !isfinite(number) || number < 0 || (number == 0 && !zero))
        return false;
    while (*end == ' ')
        end++;
    for (; units->name; units++)
        if (strcasecmp(end, units->name) == 0) {
            *value = number * units->factor;
            return true;
        }
    return false;
}

bool cli_parse_bytes(const char *text, double *bytes)
{
    static const unit units[] = {
        {"", 1},          {"B", 1},         {"k", 1e3},       {"kB", 1e3},     {"M", 1e6},
        {"MB", 1e6},      {"G", 1e9},       {"GB", 1e9},      {"T", 1e12},     {"TB", 1e12},
        {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 0x1p40}, {NULL, 0},
    };
    return parse(text, units, false, bytes);
}

bool cli_parse_seconds(const char *text, double *seconds)
{
    static const unit units[] = {{"", 1e-3}, {"ms", 1e-3}, {"us", 1e-6}, {"s", 1}, {NULL, 0}};
    return parse(text, units, false, seconds);
}

bool cli_parse_share(const char *text, double *share)
{
    static const unit units[] = {{"", 1}, {"%", 0.01}, {NULL, 0}};
    return parse(text, units, true, share);
}

bool cli_parse_watts(const char *text, double *watts)
{
    static const unit units[] = {{"", 1}, {"W", 1}, {"mW", 1e-3}, {"kW", 1e3}, {NULL, 0}};
    return parse(text, units, false, watts);
}

json_t *cli_measure_json(pare_measure m)
{
    if (m.absent || !isfinite(m.value))
        return json_null();
    return json_pack("{s:f, s:f, s:f}", "value", m.value, "low", isfinite(m.low) ? m.low : m.value,
                     "high", isfinite(m.high) ? m.high : m.value);
}

int cli_print_json(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(object);
    if (!text) {
        fprintf(stderr, "pare: out of memory, or a name is no UTF-8\n");
        return 1;
    }
    puts(text);
    free(text);
    return 0;
}
