#include "formats/gguf.h"

#include "base/checked.h"
#include "base/cursor.h"
#include "base/fail.h"
#include "quant/types.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_LIMIT = 65535,               /* by the format */
    TENSOR_NAME_LIMIT = 1024,        /* ggml itself allows 64 */
    SMALLEST_VALUE = 8 + 4 + 1,      /* key length, kind, one byte */
    SMALLEST_TENSOR = 8 + 4 + 4 + 8, /* name length, dimensions, type, offset */
    DEFAULT_ALIGNMENT = 32,
};

static size_t left(const pare_cursor *cursor)
{
    return cursor->size - cursor->position;
}

/* ---- metadata ---- */

size_t pare_gguf_kind_bytes(uint32_t kind)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return kind < sizeof bytes ? bytes[kind] : 0;
}

static pare_status read_string(pare_cursor *cursor, size_t limit, pare_gguf_string *string,
                               const char *what)
{
    uint64_t length;
    const uint8_t *bytes;
    size_t at = cursor->position;
    pare_status status = pare_cursor_u64(cursor, &length, what);
    if (status != PARE_OK)
        return status;
    if (length > left(cursor) || length > limit)
        return pare_fail(
            PARE_FORMAT, "%s: %s at byte %zu has %" PRIu64 " bytes, at most %zu are possible",
            cursor->file, what, at, length, limit < left(cursor) ? limit : left(cursor));
    status = pare_cursor_bytes(cursor, (size_t)length, &bytes, what);
    *string = (pare_gguf_string){(const char *)bytes, (size_t)length};
    return status;
}

/* A name or key, copied with its NUL. */
static pare_status read_name(pare_cursor *cursor, pare_arena *arena, size_t limit,
                             const char **name, const char *what)
{
    pare_gguf_string string;
    size_t at = cursor->position;
    pare_status status = read_string(cursor, limit, &string, what);
    if (status != PARE_OK)
        return status;
    bool plain = string.length > 0; /* names end up on terminals */
    for (size_t i = 0; i < string.length; i++)
        plain = plain && (unsigned char)string.data[i] >= 0x20 && string.data[i] != 0x7f;
    if (!plain)
        return pare_fail(PARE_FORMAT, "%s: %s at byte %zu is empty or holds control characters",
                         cursor->file, what, at);
    *name = pare_arena_copy(arena, string.data, string.length);
    return *name ? PARE_OK : PARE_OUT_OF_MEMORY;
}

static pare_status read_strings(pare_cursor *cursor, pare_arena *arena, pare_gguf_value *value)
{
    size_t bytes;
    if (value->count > left(cursor) / 8 ||
        !pare_mul_size(value->count, sizeof *value->strings, &bytes))
        return pare_fail(PARE_FORMAT, "%s: key '%s' has %zu strings in %zu bytes", cursor->file,
                         value->key, value->count, left(cursor));
    value->strings = pare_arena_allocate(arena, bytes);
    if (!value->strings)
        return PARE_OUT_OF_MEMORY;
    for (size_t i = 0; i < value->count; i++) {
        pare_status status = read_string(cursor, SIZE_MAX, &value->strings[i], value->key);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

static pare_status read_numbers(pare_cursor *cursor, pare_gguf_value *value)
{
    size_t size = pare_gguf_kind_bytes(value->element), bytes, at = cursor->position;
    if (!pare_mul_size(value->count, size, &bytes))
        bytes = SIZE_MAX;
    pare_status status = pare_cursor_bytes(cursor, bytes, &value->data, value->key);
    if (status == PARE_OK && value->element == PARE_GGUF_BOOL)
        for (size_t i = 0; i < value->count; i++)
            if (value->data[i] > 1)
                return pare_fail(PARE_FORMAT, "%s: key '%s': byte %zu is %d, not a boolean",
                                 cursor->file, value->key, at + i, value->data[i]);
    return status;
}

static pare_status read_value(pare_cursor *cursor, pare_arena *arena, pare_gguf_value *value)
{
    uint32_t kind;
    uint64_t count = 1;
    size_t at;
    pare_status status;
    PARE_TRY(read_name(cursor, arena, KEY_LIMIT, &value->key, "a metadata key"));
    at = cursor->position;
    PARE_TRY(pare_cursor_u32(cursor, &kind, value->key));
    value->kind = (pare_gguf_kind)kind;
    if (kind == PARE_GGUF_ARRAY) {
        PARE_TRY(pare_cursor_u32(cursor, &kind, value->key));
        PARE_TRY(pare_cursor_u64(cursor, &count, value->key));
        if (kind == PARE_GGUF_ARRAY)
            return pare_fail(PARE_UNSUPPORTED, "%s: key '%s' at byte %zu is an array of arrays",
                             cursor->file, value->key, at);
    }
    if (kind > PARE_GGUF_F64)
        return pare_fail(PARE_FORMAT,
                         "%s: key '%s' at byte %zu has the unknown value type %" PRIu32,
                         cursor->file, value->key, at, kind);
    if (count > left(cursor)) /* every element has a byte or more */
        return pare_fail(PARE_FORMAT,
                         "%s: key '%s' at byte %zu has %" PRIu64 " elements in %zu bytes",
                         cursor->file, value->key, at, count, left(cursor));
    value->element = (pare_gguf_kind)kind;
    value->count = (size_t)count;
    return kind == PARE_GGUF_STRING ? read_strings(cursor, arena, value)
                                    : read_numbers(cursor, value);
fail:
    return status;
}

static pare_status read_metadata(pare_cursor *cursor, uint64_t count, pare_gguf *gguf)
{
    if (count > left(cursor) / SMALLEST_VALUE)
        return pare_fail(PARE_FORMAT, "%s: %" PRIu64 " metadata keys in %zu bytes", cursor->file,
                         count, left(cursor));
    pare_status status =
        pare_allocate((size_t)count, sizeof *gguf->values, "metadata", &gguf->values);
    for (size_t i = 0; i < count && status == PARE_OK; i++) {
        size_t at = cursor->position;
        ptrdiff_t present;
        status = read_value(cursor, &gguf->tensors.names, &gguf->values[i]);
        if (status == PARE_OK)
            status = pare_name_index_add(&gguf->index, gguf->values[i].key, i, &present);
        if (status == PARE_OK && present != PARE_NAME_NONE)
            status = pare_fail(PARE_FORMAT, "%s: key '%s' at byte %zu occurs twice", cursor->file,
                               gguf->values[i].key, at);
        if (status == PARE_OK)
            gguf->value_count++;
    }
    return status;
}

/* ---- tensors ---- */

static pare_status read_tensor(pare_cursor *cursor, pare_arena *arena, pare_tensor *item)
{
    uint32_t dims, type;
    size_t at = cursor->position;
    pare_status status;
    item->file = cursor->file;
    PARE_TRY(read_name(cursor, arena, TENSOR_NAME_LIMIT, &item->name, "a tensor's name"));
    PARE_TRY(pare_cursor_u32(cursor, &dims, item->name));
    if (dims > PARE_MAX_DIMS)
        return pare_fail(PARE_FORMAT,
                         "%s: tensor '%s' (described at byte %zu) has %" PRIu32
                         " dimensions, at most %d are allowed",
                         item->file, item->name, at, dims, PARE_MAX_DIMS);
    item->dims = (int)dims;
    for (uint32_t i = 0; i < dims;
         i++) { /* the file's first dimension is the fastest, ours the slowest */
        uint64_t extent;
        PARE_TRY(pare_cursor_u64(cursor, &extent, item->name));
        if (extent > INT64_MAX)
            return pare_fail(PARE_FORMAT,
                             "%s: tensor '%s' (described at byte %zu) has a dimension of %" PRIu64,
                             item->file, item->name, at, extent);
        item->shape[dims - 1 - i] = (int64_t)extent;
    }
    PARE_TRY(pare_cursor_u32(cursor, &type, item->name));
    item->type = pare_type_from_gguf(type);
    if (item->type == PARE_TYPE_COUNT)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: tensor '%s' (described at byte %zu) has the unknown type %" PRIu32,
                         item->file, item->name, at, type);
    PARE_TRY(pare_tensor_measure(item));
    PARE_TRY(pare_cursor_u64(cursor, &item->offset, item->name)); /* still relative to the data */
fail:
    return status;
}

/* Turns offsets relative to the data into positions in the file. */
static pare_status place_tensors(const pare_cursor *cursor, uint64_t alignment, pare_gguf *gguf)
{
    size_t start;
    if (!pare_align_size(cursor->position, (size_t)alignment, &start))
        return pare_fail(PARE_FORMAT, "%s: key 'general.alignment' is %" PRIu64, cursor->file,
                         alignment);
    for (size_t i = 0; i < gguf->tensors.count; i++) {
        pare_tensor *item = &gguf->tensors.items[i];
        if (item->offset % alignment != 0)
            return pare_fail(PARE_FORMAT,
                             "%s: tensor '%s' at byte %" PRIu64
                             " of the data is not aligned to %" PRIu64 " bytes",
                             item->file, item->name, item->offset, alignment);
        if (start > cursor->size || item->offset > cursor->size - start ||
            item->bytes > cursor->size - start - item->offset)
            return pare_fail(
                PARE_FORMAT,
                "%s: tensor '%s' needs %zu bytes at byte %" PRIu64 " of the data, which begin at "
                "byte %zu; the file has %zu bytes",
                item->file, item->name, item->bytes, item->offset, start, cursor->size);
        item->offset += start;
        item->data = cursor->data + item->offset;
        item->mapped = true;
    }
    return gguf->tensors.count
               ? pare_tensors_check_layout(&gguf->tensors, 0, start, cursor->size, false)
               : PARE_OK;
}

static pare_status read_tensors(pare_cursor *cursor, uint64_t count, pare_gguf *gguf)
{
    size_t capacity = 0;
    int64_t alignment = DEFAULT_ALIGNMENT;
    pare_status status;
    if (count > left(cursor) / SMALLEST_TENSOR)
        return pare_fail(PARE_FORMAT, "%s: %" PRIu64 " tensors in %zu bytes", cursor->file, count,
                         left(cursor));
    for (uint64_t i = 0; i < count; i++) {
        pare_tensor *item;
        PARE_TRY(pare_tensors_append(&gguf->tensors, &capacity, &item));
        PARE_TRY(read_tensor(cursor, &gguf->tensors.names, item));
    }
    PARE_TRY(pare_gguf_i64(gguf, "general.alignment", &alignment));
    if (alignment <= 0 || alignment > UINT32_MAX || (alignment & (alignment - 1)) != 0) {
        status =
            pare_fail(PARE_FORMAT, "%s: key 'general.alignment' is %" PRId64 ", not a power of two",
                      cursor->file, alignment);
        goto fail;
    }
    PARE_TRY(pare_tensors_build_index(&gguf->tensors));
    status = place_tensors(cursor, (uint64_t)alignment, gguf);
fail:
    return status;
}

/* ---- the file ---- */

static pare_status read_preamble(pare_cursor *cursor, uint32_t *version, uint64_t *tensors,
                                 uint64_t *values)
{
    const uint8_t *magic;
    pare_status status;
    PARE_TRY(pare_cursor_bytes(cursor, 4, &magic, "the magic"));
    if (memcmp(magic, "GGUF", 4) != 0)
        return pare_fail(PARE_FORMAT, "%s: not a GGUF file: it begins with %02x %02x %02x %02x",
                         cursor->file, magic[0], magic[1], magic[2], magic[3]);
    PARE_TRY(pare_cursor_u32(cursor, version, "the version"));
    if (*version && (*version & 0xffff) == 0)
        return pare_fail(PARE_UNSUPPORTED, "%s: a big-endian GGUF", cursor->file);
    if (*version != 2 && *version != 3)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: GGUF version %" PRIu32 " at byte 4; 2 and 3 are handled",
                         cursor->file, *version);
    PARE_TRY(pare_cursor_u64(cursor, tensors, "the number of tensors"));
    PARE_TRY(pare_cursor_u64(cursor, values, "the number of metadata keys"));
fail:
    return status;
}

/* *gguf holds path and mapping already; on failure the caller closes it. */
static pare_status parse(const uint8_t *data, size_t size, pare_gguf *gguf)
{
    pare_cursor cursor = {data, size, 0, gguf->path};
    uint64_t tensors, values;
    pare_status status;
    PARE_TRY(read_preamble(&cursor, &gguf->version, &tensors, &values));
    PARE_TRY(read_metadata(&cursor, values, gguf));
    PARE_TRY(read_tensors(&cursor, tensors, gguf));
fail:
    return status;
}

static pare_status begin(const char *path, pare_gguf *gguf)
{
    *gguf = (pare_gguf){.path = strdup(path)};
    return gguf->path ? PARE_OK : pare_fail_memory(strlen(path) + 1, path);
}

pare_status pare_gguf_parse(const uint8_t *data, size_t size, const char *file, pare_gguf *gguf)
{
    pare_status status;
    PARE_TRY(begin(file, gguf));
    PARE_TRY(parse(data, size, gguf));
    return PARE_OK;
fail:
    pare_gguf_close(gguf);
    return status;
}

pare_status pare_gguf_open(const char *path, pare_gguf *gguf)
{
    pare_mapping mapping;
    pare_status status;
    PARE_TRY(begin(path, gguf));
    PARE_TRY(pare_tensors_map(&gguf->tensors, path, &mapping));
    PARE_TRY(parse(mapping.data, mapping.size, gguf));
    return PARE_OK;
fail:
    pare_gguf_close(gguf);
    return status;
}

void pare_gguf_close(pare_gguf *gguf)
{
    pare_name_index_free(&gguf->index);
    pare_tensors_free(&gguf->tensors);
    free(gguf->values);
    free(gguf->path);
    *gguf = (pare_gguf){0};
}

/* ---- values ---- */

const pare_gguf_value *pare_gguf_find(const pare_gguf *gguf, const char *key)
{
    ptrdiff_t i = pare_name_index_find(&gguf->index, key);
    return i == PARE_NAME_NONE ? NULL : &gguf->values[i];
}

/* Element i widened to 64 bits: signed in *integer, and as a double. Unsigned 64-bit values over
 * INT64_MAX wrap. */
static void load_element(const pare_gguf_value *value, size_t i, int64_t *integer, double *real)
{
    const uint8_t *at = value->data + i * pare_gguf_kind_bytes(value->element);
    union {
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } number = {0};
    memcpy(&number, at, pare_gguf_kind_bytes(value->element));
    *integer = 0;
    switch (value->element) {
    case PARE_GGUF_U8:
    case PARE_GGUF_BOOL:
        *integer = *at;
        break;
    case PARE_GGUF_I8:
        *integer = (int8_t)*at;
        break;
    case PARE_GGUF_U16:
        *integer = number.u16;
        break;
    case PARE_GGUF_I16:
        *integer = number.i16;
        break;
    case PARE_GGUF_U32:
        *integer = number.u32;
        break;
    case PARE_GGUF_I32:
        *integer = number.i32;
        break;
    case PARE_GGUF_U64:
    case PARE_GGUF_I64:
        *integer = number.i64;
        break;
    case PARE_GGUF_F32:
        *real = number.f32;
        return;
    case PARE_GGUF_F64:
        *real = number.f64;
        return;
    default:
        break;
    }
    *real = value->element == PARE_GGUF_U64 ? (double)number.u64 : (double)*integer;
}

int64_t pare_gguf_element_i64(const pare_gguf_value *value, size_t i)
{
    int64_t integer;
    double real = 0;
    load_element(value, i, &integer, &real);
    if (value->element != PARE_GGUF_F32 && value->element != PARE_GGUF_F64)
        return integer;
    return real >= -0x1p62 && real <= 0x1p62 ? (int64_t)real : 0; /* NaN too */
}

double pare_gguf_element_f64(const pare_gguf_value *value, size_t i)
{
    int64_t integer;
    double real = 0;
    load_element(value, i, &integer, &real);
    return real;
}

static pare_status wrong_kind(const pare_gguf *gguf, const char *key, const char *wanted)
{
    return pare_fail(PARE_FORMAT, "%s: key '%s' is not %s", gguf->path, key, wanted);
}

pare_status pare_gguf_i64(const pare_gguf *gguf, const char *key, int64_t *out)
{
    const pare_gguf_value *value = pare_gguf_find(gguf, key);
    if (!value)
        return PARE_OK;
    if (pare_gguf_kind_bytes(value->kind) == 0 || value->kind == PARE_GGUF_F32 ||
        value->kind == PARE_GGUF_F64 || value->kind == PARE_GGUF_BOOL)
        return wrong_kind(gguf, key, "an integer");
    int64_t number = pare_gguf_element_i64(value, 0);
    if (value->kind == PARE_GGUF_U64 && number < 0)
        return pare_fail(PARE_FORMAT, "%s: key '%s' is over 2^63", gguf->path, key);
    *out = number;
    return PARE_OK;
}

pare_status pare_gguf_f64(const pare_gguf *gguf, const char *key, double *out)
{
    const pare_gguf_value *value = pare_gguf_find(gguf, key);
    if (!value)
        return PARE_OK;
    if (pare_gguf_kind_bytes(value->kind) == 0 || value->kind == PARE_GGUF_BOOL)
        return wrong_kind(gguf, key, "a number");
    *out = pare_gguf_element_f64(value, 0);
    return PARE_OK;
}

pare_status pare_gguf_bool(const pare_gguf *gguf, const char *key, bool *out)
{
    const pare_gguf_value *value = pare_gguf_find(gguf, key);
    if (!value)
        return PARE_OK;
    if (value->kind != PARE_GGUF_BOOL)
        return wrong_kind(gguf, key, "a boolean");
    *out = value->data[0] != 0;
    return PARE_OK;
}

pare_status pare_gguf_text(const pare_gguf *gguf, const char *key, pare_gguf_string *out)
{
    const pare_gguf_value *value = pare_gguf_find(gguf, key);
    if (!value)
        return PARE_OK;
    if (value->kind != PARE_GGUF_STRING)
        return wrong_kind(gguf, key, "a string");
    *out = value->strings[0];
    return PARE_OK;
}
