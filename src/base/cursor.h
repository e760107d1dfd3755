/* Reading binary data without reading past its end: little-endian numbers, runs of bytes. */
#ifndef PARE_BASE_CURSOR_H
#define PARE_BASE_CURSOR_H

#include <pare/error.h>
#include <stddef.h>
#include <stdint.h>

/* `file` is for messages. Reads advance `position`; on failure it stays, and the message names
 * file, byte and `what`. */
typedef struct pare_cursor {
    const uint8_t *data;
    size_t size, position;
    const char *file;
} pare_cursor;

pare_status pare_cursor_bytes(pare_cursor *cursor, size_t count, const uint8_t **bytes,
                              const char *what);
pare_status pare_cursor_skip(pare_cursor *cursor, size_t count, const char *what);
pare_status pare_cursor_u8(pare_cursor *cursor, uint8_t *value, const char *what);
pare_status pare_cursor_u16(pare_cursor *cursor, uint16_t *value, const char *what);
pare_status pare_cursor_u32(pare_cursor *cursor, uint32_t *value, const char *what);
pare_status pare_cursor_u64(pare_cursor *cursor, uint64_t *value, const char *what);

#endif
