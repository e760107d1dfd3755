/* The tokenizer as GGUF metadata. */
#ifndef PARE_TEXT_EXPORT_H
#define PARE_TEXT_EXPORT_H

#include "formats/gguf.h"

#include <pare/tokenizer.h>

/* Sets tokenizer.ggml.* and tokenizer.chat_template so that llama.cpp makes the same ids of a text.
 * vocab_size: rows of the model's embedding, at least the tokenizer's (llama.cpp wants as many
 * tokens), or 0 for the tokenizer's. From a GGUF the values are copied as they are. From a
 * tokenizer.json, byte-level BPE becomes model "gpt2" with the name of its pre-tokenizer,
 * SentencePiece-style BPE becomes model "llama" with scores from the ranks of the merges. What
 * these cannot say (a normalizer, an unknown pre-tokenizer, tokens that swallow spaces) stays exact
 * for readers of tokenizer.huggingface.json, which is then added. PARE_UNSUPPORTED where that file
 * is gone. */
pare_status pare_tokenizer_export(const pare_tokenizer *tokenizer, int64_t vocab_size,
                                  pare_gguf_writer *writer);

#endif
