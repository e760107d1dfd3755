#include "base/clock.h"
#include "base/fail.h"
#include "base/random.h"
#include "model/export.h"
#include "model/model.h"
#include "model/shapes.h"
#include "quant/types.h"

#include <libgen.h>
#include <pare/synth.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

enum { TILE_ROWS = 256, MOST_TILES = 16, CHUNK_BYTES = 4 << 20, CONFIG_LIMIT = 16 << 20 };

/* Encoded rows of one length. */
typedef struct tile {
    pare_type type;
    int64_t columns;
    size_t row_bytes;
    uint8_t *rows;
} tile;

typedef struct synth_tensor {
    int64_t rows, columns; /* columns 0: a vector */
    pare_type type;
    bool ones;         /* a norm's weight */
    const void *fixed; /* RoPE factors */
} synth_tensor;

typedef struct synth {
    pare_model model;
    pare_model_private private;
    pare_type format;
    uint64_t seed;
    pare_gguf_writer writer;
    synth_tensor *tensors;
    size_t count, capacity;
    tile tiles[MOST_TILES];
    int tile_count;
    uint8_t *chunk;
    const pare_progress *progress;
    pare_synth_result *result;
    double block_elements, block_bytes, written;
} synth;

const char *pare_synth_shape_name(int i)
{
    for (int j = 0; pare_shapes[j].name; j++)
        if (j == i)
            return pare_shapes[j].name;
    return NULL;
}

/* ---- what the file holds ---- */

static pare_status unknown_shape(const char *shape)
{
    char known[512] = "";
    for (const pare_shape *s = pare_shapes; s->name; s++) {
        strncat(known, " ", sizeof known - strlen(known) - 1);
        strncat(known, s->name, sizeof known - strlen(known) - 1);
    }
    return pare_fail(PARE_NOT_FOUND, "shape '%s' is neither a file nor one of:%s", shape, known);
}

static pare_status read_shape(synth *s, const char *shape)
{
    const char *text = pare_shape_config(shape);
    json_t *config = NULL;
    pare_status status;
    if (!text && !pare_is_file(shape))
        return unknown_shape(shape);
    status = text ? pare_json_load_text(text, strlen(text), shape, &config)
                  : pare_json_load_file(shape, CONFIG_LIMIT, &config);
    if (status == PARE_OK)
        status = pare_arch_from_config(config, shape, &s->private.arena, &s->model.decoder,
                                       &s->private.layout);
    json_decref(config);
    s->model.private = &s->private;
    s->model.info.path = s->model.info.name = shape;
    s->model.info.synthetic = true;
    s->private.location.path = (char *)shape;
    return status == PARE_OK ? pare_model_make_rope_factors(&s->model) : status;
}

static pare_status add_tensor(synth *s, const char *name, synth_tensor tensor)
{
    int64_t shape[PARE_MAX_DIMS] = {tensor.rows, tensor.columns, 1, 1};
    pare_status status =
        pare_grow(&s->tensors, &s->capacity, s->count + 1, sizeof *s->tensors, "tensors");
    if (status != PARE_OK)
        return status;
    s->tensors[s->count++] = tensor;
    pare_gguf_add_tensor(&s->writer, name, tensor.type, tensor.columns ? 2 : 1, shape);
    return PARE_OK;
}

static bool ends_with(const char *text, const char *tail)
{
    size_t a = strlen(text), b = strlen(tail);
    return a >= b && strcmp(text + a - b, tail) == 0;
}

/* Position embeddings stay F32 as llama.cpp keeps them: they are added, not multiplied with. */
static pare_status describe_tensor(void *user, const char *name, int64_t rows, int64_t columns)
{
    synth *s = user;
    synth_tensor tensor = {.rows = rows, .columns = columns, .type = PARE_TYPE_F32};
    tensor.ones = ends_with(name, "norm.weight");
    if (columns && strncmp(name, "position", 8) != 0) {
        tensor.type = s->format;
        if (!pare_type_row_bytes(s->format, columns)) {
            tensor.type = PARE_TYPE_F16;
            s->result->fallbacks++;
        }
    }
    double elements = (double)rows * (double)(columns ? columns : 1);
    s->result->parameters += (int64_t)elements;
    if (columns && strncmp(name, "blk.", 4) == 0) {
        s->block_elements += elements;
        s->block_bytes += (double)rows * (double)pare_type_row_bytes(tensor.type, columns);
    }
    return add_tensor(s, name, tensor);
}

static pare_status describe_all(synth *s)
{
    pare_status status;
    const pare_tensor *factors = s->private.rope_factors.name ? &s->private.rope_factors : NULL;
    PARE_TRY(pare_model_export_metadata(&s->model, &s->writer));
    pare_export_set_file_type(&s->writer, s->format);
    /* So that llama.cpp runs it too: it asks for a vocabulary, or to be told that there is none. */
    pare_gguf_set_text(&s->writer, "tokenizer.ggml.model", "no_vocab", 8);
    PARE_TRY(pare_weights_each(&s->model.decoder, &s->private.layout, describe_tensor, s));
    if (factors)
        PARE_TRY(add_tensor(s, factors->name,
                            (synth_tensor){.rows = factors->shape[0],
                                           .type = PARE_TYPE_F32,
                                           .fixed = factors->data}));
    status = s->writer.status;
fail:
    return status;
}

/* ---- the weights ---- */

static pare_status make_tile(synth *s, pare_type type, int64_t columns, tile *made)
{
    const pare_type_traits *traits = pare_type_get_traits(type);
    float *values = NULL;
    pare_random random = {s->seed ^ (uint64_t)columns << 20 ^ (uint64_t)type};
    pare_status status;
    *made =
        (tile){.type = type, .columns = columns, .row_bytes = pare_type_row_bytes(type, columns)};
    PARE_TRY(pare_allocate((size_t)columns, sizeof *values, "a row of weights", &values));
    PARE_TRY(pare_allocate(TILE_ROWS, made->row_bytes, "encoded rows", &made->rows));
    for (int row = 0; row < TILE_ROWS; row++) {
        for (int64_t i = 0; i < columns; i++)
            values[i] = (float)(0.02 * pare_random_normal(&random));
        traits->encode(values, made->rows + (size_t)row * made->row_bytes, columns, NULL);
    }
fail:
    free(values);
    return status;
}

static pare_status find_tile(synth *s, pare_type type, int64_t columns, const tile **found)
{
    for (int i = 0; i < s->tile_count; i++)
        if (s->tiles[i].type == type && s->tiles[i].columns == columns) {
            *found = &s->tiles[i];
            return PARE_OK;
        }
    if (s->tile_count == MOST_TILES) {
        for (int i = 0; i < MOST_TILES; i++)
            free(s->tiles[i].rows);
        s->tile_count = 0;
    }
    *found = &s->tiles[s->tile_count];
    return make_tile(s, type, columns, &s->tiles[s->tile_count++]);
}

static pare_status tell(synth *s)
{
    const pare_progress *p = s->progress;
    if (p && p->update && !p->update(p->user, s->written, (double)s->result->bytes, "writing"))
        return pare_fail(PARE_CANCELLED, "writing was stopped");
    return PARE_OK;
}

static pare_status write_chunk(synth *s, pare_output *output, size_t size)
{
    s->written += (double)size;
    pare_status status = pare_output_write(output, s->chunk, size);
    return status == PARE_OK ? tell(s) : status;
}

static pare_status write_matrix(synth *s, const synth_tensor *tensor, uint64_t index,
                                pare_output *output)
{
    const tile *from;
    pare_random random = {s->seed + 0x5851f42d4c957f2du * (index + 1)};
    size_t used = 0;
    pare_status status = find_tile(s, tensor->type, tensor->columns, &from);
    for (int64_t row = 0; status == PARE_OK && row < tensor->rows; row++) {
        if (used + from->row_bytes > CHUNK_BYTES && used) {
            status = write_chunk(s, output, used);
            used = 0;
        }
        const uint8_t *bytes = from->rows + pare_random_below(&random, TILE_ROWS) * from->row_bytes;
        if (from->row_bytes > CHUNK_BYTES) {
            status = pare_output_write(output, bytes, from->row_bytes);
            continue;
        }
        memcpy(s->chunk + used, bytes, from->row_bytes);
        used += from->row_bytes;
    }
    return status == PARE_OK && used ? write_chunk(s, output, used) : status;
}

static pare_status write_vector(synth *s, const synth_tensor *tensor, uint64_t index,
                                pare_output *output)
{
    pare_random random = {s->seed ^ index};
    pare_status status = PARE_OK;
    if (tensor->fixed)
        return pare_output_write(output, tensor->fixed, (size_t)tensor->rows * sizeof(float));
    for (int64_t i = 0; status == PARE_OK && i < tensor->rows; i++) {
        float value = tensor->ones ? 1 : (float)(0.02 * pare_random_normal(&random));
        status = pare_output_write(output, &value, sizeof value);
    }
    return status;
}

static pare_status fill(void *user, size_t index, pare_output *output)
{
    synth *s = user;
    const synth_tensor *tensor = &s->tensors[index];
    return tensor->columns ? write_matrix(s, tensor, index, output)
                           : write_vector(s, tensor, index, output);
}

/* Told before hours of writing, not after. */
static pare_status check_space(const char *path, uint64_t needed)
{
    struct statvfs info;
    char *copy = strdup(path);
    bool known = copy && statvfs(dirname(copy), &info) == 0;
    double left = known ? (double)info.f_bavail * (double)info.f_frsize : 0;
    free(copy);
    if (known && left < (double)needed)
        return pare_fail(PARE_IO, "%s: needs %.1f GB, the disk has %.1f GB left", path,
                         (double)needed / 1e9, left / 1e9);
    return PARE_OK;
}

static void release(synth *s)
{
    pare_gguf_writer_free(&s->writer);
    pare_arena_free(&s->private.arena);
    for (int i = 0; i < s->tile_count; i++)
        free(s->tiles[i].rows);
    free(s->tensors);
    free(s->chunk);
    free(s);
}

pare_status pare_synth(const char *shape, pare_type format, uint64_t seed, const char *path,
                       const pare_progress *progress, pare_synth_result *result)
{
    double start = pare_seconds();
    uint64_t bytes;
    synth *s;
    *result = (pare_synth_result){0};
    if (!pare_type_writable(format))
        return pare_fail(PARE_UNSUPPORTED, "format '%s' cannot be written", pare_type_name(format));
    pare_status status = pare_allocate(1, sizeof *s, "a synthetic model", &s);
    if (status != PARE_OK)
        return status;
    s->format = format;
    s->seed = seed;
    s->progress = progress;
    s->result = result;
    PARE_TRY(pare_allocate(1, CHUNK_BYTES, "a buffer", &s->chunk));
    PARE_TRY(read_shape(s, shape));
    PARE_TRY(describe_all(s));
    PARE_TRY(pare_gguf_predict_size(&s->writer, &bytes));
    PARE_TRY(check_space(path, bytes));
    result->bytes = (int64_t)bytes;
    PARE_TRY(pare_gguf_write(&s->writer, path, fill, s));
    result->bits_per_weight = s->block_elements > 0 ? 8 * s->block_bytes / s->block_elements : 0;
    result->seconds = pare_seconds() - start;
fail:
    release(s);
    return status;
}
