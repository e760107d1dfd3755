#include "cli/study_records.h"

#include "cli/eval_record.h"
#include "cli/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_CONDITIONS = 48 };

static pare_metric exact(const char *name, const char *unit, double value)
{
    return (pare_metric){.name = name,
                         .unit = unit,
                         .measure = {value, value, value, !isfinite(value)},
                         .absent_reason = isfinite(value) ? NULL : "not defined"};
}

static int store(const cli_study_row *row, const char *kind, const pare_condition *further,
                 int further_count, const pare_metric *metrics, int metric_count)
{
    pare_condition conditions[MOST_CONDITIONS] = {
        {"study", row->study},
        {"base_model", pare_model_get_info(row->base)->name},
        {"format", row->format}};
    int count = 3;
    for (int i = 0; i < further_count; i++)
        conditions[count++] = further[i];
    pare_record record = {.kind = kind,
                          .conditions = conditions,
                          .condition_count = count,
                          .metrics = metrics,
                          .metric_count = metric_count};
    return cli_store_record(row->command, row->common, &record);
}

int cli_store_quantized(const cli_study_row *row, const pare_quantize_result *result)
{
    const pare_metric metrics[] = {exact("bytes", "bytes", (double)result->bytes),
                                   exact("bits_per_weight", "bits", result->bits_per_weight),
                                   exact("seconds", "s", result->seconds)};
    const pare_condition conditions[] = {{"method", "rtn"}};
    return store(row, "quantize", conditions, 1, metrics, sizeof metrics / sizeof *metrics);
}

int cli_store_evaluated(const cli_study_row *row, const pare_model *model, const char *text,
                        const pare_eval_options *options, const pare_eval_result *r)
{
    char protocol[200];
    snprintf(protocol, sizeof protocol,
             "%lld tokens scored in %lld windows of %lld (protocol %s), %s activations, against "
             "the model as it was given",
             (long long)r->tokens, (long long)r->windows, (long long)r->context,
             pare_protocol_name(r->protocol),
             options->session.activations == PARE_ACTIVATIONS_FAST ? "fast" : "f32");
    const pare_condition further[] = {{"study", row->study},
                                      {"base_model", pare_model_get_info(row->base)->name},
                                      {"format", row->format},
                                      {"protocol_text", protocol}};
    return cli_store_eval(row->command, row->common, model, row->base, text, options, r, further,
                          sizeof further / sizeof *further);
}

int cli_store_benched(const cli_study_row *row, const pare_record *record)
{
    pare_condition conditions[MOST_CONDITIONS];
    pare_record copy = *record;
    if (record->condition_count > MOST_CONDITIONS - 1)
        return cli_usage_error(row->command, "a bench record has %d conditions",
                               record->condition_count);
    copy.condition_count = 0;
    for (int i = 0; i < record->condition_count; i++)
        if (strcmp(record->conditions[i].key, "format") != 0)
            conditions[copy.condition_count++] = record->conditions[i];
    conditions[copy.condition_count++] = (pare_condition){"format", row->format};
    copy.conditions = conditions;
    return cli_store_record(row->command, row->common, &copy);
}
