/* Calibration on a device: the hidden states of a whole calibration text stay there while the model
 * goes over them block by block, and so do the Gram matrices of what the blocks' linear layers
 * read. What the methods do with them is src/calibrate's; only what takes long runs here. */
#ifndef PARE_RUN_CALIBRATOR_H
#define PARE_RUN_CALIBRATOR_H

#include "model/decoder.h"
#include "quant/gptq.h"
#include "run/block.h"

/* What is asked of one input of a block, over all tokens of the text. */
typedef struct pare_input_sums {
    double *magnitudes, *squares; /* [columns] */
    float *largest;               /* [columns]: magnitudes */
    bool keep_gram; /* the sum of x xᵀ, for what is below; until the next block is loaded */
    float *sample;  /* [sample_rows, columns]: row k is token k * tokens / sample_rows; or NULL */
    int64_t sample_rows;
} pare_input_sums;

typedef struct pare_calibrator_functions {
    /* Room for `sequences` sequences of `length` tokens. PARE_OUT_OF_MEMORY says what is needed and
     * what would fit. */
    pare_status (*create)(const pare_model *model, const char *device, int64_t sequences,
                          int64_t length, void **state);
    void (*free)(void *state); /* accepts NULL */
    /* The hidden states in front of the first block: [length] rows, `stride` floats apart. */
    pare_status (*put)(void *state, int64_t sequence, const float *hidden, int64_t stride);
    /* Takes the weights of a block: a model of one layer, which must stay until the next. */
    pare_status (*load)(void *state, const pare_model *block);
    /* Runs all sequences on to an input of the block, and sums. Inputs are shown in the order of
     * the pass, each at most once; some may be left out. */
    pare_status (*show)(void *state, pare_block_input input, const pare_input_sums *sums);
    /* The hidden states become those behind the block. */
    pare_status (*pass)(void *state);

    /* Error feedback for the matrices that read an input whose Gram matrix was kept: the factor,
     * then rows of the matrix `index` of those that read it, which are replaced by what their codes
     * stand for (quant/gptq.h). */
    pare_status (*factor)(void *state, pare_block_input input, const int32_t *order, float added);
    pare_status (*feedback)(void *state, pare_block_input input, int index,
                            const pare_gptq_rows *rows);
    /* Of the Gram matrix G that was kept: the blocks on its diagonal [columns / group, group,
     * group], and the sum of d G dᵀ over rows of d [rows, columns]. */
    pare_status (*gram_blocks)(void *state, pare_block_input input, int64_t group, float *blocks);
    pare_status (*quadratic)(void *state, pare_block_input input, const float *d, int64_t rows,
                             double *sum);
} pare_calibrator_functions;

#endif
