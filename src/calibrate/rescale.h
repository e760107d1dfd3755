/* Models whose linear layers' inputs are divided by scales, one for each column, and whose weights
 * are multiplied by them: the function stays, what is hard to round moves. The division is folded
 * into what comes before (a norm, rows of v or up), or kept beside the matrix in the file. */
#ifndef PARE_CALIBRATE_RESCALE_H
#define PARE_CALIBRATE_RESCALE_H

#include "base/pool.h"
#include "calibrate/work.h"
#include "run/block.h"

#include <pare/quant.h>

/* Where the division by an input's scales goes. */
typedef enum pare_fold { PARE_FOLD_NORM, PARE_FOLD_ROWS, PARE_FOLD_KEPT } pare_fold;
pare_fold pare_fold_of(const pare_model *model, pare_block_input input);

/* Encoded rows that replace those of the model's tensors. Starts as {0}. */
typedef struct pare_rescaled {
    struct pare_rescaled_tensor {
        const pare_tensor *tensor; /* of the model, or one that the plan added */
        uint8_t *rows;
        size_t bytes;
    } * tensors;
    size_t count, capacity;
} pare_rescaled;

/* One block in work. */
typedef struct pare_rescale {
    const pare_model *model;
    const pare_quantize_result *plan;
    pare_pool *pool; /* the block's */
    int64_t layer;
    pare_block_matrix *matrices; /* FP32, changed in place */
    int matrix_count;
    float *norms[2][2];      /* [attention, MLP][weight, bias], FP32 copies; bias may be NULL */
    float *v_bias, *up_bias; /* likewise; of a fused qkv the whole bias */
    float *kept[2];          /* of output and down: NULL while all ones */
} pare_rescale;

/* `rescale` holds copies of the vectors, to be freed; on failure too. */
pare_status pare_rescale_start(pare_rescale *rescale, const pare_model *model,
                               const pare_quantize_result *plan, pare_block *block, int64_t layer);
void pare_rescale_free(pare_rescale *rescale);
/* Multiplies the columns of all matrices that read the input, and folds. Scales are positive. */
pare_status pare_rescale_apply(pare_rescale *rescale, pare_block_input input, const float *scales);

/* What the plan says of a matrix or vector. */
const pare_quantize_item *pare_rescale_item(const pare_rescale *rescale, const pare_tensor *tensor);

/* Adds rows of a tensor; the memory is the list's from then on. */
pare_status pare_rescaled_add(pare_rescaled *list, const pare_tensor *tensor, uint8_t *rows,
                              size_t bytes);
/* Adds a block's matrix as it is by now, each row by the plan's format's own encoder. */
pare_status pare_rescaled_add_rounded(pare_rescaled *list, pare_pool *pool,
                                      const pare_block_matrix *matrix,
                                      const pare_quantize_item *item);
/* Adds what the block's vectors became, and matrices that the plan leaves as they are but whose
 * values changed. Kept scales go to their tensors in the plan. */
pare_status pare_rescaled_add_rest(pare_rescaled *list, const pare_rescale *rescale);
/* What a block added, from item `first` of the list on, goes to the work file; and back from there:
 * false where it does not have all of it, and nothing was added. */
pare_status pare_rescaled_keep(const pare_rescaled *list, size_t first, int64_t layer,
                               pare_work *work);
bool pare_rescaled_restore(pare_rescaled *list, const pare_model *model,
                           const pare_quantize_result *plan, int64_t layer, const pare_work *work);
const uint8_t *pare_rescaled_rows(const pare_rescaled *list, const pare_tensor *tensor);
void pare_rescaled_free(pare_rescaled *list);

#endif
