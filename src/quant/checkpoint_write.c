/* Layouts: see src/model/checkpoint_gptq.c and checkpoint_awq.c, which read them. */
#include "quant/checkpoint_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "model/model.h"
#include "quant/checkpoint_words.h"
#include "quant/plan.h"
#include "quant/types.h"

enum { WORD = 32, PARTS = 4, CONFIG_LIMIT = 16 << 20, COPY_LIMIT = 1 << 30 };

typedef enum part { QWEIGHT, QZEROS, SCALES, G_IDX, PLAIN } part;

typedef struct entry {
    size_t tensor; /* of the plan */
    part part;
} entry;

typedef struct writer {
    const pare_model *model;
    const pare_quantize_options *options;
    const pare_quantize_result *plan;
    const pare_method *method;
    const void *state;
    bool awq;
    entry *entries;
    pare_safetensors_entry *files;
    size_t count;
    pare_arena arena;
    size_t encoded; /* the plan's tensor whose rows are in `rows`; SIZE_MAX: none */
    uint8_t *rows;
} writer;

/* ---- checks ---- */

static pare_status check_item(const pare_model *model, const pare_quantize_item *item,
                              const pare_tensor *tensor, const char *layout, pare_type *type)
{
    if (!item->chosen)
        return PARE_OK; /* it is copied */
    if (!pare_model_is_block_matrix(model, tensor))
        return pare_fail(PARE_UNSUPPORTED, "layout %s: tensor '%s' is no linear layer of a block",
                         layout, item->name);
    const pare_group_format *format = pare_group_format_of(item->type);
    if (!format || (format->bits != 4 && strcmp(layout, "awq") == 0))
        return pare_fail(PARE_UNSUPPORTED,
                         "layout %s: format %s of tensor '%s' is not handled (i4_g32, i4_g64, "
                         "i4_g128, with or without _asym; gptq also i3_g*, i2_g*)",
                         layout, pare_type_name(item->type), item->name);
    if (*type != PARE_TYPE_COUNT && *type != item->type)
        return pare_fail(PARE_UNSUPPORTED, "layout %s: matrices are in %s and in %s", layout,
                         pare_type_name(*type), pare_type_name(item->type));
    if (pare_tensor_rows(tensor) * format->bits % WORD != 0)
        return pare_fail(PARE_UNSUPPORTED,
                         "layout %s: tensor '%s' has %lld rows, whose zero points of %d bits are "
                         "no whole words",
                         layout, item->name, (long long)pare_tensor_rows(tensor), format->bits);
    *type = item->type;
    return PARE_OK;
}

pare_status pare_checkpoint_check(const pare_model *model, const pare_quantize_options *options,
                                  const pare_quantize_result *plan)
{
    const pare_location *location = pare_model_location(model);
    pare_type type = PARE_TYPE_COUNT;
    const pare_tensor *tensor;
    if (strcmp(options->layout, "gptq") != 0 && strcmp(options->layout, "awq") != 0)
        return pare_fail(PARE_INVALID_ARGUMENT, "no layout is called '%s'; there are: gptq, awq",
                         options->layout);
    if (pare_model_gguf(model) || !location->config || model->info.checkpoint)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: layouts of other libraries are written from a folder of Hugging "
                         "Face's that is not quantized",
                         model->info.path);
    for (size_t i = 0; (tensor = pare_quantize_tensor(model, i)); i++) {
        pare_status status = check_item(model, &plan->items[i], tensor, options->layout, &type);
        if (status != PARE_OK)
            return status;
    }
    if (type == PARE_TYPE_COUNT)
        return pare_fail(PARE_INVALID_ARGUMENT, "layout %s: no matrix is quantized",
                         options->layout);
    return PARE_OK;
}

/* ---- the list of tensors ---- */

static pare_status add_entry(writer *w, size_t index, part which, const char *stem,
                             const char *suffix, pare_safetensors_entry file)
{
    char name[2 * PARE_NAME_BYTES];
    int length = snprintf(name, sizeof name, "%s%s", stem, suffix);
    file.name = pare_arena_copy(&w->arena, name, (size_t)length);
    if (!file.name)
        return PARE_OUT_OF_MEMORY;
    w->entries[w->count] = (entry){index, which};
    w->files[w->count++] = file;
    return PARE_OK;
}

static pare_status add_matrix(writer *w, size_t index, const pare_tensor *tensor, const char *stem)
{
    const pare_group_format *format = pare_group_format_of(w->plan->items[index].type);
    const int64_t rows = pare_tensor_rows(tensor), columns = pare_tensor_columns(tensor),
                  groups = columns / format->group, row_words = rows * format->bits / WORD;
    const pare_safetensors_entry
        codes = {.type = PARE_TYPE_I32,
                 .dims = 2,
                 .shape = {w->awq ? columns : columns * format->bits / WORD,
                           w->awq ? row_words : rows}},
        zeros = {.type = PARE_TYPE_I32, .dims = 2, .shape = {groups, row_words}},
        scales = {.type = PARE_TYPE_F16, .dims = 2, .shape = {groups, rows}},
        index_of = {.type = PARE_TYPE_I32, .dims = 1, .shape = {columns}};
    pare_status status;
    PARE_TRY(add_entry(w, index, QWEIGHT, stem, ".qweight", codes));
    PARE_TRY(add_entry(w, index, QZEROS, stem, ".qzeros", zeros));
    PARE_TRY(add_entry(w, index, SCALES, stem, ".scales", scales));
    if (!w->awq)
        status = add_entry(w, index, G_IDX, stem, ".g_idx", index_of);
fail:
    return status;
}

static pare_status add_plain(writer *w, size_t index, const pare_tensor *tensor, const char *name)
{
    pare_safetensors_entry file = {.type = tensor->type, .dims = tensor->dims};
    if (tensor->source)
        return pare_fail(PARE_UNSUPPORTED,
                         "layout %s: tensor '%s' is stored transposed and stays "
                         "as it is, which is not handled",
                         w->options->layout, tensor->name);
    memcpy(file.shape, tensor->shape, sizeof file.shape);
    if (w->method->rows && w->state && w->method->rows(w->state, tensor))
        file.type = PARE_TYPE_F32;
    return add_entry(w, index, PLAIN, name, "", file);
}

static pare_status list_entries(writer *w)
{
    const pare_name_table *names = pare_model_get_private(w->model)->layout.names;
    const size_t most = PARTS * (w->model->tensor_count + 1);
    char hf[PARE_NAME_BYTES];
    pare_status status;
    PARE_TRY(pare_allocate(most, sizeof *w->entries, "tensors", &w->entries));
    PARE_TRY(pare_allocate(most, sizeof *w->files, "tensors", &w->files));
    for (size_t i = 0; i < w->model->tensor_count; i++) {
        const pare_tensor *tensor = &w->model->tensors[i];
        if (!pare_name_to_hf(names, tensor->name, hf))
            return pare_fail(PARE_INTERNAL, "tensor '%s' has no name", tensor->name);
        if (!w->plan->items[i].chosen) {
            PARE_TRY(add_plain(w, i, tensor, hf));
            continue;
        }
        hf[strlen(hf) - strlen(".weight")] = 0;
        PARE_TRY(add_matrix(w, i, tensor, hf));
    }
fail:
    return status;
}

/* ---- rows ---- */

static pare_status check_row(const pare_tensor *tensor, int64_t r, const float *values, int64_t n)
{
    for (int64_t c = 0; c < n; c++)
        if (!(fabsf(values[c]) <= 65504))
            return pare_fail(PARE_FORMAT, "%s: tensor '%s', row %lld, column %lld is %g",
                             tensor->file, tensor->name, (long long)r, (long long)c,
                             (double)values[c]);
    return PARE_OK;
}

static pare_status encode_rows(writer *w, const pare_tensor *tensor, const pare_quantize_item *item)
{
    const int64_t rows = pare_tensor_rows(tensor), columns = pare_tensor_columns(tensor);
    const size_t row_bytes = pare_type_row_bytes(item->type, columns);
    const pare_method_matrix as = {.name = item->name,
                                   .type = item->type,
                                   .rows = rows,
                                   .columns = columns,
                                   .tensor = tensor,
                                   .state = w->state};
    char *buffer = NULL;
    float *values = NULL;
    const void *stored;
    pare_status status;
    PARE_TRY(pare_allocate(1, pare_tensor_row_bytes(tensor), item->name, &buffer));
    PARE_TRY(pare_allocate((size_t)columns, sizeof *values, item->name, &values));
    for (int64_t r = 0; r < rows; r++) {
        PARE_TRY(pare_tensor_read(tensor, r, 1, buffer, &stored));
        pare_type_get_traits(tensor->type)->decode(stored, values, columns);
        PARE_TRY(check_row(tensor, r, values, columns));
        w->method->encode_row(&as, values, w->rows + (size_t)r * row_bytes);
    }
fail:
    free(buffer);
    free(values);
    return status;
}

/* The encoded rows of a matrix of the plan; those of the last one are kept. */
static pare_status rows_of(writer *w, size_t index, const uint8_t **rows)
{
    const pare_tensor *tensor = pare_quantize_tensor(w->model, index);
    const pare_quantize_item *item = &w->plan->items[index];
    *rows = w->method->rows && w->state ? w->method->rows(w->state, tensor) : NULL;
    if (*rows)
        return PARE_OK;
    if (w->encoded != index) {
        free(w->rows);
        w->encoded = SIZE_MAX;
        pare_status status = pare_allocate((size_t)item->bytes, 1, item->name, &w->rows);
        if (status == PARE_OK)
            status = encode_rows(w, tensor, item);
        if (status != PARE_OK)
            return status;
        w->encoded = index;
    }
    *rows = w->rows;
    return PARE_OK;
}

/* ---- packing ---- */

static pare_status fill_part(writer *w, const entry *e, const pare_safetensors_entry *file,
                             pare_output *output)
{
    const pare_tensor *tensor = pare_quantize_tensor(w->model, e->tensor);
    pare_words m = {.format = pare_group_format_of(w->plan->items[e->tensor].type),
                    .row_count = pare_tensor_rows(tensor),
                    .columns = pare_tensor_columns(tensor),
                    .awq = w->awq};
    const size_t elements = (size_t)(file->shape[0] * (file->dims == 2 ? file->shape[1] : 1));
    const size_t size = file->type == PARE_TYPE_F16 ? 2 : 4;
    void *data = NULL;
    pare_status status;
    PARE_TRY(rows_of(w, e->tensor, &m.rows));
    PARE_TRY(pare_allocate(elements, size, file->name, &data));
    if (e->part == QWEIGHT)
        pare_words_codes(&m, data);
    else if (e->part == QZEROS)
        pare_words_zeros(&m, data);
    else if (e->part == SCALES)
        pare_words_scales(&m, data);
    for (int64_t c = 0; e->part == G_IDX && c < m.columns; c++)
        ((int32_t *)data)[c] = (int32_t)(c / m.format->group);
    status = pare_output_write(output, data, elements * size);
fail:
    free(data);
    return status;
}

static pare_status fill(void *user, size_t index, pare_output *output)
{
    writer *w = user;
    const entry *e = &w->entries[index];
    const pare_tensor *tensor = pare_quantize_tensor(w->model, e->tensor);
    const uint8_t *rows = NULL;
    if (e->part != PLAIN)
        return fill_part(w, e, &w->files[index], output);
    if (w->method->rows && w->state)
        rows = w->method->rows(w->state, tensor);
    return rows ? pare_output_write(output, rows,
                                    (size_t)pare_tensor_elements(tensor) * sizeof(float))
                : pare_output_write(output, tensor->data, tensor->bytes);
}

/* ---- the folder ---- */

static json_t *quantization_config(const writer *w, const pare_group_format *format)
{
    if (w->awq)
        return json_pack("{s:s, s:i, s:I, s:b, s:s, s:[s]}", "quant_method", "awq", "bits",
                         format->bits, "group_size", (json_int_t)format->group, "zero_point", 1,
                         "version", "gemm", "modules_to_not_convert", "lm_head");
    return json_pack("{s:s, s:i, s:I, s:b, s:b, s:b, s:f, s:b, s:s}", "quant_method", "gptq",
                     "bits", format->bits, "group_size", (json_int_t)format->group, "desc_act", 0,
                     "sym", !format->asymmetric, "true_sequential", 1, "damp_percent", 0.01,
                     "lm_head", 0, "checkpoint_format", "gptq");
}

static pare_status write_text(const char *folder, const char *name, const char *text, size_t size)
{
    char *path = NULL;
    pare_output output = {0};
    pare_status status;
    PARE_TRY(pare_path_join(folder, name, &path));
    PARE_TRY(pare_output_open(&output, path));
    PARE_TRY(pare_output_write(&output, text, size));
    status = pare_output_commit(&output);
fail:
    pare_output_abort(&output);
    free(path);
    return status;
}

static pare_status write_config(const writer *w, const pare_group_format *format)
{
    json_t *config = NULL;
    char *text = NULL;
    pare_status status;
    PARE_TRY(pare_json_load_file(pare_model_location(w->model)->config, CONFIG_LIMIT, &config));
    json_object_set_new(config, "quantization_config", quantization_config(w, format));
    json_object_set_new(config, "torch_dtype", json_string("float16"));
    if (json_object_get(config, "dtype"))
        json_object_set_new(config, "dtype", json_string("float16"));
    text = json_dumps(config, JSON_INDENT(2));
    status = text ? write_text(w->options->output, "config.json", text, strlen(text))
                  : pare_fail_memory(1024, "config.json");
fail:
    free(text);
    json_decref(config);
    return status;
}

/* What a tokenizer and a generation need, where the source has it. */
static pare_status copy_files(const writer *w)
{
    static const char *const names[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "tokenizer.model",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "generation_config.json"};
    const char *config = pare_model_location(w->model)->config;
    const size_t length = strlen(config) - strlen("config.json");
    char *folder = length ? strndup(config, length) : strdup("."), *path = NULL, *text = NULL;
    pare_status status = folder ? PARE_OK : pare_fail_memory(length, "a path");
    for (size_t i = 0; i < sizeof names / sizeof *names && status == PARE_OK; i++) {
        size_t size;
        PARE_TRY(pare_path_join(folder, names[i], &path));
        if (pare_is_file(path)) {
            PARE_TRY(pare_read_file(path, COPY_LIMIT, &text, &size));
            status = write_text(w->options->output, names[i], text, size);
        }
        free(path);
        free(text);
        path = text = NULL;
    }
fail:
    free(folder);
    free(path);
    free(text);
    return status;
}

static pare_status make_folder(const pare_model *model, const char *folder)
{
    struct stat own, given;
    if (mkdir(folder, 0777) == 0)
        return PARE_OK;
    if (stat(folder, &given) != 0 || !S_ISDIR(given.st_mode))
        return pare_fail(PARE_IO, "%s: cannot make this folder", folder);
    if (stat(model->info.path, &own) == 0 && own.st_dev == given.st_dev &&
        own.st_ino == given.st_ino)
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: the output is the model's own folder", folder);
    return PARE_OK;
}

static const pare_group_format *format_of_plan(const writer *w)
{
    for (size_t i = 0; i < w->model->tensor_count; i++)
        if (w->plan->items[i].chosen)
            return pare_group_format_of(w->plan->items[i].type);
    return NULL; /* never: pare_checkpoint_check saw a chosen one */
}

pare_status pare_checkpoint_write(const pare_model *model, const pare_quantize_options *options,
                                  const pare_method *method, const void *state,
                                  pare_quantize_result *plan)
{
    writer w = {.model = model,
                .options = options,
                .plan = plan,
                .method = method,
                .state = state,
                .awq = strcmp(options->layout, "awq") == 0,
                .encoded = SIZE_MAX};
    static const char *const metadata[] = {"format", "pt", NULL};
    char *path = NULL;
    struct stat written;
    pare_status status;
    PARE_TRY(make_folder(model, options->output));
    PARE_TRY(list_entries(&w));
    PARE_TRY(pare_path_join(options->output, "model.safetensors", &path));
    PARE_TRY(pare_safetensors_write(path, w.files, w.count, metadata, fill, &w));
    PARE_TRY(copy_files(&w));
    PARE_TRY(write_config(&w, format_of_plan(&w)));
    if (stat(path, &written) == 0)
        plan->bytes = plan->predicted_bytes = (uint64_t)written.st_size;
    plan->llama_cpp_limit = "llama.cpp does not open safetensors";
fail:
    free(path);
    free(w.entries);
    free(w.files);
    free(w.rows);
    pare_arena_free(&w.arena);
    return status;
}
