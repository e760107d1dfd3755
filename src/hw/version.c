#include "pare_commit.h" /* made at build time by commit.cmake */

#include <pare/hw.h>

const char *pare_version(void)
{
    return PARE_VERSION;
}

const char *pare_commit(void)
{
    return PARE_COMMIT;
}
