/* A hash index from names to numbers: open addressing, no deletion. The names are borrowed. */
#ifndef PARE_FORMATS_INDEX_H
#define PARE_FORMATS_INDEX_H

#include <pare/error.h>
#include <stddef.h>

struct pare_name_slot;

/* Starts as {0}. */
typedef struct pare_name_index {
    struct pare_name_slot *slots;
    size_t capacity, count;
} pare_name_index;

enum { PARE_NAME_NONE = -1 };

/* *present is the value that `name` already has (which stays), or PARE_NAME_NONE where it was added
 * now. */
pare_status pare_name_index_add(pare_name_index *index, const char *name, size_t value,
                                ptrdiff_t *present);
/* PARE_NAME_NONE where there is none. */
ptrdiff_t pare_name_index_find(const pare_name_index *index, const char *name);
void pare_name_index_free(pare_name_index *index);

#endif
