/* Which backend runs a session, and the loading of the GPU's plug-in. */
#include "run/backend.h"

#include "base/fail.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_MOST = 4096 };
#define PLUGIN "pare_cuda.so"

/* $PARE_PLUGINS, beside the program, in the library folder of the installed tree. `error` says why
 * the last file that exists could not be loaded. */
static void *open_plugin(char error[512])
{
    const char *places[3] = {getenv("PARE_PLUGINS"), NULL, NULL};
    char program[PATH_MOST], beside[PATH_MOST], installed[PATH_MOST + 16];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length > 0) {
        program[length] = 0;
        char *slash = strrchr(program, '/');
        if (slash)
            *slash = 0;
        snprintf(beside, sizeof beside, "%s", program);
        snprintf(installed, sizeof installed, "%s/../lib/pare", program);
        places[1] = beside;
        places[2] = installed;
    }
    snprintf(error, 512, "there is no plug-in " PLUGIN " (make cuda builds it)");
    for (int i = 0; i < 3; i++) {
        char path[PATH_MOST + 32];
        if (!places[i] || !*places[i])
            continue;
        snprintf(path, sizeof path, "%s/" PLUGIN, places[i]);
        if (access(path, F_OK) != 0)
            continue;
        void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (handle)
            return handle;
        snprintf(error, 512, "%s", dlerror());
    }
    return NULL;
}

/* The plug-in stays loaded until the program ends; dlopen counts and gives the same handle. */
static pare_status find_cuda(const char *device, const pare_backend_functions **backend)
{
    char error[512];
    const pare_backend_abi abi = PARE_BACKEND_ABI;
    pare_backend_entry *entry = NULL;
    void *handle = open_plugin(error);
    if (!handle)
        return pare_fail(PARE_NOT_FOUND, "device '%s': %s", device, error);
    *(void **)&entry = dlsym(handle, PARE_CUDA_ENTRY);
    const pare_backend_functions *functions = entry ? entry(&abi) : NULL;
    if (!functions)
        return pare_fail(PARE_UNSUPPORTED,
                         "device '%s': " PLUGIN " is of another version of Pare: build it again",
                         device);
    pare_status status = functions->check(device);
    if (status != PARE_OK)
        return pare_fail(status, "device '%s': %s", device, functions->message());
    *backend = functions;
    return PARE_OK;
}

pare_status pare_backend_find(const char *device, const pare_backend_functions **backend,
                              const char **used)
{
    *backend = &pare_backend_cpu;
    *used = "cpu";
    if (!device || strcmp(device, "cpu") == 0)
        return PARE_OK;
    bool automatic = strcmp(device, "auto") == 0;
    if (!automatic && strcmp(device, "cuda") != 0 && strncmp(device, "cuda:", 5) != 0)
        return pare_fail(PARE_UNSUPPORTED, "device '%s': use cpu, cuda, cuda:N or auto", device);
    const char *wanted = automatic ? "cuda" : device;
    pare_status status = find_cuda(wanted, backend);
    if (status == PARE_OK)
        *used = wanted;
    return automatic ? PARE_OK : status;
}

pare_status pare_device_check(const char *device)
{
    const pare_backend_functions *backend;
    const char *used;
    return pare_backend_find(device, &backend, &used);
}

pare_status pare_device_measure(const char *device, pare_hw_limits *limits)
{
    const pare_backend_functions *backend;
    const char *used;
    pare_status status = pare_backend_find(device, &backend, &used);
    if (status != PARE_OK)
        return status;
    if (!backend->measure)
        return pare_fail(PARE_UNSUPPORTED, "device '%s' is the processor: pare_hw_measure", used);
    status = backend->measure(used, limits);
    if (status != PARE_OK && backend->message)
        pare_set_message("%s", backend->message());
    return status;
}
