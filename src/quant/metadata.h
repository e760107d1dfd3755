/* The metadata of a written GGUF: the model's and the tokenizer's, and how the file was made. */
#ifndef PARE_QUANT_METADATA_H
#define PARE_QUANT_METADATA_H

#include "formats/gguf.h"
#include "model/decoder.h"
#include "quant/methods.h"

#include <pare/quant.h>

/* Sets plan->tokenizer. */
pare_status pare_quantize_describe(const pare_model *model, const pare_quantize_options *options,
                                   const pare_method *method, pare_quantize_result *plan,
                                   pare_gguf_writer *writer);

#endif
