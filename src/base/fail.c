#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 1024 };
static _Thread_local char message[MESSAGE_BYTES];

const char *pare_status_name(pare_status status)
{
    static const char *const names[] = {
#define X(name, text) #name,
        PARE_STATUS_LIST(X)
#undef X
    };
    return (size_t)status < sizeof names / sizeof *names ? names[status] : "UNKNOWN";
}

const char *pare_status_text(pare_status status)
{
    static const char *const texts[] = {
#define X(name, text) text,
        PARE_STATUS_LIST(X)
#undef X
    };
    return (size_t)status < sizeof texts / sizeof *texts ? texts[status] : "unknown status";
}

const char *pare_error_message(void)
{
    return message;
}

/* Messages quote names from files: control characters would break the one-line promise (and
 * terminals). */
static void make_one_line(void)
{
    for (unsigned char *c = (unsigned char *)message; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

void pare_set_message(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[MESSAGE_BYTES]; /* the arguments may point into `message` */
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof text);
    make_one_line();
}

void pare_prefix_message(const char *format, ...)
{
    char text[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (n >= 0 && n < MESSAGE_BYTES - 3)
        snprintf(text + n, sizeof text - (size_t)n, ": %s", message);
    memcpy(message, text, sizeof text);
    make_one_line();
}

pare_status pare_fail_memory(size_t needed, const char *what)
{
    return pare_fail(PARE_OUT_OF_MEMORY, "out of memory: %zu bytes for %s", needed, what);
}
