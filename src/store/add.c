#include "base/fail.h"
#include "base/hash.h"
#include "base/memory.h"
#include "store/database.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void now_utc(char text[32])
{
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

/* Runs a statement that gives no row, and resets it for the next use. */
static pare_status step(pare_store *store, sqlite3_stmt *statement, const char *doing)
{
    int code = sqlite3_step(statement);
    pare_status status = code == SQLITE_DONE ? PARE_OK : pare_store_failed(store, code, doing);
    sqlite3_reset(statement);
    return status;
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    if (text)
        sqlite3_bind_text(statement, at, text, -1, SQLITE_TRANSIENT);
    else
        sqlite3_bind_null(statement, at);
}

static void bind_real(sqlite3_stmt *statement, int at, double value)
{
    if (isfinite(value))
        sqlite3_bind_double(statement, at, value);
    else
        sqlite3_bind_null(statement, at);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const pare_condition *)a)->key, ((const pare_condition *)b)->key);
}

/* The same conditions in any order have the same digest. */
static pare_status digest(const pare_condition *sorted, int count, char hex[65])
{
    pare_sha256 hash;
    pare_status status = pare_sha256_begin(&hash);
    for (int i = 0; status == PARE_OK && i < count; i++) {
        status = pare_sha256_add(&hash, sorted[i].key, strlen(sorted[i].key) + 1);
        if (status == PARE_OK)
            status = pare_sha256_add(&hash, sorted[i].value, strlen(sorted[i].value) + 1);
    }
    return status == PARE_OK ? pare_sha256_end(&hash, hex) : status;
}

static pare_status sort_conditions(const pare_record *record, pare_condition **out)
{
    pare_condition *sorted;
    pare_status status =
        pare_allocate((size_t)record->condition_count, sizeof *sorted, "conditions", &sorted);
    if (status != PARE_OK)
        return status;
    if (record->condition_count)
        memcpy(sorted, record->conditions, (size_t)record->condition_count * sizeof *sorted);
    for (int i = 0; i < record->condition_count; i++)
        if (!sorted[i].key || !sorted[i].value) {
            status = pare_fail(PARE_INVALID_ARGUMENT, "condition '%s' of a record has no value",
                               sorted[i].key ? sorted[i].key : "?");
            free(sorted);
            return status;
        }
    qsort(sorted, (size_t)record->condition_count, sizeof *sorted, by_key);
    for (int i = 1; i < record->condition_count; i++)
        if (strcmp(sorted[i - 1].key, sorted[i].key) == 0) {
            status = pare_fail(PARE_INVALID_ARGUMENT, "condition '%s' of a record occurs twice",
                               sorted[i].key);
            free(sorted);
            return status;
        }
    *out = sorted;
    return PARE_OK;
}

static pare_status find_configuration(pare_store *store, const char *hex, sqlite3_int64 *id)
{
    sqlite3_stmt *statement;
    pare_status status = pare_store_prepare(store, "SELECT id FROM configurations WHERE digest=?",
                                            &statement, "adding a record");
    if (status != PARE_OK)
        return status;
    bind_text(statement, 1, hex);
    int code = sqlite3_step(statement);
    *id = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        status = pare_store_failed(store, code, "adding a record");
    sqlite3_finalize(statement);
    return status;
}

static pare_status put_configuration(pare_store *store, const pare_record *record,
                                     sqlite3_int64 *id)
{
    sqlite3_stmt *statement = NULL;
    pare_condition *sorted = NULL;
    char hex[65];
    pare_status status;
    PARE_TRY(sort_conditions(record, &sorted));
    PARE_TRY(digest(sorted, record->condition_count, hex));
    PARE_TRY(find_configuration(store, hex, id));
    if (*id)
        goto fail;
    PARE_TRY(pare_store_prepare(store, "INSERT INTO configurations(digest) VALUES (?)", &statement,
                                "adding a record"));
    bind_text(statement, 1, hex);
    PARE_TRY(step(store, statement, "adding a configuration"));
    *id = sqlite3_last_insert_rowid(store->database);
    sqlite3_finalize(statement);
    statement = NULL;
    PARE_TRY(pare_store_prepare(
        store, "INSERT INTO conditions(configuration, key, value) VALUES (?, ?, ?)", &statement,
        "adding a record"));
    for (int i = 0; i < record->condition_count; i++) {
        sqlite3_bind_int64(statement, 1, *id);
        bind_text(statement, 2, sorted[i].key);
        bind_text(statement, 3, sorted[i].value);
        PARE_TRY(step(store, statement, "adding a condition"));
    }
fail:
    sqlite3_finalize(statement);
    free(sorted);
    return status;
}

static pare_status put_samples(pare_store *store, sqlite3_stmt *statement,
                               const pare_metric *metric)
{
    sqlite3_int64 id = sqlite3_last_insert_rowid(store->database);
    pare_status status = PARE_OK;
    for (int64_t i = 0; status == PARE_OK && metric->samples && i < metric->sample_count; i++) {
        if (!isfinite(metric->samples[i]))
            continue; /* its position stays empty */
        sqlite3_bind_int64(statement, 1, id);
        sqlite3_bind_int64(statement, 2, i);
        sqlite3_bind_double(statement, 3, metric->samples[i]);
        status = step(store, statement, "adding a sample");
    }
    return status;
}

static pare_status put_metrics(pare_store *store, const pare_record *record, sqlite3_int64 run)
{
    sqlite3_stmt *metric_statement = NULL, *sample_statement = NULL;
    pare_status status;
    PARE_TRY(pare_store_prepare(
        store,
        "INSERT INTO metrics(run, position, name, unit, value, ci_low, ci_high, n, absent) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        &metric_statement, "adding a record"));
    PARE_TRY(pare_store_prepare(store,
                                "INSERT INTO samples(metric, position, value) VALUES (?, ?, ?)",
                                &sample_statement, "adding a record"));
    for (int i = 0; i < record->metric_count; i++) {
        const pare_metric *metric = &record->metrics[i];
        bool absent = metric->measure.absent || !isfinite(metric->measure.value);
        const char *reason = metric->absent_reason    ? metric->absent_reason
                             : metric->measure.absent ? "not measured"
                                                      : "not a finite number";
        sqlite3_bind_int64(metric_statement, 1, run);
        sqlite3_bind_int64(metric_statement, 2, i);
        bind_text(metric_statement, 3, metric->name);
        bind_text(metric_statement, 4, metric->unit ? metric->unit : "");
        bind_real(metric_statement, 5, absent ? NAN : metric->measure.value);
        bind_real(metric_statement, 6, absent ? NAN : metric->measure.low);
        bind_real(metric_statement, 7, absent ? NAN : metric->measure.high);
        sqlite3_bind_int64(metric_statement, 8, metric->sample_count);
        bind_text(metric_statement, 9, absent ? reason : NULL);
        PARE_TRY(step(store, metric_statement, metric->name));
        PARE_TRY(put_samples(store, sample_statement, metric));
    }
fail:
    sqlite3_finalize(metric_statement);
    sqlite3_finalize(sample_statement);
    return status;
}

static pare_status put_run(pare_store *store, const pare_record *record,
                           sqlite3_int64 configuration)
{
    sqlite3_stmt *statement;
    char now[32];
    now_utc(now);
    pare_status status = pare_store_prepare(
        store,
        "INSERT INTO runs(kind, time, configuration, status, failure) VALUES (?, ?, ?, ?, ?)",
        &statement, "adding a record");
    if (status != PARE_OK)
        return status;
    bind_text(statement, 1, record->kind);
    bind_text(statement, 2, record->time ? record->time : now);
    sqlite3_bind_int64(statement, 3, configuration);
    bind_text(statement, 4, record->failure ? "failed" : "ok");
    bind_text(statement, 5, record->failure);
    status = step(store, statement, "adding a record");
    sqlite3_finalize(statement);
    return status;
}

static void roll_back(pare_store *store)
{
    if (!sqlite3_get_autocommit(store->database))
        sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
}

pare_status pare_store_add(pare_store *store, const pare_record *record, int64_t *id)
{
    sqlite3_int64 configuration, run = 0;
    if (!record->kind)
        return pare_fail(PARE_INVALID_ARGUMENT, "a record needs a kind");
    pare_status status = pare_store_execute(store, "BEGIN IMMEDIATE", "adding a record");
    if (status != PARE_OK)
        return status;
    PARE_TRY(put_configuration(store, record, &configuration));
    PARE_TRY(put_run(store, record, configuration));
    run = sqlite3_last_insert_rowid(store->database);
    PARE_TRY(put_metrics(store, record, run));
    PARE_TRY(pare_store_execute(store, "COMMIT", "adding a record"));
    if (id)
        *id = run;
    return PARE_OK;
fail:
    roll_back(store);
    return status;
}

pare_status pare_store_put_machine(pare_store *store, const char *fingerprint,
                                   const char *facts_json)
{
    sqlite3_stmt *statement;
    char now[32];
    now_utc(now);
    pare_status status =
        pare_store_prepare(store,
                           "INSERT INTO machines(fingerprint, facts, time) VALUES (?, ?, ?) "
                           "ON CONFLICT(fingerprint) DO UPDATE SET facts=excluded.facts, "
                           "time=excluded.time",
                           &statement, "adding a machine");
    if (status != PARE_OK)
        return status;
    bind_text(statement, 1, fingerprint);
    bind_text(statement, 2, facts_json);
    bind_text(statement, 3, now);
    status = step(store, statement, "adding a machine");
    sqlite3_finalize(statement);
    return status;
}

pare_status pare_store_get_machine(pare_store *store, const char *fingerprint, char **facts_json)
{
    sqlite3_stmt *statement;
    *facts_json = NULL;
    pare_status status = pare_store_prepare(store, "SELECT facts FROM machines WHERE fingerprint=?",
                                            &statement, "reading a machine");
    if (status != PARE_OK)
        return status;
    bind_text(statement, 1, fingerprint);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        *facts_json = strdup((const char *)sqlite3_column_text(statement, 0));
        if (!*facts_json)
            status = pare_fail_memory(0, "facts about a machine");
    } else if (code == SQLITE_DONE) {
        status = pare_fail(PARE_NOT_FOUND, "%s: machine %s is not known", store->path, fingerprint);
    } else {
        status = pare_store_failed(store, code, "reading a machine");
    }
    sqlite3_finalize(statement);
    return status;
}
