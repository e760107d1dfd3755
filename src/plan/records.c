#include "plan/records.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

const char *pare_record_list_copy(pare_record_list *list, const char *text)
{
    return text ? pare_arena_copy(&list->arena, text, strlen(text)) : NULL;
}

static pare_status copy_metrics(pare_record_list *l, const pare_record *from, pare_record *to)
{
    pare_metric *metrics =
        pare_arena_allocate(&l->arena, (size_t)from->metric_count * sizeof *metrics);
    if (!metrics)
        return PARE_OUT_OF_MEMORY;
    for (int i = 0; i < from->metric_count; i++) {
        const pare_metric *m = &from->metrics[i];
        metrics[i] = *m;
        metrics[i].name = pare_record_list_copy(l, m->name);
        metrics[i].unit = pare_record_list_copy(l, m->unit);
        metrics[i].absent_reason = pare_record_list_copy(l, m->absent_reason);
        metrics[i].samples = NULL;
        if (m->samples && m->sample_count > 0) {
            size_t bytes = (size_t)m->sample_count * sizeof *m->samples;
            double *samples = pare_arena_allocate(&l->arena, bytes);
            if (!samples)
                return PARE_OUT_OF_MEMORY;
            memcpy(samples, m->samples, bytes);
            metrics[i].samples = samples;
        }
        if (!metrics[i].name || !metrics[i].unit)
            return PARE_OUT_OF_MEMORY;
    }
    to->metrics = metrics;
    return PARE_OK;
}

pare_status pare_record_list_keep(void *list, const pare_record *record)
{
    pare_record_list *l = list;
    pare_status status;
    PARE_TRY(pare_grow(&l->records, &l->capacity, l->count + 1, sizeof *l->records, "records"));
    pare_record *to = &l->records[l->count];
    *to = *record;
    to->kind = pare_record_list_copy(l, record->kind);
    to->time = pare_record_list_copy(l, record->time);
    to->failure = pare_record_list_copy(l, record->failure);
    pare_condition *conditions =
        pare_arena_allocate(&l->arena, (size_t)record->condition_count * sizeof *conditions);
    if (!conditions || !to->kind || !to->time || (record->failure && !to->failure))
        return PARE_OUT_OF_MEMORY;
    for (int i = 0; i < record->condition_count; i++) {
        conditions[i] = (pare_condition){pare_record_list_copy(l, record->conditions[i].key),
                                         pare_record_list_copy(l, record->conditions[i].value)};
        if (!conditions[i].key || !conditions[i].value)
            return PARE_OUT_OF_MEMORY;
    }
    to->conditions = conditions;
    PARE_TRY(copy_metrics(l, record, to));
    l->count++;
fail:
    return status;
}

void pare_record_list_free(pare_record_list *list)
{
    pare_arena_free(&list->arena);
    free(list->records);
    *list = (pare_record_list){0};
}
