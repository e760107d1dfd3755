/* One decoder, described by data: everything in which GPT-2, Llama, Mistral, Qwen2 and Qwen3 differ
 * is a field here. Backends read only this description and the weights below; they never ask what
 * the model is called. */
#ifndef PARE_MODEL_DECODER_H
#define PARE_MODEL_DECODER_H

#include "formats/tensors.h"

#include <pare/model.h>
#include <stdbool.h>

typedef enum pare_norm_kind { PARE_NORM_RMS, PARE_NORM_LAYER } pare_norm_kind;
typedef enum pare_position_kind { PARE_POSITION_ROPE, PARE_POSITION_LEARNED } pare_position_kind;
typedef enum pare_mlp_activation {
    PARE_MLP_SILU,
    PARE_MLP_GELU,      /* x Phi(x), by erf: "gelu" */
    PARE_MLP_GELU_TANH, /* "gelu_new", "gelu_pytorch_tanh", "gelu_fast" */
    PARE_MLP_RELU,
} pare_mlp_activation;

/* What a file asks to be done to the inputs of the blocks' quantized linear layers (of a
 * checkpoint: those that its library quantized; else: those of i8_ch). The rules are defined in
 * kernels/int8.h and kernels/fp8.h; the names stand in files ("pare.activations"), but for those
 * that need more than a name: see pare_input_rounding_travels.
 * X(NAME, "name", what) */
#define PARE_INPUTS_LIST(X)                                                                        \
    X(EXACT, "exact", "as they are")                                                               \
    X(W8A8, "w8a8", "8 bits for each token: its largest magnitude is 127")                         \
    X(TOKEN_INT8, "token_int8",                                                                    \
      "8 bits for each token, as compressed-tensors has it: its largest magnitude is 127.5")       \
    X(LLM_INT8, "llm_int8",                                                                        \
      "LLM.int8(): columns in which some token of the pass reaches the threshold in FP16, the "    \
      "others 8 bits for each token")                                                              \
    X(ORT_DYNAMIC, "ort_dynamic",                                                                  \
      "ONNX Runtime: asymmetric 8 bits, one scale for all tokens of the pass")                     \
    X(TOKEN_INT8_ASYM, "token_int8_asym",                                                          \
      "asymmetric 8 bits for each token, as compressed-tensors has it")                            \
    X(STATIC_INT8, "static_int8", "8 bits by a scale and zero point that the file has")            \
    X(TOKEN_FP8, "token_fp8", "FP8 (E4M3) for each token: its largest magnitude is 448")           \
    X(GROUP_FP8, "group_fp8", "the same for each group of columns of a token")                     \
    X(STATIC_FP8, "static_fp8", "FP8 (E4M3) by a scale that the file has")

/* In the order of the list; a GPU has those up to ORT_DYNAMIC. */
typedef enum pare_input_rounding {
#define X(name, text, what) PARE_INPUTS_##name,
    PARE_INPUTS_LIST(X)
#undef X
        PARE_INPUTS_COUNT
} pare_input_rounding;

const char *pare_input_rounding_name(pare_input_rounding rounding);
/* PARE_INPUTS_COUNT where none has that name of `length` characters. */
pare_input_rounding pare_input_rounding_from_name(const char *name, size_t length);
/* The name says all: a GGUF can ask for it. The others need the checkpoint's scales or group. */
bool pare_input_rounding_travels(pare_input_rounding rounding);

typedef struct pare_decoder {
    char architecture[32];
    int64_t layers, hidden, heads, kv_heads, head_dim, mlp_hidden, vocab;
    int64_t context; /* positions that the model was made for */
    pare_norm_kind norm;
    float norm_epsilon;
    pare_position_kind position;
    pare_mlp_activation activation;
    bool gated_mlp; /* down(act(gate x) * up x); otherwise down(act(up x)) */
    bool tied_head;
    bool qk_norm; /* RMS norm over each head of q and k, before RoPE (Qwen3) */
    int64_t
        sliding_window; /* 0: none; otherwise a position sees itself and the window-1 before it */
    float *attention_scale; /* [layers]: 1/sqrt(head_dim), by layer for
                               scale_attn_by_inverse_layer_idx */

    /* RoPE with every scaling folded in: the angle of pair i at position p is p *
     * rope_frequencies[i], cos and sin are multiplied by rope_magnitude (YaRN). */
    bool rope_pairs;         /* rotates elements (2i, 2i+1), as GGUF's llama does; otherwise (i, i +
                                rope_dims/2) */
    int64_t rope_dims;       /* leading elements of each head that rotate */
    float *rope_frequencies; /* [rope_dims / 2] */
    float rope_magnitude;

    pare_input_rounding input_rounding;
    float outlier_threshold; /* of LLM.int8(); 0: no column is an outlier */
    int64_t input_group;     /* of GROUP_FP8: columns */

    int32_t bos, eos; /* -1: none */
} pare_decoder;

/* Matrices are [out, in]; biases and norms FP32-readable vectors. NULL where the model has none. */
typedef struct pare_layer {
    const pare_tensor *attention_norm, *attention_norm_bias;
    const pare_tensor *q, *k, *v; /* or qkv in one: rows of q, then k, then v */
    const pare_tensor *q_bias, *k_bias, *v_bias;
    const pare_tensor *qkv, *qkv_bias;
    const pare_tensor *q_norm, *k_norm;
    const pare_tensor *output, *output_bias;
    const pare_tensor *output_scale, *down_scale; /* by which inputs of output and down are divided:
                                                     AWQ's scales that fold nowhere; or NULL */
    const pare_tensor *mlp_norm, *mlp_norm_bias;
    const pare_tensor *gate, *gate_bias, *up, *up_bias, *down, *down_bias;
} pare_layer;

struct pare_model {
    pare_model_info info;
    pare_decoder decoder;
    const pare_tensor *token_embedding, *position_embedding;
    const pare_tensor *final_norm, *final_norm_bias;
    const pare_tensor *head; /* the token embedding where tied */
    pare_layer *layers;

    /* Every weight under its canonical (GGUF) name, "blk.0.attn_q.weight", in file order of a
     * written GGUF. The pointers above point into this list. HF's transposed GPT-2 matrices and
     * those of other libraries' checkpoints have no data: read rows with pare_tensor_read. */
    pare_tensor *tensors;
    size_t tensor_count;

    void *private; /* mappings: model.c */
};

/* True for the linear layers of the blocks: what "quantizing the model" means by default. */
bool pare_model_is_block_matrix(const pare_model *model, const pare_tensor *tensor);

#endif
