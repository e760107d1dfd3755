#include "base/cursor.h"

#include "base/fail.h"

#include <string.h>

pare_status pare_cursor_bytes(pare_cursor *cursor, size_t count, const uint8_t **bytes,
                              const char *what)
{
    if (count > cursor->size - cursor->position)
        return pare_fail(PARE_FORMAT, "%s: %s at byte %zu needs %zu bytes, the file has %zu left",
                         cursor->file, what, cursor->position, count,
                         cursor->size - cursor->position);
    *bytes = cursor->data + cursor->position;
    cursor->position += count;
    return PARE_OK;
}

pare_status pare_cursor_skip(pare_cursor *cursor, size_t count, const char *what)
{
    const uint8_t *bytes;
    return pare_cursor_bytes(cursor, count, &bytes, what);
}

/* x86-64 and AArch64 Linux are little-endian, as the files are. */
#define READ(name, type)                                                                           \
    pare_status pare_cursor_##name(pare_cursor *cursor, type *value, const char *what)             \
    {                                                                                              \
        const uint8_t *bytes = NULL;                                                               \
        pare_status status = pare_cursor_bytes(cursor, sizeof *value, &bytes, what);               \
        if (status == PARE_OK)                                                                     \
            memcpy(value, bytes, sizeof *value);                                                   \
        return status;                                                                             \
    }
READ(u8, uint8_t)
READ(u16, uint16_t)
READ(u32, uint32_t)
READ(u64, uint64_t)
