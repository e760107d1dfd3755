/* A growing byte buffer, also used as a string builder: `data` is always NUL-terminated once
 * something was appended. */
#ifndef PARE_BASE_BUFFER_H
#define PARE_BASE_BUFFER_H

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>

/* Starts as {0}. After a failed append `failed` stays set and later appends do nothing, so a long
 * series of appends needs one check at its end. */
typedef struct pare_buffer {
    char *data;
    size_t size, capacity;
    bool failed;
} pare_buffer;

pare_status pare_buffer_append(pare_buffer *buffer, const void *bytes, size_t count);
pare_status pare_buffer_text(pare_buffer *buffer, const char *text);
__attribute__((format(printf, 2, 3))) pare_status pare_buffer_printf(pare_buffer *buffer,
                                                                     const char *format, ...);
/* The data (never NULL on success), which the caller frees; the buffer is {0} afterwards. NULL
 * where an append failed. */
char *pare_buffer_take(pare_buffer *buffer);
void pare_buffer_free(pare_buffer *buffer);

#endif
