#include "formats/safetensors.h"

#include "base/buffer.h"
#include "base/checked.h"
#include "base/cursor.h"
#include "base/fail.h"
#include "base/json.h"
#include "formats/index.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER_LIMIT = 100000000, /* the reference implementation's own */
    INDEX_LIMIT = 256 << 20,
};

static const struct {
    const char *dtype;
    pare_type type;
} dtypes[] = {
    {"F32", PARE_TYPE_F32},   {"F16", PARE_TYPE_F16},         {"BF16", PARE_TYPE_BF16},
    {"F64", PARE_TYPE_F64},   {"I64", PARE_TYPE_I64},         {"I32", PARE_TYPE_I32},
    {"I16", PARE_TYPE_I16},   {"I8", PARE_TYPE_I8},           {"U8", PARE_TYPE_U8},
    {"BOOL", PARE_TYPE_BOOL}, {"F8_E4M3", PARE_TYPE_F8_E4M3}, {"F8_E5M2", PARE_TYPE_F8_E5M2},
};
enum { DTYPE_COUNT = sizeof dtypes / sizeof *dtypes };

/* ---- reading ---- */

static pare_status read_shape(const json_t *entry, pare_tensor *item)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' has no 'shape'", item->file, item->name);
    if (json_array_size(shape) > PARE_MAX_DIMS)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: tensor '%s' has %zu dimensions, at most %d are handled", item->file,
                         item->name, json_array_size(shape), PARE_MAX_DIMS);
    item->dims = (int)json_array_size(shape);
    for (int i = 0; i < item->dims; i++) {
        const json_t *extent = json_array_get(shape, (size_t)i);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0)
            return pare_fail(PARE_FORMAT,
                             "%s: 'shape' of tensor '%s' holds something that is no size",
                             item->file, item->name);
        item->shape[i] = json_integer_value(extent);
    }
    return PARE_OK;
}

static pare_status read_type(const json_t *entry, pare_tensor *item)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' has no 'dtype'", item->file, item->name);
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (strcmp(dtype, dtypes[i].dtype) == 0) {
            item->type = dtypes[i].type;
            return PARE_OK;
        }
    return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' has dtype '%s', which is not handled",
                     item->file, item->name, dtype);
}

/* data: the first byte after the header. */
static pare_status read_offsets(const json_t *entry, const uint8_t *file, size_t data, size_t size,
                                pare_tensor *item)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' has no 'data_offsets' of two numbers",
                         item->file, item->name);
    int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' has data from %" PRId64 " to %" PRId64,
                         item->file, item->name, begin, end);
    if ((uint64_t)end > size - data)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' ends at byte %" PRIu64 ", the file has %zu",
                         item->file, item->name, (uint64_t)end + data, size);
    if ((uint64_t)(end - begin) != item->bytes)
        return pare_fail(PARE_FORMAT,
                         "%s: tensor '%s' at byte %" PRIu64 " has %" PRId64
                         " bytes, its shape and type need %zu",
                         item->file, item->name, (uint64_t)begin + data, end - begin, item->bytes);
    item->offset = (uint64_t)begin + data;
    item->data = file + item->offset;
    item->mapped = true;
    return PARE_OK;
}

static pare_status read_header(const uint8_t *data, size_t size, const char *file, json_t **header,
                               size_t *start)
{
    pare_cursor cursor = {data, size, 0, file};
    uint64_t length;
    const uint8_t *text;
    pare_status status;
    PARE_TRY(pare_cursor_u64(&cursor, &length, "the header's length"));
    if (length > HEADER_LIMIT)
        return pare_fail(PARE_FORMAT,
                         "%s: the header at byte 8 has %" PRIu64 " bytes, at most %d are allowed",
                         file, length, HEADER_LIMIT);
    PARE_TRY(pare_cursor_bytes(&cursor, (size_t)length, &text, "the header"));
    PARE_TRY(pare_json_load_text((const char *)text, (size_t)length, file, header));
    if (!json_is_object(*header))
        return pare_fail(PARE_FORMAT, "%s: the header at byte 8 is not an object", file);
    *start = cursor.position;
fail:
    return status;
}

/* Adds the tensors of one file. */
static pare_status add_file(const uint8_t *data, size_t size, const char *path,
                            pare_tensors *tensors, size_t *capacity)
{
    json_t *header = NULL, *entry;
    const char *name;
    size_t start = 0, first = tensors->count;
    pare_status status;
    const char *file = pare_arena_copy(&tensors->names, path, strlen(path));
    if (!file)
        return PARE_OUT_OF_MEMORY;
    PARE_TRY(read_header(data, size, file, &header, &start));
    json_object_foreach(header, name, entry)
    {
        pare_tensor *item;
        if (strcmp(name, "__metadata__") == 0)
            continue;
        PARE_TRY(pare_tensors_append(tensors, capacity, &item));
        item->file = file;
        item->name = pare_arena_copy(&tensors->names, name, strlen(name));
        if (!item->name) {
            status = PARE_OUT_OF_MEMORY;
            goto fail;
        }
        if (!json_is_object(entry)) {
            status = pare_fail(PARE_FORMAT, "%s: the description of tensor '%s' is not an object",
                               file, name);
            goto fail;
        }
        PARE_TRY(read_type(entry, item));
        PARE_TRY(read_shape(entry, item));
        PARE_TRY(pare_tensor_measure(item));
        PARE_TRY(read_offsets(entry, data, start, size, item));
    }
    if (tensors->count == first && start != size)
        status = pare_fail(PARE_FORMAT, "%s: no tensors, but %zu bytes after the header", file,
                           size - start);
    else
        status = pare_tensors_check_layout(tensors, first, start, size, true);
fail:
    json_decref(header);
    return status;
}

pare_status pare_safetensors_parse(const uint8_t *data, size_t size, const char *file,
                                   pare_tensors *tensors)
{
    size_t capacity = 0;
    *tensors = (pare_tensors){0};
    pare_status status = add_file(data, size, file, tensors, &capacity);
    if (status == PARE_OK)
        status = pare_tensors_build_index(tensors);
    if (status != PARE_OK)
        pare_tensors_free(tensors);
    return status;
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

/* Early writers did not pad the header to 8 bytes, so that nothing in the file is aligned. Such a
 * file's data are copied, in place of the mapping. */
static pare_status align_data(pare_tensors *tensors, size_t first, size_t start)
{
    pare_mapping *mapping = &tensors->mappings[tensors->mapping_count - 1];
    size_t bytes = mapping->size - start;
    uint8_t *copy;
    pare_status status = pare_pages_allocate(bytes, tensors->items[first].file, &copy);
    if (status != PARE_OK)
        return status;
    memcpy(copy, mapping->data + start, bytes);
    pare_unmap(mapping);
    *mapping = (pare_mapping){copy, bytes}; /* whole pages: unmapped as a file's are */
    for (size_t i = first; i < tensors->count; i++)
        tensors->items[i].data = copy + (tensors->items[i].offset - start);
    return PARE_OK;
}

static pare_status add_mapped(const char *path, pare_tensors *tensors, size_t *capacity)
{
    pare_mapping mapping;
    size_t first = tensors->count;
    uint64_t header;
    pare_status status;
    PARE_TRY(pare_tensors_map(tensors, path, &mapping));
    PARE_TRY(add_file(mapping.data, mapping.size, path, tensors, capacity));
    memcpy(&header, mapping.data, sizeof header); /* add_file has checked it */
    if (header % 8 != 0 && tensors->count > first)
        status = align_data(tensors, first, 8 + (size_t)header);
fail:
    return status;
}

/* A shard lies beside the index; anything else ("../x", an index that names an index) is refused.
 */
static pare_status open_shard(const char *index_path, const char *shard, pare_tensors *tensors,
                              size_t *capacity)
{
    const char *slash = strrchr(index_path, '/');
    pare_buffer path = {0};
    if (strchr(shard, '/') || !has_suffix(shard, ".safetensors"))
        return pare_fail(PARE_FORMAT, "%s: '%s' is no name of a shard", index_path, shard);
    pare_buffer_printf(&path, "%.*s%s", slash ? (int)(slash - index_path + 1) : 0, index_path,
                       shard);
    if (path.failed)
        return PARE_OUT_OF_MEMORY;
    pare_status status = add_mapped(path.data, tensors, capacity);
    if (status == PARE_NOT_FOUND)
        status = pare_fail_in(PARE_NOT_FOUND, "%s: shard", index_path);
    pare_buffer_free(&path);
    return status;
}

/* Every tensor of the map is in the shard that it names. */
static pare_status check_map(const char *path, const json_t *map, const pare_tensors *tensors)
{
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)map, name, shard)
    {
        const pare_tensor *item = pare_tensors_find(tensors, name);
        const char *wanted = json_string_value(shard),
                   *slash = item ? strrchr(item->file, '/') : NULL;
        if (!item || strcmp(slash ? slash + 1 : item->file, wanted) != 0)
            return pare_fail(PARE_FORMAT, "%s: tensor '%s' is not in shard '%s'", path, name,
                             wanted);
    }
    return PARE_OK;
}

static pare_status open_sharded(const char *path, pare_tensors *tensors)
{
    json_t *document = NULL, *shard;
    pare_name_index seen = {0};
    size_t capacity = 0;
    const char *name;
    pare_status status;
    PARE_TRY(pare_json_load_file(path, INDEX_LIMIT, &document));
    const json_t *map = json_object_get(document, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        status = pare_fail(PARE_FORMAT, "%s: 'weight_map' is missing or empty", path);
        goto fail;
    }
    json_object_foreach((json_t *)map, name, shard)
    {
        ptrdiff_t present;
        if (!json_is_string(shard)) {
            status = pare_fail(PARE_FORMAT, "%s: 'weight_map' has no file name for tensor '%s'",
                               path, name);
            goto fail;
        }
        PARE_TRY(pare_name_index_add(&seen, json_string_value(shard), 0, &present));
        if (present == PARE_NAME_NONE)
            PARE_TRY(open_shard(path, json_string_value(shard), tensors, &capacity));
    }
    PARE_TRY(pare_tensors_build_index(tensors));
    status = check_map(path, map, tensors);
fail:
    pare_name_index_free(&seen);
    json_decref(document);
    return status;
}

pare_status pare_safetensors_open(const char *path, pare_tensors *tensors)
{
    size_t capacity = 0;
    pare_status status;
    *tensors = (pare_tensors){0};
    if (has_suffix(path, ".json"))
        status = open_sharded(path, tensors);
    else if ((status = add_mapped(path, tensors, &capacity)) == PARE_OK)
        status = pare_tensors_build_index(tensors);
    if (status != PARE_OK)
        pare_tensors_free(tensors);
    return status;
}

/* ---- writing ---- */

static const char *dtype_of(pare_type type)
{
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (dtypes[i].type == type)
            return dtypes[i].dtype;
    return NULL;
}

/* Adds one description to the header and moves *offset past the tensor's data. */
static pare_status describe(const char *path, const pare_safetensors_entry *entry, json_t *header,
                            size_t *offset)
{
    const char *dtype = dtype_of(entry->type);
    pare_tensor item = {
        .name = entry->name, .type = entry->type, .dims = entry->dims, .file = path};
    if (!dtype)
        return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s': safetensors has no dtype for %s", path,
                         entry->name, pare_type_name(entry->type));
    if (json_object_get(header, entry->name))
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: tensor '%s' is given twice", path,
                         entry->name);
    memcpy(item.shape, entry->shape, sizeof item.shape);
    pare_status status = pare_tensor_measure(&item);
    if (status != PARE_OK)
        return status;
    if (*offset % pare_type_element_bytes(entry->type) != 0)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "%s: tensor '%s' would not be aligned: put wider types first", path,
                         entry->name);
    json_t *shape = json_array();
    for (int i = 0; i < entry->dims; i++)
        json_array_append_new(shape, json_integer(entry->shape[i]));
    json_t *description =
        json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape, "data_offsets",
                  (json_int_t)*offset, (json_int_t)(*offset + item.bytes));
    if (json_object_set_new(header, entry->name, description) != 0)
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: the name of tensor '%s' is not valid UTF-8",
                         path, entry->name);
    *offset += item.bytes;
    return PARE_OK;
}

static pare_status build_header(const char *path, const pare_safetensors_entry *entries,
                                size_t count, const char *const *metadata, pare_buffer *text)
{
    json_t *header = json_object();
    size_t offset = 0;
    pare_status status = header ? PARE_OK : pare_fail_memory(0, "a header");
    if (metadata && *metadata) {
        json_t *map = json_object();
        json_object_set_new(header, "__metadata__", map);
        for (; metadata[0] && metadata[1]; metadata += 2)
            if (json_object_set_new(map, metadata[0], json_string(metadata[1])) != 0)
                status = pare_fail(PARE_INVALID_ARGUMENT, "%s: metadata '%s' is not valid UTF-8",
                                   path, metadata[0]);
    }
    for (size_t i = 0; i < count && status == PARE_OK; i++)
        status = describe(path, &entries[i], header, &offset);
    char *dumped = status == PARE_OK ? json_dumps(header, JSON_COMPACT) : NULL;
    if (dumped) {
        pare_buffer_text(text, dumped);
        while (text->size % 8 != 0 && !text->failed) /* the data begin at a multiple of 8 */
            pare_buffer_text(text, " ");
    }
    if (status == PARE_OK && (!dumped || text->failed))
        status = pare_fail_memory(text->size, "a header");
    free(dumped);
    json_decref(header);
    return status;
}

pare_status pare_safetensors_write(const char *path, const pare_safetensors_entry *entries,
                                   size_t count, const char *const *metadata,
                                   pare_status (*fill)(void *user, size_t entry,
                                                       pare_output *output),
                                   void *user)
{
    pare_buffer header = {0};
    pare_output output = {0};
    pare_status status;
    PARE_TRY(build_header(path, entries, count, metadata, &header));
    PARE_TRY(pare_output_open(&output, path));
    uint64_t length = header.size;
    PARE_TRY(pare_output_write(&output, &length, sizeof length));
    PARE_TRY(pare_output_write(&output, header.data, header.size));
    for (size_t i = 0; i < count; i++)
        PARE_TRY(fill(user, i, &output));
    status = pare_output_commit(&output);
fail:
    pare_output_abort(&output);
    pare_buffer_free(&header);
    return status;
}
