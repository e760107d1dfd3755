/* Files: mapped for reading, written whole or not at all. */
#ifndef PARE_BASE_FILE_H
#define PARE_BASE_FILE_H

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A read-only mapping of a whole regular file. Starts as {0}; size 0 has data NULL. */
typedef struct pare_mapping {
    const uint8_t *data;
    size_t size;
} pare_mapping;

pare_status pare_map_file(const char *path, pare_mapping *mapping);
void pare_unmap(pare_mapping *mapping);
/* Gives the pages from the one that holds `first` to the last that ends before `last` back to the
 * system: what was read there is needed no more. They are read from the file again should anyone
 * ask. */
void pare_release_mapped(const void *first, const void *last);

/* The whole file in memory, NUL-terminated, freed by the caller. PARE_LIMIT over `limit` bytes. */
pare_status pare_read_file(const char *path, size_t limit, char **data, size_t *size);

/* A line "KEY: 123 kB" of /proc/meminfo or /proc/self/status, in bytes; -1 where there is none. */
double pare_proc_bytes(const char *path, const char *key);

bool pare_is_file(const char *path);
bool pare_is_folder(const char *path);
/* "folder/name", malloc'ed. */
pare_status pare_path_join(const char *folder, const char *name, char **path);

/* An output file that appears under its name only when it is complete: written beside it as
 * "NAME.tmp-PID", synced and renamed by commit, removed by abort. Killed in between, the old file
 * is still there. Starts as {0}. Writes to /dev/stdout ("-") and other non-regular files go
 * straight through. */
typedef struct pare_output {
    FILE *stream;
    char *path, *temporary; /* temporary NULL: written in place */
} pare_output;

pare_status pare_output_open(pare_output *output, const char *path);
pare_status pare_output_write(pare_output *output, const void *data, size_t size);
pare_status pare_output_commit(pare_output *output);
void pare_output_abort(pare_output *output); /* accepts {0}, and does nothing after commit */

#endif
