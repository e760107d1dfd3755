/* Byte-pair encoding of one piece of text, by ranked merges (GPT-2, tokenizers) or by scores
 * (SentencePiece, llama.cpp). */
#ifndef PARE_TEXT_BPE_H
#define PARE_TEXT_BPE_H

#include "text/vocab.h"

typedef enum pare_bpe_kind { PARE_BPE_MERGES, PARE_BPE_SCORES } pare_bpe_kind;

enum {
    PARE_UNK_NONE = -1,
    PARE_UNK_MISSING = -2
}; /* no unknown token; one is named but not in the vocabulary */

typedef struct pare_bpe {
    const pare_vocab *vocab;
    pare_bpe_kind kind;
    bool ignore_merges; /* a piece that is a token becomes it at once */
    bool
        byte_fallback; /* a character that is no token becomes its bytes' tokens <0x00> .. <0xFF> */
    bool fuse_unk;     /* unknown characters in a row become one unknown token */
    int32_t unk;
    int32_t bytes[256]; /* ids of <0x00> .. <0xFF>, or -1 */
} pare_bpe;

/* Working memory of one encoding and its result. Starts as {0}. */
typedef struct pare_bpe_work {
    int32_t *ids; /* the result so far */
    size_t count, capacity;
    struct pare_bpe_symbol *symbols;
    size_t symbol_count, symbol_capacity;
    uint64_t *heap;
    size_t heap_count, heap_capacity;
    struct pare_bpe_cached *cache; /* pieces met before and where their ids lie in the result */
    size_t cache_mask, cache_used;
} pare_bpe_work;

/* Appends the ids of the piece (valid UTF-8). It must stay in memory, at its place, until the work
 * is freed. */
pare_status pare_bpe_encode(const pare_bpe *bpe, pare_bpe_work *work, const char *piece,
                            size_t length);
pare_status pare_bpe_append(pare_bpe_work *work, int32_t id);
void pare_bpe_work_free(pare_bpe_work *work); /* ids too, unless they were taken */

#endif
