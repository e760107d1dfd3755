#include "text/vocab.h"

#include "base/fail.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

uint64_t pare_text_hash(const char *text, size_t length)
{
    uint64_t hash = length * 0x9e3779b97f4a7c15u, word;
    for (; length >= 8; text += 8, length -= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, text, length);
    hash = (hash ^ word) * 0xc4ceb9fe1a85ec53u;
    return hash ^ hash >> 29;
}

/* A power of two of at least 1.5 times `count`. */
static size_t table_size(size_t count)
{
    size_t size = 16;
    while (size < count + count / 2)
        size *= 2;
    return size;
}

static pare_status resize_slots(pare_vocab *vocab, size_t size)
{
    int32_t *slots;
    pare_status status = pare_allocate(size, sizeof *slots, "a vocabulary's index", &slots);
    if (status != PARE_OK)
        return status;
    memset(slots, 0xff, size * sizeof *slots);
    for (size_t i = 0; vocab->slots && i <= vocab->slot_mask; i++) {
        int32_t id = vocab->slots[i];
        if (id < 0)
            continue;
        size_t slot = pare_text_hash(vocab->tokens[id].text, vocab->tokens[id].length) & (size - 1);
        while (slots[slot] >= 0)
            slot = (slot + 1) & (size - 1);
        slots[slot] = id;
    }
    free(vocab->slots);
    vocab->slots = slots;
    vocab->slot_mask = size - 1;
    return PARE_OK;
}

pare_status pare_vocab_reserve(pare_vocab *vocab, size_t tokens, size_t merges)
{
    pare_status status = resize_slots(vocab, table_size(tokens));
    if (status == PARE_OK)
        status = pare_grow(&vocab->tokens, &vocab->capacity, tokens + 1, sizeof *vocab->tokens,
                           "a vocabulary");
    if (status != PARE_OK || merges == 0)
        return status;
    size_t size = table_size(merges);
    if ((status = pare_allocate(size, sizeof *vocab->merges, "merges", &vocab->merges)) != PARE_OK)
        return status;
    for (size_t i = 0; i < size; i++)
        vocab->merges[i].pair = UINT64_MAX;
    vocab->merge_mask = size - 1;
    return PARE_OK;
}

/* The slot that holds the text, or the empty one where it would go. */
static size_t find_slot(const pare_vocab *vocab, const char *text, size_t length)
{
    size_t slot = pare_text_hash(text, length) & vocab->slot_mask;
    for (;; slot = (slot + 1) & vocab->slot_mask) {
        int32_t id = vocab->slots[slot];
        if (id < 0)
            return slot;
        const pare_token *token = &vocab->tokens[id];
        if (token->length == length && memcmp(token->text, text, length) == 0)
            return slot;
    }
}

int32_t pare_vocab_find(const pare_vocab *vocab, const char *text, size_t length)
{
    return vocab->slots ? vocab->slots[find_slot(vocab, text, length)] : -1;
}

pare_status pare_vocab_add(pare_vocab *vocab, int32_t id, const char *text, size_t length,
                           bool hidden, bool *taken)
{
    *taken = true;
    if ((size_t)id < vocab->size && vocab->tokens[id].text)
        return PARE_OK;
    if (!vocab->slots || 4 * (vocab->used + 1) > 3 * (vocab->slot_mask + 1)) {
        pare_status status = resize_slots(vocab, vocab->slots ? 2 * (vocab->slot_mask + 1) : 16);
        if (status != PARE_OK)
            return status;
    }
    size_t slot = find_slot(vocab, text, length);
    if (!hidden && vocab->slots[slot] >= 0)
        return PARE_OK;
    if ((size_t)id >= vocab->size) {
        pare_status status = pare_grow(&vocab->tokens, &vocab->capacity, (size_t)id + 1,
                                       sizeof *vocab->tokens, "a vocabulary");
        if (status != PARE_OK)
            return status;
        for (size_t i = vocab->size; i <= (size_t)id; i++)
            vocab->tokens[i] = (pare_token){.added = -1};
        vocab->size = (size_t)id + 1;
    }
    char *copy = pare_arena_copy(&vocab->arena, text, length);
    if (!copy)
        return PARE_OUT_OF_MEMORY;
    vocab->tokens[id] = (pare_token){copy, (uint32_t)length, 0, PARE_TOKEN_NORMAL, -1};
    if (length > vocab->longest)
        vocab->longest = length;
    if (!hidden) {
        vocab->slots[slot] = id;
        vocab->used++;
    }
    *taken = false;
    return PARE_OK;
}

void pare_vocab_add_merge(pare_vocab *vocab, int32_t left, int32_t right, uint32_t rank, int32_t id,
                          bool replace)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (pair * 0x9e3779b97f4a7c15u) >> 20 & vocab->merge_mask;
    while (vocab->merges[i].pair != UINT64_MAX && vocab->merges[i].pair != pair)
        i = (i + 1) & vocab->merge_mask;
    if (vocab->merges[i].pair != pair)
        vocab->merge_count++;
    else if (!replace)
        return;
    vocab->merges[i] = (pare_merge){pair, rank, id};
}

/* True where "▁" (U+2581) stands behind any other character. */
static bool space_inside(const char *text, size_t length)
{
    bool other = false;
    for (size_t i = 0; i < length;) {
        if (length - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0) {
            if (other)
                return true;
            i += 3;
        } else {
            other = true;
            i++;
        }
    }
    return false;
}

void pare_vocab_finish(pare_vocab *vocab)
{
    for (uint32_t c = 0; c < PARE_VOCAB_CHARACTERS; c++) {
        char text[4];
        vocab->characters[c] = pare_vocab_find(vocab, text, pare_utf8_encode(c, text));
    }
    vocab->breaks_before_space = pare_vocab_find(vocab, "\xe2\x96\x81", 3) >= 0;
    for (size_t i = 0; vocab->breaks_before_space && i < vocab->size; i++) {
        const pare_token *token = &vocab->tokens[i];
        if (token->text && space_inside(token->text, token->length))
            vocab->breaks_before_space = false;
    }
}

void pare_vocab_free(pare_vocab *vocab)
{
    free(vocab->tokens);
    free(vocab->slots);
    free(vocab->merges);
    pare_arena_free(&vocab->arena);
    *vocab = (pare_vocab){0};
}
