/* Error codes and the thread-local message that says what failed and where. */
#ifndef PARE_ERROR_H
#define PARE_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* One row per status: name, what it means in general. The message of a particular failure is
 * pare_error_message(). */
#define PARE_STATUS_LIST(X)                                                                        \
    X(OK, "success")                                                                               \
    X(INVALID_ARGUMENT, "an argument or option is not usable")                                     \
    X(NOT_FOUND, "a file, tensor or name does not exist")                                          \
    X(IO, "reading or writing failed")                                                             \
    X(FORMAT, "a file is malformed")                                                               \
    X(UNSUPPORTED, "a valid request that Pare does not handle")                                    \
    X(OUT_OF_MEMORY, "memory could not be allocated")                                              \
    X(LIMIT, "a size or count is over its limit")                                                  \
    X(CANCELLED, "the caller asked to stop")                                                       \
    X(INTERNAL, "a bug in Pare")

typedef enum pare_status {
#define X(name, text) PARE_##name,
    PARE_STATUS_LIST(X)
#undef X
} pare_status;

/* "INVALID_ARGUMENT" and its general meaning; never NULL. */
const char *pare_status_name(pare_status status);
const char *pare_status_text(pare_status status);

/* The message of the last failure on this thread: one line, no newline, at most 1 KiB. "" before
 * the first failure. Valid until the next failing call on this thread. */
const char *pare_error_message(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
