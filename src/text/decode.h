/* The decoders of tokenizer.json as a chain of stages that tokens stream through. */
#ifndef PARE_TEXT_DECODE_H
#define PARE_TEXT_DECODE_H

#include "base/buffer.h"
#include "base/json.h"
#include "text/regex.h"

typedef enum pare_decoder_kind {
    PARE_DECODE_BYTES,         /* GPT-2's visible characters become bytes, and all together UTF-8 */
    PARE_DECODE_REPLACE,       /* in every token */
    PARE_DECODE_BYTE_FALLBACK, /* a run of <0x..> becomes UTF-8, or U+FFFD for each where it is none
                                */
    PARE_DECODE_FUSE,          /* all tokens become one */
    PARE_DECODE_STRIP, /* up to `start` times `string` at every token's beginning, up to `stop` at
                          its end */
    PARE_DECODE_METASPACE, /* `string` becomes " ", and nothing in the first token where
                              `skip_first` */
    PARE_DECODE_SPACED,    /* " " between tokens: what tokenizers does without a decoder */
} pare_decoder_kind;

typedef struct pare_decoder_step {
    pare_decoder_kind kind;
    char *string;
    size_t string_length;
    pare_regex *regex; /* REPLACE by a regular expression */
    char *content;     /* REPLACE: with what */
    size_t content_length;
    size_t start, stop;
    bool skip_first;
    bool whole; /* its input is one token that comes in chunks, since a stage before fuses */
} pare_decoder_step;

typedef struct pare_decoder {
    pare_decoder_step *steps;
    size_t count, capacity;
} pare_decoder;

/* json: the value of "decoder"; NULL or null joins tokens by " ". An unknown kind is
 * PARE_UNSUPPORTED and named. */
pare_status pare_decoder_load(pare_decoder *decoder, const json_t *json, const char *file);
pare_status pare_decoder_add(pare_decoder *decoder, pare_decoder_kind kind,
                             pare_decoder_step **step);
pare_status pare_decoder_set(char **string, size_t *length, const char *text, size_t size);
/* After the last step. */
void pare_decoder_finish(pare_decoder *decoder);
void pare_decoder_free(pare_decoder *decoder);

/* The state of one decoding. */
typedef struct pare_decoding pare_decoding;
pare_status pare_decoding_create(const pare_decoder *decoder, pare_decoding **out);
void pare_decoding_free(pare_decoding *decoding); /* accepts NULL */
/* Appends what the token makes certain to `out`: whole characters. */
pare_status pare_decoding_push(pare_decoding *decoding, const char *token, size_t length,
                               pare_buffer *out);
pare_status pare_decoding_flush(pare_decoding *decoding, pare_buffer *out);

#endif
