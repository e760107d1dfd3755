#include "base/buffer.h"

#include "base/checked.h"
#include "base/fail.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_status reserve(pare_buffer *buffer, size_t more)
{
    size_t needed;
    if (buffer->failed)
        return PARE_OUT_OF_MEMORY;
    if (!pare_add_size(buffer->size, more, &needed) || !pare_add_size(needed, 1, &needed) ||
        pare_grow(&buffer->data, &buffer->capacity, needed, 1, "a buffer") != PARE_OK) {
        buffer->failed = true;
        return PARE_OUT_OF_MEMORY;
    }
    return PARE_OK;
}

pare_status pare_buffer_append(pare_buffer *buffer, const void *bytes, size_t count)
{
    if (reserve(buffer, count) != PARE_OK)
        return PARE_OUT_OF_MEMORY;
    if (count)
        memcpy(buffer->data + buffer->size, bytes, count);
    buffer->size += count;
    buffer->data[buffer->size] = 0;
    return PARE_OK;
}

pare_status pare_buffer_text(pare_buffer *buffer, const char *text)
{
    return pare_buffer_append(buffer, text, strlen(text));
}

pare_status pare_buffer_printf(pare_buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || reserve(buffer, (size_t)length) != PARE_OK) {
        buffer->failed = true;
        return PARE_OUT_OF_MEMORY;
    }
    va_start(arguments, format);
    vsnprintf(buffer->data + buffer->size, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->size += (size_t)length;
    return PARE_OK;
}

char *pare_buffer_take(pare_buffer *buffer)
{
    if (!buffer->data && !buffer->failed)
        pare_buffer_append(buffer, "", 0);
    char *data = buffer->failed ? NULL : buffer->data;
    if (!data)
        free(buffer->data);
    *buffer = (pare_buffer){0};
    return data;
}

void pare_buffer_free(pare_buffer *buffer)
{
    free(buffer->data);
    *buffer = (pare_buffer){0};
}
