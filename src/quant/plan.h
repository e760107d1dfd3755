/* Which tensor is written in which format, and why. */
#ifndef PARE_QUANT_PLAN_H
#define PARE_QUANT_PLAN_H

#include "model/decoder.h"

#include <pare/quant.h>

/* Fills result->items, count, fallbacks, bits_per_weight, requantized, llama_cpp_limit. *result
 * starts as {0}; on failure the caller frees it all the same. A rule that matches no matrix is an
 * error, since it is a typing mistake. */
pare_status pare_quantize_make_plan(const pare_model *model, const pare_quantize_options *options,
                                    pare_quantize_result *result);

/* The tensors of the written file, in its order; NULL past the end. */
const pare_tensor *pare_quantize_tensor(const pare_model *model, size_t index);

/* The nearest format whose blocks fit rows of `columns`: `type` itself, or what llama.cpp falls
 * back to, at last f16. */
pare_type pare_type_fitting(pare_type type, int64_t columns);

#endif
