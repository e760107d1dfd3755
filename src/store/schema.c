/* The schema and how it came to be: docs/store.md. */
#include "store/database.h"

#include "base/fail.h"

#include <stdio.h>

enum { APPLICATION_ID = 0x50415245 }; /* "PARE" */

/* Step i brings version i to i + 1. A released step is never changed: a new one is added. */
static const char *const steps[] = {
    "CREATE TABLE machines (\n"
    "    fingerprint TEXT PRIMARY KEY,\n"
    "    facts TEXT NOT NULL,\n"
    "    time TEXT NOT NULL\n"
    ") WITHOUT ROWID;\n"
    "CREATE TABLE configurations (\n"
    "    id INTEGER PRIMARY KEY,\n"
    "    digest TEXT NOT NULL UNIQUE\n"
    ");\n"
    "CREATE TABLE conditions (\n"
    "    configuration INTEGER NOT NULL REFERENCES configurations(id) ON DELETE CASCADE,\n"
    "    key TEXT NOT NULL,\n"
    "    value TEXT NOT NULL,\n"
    "    PRIMARY KEY (configuration, key)\n"
    ") WITHOUT ROWID;\n"
    "CREATE INDEX conditions_by_key ON conditions(key, value);\n"
    "CREATE TABLE runs (\n"
    "    id INTEGER PRIMARY KEY AUTOINCREMENT,\n"
    "    kind TEXT NOT NULL,\n"
    "    time TEXT NOT NULL,\n"
    "    configuration INTEGER NOT NULL REFERENCES configurations(id),\n"
    "    status TEXT NOT NULL CHECK (status IN ('ok', 'failed')),\n"
    "    failure TEXT,\n"
    "    CHECK ((status = 'failed') = (failure IS NOT NULL))\n"
    ");\n"
    "CREATE INDEX runs_by_kind ON runs(kind, time);\n"
    "CREATE INDEX runs_by_configuration ON runs(configuration);\n"
    "CREATE TABLE metrics (\n"
    "    id INTEGER PRIMARY KEY,\n"
    "    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,\n"
    "    position INTEGER NOT NULL,\n"
    "    name TEXT NOT NULL,\n"
    "    unit TEXT NOT NULL,\n"
    "    value REAL,\n"
    "    ci_low REAL,\n"
    "    ci_high REAL,\n"
    "    n INTEGER NOT NULL,\n"
    "    absent TEXT,\n"
    "    UNIQUE (run, name),\n"
    "    CHECK ((value IS NULL) = (absent IS NOT NULL))\n"
    ");\n"
    "CREATE TABLE samples (\n"
    "    metric INTEGER NOT NULL REFERENCES metrics(id) ON DELETE CASCADE,\n"
    "    position INTEGER NOT NULL,\n"
    "    value REAL NOT NULL,\n"
    "    PRIMARY KEY (metric, position)\n"
    ") WITHOUT ROWID;\n"
    /* For people with a SQL prompt. */
    "CREATE VIEW models AS\n"
    "    SELECT value AS hash,\n"
    "           (SELECT value FROM conditions m WHERE m.configuration = c.configuration AND m.key "
    "= 'model') AS model,\n"
    "           (SELECT value FROM conditions f WHERE f.configuration = c.configuration AND f.key "
    "= 'format') AS format,\n"
    "           count(*) AS configurations\n"
    "    FROM conditions c WHERE key = 'model_hash' GROUP BY value;\n"
    "CREATE VIEW results AS\n"
    "    SELECT r.id AS run, r.kind, r.time, r.status, r.failure,\n"
    "           (SELECT value FROM conditions c WHERE c.configuration = r.configuration AND c.key "
    "= 'model') AS model,\n"
    "           m.name, m.value, m.ci_low, m.ci_high, m.n, m.unit, m.absent\n"
    "    FROM runs r LEFT JOIN metrics m ON m.run = r.id;\n"
    "CREATE VIEW evaluations AS\n"
    "    SELECT r.id AS run, r.time,\n"
    "           max(CASE c.key WHEN 'model' THEN c.value END) AS model,\n"
    "           max(CASE c.key WHEN 'against' THEN c.value END) AS against,\n"
    "           max(CASE c.key WHEN 'text' THEN c.value END) AS text,\n"
    "           max(CASE c.key WHEN 'protocol' THEN c.value END) AS protocol,\n"
    "           max(CASE c.key WHEN 'context' THEN c.value END) AS context,\n"
    "           (SELECT value FROM metrics m WHERE m.run = r.id AND m.name = 'perplexity') AS "
    "perplexity,\n"
    "           (SELECT value FROM metrics m WHERE m.run = r.id AND m.name = 'kld_mean') AS "
    "kld_mean,\n"
    "           (SELECT value FROM metrics m WHERE m.run = r.id AND m.name = 'top1') AS top1\n"
    "    FROM runs r JOIN conditions c ON c.configuration = r.configuration WHERE r.kind = 'eval' "
    "GROUP BY r.id;\n",
};
enum { VERSION = sizeof steps / sizeof *steps };

static pare_status read_number(const pare_store *store, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement;
    pare_status status = pare_store_prepare(store, sql, &statement, "opening");
    if (status != PARE_OK)
        return status;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    else
        status = pare_store_failed(store, code, "opening");
    sqlite3_finalize(statement);
    return status;
}

static pare_status read_version(const pare_store *store, int64_t *version)
{
    int64_t application, tables;
    pare_status status = read_number(store, "PRAGMA application_id", &application);
    if (status == PARE_OK)
        status = read_number(store, "PRAGMA user_version", version);
    if (status == PARE_OK)
        status = read_number(store, "SELECT count(*) FROM sqlite_schema", &tables);
    if (status != PARE_OK)
        return status;
    if (application != APPLICATION_ID && (application != 0 || *version != 0 || tables != 0))
        return pare_fail(PARE_FORMAT, "%s: is a database of another program", store->path);
    if (*version > VERSION || *version < 0)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: has schema version %lld, this Pare knows up to %d: use a newer Pare",
                         store->path, (long long)*version, (int)VERSION);
    return PARE_OK;
}

pare_status pare_store_migrate(pare_store *store)
{
    int64_t version;
    pare_status status = read_version(store, &version);
    if (status != PARE_OK || version == VERSION)
        return status;
    /* Another process may be migrating too: what counts is the version seen while we hold the lock.
     */
    status = pare_store_execute(store, "BEGIN IMMEDIATE", "preparing the schema");
    if (status != PARE_OK)
        return status;
    status = read_version(store, &version);
    for (int64_t i = version; status == PARE_OK && i < VERSION; i++)
        status = pare_store_execute(store, steps[i], "preparing the schema");
    if (status == PARE_OK) {
        char sql[96];
        snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d",
                 (int)APPLICATION_ID, (int)VERSION);
        status = pare_store_execute(store, sql, "preparing the schema");
    }
    if (status == PARE_OK)
        status = pare_store_execute(store, "COMMIT", "preparing the schema");
    if (status != PARE_OK && !sqlite3_get_autocommit(store->database))
        sqlite3_exec(store->database, "ROLLBACK", NULL, NULL,
                     NULL); /* the first failure is the one to tell */
    return status;
}
