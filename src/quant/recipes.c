#include "quant/recipes.h"

#include <pare/quant.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/fail.h"

/* Layers that a rule is for, of n. MORE: the first and the last eighth, and every third between. */
typedef enum layer_set { ALL, FIRST_2, FIRST_4, FIRST_16TH, FIRST_8TH, MORE } layer_set;
/* ... and models: by how many heads of q share one of v. */
typedef enum sharing { ANY, FEW, MANY } sharing;

typedef struct recipe_rule {
    const char *part; /* of a name: "attn_v" also means a fused "attn_qkv" */
    layer_set layers;
    sharing heads;
    pare_type type;
} recipe_rule;

enum { RULES = 5 };

typedef struct recipe_options {
    bool per_channel;
    double max_bits;
} recipe_options;

struct pare_recipe {
    const char *name;
    pare_type base;
    recipe_rule rules[RULES]; /* the first that fits wins */
    const char *method;       /* NULL: any, rtn by default */
    recipe_options options;
};

#define T(name) PARE_TYPE_##name

/* The mixes of llama-quantize (llama.cpp, src/llama-quant.cpp). */
#define MIX(text, type, ...)                                                                       \
    {                                                                                              \
        .name = text, .base = type, .rules = { __VA_ARGS__ }                                       \
    }
static const pare_recipe recipes[] = {
    MIX("q2_k", T(Q2_K), {"attn_v", ALL, MANY, T(Q4_K)}, {"attn_v", ALL, FEW, T(Q3_K)},
        {"ffn_down", ALL, ANY, T(Q3_K)}, {"attn_output", ALL, ANY, T(Q3_K)}),
    MIX("q3_k_s", T(Q3_K), {0}),
    MIX("q3_k_m", T(Q3_K), {"attn_v", FIRST_2, ANY, T(Q5_K)}, {"attn_v", ALL, ANY, T(Q4_K)},
        {"ffn_down", FIRST_16TH, ANY, T(Q5_K)}, {"ffn_down", ALL, ANY, T(Q4_K)},
        {"attn_output", ALL, ANY, T(Q4_K)}),
    MIX("q3_k_l", T(Q3_K), {"attn_v", ALL, ANY, T(Q5_K)}, {"ffn_down", ALL, ANY, T(Q5_K)},
        {"attn_output", ALL, ANY, T(Q5_K)}),
    MIX("q4_k_s", T(Q4_K), {"attn_v", FIRST_4, ANY, T(Q5_K)},
        {"ffn_down", FIRST_8TH, ANY, T(Q5_K)}),
    MIX("q4_k_m", T(Q4_K), {"attn_v", MORE, ANY, T(Q6_K)}, {"ffn_down", MORE, ANY, T(Q6_K)}),
    MIX("q5_k_s", T(Q5_K), {0}),
    MIX("q5_k_m", T(Q5_K), {"attn_v", MORE, ANY, T(Q6_K)}, {"ffn_down", MORE, ANY, T(Q6_K)}),
    MIX("iq4_nl", T(IQ4_NL), {"attn_v", ALL, MANY, T(Q5_K)}, {"ffn_down", FIRST_8TH, ANY, T(Q5_K)}),
    MIX("iq4_xs", T(IQ4_XS), {"attn_v", ALL, MANY, T(Q5_K)}, {"ffn_down", FIRST_8TH, ANY, T(Q5_K)}),
    /* Other libraries' defaults: one format, and the method that goes with it. */
    {.name = "bnb-int8", .base = T(I8_CH), .method = "llm_int8"},
    {.name = "bnb-nf4", .base = T(NF4), .method = "rtn"},
    {.name = "bnb-fp4", .base = T(FP4), .method = "rtn"},
    {.name = "ort-int8", .base = T(I8_CH), .method = "ort_dynamic"},
    {.name = "ort-int8-channel",
     .base = T(I8_CH),
     .method = "ort_dynamic",
     .options = {.per_channel = true}},
    {.name = "w8a8", .base = T(I8_CH), .method = "w8a8"},
    {.name = "smoothquant-w8a8", .base = T(I8_CH), .method = "smoothquant"},
    {.name = "awq-4bit-g128", .base = T(I4_G128_ASYM), .method = "awq"},
    {.name = "gptq-4bit-g128", .base = T(I4_G128_ASYM), .method = "gptq"},
    /* Our own: the formats are chosen tensor by tensor. */
    {.name = "pare-4bit", .base = T(Q4_K), .method = "pare", .options = {.max_bits = 4.5}},
    {.name = "pare-3bit", .base = T(Q3_K), .method = "pare", .options = {.max_bits = 3.5}},
};
enum { RECIPE_COUNT = sizeof recipes / sizeof *recipes };

pare_status pare_recipe_find(const char *name, const pare_recipe **recipe)
{
    char list[1024] = "";
    const char *plain = strncasecmp(name, "gguf-", 5) == 0 ? name + 5 : name;
    for (size_t i = 0; i < RECIPE_COUNT; i++) {
        *recipe = &recipes[i];
        if (strcasecmp(plain, recipes[i].name) == 0)
            return PARE_OK;
        snprintf(list + strlen(list), sizeof list - strlen(list), " %s", recipes[i].name);
    }
    *recipe = NULL;
    return pare_fail(PARE_INVALID_ARGUMENT, "no recipe is called '%s'; there are:%s", name, list);
}

const char *pare_quantize_recipe_name(size_t index)
{
    return index < RECIPE_COUNT ? recipes[index].name : NULL;
}

const char *pare_recipe_name(const pare_recipe *recipe)
{
    return recipe->name;
}

pare_status pare_recipe_apply(const pare_recipe *recipe, pare_quantize_options *options)
{
    if (!recipe->method)
        return PARE_OK;
    if (options->method && strcmp(options->method, recipe->method) != 0)
        return pare_fail(PARE_INVALID_ARGUMENT, "recipe '%s' has the method %s, not %s",
                         recipe->name, recipe->method, options->method);
    options->method = recipe->method;
    options->per_channel = options->per_channel || recipe->options.per_channel;
    if (options->max_bits == 0)
        options->max_bits = recipe->options.max_bits;
    return PARE_OK;
}

const char *pare_quantize_recipe_method(const char *name)
{
    const pare_recipe *recipe;
    return pare_recipe_find(name, &recipe) == PARE_OK ? recipe->method : NULL;
}

pare_type pare_recipe_base(const pare_recipe *recipe)
{
    return recipe->base;
}

static bool has_layer(layer_set set, int64_t i, int64_t n)
{
    switch (set) {
    case FIRST_2:
        return i < 2;
    case FIRST_4:
        return i < 4;
    case FIRST_16TH:
        return i < n / 16;
    case FIRST_8TH:
        return i < n / 8;
    case MORE:
        return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    default:
        return true;
    }
}

static bool has_part(const char *rest, const char *part)
{
    size_t length = strlen(part);
    return (strncmp(rest, part, length) == 0 && rest[length] == '.') ||
           (strcmp(part, "attn_v") == 0 && strncmp(rest, "attn_qkv.", 9) == 0);
}

pare_type pare_recipe_type(const pare_recipe *recipe, const pare_model *model, const char *name,
                           bool importance)
{
    long long layer;
    int used = 0;
    if (recipe->method)
        return recipe->base;
    if (sscanf(name, "blk.%lld.%n", &layer, &used) != 1 || used == 0)
        return strcmp(name, "output.weight") == 0 || model->decoder.tied_head ? PARE_TYPE_Q6_K
                                                                              : recipe->base;
    const sharing heads = model->decoder.heads / model->decoder.kv_heads >= 4 ? MANY : FEW;
    for (const recipe_rule *rule = recipe->rules; rule < recipe->rules + RULES && rule->part;
         rule++) {
        /* The first blocks' wider ffn_down is for models that nobody looked at the inputs of. */
        if (importance && rule->layers == FIRST_8TH &&
            (recipe->base == PARE_TYPE_IQ4_NL || recipe->base == PARE_TYPE_IQ4_XS))
            continue;
        if (has_part(name + used, rule->part) &&
            has_layer(rule->layers, layer, model->decoder.layers) &&
            (rule->heads == ANY || rule->heads == heads))
            return rule->type;
    }
    return recipe->base;
}
