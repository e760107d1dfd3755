#include "model/export.h"

#include "base/fail.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Mistral is a llama to llama.cpp. */
static const char *exported_architecture(const pare_model *model)
{
    const char *name = model->decoder.architecture;
    return strcmp(name, "mistral") == 0 ? "llama" : name;
}

static bool is_llama(const pare_model *model)
{
    return strcmp(exported_architecture(model), "llama") == 0;
}

/* ---- the order of rows ---- */

bool pare_export_reorders(const pare_model *model, const pare_tensor *tensor)
{
    const char *rest;
    int64_t layer;
    if (!is_llama(model) || model->decoder.rope_pairs ||
        !pare_name_split(tensor->name, "blk.", &layer, &rest))
        return false;
    return strncmp(rest, "attn_q.", 7) == 0 || strncmp(rest, "attn_k.", 7) == 0;
}

int64_t pare_export_row(const pare_model *model, const pare_tensor *tensor, int64_t row)
{
    if (!pare_export_reorders(model, tensor))
        return row;
    int64_t size = model->decoder.head_dim, head = row / size, i = row % size;
    return head * size + (i % 2) * (size / 2) +
           i / 2; /* element 2j of a head was j, 2j+1 was size/2 + j */
}

/* ---- metadata ---- */

typedef struct target {
    pare_gguf_writer *writer;
    const char *architecture;
    char key[128];
} target;

static const char *key_of(target *to, const char *key)
{
    snprintf(to->key, sizeof to->key, "%s.%s", to->architecture, key);
    return to->key;
}

static void set_size(target *to, const char *key, int64_t value)
{
    pare_gguf_set_u32(to->writer, key_of(to, key), (uint32_t)value);
}

static void set_number(target *to, const char *key, double value)
{
    pare_gguf_set_f32(to->writer, key_of(to, key), (float)value);
}

static void set_text(target *to, const char *key, const char *text)
{
    pare_gguf_set_text(to->writer, key_of(to, key), text, strlen(text));
}

static void set_rope(target *to, const pare_model *model)
{
    const pare_rope *rope = &pare_model_get_private(model)->layout.rope;
    set_size(to, "rope.dimension_count", model->decoder.rope_dims);
    set_number(to, "rope.freq_base", rope->theta);
    if (rope->kind == PARE_ROPE_LINEAR) {
        set_text(to, "rope.scaling.type", "linear");
        set_number(to, "rope.scaling.factor", rope->factor);
    }
    if (rope->kind == PARE_ROPE_YARN) {
        /* llama.cpp multiplies attn_factor by YaRN's own magnitude: what remains is given. */
        double rest =
            (double)model->decoder.rope_magnitude / pare_rope_yarn_magnitude(rope->factor, 1);
        set_text(to, "rope.scaling.type", "yarn");
        set_number(to, "rope.scaling.factor", rope->factor);
        set_size(to, "rope.scaling.original_context_length", (int64_t)rope->original_context);
        set_number(to, "rope.scaling.yarn_beta_fast", rope->beta_fast);
        set_number(to, "rope.scaling.yarn_beta_slow", rope->beta_slow);
        if (fabs(rest - 1) > 1e-6)
            set_number(to, "rope.scaling.attn_factor", rest);
    } else if (model->decoder.rope_magnitude != 1) {
        set_number(to, "rope.scaling.attn_factor", model->decoder.rope_magnitude);
    }
}

static const char *activation_name(pare_mlp_activation activation)
{
    switch (activation) {
    case PARE_MLP_SILU:
        return "silu";
    case PARE_MLP_GELU:
        return "gelu";
    case PARE_MLP_GELU_TANH:
        return "gelu_tanh";
    case PARE_MLP_RELU:
        return "relu";
    }
    return "";
}

static bool has_usual_activation(const pare_decoder *decoder)
{
    return decoder->activation == (decoder->gated_mlp ? PARE_MLP_SILU : PARE_MLP_GELU_TANH);
}

static bool has_usual_scale(const pare_decoder *decoder)
{
    float usual = (float)(1 / sqrt((double)decoder->head_dim));
    for (int64_t i = 0; i < decoder->layers; i++)
        if (decoder->attention_scale[i] != usual)
            return false;
    return true;
}

/* What only Pare reads. */
static void set_own(target *to, const pare_model *model)
{
    const pare_decoder *decoder = &model->decoder;
    if (!has_usual_activation(decoder)) {
        const char *name = activation_name(decoder->activation);
        pare_gguf_set_text(to->writer, "pare.activation", name, strlen(name));
    }
    if (!has_usual_scale(decoder))
        pare_gguf_set_f32s(to->writer, "pare.attention_scale", decoder->attention_scale,
                           (size_t)decoder->layers);
}

static void set_architecture(target *to, const pare_model *model)
{
    const pare_decoder *decoder = &model->decoder;
    bool rms = decoder->norm == PARE_NORM_RMS;
    pare_gguf_set_text(to->writer, "general.architecture", to->architecture,
                       strlen(to->architecture));
    pare_gguf_set_text(to->writer, "general.type", "model", 5);
    pare_gguf_set_text(to->writer, "general.name", model->info.name, strlen(model->info.name));
    set_size(to, "block_count", decoder->layers);
    set_size(to, "context_length", decoder->context);
    set_size(to, "embedding_length", decoder->hidden);
    set_size(to, "feed_forward_length", decoder->mlp_hidden);
    set_size(to, "attention.head_count", decoder->heads);
    set_size(to, "attention.head_count_kv", decoder->kv_heads);
    if (decoder->head_dim * decoder->heads != decoder->hidden ||
        strcmp(to->architecture, "qwen3") == 0) {
        set_size(to, "attention.key_length", decoder->head_dim);
        set_size(to, "attention.value_length", decoder->head_dim);
    }
    set_number(to, rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
               (double)decoder->norm_epsilon);
    set_size(to, "vocab_size", decoder->vocab);
    if (decoder->sliding_window > 0)
        set_size(to, "attention.sliding_window", decoder->sliding_window);
    if (decoder->position == PARE_POSITION_ROPE)
        set_rope(to, model);
}

pare_status pare_model_export_metadata(const pare_model *model, pare_gguf_writer *writer)
{
    const pare_gguf *source = pare_model_gguf(model);
    target to = {.writer = writer, .architecture = exported_architecture(model)};
    if (source) {
        for (size_t i = 0; i < source->value_count; i++)
            if (strcmp(source->values[i].key, "general.alignment") !=
                0) /* the writer has its own */
                pare_gguf_copy(writer, &source->values[i]);
    } else {
        const pare_rope *rope = &pare_model_get_private(model)->layout.rope;
        if (model->decoder.position == PARE_POSITION_ROPE && rope->kind == PARE_ROPE_YARN &&
            !rope->truncate)
            return pare_fail(PARE_UNSUPPORTED,
                             "%s: GGUF has no key for YaRN with 'truncate': false",
                             model->info.path);
        if (model->decoder.context > UINT32_MAX)
            return pare_fail(PARE_UNSUPPORTED, "%s: GGUF cannot store the context length",
                             model->info.path);
        set_architecture(&to, model);
        set_own(&to, model);
        pare_gguf_set_text(writer, "tokenizer.ggml.model", "none",
                           4); /* until the tokenizer's own export */
    }
    if (model->info.synthetic)
        pare_gguf_set_bool(writer, "pare.synthetic", true);
    pare_gguf_set_u32(writer, "general.quantization_version", 2);
    return writer->status;
}

/* llama.h's enum llama_ftype; the K formats' "S" mixture is the one of a single format. */
void pare_export_set_file_type(pare_gguf_writer *writer, pare_type type)
{
    static const struct {
        pare_type type;
        uint32_t number;
    } numbers[] = {
        {PARE_TYPE_F32, 0},   {PARE_TYPE_F16, 1},     {PARE_TYPE_BF16, 32},   {PARE_TYPE_Q4_0, 2},
        {PARE_TYPE_Q4_1, 3},  {PARE_TYPE_Q8_0, 7},    {PARE_TYPE_Q5_0, 8},    {PARE_TYPE_Q5_1, 9},
        {PARE_TYPE_Q2_K, 10}, {PARE_TYPE_Q3_K, 11},   {PARE_TYPE_Q4_K, 14},   {PARE_TYPE_Q5_K, 16},
        {PARE_TYPE_Q6_K, 18}, {PARE_TYPE_IQ4_NL, 25}, {PARE_TYPE_IQ4_XS, 30},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].type == type) {
            pare_gguf_set_u32(writer, "general.file_type", numbers[i].number);
            return;
        }
    pare_gguf_set_u32(writer, "general.file_type", 1024); /* "not specified" */
}

const pare_tensor *pare_model_export_extra(const pare_model *model)
{
    const pare_model_private *private = pare_model_get_private(model);
    return private->rope_factors.name ? &private->rope_factors : NULL;
}

/* What llama.cpp's qwen2, qwen3 and gpt2 lack beside its llama; and YaRN, whose ramp it does not
 * read from the file. */
static const char *architecture_limit(const pare_model *model)
{
    const pare_decoder *decoder = &model->decoder;
    const pare_rope *rope = &pare_model_get_private(model)->layout.rope;
    if (decoder->position == PARE_POSITION_ROPE && rope->kind == PARE_ROPE_YARN &&
        (rope->beta_fast != 32 || rope->beta_slow != 1))
        return "llama.cpp does not read YaRN's beta_fast and beta_slow";
    if (is_llama(model))
        return NULL;
    if (pare_model_export_extra(model))
        return "llama.cpp handles rope_freqs.weight in llama models only, and refuses this file";
    if (decoder->heads * decoder->head_dim != decoder->hidden &&
        strcmp(decoder->architecture, "qwen2") == 0)
        return "llama.cpp has no own head size for qwen2, and refuses this file";
    return NULL;
}

const char *pare_model_export_limit(const pare_model *model)
{
    const pare_decoder *decoder = &model->decoder;
    if (!has_usual_activation(decoder))
        return "llama.cpp has no key for this activation function";
    if (!has_usual_scale(decoder))
        return "llama.cpp has no key for this scale of attention";
    if (decoder->sliding_window > 0 && decoder->sliding_window < decoder->context &&
        is_llama(model))
        return "llama.cpp ignores the sliding window of this architecture";
    return architecture_limit(model);
}
