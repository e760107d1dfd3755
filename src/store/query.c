#include "base/buffer.h"
#include "base/fail.h"
#include "base/memory.h"
#include "store/database.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A record being read: everything lives in the arena. */
typedef struct loader {
    pare_store *store;
    sqlite3_stmt *run, *conditions, *metrics, *samples;
    pare_arena arena;
    pare_record record;
    sqlite3_int64 configuration;
} loader;

static const char *text_of(loader *l, sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? pare_arena_copy(&l->arena, text, (size_t)sqlite3_column_bytes(statement, column))
                : NULL;
}

/* Columns 0.. of the run; PARE_NOT_FOUND where it was deleted meanwhile. */
static pare_status load_run(loader *l, sqlite3_int64 id)
{
    sqlite3_reset(l->run);
    sqlite3_bind_int64(l->run, 1, id);
    int code = sqlite3_step(l->run);
    if (code != SQLITE_ROW)
        return code == SQLITE_DONE ? PARE_NOT_FOUND
                                   : pare_store_failed(l->store, code, "reading a record");
    l->record = (pare_record){.id = id};
    l->record.kind = text_of(l, l->run, 0);
    l->record.time = text_of(l, l->run, 1);
    l->record.failure = text_of(l, l->run, 2);
    l->configuration = sqlite3_column_int64(l->run, 3);
    return l->record.kind && l->record.time ? PARE_OK : PARE_OUT_OF_MEMORY;
}

static pare_status load_conditions(loader *l)
{
    pare_condition *conditions = NULL;
    size_t capacity = 0;
    int code, count = 0;
    pare_status status = PARE_OK;
    sqlite3_reset(l->conditions);
    sqlite3_bind_int64(l->conditions, 1, l->configuration);
    while (status == PARE_OK && (code = sqlite3_step(l->conditions)) == SQLITE_ROW) {
        status =
            pare_grow(&conditions, &capacity, (size_t)count + 1, sizeof *conditions, "conditions");
        if (status != PARE_OK)
            break;
        conditions[count] =
            (pare_condition){text_of(l, l->conditions, 0), text_of(l, l->conditions, 1)};
        if (!conditions[count].key || !conditions[count].value)
            status = PARE_OUT_OF_MEMORY;
        count++;
    }
    if (status == PARE_OK && code != SQLITE_DONE)
        status = pare_store_failed(l->store, code, "reading a record");
    l->record.conditions = conditions;
    l->record.condition_count = count;
    return status;
}

static pare_status load_samples(loader *l, sqlite3_int64 metric, pare_metric *to)
{
    int code;
    int64_t count = 0, n = to->sample_count;
    double *samples = pare_arena_allocate(&l->arena, (size_t)n * sizeof *samples);
    if (!samples)
        return PARE_OUT_OF_MEMORY;
    for (int64_t i = 0; i < n; i++)
        samples[i] = NAN; /* what was not finite has no row */
    sqlite3_reset(l->samples);
    sqlite3_bind_int64(l->samples, 1, metric);
    while ((code = sqlite3_step(l->samples)) == SQLITE_ROW) {
        int64_t position = sqlite3_column_int64(l->samples, 0);
        if (position >= 0 && position < n) {
            samples[position] = sqlite3_column_double(l->samples, 1);
            count++;
        }
    }
    if (code != SQLITE_DONE)
        return pare_store_failed(l->store, code, "reading samples");
    to->samples = count ? samples : NULL; /* a count without samples: they were not given */
    return PARE_OK;
}

static double real_or(sqlite3_stmt *statement, int column, double otherwise)
{
    return sqlite3_column_type(statement, column) == SQLITE_NULL
               ? otherwise
               : sqlite3_column_double(statement, column);
}

static pare_status load_metrics(loader *l, bool with_samples)
{
    pare_metric *metrics = NULL;
    size_t capacity = 0;
    int code, count = 0;
    pare_status status = PARE_OK;
    sqlite3_reset(l->metrics);
    sqlite3_bind_int64(l->metrics, 1, l->record.id);
    while (status == PARE_OK && (code = sqlite3_step(l->metrics)) == SQLITE_ROW) {
        status = pare_grow(&metrics, &capacity, (size_t)count + 1, sizeof *metrics, "metrics");
        if (status != PARE_OK)
            break;
        pare_metric *metric = &metrics[count++];
        *metric =
            (pare_metric){.name = text_of(l, l->metrics, 1), .unit = text_of(l, l->metrics, 2)};
        double value = real_or(l->metrics, 3, NAN);
        metric->measure = (pare_measure){value, real_or(l->metrics, 4, value),
                                         real_or(l->metrics, 5, value), false};
        metric->measure.absent = sqlite3_column_type(l->metrics, 3) == SQLITE_NULL;
        metric->sample_count = sqlite3_column_int64(l->metrics, 6);
        metric->absent_reason = text_of(l, l->metrics, 7);
        if (!metric->name || !metric->unit)
            status = PARE_OUT_OF_MEMORY;
        else if (with_samples && metric->sample_count > 0)
            status = load_samples(l, sqlite3_column_int64(l->metrics, 0), metric);
    }
    if (status == PARE_OK && code != SQLITE_DONE)
        status = pare_store_failed(l->store, code, "reading a record");
    l->record.metrics = metrics;
    l->record.metric_count = count;
    return status;
}

static void unload(loader *l)
{
    free((void *)l->record.conditions);
    free((void *)l->record.metrics);
    l->record = (pare_record){0};
    pare_arena_free(&l->arena);
}

static pare_status start_loader(loader *l)
{
    pare_status status;
    PARE_TRY(pare_store_prepare(l->store,
                                "SELECT kind, time, failure, configuration FROM runs WHERE id=?",
                                &l->run, "reading"));
    PARE_TRY(pare_store_prepare(
        l->store, "SELECT key, value FROM conditions WHERE configuration=? ORDER BY key",
        &l->conditions, "reading"));
    PARE_TRY(pare_store_prepare(
        l->store,
        "SELECT id, name, unit, value, ci_low, ci_high, n, absent FROM metrics WHERE run=? "
        "ORDER BY position",
        &l->metrics, "reading"));
    PARE_TRY(pare_store_prepare(
        l->store, "SELECT position, value FROM samples WHERE metric=? ORDER BY position",
        &l->samples, "reading"));
fail:
    return status;
}

static void end_loader(loader *l)
{
    unload(l);
    sqlite3_finalize(l->run);
    sqlite3_finalize(l->conditions);
    sqlite3_finalize(l->metrics);
    sqlite3_finalize(l->samples);
}

/* Only placeholders enter the text: values are bound. */
static char *filter_sql(const pare_filter *filter)
{
    pare_buffer sql = {0};
    pare_buffer_text(&sql, "SELECT id FROM runs r WHERE 1");
    if (filter->kind)
        pare_buffer_text(&sql, " AND r.kind=?");
    if (filter->since)
        pare_buffer_text(&sql, " AND r.time>=?");
    if (filter->metric)
        pare_buffer_text(&sql,
                         " AND EXISTS (SELECT 1 FROM metrics m WHERE m.run=r.id AND m.name=?)");
    for (int i = 0; i < filter->condition_count; i++)
        pare_buffer_printf(&sql,
                           " AND EXISTS (SELECT 1 FROM conditions c WHERE "
                           "c.configuration=r.configuration AND c.key=?%s)",
                           filter->conditions[i].value ? " AND c.value=?" : "");
    pare_buffer_text(&sql, " ORDER BY r.id DESC");
    if (filter->last > 0)
        pare_buffer_text(&sql, " LIMIT ?");
    return pare_buffer_take(&sql);
}

static void bind_filter(sqlite3_stmt *statement, const pare_filter *filter)
{
    int at = 1;
    const char *const fixed[] = {filter->kind, filter->since, filter->metric};
    for (int i = 0; i < 3; i++)
        if (fixed[i])
            sqlite3_bind_text(statement, at++, fixed[i], -1, SQLITE_TRANSIENT);
    for (int i = 0; i < filter->condition_count; i++) {
        sqlite3_bind_text(statement, at++, filter->conditions[i].key, -1, SQLITE_TRANSIENT);
        if (filter->conditions[i].value)
            sqlite3_bind_text(statement, at++, filter->conditions[i].value, -1, SQLITE_TRANSIENT);
    }
    if (filter->last > 0)
        sqlite3_bind_int64(statement, at, filter->last);
}

/* Ids, newest first. They are collected before anything is called back, so that `each` may use the
 * store. */
static pare_status find_ids(pare_store *store, const pare_filter *filter, sqlite3_int64 **ids,
                            size_t *count)
{
    static const pare_filter everything = {0};
    sqlite3_stmt *statement = NULL;
    size_t capacity = 0;
    int code;
    filter = filter ? filter : &everything;
    char *sql = filter_sql(filter);
    if (!sql)
        return PARE_OUT_OF_MEMORY;
    pare_status status = pare_store_prepare(store, sql, &statement, "searching");
    free(sql);
    if (status != PARE_OK)
        return status;
    bind_filter(statement, filter);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        status = pare_grow(ids, &capacity, *count + 1, sizeof **ids, "records found");
        if (status != PARE_OK)
            break;
        (*ids)[(*count)++] = sqlite3_column_int64(statement, 0);
    }
    if (status == PARE_OK && code != SQLITE_DONE)
        status = pare_store_failed(store, code, "searching");
    sqlite3_finalize(statement);
    return status;
}

pare_status pare_store_query(pare_store *store, const pare_filter *filter, bool with_samples,
                             pare_status (*each)(void *user, const pare_record *record), void *user)
{
    loader l = {.store = store};
    sqlite3_int64 *ids = NULL;
    size_t count = 0;
    pare_status status = find_ids(store, filter, &ids, &count);
    if (status == PARE_OK)
        status = start_loader(&l);
    while (status == PARE_OK && count > 0) {
        status = load_run(&l, ids[--count]);
        if (status == PARE_NOT_FOUND) {
            status = PARE_OK;
            continue;
        }
        if (status == PARE_OK)
            status = load_conditions(&l);
        if (status == PARE_OK)
            status = load_metrics(&l, with_samples);
        /* No statement may stay in the middle of its rows: it would hold a read lock during the
         * call. */
        sqlite3_reset(l.run);
        sqlite3_reset(l.conditions);
        sqlite3_reset(l.metrics);
        sqlite3_reset(l.samples);
        if (status == PARE_OK)
            status = each(user, &l.record);
        unload(&l);
    }
    end_loader(&l);
    free(ids);
    return status;
}
