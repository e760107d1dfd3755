#include "cli/record.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <pare/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Conditions are text; these are numbers to whoever reads the JSON. (Not by their looks: a commit
 * may be all digits.) */
static json_t *condition_json(const pare_condition *condition)
{
    static const char *const numbers[] = {"threads",  "context", "stride",  "windows",
                                          "n_prompt", "n_gen",   "depth",   "parameters",
                                          "seed",     "rows",    "columns", "tokens"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(condition->key, numbers[i]) == 0) {
            char *end;
            errno = 0;
            long long number = strtoll(condition->value, &end, 10);
            if (end != condition->value && !*end && !errno)
                return json_integer(number);
        }
    return json_string(condition->value);
}

static json_t *number_json(double value)
{
    if (!isfinite(value))
        return json_null();
    return value == floor(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value)
                                                       : json_real(value);
}

static void add_metric(json_t *object, json_t *absent, json_t *samples, const pare_metric *metric)
{
    char key[128];
    const pare_measure *m = &metric->measure;
    json_object_set_new(object, metric->name, m->absent ? json_null() : number_json(m->value));
    if (m->absent) {
        json_object_set_new(
            absent, metric->name,
            json_string(metric->absent_reason ? metric->absent_reason : "not measured"));
        return;
    }
    if (isfinite(m->low) && isfinite(m->high) && (m->low != m->value || m->high != m->value)) {
        snprintf(key, sizeof key, "%s_ci_low", metric->name);
        json_object_set_new(object, key, number_json(m->low));
        snprintf(key, sizeof key, "%s_ci_high", metric->name);
        json_object_set_new(object, key, number_json(m->high));
    }
    if (samples && metric->samples) {
        json_t *array = json_array();
        for (int64_t i = 0; i < metric->sample_count; i++)
            json_array_append_new(array, number_json(metric->samples[i]));
        json_object_set_new(samples, metric->name, array);
    }
}

char *cli_record_json(const pare_record *record, bool with_samples)
{
    json_t *object = json_object(), *absent = json_object(),
           *samples = with_samples ? json_object() : NULL;
    if (record->id)
        json_object_set_new(object, "run", json_integer(record->id));
    json_object_set_new(object, "kind", json_string(record->kind));
    if (record->time)
        json_object_set_new(object, "time", json_string(record->time));
    json_object_set_new(object, "failure",
                        record->failure ? json_string(record->failure) : json_null());
    for (int i = 0; i < record->condition_count; i++)
        json_object_set_new(object, record->conditions[i].key,
                            condition_json(&record->conditions[i]));
    for (int i = 0; i < record->metric_count; i++)
        add_metric(object, absent, samples, &record->metrics[i]);
    if (json_object_size(absent))
        json_object_set(object, "absent", absent);
    if (samples)
        json_object_set(object, "samples", samples);
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(10));
    json_decref(absent);
    json_decref(samples);
    json_decref(object);
    return text;
}

int cli_record_print_json(const pare_record *record, bool with_samples)
{
    char *text = cli_record_json(record, with_samples);
    if (!text) {
        fprintf(stderr, "pare: out of memory\n");
        return 1;
    }
    puts(text);
    free(text);
    return 0;
}

/* ---- storing ---- */

static int not_stored(const cli_command *command)
{
    fprintf(stderr, "pare %s: the result above was not stored: %s\n", command->name,
            pare_error_message());
    return 1;
}

static pare_status add_with_machine(pare_store *store, const pare_record *record, const pare_hw *hw)
{
    const pare_hw_fact *cpu = pare_hw_find(hw, "cpu_name");
    const pare_condition further[] = {{"machine", cpu && cpu->text ? cpu->text : "unknown"},
                                      {"machine_id", pare_hw_fingerprint(hw)},
                                      {"version", pare_version()},
                                      {"commit", pare_commit()}};
    enum { FURTHER = sizeof further / sizeof *further };
    pare_record complete = *record;
    pare_condition *all = calloc((size_t)record->condition_count + FURTHER, sizeof *all);
    if (!all)
        return PARE_OUT_OF_MEMORY;
    if (record->condition_count)
        memcpy(all, record->conditions, (size_t)record->condition_count * sizeof *all);
    for (int i = 0; i < FURTHER; i++)
        if (!pare_record_condition(record, further[i].key))
            all[complete.condition_count++] = further[i];
    complete.conditions = all;
    pare_status status = pare_store_add(store, &complete, NULL);
    free(all);
    return status;
}

int cli_store_records(const cli_command *command, const cli_common *common,
                      const pare_record *records, int count)
{
    pare_store *store = NULL;
    pare_hw *hw = NULL;
    fflush(stdout); /* the result is out before anything can go wrong here */
    pare_status status = pare_hw_probe(&hw);
    if (status == PARE_OK)
        status = pare_store_open(common->store, &store);
    if (status == PARE_OK) {
        char *facts = pare_hw_to_json(hw);
        status = facts ? pare_store_put_machine(store, pare_hw_fingerprint(hw), facts)
                       : PARE_OUT_OF_MEMORY;
        free(facts);
    }
    for (int i = 0; status == PARE_OK && i < count; i++)
        status = add_with_machine(store, &records[i], hw);
    int code = status == PARE_OK ? 0 : not_stored(command);
    pare_store_close(store);
    pare_hw_free(hw);
    return code;
}
