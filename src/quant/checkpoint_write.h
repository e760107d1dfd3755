/* Writing what a plan quantizes in other libraries' layouts: safetensors folders that GPTQ's and
 * AWQ's loaders, and Pare, open. */
#ifndef PARE_QUANT_CHECKPOINT_WRITE_H
#define PARE_QUANT_CHECKPOINT_WRITE_H

#include "model/decoder.h"
#include "quant/methods.h"

#include <pare/quant.h>

/* The layout is known, the model is a folder of Hugging Face's, the chosen matrices are those of
 * the blocks, in one integer format, and their sizes are whole words. Else an error that says
 * what is not. */
pare_status pare_checkpoint_check(const pare_model *model, const pare_quantize_options *options,
                                  const pare_quantize_result *plan);

/* Writes options->output, a folder: model.safetensors, config.json, and copies of the tokenizer's
 * files. `state` is what the method's start made. Sets plan->bytes. */
pare_status pare_checkpoint_write(const pare_model *model, const pare_quantize_options *options,
                                  const pare_method *method, const void *state,
                                  pare_quantize_result *plan);

#endif
