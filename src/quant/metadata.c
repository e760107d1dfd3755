#include "quant/metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/fail.h"
#include "base/hash.h"
#include "model/export.h"
#include "model/model.h"
#include "quant/recipes.h"
#include "quant/types.h"
#include "text/export.h"

static void set_text(pare_gguf_writer *writer, const char *key, const char *text)
{
    pare_gguf_set_text(writer, key, text, strlen(text));
}

/* One string for each rule and each fallback: "PATTERN=FORMAT", "NAME: WANTED -> USED, REASON". */
static pare_status set_lists(const pare_quantize_options *options, const pare_quantize_result *plan,
                             pare_gguf_writer *writer)
{
    pare_status status;
    pare_gguf_string *list = NULL;
    pare_arena arena = {0};
    size_t count = options->rule_count > plan->fallbacks ? options->rule_count : plan->fallbacks,
           n = 0;
    char text[1024];
    PARE_TRY(pare_allocate(count + 1, sizeof *list, "the metadata", &list));
    for (size_t i = 0; i < options->rule_count; i++) {
        snprintf(text, sizeof text, "%s=%s", options->rules[i].pattern,
                 pare_type_name(options->rules[i].type));
        list[i] = (pare_gguf_string){pare_arena_copy(&arena, text, strlen(text)), strlen(text)};
    }
    /* Empty lists too: they replace those of a source that Pare wrote. */
    pare_gguf_set_strings(writer, "pare.tensor_rules", list, options->rule_count);
    for (size_t i = 0; i < plan->count; i++) {
        const pare_quantize_item *item = &plan->items[i];
        if (!item->reason)
            continue;
        snprintf(text, sizeof text, "%s: %s -> %s, %s", item->name, pare_type_name(item->wanted),
                 pare_type_name(item->type), item->reason);
        list[n++] = (pare_gguf_string){pare_arena_copy(&arena, text, strlen(text)), strlen(text)};
    }
    pare_gguf_set_strings(writer, "pare.fallbacks", list, n);
fail:
    pare_arena_free(&arena);
    free(list);
    return status;
}

/* A GGUF's tokenizer came with its metadata. A folder without one is a model all the same: it runs
 * from ids. */
static pare_status set_tokenizer(const pare_model *model, pare_quantize_result *plan,
                                 pare_gguf_writer *writer)
{
    pare_tokenizer *tokenizer;
    const pare_gguf *gguf = pare_model_gguf(model);
    plan->tokenizer = gguf && pare_gguf_find(gguf, "tokenizer.ggml.model");
    if (gguf)
        return PARE_OK;
    pare_status status = pare_tokenizer_open(model->info.path, &tokenizer);
    if (status == PARE_NOT_FOUND)
        return PARE_OK;
    if (status == PARE_OK) {
        status = pare_tokenizer_export(tokenizer, model->decoder.vocab, writer);
        plan->tokenizer = true;
    }
    pare_tokenizer_close(tokenizer);
    return status;
}

/* Of the token ids that are used: little-endian int32. */
static pare_status hash_ids(const pare_calibration *calibration, char hex[65])
{
    pare_sha256 hash;
    size_t used = (size_t)(calibration->sequences * calibration->length);
    used = used < calibration->count ? used : calibration->count;
    pare_status status = pare_sha256_begin(&hash);
    if (status != PARE_OK)
        return status;
    status = pare_sha256_add(&hash, calibration->ids, used * sizeof *calibration->ids);
    if (status == PARE_OK)
        return pare_sha256_end(&hash, hex);
    (void)!pare_sha256_end(&hash, NULL);
    return status;
}

/* What the file asks to be done to activations. Bytes that are copied keep what their source asked
 * for. Always set, so that it replaces what a source's metadata say. */
static void set_activations(const pare_model *model, const pare_quantize_options *options,
                            const pare_method *method, pare_type base, pare_gguf_writer *writer)
{
    const pare_decoder *source = &model->decoder;
    pare_input_rounding rounding =
        base == PARE_TYPE_I8_CH ? method->activations : PARE_INPUTS_EXACT;
    float threshold = options->threshold ? *options->threshold : 6;
    if (base == PARE_TYPE_I8_CH && rounding == PARE_INPUTS_EXACT &&
        strcmp(model->info.format, "i8_ch") == 0 &&
        pare_input_rounding_travels(source->input_rounding)) {
        rounding = source->input_rounding;
        threshold = source->outlier_threshold;
    }
    set_text(writer, "pare.activations", pare_input_rounding_name(rounding));
    pare_gguf_set_f32(writer, "pare.outlier_threshold",
                      rounding == PARE_INPUTS_LLM_INT8 ? threshold : 0);
    if (strcmp(method->name, "smoothquant") == 0) {
        pare_gguf_set_bool(writer, "pare.search_alpha", options->search_alpha);
        pare_gguf_set_f32(writer, "pare.alpha", options->alpha ? *options->alpha : 0.5f);
    }
    if (method->activations == PARE_INPUTS_ORT_DYNAMIC) {
        pare_gguf_set_bool(writer, "pare.per_channel", options->per_channel);
        pare_gguf_set_bool(writer, "pare.reduce_range", options->reduce_range);
    }
}

pare_status pare_quantize_describe(const pare_model *model, const pare_quantize_options *options,
                                   const pare_method *method, pare_quantize_result *plan,
                                   pare_gguf_writer *writer)
{
    pare_status status = pare_model_export_metadata(model, writer);
    if (status != PARE_OK)
        return status;
    if ((status = set_tokenizer(model, plan, writer)) != PARE_OK)
        return status;
    const pare_recipe *recipe = NULL;
    if (options->recipe && (status = pare_recipe_find(options->recipe, &recipe)) != PARE_OK)
        return status;
    const pare_type base = recipe ? pare_recipe_base(recipe) : options->type;
    pare_export_set_file_type(writer, base);
    set_text(writer, "pare.version", PARE_VERSION);
    set_text(writer, "pare.format", pare_type_name(base));
    set_text(writer, "pare.recipe", recipe ? pare_recipe_name(recipe) : "");
    set_text(writer, "pare.method", method->name);
    if (options->imatrix)
        set_text(writer, "pare.imatrix", options->imatrix);
    pare_gguf_set_bool(writer, "pare.search_scales", options->search_scales);
    if (options->max_bits > 0)
        pare_gguf_set_f32(writer, "pare.max_bits", (float)options->max_bits);
    if (method->start && method != &pare_method_rtn && options->calibration) {
        char hash[65];
        if ((status = hash_ids(options->calibration, hash)) != PARE_OK)
            return status;
        set_text(writer, "pare.calibration.sha256", hash);
        set_text(writer, "pare.calibration.source", options->calibration->source);
        pare_gguf_set_u64(writer, "pare.calibration.sequences",
                          (uint64_t)options->calibration->sequences);
        pare_gguf_set_u64(writer, "pare.calibration.length",
                          (uint64_t)options->calibration->length);
        if (options->device && strcmp(options->device, "cpu") != 0) /* other bytes, same quality */
            set_text(writer, "pare.calibration.device", options->device);
    }
    set_activations(model, options, method, base, writer);
    pare_gguf_set_bool(writer, "pare.pure", options->pure);
    set_text(writer, "pare.source", model->info.name);
    set_text(writer, "pare.source_format", model->info.format);
    pare_gguf_set_bool(writer, "pare.requantized", plan->requantized);
    return set_lists(options, plan, writer);
}
