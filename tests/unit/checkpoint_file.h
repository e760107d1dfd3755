/* Checkpoints of other libraries in the making, and opened. Tests include cmocka before it. */
#ifndef PARE_TESTS_CHECKPOINT_FILE_H
#define PARE_TESTS_CHECKPOINT_FILE_H

#include "formats/safetensors.h"
#include "model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a file in the making ---- */

enum { MOST = 12 };

typedef struct file {
    pare_safetensors_entry entries[MOST];
    void *data[MOST];
    size_t bytes[MOST], count;
    int64_t cut; /* bytes that its end loses */
} file;

static inline void *add(file *f, const char *name, pare_type type, int64_t rows, int64_t columns)
{
    size_t i = f->count++;
    f->bytes[i] =
        (size_t)(rows * (columns ? columns : 1)) * pare_type_get_traits(type)->block_bytes;
    f->entries[i] =
        (pare_safetensors_entry){name, type, columns ? 2 : 1, {rows, columns ? columns : 1, 1, 1}};
    f->data[i] = calloc(1, f->bytes[i]);
    assert_non_null(f->data[i]);
    return f->data[i];
}

static inline void drop(file *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->entries[i].name, name) == 0) {
            free(f->data[i]);
            f->count--;
            f->entries[i] = f->entries[f->count];
            f->data[i] = f->data[f->count];
            f->bytes[i] = f->bytes[f->count];
            return;
        }
    fail_msg("no %s", name);
}

static inline void clear(file *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->data[i]);
    f->count = 0;
}

static inline pare_status fill(void *user, size_t i, pare_output *output)
{
    const file *f = user;
    return pare_output_write(output, f->data[i], f->bytes[i]);
}

static inline pare_safetensors_entry *entry(file *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->entries[i].name, name) == 0)
            return &f->entries[i];
    fail_msg("no %s", name);
    return NULL;
}

/* ---- opening it ---- */

typedef struct opened {
    json_t *config;
    pare_tensors source;
    pare_arena arena;
    pare_converted converted;
} opened;

/* Wide elements first, as the safetensors library orders them: then all are aligned. */
static inline file ordered(const file *f)
{
    file to = {0};
    for (size_t size = 8; size; size /= 2)
        for (size_t i = 0; i < f->count; i++)
            if (pare_type_element_bytes(f->entries[i].type) == size) {
                to.entries[to.count] = f->entries[i];
                to.data[to.count] = f->data[i];
                to.bytes[to.count++] = f->bytes[i];
            }
    return to;
}

static inline pare_status open_file(opened *o, const char *options, file *f)
{
    /* In memory where that is to be had: there are thousands of these. */
    const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char path[64], text[1024];
    snprintf(path, sizeof path, "%s/pare-checkpoint-XXXXXX", folder);
    int handle = mkstemp(path),
        n = snprintf(text, sizeof text, "{'quantization_config':%s}", options);
    const pare_checkpoint_library *library;
    *o = (opened){0};
    assert_true(handle >= 0);
    close(handle);
    for (int i = 0; i < n; i++)
        text[i] = (char)(text[i] == '\'' ? '"' : text[i]);
    assert_int_equal(pare_json_load_text(text, (size_t)n, "config.json", &o->config), PARE_OK);
    file sorted = ordered(f);
    assert_int_equal(
        pare_safetensors_write(path, sorted.entries, sorted.count, NULL, fill, &sorted), PARE_OK);
    struct stat written;
    assert_int_equal(stat(path, &written), 0);
    assert_int_equal(truncate(path, written.st_size - f->cut), 0);
    pare_status status = pare_safetensors_open(path, &o->source);
    unlink(path);
    if (status == PARE_OK)
        status = pare_checkpoint_find(o->config, "config.json", &library);
    if (status == PARE_OK)
        status = pare_checkpoint_convert(library, o->config, "config.json", &o->source, &o->arena,
                                         &o->converted);
    return status;
}

static inline void close_file(opened *o)
{
    pare_converted_free(&o->converted);
    pare_tensors_free(&o->source);
    pare_arena_free(&o->arena);
    json_decref(o->config);
}

#endif
