/* The pre-tokenizers of tokenizer.json: they split text into the pieces that byte-pair encoding
 * works in. */
#ifndef PARE_TEXT_PRETOKENIZE_H
#define PARE_TEXT_PRETOKENIZE_H

#include "base/json.h"
#include "text/pieces.h"
#include "text/regex.h"

typedef enum pare_split_kind {
    PARE_SPLIT_REGEX,       /* matches of `regex` */
    PARE_SPLIT_STRING,      /* matches of `string` */
    PARE_SPLIT_NUMBERS,     /* single characters of N */
    PARE_SPLIT_PUNCTUATION, /* single punctuation characters */
    PARE_SPLIT_SPACES,      /* single white space characters */
    PARE_SPLIT_METASPACE, /* " " becomes `string`, which is put in front by `prepend`; split before
                             each where `split` */
    PARE_SPLIT_BYTES, /* bytes become GPT-2's visible characters; not split; `prepend` puts " " in
                         front */
} pare_split_kind;

typedef enum pare_split_behavior {
    PARE_SPLIT_ISOLATED,
    PARE_SPLIT_REMOVED,
    PARE_SPLIT_CONTIGUOUS,
    PARE_SPLIT_WITH_PREVIOUS,
    PARE_SPLIT_WITH_NEXT,
} pare_split_behavior;

typedef enum pare_prepend {
    PARE_PREPEND_NEVER,
    PARE_PREPEND_FIRST,
    PARE_PREPEND_ALWAYS
} pare_prepend;

typedef struct pare_split_step {
    pare_split_kind kind;
    pare_split_behavior behavior;
    bool invert; /* what does not match counts as matching */
    bool split;
    pare_prepend prepend;
    char *string;
    size_t string_length;
    pare_regex *regex;
    char *source; /* the pattern as in the file, for recognizing it; NULL elsewhere */
} pare_split_step;

typedef struct pare_pretokenizer {
    pare_split_step *steps;
    size_t count, capacity;
} pare_pretokenizer;

/* GPT-2's pattern, which ByteLevel with use_regex stands for. */
extern const char pare_gpt2_pattern[];

/* json: the value of "pre_tokenizer"; NULL or null is none. An unknown kind is PARE_UNSUPPORTED and
 * named. */
pare_status pare_pretokenizer_load(pare_pretokenizer *pretokenizer, const json_t *json,
                                   const char *file);
pare_status pare_pretokenizer_add_regex(pare_pretokenizer *pretokenizer, const char *pattern,
                                        bool invert, pare_split_behavior behavior);
pare_status pare_pretokenizer_add_bytes(pare_pretokenizer *pretokenizer, bool prepend);
void pare_pretokenizer_free(pare_pretokenizer *pretokenizer);

/* Splits the pieces that are text. */
pare_status pare_pretokenize(const pare_pretokenizer *pretokenizer, pare_regex_search *search,
                             pare_pieces *pieces);

#endif
