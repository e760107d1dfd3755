/* The shapes that pare synth knows, each as the part of its config.json that says how large it is.
 * Sources: the config.json of the repositories named. */
#include "model/shapes.h"

#include <string.h>

#define LLAMA(layers, hidden, heads, kv_heads, mlp, vocab, context, tied, more)                    \
    "{\"model_type\":\"llama\",\"num_hidden_layers\":" #layers ",\"hidden_size\":" #hidden         \
    ",\"num_attention_heads\":" #heads ",\"num_key_value_heads\":" #kv_heads                       \
    ",\"intermediate_size\":" #mlp ",\"vocab_size\":" #vocab                                       \
    ",\"max_position_embeddings\":" #context ",\"tie_word_embeddings\":" #tied                     \
    ",\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-5" more "}"
#define GPT2(layers, hidden, heads)                                                                \
    "{\"model_type\":\"gpt2\",\"n_layer\":" #layers ",\"n_embd\":" #hidden ",\"n_head\":" #heads   \
    ",\"n_positions\":1024,\"vocab_size\":50257,\"activation_function\":\"gelu_new\",\"layer_"     \
    "norm_epsilon\":1e-5}"
#define LLAMA3_ROPE(factor)                                                                        \
    ",\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":" #factor      \
    ",\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}"

const pare_shape pare_shapes[] = {
    {"distilgpt2", GPT2(6, 768, 12)},      /* distilbert/distilgpt2 */
    {"dialogpt-small", GPT2(12, 768, 12)}, /* microsoft/DialoGPT-small, and gpt2 itself */
    /* HuggingFaceTB/SmolLM2-135M-Instruct */
    {"smollm2-135m", LLAMA(30, 576, 9, 3, 1536, 49152, 8192, true, ",\"rope_theta\":100000.0")},
    /* TinyLlama/TinyLlama-1.1B-Chat-v1.0 */
    {"tinyllama-1.1b", LLAMA(22, 2048, 32, 4, 5632, 32000, 2048, false, "")},
    /* meta-llama/Llama-3.2-1B and -3B, Llama-3.1-8B */
    {"llama-3.2-1b", LLAMA(16, 2048, 32, 8, 8192, 128256, 131072, true, LLAMA3_ROPE(32.0))},
    {"llama-3.2-3b", LLAMA(28, 3072, 24, 8, 8192, 128256, 131072, true, LLAMA3_ROPE(32.0))},
    {"llama-3.1-8b", LLAMA(32, 4096, 32, 8, 14336, 128256, 131072, false, LLAMA3_ROPE(8.0))},
    /* meta-llama/Llama-2-7b-hf, -13b-hf, -70b-hf */
    {"llama-2-7b", LLAMA(32, 4096, 32, 32, 11008, 32000, 4096, false, "")},
    {"llama-2-13b", LLAMA(40, 5120, 40, 40, 13824, 32000, 4096, false, "")},
    {"llama-2-70b", LLAMA(80, 8192, 64, 8, 28672, 32000, 4096, false, "")},
    {0},
};

const char *pare_shape_config(const char *name)
{
    for (const pare_shape *shape = pare_shapes; shape->name; shape++)
        if (strcmp(shape->name, name) == 0)
            return shape->config;
    return NULL;
}
