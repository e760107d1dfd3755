#include "cli/study_records.h"

#include "cli/eval_record.h"
#include "cli/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_CONDITIONS = 48, IDENTIFYING = 5, CELL_BYTES = 200 };

static pare_metric exact(const char *name, const char *unit, double value)
{
    return (pare_metric){.name = name,
                         .unit = unit,
                         .measure = {value, value, value, !isfinite(value)},
                         .absent_reason = isfinite(value) ? NULL : "not defined"};
}

/* "f16" is FP16 to readers; what has no such name keeps its own. */
static const char *label_of(const char *format)
{
    static const char *const names[][2] = {{"f32", "FP32"},  {"f16", "FP16"},   {"bf16", "BF16"},
                                           {"q8_0", "INT8"}, {"i8_ch", "INT8"}, {"q4_0", "INT4"},
                                           {"q4_k", "INT4"}, {"i4_g32", "INT4"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(format, names[i][0]) == 0)
            return names[i][1];
    return format;
}

/* What says of which cell a record is; cell holds its name. */
static int identify(const cli_study_row *row, char cell[CELL_BYTES], pare_condition *conditions)
{
    const char *model = pare_model_get_info(row->base)->name;
    snprintf(cell, CELL_BYTES, "%s/%s/cpu/default", model, row->format);
    conditions[0] = (pare_condition){"study", row->study};
    conditions[1] = (pare_condition){"base_model", model};
    conditions[2] = (pare_condition){"format", row->format};
    conditions[3] = (pare_condition){"cell", cell};
    conditions[4] = (pare_condition){"label", label_of(row->format)};
    return IDENTIFYING;
}

static int store(const cli_study_row *row, const char *kind, const pare_condition *further,
                 int further_count, const pare_metric *metrics, int metric_count)
{
    pare_condition conditions[MOST_CONDITIONS];
    char cell[CELL_BYTES];
    int count = identify(row, cell, conditions);
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
    pare_condition further[IDENTIFYING + 1];
    char cell[CELL_BYTES];
    int count = identify(row, cell, further);
    further[count++] = (pare_condition){"protocol_text", protocol};
    return cli_store_eval(row->command, row->common, model, row->base, text, options, r, further,
                          count);
}

int cli_store_benched(const cli_study_row *row, const pare_record *record)
{
    pare_condition conditions[MOST_CONDITIONS];
    pare_record copy = *record;
    char cell[CELL_BYTES];
    if (record->condition_count > MOST_CONDITIONS - IDENTIFYING)
        return cli_usage_error(row->command, "a bench record has %d conditions",
                               record->condition_count);
    copy.condition_count = identify(row, cell, conditions);
    for (int i = 0; i < record->condition_count; i++) {
        bool known = false;
        for (int k = 0; k < IDENTIFYING; k++)
            known |= strcmp(record->conditions[i].key, conditions[k].key) == 0;
        if (!known)
            conditions[copy.condition_count++] = record->conditions[i];
    }
    copy.conditions = conditions;
    return cli_store_record(row->command, row->common, &copy);
}
