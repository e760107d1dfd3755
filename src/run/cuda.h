/* The GPU backend: what cuda.c (life), cuda_prepare.c (weights), cuda_forward.c (the pass) share.
 * It is compiled into pare_cuda.so, never into the library. */
#ifndef PARE_RUN_CUDA_H
#define PARE_RUN_CUDA_H

#include "kernels/cuda/gpu.h"
#include "run/backend.h"
#include "run/block.h"

enum {
    CUDA_CHUNK = 2048,       /* tokens that go through the layers together ... */
    CUDA_WIDE_CHUNK = 1024,  /* ... and where statistics over them decide how they are rounded, as
                                on the CPU */
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

typedef struct cuda_norm {
    const float *weight, *bias; /* padded */
} cuda_norm;

/* Matrices that read the same activations. Neighbours of one format are one matrix; `gated`: gate
 * and up alternate by rows. */
typedef struct cuda_group {
    cuda_matrix items[CUDA_GROUP];
    int count;
    bool gated;
    const float *factors; /* [columns], by which inputs are multiplied first, or NULL */
    bool rounded;         /* its inputs are rounded as the file asks */
    int64_t *outliers;    /* of LLM.int8(): columns that were outliers, over all passes; or NULL */
} cuda_group;

/* What a group's matrices read: rows, to be normalized where norm is given. */
typedef struct cuda_inputs {
    const float *x;
    int64_t stride, tokens;
    const cuda_norm *norm;
} cuda_inputs;

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
    int64_t batch, sequence; /* sequences; the one that is selected */
    int64_t tile;            /* sequences that are decoded together */
    bool few;                /* they have kernels of their own (gpu_few) */
    pare_type kv_type;
    int64_t cache_dim;
    size_t kv_row_bytes, kv_layer_bytes, kv_sequence_bytes;
    char *keys, *values; /* [sequence][layer][kv_head][position] rows */
    float *cosines, *sines;

    /* Strides in floats. hidden: the residual stream of each position of the last forward, before
     * the final norm. */
    int64_t hidden_stride, qkv_stride, attention_stride, mlp_stride, up_offset, vocab_stride,
        widest;
    float *hidden, *qkv, *attended, *mlp, *logits;
    void *x_planes, *w_planes, *attention_scratch;
    float *rounded; /* [chunk] rows: inputs that are scaled or rounded */
    float *token_scales; /* [chunk], where they become codes */
    gpu_round_scratch round_scratch;
    int64_t passes;                            /* so far: of these outliers are counted */
    void *few_hidden, *few_attended, *few_mlp; /* inputs of gpu_few */
    float *few_partial;
    int *few_done;
    gpu_control *control; /* [batch] */
    gpu_best *best, *best_parts; /* of one token; [CUDA_LOGITS][GPU_BEST_PARTS] */
    void *losses;              /* [CUDA_LOGITS], of numbers or of pare_divergence */
    int32_t *targets;          /* [CUDA_LOGITS] */
    int32_t *ids;              /* [context]: a prompt's, or the choices of greedy decoding */
    float *logits_host;        /* pinned, [vocab] */
    gpu_control *control_host; /* pinned, [batch] */
    int32_t *best_host;        /* pinned, [CUDA_LOGITS] */
    cudaGraphExec_t token;     /* decodes one token */
    cudaGraphExec_t together;  /* decodes one of every sequence */
    bool batched;              /* the last forward was of several sequences */
    bool decoded;              /* all logits of the last forward are computed */
} cuda_state;

/* cuda_calibrate.c */
extern const pare_calibrator_functions cuda_calibrator;

/* "cuda", "cuda:N". */
pare_status cuda_parse_device(const char *device, int *number);
/* Frees all but the context, which may be shared. */
void cuda_free_memory(cuda_state *cuda);

/* The plug-in's one symbol (run/backend.h). */
const pare_backend_functions *pare_cuda_backend(const pare_backend_abi *abi);

/* Device memory that lives as long as the state. */
pare_status cuda_hold(cuda_state *cuda, size_t bytes, const char *what, void *out);

/* Uploads and packs everything. */
pare_status cuda_prepare_weights(cuda_state *cuda);

/* The same of the layers alone: a model without embedding and head. */
pare_status cuda_prepare_layers(cuda_state *cuda);
/* Where row 0 of the matrix `index` of those that read an input lies, and the rows from one to the
 * next, where all of a layer's matrices have one format. */
gpu_weights *cuda_place_of(cuda_state *cuda, int64_t l, pare_block_input input, int index,
                           int64_t *first, int64_t *step);

/* Appends the measured limits of a device ("gpu_read_bandwidth_bytes_per_s", ...). */
pare_status cuda_measure(int device, pare_hw_limits *limits);

/* ---- cuda_memory.c ---- */

void cuda_set_strides(cuda_state *cuda);
/* Before anything is uploaded: does it fit, and if not, what would? */
pare_status cuda_check_room(const cuda_state *cuda);
/* After the weights: the cache, and everything that a pass needs. */
pare_status cuda_allocate_cache(cuda_state *cuda);
pare_status cuda_allocate_scratch(cuda_state *cuda);

/* ---- cuda_round.c ---- */

/* Decides whether the group's inputs are rounded; `tensors` are its matrices, NULL at the end. */
pare_status cuda_start_rounding(cuda_state *cuda, cuda_group *group,
                                const pare_tensor *const *tensors);
pare_status cuda_allocate_rounding(cuda_state *cuda);
/* The rule by which inputs that are rounded are. */
gpu_round_rule cuda_round_rule(const cuda_state *cuda);
/* Are its inputs scaled or rounded? */
bool cuda_group_feeds(const cuda_group *group);
/* Where they are: makes rows of cuda->rounded of *in, which then stands for these. */
pare_status cuda_feed(cuda_state *cuda, const cuda_group *group, cuda_inputs *in);
/* Are they multiplied as integers (many tokens)? */
bool cuda_group_codes(const cuda_state *cuda, const cuda_group *group);
/* Then: their codes in cuda->x_planes, their scales in cuda->token_scales. */
pare_status cuda_feed_codes(cuda_state *cuda, const cuda_group *group, const cuda_inputs *in);
/* Of the inputs of a layer, over all passes. */
pare_status cuda_outlier_share(cuda_state *cuda, int64_t layer, double *share);

/* ---- the pass ---- */

gpu_norm cuda_norm_kind(const cuda_state *cuda);
gpu_activation cuda_activation_kind(const cuda_state *cuda);
gpu_heads cuda_heads_of(const cuda_state *cuda, int64_t l);

/* Numbers that the products of many tokens need room for, over all matrices. */
int64_t cuda_plane_numbers(const cuda_state *cuda);
/* Queues the token that control names: logits, best, control for the next one. */
pare_status cuda_queue_token(cuda_state *cuda);
/* n <= chunk tokens whose ids are on the device; hidden states go to rows row .. row + n - 1. */
pare_status cuda_queue_chunk(cuda_state *cuda, const int32_t *ids, int64_t n, int64_t past,
                             int64_t row);
/* The parts of a layer over n <= chunk rows x. Control NULL: tokens of the selected sequence from
 * position past on. */
pare_status cuda_queue_attended(cuda_state *cuda, int64_t l, const float *x, int64_t n,
                                const gpu_control *control, int64_t past); /* cuda->attended */
pare_status cuda_queue_output(cuda_state *cuda, int64_t l, float *x, int64_t n); /* added to x */
/* What the layer's last matrix reads, into `to`. */
pare_status cuda_queue_activated(cuda_state *cuda, int64_t l, const float *x, int64_t n,
                                 const gpu_planes *to);
pare_status cuda_queue_mlp(cuda_state *cuda, int64_t l, float *x, int64_t n); /* added to x */
/* Queues one token of every sequence, as control[] has them; and the logits and choices of up to
 * CUDA_LOGITS. */
pare_status cuda_queue_batch(cuda_state *cuda);
/* n <= CUDA_CHUNK rows x through layer l, each of another sequence. */
pare_status cuda_queue_layer_batch(cuda_state *cuda, int64_t l, float *x, int64_t n,
                                   const gpu_control *control);
/* Logits of n <= CUDA_LOGITS hidden states. */
pare_status cuda_queue_head(cuda_state *cuda, int64_t row, int64_t n);
/* The same of up to GPU_FEW_MOST, where cuda->few. */
pare_status cuda_queue_head_few(cuda_state *cuda, int64_t row, int64_t n);
/* Which products have kernels for few tokens, and memory for them. */
pare_status cuda_allocate_few(cuda_state *cuda);

static inline int64_t cuda_stride(int64_t floats)
{
    return (floats + GPU_PAD - 1) / GPU_PAD * GPU_PAD;
}

#endif
