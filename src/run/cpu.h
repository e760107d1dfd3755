/* The CPU backend: what cpu.c (life), cpu_prepare.c (weights), cpu_forward.c (the pass) share. */
#ifndef PARE_RUN_CPU_H
#define PARE_RUN_CPU_H

#include "base/pool.h"
#include "kernels/kernels.h"
#include "run/backend.h"
#include "run/block.h"

#include <stdatomic.h>

enum {
    CPU_CHUNK = 512,       /* tokens that go through the layers together ... */
    CPU_WIDE_CHUNK = 1024, /* ... and where statistics over them decide how they are rounded */
    CPU_MANY = 32,         /* from so many tokens on, the batch regime's matmul is used */
    CPU_GROUP = 3,         /* q, k, v */
    CPU_LINE = 64,         /* bytes: the alignment of every row */
    CPU_AHEAD = 16 << 10,  /* bytes of the next product's weights, for each thread */
    CPU_BOUNCE = 16, /* rows of logits at a time where the caller's buffer is not aligned ... */
    CPU_BOUNCE_MOST = 64, /* ... and of several sequences, which have one each */
    CPU_SHARE = 64, /* elements: shares of elementwise work start at multiples, so that vectors and
                       their tails  fall the same way for any number of threads */
};

/* Decode and batches may use different functions (FAST: FP32 and BF16 activations), on one copy of
 * the weights where their layouts agree. */
typedef enum cpu_regime { CPU_FEW, CPU_BATCH, CPU_REGIMES } cpu_regime;

typedef struct cpu_matrix {
    const pare_tensor *tensor;
    int64_t rows, columns;
    const pare_matmul *matmul[CPU_REGIMES];
    const void *weights[CPU_REGIMES];
    const float *bias;    /* [rows], or NULL */
    const float *factors; /* [rows]: what pare_int8.correct needs; where the group has integers */
} cpu_matrix;

/* Matrices that read the same activations and are multiplied in one phase, without a barrier in
 * between. */
typedef struct cpu_group {
    cpu_matrix matrices[CPU_GROUP];
    int count;
    int64_t offsets[CPU_GROUP]; /* floats: where each one's output starts in the output row */
    bool side_by_side;          /* every thread takes the same rows of each matrix (gate and up) */
    const float *input_factors; /* [columns], by which inputs are multiplied first, or NULL */
    bool rounded;               /* its inputs are rounded as the file asks, ... */
    float input_scale;          /* ... by this scale and zero point, where they are static, ... */
    int input_zero;
    bool integers; /* ... and multiplied as integers; otherwise in FP32 */
    /* The distinct ways in which the activations are prepared, and which one each matrix reads (-1:
     * FP32 as they are). */
    const pare_matmul *prepares[CPU_REGIMES][CPU_GROUP];
    int prepare_count[CPU_REGIMES], prepare_of[CPU_REGIMES][CPU_GROUP];
} cpu_group;

typedef struct cpu_norm {
    const float *weight, *bias;
} cpu_norm;

typedef struct cpu_layer {
    cpu_norm attention_norm, mlp_norm;
    const float *q_norm, *k_norm;
    cpu_group qkv, output, up, down; /* up: gate and up, or up alone */
} cpu_layer;

/* What rounding needs to know of all tokens of a pass. */
typedef struct cpu_statistics {
    bool *outliers;           /* [widest]; of LLM.int8(), else NULL */
    int32_t *outlier_columns; /* [threads][widest]: the same as a list, for each thread */
    int64_t widest;           /* columns of the widest input */
    int64_t *outlier_count;   /* [layers * PARE_BLOCK_INPUTS]: over all passes ... */
    int64_t *column_count;    /* ... and columns that were looked at */
    float *extremes;          /* [threads], a cache line apart: least and greatest value */
} cpu_statistics;

/* What one thread has for itself: a token's activations when a single token is decoded. */
typedef struct cpu_private {
    float *x, *normed;
    char *prepared[CPU_GROUP];
    void *scratch; /* of multiply */
} cpu_private;

typedef struct cpu_state {
    const pare_model *model;
    const pare_decoder *decoder;
    const pare_kernels *kernels;
    pare_pool *pool;
    pare_session_memory memory;
    pare_activations activations;

    cpu_layer *layers;
    cpu_norm final_norm;
    cpu_group head;
    pare_arena arena; /* norms, biases */
    char *packed;     /* all repacked matrices */
    size_t packed_bytes;

    int64_t context, chunk;
    int64_t capacity;        /* of the cache: the context in whole groups of keys */
    int64_t batch, sequence; /* sequences; the one that is selected */
    pare_type kv_type;
    size_t kv_row_bytes, kv_bytes; /* kv_bytes: of keys, and as much of values */
    size_t sequence_bytes;         /* of kv_bytes: one sequence's */
    char *keys, *values;           /* [sequence][layer][kv_head][capacity], kv_row_bytes each; keys
                                      in groups (kernels/key_cache.h) */

    /* Strides in floats, multiples of 16. */
    int64_t hidden_stride, qkv_stride, attention_stride, mlp_stride, up_offset, vocab_stride;
    float *x, *normed, *y, *qkv, *attended, *mlp, *bounce;
    char *prepared[CPU_GROUP];
    int64_t bounce_rows;
    char *attention_scratch;
    size_t attention_bytes; /* of it: one sequence's, where several are decoded */
    float *hidden; /* [context or batch][hidden_stride]: final hidden states of the last forward,
                      normalized */
    float *cosines, *sines; /* [context][rope_dims / 2] */
    int64_t angles;         /* positions for which they are computed */
    cpu_private *private;   /* [threads] */
    atomic_llong *tasks;    /* [layers]: attention tasks taken; each on its own cache line */
    char *scratch;          /* one region that holds all of the above from x on */
    size_t scratch_bytes;
    cpu_statistics statistics; /* of inputs that are rounded */
    int64_t held;              /* hidden states of the last forward */
} cpu_state;

enum { CPU_TASK_STRIDE = CPU_LINE / sizeof(atomic_llong) };

/* One walk through the layers. Token ids in and normalized final hidden states out; or, for a block
 * by itself, hidden states in and out. `tap` (may be NULL) sees what the linear layers read. */
typedef struct cpu_pass {
    cpu_state *cpu;
    const int32_t *ids;
    int64_t tokens, past;
    int64_t sequence;     /* whose tokens they are */
    const int64_t *pasts; /* not NULL: token t is the one of sequence + t, at position pasts[t] */
    float *hidden;
    float *states; /* not NULL: replaces ids and hidden */
    int64_t states_stride;
    pare_block_tap tap;
    pare_block_input
        last; /* the pass ends after this input was shown; PARE_BLOCK_INPUTS: it is whole */
    void *tap_user;
} cpu_pass;

/* Runs a pass of n <= chunk tokens. */
void cpu_run_pass(cpu_pass *pass);
/* RoPE's angles of all positions below `end`. */
void cpu_extend_angles(cpu_state *cpu, int64_t end);

/* Chooses the functions and packs the weights; sets layers, norms, head, packed and memory. */
pare_status cpu_prepare_weights(cpu_state *cpu);
/* Packs the weights again, after their values changed. */
pare_status cpu_pack_weights(cpu_state *cpu);

/* logits[t * stride + v] of n <= chunk hidden states. */
void cpu_head(cpu_state *cpu, const float *hidden, int64_t n, float *logits, int64_t stride);

/* What cpu_round.c is told of the inputs of a group of matrices. */
typedef struct cpu_inputs {
    float *x; /* [tokens] rows of `columns`, `stride` apart */
    int64_t stride, tokens, columns;
    pare_range own;     /* the tokens that this thread prepares */
    bool complete;      /* all rows are there for every thread to read; otherwise only its own, or a
                           copy of its own */
    int64_t statistics; /* layer * PARE_BLOCK_INPUTS + input: where outliers are counted */
    int index, count;   /* of threads */
    float scale;        /* static rounding */
    int zero;
} cpu_inputs;

/* Memory for the statistics. */
pare_status cpu_prepare_statistics(cpu_state *cpu);
/* The rule gives codes that integer products take; otherwise inputs are always rounded in FP32. */
bool cpu_rounds_to_integers(pare_input_rounding rounding);
/* How the inputs become codes: called by all threads at once. */
pare_int8_rule cpu_round_rule(const cpu_state *cpu, const cpu_inputs *inputs);
/* Rounds tokens in place, in FP32: values of codes; columns of outliers stay as they are. */
void cpu_round_tokens(const cpu_state *cpu, const pare_int8_rule *rule, const cpu_inputs *inputs,
                      pare_range tokens);

/* A pass sees the outliers of its own tokens: the share of columns over all passes so far, of all
 * inputs of a layer. 0 where the model has none. */
double cpu_outlier_share(const cpu_state *cpu, int64_t layer);

static inline int64_t cpu_stride(int64_t floats)
{
    return (floats + 15) / 16 * 16;
}

static inline cpu_regime cpu_regime_of(int64_t tokens)
{
    return tokens >= CPU_MANY ? CPU_BATCH : CPU_FEW;
}

#endif
