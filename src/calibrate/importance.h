/* Measuring importance matrices: mean squares of what each linear layer of the full-precision model
 * reads on a calibration text. */
#ifndef PARE_CALIBRATE_IMPORTANCE_H
#define PARE_CALIBRATE_IMPORTANCE_H

#include "model/decoder.h"
#include "quant/imatrix.h"

#include <pare/quant.h>

/* Fills *matrix ({0}) with an entry for each matrix of the blocks, from the options' calibration
 * text. Memory: the hidden states of one sequence (those of all lie in a file, spill.h, or on the
 * options' device) and one block in FP32. */
pare_status pare_importance_measure(const pare_model *model, const pare_quantize_options *options,
                                    pare_imatrix *matrix);

#endif
