/* Writing a model as a GGUF that llama.cpp runs: its metadata, and the order of rows that it
 * expects. */
#ifndef PARE_MODEL_EXPORT_H
#define PARE_MODEL_EXPORT_H

#include "formats/gguf.h"
#include "model/decoder.h"

/* Sets everything but the file type (below) and the tokenizer (src/text/export.h), which stays
 * "none": general.* and the architecture's keys. For a model that was opened from a GGUF, all its
 * metadata are copied, tokenizer included. llama.cpp wants norms and biases in F32. */
pare_status pare_model_export_metadata(const pare_model *model, pare_gguf_writer *writer);

/* general.file_type of a file whose block matrices are (mostly) of this format; nothing where
 * llama.cpp has no number. */
void pare_export_set_file_type(pare_gguf_writer *writer, pare_type type);

/* llama.cpp's llama architecture rotates neighbouring elements, Hugging Face's the two halves of a
 * head: the rows of q and k (elements of their biases) change places. Output row `row` of the
 * tensor, one of model->tensors, is its row pare_export_row(...); the identity for all other
 * tensors and models. */
int64_t pare_export_row(const pare_model *model, const pare_tensor *tensor, int64_t row);
/* False where pare_export_row is the identity for this tensor. */
bool pare_export_reorders(const pare_model *model, const pare_tensor *tensor);

/* "rope_freqs.weight", an FP32 tensor that the file needs beside model->tensors; NULL where it
 * needs none. */
const pare_tensor *pare_model_export_extra(const pare_model *model);

/* Why llama.cpp would compute something else with this file than Pare does ("... has no key for
 * it"); NULL: it does not. */
const char *pare_model_export_limit(const pare_model *model);

#endif
