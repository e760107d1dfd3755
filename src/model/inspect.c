#include <pare/inspect.h>

#include "base/fail.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "formats/locate.h"
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { CONFIG_LIMIT = 16 << 20, LONG_ARRAY = 64 };

struct pare_inspection {
    pare_inspection_info info;
    pare_location location;
    pare_gguf gguf;
    pare_tensors safetensors;
    const pare_tensors *held; /* of one of the two */
    pare_tensor_info *tensors;
    pare_metadata *metadata;
    size_t metadata_count;
    pare_arena arena;
    pare_model *model;
};

/* ---- metadata as JSON ---- */

/* Bytes of files need not be UTF-8: those outside ASCII are then replaced. */
static json_t *string_json(const pare_gguf_string *string)
{
    json_t *json = json_stringn(string->data, string->length);
    char *copy = json ? NULL : strndup(string->data, string->length);
    if (!copy)
        return json;
    for (unsigned char *c = (unsigned char *)copy; *c; c++)
        if (*c >= 0x80)
            *c = '?';
    json = json_string(copy);
    free(copy);
    return json;
}

static json_t *element_json(const pare_gguf_value *value, size_t i)
{
    switch (value->element) {
    case PARE_GGUF_STRING:
        return string_json(&value->strings[i]);
    case PARE_GGUF_BOOL:
        return json_boolean(pare_gguf_element_i64(value, i));
    case PARE_GGUF_F32:
    case PARE_GGUF_F64: {
        json_t *number = json_real(pare_gguf_element_f64(value, i));
        return number ? number : json_string("not finite");
    }
    default:
        return json_integer(pare_gguf_element_i64(value, i));
    }
}

static json_t *value_json(const pare_gguf_value *value)
{
    static const char *const kinds[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    if (value->kind != PARE_GGUF_ARRAY)
        return element_json(value, 0);
    if (value->count > LONG_ARRAY)
        return json_pack("{s:I, s:s}", "elements", (json_int_t)value->count, "type",
                         kinds[value->element]);
    json_t *array = json_array();
    for (size_t i = 0; i < value->count; i++)
        json_array_append_new(array, element_json(value, i));
    return array;
}

/* Takes over `value`. */
static pare_status add_metadata(pare_inspection *inspection, const char *key, json_t *value)
{
    char *text =
        value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    if (!text)
        return pare_fail_memory(0, "metadata");
    pare_metadata *next = &inspection->metadata[inspection->metadata_count++];
    next->key = pare_arena_copy(&inspection->arena, key, strlen(key));
    next->json = pare_arena_copy(&inspection->arena, text, strlen(text));
    free(text);
    return next->key && next->json ? PARE_OK : PARE_OUT_OF_MEMORY;
}

static pare_status describe_gguf(pare_inspection *inspection)
{
    const pare_gguf *gguf = &inspection->gguf;
    pare_gguf_string architecture = {0};
    pare_status status;
    PARE_TRY(pare_allocate(gguf->value_count, sizeof *inspection->metadata, "metadata",
                           &inspection->metadata));
    for (size_t i = 0; i < gguf->value_count; i++)
        PARE_TRY(add_metadata(inspection, gguf->values[i].key, value_json(&gguf->values[i])));
    PARE_TRY(pare_gguf_text(gguf, "general.architecture", &architecture));
    if (architecture.data)
        inspection->info.architecture =
            pare_arena_copy(&inspection->arena, architecture.data, architecture.length);
    inspection->info.version = (int)gguf->version;
fail:
    return status;
}

static pare_status describe_config(pare_inspection *inspection)
{
    json_t *config = NULL, *value;
    const char *key;
    pare_status status;
    if (!inspection->location.config)
        return PARE_OK;
    PARE_TRY(pare_json_load_file(inspection->location.config, CONFIG_LIMIT, &config));
    PARE_TRY(pare_allocate(json_object_size(config), sizeof *inspection->metadata, "metadata",
                           &inspection->metadata));
    json_object_foreach(config, key, value)
        PARE_TRY(add_metadata(inspection, key, json_incref(value)));
    const char *type = json_string_value(json_object_get(config, "model_type"));
    if (type)
        inspection->info.architecture = pare_arena_copy(&inspection->arena, type, strlen(type));
fail:
    json_decref(config);
    return status;
}

/* ---- tensors ---- */

static pare_status list_tensors(pare_inspection *inspection)
{
    const pare_tensors *held = inspection->held;
    pare_status status =
        pare_allocate(held->count, sizeof *inspection->tensors, "tensors", &inspection->tensors);
    for (size_t i = 0; i < held->count && status == PARE_OK; i++) {
        const pare_tensor *from = &held->items[i];
        pare_tensor_info *to = &inspection->tensors[i];
        *to = (pare_tensor_info){.name = from->name,
                                 .format = pare_type_name(from->type),
                                 .file = from->file,
                                 .dims = from->dims,
                                 .elements = pare_tensor_elements(from),
                                 .bytes = (int64_t)from->bytes,
                                 .offset = from->offset};
        memcpy(to->shape, from->shape, sizeof to->shape);
        inspection->info.elements += to->elements;
        inspection->info.tensor_bytes += to->bytes;
    }
    inspection->info.tensors = (int64_t)held->count;
    for (size_t i = 0; i < held->mapping_count; i++)
        inspection->info.file_bytes += (int64_t)held->mappings[i].size;
    return status;
}

static pare_status read_files(pare_inspection *inspection, const char *name)
{
    pare_status status;
    PARE_TRY(pare_locate(name, &inspection->location));
    const pare_location *location = &inspection->location;
    inspection->info.path = location->path;
    if (!location->weights)
        return pare_fail(PARE_NOT_FOUND,
                         "%s: holds no model.safetensors, model.safetensors.index.json or .gguf",
                         location->path);
    if (pare_location_is_gguf(location)) {
        inspection->info.container = "gguf";
        PARE_TRY(pare_gguf_open(location->weights, &inspection->gguf));
        inspection->held = &inspection->gguf.tensors;
        PARE_TRY(describe_gguf(inspection));
    } else {
        inspection->info.container = "safetensors";
        PARE_TRY(pare_safetensors_open(location->weights, &inspection->safetensors));
        inspection->held = &inspection->safetensors;
        PARE_TRY(describe_config(inspection));
    }
    PARE_TRY(list_tensors(inspection));
fail:
    return status;
}

/* ---- public ---- */

pare_status pare_inspect(const char *name, pare_inspection **out)
{
    pare_inspection *inspection = NULL;
    pare_status status;
    *out = NULL;
    PARE_TRY(pare_allocate(1, sizeof *inspection, "an inspection", &inspection));
    PARE_TRY(read_files(inspection, name));
    if (pare_model_open(name, &inspection->model) == PARE_OK)
        inspection->info.model = pare_model_get_info(inspection->model);
    else
        inspection->info.problem =
            pare_arena_copy(&inspection->arena, pare_error_message(), strlen(pare_error_message()));
    *out = inspection;
    return PARE_OK;
fail:
    pare_inspection_free(inspection);
    return status;
}

void pare_inspection_free(pare_inspection *inspection)
{
    if (!inspection)
        return;
    pare_model_close(inspection->model);
    pare_gguf_close(&inspection->gguf);
    pare_tensors_free(&inspection->safetensors);
    pare_location_free(&inspection->location);
    pare_arena_free(&inspection->arena);
    free(inspection->tensors);
    free(inspection->metadata);
    free(inspection);
}

const pare_inspection_info *pare_inspection_get_info(const pare_inspection *inspection)
{
    return &inspection->info;
}

const pare_tensor_info *pare_inspection_tensors(const pare_inspection *inspection, size_t *count)
{
    *count = (size_t)inspection->info.tensors;
    return inspection->tensors;
}

const pare_metadata *pare_inspection_metadata(const pare_inspection *inspection, size_t *count)
{
    *count = inspection->metadata_count;
    return inspection->metadata;
}
