/* A decoder's description from GGUF metadata, with the meaning that llama.cpp gives to the keys. */
#include "base/fail.h"
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    const pare_gguf *gguf;
    const char *architecture;
    pare_decoder *decoder;
    pare_layout *layout;
} reader;

enum { KEY_BYTES = 128 };

/* "llama.context_length" of "context_length". */
static const char *full_key(const reader *r, const char *key, char full[KEY_BYTES])
{
    snprintf(full, KEY_BYTES, "%s.%s", r->architecture, key);
    return full;
}

/* One number, or an array with one for each layer, which must then be the same for all. */
static pare_status read_i64(const reader *r, const char *key, int64_t *value)
{
    char full[KEY_BYTES];
    const pare_gguf_value *found = pare_gguf_find(r->gguf, full_key(r, key, full));
    if (!found || found->kind != PARE_GGUF_ARRAY)
        return pare_gguf_i64(r->gguf, full, value);
    bool integers = found->element != PARE_GGUF_STRING && found->element != PARE_GGUF_F32 &&
                    found->element != PARE_GGUF_F64 && found->element != PARE_GGUF_BOOL;
    if (!integers || !found->count)
        return pare_fail(PARE_FORMAT, "%s: key '%s' is not an integer", r->gguf->path, full);
    *value = pare_gguf_element_i64(found, 0);
    for (size_t i = 1; i < found->count; i++)
        if (pare_gguf_element_i64(found, i) != *value)
            return pare_fail(PARE_UNSUPPORTED,
                             "%s: key '%s' differs between layers, which is not handled",
                             r->gguf->path, full);
    return PARE_OK;
}

static pare_status read_f64(const reader *r, const char *key, double *value)
{
    char full[KEY_BYTES];
    return pare_gguf_f64(r->gguf, full_key(r, key, full), value);
}

static const pare_gguf_value *find(const reader *r, const char *key)
{
    char full[KEY_BYTES];
    return pare_gguf_find(r->gguf, full_key(r, key, full));
}

/* ---- refusals ---- */

/* Keys that change the computation in ways that are not handled, unless they have their neutral
 * value. */
static pare_status refuse_options(const reader *r)
{
    static const struct {
        const char *key;
        double neutral;
    } options[] = {
        {"expert_count", 0},
        {"attention.clamp_kqv", 0},
        {"attention.max_alibi_bias", 0},
        {"attention.scale", 0},
        {"logit_scale", 0},
        {"residual_scale", 0},
        {"embedding_scale", 0},
        {"attn_logit_softcapping", 0},
        {"final_logit_softcapping", 0},
        {"nextn_predict_layers", 0},
        {"attention.sliding_window_pattern", 1},
        {"attention.shared_kv_layers", 0},
        {"rope.scaling.yarn_ext_factor", 1},
        {"rope.scaling.yarn_attn_factor", 1},
        {"rope.scaling.alpha", 0},
    };
    bool causal = true;
    char full[KEY_BYTES];
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        double value = options[i].neutral;
        pare_status status = read_f64(r, options[i].key, &value);
        if (status != PARE_OK)
            return status;
        if (value != options[i].neutral)
            return pare_fail(PARE_UNSUPPORTED, "%s: key '%s' is %g, which is not handled",
                             r->gguf->path, full_key(r, options[i].key, full), value);
    }
    pare_status status = pare_gguf_bool(r->gguf, full_key(r, "attention.causal", full), &causal);
    if (status == PARE_OK && !causal)
        status = pare_fail(PARE_UNSUPPORTED, "%s: key '%s' is false, which is not handled",
                           r->gguf->path, full);
    if (status == PARE_OK && find(r, "rope.dimension_sections"))
        status = pare_fail(PARE_UNSUPPORTED, "%s: key '%s' is not handled", r->gguf->path,
                           full_key(r, "rope.dimension_sections", full));
    return status;
}

/* ---- sizes ---- */

static pare_status read_required(const reader *r, const char *key, int64_t *value)
{
    char full[KEY_BYTES];
    if (!find(r, key))
        return pare_fail(PARE_FORMAT, "%s: key '%s' is missing", r->gguf->path,
                         full_key(r, key, full));
    return read_i64(r, key, value);
}

static pare_status read_head_size(const reader *r)
{
    pare_decoder *decoder = r->decoder;
    char full[KEY_BYTES];
    pare_status status;
    decoder->head_dim = decoder->heads > 0 ? decoder->hidden / decoder->heads : 0;
    PARE_TRY(read_i64(r, "attention.key_length", &decoder->head_dim));
    int64_t value_length = decoder->head_dim, dimensions = decoder->head_dim;
    PARE_TRY(read_i64(r, "attention.value_length", &value_length));
    if (value_length != decoder->head_dim)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: key '%s' is %" PRId64 ", which differs from the %" PRId64 " of keys",
                         r->gguf->path, full_key(r, "attention.value_length", full), value_length,
                         decoder->head_dim);
    PARE_TRY(read_i64(r, "rope.dimension_count", &dimensions));
    if (decoder->position == PARE_POSITION_ROPE && dimensions != decoder->head_dim)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: key '%s' is %" PRId64 " of %" PRId64
                         ": rotating a part of the head is "
                         "not handled",
                         r->gguf->path, full_key(r, "rope.dimension_count", full), dimensions,
                         decoder->head_dim);
fail:
    return status;
}

static pare_status read_sizes(const reader *r)
{
    pare_decoder *decoder = r->decoder;
    double epsilon = decoder->norm == PARE_NORM_RMS ? 1e-6 : 1e-5;
    pare_status status;
    PARE_TRY(read_required(r, "block_count", &decoder->layers));
    PARE_TRY(read_required(r, "context_length", &decoder->context));
    PARE_TRY(read_required(r, "embedding_length", &decoder->hidden));
    PARE_TRY(read_required(r, "feed_forward_length", &decoder->mlp_hidden));
    PARE_TRY(read_required(r, "attention.head_count", &decoder->heads));
    decoder->kv_heads = decoder->heads;
    PARE_TRY(read_i64(r, "attention.head_count_kv", &decoder->kv_heads));
    PARE_TRY(read_head_size(r));
    PARE_TRY(read_f64(r,
                      decoder->norm == PARE_NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                                     : "attention.layer_norm_epsilon",
                      &epsilon));
    decoder->norm_epsilon = (float)epsilon;
    PARE_TRY(read_i64(r, "attention.sliding_window", &decoder->sliding_window));
    const pare_tensor *embedding = pare_tensors_find(&r->gguf->tensors, "token_embd.weight");
    if (!embedding)
        return pare_fail(PARE_NOT_FOUND, "%s: tensor 'token_embd.weight' is missing%s",
                         r->gguf->path,
                         r->gguf->tensors.count ? "" : " (the file holds only a vocabulary)");
    decoder->vocab = pare_tensor_rows(embedding);
fail:
    return status;
}

/* ---- RoPE ---- */

static pare_status read_rope(const reader *r)
{
    pare_rope *rope = &r->layout->rope;
    pare_gguf_string type = {"linear",
                             6}; /* llama.cpp's default; without a factor it does nothing */
    char full[KEY_BYTES];
    double factor = 0, log_multiplier = 0;
    pare_status status;
    PARE_TRY(read_f64(r, "rope.freq_base", &rope->theta));
    PARE_TRY(pare_gguf_text(r->gguf, full_key(r, "rope.scaling.type", full), &type));
    PARE_TRY(read_f64(r, "rope.scale_linear", &factor)); /* the older key */
    PARE_TRY(read_f64(r, "rope.scaling.factor", &factor));
    PARE_TRY(read_f64(r, "rope.scaling.attn_factor", &rope->magnitude));
    rope->original_context = (double)r->decoder->context;
    PARE_TRY(read_f64(r, "rope.scaling.original_context_length", &rope->original_context));
    PARE_TRY(read_f64(r, "rope.scaling.yarn_beta_fast", &rope->beta_fast));
    PARE_TRY(read_f64(r, "rope.scaling.yarn_beta_slow", &rope->beta_slow));
    PARE_TRY(read_f64(r, "rope.scaling.yarn_log_multiplier", &log_multiplier));
    rope->factor = factor == 0 ? 1 : factor;
    if (type.length == 4 && memcmp(type.data, "none", 4) == 0)
        rope->factor = 1;
    else if (type.length == 6 && memcmp(type.data, "linear", 6) == 0)
        rope->kind = rope->factor == 1 ? PARE_ROPE_DEFAULT : PARE_ROPE_LINEAR;
    else if (type.length == 4 && memcmp(type.data, "yarn", 4) == 0)
        rope->kind = PARE_ROPE_YARN;
    else
        status =
            pare_fail(PARE_UNSUPPORTED, "%s: key '%s' is '%.*s', which is not handled",
                      r->gguf->path, full, (int)(type.length < 64 ? type.length : 64), type.data);
    if (log_multiplier != 0) {
        rope->mscale = 1;
        rope->mscale_all_dim = log_multiplier;
    }
fail:
    return status;
}

/* Llama 3's scaling comes as a tensor of divisors, one for each pair. */
static pare_status apply_rope_factors(const reader *r)
{
    const pare_tensor *factors = pare_tensors_find(&r->gguf->tensors, "rope_freqs.weight");
    if (!factors || r->decoder->position != PARE_POSITION_ROPE)
        return PARE_OK;
    int64_t pairs = r->decoder->rope_dims / 2;
    if (factors->type != PARE_TYPE_F32 || pare_tensor_elements(factors) != pairs)
        return pare_fail(PARE_FORMAT,
                         "%s: tensor 'rope_freqs.weight' should hold %" PRId64 " FP32 numbers",
                         r->gguf->path, pairs);
    for (int64_t i = 0; i < pairs; i++) {
        float factor;
        memcpy(&factor, (const char *)factors->data + i * (int64_t)sizeof factor, sizeof factor);
        if (!(factor > 0 && factor < 1e9f))
            return pare_fail(PARE_FORMAT,
                             "%s: tensor 'rope_freqs.weight' holds %g at element %" PRId64,
                             r->gguf->path, (double)factor, i);
        r->decoder->rope_frequencies[i] /= factor;
    }
    return PARE_OK;
}

/* ---- what llama.cpp has no key for: written and read by Pare ---- */

static pare_status read_activation(const reader *r)
{
    static const struct {
        const char *name;
        pare_mlp_activation activation;
    } activations[] = {{"silu", PARE_MLP_SILU},
                       {"gelu", PARE_MLP_GELU},
                       {"gelu_tanh", PARE_MLP_GELU_TANH},
                       {"relu", PARE_MLP_RELU}};
    pare_gguf_string name = {0};
    pare_status status = pare_gguf_text(r->gguf, "pare.activation", &name);
    if (status != PARE_OK || !name.data)
        return status;
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (name.length == strlen(activations[i].name) &&
            memcmp(name.data, activations[i].name, name.length) == 0) {
            r->decoder->activation = activations[i].activation;
            return PARE_OK;
        }
    return pare_fail(PARE_UNSUPPORTED, "%s: key 'pare.activation' is not handled", r->gguf->path);
}

static pare_status read_attention_scale(const reader *r, pare_arena *arena)
{
    const pare_gguf_value *scales = pare_gguf_find(r->gguf, "pare.attention_scale");
    pare_decoder *decoder = r->decoder;
    if (!scales)
        return PARE_OK;
    if (scales->kind != PARE_GGUF_ARRAY || scales->element != PARE_GGUF_F32 ||
        decoder->layers < 1 || scales->count != (size_t)decoder->layers)
        return pare_fail(PARE_FORMAT,
                         "%s: key 'pare.attention_scale' should hold an FP32 number for each layer",
                         r->gguf->path);
    decoder->attention_scale = pare_arena_allocate(arena, scales->count * sizeof(float));
    if (!decoder->attention_scale)
        return PARE_OUT_OF_MEMORY;
    for (size_t i = 0; i < scales->count; i++) {
        decoder->attention_scale[i] = (float)pare_gguf_element_f64(scales, i);
        if (!isfinite(decoder->attention_scale[i]))
            return pare_fail(PARE_FORMAT,
                             "%s: key 'pare.attention_scale' is not finite for layer %zu",
                             r->gguf->path, i);
    }
    return PARE_OK;
}

static pare_status read_input_rounding(const reader *r)
{
    pare_decoder *decoder = r->decoder;
    pare_gguf_string name = {"exact", 5};
    double threshold = 0;
    pare_status status;
    PARE_TRY(pare_gguf_text(r->gguf, "pare.activations", &name));
    PARE_TRY(pare_gguf_f64(r->gguf, "pare.outlier_threshold", &threshold));
    decoder->input_rounding = pare_input_rounding_from_name(name.data, name.length);
    decoder->outlier_threshold = (float)threshold;
    if (decoder->input_rounding == PARE_INPUTS_COUNT ||
        !pare_input_rounding_travels(decoder->input_rounding))
        return pare_fail(PARE_UNSUPPORTED, "%s: key 'pare.activations' is '%.*s', not handled",
                         r->gguf->path, (int)(name.length < 64 ? name.length : 64), name.data);
    if (!(threshold >= 0 && threshold <= 1e6))
        return pare_fail(PARE_FORMAT, "%s: key 'pare.outlier_threshold' is %g", r->gguf->path,
                         threshold);
fail:
    return status;
}

/* ---- all ---- */

/* *architecture is one of ours: no copy of the file's own bytes is kept. */
static pare_status read_name(const pare_gguf *gguf, const char **architecture)
{
    static const char *const known[] = {"gpt2", "llama", "qwen2", "qwen3"};
    pare_gguf_string name = {0}, type = {"model", 5};
    int64_t splits = 0;
    pare_status status;
    PARE_TRY(pare_gguf_text(gguf, "general.architecture", &name));
    if (!name.data)
        return pare_fail(PARE_FORMAT, "%s: key 'general.architecture' is missing", gguf->path);
    PARE_TRY(pare_gguf_text(gguf, "general.type", &type));
    if (type.length != 5 || memcmp(type.data, "model", 5) != 0)
        return pare_fail(PARE_UNSUPPORTED, "%s: key 'general.type' is '%.*s', not 'model'",
                         gguf->path, (int)(type.length < 64 ? type.length : 64), type.data);
    PARE_TRY(pare_gguf_i64(gguf, "split.count", &splits));
    if (splits > 1)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: one of %" PRId64
                         " parts ('split.count'): join them with llama-gguf-split",
                         gguf->path, splits);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (name.length == strlen(known[i]) && memcmp(name.data, known[i], name.length) == 0) {
            *architecture = known[i];
            return PARE_OK;
        }
    return pare_fail(PARE_UNSUPPORTED,
                     "%s: architecture '%.*s' is not handled (gpt2, llama, qwen2, qwen3 are)",
                     gguf->path, (int)(name.length < 64 ? name.length : 64), name.data);
fail:
    return status;
}

static pare_status read_ids(const reader *r)
{
    int64_t bos = -1, eos = -1;
    pare_status status;
    PARE_TRY(pare_gguf_i64(r->gguf, "tokenizer.ggml.bos_token_id", &bos));
    PARE_TRY(pare_gguf_i64(r->gguf, "tokenizer.ggml.eos_token_id", &eos));
    r->decoder->bos = bos >= 0 && bos <= INT32_MAX ? (int32_t)bos : -1;
    r->decoder->eos = eos >= 0 && eos <= INT32_MAX ? (int32_t)eos : -1;
fail:
    return status;
}

/* What the architecture's name implies. */
static void describe(const reader *r)
{
    bool gpt2 = strcmp(r->architecture, "gpt2") == 0;
    pare_decoder *decoder = r->decoder;
    pare_layout *layout = r->layout;
    const pare_tensors *tensors = &r->gguf->tensors;
    strcpy(decoder->architecture, r->architecture);
    decoder->norm = gpt2 ? PARE_NORM_LAYER : PARE_NORM_RMS;
    decoder->position = gpt2 ? PARE_POSITION_LEARNED : PARE_POSITION_ROPE;
    decoder->activation = gpt2 ? PARE_MLP_GELU_TANH : PARE_MLP_SILU;
    decoder->gated_mlp = !gpt2;
    decoder->qk_norm = strcmp(r->architecture, "qwen3") == 0;
    decoder->rope_pairs =
        strcmp(r->architecture, "llama") == 0; /* its converter reorders rows of q and k for that */
    decoder->tied_head = !pare_tensors_find(tensors, "output.weight");
    layout->head = decoder->tied_head ? PARE_NEED_NO : PARE_NEED_YES;
    layout->fused_qkv = pare_tensors_find(tensors, "blk.0.attn_qkv.weight") != NULL;
    layout->qkv_bias = layout->output_bias = layout->mlp_bias =
        gpt2 ? PARE_NEED_YES : PARE_NEED_MAYBE;
}

pare_status pare_arch_from_gguf(const pare_gguf *gguf, pare_arena *arena, pare_decoder *decoder,
                                pare_layout *layout)
{
    reader r = {gguf, NULL, decoder, layout};
    pare_status status;
    *decoder = (pare_decoder){.bos = -1, .eos = -1, .rope_magnitude = 1};
    *layout = (pare_layout){.rope = pare_rope_default()};
    PARE_TRY(read_name(gguf, &r.architecture));
    describe(&r);
    PARE_TRY(refuse_options(&r));
    PARE_TRY(read_sizes(&r));
    PARE_TRY(read_rope(&r));
    PARE_TRY(read_ids(&r));
    PARE_TRY(read_activation(&r));
    PARE_TRY(read_attention_scale(&r, arena));
    PARE_TRY(read_input_rounding(&r));
    PARE_TRY(pare_gguf_bool(gguf, "pare.synthetic", &layout->synthetic));
    PARE_TRY(pare_arch_finish(gguf->path, arena, decoder, layout));
    status = apply_rope_factors(&r);
fail:
    return status;
}
