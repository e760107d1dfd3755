#include "model/model.h"

#include "base/fail.h"
#include "base/hash.h"
#include "formats/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_LIMIT = 16 << 20, HASH_ROWS = 1024 };

/* ---- opening ---- */

/* generation_config.json, where there is one beside config.json, has the ids that generation uses.
 */
static pare_status read_generation_config(const char *config_path, pare_decoder *decoder)
{
    const char *slash = strrchr(config_path, '/');
    char *folder = slash ? strndup(config_path, (size_t)(slash - config_path + 1)) : strdup("."),
         *path = NULL;
    json_t *config = NULL;
    pare_status status;
    if (!folder)
        return pare_fail_memory(strlen(config_path), "a path");
    PARE_TRY(pare_path_join(folder, "generation_config.json", &path));
    if (!pare_is_file(path))
        goto fail;
    PARE_TRY(pare_json_load_file(path, CONFIG_LIMIT, &config));
    const struct {
        const char *key;
        int32_t *id;
    } ids[] = {{"bos_token_id", &decoder->bos}, {"eos_token_id", &decoder->eos}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        const json_t *value = json_object_get(config, ids[i].key);
        if (json_is_array(value))
            value = json_array_get(value, 0);
        if (json_is_integer(value) && json_integer_value(value) >= 0 &&
            json_integer_value(value) < decoder->vocab)
            *ids[i].id = (int32_t)json_integer_value(value);
    }
fail:
    json_decref(config);
    free(path);
    free(folder);
    return status;
}

static pare_status no_weights(const pare_location *location)
{
    char *pickled = NULL;
    pare_status status = pare_path_join(location->path, "pytorch_model.bin", &pickled);
    if (status != PARE_OK)
        return status;
    bool only_pickled = pare_is_file(pickled);
    free(pickled);
    return pare_fail(
        PARE_NOT_FOUND, "%s: holds no model.safetensors, model.safetensors.index.json or .gguf%s",
        location->path,
        only_pickled ? " (pytorch_model.bin is not read: convert it to safetensors)" : "");
}

static pare_status open_safetensors(pare_model *model)
{
    pare_model_private *private = pare_model_get_private(model);
    const pare_location *location = &private->location;
    json_t *config = NULL;
    pare_status status;
    if (!location->config)
        return pare_fail(PARE_NOT_FOUND, "%s: has no config.json beside it", location->weights);
    PARE_TRY(pare_json_load_file(location->config, CONFIG_LIMIT, &config));
    PARE_TRY(pare_arch_from_config(config, location->config, &private->arena, &model->decoder,
                                   &private->layout));
    PARE_TRY(read_generation_config(location->config, &model->decoder));
    PARE_TRY(pare_safetensors_open(location->weights, &private->tensors));
    const pare_tensors *tensors = &private->tensors;
    if (private->layout.library) {
        PARE_TRY(pare_checkpoint_convert(private->layout.library, config, location->config, tensors,
                                         &private->arena, &private->converted));
        tensors = &private->converted.tensors;
        model->decoder.input_rounding = private->converted.rounding;
        model->decoder.outlier_threshold = private->converted.outlier_threshold;
        model->decoder.input_group = private->converted.input_group;
    }
    status = pare_weights_bind(model, tensors, location->weights);
    pare_tensors_free(&private->converted.tensors);
fail:
    json_decref(config);
    return status;
}

static pare_status open_gguf(pare_model *model)
{
    pare_model_private *private = pare_model_get_private(model);
    pare_status status;
    PARE_TRY(pare_gguf_open(private->location.weights, &private->gguf));
    private->is_gguf = true;
    PARE_TRY(
        pare_arch_from_gguf(&private->gguf, &private->arena, &model->decoder, &private->layout));
    status = pare_weights_bind(model, &private->gguf.tensors, private->location.weights);
fail:
    return status;
}

pare_status pare_model_make_rope_factors(pare_model *model)
{
    pare_model_private *private = pare_model_get_private(model);
    const pare_decoder *decoder = &model->decoder;
    const pare_tensor *given = pare_tensors_find(&private->gguf.tensors, "rope_freqs.weight");
    int64_t pairs = decoder->rope_dims / 2;
    if (given && decoder->position == PARE_POSITION_ROPE) {
        private->rope_factors = *given;
        return PARE_OK;
    }
    if (decoder->position != PARE_POSITION_ROPE || private->layout.rope.kind != PARE_ROPE_LLAMA3)
        return PARE_OK;
    size_t bytes = (size_t)pairs * sizeof(float);
    float *factors = pare_arena_allocate(&private->arena, bytes), unused;
    if (!factors)
        return PARE_OUT_OF_MEMORY;
    pare_rope plain = pare_rope_default();
    plain.theta = private->layout.rope.theta;
    pare_status status =
        pare_rope_compute(&plain, decoder->rope_dims, private->location.path, factors, &unused);
    for (int64_t i = 0; i < pairs; i++)
        factors[i] /= decoder->rope_frequencies[i];
    private->rope_factors = (pare_tensor){.name = "rope_freqs.weight",
                                          .type = PARE_TYPE_F32,
                                          .dims = 1,
                                          .shape = {pairs, 1, 1, 1},
                                          .data = factors,
                                          .bytes = bytes,
                                          .file = private->location.path};
    return status;
}

/* ---- what the model is called, and what it weighs ---- */

static bool ends_with(const char *text, size_t length, const char *suffix)
{
    size_t tail = strlen(suffix);
    return length > tail && strncmp(text + length - tail, suffix, tail) == 0;
}

/* "x/Model-Q4.gguf" -> "Model-Q4"; "org/name" from the hub -> "name". */
static pare_status make_name(const char *asked, char **name)
{
    size_t end = strlen(asked);
    while (end > 1 && asked[end - 1] == '/')
        end--;
    size_t first = end;
    while (first > 0 && asked[first - 1] != '/')
        first--;
    size_t length = end - first;
    static const char *const suffixes[] = {".gguf", ".safetensors", ".safetensors.index.json"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (ends_with(asked + first, length, suffixes[i])) {
            length -= strlen(suffixes[i]);
            break;
        }
    *name = strndup(asked + first, length);
    return *name ? PARE_OK : pare_fail_memory(length + 1, "a name");
}

bool pare_model_is_block_matrix(const pare_model *model, const pare_tensor *tensor)
{
    (void)model;
    return tensor->dims == 2 && strncmp(tensor->name, "blk.", 4) == 0;
}

static void summarize_tensors(pare_model *model)
{
    pare_model_info *info = &model->info;
    int64_t block_elements = 0, block_bytes = 0, by_type[PARE_TYPE_COUNT] = {0};
    pare_type most = PARE_TYPE_F32;
    for (size_t i = 0; i < model->tensor_count; i++) {
        const pare_tensor *tensor = &model->tensors[i];
        int64_t elements = pare_tensor_elements(tensor);
        info->parameters += elements;
        info->weights_bytes += (int64_t)tensor->bytes;
        if (!pare_model_is_block_matrix(model, tensor))
            continue;
        block_elements += elements;
        block_bytes += (int64_t)tensor->bytes;
        by_type[tensor->type] += elements;
        if (by_type[tensor->type] > by_type[most])
            most = tensor->type;
        if ((double)tensor->bytes * 8 < 16 * (double)elements)
            info->quantized = true;
    }
    info->quantized = info->quantized || info->checkpoint;
    info->format = pare_type_name(most);
    info->bits_per_weight = block_elements ? 8 * (double)block_bytes / (double)block_elements : 0;
}

static void summarize(pare_model *model)
{
    const pare_model_private *private = pare_model_get_private(model);
    const pare_decoder *decoder = &model->decoder;
    model->info = (pare_model_info){
        .path = private->location.path,
        .name = private->name,
        .architecture = decoder->architecture,
        .layers = decoder->layers,
        .hidden = decoder->hidden,
        .heads = decoder->heads,
        .kv_heads = decoder->kv_heads,
        .head_dim = decoder->head_dim,
        .mlp_hidden = decoder->mlp_hidden,
        .vocab = decoder->vocab,
        .context = decoder->context,
        .tied_head = decoder->tied_head,
        .synthetic = private->layout.synthetic,
        .checkpoint = private->converted.note,
        .activations = pare_input_rounding_name(decoder->input_rounding),
        .outlier_threshold = decoder->outlier_threshold,
    };
    summarize_tensors(model);
}

/* ---- public ---- */

pare_status pare_model_open(const char *name, pare_model **out)
{
    pare_model *model = NULL;
    pare_model_private *private = NULL;
    pare_status status;
    *out = NULL;
    PARE_TRY(pare_allocate(1, sizeof *model, "a model", &model));
    PARE_TRY(pare_allocate(1, sizeof *private, "a model", &private));
    model->private = private;
    PARE_TRY(pare_locate(name, &private->location));
    PARE_TRY(make_name(name, &private->name));
    if (!private->location.weights)
        status = no_weights(&private->location);
    else if (pare_location_is_gguf(&private->location))
        status = open_gguf(model);
    else
        status = open_safetensors(model);
    if (status != PARE_OK)
        goto fail;
    PARE_TRY(pare_model_make_rope_factors(model));
    summarize(model);
    *out = model;
    return PARE_OK;
fail:
    pare_model_close(model);
    return status;
}

void pare_model_close(pare_model *model)
{
    pare_model_private *private = model ? pare_model_get_private(model) : NULL;
    if (private) {
        pare_gguf_close(&private->gguf);
        pare_tensors_free(&private->tensors);
        pare_converted_free(&private->converted);
        pare_arena_free(&private->arena);
        pare_location_free(&private->location);
        free(private->name);
        free(private);
    }
    free(model);
}

const pare_model_info *pare_model_get_info(const pare_model *model)
{
    return &model->info;
}

const pare_gguf *pare_model_gguf(const pare_model *model)
{
    const pare_model_private *private = pare_model_get_private(model);
    return private->is_gguf ? &private->gguf : NULL;
}

const pare_location *pare_model_location(const pare_model *model)
{
    return &pare_model_get_private(model)->location;
}

static pare_status hash_rows(pare_sha256 *hash, const pare_tensor *tensor, void **buffer)
{
    int64_t rows = pare_tensor_rows(tensor), step = rows;
    size_t row = pare_tensor_row_bytes(tensor);
    const void *data;
    pare_status status = PARE_OK;
    free(*buffer);
    *buffer = NULL;
    if (tensor->source) {
        step = HASH_ROWS;
        PARE_TRY(pare_allocate(HASH_ROWS, row, "rows of weights", buffer));
    }
    for (int64_t r = 0; r < rows; r += step) {
        int64_t count = rows - r < step ? rows - r : step;
        PARE_TRY(pare_tensor_read(tensor, r, count, *buffer, &data));
        PARE_TRY(pare_sha256_add(hash, data, (size_t)count * row));
    }
fail:
    return status;
}

pare_status pare_model_hash(const pare_model *model, char hex[65])
{
    pare_sha256 hash;
    void *buffer = NULL;
    pare_status status = pare_sha256_begin(&hash);
    if (status != PARE_OK)
        return status;
    for (size_t i = 0; i < model->tensor_count && status == PARE_OK; i++) {
        const pare_tensor *tensor = &model->tensors[i];
        const char *type = pare_type_name(tensor->type);
        PARE_TRY(pare_sha256_add(&hash, tensor->name, strlen(tensor->name) + 1));
        PARE_TRY(pare_sha256_add(&hash, type, strlen(type) + 1));
        PARE_TRY(pare_sha256_add(&hash, tensor->shape, sizeof tensor->shape));
        PARE_TRY(hash_rows(&hash, tensor, &buffer));
    }
    free(buffer);
    return pare_sha256_end(&hash, hex);
fail:
    free(buffer);
    (void)!pare_sha256_end(&hash, NULL);
    return status;
}
