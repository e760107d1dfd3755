/* What the files of src/store share. */
#ifndef PARE_STORE_DATABASE_H
#define PARE_STORE_DATABASE_H

#include <pare/store.h>
#include <sqlite3.h>

enum { PARE_STORE_WAIT_MS = 10000 }; /* for another process to let go of the database */

struct pare_store {
    char *path;
    sqlite3 *database;
};

/* Turns SQLite's last error into a status and a message that names the file. `doing`: "adding a
 * record". */
pare_status pare_store_failed(const pare_store *store, int code, const char *doing);

/* One statement without results. */
pare_status pare_store_execute(const pare_store *store, const char *sql, const char *doing);
pare_status pare_store_prepare(const pare_store *store, const char *sql, sqlite3_stmt **statement,
                               const char *doing);

/* Brings the schema up to date; refuses foreign and newer databases. schema.c */
pare_status pare_store_migrate(pare_store *store);

#endif
