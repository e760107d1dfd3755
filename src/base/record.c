#include <pare/record.h>
#include <stddef.h>
#include <string.h>

const char *pare_record_condition(const pare_record *record, const char *key)
{
    for (int i = 0; i < record->condition_count; i++)
        if (strcmp(record->conditions[i].key, key) == 0)
            return record->conditions[i].value;
    return NULL;
}

const pare_metric *pare_record_metric(const pare_record *record, const char *name)
{
    for (int i = 0; i < record->metric_count; i++)
        if (strcmp(record->metrics[i].name, name) == 0)
            return &record->metrics[i];
    return NULL;
}
