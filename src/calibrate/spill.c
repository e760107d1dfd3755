#include "calibrate/spill.h"

#include "base/buffer.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

static pare_status open_nameless(const char *output, const char *what, int *fd)
{
    pare_buffer path = {0};
    pare_status status = PARE_OK;
    const char *folder = getenv("TMPDIR");
    if (output && strcmp(output, "-") != 0)
        pare_buffer_printf(&path, "%s.states-XXXXXX", output);
    else
        pare_buffer_printf(&path, "%s/pare-states-XXXXXX", folder && *folder ? folder : "/tmp");
    char *name = pare_buffer_take(&path);
    if (!name)
        return pare_fail_memory(PAGE, "a file name");
    *fd = mkstemp(name);
    if (*fd < 0)
        status = pare_fail(PARE_IO, "%s (%s): %s", name, what, strerror(errno));
    else
        unlink(name);
    free(name);
    return status;
}

pare_status pare_spill_create(const char *output, size_t bytes, const char *what, pare_spill *spill)
{
    int fd = -1, error;
    *spill = (pare_spill){0};
    pare_status status = open_nameless(output, what, &fd);
    if (status != PARE_OK)
        return status;
    bytes = bytes ? bytes : 1;
    /* Reserved, so that a full disk is an error here and no signal later. */
    error = bytes > INT64_MAX ? EFBIG : posix_fallocate(fd, 0, (off_t)bytes);
    if (error) {
        status = pare_fail(PARE_IO, "%zu bytes on disk for %s: %s", bytes, what, strerror(error));
        goto fail;
    }
    spill->data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (spill->data == MAP_FAILED) {
        spill->data = NULL;
        status = pare_fail_memory(bytes, what);
        goto fail;
    }
    spill->bytes = bytes;
fail:
    close(fd);
    return status;
}

void pare_spill_release(const void *data, size_t bytes)
{
    uintptr_t first = ((uintptr_t)data + PAGE - 1) & ~(uintptr_t)(PAGE - 1),
              last = ((uintptr_t)data + bytes) & ~(uintptr_t)(PAGE - 1);
    if (first < last) /* of a shared mapping: the file keeps the values */
        madvise((void *)first, last - first, MADV_DONTNEED);
}

void pare_spill_free(pare_spill *spill)
{
    if (spill->data)
        munmap(spill->data, spill->bytes);
    *spill = (pare_spill){0};
}
