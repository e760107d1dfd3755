/* A model: an immutable set of mapped tensors and the description of the decoder that runs them. */
#ifndef PARE_MODEL_H
#define PARE_MODEL_H

#include <pare/error.h>
#include <pare/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct pare_model pare_model;

typedef struct pare_model_info {
    const char *path; /* the folder or file that was opened */
    const char *name; /* a short name for tables: the folder's or file's, without extension */
    const char *architecture; /* "llama", "gpt2", "qwen2", ... */
    const char *format;       /* most frequent format of the block matrices, "q4_k" */
    int64_t parameters;       /* elements of all tensors; a tied head counts once */
    int64_t weights_bytes;    /* bytes of all tensors as stored */
    double bits_per_weight;   /* over the linear layers of the blocks */
    int64_t layers, hidden, heads, kv_heads, head_dim, mlp_hidden, vocab, context;
    bool tied_head;
    bool synthetic;          /* random weights: speed and memory only, quality commands refuse it */
    const char *checkpoint;  /* of another library's checkpoint: which, and what its matrices became
                                in memory; or NULL */
    const char *activations; /* what the file asks to be done to the inputs of its 8-bit layers:
                                "exact", "w8a8", "token_int8", "llm_int8", "ort_dynamic" */
    float outlier_threshold; /* of llm_int8 */
    bool quantized; /* some block matrix is stored below 16 bits: not a full-precision baseline */
} pare_model_info;

/* Opens MODEL: a folder with config.json and safetensors, a .gguf, a .safetensors with config.json
 * beside it, or the name of a Hugging Face repository ("org/name") that is in the local hub cache.
 * Files are mapped, not read. On success *out is the caller's, to be closed. On failure *out is
 * NULL and the message names file, tensor and byte. Thread-safe once open: a model never changes.
 */
pare_status pare_model_open(const char *name, pare_model **out);
void pare_model_close(pare_model *model); /* accepts NULL */

/* Valid as long as the model. */
const pare_model_info *pare_model_get_info(const pare_model *model);

/* SHA-256 over the tensors' names, formats, shapes and bytes: the same weights have the same hash
 * whatever the files are called. Hex, 64 characters and NUL. Reads the whole model once. */
pare_status pare_model_hash(const pare_model *model, char hex[65]);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
