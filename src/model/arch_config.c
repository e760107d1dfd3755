/* A decoder's description from Hugging Face's config.json: keys, defaults and their meaning as in
 * transformers' classes GPT2Config, LlamaConfig, MistralConfig, Qwen2Config and Qwen3Config. */
#include "base/fail.h"
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct reader {
    const json_t *config;
    const char *file;
    pare_arena *arena;
    pare_decoder *decoder;
    pare_layout *layout;
} reader;

static pare_status unsupported(const reader *r, const char *key, const char *value)
{
    return pare_fail(PARE_UNSUPPORTED, "%s: '%s' is %s, which is not handled", r->file, key, value);
}

/* ---- options of all architectures ---- */

static pare_status read_activation(const reader *r, const char *key, const char *otherwise)
{
    static const struct {
        const char *name;
        pare_mlp_activation activation;
    } activations[] = {
        {"silu", PARE_MLP_SILU},           {"swish", PARE_MLP_SILU},
        {"gelu", PARE_MLP_GELU},           {"gelu_python", PARE_MLP_GELU},
        {"gelu_new", PARE_MLP_GELU_TANH},  {"gelu_pytorch_tanh", PARE_MLP_GELU_TANH},
        {"gelu_fast", PARE_MLP_GELU_TANH}, {"relu", PARE_MLP_RELU},
    };
    const char *name = otherwise;
    pare_status status = pare_json_string(r->config, key, r->file, &name);
    if (status != PARE_OK)
        return status;
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(name, activations[i].name) == 0) {
            r->decoder->activation = activations[i].activation;
            return PARE_OK;
        }
    return unsupported(r, key, name);
}

/* An id, or the first of a list of them. */
static pare_status read_id(const reader *r, const char *key, int32_t *id)
{
    const json_t *value = json_object_get(r->config, key);
    if (json_is_array(value))
        value = json_array_get(value, 0);
    if (!value || json_is_null(value))
        return PARE_OK;
    if (!json_is_integer(value))
        return pare_fail(PARE_FORMAT, "%s: '%s' is not a token id", r->file, key);
    json_int_t number = json_integer_value(value);
    *id = number >= 0 && number <= INT32_MAX ? (int32_t)number : -1;
    return PARE_OK;
}

/* The first of two names that the configuration has. */
static pare_status read_size(const reader *r, const char *key, const char *alias, int64_t *value)
{
    const json_t *item = json_object_get(r->config, key);
    bool absent = !item || json_is_null(item);
    return pare_json_i64(r->config, absent && alias ? alias : key, r->file, value);
}

/* ---- RoPE ---- */

static pare_status read_rope_kind(const reader *r, const json_t *options, pare_rope_kind *kind)
{
    static const struct {
        const char *name;
        pare_rope_kind kind;
    } kinds[] = {{"default", PARE_ROPE_DEFAULT},
                 {"linear", PARE_ROPE_LINEAR},
                 {"llama3", PARE_ROPE_LLAMA3},
                 {"yarn", PARE_ROPE_YARN}};
    const char *name = "default";
    pare_status status = pare_json_string(options, "type", r->file,
                                          &name); /* the older key, which the newer overrides */
    if (status == PARE_OK)
        status = pare_json_string(options, "rope_type", r->file, &name);
    if (status != PARE_OK)
        return status;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(name, kinds[i].name) == 0) {
            *kind = kinds[i].kind;
            return PARE_OK;
        }
    return unsupported(r, "rope_type", name);
}

static bool is_given(const json_t *options, const char *key)
{
    const json_t *value = json_object_get(options, key);
    return value && !json_is_null(value);
}

static pare_status read_rope_scaling(const reader *r, const json_t *options, pare_rope *rope)
{
    const struct {
        const char *key;
        double *value;
    } numbers[] = {
        {"factor", &rope->factor},
        {"low_freq_factor", &rope->low_frequency_factor},
        {"high_freq_factor", &rope->high_frequency_factor},
        {"original_max_position_embeddings", &rope->original_context},
        {"beta_fast", &rope->beta_fast},
        {"beta_slow", &rope->beta_slow},
        {"attention_factor", &rope->attention_factor},
        {"mscale", &rope->mscale},
        {"mscale_all_dim", &rope->mscale_all_dim},
    };
    pare_status status;
    rope->original_context = (double)r->decoder->context;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        PARE_TRY(pare_json_f64(options, numbers[i].key, r->file, numbers[i].value));
    PARE_TRY(pare_json_f64(r->config, "original_max_position_embeddings", r->file,
                           &rope->original_context));
    PARE_TRY(pare_json_bool(options, "truncate", r->file, &rope->truncate));
    if (rope->beta_fast == 0)
        rope->beta_fast = 32;
    if (rope->beta_slow == 0)
        rope->beta_slow = 1;
    if (!is_given(options, "factor")) {
        if (rope->kind != PARE_ROPE_YARN)
            return pare_fail(PARE_FORMAT, "%s: RoPE scaling without a 'factor'", r->file);
        rope->factor = (double)r->decoder->context / rope->original_context;
    }
    if (rope->kind == PARE_ROPE_LLAMA3 &&
        !(is_given(options, "low_freq_factor") && is_given(options, "high_freq_factor")))
        return pare_fail(PARE_FORMAT,
                         "%s: llama3 RoPE scaling without 'low_freq_factor' or 'high_freq_factor'",
                         r->file);
fail:
    return status;
}

/* Old files have rope_theta and rope_scaling side by side; newer ones have both in rope_parameters.
 */
static pare_status read_rope(const reader *r)
{
    pare_rope *rope = &r->layout->rope;
    const json_t *options = json_object_get(r->config, "rope_scaling"), *value;
    const char *key;
    double partial = 1;
    pare_status status;
    if (!options || json_is_null(options) ||
        (json_is_object(options) && json_object_size(options) == 0))
        options = json_object_get(r->config, "rope_parameters");
    if (options && !json_is_null(options) && !json_is_object(options))
        return pare_fail(PARE_FORMAT, "%s: 'rope_scaling' or 'rope_parameters' is not an object",
                         r->file);
    json_object_foreach((json_t *)options, key, value) if (json_is_object(value)) return pare_fail(
        PARE_UNSUPPORTED, "%s: 'rope_parameters' for each sort of layer ('%s') are not handled",
        r->file, key);
    *rope = pare_rope_default();
    PARE_TRY(pare_json_f64(r->config, "rope_theta", r->file, &rope->theta));
    PARE_TRY(pare_json_f64(options, "rope_theta", r->file, &rope->theta));
    PARE_TRY(pare_json_f64(r->config, "partial_rotary_factor", r->file, &partial));
    PARE_TRY(pare_json_f64(options, "partial_rotary_factor", r->file, &partial));
    if (partial != 1)
        return pare_fail(PARE_UNSUPPORTED, "%s: 'partial_rotary_factor' %g is not handled", r->file,
                         partial);
    if (!options || json_is_null(options))
        return PARE_OK;
    PARE_TRY(read_rope_kind(r, options, &rope->kind));
    if (rope->kind != PARE_ROPE_DEFAULT)
        status = read_rope_scaling(r, options, rope);
fail:
    return status;
}

/* ---- llama and its kin ---- */

typedef struct defaults {
    int64_t vocab, hidden, mlp_hidden, layers, heads, kv_heads /* 0: as heads */,
        head_dim /* 0: hidden / heads */, context;
    int32_t bos, eos;
} defaults;

static pare_status read_llama_sizes(const reader *r, const defaults *d)
{
    pare_decoder *decoder = r->decoder;
    double epsilon = 1e-6;
    pare_status status;
    decoder->vocab = d->vocab;
    decoder->hidden = d->hidden;
    decoder->mlp_hidden = d->mlp_hidden;
    decoder->layers = d->layers;
    decoder->heads = d->heads;
    decoder->context = d->context;
    decoder->bos = d->bos;
    decoder->eos = d->eos;
    PARE_TRY(read_size(r, "vocab_size", NULL, &decoder->vocab));
    PARE_TRY(read_size(r, "hidden_size", NULL, &decoder->hidden));
    PARE_TRY(read_size(r, "intermediate_size", NULL, &decoder->mlp_hidden));
    PARE_TRY(read_size(r, "num_hidden_layers", NULL, &decoder->layers));
    PARE_TRY(read_size(r, "num_attention_heads", NULL, &decoder->heads));
    PARE_TRY(read_size(r, "max_position_embeddings", NULL, &decoder->context));
    /* An explicit null means "as many as heads"; a missing key, the class's own default. */
    decoder->kv_heads = json_object_get(r->config, "num_key_value_heads") || !d->kv_heads
                            ? decoder->heads
                            : d->kv_heads;
    PARE_TRY(read_size(r, "num_key_value_heads", NULL, &decoder->kv_heads));
    decoder->head_dim = d->head_dim          ? d->head_dim
                        : decoder->heads > 0 ? decoder->hidden / decoder->heads
                                             : 0;
    PARE_TRY(read_size(r, "head_dim", NULL, &decoder->head_dim));
    PARE_TRY(pare_json_f64(r->config, "rms_norm_eps", r->file, &epsilon));
    decoder->norm_epsilon = (float)epsilon;
    PARE_TRY(pare_json_bool(r->config, "tie_word_embeddings", r->file, &decoder->tied_head));
fail:
    return status;
}

/* The class's own defaults; what config.json leaves out is one of these. */
static pare_status read_llama_like(const reader *r, const defaults *d)
{
    pare_decoder *decoder = r->decoder;
    pare_status status;
    decoder->norm = PARE_NORM_RMS;
    decoder->position = PARE_POSITION_ROPE;
    decoder->gated_mlp = true;
    r->layout->names = &pare_names_llama;
    PARE_TRY(read_llama_sizes(r, d));
    PARE_TRY(read_activation(r, "hidden_act", "silu"));
    status = read_rope(r);
fail:
    return status;
}

static pare_need as_need(bool needed)
{
    return needed ? PARE_NEED_YES : PARE_NEED_NO;
}

static pare_status read_llama(const reader *r)
{
    static const defaults d = {32000, 4096, 11008, 32, 32, 0, 0, 2048, 1, 2};
    bool attention_bias = false, mlp_bias = false;
    pare_status status;
    PARE_TRY(read_llama_like(r, &d));
    PARE_TRY(pare_json_bool(r->config, "attention_bias", r->file, &attention_bias));
    PARE_TRY(pare_json_bool(r->config, "mlp_bias", r->file, &mlp_bias));
    r->layout->qkv_bias = r->layout->output_bias = as_need(attention_bias);
    r->layout->mlp_bias = as_need(mlp_bias);
fail:
    return status;
}

/* layer_types is derived from the other keys when transformers saves a configuration; all layers
 * must be of one sort. */
static pare_status check_layer_types(const reader *r, bool windowed)
{
    const json_t *types = json_object_get(r->config, "layer_types"), *type;
    size_t i;
    json_array_foreach(types, i, type)
    {
        const char *name = json_string_value(type),
                   *wanted = windowed ? "sliding_attention" : "full_attention";
        if (!name || strcmp(name, wanted) != 0)
            return pare_fail(PARE_UNSUPPORTED,
                             "%s: 'layer_types' has '%s' for layer %zu, where '%s' was expected",
                             r->file, name ? name : "?", i, wanted);
    }
    return PARE_OK;
}

static pare_status read_mistral(const reader *r)
{
    static const defaults d = {32000, 4096, 14336, 32, 32, 8, 0, 4096 * 32, 1, 2};
    pare_status status;
    PARE_TRY(read_llama_like(r, &d));
    /* null: no window; a missing key: the class's default. */
    r->decoder->sliding_window = json_object_get(r->config, "sliding_window") ? 0 : 4096;
    PARE_TRY(pare_json_i64(r->config, "sliding_window", r->file, &r->decoder->sliding_window));
    status = check_layer_types(r, r->decoder->sliding_window > 0);
fail:
    return status;
}

/* Qwen's window covers the layers from max_window_layers on: none of them, or all, can be run. */
static pare_status read_qwen_window(const reader *r)
{
    bool used = false;
    int64_t window = 4096, first = 28;
    pare_status status;
    PARE_TRY(pare_json_bool(r->config, "use_sliding_window", r->file, &used));
    if (json_is_null(json_object_get(r->config, "sliding_window")) &&
        json_object_get(r->config, "sliding_window"))
        used = false;
    PARE_TRY(pare_json_i64(r->config, "sliding_window", r->file, &window));
    PARE_TRY(pare_json_i64(r->config, "max_window_layers", r->file, &first));
    if (used && first > 0 && first < r->decoder->layers)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: 'use_sliding_window' with 'max_window_layers' %" PRId64 " of %" PRId64
                         " layers is not handled",
                         r->file, first, r->decoder->layers);
    if (used && first <= 0)
        r->decoder->sliding_window = window;
    status = check_layer_types(r, r->decoder->sliding_window > 0);
fail:
    return status;
}

static pare_status read_qwen2(const reader *r)
{
    static const defaults d = {151936, 4096, 22016, 32, 32, 32, 0, 32768, -1, -1};
    pare_status status;
    PARE_TRY(read_llama_like(r, &d));
    r->layout->qkv_bias = PARE_NEED_YES;
    status = read_qwen_window(r);
fail:
    return status;
}

static pare_status read_qwen3(const reader *r)
{
    static const defaults d = {151936, 4096, 22016, 32, 32, 32, 128, 32768, -1, -1};
    bool bias = false;
    pare_status status;
    PARE_TRY(read_llama_like(r, &d));
    r->decoder->qk_norm = true;
    PARE_TRY(pare_json_bool(r->config, "attention_bias", r->file, &bias));
    r->layout->qkv_bias = r->layout->output_bias = as_need(bias);
    status = read_qwen_window(r);
fail:
    return status;
}

/* ---- GPT-2 ---- */

static pare_status read_gpt2_sizes(const reader *r)
{
    pare_decoder *decoder = r->decoder;
    double epsilon = 1e-5;
    pare_status status;
    decoder->vocab = 50257;
    decoder->context = 1024;
    decoder->hidden = 768;
    decoder->layers = decoder->heads = 12;
    decoder->bos = decoder->eos = 50256;
    decoder->tied_head = true;
    PARE_TRY(read_size(r, "vocab_size", NULL, &decoder->vocab));
    PARE_TRY(read_size(r, "n_positions", "max_position_embeddings", &decoder->context));
    PARE_TRY(read_size(r, "n_embd", "hidden_size", &decoder->hidden));
    PARE_TRY(read_size(r, "n_layer", "num_hidden_layers", &decoder->layers));
    PARE_TRY(read_size(r, "n_head", "num_attention_heads", &decoder->heads));
    if (decoder->heads < 1 || decoder->hidden % decoder->heads != 0)
        return pare_fail(PARE_FORMAT,
                         "%s: 'n_embd' %" PRId64 " is no multiple of 'n_head' %" PRId64, r->file,
                         decoder->hidden, decoder->heads);
    if (decoder->hidden < 0 || decoder->hidden > INT32_MAX)
        return pare_fail(PARE_FORMAT, "%s: 'n_embd' is %" PRId64, r->file, decoder->hidden);
    decoder->kv_heads = decoder->heads;
    decoder->head_dim = decoder->hidden / decoder->heads;
    decoder->mlp_hidden = 4 * decoder->hidden;
    PARE_TRY(read_size(r, "n_inner", NULL, &decoder->mlp_hidden));
    PARE_TRY(pare_json_f64(r->config, "layer_norm_epsilon", r->file, &epsilon));
    decoder->norm_epsilon = (float)epsilon;
    PARE_TRY(pare_json_bool(r->config, "tie_word_embeddings", r->file, &decoder->tied_head));
fail:
    return status;
}

static pare_status read_gpt2_scale(const reader *r)
{
    pare_decoder *decoder = r->decoder;
    bool scaled = true, by_layer = false;
    pare_status status;
    PARE_TRY(pare_json_bool(r->config, "scale_attn_weights", r->file, &scaled));
    PARE_TRY(pare_json_bool(r->config, "scale_attn_by_inverse_layer_idx", r->file, &by_layer));
    if ((scaled && !by_layer) || decoder->layers < 1 || decoder->layers > 10000)
        return PARE_OK; /* pare_arch_finish sets the usual scale, or refuses the size */
    decoder->attention_scale =
        pare_arena_allocate(r->arena, (size_t)decoder->layers * sizeof(float));
    if (!decoder->attention_scale)
        return PARE_OUT_OF_MEMORY;
    for (int64_t i = 0; i < decoder->layers; i++)
        decoder->attention_scale[i] = (float)((scaled ? 1 / sqrt((double)decoder->head_dim) : 1.0) /
                                              (by_layer ? (double)(i + 1) : 1.0));
fail:
    return status;
}

static pare_status read_gpt2(const reader *r)
{
    bool cross = false;
    pare_status status;
    r->decoder->norm = PARE_NORM_LAYER;
    r->decoder->position = PARE_POSITION_LEARNED;
    r->layout->names = &pare_names_gpt2;
    r->layout->fused_qkv = true;
    r->layout->qkv_bias = r->layout->output_bias = r->layout->mlp_bias = PARE_NEED_YES;
    PARE_TRY(read_gpt2_sizes(r));
    PARE_TRY(read_gpt2_scale(r));
    PARE_TRY(read_activation(r, "activation_function", "gelu_new"));
    PARE_TRY(pare_json_bool(r->config, "add_cross_attention", r->file, &cross));
    if (cross)
        return unsupported(r, "add_cross_attention", "true");
fail:
    return status;
}

/* ---- all ---- */

static pare_status read_architecture(const reader *r)
{
    static const struct {
        const char *type;
        pare_status (*read)(const reader *r);
    } architectures[] = {{"gpt2", read_gpt2},
                         {"llama", read_llama},
                         {"mistral", read_mistral},
                         {"qwen2", read_qwen2},
                         {"qwen3", read_qwen3}};
    const char *type = NULL;
    pare_status status = pare_json_string(r->config, "model_type", r->file, &type);
    if (status != PARE_OK)
        return status;
    if (!type)
        return pare_fail(PARE_FORMAT, "%s: has no 'model_type'", r->file);
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (strcmp(type, architectures[i].type) == 0) {
            strcpy(r->decoder->architecture, architectures[i].type);
            return architectures[i].read(r);
        }
    return pare_fail(
        PARE_UNSUPPORTED,
        "%s: 'model_type' '%s' is not handled (gpt2, llama, mistral, qwen2, qwen3 are)", r->file,
        type);
}

pare_status pare_arch_from_config(const json_t *config, const char *file, pare_arena *arena,
                                  pare_decoder *decoder, pare_layout *layout)
{
    const reader r = {config, file, arena, decoder, layout};
    pare_status status;
    *decoder = (pare_decoder){.bos = -1, .eos = -1, .rope_magnitude = 1};
    *layout = (pare_layout){.rope = pare_rope_default()};
    if (!json_is_object(config))
        return pare_fail(PARE_FORMAT, "%s: is not an object", file);
    PARE_TRY(read_architecture(&r));
    PARE_TRY(pare_checkpoint_find(config, file, &layout->library));
    PARE_TRY(read_id(&r, "bos_token_id", &decoder->bos));
    PARE_TRY(read_id(&r, "eos_token_id", &decoder->eos));
    layout->head = as_need(!decoder->tied_head);
    status = pare_arch_finish(file, arena, decoder, layout);
fail:
    return status;
}
