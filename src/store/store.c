#include "base/buffer.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/memory.h"
#include "store/database.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

pare_status pare_store_failed(const pare_store *store, int code, const char *doing)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return pare_fail(PARE_IO, "%s: %s: another process holds the database (waited %d s)",
                         store->path, doing, PARE_STORE_WAIT_MS / 1000);
    case SQLITE_READONLY:
        return pare_fail(PARE_IO, "%s: %s: the database is read-only", store->path, doing);
    case SQLITE_FULL:
        return pare_fail(PARE_IO, "%s: %s: the disk is full", store->path, doing);
    case SQLITE_CORRUPT:
        return pare_fail(PARE_FORMAT, "%s: %s: the database is damaged (%s)", store->path, doing,
                         sqlite3_errmsg(store->database));
    case SQLITE_NOTADB:
        return pare_fail(PARE_FORMAT, "%s: %s: is not a SQLite database", store->path, doing);
    case SQLITE_NOMEM:
        return pare_fail(PARE_OUT_OF_MEMORY, "%s: %s: out of memory", store->path, doing);
    default:
        return pare_fail(PARE_IO, "%s: %s: %s", store->path, doing,
                         store->database ? sqlite3_errmsg(store->database) : sqlite3_errstr(code));
    }
}

pare_status pare_store_execute(const pare_store *store, const char *sql, const char *doing)
{
    int code = sqlite3_exec(store->database, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? PARE_OK : pare_store_failed(store, code, doing);
}

pare_status pare_store_prepare(const pare_store *store, const char *sql, sqlite3_stmt **statement,
                               const char *doing)
{
    int code = sqlite3_prepare_v2(store->database, sql, -1, statement, NULL);
    return code == SQLITE_OK ? PARE_OK : pare_store_failed(store, code, doing);
}

static pare_status default_path(char **path)
{
    const char *store = getenv("PARE_STORE"), *data = getenv("XDG_DATA_HOME"),
               *home = getenv("HOME");
    pare_buffer buffer = {0};
    if (store && *store)
        pare_buffer_text(&buffer, store);
    else if (data && *data == '/') /* the XDG specification: relative paths are ignored */
        pare_buffer_printf(&buffer, "%s/pare/results.db", data);
    else if (home && *home)
        pare_buffer_printf(&buffer, "%s/.local/share/pare/results.db", home);
    else
        return pare_fail(
            PARE_NOT_FOUND,
            "no place for the results: neither PARE_STORE, XDG_DATA_HOME nor HOME is set");
    *path = pare_buffer_take(&buffer);
    return *path ? PARE_OK : PARE_OUT_OF_MEMORY;
}

static pare_status make_folders(const char *path)
{
    char *copy = strdup(path);
    pare_status status = copy ? PARE_OK : pare_fail_memory(strlen(path) + 1, "a path");
    for (char *slash = copy ? strchr(copy + 1, '/') : NULL; slash && status == PARE_OK;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST && !pare_is_folder(copy))
            status =
                pare_fail(PARE_IO, "%s: the folder cannot be created: %s", copy, strerror(errno));
        *slash = '/';
    }
    free(copy);
    return status;
}

/* A database on a read-only file system: opened as one that nobody changes, since SQLite cannot
 * place its lock files. */
static int open_immutable(pare_store *store)
{
    pare_buffer uri = {0};
    pare_buffer_text(&uri, "file:");
    for (const char *c = store->path; *c; c++) {
        if (isalnum((unsigned char)*c) || strchr("/._-~", *c))
            pare_buffer_append(&uri, c, 1);
        else
            pare_buffer_printf(&uri, "%%%02X", (unsigned char)*c);
    }
    pare_buffer_text(&uri, "?immutable=1");
    char *name = pare_buffer_take(&uri);
    sqlite3_close(store->database);
    store->database = NULL;
    int code =
        name ? sqlite3_open_v2(name, &store->database, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL)
             : SQLITE_NOMEM;
    free(name);
    return code;
}

static pare_status set_up(pare_store *store)
{
    sqlite3_busy_timeout(store->database, PARE_STORE_WAIT_MS);
    pare_status status = pare_store_execute(store, "PRAGMA foreign_keys=ON", "opening");
    if (status == PARE_OK)
        status = pare_store_migrate(store);
    if (status == PARE_OK) /* faster and readers do not block; without it (network file systems) all
                              works the same */
        sqlite3_exec(store->database, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL", NULL,
                     NULL, NULL);
    return status;
}

static bool wants_immutable(const pare_store *store)
{
    int code = sqlite3_errcode(store->database) & 0xff;
    return (code == SQLITE_CANTOPEN || code == SQLITE_READONLY) && pare_is_file(store->path);
}

pare_status pare_store_open(const char *path, pare_store **out)
{
    pare_store *store;
    *out = NULL;
    pare_status status = pare_allocate(1, sizeof *store, "the results database", &store);
    if (status != PARE_OK)
        return status;
    if (path) {
        store->path = strdup(path);
        if (!store->path)
            status = pare_fail_memory(strlen(path) + 1, "a path");
    } else {
        status = default_path(&store->path);
    }
    if (status != PARE_OK)
        goto fail;
    if (pare_is_folder(store->path)) {
        status = pare_fail(PARE_INVALID_ARGUMENT, "%s: is a folder, not a results database",
                           store->path);
        goto fail;
    }
    PARE_TRY(make_folders(store->path));
    int code = sqlite3_open_v2(store->path, &store->database,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    status = code == SQLITE_OK ? set_up(store) : pare_store_failed(store, code, "opening");
    if (status != PARE_OK && wants_immutable(store)) {
        code = open_immutable(store);
        status = code == SQLITE_OK ? set_up(store) : pare_store_failed(store, code, "opening");
    }
    if (status != PARE_OK)
        goto fail;
    *out = store;
    return PARE_OK;
fail:
    pare_store_close(store);
    return status;
}

void pare_store_close(pare_store *store)
{
    if (!store)
        return;
    sqlite3_close(store->database);
    free(store->path);
    free(store);
}

const char *pare_store_path(const pare_store *store)
{
    return store->path;
}
