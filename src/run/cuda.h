/* The GPU backend: what cuda.c (life), cuda_prepare.c (weights), cuda_forward.c (the pass) share.
 * It is compiled into pare_cuda.so, never into the library. */
#ifndef PARE_RUN_CUDA_H
#define PARE_RUN_CUDA_H

#include "kernels/cuda/gpu.h"
#include "run/backend.h"

enum {
    CUDA_CHUNK = 2048,       /* tokens that go through the layers together */
    CUDA_GROUP = 3,          /* q, k, v */
    CUDA_LOGITS = 256,       /* rows of logits at a time */
    CUDA_SLICE = 64 << 20,   /* weights that are made numbers at a time */
    CUDA_STAGING = 64 << 20, /* bytes of stored weights on the device while they are packed */
};

typedef struct cuda_memory {
    void *data;
    size_t bytes;
} cuda_memory;

typedef struct cuda_matrix {
    gpu_weights weights;
    const float *bias; /* padded, or NULL */
    int64_t offset;    /* floats: where its output starts in the output row */
} cuda_matrix;

/* Matrices that read the same activations. Neighbours of one format are one matrix; `gated`: gate
 * and up alternate by rows. */
typedef struct cuda_group {
    cuda_matrix items[CUDA_GROUP];
    int count;
    bool gated;
} cuda_group;

typedef struct cuda_norm {
    const float *weight, *bias; /* padded */
} cuda_norm;

typedef struct cuda_layer {
    cuda_norm attention_norm, mlp_norm;
    const float *q_norm, *k_norm;
    cuda_group qkv, output, up, down;
} cuda_layer;

typedef struct cuda_state {
    const pare_model *model;
    const pare_decoder *decoder;
    gpu_context gpu;
    char isa[16]; /* "sm_90" */
    bool fast;
    pare_session_memory memory;
    cuda_memory *held; /* everything on the device */
    size_t held_count, held_capacity;

    cuda_layer *layers;
    cuda_norm final_norm;
    gpu_weights embedding, positions;
    cuda_group head;

    int64_t context, chunk;
    pare_type kv_type;
    int64_t cache_dim;
    size_t kv_row_bytes, kv_layer_bytes;
    char *keys, *values; /* [layer][kv_head][position][cache_dim] */
    float *cosines, *sines;

    /* Strides in floats. hidden: the residual stream of each position of the last forward, before
     * the final norm. */
    int64_t hidden_stride, qkv_stride, attention_stride, mlp_stride, up_offset, vocab_stride,
        widest;
    float *hidden, *qkv, *attended, *mlp, *logits;
    void *x_planes, *w_planes, *attention_scratch;
    gpu_control *control;
    gpu_best *best;
    int32_t *ids;          /* [context]: a prompt's, or the choices of greedy decoding */
    float *logits_host;    /* pinned, [vocab] */
    cudaGraphExec_t token; /* decodes one token */
    bool decoded;          /* the logits of the last forward are computed */
} cuda_state;

/* The plug-in's one symbol (run/backend.h). */
const pare_backend_functions *pare_cuda_backend(const pare_backend_abi *abi);

/* Device memory that lives as long as the state. */
pare_status cuda_hold(cuda_state *cuda, size_t bytes, const char *what, void *out);

/* Uploads and packs everything. */
pare_status cuda_prepare_weights(cuda_state *cuda);

/* Numbers that the products of many tokens need room for, over all matrices. */
int64_t cuda_plane_numbers(const cuda_state *cuda);
/* Queues the token that control names: logits, best, control for the next one. */
pare_status cuda_queue_token(cuda_state *cuda);
/* n <= chunk tokens whose ids are on the device; hidden states go to rows row .. row + n - 1. */
pare_status cuda_queue_chunk(cuda_state *cuda, const int32_t *ids, int64_t n, int64_t past,
                             int64_t row);
/* Logits of n <= CUDA_LOGITS hidden states. */
pare_status cuda_queue_head(cuda_state *cuda, int64_t row, int64_t n);

static inline int64_t cuda_stride(int64_t floats)
{
    return (floats + GPU_PAD - 1) / GPU_PAD * GPU_PAD;
}

#endif
