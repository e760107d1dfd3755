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

/* For methods that rescale: adds the tensors of scales that no layer before can take
 * ("blk.0.ffn_down.input_scale", FP32), all ones, to result->added and to the items. */
pare_status pare_quantize_add_scales(const pare_model *model, pare_quantize_result *result);
/* Heads that share values cannot take a scale for each input of the output matrix; neither can what
 * is behind an activation that is no product. */
bool pare_plan_keeps_output(const pare_model *model);
bool pare_plan_keeps_down(const pare_model *model);

/* The model's tensors of the written file, in its order; NULL past the end. Those that were added
 * follow. */
const pare_tensor *pare_quantize_tensor(const pare_model *model, size_t index);

/* The format of the options or the recipe, before any rule. */
pare_type pare_quantize_base_type(const pare_quantize_options *options);

/* Gives an item another format that fits it, and sums up the plan again. */
void pare_quantize_set_type(const pare_model *model, pare_quantize_result *plan, size_t index,
                            pare_type type);

/* The nearest format whose blocks fit rows of `columns`: `type` itself, or what llama.cpp falls
 * back to, at last f16. */
pare_type pare_type_fitting(pare_type type, int64_t columns);

#endif
