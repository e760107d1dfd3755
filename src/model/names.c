#include "model/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const pare_name_row llama_global[] = {
    {"embed_tokens", "token_embd", false},
    {"norm", "output_norm", false},
    {"lm_head", "output", false},
    {0},
};
static const pare_name_row llama_layer[] = {
    {"input_layernorm", "attn_norm", false},    {"self_attn.q_proj", "attn_q", false},
    {"self_attn.k_proj", "attn_k", false},      {"self_attn.v_proj", "attn_v", false},
    {"self_attn.o_proj", "attn_output", false}, {"self_attn.q_norm", "attn_q_norm", false},
    {"self_attn.k_norm", "attn_k_norm", false}, {"post_attention_layernorm", "ffn_norm", false},
    {"mlp.gate_proj", "ffn_gate", false},       {"mlp.up_proj", "ffn_up", false},
    {"mlp.down_proj", "ffn_down", false},       {0},
};
/* Buffers that old versions of transformers saved: the frequencies follow from the configuration.
 */
static const char *const llama_ignored[] = {"self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq",
                                            NULL};

const pare_name_table pare_names_llama = {"model.", "layers.", llama_global, llama_layer,
                                          llama_ignored};

/* GPT-2's linear layers are of the class Conv1D, whose weights are [in, out]. */
static const pare_name_row gpt2_global[] = {
    {"wte", "token_embd", false},
    {"wpe", "position_embd", false},
    {"ln_f", "output_norm", false},
    {"lm_head", "output", false},
    {0},
};
static const pare_name_row gpt2_layer[] = {
    {"ln_1", "attn_norm", false},
    {"attn.c_attn", "attn_qkv", true},
    {"attn.c_proj", "attn_output", true},
    {"ln_2", "ffn_norm", false},
    {"mlp.c_fc", "ffn_up", true},
    {"mlp.c_proj", "ffn_down", true},
    {0},
};
/* The causal mask. */
static const char *const gpt2_ignored[] = {"attn.bias", "attn.masked_bias", NULL};

const pare_name_table pare_names_gpt2 = {"transformer.", "h.", gpt2_global, gpt2_layer,
                                         gpt2_ignored};

/* The part of `name` after `prefix`, or NULL. */
static const char *after(const char *name, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 ? name + length : NULL;
}

bool pare_name_split(const char *name, const char *prefix, int64_t *layer, const char **rest)
{
    const char *digit = after(name, prefix);
    if (!digit || *digit < '0' || *digit > '9' || (*digit == '0' && digit[1] != '.'))
        return false;
    int64_t number = 0;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        number = number * 10 + (*digit - '0');
        if (number > 1000000)
            return false;
    }
    if (*digit != '.')
        return false;
    *layer = number;
    *rest = digit + 1;
    return true;
}

/* The row whose stem, followed by ".weight" or ".bias", is `name`; *suffix is where that begins.
 * `from_hf` says which side is compared. */
static const pare_name_row *find_row(const pare_name_row *rows, const char *name, bool from_hf,
                                     const char **suffix)
{
    for (; rows->hf; rows++) {
        *suffix = after(name, from_hf ? rows->hf : rows->gguf);
        if (*suffix && (strcmp(*suffix, ".weight") == 0 || strcmp(*suffix, ".bias") == 0))
            return rows;
    }
    return NULL;
}

static bool is_ignored(const pare_name_table *table, const char *name)
{
    for (const char *const *ignored = table->ignored; *ignored; ignored++)
        if (strcmp(name, *ignored) == 0)
            return true;
    return false;
}

pare_name_kind pare_name_from_hf(const pare_name_table *table, const char *hf,
                                 char gguf[PARE_NAME_BYTES], bool *turned)
{
    const char *name = after(hf, table->prefix), *rest, *suffix;
    int64_t layer = 0;
    if (!name)
        name = hf;
    bool in_layer = pare_name_split(name, table->blocks, &layer, &rest);
    if (!in_layer)
        rest = name;
    if (is_ignored(table, rest))
        return PARE_NAME_IGNORED;
    const pare_name_row *row =
        find_row(in_layer ? table->layer : table->global, rest, true, &suffix);
    if (!row)
        return PARE_NAME_UNKNOWN;
    *turned = row->turned && strcmp(suffix, ".weight") == 0;
    if (in_layer)
        snprintf(gguf, PARE_NAME_BYTES, "blk.%" PRId64 ".%s%s", layer, row->gguf, suffix);
    else
        snprintf(gguf, PARE_NAME_BYTES, "%s%s", row->gguf, suffix);
    return PARE_NAME_KNOWN;
}

bool pare_name_to_hf(const pare_name_table *table, const char *gguf, char hf[PARE_NAME_BYTES])
{
    const char *rest, *suffix;
    int64_t layer = 0;
    bool in_layer = pare_name_split(gguf, "blk.", &layer, &rest);
    const pare_name_row *row =
        find_row(in_layer ? table->layer : table->global, in_layer ? rest : gguf, false, &suffix);
    if (!row)
        return false;
    if (in_layer)
        snprintf(hf, PARE_NAME_BYTES, "%s%s%" PRId64 ".%s%s", table->prefix, table->blocks, layer,
                 row->hf, suffix);
    else if (strcmp(row->hf, "lm_head") == 0) /* stands beside the model, not in it */
        snprintf(hf, PARE_NAME_BYTES, "%s%s", row->hf, suffix);
    else
        snprintf(hf, PARE_NAME_BYTES, "%s%s%s", table->prefix, row->hf, suffix);
    return true;
}
