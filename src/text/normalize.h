/* The normalizers of tokenizer.json, applied to text before it is split. */
#ifndef PARE_TEXT_NORMALIZE_H
#define PARE_TEXT_NORMALIZE_H

#include "base/buffer.h"
#include "base/json.h"
#include "text/regex.h"

typedef enum pare_normalizer_kind {
    PARE_NORMALIZE_NFC,
    PARE_NORMALIZE_NFD,
    PARE_NORMALIZE_NFKC,
    PARE_NORMALIZE_NFKD,
    PARE_NORMALIZE_LOWERCASE,
    PARE_NORMALIZE_PREPEND,
    PARE_NORMALIZE_REPLACE,
    PARE_NORMALIZE_STRIP,
    PARE_NORMALIZE_STRIP_ACCENTS,
    PARE_NORMALIZE_BYTES,
    PARE_NORMALIZE_NMT,
} pare_normalizer_kind;

typedef struct pare_normalizer_step {
    pare_normalizer_kind kind;
    char *text; /* PREPEND: what; REPLACE: with what; NULL elsewhere */
    size_t text_length;
    char *pattern; /* REPLACE by a string; NULL where by `regex` */
    size_t pattern_length;
    pare_regex *regex;
    bool left, right; /* STRIP */
} pare_normalizer_step;

typedef struct pare_normalizer {
    pare_normalizer_step *steps;
    size_t count, capacity;
} pare_normalizer;

/* json: the value of "normalizer"; NULL or null is none. An unknown kind is PARE_UNSUPPORTED and
 * named. */
pare_status pare_normalizer_load(pare_normalizer *normalizer, const json_t *json, const char *file);
void pare_normalizer_free(pare_normalizer *normalizer);

/* Replaces *text by its normal form. *start_kept is cleared where the beginning of the text was cut
 * off. */
pare_status pare_normalize(const pare_normalizer *normalizer, pare_regex_search *search,
                           pare_buffer *text, bool *start_kept);

/* "▁" before a text that is not empty, "▁" for " ": SentencePiece's, for a GGUF vocabulary. */
pare_status pare_normalizer_add_prepend(pare_normalizer *normalizer, const char *text);
pare_status pare_normalizer_add_replace(pare_normalizer *normalizer, const char *pattern,
                                        const char *text);

/* Replaces every match of a string (that is not empty) or a regular expression, whichever is given.
 */
pare_status pare_replace_all(const char *text, size_t size, const char *pattern,
                             size_t pattern_length, const pare_regex *regex,
                             pare_regex_search *search, const char *with, size_t with_length,
                             pare_buffer *out);

/* {"String": "..."} or {"Regex": "..."} of a step called `kind`: sets *string (a copy) or *regex.
 * An empty string becomes a regular expression, which matches everywhere. */
pare_status pare_load_pattern(const json_t *step, const char *kind, const char *file, char **string,
                              size_t *length, pare_regex **regex);

#endif
