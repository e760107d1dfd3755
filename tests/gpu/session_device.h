/* Which device the tests of sessions run on, and how much of them. Behind cmocka.h. */
#ifndef PARE_TESTS_GPU_SESSION_DEVICE_H
#define PARE_TESTS_GPU_SESSION_DEVICE_H

#include <pare/error.h>
#include <stdbool.h>
#include <stdlib.h>

static inline const char *device(void)
{
    const char *named = getenv("PARE_TEST_DEVICE");
    return named ? named : "cuda";
}

static inline bool brief(void)
{
    return getenv("PARE_TEST_BRIEF") != NULL;
}

static inline void ok(pare_status status)
{
    if (status != PARE_OK)
        fail_msg("%s", pare_error_message());
}

#endif
