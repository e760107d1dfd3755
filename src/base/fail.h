/* Setting the thread-local error message. */
#ifndef PARE_BASE_FAIL_H
#define PARE_BASE_FAIL_H

#include <pare/error.h>
#include <stddef.h>

/* Stores the message and gives `status`, so that callers write `return pare_fail(PARE_FORMAT, "%s:
 * ...", file)`. A macro, so that the compiler sees that the status is not PARE_OK. */
#define pare_fail(status, ...) (pare_set_message(__VA_ARGS__), pare_failed_with(status))

/* Puts "context: " before the present message and gives `status`. */
#define pare_fail_in(status, ...) (pare_prefix_message(__VA_ARGS__), pare_failed_with(status))

static inline pare_status pare_failed_with(pare_status status)
{
    return status;
}

__attribute__((format(printf, 1, 2), cold)) void pare_set_message(const char *format, ...);
__attribute__((format(printf, 1, 2), cold)) void pare_prefix_message(const char *format, ...);

/* "out of memory: NEEDED bytes for WHAT". */
__attribute__((cold)) pare_status pare_fail_memory(size_t needed, const char *what);

/* For `goto fail` cleanup: runs the call, stores its status in `status`, jumps on failure. */
#define PARE_TRY(call)                                                                             \
    do {                                                                                           \
        if ((status = (call)) != PARE_OK)                                                          \
            goto fail;                                                                             \
    } while (0)

#endif
