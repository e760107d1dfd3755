/* Hardware counters of this process: perf_event_open(2). */
#define _GNU_SOURCE
#include "base/fail.h"
#include "base/memory.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <math.h>
#include <pare/hw.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { INSTRUCTIONS, CYCLES, LLC_MISSES, COUNTERS };

struct pare_counters {
    int fds[COUNTERS]; /* -1: not counted */
};

static int open_counter(uint64_t config)
{
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_HARDWARE,
        .size = sizeof attributes,
        .config = config,
        /* Threads that start later are counted with us; a group could not be read then, so each
         * counter stands alone and is scaled by the time it had. */
        .inherit = 1,
        .exclude_kernel = 1, /* perf_event_paranoid 2, the default, allows no more */
        .exclude_hv = 1,
        .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
    };
    return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static pare_status explain(int error)
{
    if (error == ENOENT || error == EOPNOTSUPP || error == ENODEV)
        return pare_fail(PARE_NOT_FOUND,
                         "the processor offers no counters here (usual in a virtual machine)");
    if (error == EACCES || error == EPERM)
        return pare_fail(PARE_IO,
                         "the kernel does not let us count: %s "
                         "(/proc/sys/kernel/perf_event_paranoid must be 2 or less)",
                         strerror(error));
    if (error == ENOSYS)
        return pare_fail(PARE_NOT_FOUND, "the kernel was built without perf_event_open");
    return pare_fail(PARE_IO, "perf_event_open: %s", strerror(error));
}

pare_status pare_counters_open(pare_counters **out)
{
    static const uint64_t events[COUNTERS] = {PERF_COUNT_HW_INSTRUCTIONS, PERF_COUNT_HW_CPU_CYCLES,
                                              PERF_COUNT_HW_CACHE_MISSES};
    pare_counters *counters;
    int opened = 0, error = 0;
    *out = NULL;
    pare_status status = pare_allocate(1, sizeof *counters, "counters", &counters);
    if (status != PARE_OK)
        return status;
    for (int i = 0; i < COUNTERS; i++) {
        counters->fds[i] = open_counter(events[i]);
        if (counters->fds[i] >= 0)
            opened++;
        else if (!error)
            error = errno;
    }
    if (!opened) {
        pare_counters_close(counters);
        return explain(error);
    }
    *out = counters;
    return PARE_OK;
}

void pare_counters_close(pare_counters *counters)
{
    for (int i = 0; counters && i < COUNTERS; i++)
        if (counters->fds[i] >= 0)
            close(counters->fds[i]);
    free(counters);
}

/* Where more events are wanted than the processor has counters for, the kernel lets them take
 * turns. */
static double read_counter(int fd)
{
    struct {
        uint64_t value, enabled, running;
    } now;
    if (fd < 0 || read(fd, &now, sizeof now) != sizeof now || !now.running)
        return NAN;
    return (double)now.value * ((double)now.enabled / (double)now.running);
}

pare_counts pare_counters_read(const pare_counters *counters)
{
    return (pare_counts){read_counter(counters->fds[INSTRUCTIONS]),
                         read_counter(counters->fds[CYCLES]),
                         read_counter(counters->fds[LLC_MISSES])};
}
