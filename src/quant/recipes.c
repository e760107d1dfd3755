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

struct pare_recipe {
    const char *name;
    pare_type base;
    recipe_rule rules[RULES]; /* the first that fits wins */
};

#define T(name) PARE_TYPE_##name

/* The mixes of llama-quantize (llama.cpp, src/llama-quant.cpp). */
static const pare_recipe recipes[] = {
    {"q2_k",
     T(Q2_K),
     {{"attn_v", ALL, MANY, T(Q4_K)},
      {"attn_v", ALL, FEW, T(Q3_K)},
      {"ffn_down", ALL, ANY, T(Q3_K)},
      {"attn_output", ALL, ANY, T(Q3_K)}}},
    {"q3_k_s", T(Q3_K), {{0}}},
    {"q3_k_m",
     T(Q3_K),
     {{"attn_v", FIRST_2, ANY, T(Q5_K)},
      {"attn_v", ALL, ANY, T(Q4_K)},
      {"ffn_down", FIRST_16TH, ANY, T(Q5_K)},
      {"ffn_down", ALL, ANY, T(Q4_K)},
      {"attn_output", ALL, ANY, T(Q4_K)}}},
    {"q3_k_l",
     T(Q3_K),
     {{"attn_v", ALL, ANY, T(Q5_K)},
      {"ffn_down", ALL, ANY, T(Q5_K)},
      {"attn_output", ALL, ANY, T(Q5_K)}}},
    {"q4_k_s", T(Q4_K), {{"attn_v", FIRST_4, ANY, T(Q5_K)}, {"ffn_down", FIRST_8TH, ANY, T(Q5_K)}}},
    {"q4_k_m", T(Q4_K), {{"attn_v", MORE, ANY, T(Q6_K)}, {"ffn_down", MORE, ANY, T(Q6_K)}}},
    {"q5_k_s", T(Q5_K), {{0}}},
    {"q5_k_m", T(Q5_K), {{"attn_v", MORE, ANY, T(Q6_K)}, {"ffn_down", MORE, ANY, T(Q6_K)}}},
    {"iq4_nl", T(IQ4_NL), {{"attn_v", ALL, MANY, T(Q5_K)}, {"ffn_down", FIRST_8TH, ANY, T(Q5_K)}}},
    {"iq4_xs", T(IQ4_XS), {{"attn_v", ALL, MANY, T(Q5_K)}, {"ffn_down", FIRST_8TH, ANY, T(Q5_K)}}},
};
enum { RECIPE_COUNT = sizeof recipes / sizeof *recipes };

pare_status pare_recipe_find(const char *name, const pare_recipe **recipe)
{
    char list[512] = "";
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
