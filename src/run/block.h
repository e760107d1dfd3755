/* One block of a decoder, run on hidden states instead of token ids, with FP32 weights that may be
 * changed: what calibration walks through the model with. It is the same forward pass as everything
 * else, over a model of one layer. */
#ifndef PARE_RUN_BLOCK_H
#define PARE_RUN_BLOCK_H

#include "base/pool.h"
#include "model/decoder.h"

/* What the linear layers of a block read, in the order of the pass. */
typedef enum pare_block_input {
    PARE_BLOCK_QKV,    /* normalized hidden states */
    PARE_BLOCK_OUTPUT, /* what attention gathered */
    PARE_BLOCK_UP,     /* normalized hidden states: gate and up */
    PARE_BLOCK_DOWN,   /* activations of the MLP */
    PARE_BLOCK_INPUTS
} pare_block_input;

typedef struct pare_block_matrix {
    const pare_tensor *source; /* of the model */
    float *weights;            /* [rows, columns], decoded; the caller may change them, then calls
                                  pare_block_refresh */
    int64_t rows, columns;
    pare_block_input input;
} pare_block_matrix;

enum { PARE_BLOCK_MATRICES = 7 };

typedef struct pare_block pare_block;

/* Called by all threads at once, between the phases of the pass: x is [tokens] rows of `columns`
 * floats, `stride` apart. Each of the `count` threads takes its share of the work; none goes on
 * before all have returned. */
typedef void (*pare_block_tap)(void *user, pare_block_input input, const float *x, int64_t stride,
                               int64_t tokens, int64_t columns, int index, int count);

/* Decodes the block's weights. `length`: the most tokens of one sequence. The model must outlive
 * the block; the pool is its own. */
pare_status pare_block_create(const pare_model *model, int64_t layer, int threads, int64_t length,
                              pare_block **out);
/* The same without a backend: its weights, to be run elsewhere (run/calibrator.h). */
pare_status pare_block_decode(const pare_model *model, int64_t layer, int threads,
                              pare_block **out);
void pare_block_free(pare_block *block); /* accepts NULL */
/* A model of this one layer with the weights as they are, without embedding and head. */
const pare_model *pare_block_model(const pare_block *block);

/* The linear layers, in the order of the pass. */
pare_block_matrix *pare_block_get_matrices(pare_block *block, int *count);
pare_pool *pare_block_pool(pare_block *block);

/* After weights were changed. */
void pare_block_refresh(pare_block *block);

/* Runs one sequence: `hidden` [tokens] rows of the model's width, `stride` floats apart, is
 * replaced by the block's output. `last`: the pass ends after this input was shown and leaves
 * `hidden` as it is; PARE_BLOCK_INPUTS for a whole pass. tap may be NULL. */
void pare_block_forward(pare_block *block, float *hidden, int64_t stride, int64_t tokens,
                        pare_block_input last, pare_block_tap tap, void *user);

/* Within a tap: the residual stream at the tokens that are shown, rows *stride floats apart.
 * `tokens` and `index` are the tap's. */
const float *pare_block_residual(const pare_block *block, int64_t tokens, int index,
                                 int64_t *stride);

/* The embeddings of `tokens` ids at positions 0.. : what the first block reads. */
pare_status pare_block_embed(const pare_model *model, const int32_t *ids, int64_t tokens,
                             float *hidden, int64_t stride);

#endif
