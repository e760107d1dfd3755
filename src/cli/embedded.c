#include "cli/embedded.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *existing(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && length < PATH_MAX && access(path, R_OK) == 0 ? strdup(path) : NULL;
}

char *cli_embedded_path(const char *name)
{
    const char *chosen = getenv("PARE_MODELS");
    char *found = chosen && *chosen ? existing(chosen, name) : NULL;
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 32);
    if (!found && length > 0) {
        program[length] = 0;
        char *slash = strrchr(program, '/'); /* PREFIX/bin/pare */
        if (slash) {
            strcpy(slash, "/../share/pare/models");
            found = existing(program, name);
        }
    }
    return found ? found : existing(PARE_SOURCE_MODELS, name);
}
