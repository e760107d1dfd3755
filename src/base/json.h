/* Reading JSON (jansson) with errors that name the file and the key. */
#ifndef PARE_BASE_JSON_H
#define PARE_BASE_JSON_H

#include <jansson.h>
#include <pare/error.h>
#include <stdbool.h>
#include <stdint.h>

/* The document is an object or an array; the caller decrefs it. Duplicate keys, trailing text,
 * invalid UTF-8 and nesting over jansson's limit are errors with file, line and column. */
pare_status pare_json_load_file(const char *path, size_t limit, json_t **out);
pare_status pare_json_load_text(const char *text, size_t size, const char *file, json_t **out);

/* An optional value of an object: absent or null leaves *value as it is; another type is an error
 * that names the key. */
pare_status pare_json_i64(const json_t *object, const char *key, const char *file, int64_t *value);
pare_status pare_json_f64(const json_t *object, const char *key, const char *file,
                          double *value); /* integers too */
pare_status pare_json_bool(const json_t *object, const char *key, const char *file, bool *value);
pare_status pare_json_string(const json_t *object, const char *key, const char *file,
                             const char **value);

#endif
