#include "calibrate/work.h"

#include "base/buffer.h"
#include "base/cursor.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file: MAGIC and the key's 64 digits; then records:
 *   u32 length of the name | u64 bytes of the data | name | data | SHA-256 of all that, 64 digits.
 */
static const char magic[8] = {'P', 'A', 'R', 'E', 'W', 'R', 'K', '1'};
enum { DIGITS = 64, HEAD = sizeof magic + DIGITS, NAME_MAX_BYTES = 1 << 12 };

static pare_status make_key(const pare_model *model, const pare_quantize_options *options,
                            const pare_quantize_result *plan, const char *method_options,
                            char key[65])
{
    pare_sha256 hash;
    char model_hash[65];
    pare_status status = pare_model_hash(model, model_hash);
    if (status != PARE_OK)
        return status;
    if ((status = pare_sha256_begin(&hash)) != PARE_OK)
        return status;
    PARE_TRY(pare_sha256_add(&hash, model_hash, DIGITS));
    PARE_TRY(pare_sha256_add(&hash, method_options, strlen(method_options) + 1));
    const pare_calibration *c = options->calibration;
    if (c) {
        const int64_t shape[2] = {c->sequences, c->length};
        PARE_TRY(pare_sha256_add(&hash, shape, sizeof shape));
        PARE_TRY(pare_sha256_add(&hash, c->ids, c->count * sizeof *c->ids));
    }
    for (size_t i = 0; i < plan->count; i++) {
        const pare_quantize_item *item = &plan->items[i];
        const char *type = item->chosen ? pare_type_name(item->type) : "kept";
        PARE_TRY(pare_sha256_add(&hash, item->name, strlen(item->name) + 1));
        PARE_TRY(pare_sha256_add(&hash, type, strlen(type) + 1));
    }
    return pare_sha256_end(&hash, key);
fail:
    (void)!pare_sha256_end(&hash, NULL);
    return status;
}

static pare_status keep(pare_work *work, const void *name, size_t name_length, const void *data,
                        size_t bytes)
{
    pare_status status = pare_grow(&work->records, &work->capacity, work->count + 1,
                                   sizeof *work->records, "the work file");
    if (status == PARE_OK)
        work->records[work->count++] = (pare_work_record){name, name_length, data, bytes};
    return status;
}

static pare_status hash_record(uint32_t name_length, uint64_t bytes, const void *name,
                               const void *data, char hex[65])
{
    pare_sha256 hash;
    pare_status status = pare_sha256_begin(&hash);
    if (status != PARE_OK)
        return status;
    PARE_TRY(pare_sha256_add(&hash, &name_length, sizeof name_length));
    PARE_TRY(pare_sha256_add(&hash, &bytes, sizeof bytes));
    PARE_TRY(pare_sha256_add(&hash, name, name_length));
    PARE_TRY(pare_sha256_add(&hash, data, bytes));
    return pare_sha256_end(&hash, hex);
fail:
    (void)!pare_sha256_end(&hash, NULL);
    return status;
}

/* One record; false where the rest of the file is cut or damaged. */
static bool read_record(pare_cursor *cursor, pare_work *work, pare_status *status)
{
    const uint8_t *name, *data, *digits;
    uint32_t name_length;
    uint64_t bytes;
    char hex[65];
    if (pare_cursor_u32(cursor, &name_length, "a record") != PARE_OK ||
        pare_cursor_u64(cursor, &bytes, "a record") != PARE_OK || name_length > NAME_MAX_BYTES ||
        pare_cursor_bytes(cursor, name_length, &name, "a record") != PARE_OK ||
        pare_cursor_bytes(cursor, bytes, &data, "a record") != PARE_OK ||
        pare_cursor_bytes(cursor, DIGITS, &digits, "a record") != PARE_OK)
        return false;
    *status = hash_record(name_length, bytes, name, data, hex);
    if (*status != PARE_OK || memcmp(hex, digits, DIGITS) != 0)
        return false;
    *status = keep(work, name, name_length, data, bytes);
    return *status == PARE_OK;
}

/* *used: bytes up to the end of the last whole record; 0 where the file is of another key. */
static pare_status read_records(pare_work *work, const char *key, size_t *used)
{
    pare_mapping mapping;
    *used = 0;
    if (!pare_is_file(work->path))
        return PARE_OK;
    pare_status status = pare_map_file(work->path, &work->mapping);
    if (status != PARE_OK)
        return status;
    mapping = work->mapping;
    if (mapping.size >= HEAD && memcmp(mapping.data, magic, sizeof magic) == 0 &&
        memcmp(mapping.data + sizeof magic, key, DIGITS) == 0) {
        pare_cursor cursor = {mapping.data, mapping.size, HEAD, work->path};
        do
            *used = cursor.position;
        while (cursor.position < cursor.size && read_record(&cursor, work, &status));
    }
    return status;
}

static pare_status write_all(pare_work *work, const void *data, size_t bytes)
{
    const char *from = data;
    while (bytes) {
        ssize_t done = write(work->fd, from, bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return pare_fail(PARE_IO, "%s: writing failed: %s", work->path, strerror(errno));
        from += done;
        bytes -= (size_t)done;
    }
    return PARE_OK;
}

pare_status pare_work_open(const pare_model *model, const pare_quantize_options *options,
                           const pare_quantize_result *plan, const char *method_options,
                           pare_work *work)
{
    pare_status status = PARE_OK;
    pare_buffer path = {0};
    char key[65];
    size_t used;
    *work = (pare_work){.fd = -1};
    if (!options->output || strcmp(options->output, "-") == 0)
        return PARE_OK;
    pare_buffer_printf(&path, "%s.partial", options->output);
    work->path = pare_buffer_take(&path);
    if (!work->path)
        return pare_fail_memory(strlen(options->output), "a file name");
    PARE_TRY(make_key(model, options, plan, method_options, key));
    PARE_TRY(read_records(work, key, &used));
    work->fd = open(work->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (work->fd < 0 || ftruncate(work->fd, (off_t)used) != 0 || lseek(work->fd, 0, SEEK_END) < 0) {
        status = pare_fail(PARE_IO, "%s: %s", work->path, strerror(errno));
        goto fail;
    }
    if (used == 0) {
        PARE_TRY(write_all(work, magic, sizeof magic));
        PARE_TRY(write_all(work, key, DIGITS));
    }
    return PARE_OK;
fail:
    pare_work_close(work);
    return status;
}

const void *pare_work_find_any(const pare_work *work, const char *name, size_t *bytes)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i < work->count; i++) {
        const pare_work_record *record = &work->records[i];
        if (record->name_length == length && memcmp(record->name, name, length) == 0) {
            *bytes = record->bytes;
            return record->data;
        }
    }
    return NULL;
}

const void *pare_work_find(const pare_work *work, const char *name, size_t bytes)
{
    size_t found;
    const void *data = pare_work_find_any(work, name, &found);
    return data && found == bytes ? data : NULL;
}

pare_status pare_work_add(pare_work *work, const char *name, const void *data, size_t bytes)
{
    const uint32_t name_length = (uint32_t)strlen(name);
    const uint64_t size = bytes;
    char hex[65];
    if (work->fd < 0 || !work->path)
        return PARE_OK;
    pare_status status = hash_record(name_length, size, name, data, hex);
    if (status == PARE_OK)
        status = write_all(work, &name_length, sizeof name_length);
    if (status == PARE_OK)
        status = write_all(work, &size, sizeof size);
    if (status == PARE_OK)
        status = write_all(work, name, name_length);
    if (status == PARE_OK)
        status = write_all(work, data, bytes);
    return status == PARE_OK ? write_all(work, hex, DIGITS) : status;
}

pare_status pare_work_sync(pare_work *work)
{
    if (work->path && work->fd >= 0 && fsync(work->fd) != 0 && errno != EINVAL)
        return pare_fail(PARE_IO, "%s: writing failed: %s", work->path, strerror(errno));
    return PARE_OK;
}

void pare_work_close(pare_work *work)
{
    if (work->path && work->fd >= 0)
        close(work->fd);
    pare_unmap(&work->mapping);
    free(work->records);
    free(work->path);
    *work = (pare_work){.fd = -1};
}
