#include <pare/eval.h>

#include "base/buffer.h"
#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

pare_status pare_eval_join_wikitext(const char *text, size_t length, char **joined,
                                    size_t *joined_length)
{
    pare_buffer buffer = {0};
    *joined = NULL;
    *joined_length = 0;
    for (size_t start = 0; start < length;) {
        const char *newline = memchr(text + start, '\n', length - start);
        size_t end = newline ? (size_t)(newline - text) + 1 : length; /* behind the newline */
        bool empty = newline && end - start == 2 && text[start] == ' ';
        if (start > 0)
            pare_buffer_text(&buffer, "\n\n");
        if (!empty)
            pare_buffer_append(&buffer, text + start, end - start);
        start = end;
    }
    size_t size = buffer.size;
    char *data = length ? pare_buffer_take(&buffer) : calloc(1, 1);
    if (!data) {
        pare_buffer_free(&buffer);
        return pare_fail_memory(length, "a text");
    }
    *joined = data;
    *joined_length = size;
    return PARE_OK;
}
