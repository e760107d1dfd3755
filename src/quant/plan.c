#include "quant/plan.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "model/export.h"
#include "quant/recipes.h"
#include "quant/types.h"

static pare_type fallback(pare_type type)
{
    switch (type) {
    case PARE_TYPE_Q2_K:
    case PARE_TYPE_Q3_K:
        return PARE_TYPE_Q4_0;
    case PARE_TYPE_Q4_K:
        return PARE_TYPE_Q5_0;
    case PARE_TYPE_Q5_K:
        return PARE_TYPE_Q5_1;
    case PARE_TYPE_Q6_K:
        return PARE_TYPE_Q8_0;
    case PARE_TYPE_IQ4_XS:
        return PARE_TYPE_IQ4_NL;
    case PARE_TYPE_I4_G128:
        return PARE_TYPE_I4_G64;
    case PARE_TYPE_I4_G64:
        return PARE_TYPE_I4_G32;
    case PARE_TYPE_I4_G128_ASYM:
        return PARE_TYPE_I4_G64_ASYM;
    case PARE_TYPE_I4_G64_ASYM:
        return PARE_TYPE_I4_G32_ASYM;
    case PARE_TYPE_I3_G128:
        return PARE_TYPE_I3_G64;
    case PARE_TYPE_I3_G64:
        return PARE_TYPE_I3_G32;
    case PARE_TYPE_I3_G128_ASYM:
        return PARE_TYPE_I3_G64_ASYM;
    case PARE_TYPE_I3_G64_ASYM:
        return PARE_TYPE_I3_G32_ASYM;
    case PARE_TYPE_I2_G128:
        return PARE_TYPE_I2_G64;
    case PARE_TYPE_I2_G64:
        return PARE_TYPE_I2_G32;
    case PARE_TYPE_I2_G128_ASYM:
        return PARE_TYPE_I2_G64_ASYM;
    case PARE_TYPE_I2_G64_ASYM:
        return PARE_TYPE_I2_G32_ASYM;
    case PARE_TYPE_NF4_DQ:
        return PARE_TYPE_NF4;
    case PARE_TYPE_NF4:
        return PARE_TYPE_IQ4_NL;
    case PARE_TYPE_FP4_DQ:
        return PARE_TYPE_FP4;
    case PARE_TYPE_FP4:
    case PARE_TYPE_NVFP4:
    case PARE_TYPE_NVFP4_CH:
        return PARE_TYPE_MXFP4;
    default:
        return PARE_TYPE_F16;
    }
}

pare_type pare_type_fitting(pare_type type, int64_t columns)
{
    while (columns % pare_type_block(type) != 0)
        type = fallback(type);
    return type;
}

/* ---- rules ---- */

typedef struct compiled_rule {
    pcre2_code *code;
    pare_type type;
    bool matched;
} compiled_rule;

typedef struct rules {
    compiled_rule *items;
    size_t count;
    pcre2_match_data *match;
    pcre2_match_context *context;
} rules;

/* Patterns come from the command line: they may be slow, not endless. */
enum { MATCH_LIMIT = 1000000 };

static pare_status compile_rules(const pare_quantize_options *options, rules *out)
{
    *out = (rules){0};
    pare_status status =
        pare_allocate(options->rule_count + 1, sizeof *out->items, "the rules", &out->items);
    if (status != PARE_OK)
        return status;
    for (size_t i = 0; i < options->rule_count; i++) {
        const pare_quantize_rule *rule = &options->rules[i];
        int code;
        PCRE2_SIZE offset;
        if (!pare_type_writable(rule->type))
            return pare_fail(PARE_INVALID_ARGUMENT, "pattern '%s': format %s cannot be written",
                             rule->pattern, pare_type_name(rule->type));
        out->items[i].type = rule->type;
        out->items[i].code = pcre2_compile((PCRE2_SPTR)rule->pattern, PCRE2_ZERO_TERMINATED, 0,
                                           &code, &offset, NULL);
        if (!out->items[i].code) {
            PCRE2_UCHAR message[128] = "";
            pcre2_get_error_message(code, message, sizeof message);
            return pare_fail(PARE_INVALID_ARGUMENT, "pattern '%s', character %zu: %s",
                             rule->pattern, offset + 1, (char *)message);
        }
        out->count++;
    }
    out->match = pcre2_match_data_create(1, NULL);
    out->context = pcre2_match_context_create(NULL);
    if (!out->match || !out->context)
        return pare_fail_memory(1024, "matching patterns");
    pcre2_set_match_limit(out->context, MATCH_LIMIT);
    return PARE_OK;
}

static void free_rules(rules *list)
{
    for (size_t i = 0; i < list->count; i++)
        pcre2_code_free(list->items[i].code);
    free(list->items);
    pcre2_match_data_free(list->match);
    pcre2_match_context_free(list->context);
}

/* Sets *type and *chosen by the last rule that matches. */
static pare_status apply_rules(rules *list, const pare_quantize_options *options, const char *name,
                               pare_type *type, bool *chosen)
{
    for (size_t i = 0; i < list->count; i++) {
        int found = pcre2_match(list->items[i].code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0,
                                list->match, list->context);
        if (found == PCRE2_ERROR_NOMATCH)
            continue;
        if (found < 0)
            return pare_fail(PARE_INVALID_ARGUMENT, "pattern '%s' takes too long on '%s'",
                             options->rules[i].pattern, name);
        list->items[i].matched = *chosen = true;
        *type = list->items[i].type;
    }
    return PARE_OK;
}

static pare_status check_rules_matched(const rules *list, const pare_quantize_options *options)
{
    for (size_t i = 0; i < list->count; i++) {
        if (!list->items[i].matched)
            return pare_fail(PARE_INVALID_ARGUMENT, "pattern '%s' matches no matrix of the model",
                             options->rules[i].pattern);
    }
    return PARE_OK;
}

/* ---- the plan ---- */

const pare_tensor *pare_quantize_tensor(const pare_model *model, size_t index)
{
    if (index < model->tensor_count)
        return &model->tensors[index];
    return index == model->tensor_count ? pare_model_export_extra(model) : NULL;
}

static bool is_float(pare_type type)
{
    return type == PARE_TYPE_F32 || type == PARE_TYPE_F16 || type == PARE_TYPE_BF16;
}

static const char *misfit_reason(pare_type wanted, int64_t columns, pare_arena *arena)
{
    char text[96];
    int length = snprintf(text, sizeof text, "rows of %lld are not a multiple of %lld",
                          (long long)columns, (long long)pare_type_block(wanted));
    return pare_arena_copy(arena, text, (size_t)length);
}

static pare_status plan_tensor(const pare_model *model, const pare_tensor *tensor,
                               const pare_recipe *recipe, rules *list,
                               const pare_quantize_options *options, pare_arena *arena,
                               pare_quantize_item *item)
{
    const int64_t columns = pare_tensor_columns(tensor);
    const bool importance = options->method && strcmp(options->method, "imatrix") == 0;
    item->name = tensor->name;
    item->from = tensor->type;
    item->elements = pare_tensor_elements(tensor);
    if (!pare_type_readable(tensor->type))
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: tensor '%s' is stored as %s, which holds no weights by itself",
                         tensor->file, tensor->name, pare_type_name(tensor->type));
    item->wanted = tensor->type;
    if (tensor->dims < 2 || tensor == model->position_embedding || tensor->type == PARE_TYPE_F64) {
        item->wanted = PARE_TYPE_F32;
    } else {
        item->chosen = options->pure || (!recipe && is_float(options->type)) ||
                       pare_model_is_block_matrix(model, tensor);
        if (item->chosen)
            item->wanted =
                recipe ? pare_recipe_type(recipe, model, tensor->name, importance) : options->type;
        pare_status status = apply_rules(list, options, tensor->name, &item->wanted, &item->chosen);
        if (status != PARE_OK)
            return status;
    }
    item->type = pare_type_fitting(item->wanted, columns);
    if (item->type != item->wanted && !(item->reason = misfit_reason(item->wanted, columns, arena)))
        return pare_fail_memory(96, "the plan");
    item->bytes = (uint64_t)pare_tensor_rows(tensor) * pare_type_row_bytes(item->type, columns);
    return PARE_OK;
}

static void summarize(const pare_model *model, pare_quantize_result *result)
{
    result->fallbacks = 0;
    result->requantized = false;
    result->llama_cpp_limit = pare_model_export_limit(model);
    double bits = 0, weights = 0;
    for (size_t i = 0; i < result->count; i++) {
        const pare_quantize_item *item = &result->items[i];
        result->fallbacks += item->reason != NULL;
        if (pare_type_get_traits(item->type)->gguf_id >= 1000)
            result->llama_cpp_limit = "the format is Pare's own: llama.cpp cannot open the file";
        if (!item->chosen)
            continue;
        bits += 8.0 * (double)item->bytes;
        weights += (double)item->elements;
        result->requantized |=
            item->type != item->from &&
            (model->info.checkpoint || (!is_float(item->from) && item->from != PARE_TYPE_F64));
    }
    result->bits_per_weight = weights > 0 ? bits / weights : 0;
}

pare_status pare_quantize_make_plan(const pare_model *model, const pare_quantize_options *options,
                                    pare_quantize_result *result)
{
    pare_status status;
    rules list = {0};
    pare_arena *arena = NULL;
    const pare_recipe *recipe = NULL;
    const pare_tensor *tensor;
    PARE_TRY(pare_allocate(1, sizeof *arena, "the plan", &arena));
    result->memory = arena;
    if (options->recipe)
        PARE_TRY(pare_recipe_find(options->recipe, &recipe));
    PARE_TRY(compile_rules(options, &list));
    PARE_TRY(
        pare_allocate(model->tensor_count + 1, sizeof *result->items, "the plan", &result->items));
    while ((tensor = pare_quantize_tensor(model, result->count))) {
        PARE_TRY(plan_tensor(model, tensor, recipe, &list, options, arena,
                             &result->items[result->count]));
        result->count++;
    }
    PARE_TRY(check_rules_matched(&list, options));
    summarize(model, result);
fail:
    free_rules(&list);
    return status;
}

/* ---- scales that are kept ---- */

bool pare_plan_keeps_output(const pare_model *model)
{
    return model->decoder.heads != model->decoder.kv_heads;
}

bool pare_plan_keeps_down(const pare_model *model)
{
    return !model->decoder.gated_mlp;
}

static pare_status add_scale(pare_arena *arena, int64_t layer, const char *name, int64_t n,
                             pare_tensor *added, pare_quantize_item *item)
{
    char text[64];
    int length = snprintf(text, sizeof text, "blk.%lld.%s.input_scale", (long long)layer, name);
    float *ones = pare_arena_allocate(arena, (size_t)n * sizeof *ones);
    *added = (pare_tensor){.name = pare_arena_copy(arena, text, (size_t)length),
                           .type = PARE_TYPE_F32,
                           .dims = 1,
                           .shape = {n, 1, 1, 1},
                           .data = ones,
                           .bytes = (size_t)n * sizeof *ones,
                           .file = "scales"};
    if (!ones || !added->name)
        return PARE_OUT_OF_MEMORY;
    for (int64_t i = 0; i < n; i++)
        ones[i] = 1;
    *item = (pare_quantize_item){.name = added->name,
                                 .from = PARE_TYPE_F32,
                                 .wanted = PARE_TYPE_F32,
                                 .type = PARE_TYPE_F32,
                                 .elements = n,
                                 .bytes = added->bytes};
    return PARE_OK;
}

pare_status pare_quantize_add_scales(const pare_model *model, pare_quantize_result *result)
{
    const pare_decoder *d = &model->decoder;
    const size_t most = result->count + 2 * (size_t)d->layers + 1;
    pare_tensor *added = pare_arena_allocate(result->memory, 2 * (size_t)d->layers * sizeof *added);
    pare_quantize_item *items;
    pare_status status = pare_allocate(most, sizeof *items, "the plan", &items);
    if (status != PARE_OK || !added)
        return added ? status : PARE_OUT_OF_MEMORY;
    memcpy(items, result->items, result->count * sizeof *items);
    free(result->items);
    result->items = items;
    result->added = added;
    for (int64_t l = 0; l < 2 * d->layers && status == PARE_OK; l++) {
        bool down = l % 2;
        if (down ? !pare_plan_keeps_down(model) : !pare_plan_keeps_output(model))
            continue;
        status = add_scale(result->memory, l / 2, down ? "ffn_down" : "attn_output",
                           down ? d->mlp_hidden : d->heads * d->head_dim,
                           &added[result->added_count], &items[result->count]);
        if (status == PARE_OK) {
            result->added_count++;
            result->count++;
        }
    }
    if (result->added_count)
        result->llama_cpp_limit = "scales of AWQ are kept beside matrices: llama.cpp has no such";
    return status;
}

pare_type pare_quantize_base_type(const pare_quantize_options *options)
{
    const pare_recipe *recipe;
    if (options->recipe && pare_recipe_find(options->recipe, &recipe) == PARE_OK)
        return pare_recipe_base(recipe);
    return options->type;
}

void pare_quantize_set_type(const pare_model *model, pare_quantize_result *plan, size_t index,
                            pare_type type)
{
    pare_quantize_item *item = &plan->items[index];
    const pare_tensor *tensor = pare_quantize_tensor(model, index);
    item->wanted = item->type = type;
    item->reason = NULL;
    item->bytes =
        (uint64_t)pare_tensor_rows(tensor) * pare_type_row_bytes(type, pare_tensor_columns(tensor));
    summarize(model, plan);
}

void pare_quantize_result_free(pare_quantize_result *result)
{
    if (!result)
        return;
    if (result->memory) {
        pare_arena_free(result->memory);
        free(result->memory);
    }
    free(result->items);
    *result = (pare_quantize_result){0};
}
