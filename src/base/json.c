#include "base/json.h"

#include "base/fail.h"
#include "base/file.h"

#include <stdlib.h>

pare_status pare_json_load_text(const char *text, size_t size, const char *file, json_t **out)
{
    json_error_t error;
    *out = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!*out)
        return pare_fail(PARE_FORMAT, "%s: line %d, column %d: %s", file, error.line, error.column,
                         error.text);
    return PARE_OK;
}

pare_status pare_json_load_file(const char *path, size_t limit, json_t **out)
{
    char *text;
    size_t size;
    *out = NULL;
    pare_status status = pare_read_file(path, limit, &text, &size);
    if (status == PARE_OK) {
        status = pare_json_load_text(text, size, path, out);
        free(text);
    }
    return status;
}

static pare_status wrong_type(const char *file, const char *key, const char *wanted)
{
    return pare_fail(PARE_FORMAT, "%s: '%s' is not %s", file, key, wanted);
}

pare_status pare_json_i64(const json_t *object, const char *key, const char *file, int64_t *value)
{
    const json_t *item = json_object_get(object, key);
    if (!item || json_is_null(item))
        return PARE_OK;
    if (!json_is_integer(item))
        return wrong_type(file, key, "an integer");
    *value = json_integer_value(item);
    return PARE_OK;
}

pare_status pare_json_f64(const json_t *object, const char *key, const char *file, double *value)
{
    const json_t *item = json_object_get(object, key);
    if (!item || json_is_null(item))
        return PARE_OK;
    if (!json_is_number(item))
        return wrong_type(file, key, "a number");
    *value = json_number_value(item);
    return PARE_OK;
}

pare_status pare_json_bool(const json_t *object, const char *key, const char *file, bool *value)
{
    const json_t *item = json_object_get(object, key);
    if (!item || json_is_null(item))
        return PARE_OK;
    if (!json_is_boolean(item))
        return wrong_type(file, key, "true or false");
    *value = json_is_true(item);
    return PARE_OK;
}

pare_status pare_json_string(const json_t *object, const char *key, const char *file,
                             const char **value)
{
    const json_t *item = json_object_get(object, key);
    if (!item || json_is_null(item))
        return PARE_OK;
    if (!json_is_string(item))
        return wrong_type(file, key, "a string");
    *value = json_string_value(item);
    return PARE_OK;
}
