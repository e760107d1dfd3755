#include "formats/gguf.h"

#include "base/buffer.h"
#include "base/checked.h"
#include "base/fail.h"
#include "quant/types.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct pare_gguf_field {
    const char *key;
    uint32_t kind;
    const char *payload; /* the value's bytes as they are written; an array's begin with element
                            kind and count */
    size_t size;
};

struct pare_gguf_entry {
    pare_tensor tensor; /* name, type, shape, bytes; offset within the data */
};

enum { VERSION = 3, DEFAULT_ALIGNMENT = 32 };

/* ---- metadata ---- */

static void failed(pare_gguf_writer *writer, pare_status status)
{
    if (writer->status == PARE_OK)
        writer->status = status;
}

/* Gives room for a payload under `key`, replacing what the key had. NULL after a failure. */
static char *add_field(pare_gguf_writer *writer, const char *key, uint32_t kind, size_t size)
{
    if (writer->status != PARE_OK)
        return NULL;
    struct pare_gguf_field *field = NULL;
    for (size_t i = 0; i < writer->field_count && !field; i++)
        if (strcmp(writer->fields[i].key, key) == 0)
            field = &writer->fields[i];
    const char *copy = field ? field->key : pare_arena_copy(&writer->arena, key, strlen(key));
    char *payload = pare_arena_allocate(&writer->arena, size);
    if (!copy || !payload) {
        failed(writer, PARE_OUT_OF_MEMORY);
        return NULL;
    }
    if (!field) {
        pare_status status = pare_grow(&writer->fields, &writer->field_capacity,
                                       writer->field_count + 1, sizeof *writer->fields, "metadata");
        if (status != PARE_OK) {
            failed(writer, status);
            return NULL;
        }
        field = &writer->fields[writer->field_count++];
    }
    *field = (struct pare_gguf_field){copy, kind, payload, size};
    return payload;
}

static void set_scalar(pare_gguf_writer *writer, const char *key, pare_gguf_kind kind,
                       const void *value, size_t size)
{
    char *payload = add_field(writer, key, kind, size);
    if (payload)
        memcpy(payload, value, size);
}

void pare_gguf_set_u32(pare_gguf_writer *writer, const char *key, uint32_t value)
{
    set_scalar(writer, key, PARE_GGUF_U32, &value, sizeof value);
}

void pare_gguf_set_u64(pare_gguf_writer *writer, const char *key, uint64_t value)
{
    set_scalar(writer, key, PARE_GGUF_U64, &value, sizeof value);
}

void pare_gguf_set_i32(pare_gguf_writer *writer, const char *key, int32_t value)
{
    set_scalar(writer, key, PARE_GGUF_I32, &value, sizeof value);
}

void pare_gguf_set_f32(pare_gguf_writer *writer, const char *key, float value)
{
    set_scalar(writer, key, PARE_GGUF_F32, &value, sizeof value);
}

void pare_gguf_set_bool(pare_gguf_writer *writer, const char *key, bool value)
{
    uint8_t byte = value;
    set_scalar(writer, key, PARE_GGUF_BOOL, &byte, sizeof byte);
}

static char *put_string(char *to, const char *text, size_t length)
{
    uint64_t count = length;
    memcpy(to, &count, sizeof count);
    if (length)
        memcpy(to + sizeof count, text, length);
    return to + sizeof count + length;
}

static char *put_array_head(char *to, uint32_t element, uint64_t count)
{
    memcpy(to, &element, sizeof element);
    memcpy(to + sizeof element, &count, sizeof count);
    return to + sizeof element + sizeof count;
}

void pare_gguf_set_text(pare_gguf_writer *writer, const char *key, const char *text, size_t length)
{
    size_t size;
    if (!pare_add_size(length, 8, &size)) {
        failed(writer, pare_fail_memory(SIZE_MAX, key));
        return;
    }
    char *payload = add_field(writer, key, PARE_GGUF_STRING, size);
    if (payload)
        put_string(payload, text, length);
}

void pare_gguf_set_strings(pare_gguf_writer *writer, const char *key,
                           const pare_gguf_string *strings, size_t count)
{
    size_t size = 4 + 8;
    for (size_t i = 0; i < count; i++)
        if (!pare_add_size(size, 8, &size) || !pare_add_size(size, strings[i].length, &size)) {
            failed(writer, pare_fail_memory(SIZE_MAX, key));
            return;
        }
    char *to = add_field(writer, key, PARE_GGUF_ARRAY, size);
    if (!to)
        return;
    to = put_array_head(to, PARE_GGUF_STRING, count);
    for (size_t i = 0; i < count; i++)
        to = put_string(to, strings[i].data, strings[i].length);
}

static void set_numbers(pare_gguf_writer *writer, const char *key, uint32_t element,
                        const void *values, size_t count, size_t width)
{
    size_t bytes, size;
    if (!pare_mul_size(count, width, &bytes) || !pare_add_size(bytes, 4 + 8, &size)) {
        failed(writer, pare_fail_memory(SIZE_MAX, key));
        return;
    }
    char *to = add_field(writer, key, PARE_GGUF_ARRAY, size);
    if (!to)
        return;
    to = put_array_head(to, element, count);
    if (bytes)
        memcpy(to, values, bytes);
}

void pare_gguf_set_i32s(pare_gguf_writer *writer, const char *key, const int32_t *values,
                        size_t count)
{
    set_numbers(writer, key, PARE_GGUF_I32, values, count, sizeof *values);
}

void pare_gguf_set_f32s(pare_gguf_writer *writer, const char *key, const float *values,
                        size_t count)
{
    set_numbers(writer, key, PARE_GGUF_F32, values, count, sizeof *values);
}

void pare_gguf_copy(pare_gguf_writer *writer, const pare_gguf_value *value)
{
    if (value->kind == PARE_GGUF_STRING)
        pare_gguf_set_text(writer, value->key, value->strings[0].data, value->strings[0].length);
    else if (value->element == PARE_GGUF_STRING)
        pare_gguf_set_strings(writer, value->key, value->strings, value->count);
    else if (value->kind == PARE_GGUF_ARRAY)
        set_numbers(writer, value->key, value->element, value->data, value->count,
                    pare_gguf_kind_bytes(value->element));
    else
        set_scalar(writer, value->key, value->kind, value->data, pare_gguf_kind_bytes(value->kind));
}

/* ---- tensors ---- */

/* What general.alignment says (a copied file may have its own), or the default. */
static pare_status get_alignment(const pare_gguf_writer *writer, const char *path,
                                 size_t *alignment)
{
    uint32_t value = DEFAULT_ALIGNMENT;
    for (size_t i = 0; i < writer->field_count; i++)
        if (strcmp(writer->fields[i].key, "general.alignment") == 0) {
            value = 0;
            if (writer->fields[i].kind == PARE_GGUF_U32)
                memcpy(&value, writer->fields[i].payload, sizeof value);
        }
    if (!value || (value & (value - 1)) != 0 || value < 8)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "%s: key 'general.alignment' must be a power of two from 8 on", path);
    *alignment = value;
    return PARE_OK;
}

void pare_gguf_add_tensor(pare_gguf_writer *writer, const char *name, pare_type type, int dims,
                          const int64_t *shape)
{
    if (writer->status != PARE_OK)
        return;
    if (dims < 0 || dims > PARE_MAX_DIMS || type >= PARE_TYPE_COUNT ||
        pare_type_get_traits(type)->gguf_id < 0) {
        failed(writer,
               pare_fail(PARE_UNSUPPORTED, "tensor '%s': GGUF cannot store %d dimensions of %s",
                         name, dims, pare_type_name(type)));
        return;
    }
    pare_tensor tensor = {.name = pare_arena_copy(&writer->arena, name, strlen(name)),
                          .type = type,
                          .dims = dims,
                          .shape = {1, 1, 1, 1},
                          .file = "GGUF to be written"};
    memcpy(tensor.shape, shape, (size_t)dims * sizeof *shape);
    pare_status status = tensor.name ? pare_tensor_measure(&tensor) : PARE_OUT_OF_MEMORY;
    if (status == PARE_OK)
        status = pare_grow(&writer->entries, &writer->entry_capacity, writer->entry_count + 1,
                           sizeof *writer->entries, "tensor descriptions");
    if (status == PARE_OK)
        writer->entries[writer->entry_count++].tensor = tensor;
    failed(writer, status);
}

/* ---- the file ---- */

static void put(pare_buffer *to, const void *bytes, size_t count)
{
    (void)pare_buffer_append(to, bytes, count); /* buffer->failed is checked once, at the end */
}

static void put_u32(pare_buffer *to, uint32_t value)
{
    put(to, &value, sizeof value);
}

static void put_u64(pare_buffer *to, uint64_t value)
{
    put(to, &value, sizeof value);
}

static void put_text(pare_buffer *to, const char *text)
{
    put_u64(to, strlen(text));
    put(to, text, strlen(text));
}

static void put_zeros(pare_buffer *to, size_t alignment)
{
    static const char zeros[64];
    while (to->size % alignment != 0 && !to->failed) {
        size_t missing = alignment - to->size % alignment;
        put(to, zeros, missing < sizeof zeros ? missing : sizeof zeros);
    }
}

static pare_status place_tensors(pare_gguf_writer *writer, size_t alignment, uint64_t *bytes)
{
    size_t offset = 0;
    for (size_t i = 0; i < writer->entry_count; i++) {
        pare_tensor *tensor = &writer->entries[i].tensor;
        tensor->offset = offset;
        if (!pare_add_size(offset, tensor->bytes, &offset) ||
            !pare_align_size(offset, alignment, &offset))
            return pare_fail(PARE_LIMIT, "tensor '%s': the file's size overflows", tensor->name);
    }
    *bytes = offset;
    return PARE_OK;
}

/* Everything before the data, padded. */
static pare_status build_header(const pare_gguf_writer *writer, size_t alignment, pare_buffer *to)
{
    put(to, "GGUF", 4);
    put_u32(to, VERSION);
    put_u64(to, writer->entry_count);
    put_u64(to, writer->field_count);
    for (size_t i = 0; i < writer->field_count; i++) {
        put_text(to, writer->fields[i].key);
        put_u32(to, writer->fields[i].kind);
        put(to, writer->fields[i].payload, writer->fields[i].size);
    }
    for (size_t i = 0; i < writer->entry_count; i++) {
        const pare_tensor *tensor = &writer->entries[i].tensor;
        put_text(to, tensor->name);
        put_u32(to, (uint32_t)tensor->dims);
        for (int d = tensor->dims - 1; d >= 0; d--) /* fastest first */
            put_u64(to, (uint64_t)tensor->shape[d]);
        put_u32(to, (uint32_t)pare_type_get_traits(tensor->type)->gguf_id);
        put_u64(to, tensor->offset);
    }
    put_zeros(to, alignment);
    return to->failed ? pare_fail_memory(to->size, "a GGUF header") : PARE_OK;
}

/* Places the tensors and builds the header; *data_bytes follow it. */
static pare_status prepare(pare_gguf_writer *writer, const char *path, size_t *alignment,
                           pare_buffer *header, uint64_t *data_bytes)
{
    pare_status status;
    PARE_TRY(
        writer
            ->status); /* the message of the failed setter may be gone by now; its status is not */
    PARE_TRY(get_alignment(writer, path, alignment));
    PARE_TRY(place_tensors(writer, *alignment, data_bytes));
    PARE_TRY(build_header(writer, *alignment, header));
fail:
    return status;
}

pare_status pare_gguf_predict_size(const pare_gguf_writer *writer, uint64_t *bytes)
{
    pare_gguf_writer copy =
        *writer; /* only offsets of entries are set, to the same values every time */
    pare_buffer header = {0};
    size_t alignment;
    pare_status status = prepare(&copy, "GGUF", &alignment, &header, bytes);
    *bytes += header.size;
    pare_buffer_free(&header);
    return status;
}

static pare_status write_tensor(const pare_gguf_writer *writer, size_t i, size_t alignment,
                                pare_status (*fill)(void *, size_t, pare_output *), void *user,
                                pare_output *output)
{
    const pare_tensor *tensor = &writer->entries[i].tensor;
    long before = ftell(output->stream); /* -1 on a pipe: then the count is not checked */
    pare_status status = fill(user, i, output);
    if (status != PARE_OK)
        return status;
    long written = ftell(output->stream) - before;
    if (before >= 0 && (uint64_t)written != tensor->bytes)
        return pare_fail(PARE_INTERNAL, "%s: tensor '%s' has %zu bytes, %ld were written",
                         output->path, tensor->name, tensor->bytes, written);
    size_t missing = (alignment - tensor->bytes % alignment) % alignment;
    static const char zeros[64];
    while (missing && status == PARE_OK) {
        size_t step = missing < sizeof zeros ? missing : sizeof zeros;
        status = pare_output_write(output, zeros, step);
        missing -= step;
    }
    return status;
}

pare_status pare_gguf_write(pare_gguf_writer *writer, const char *path,
                            pare_status (*fill)(void *user, size_t tensor, pare_output *output),
                            void *user)
{
    pare_buffer header = {0};
    pare_output output = {0};
    size_t alignment;
    uint64_t data_bytes;
    pare_status status;
    PARE_TRY(prepare(writer, path, &alignment, &header, &data_bytes));
    PARE_TRY(pare_output_open(&output, path));
    PARE_TRY(pare_output_write(&output, header.data, header.size));
    for (size_t i = 0; i < writer->entry_count; i++)
        PARE_TRY(write_tensor(writer, i, alignment, fill, user, &output));
    status = pare_output_commit(&output);
fail:
    pare_output_abort(&output);
    pare_buffer_free(&header);
    return status;
}

void pare_gguf_writer_free(pare_gguf_writer *writer)
{
    free(writer->fields);
    free(writer->entries);
    pare_arena_free(&writer->arena);
    *writer = (pare_gguf_writer){0};
}
