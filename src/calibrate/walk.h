/* Walking through a model block by block on calibration text: each block's linear layers are
 * quantized knowing what they read from the already quantized part before them. */
#ifndef PARE_CALIBRATE_WALK_H
#define PARE_CALIBRATE_WALK_H

#include "base/pool.h"
#include "calibrate/device.h"
#include "calibrate/work.h"
#include "quant/methods.h"
#include "run/block.h"

/* There is a text, its sizes fit the model's context and what it has, its ids the vocabulary. */
pare_status pare_calibration_check(const pare_model *model, const pare_calibration *calibration);

enum { PARE_WALK_TOGETHER = 3 }; /* q, k, v */

/* The encoded matrices of all blocks. Starts as {.work.fd = -1}. */
typedef struct pare_walk_result {
    pare_work work; /* finished blocks are kept here where the method opened it before the walk */
    struct pare_walk_matrix {
        const pare_tensor *tensor; /* of the model */
        uint8_t *rows;
        size_t bytes;
    } * matrices;
    size_t count;
} pare_walk_result;

/* One input of a block and the chosen matrices that read it. */
typedef struct pare_walk_stage {
    pare_pool *pool;
    int64_t columns, tokens;
    int count;
    const pare_block_matrix *matrices[PARE_WALK_TOGETHER];
    const pare_quantize_item *items[PARE_WALK_TOGETHER];
    uint8_t *encoded[PARE_WALK_TOGETHER]; /* NULL where the walk only looks */
    const float *gram; /* [columns, columns], sum of x xᵀ over all tokens; NULL on a device */
    /* Not NULL: the sums lie on a device, and it keeps the quantized weights. */
    const pare_calibrator *device;
    pare_block_input input;
    int indices[PARE_WALK_TOGETHER]; /* of the matrices among those that read the input */
    const float *diagonal;           /* [columns], of the Gram matrix, where it is there */
    /* Of a paired walk; NULL otherwise. x is the input in the exact model, x' in the one quantized
     * so far, r and r' the residual stream that the matrices' output is added to. */
    const float *shift;    /* [columns, columns]: sum (x - x') x'^T */
    const float *residual; /* [hidden, columns]: sum (r - r') x'^T; NULL where there is none */
} pare_walk_stage;

/* Fills all of stage->encoded and replaces the weights by what they decode to. */
typedef pare_status (*pare_walk_stage_quantize)(void *user, const pare_walk_stage *stage);

typedef struct pare_walk_mode {
    bool device; /* the method can do with sums on a device, and the options' is used */
    bool paired; /* the exact model runs beside the quantized one */
    bool look;   /* nothing is encoded or changed */
} pare_walk_mode;

/* Goes through all blocks. For each, in the order of the pass (qkv, output, gate and up, down):
 * runs all sequences up to that input through what is quantized so far, sums the Gram matrix,
 * quantizes. Matrices that the plan does not choose stay as they are. Finished blocks are kept in
 * result->work where the method opened it; blocks found there are only run. Memory: the hidden
 * states of one sequence (twice for a paired walk; those of all lie in a file, spill.h), one block
 * in FP32 (twice), one Gram matrix (and its shift), and the encoded matrices. On a device the
 * hidden states of all lie in its memory. */
pare_status pare_walk_stages(const pare_model *model, const pare_quantize_options *options,
                             const pare_quantize_result *plan, pare_walk_mode mode,
                             pare_walk_stage_quantize quantize, void *user,
                             pare_walk_result *result);
const uint8_t *pare_walk_rows(const pare_walk_result *result, const pare_tensor *tensor);
void pare_walk_free(pare_walk_result *result); /* accepts {0} */

#endif
