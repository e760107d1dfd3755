/* The results database: every measured result is written here once, and everything later reads only
 * from here. The schema is documented in docs/store.md. */
#ifndef PARE_STORE_H
#define PARE_STORE_H

#include <pare/error.h>
#include <pare/record.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct pare_store pare_store;

/* Opens or creates the database and brings its schema up to date. path NULL: $PARE_STORE, or
 * $XDG_DATA_HOME/pare/results.db, or ~/.local/share/pare/results.db (folders are created). A
 * locked, read-only, foreign or newer database is an error that says which. One thread at a time.
 */
pare_status pare_store_open(const char *path, pare_store **out);
void pare_store_close(pare_store *store); /* accepts NULL */
const char *pare_store_path(const pare_store *store);

/* Adds a record in one transaction; *id (may be NULL) is its number. */
pare_status pare_store_add(pare_store *store, const pare_record *record, int64_t *id);

/* Keeps what is known about a machine under its fingerprint (pare/hw.h), replacing what was there;
 * records name it in their condition "machine_id". facts_json of get is malloc'ed; PARE_NOT_FOUND
 * where the fingerprint is unknown. */
pare_status pare_store_put_machine(pare_store *store, const char *fingerprint,
                                   const char *facts_json);
pare_status pare_store_get_machine(pare_store *store, const char *fingerprint, char **facts_json);

/* Which records are wanted; NULL and 0 leave a field free. Oldest first. */
typedef struct pare_filter {
    const char *kind;
    const pare_condition
        *conditions; /* all must be equal; a value of NULL asks only that the key is there */
    int condition_count;
    const char *metric; /* only records that have it */
    const char *since;  /* UTC time */
    int64_t last;       /* only the newest so many */
} pare_filter;

/* Calls `each` for every record; what it gets is valid during the call. Samples are loaded only
 * where with_samples. `each` returns PARE_OK to go on; another status ends the walk and is
 * returned. */
pare_status pare_store_query(pare_store *store, const pare_filter *filter, bool with_samples,
                             pare_status (*each)(void *user, const pare_record *record),
                             void *user);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
