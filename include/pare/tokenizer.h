/* Text to token ids and back, and chat templates. */
#ifndef PARE_TOKENIZER_H
#define PARE_TOKENIZER_H

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct pare_tokenizer pare_tokenizer;

/* Opens the tokenizer of MODEL: a folder with tokenizer.json (and tokenizer_config.json,
 * chat_template.jinja), a bare tokenizer.json, a GGUF (a vocabulary-only one too), or a hub name.
 * PARE_NOT_FOUND where the model has none. */
pare_status pare_tokenizer_open(const char *name, pare_tokenizer **out);
void pare_tokenizer_close(pare_tokenizer *tokenizer); /* accepts NULL */

enum {
    PARE_TOKENIZE_ADD_SPECIAL = 1,   /* add BOS / EOS as the model's own tokenizer does */
    PARE_TOKENIZE_PARSE_SPECIAL = 2, /* special tokens spelled in the text become their ids */
};

/* Encodes `length` bytes of UTF-8 (invalid bytes are replaced as the reference does). *ids is
 * malloc'ed, *count long; the caller frees it. Thread-safe on one tokenizer. Near-linear in length.
 */
pare_status pare_tokenizer_encode(const pare_tokenizer *tokenizer, const char *text, size_t length,
                                  unsigned flags, int32_t **ids, size_t *count);

/* Decodes all ids at once: *text is malloc'ed, NUL-terminated, *length bytes. Special tokens are
 * left out where skip_special. An id outside the vocabulary is PARE_INVALID_ARGUMENT. */
pare_status pare_tokenizer_decode(const pare_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                  bool skip_special, char **text, size_t *length);

/* Decoding as a stream: bytes come out as soon as they form whole UTF-8 characters; the
 * concatenation of all pushes and the flush equals pare_tokenizer_decode of all the ids. */
typedef struct pare_text_stream pare_text_stream;
pare_status pare_text_stream_create(const pare_tokenizer *tokenizer, bool skip_special,
                                    pare_text_stream **out);
void pare_text_stream_free(pare_text_stream *stream);
/* *text points into the stream and is valid until the next call; it may be "". */
pare_status pare_text_stream_push(pare_text_stream *stream, int32_t id, const char **text,
                                  size_t *length);
pare_status pare_text_stream_flush(pare_text_stream *stream, const char **text, size_t *length);

int64_t pare_tokenizer_vocab_size(const pare_tokenizer *tokenizer);
/* The token's own bytes as in the vocabulary ("▁the", "<|im_end|>"), NULL where the id is unused.
 */
const char *pare_tokenizer_token(const pare_tokenizer *tokenizer, int32_t id);
/* -1 where the model has none. */
int32_t pare_tokenizer_bos(const pare_tokenizer *tokenizer);
int32_t pare_tokenizer_eos(const pare_tokenizer *tokenizer);
/* True for EOS and for the end-of-turn tokens that chat models stop at. */
bool pare_tokenizer_is_end(const pare_tokenizer *tokenizer, int32_t id);

/* The chat template's source, or NULL. */
const char *pare_tokenizer_chat_template(const pare_tokenizer *tokenizer);

/* Renders `messages_json` (an array of {"role", "content", ...}) by the tokenizer's chat template.
 * variables_json: an object of further template variables (tools, date_string, ...), or NULL. *text
 * is malloc'ed. A template's raise_exception is PARE_INVALID_ARGUMENT with its message. */
pare_status pare_tokenizer_render_chat(const pare_tokenizer *tokenizer, const char *messages_json,
                                       bool add_generation_prompt, const char *variables_json,
                                       char **text);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
