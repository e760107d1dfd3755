/* How much the model's predictions care about errors in the outputs of its linear layers.
 *
 * For small errors the divergence between the predictions with and without them is a quadratic
 * form, KL ~ 1/2 E^T F E, where F is the Fisher information. Per matrix it is taken as a Kronecker
 * product of two factors (Martens and Grosse, arXiv:1503.05671): X^T X of what the matrix reads
 * (the Hessian of GPTQ), and G^T G of the gradients of its outputs, which is measured here. An
 * error of the weights dW [rows, columns] then costs 1/2 trace(G dW H dW^T) nats per token. */
#ifndef PARE_CALIBRATE_OUTPUT_GRAM_H
#define PARE_CALIBRATE_OUTPUT_GRAM_H

#include "base/pool.h"
#include "calibrate/spill.h"
#include "model/decoder.h"

#include <pare/progress.h>
#include <pare/quant.h>

/* Rows of a matrix are cut into blocks of at most so many; between blocks nothing is taken to be
 * correlated. It bounds memory and work for wide layers. */
enum { PARE_OUTPUT_BLOCK = 768 };

typedef struct pare_output_gram {
    const pare_tensor *tensor;
    int64_t rows, block, count; /* block b has rows b * block .. ; the last may be short */
    int64_t tokens;             /* that were measured */
    float *g;                   /* count times [block, block] (a short one is packed): mean of g g^T
                                   over tokens */
} pare_output_gram;

typedef struct pare_output_grams {
    pare_output_gram *items; /* of the blocks' matrices, layer by layer */
    size_t count;
    pare_spill sums; /* what their g lie in: more than the model takes */
} pare_output_grams;

static inline int64_t pare_output_block_rows(const pare_output_gram *gram, int64_t b)
{
    int64_t left = gram->rows - b * gram->block;
    return left < gram->block ? left : gram->block;
}

static inline size_t pare_output_gram_bytes(const pare_output_gram *gram)
{
    return (size_t)(gram->count * gram->block * gram->block) * sizeof(float);
}

/* Room for all matrices of the blocks, zeroed, in a file beside `output` (spill.h). */
pare_status pare_output_grams_create(const pare_model *model, const char *output,
                                     pare_output_grams *grams);
void pare_output_grams_free(pare_output_grams *grams); /* accepts {0} */
const pare_output_gram *pare_output_gram_find(const pare_output_grams *grams,
                                              const pare_tensor *tensor);

/* Fills them from `windows` windows of `length` tokens spread over the calibration ids. The
 * gradients are those of logits drawn with the covariance of the predictions, diag(p) - p p^T: at
 * each position d = sqrt(p) s - p sum(sqrt(p) s) with random signs s (seeded, so that the same text
 * gives the same numbers). */
pare_status pare_output_grams_measure(const pare_model *model, const pare_calibration *calibration,
                                      int64_t windows, int64_t length, pare_pool *pool,
                                      const pare_progress *progress, pare_output_grams *grams);

#endif
