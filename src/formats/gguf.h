/* GGUF v2 and v3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#ifndef PARE_FORMATS_GGUF_H
#define PARE_FORMATS_GGUF_H

#include "formats/index.h"
#include "formats/tensors.h"

#include <stdbool.h>

/* The value types of the metadata, with the format's own numbers. */
typedef enum pare_gguf_kind {
    PARE_GGUF_U8,
    PARE_GGUF_I8,
    PARE_GGUF_U16,
    PARE_GGUF_I16,
    PARE_GGUF_U32,
    PARE_GGUF_I32,
    PARE_GGUF_F32,
    PARE_GGUF_BOOL,
    PARE_GGUF_STRING,
    PARE_GGUF_ARRAY,
    PARE_GGUF_U64,
    PARE_GGUF_I64,
    PARE_GGUF_F64,
} pare_gguf_kind;

/* A string inside the mapping: not NUL-terminated. */
typedef struct pare_gguf_string {
    const char *data;
    size_t length;
} pare_gguf_string;

typedef struct pare_gguf_value {
    const char *key;        /* NUL-terminated copy */
    pare_gguf_kind kind;    /* of the value, or ARRAY */
    pare_gguf_kind element; /* of an array's elements (arrays of arrays are refused) */
    size_t count;           /* elements of an array; 1 otherwise */
    const uint8_t
        *data; /* the first element's bytes in the mapping; little-endian, any alignment */
    pare_gguf_string *strings; /* for STRING and arrays of them: `count` entries */
} pare_gguf_value;

typedef struct pare_gguf {
    char *path;
    uint32_t version;
    pare_gguf_value *values;
    size_t value_count;
    pare_name_index index; /* key -> value */
    pare_tensors tensors;
} pare_gguf;

/* Bytes of a number of this kind; 0 for strings and arrays. */
size_t pare_gguf_kind_bytes(uint32_t kind);

/* Maps and checks the whole file: every tensor lies inside it, none overlap, names and keys are
 * unique. A vocabulary-only file has no tensors. *gguf is {0} on failure. */
pare_status pare_gguf_open(const char *path, pare_gguf *gguf);
/* The same over bytes in memory, which must outlive *gguf; `file` is for messages. */
pare_status pare_gguf_parse(const uint8_t *data, size_t size, const char *file, pare_gguf *gguf);
void pare_gguf_close(pare_gguf *gguf);

const pare_gguf_value *pare_gguf_find(const pare_gguf *gguf, const char *key);
/* Optional values: absent leaves *out as it is; a wrong type is an error that names key and file.
 * Integers of any width and sign are accepted for i64 (u64 over INT64_MAX is an error),
 * F32/F64/integers for f64. */
pare_status pare_gguf_i64(const pare_gguf *gguf, const char *key, int64_t *out);
pare_status pare_gguf_f64(const pare_gguf *gguf, const char *key, double *out);
pare_status pare_gguf_bool(const pare_gguf *gguf, const char *key, bool *out);
pare_status pare_gguf_text(const pare_gguf *gguf, const char *key, pare_gguf_string *out);
/* Element i of a numeric array (or of a scalar, i = 0); the kind must be a number. */
int64_t pare_gguf_element_i64(const pare_gguf_value *value, size_t i);
double pare_gguf_element_f64(const pare_gguf_value *value, size_t i);

/* ---- writing v3 ---- */

/* Collects metadata and tensor descriptions, then streams the tensors in order. Starts as {0}.
 * Setters after a failure do nothing; the first failure is returned by pare_gguf_write. Setting a
 * key again replaces it. Strings are copied. */
typedef struct pare_gguf_writer {
    struct pare_gguf_field *fields;
    size_t field_count, field_capacity;
    struct pare_gguf_entry *entries;
    size_t entry_count, entry_capacity;
    pare_arena arena;
    pare_status status;
} pare_gguf_writer;

void pare_gguf_set_u32(pare_gguf_writer *writer, const char *key, uint32_t value);
void pare_gguf_set_u64(pare_gguf_writer *writer, const char *key, uint64_t value);
void pare_gguf_set_i32(pare_gguf_writer *writer, const char *key, int32_t value);
void pare_gguf_set_f32(pare_gguf_writer *writer, const char *key, float value);
void pare_gguf_set_bool(pare_gguf_writer *writer, const char *key, bool value);
void pare_gguf_set_text(pare_gguf_writer *writer, const char *key, const char *text, size_t length);
void pare_gguf_set_strings(pare_gguf_writer *writer, const char *key,
                           const pare_gguf_string *strings, size_t count);
void pare_gguf_set_i32s(pare_gguf_writer *writer, const char *key, const int32_t *values,
                        size_t count);
void pare_gguf_set_f32s(pare_gguf_writer *writer, const char *key, const float *values,
                        size_t count);
/* Copies a value of another file as it is. */
void pare_gguf_copy(pare_gguf_writer *writer, const pare_gguf_value *value);
/* type must have a GGUF id; shape in our order. The data comes at write time. */
void pare_gguf_add_tensor(pare_gguf_writer *writer, const char *name, pare_type type, int dims,
                          const int64_t *shape);

/* Bytes that the file will have. */
pare_status pare_gguf_predict_size(const pare_gguf_writer *writer, uint64_t *bytes);
/* Writes the file whole or not at all. `fill` is called per tensor, in the order added, and writes
 * exactly its bytes. */
pare_status pare_gguf_write(pare_gguf_writer *writer, const char *path,
                            pare_status (*fill)(void *user, size_t tensor, pare_output *output),
                            void *user);
void pare_gguf_writer_free(pare_gguf_writer *writer);

#endif
