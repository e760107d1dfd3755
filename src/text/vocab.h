/* A vocabulary: tokens by id and by text, and the merges of byte-pair encoding. */
#ifndef PARE_TEXT_VOCAB_H
#define PARE_TEXT_VOCAB_H

#include "base/memory.h"

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARE_VOCAB_LIMIT = 1 << 24, PARE_VOCAB_CHARACTERS = 0x400 };

/* GGUF's numbers (tokenizer.ggml.token_type). */
typedef enum pare_token_type {
    PARE_TOKEN_NORMAL = 1,
    PARE_TOKEN_UNKNOWN = 2,
    PARE_TOKEN_CONTROL = 3,
    PARE_TOKEN_USER_DEFINED = 4,
    PARE_TOKEN_UNUSED = 5,
    PARE_TOKEN_BYTE = 6,
} pare_token_type;

typedef struct pare_token {
    const char *text; /* NUL-terminated; NULL: the id is unused */
    uint32_t length;
    float score;
    pare_token_type type;
    int32_t added; /* index among the added tokens, or -1 */
} pare_token;

typedef struct pare_merge {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: an empty slot */
    uint32_t rank;
    int32_t id; /* of the merged token */
} pare_merge;

typedef struct pare_vocab {
    pare_arena arena;
    pare_token *tokens;
    size_t size, capacity; /* ids are below size */
    int32_t *slots;        /* text -> id, open addressing; -1: empty */
    size_t slot_mask, used;
    pare_merge *merges; /* pair -> rank, open addressing */
    size_t merge_mask, merge_count;
    size_t longest; /* bytes of the longest token */
    int32_t
        characters[PARE_VOCAB_CHARACTERS]; /* ids of the one-character tokens below U+0400, or -1 */
    bool breaks_before_space; /* no token holds "▁" behind another character, so no merge crosses
                                 such a place */
} pare_vocab;

/* {0} is empty. Space for `count` tokens and as many merges as given, both exact enough to never
 * rehash below them. */
pare_status pare_vocab_reserve(pare_vocab *vocab, size_t tokens, size_t merges);
/* The text is copied. *taken is set where the id or (unless `hidden`) the text has one already;
 * then nothing is added. hidden: has an id, but is not found by its text. */
pare_status pare_vocab_add(pare_vocab *vocab, int32_t id, const char *text, size_t length,
                           bool hidden, bool *taken);
/* -1 where there is none. */
int32_t pare_vocab_find(const pare_vocab *vocab, const char *text, size_t length);
/* A pair given twice keeps the first rank, or the last where `replace` (the tokenizers library). */
void pare_vocab_add_merge(pare_vocab *vocab, int32_t left, int32_t right, uint32_t rank, int32_t id,
                          bool replace);
/* Fills `characters` and `breaks_before_space`: after all tokens are there. */
void pare_vocab_finish(pare_vocab *vocab);
void pare_vocab_free(pare_vocab *vocab);

static inline const pare_merge *pare_vocab_merge(const pare_vocab *vocab, int32_t left,
                                                 int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    if (!vocab->merges)
        return NULL;
    for (size_t i = (pair * 0x9e3779b97f4a7c15u) >> 20 & vocab->merge_mask;;
         i = (i + 1) & vocab->merge_mask) {
        if (vocab->merges[i].pair == pair)
            return &vocab->merges[i];
        if (vocab->merges[i].pair == UINT64_MAX)
            return NULL;
    }
}

uint64_t pare_text_hash(const char *text, size_t length);

#endif
