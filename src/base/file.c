#include "base/file.h"

#include "base/buffer.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static pare_status open_regular(const char *path, int *out, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
    struct stat info;
    if (fd < 0)
        return pare_fail(errno == ENOENT || errno == ENOTDIR ? PARE_NOT_FOUND : PARE_IO, "%s: %s",
                         path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: not a regular file", path);
    }
    *out = fd;
    *size = (size_t)info.st_size;
    return PARE_OK;
}

pare_status pare_map_file(const char *path, pare_mapping *mapping)
{
    int fd;
    size_t size;
    *mapping = (pare_mapping){0};
    pare_status status = open_regular(path, &fd, &size);
    if (status != PARE_OK)
        return status;
    if (size) {
        void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status = pare_fail(PARE_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        else
            *mapping = (pare_mapping){data, size};
    }
    close(fd);
    return status;
}

void pare_unmap(pare_mapping *mapping)
{
    if (mapping->data)
        munmap((void *)mapping->data, mapping->size);
    *mapping = (pare_mapping){0};
}

void pare_release_mapped(const void *first, const void *last)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE),
              start = (uintptr_t)first & ~(page - 1), end = (uintptr_t)last & ~(page - 1);
    if (start < end)
        madvise((void *)start, end - start, MADV_DONTNEED);
}

pare_status pare_read_file(const char *path, size_t limit, char **data, size_t *size)
{
    int fd;
    pare_status status = open_regular(path, &fd, size);
    *data = NULL;
    if (status != PARE_OK)
        return status;
    if (*size > limit) {
        close(fd);
        return pare_fail(PARE_LIMIT, "%s: has %zu bytes, at most %zu are read", path, *size, limit);
    }
    char *bytes = malloc(*size + 1);
    if (!bytes) {
        close(fd);
        return pare_fail_memory(*size + 1, path);
    }
    size_t done = 0;
    while (done < *size) {
        ssize_t n = read(fd, bytes + done, *size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    close(fd);
    if (done < *size) {
        free(bytes);
        return pare_fail(PARE_IO, "%s: reading stopped at byte %zu of %zu", path, done, *size);
    }
    bytes[done] = 0;
    *data = bytes;
    return PARE_OK;
}

double pare_proc_bytes(const char *path, const char *key)
{
    char line[256];
    double kib = -1;
    FILE *file = fopen(path, "re");
    while (file && kib < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtod(line + strlen(key), NULL);
    if (file)
        fclose(file);
    return kib < 0 ? -1 : kib * 1024;
}

bool pare_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool pare_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

pare_status pare_path_join(const char *folder, const char *name, char **path)
{
    pare_buffer buffer = {0};
    size_t length = strlen(folder);
    pare_buffer_printf(&buffer, "%s%s%s", folder, length && folder[length - 1] == '/' ? "" : "/",
                       name);
    *path = pare_buffer_take(&buffer);
    return *path ? PARE_OK : PARE_OUT_OF_MEMORY;
}

pare_status pare_output_open(pare_output *output, const char *path)
{
    struct stat info;
    pare_buffer name = {0};
    *output = (pare_output){0};
    if (strcmp(path, "-") == 0)
        path = "/dev/stdout";
    output->path = strdup(path);
    if (!output->path)
        return pare_fail_memory(strlen(path) + 1, path);
    const char *target = path;
    if (stat(path, &info) != 0 || S_ISREG(info.st_mode)) {
        pare_buffer_printf(&name, "%s.tmp-%ld", path, (long)getpid());
        output->temporary = pare_buffer_take(&name);
        if (!output->temporary) {
            pare_output_abort(output);
            return PARE_OUT_OF_MEMORY;
        }
        target = output->temporary;
    }
    output->stream = fopen(target, "wb");
    if (!output->stream) {
        pare_status status = pare_fail(PARE_IO, "%s: cannot be written: %s", path, strerror(errno));
        free(output->temporary); /* nothing was made that abort could remove */
        output->temporary = NULL;
        pare_output_abort(output);
        return status;
    }
    return PARE_OK;
}

pare_status pare_output_write(pare_output *output, const void *data, size_t size)
{
    if (size && fwrite(data, 1, size, output->stream) != size)
        return pare_fail(PARE_IO, "%s: writing failed: %s", output->path, strerror(errno));
    return PARE_OK;
}

/* The rename itself must survive a power cut too: the folder's entry is synced. */
static void sync_folder(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

pare_status pare_output_commit(pare_output *output)
{
    FILE *stream = output->stream;
    bool failed = fflush(stream) != 0 || (output->temporary && fsync(fileno(stream)) != 0);
    int error = errno;
    output->stream = NULL;
    if (fclose(stream) != 0 && !failed) {
        failed = true;
        error = errno;
    }
    if (!failed && output->temporary && rename(output->temporary, output->path) != 0) {
        failed = true;
        error = errno;
    }
    pare_status status = PARE_OK;
    if (failed)
        status = pare_fail(PARE_IO, "%s: writing failed: %s", output->path, strerror(error));
    else if (output->temporary) {
        sync_folder(output->path);
        free(output->temporary);
        output->temporary = NULL;
    }
    pare_output_abort(output);
    return status;
}

void pare_output_abort(pare_output *output)
{
    if (output->stream)
        fclose(output->stream);
    if (output->temporary)
        unlink(output->temporary);
    free(output->temporary);
    free(output->path);
    *output = (pare_output){0};
}
