#include "text/bpe.h"

#include "base/fail.h"
#include "base/half.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* Up to this many symbols, looking at every pair for the best one is faster than a heap. */
enum { SHORT_PIECE = 24, CACHE_SIZE = 1 << 15, CACHED_LENGTH = 48 };

static const uint32_t NO_MERGE = UINT32_MAX;

/* A symbol of the piece: a token, or a character that is none (id -1, only with scores). */
typedef struct pare_bpe_symbol {
    int32_t id;
    uint32_t start, length; /* bytes of the piece */
    int32_t previous, next; /* -1 at the ends */
    uint32_t
        rank; /* of the merge with the next symbol: lower first; NO_MERGE where there is none */
    int32_t merged; /* what that merge makes */
} symbol;

typedef struct pare_bpe_cached {
    const char *piece;
    uint32_t length, count;
    size_t first; /* in work->ids */
} cached;

pare_status pare_bpe_append(pare_bpe_work *work, int32_t id)
{
    if (work->count == work->capacity) {
        pare_status status = pare_grow(&work->ids, &work->capacity, 2 * work->count + 16,
                                       sizeof *work->ids, "token ids");
        if (status != PARE_OK)
            return status;
    }
    work->ids[work->count++] = id;
    return PARE_OK;
}

static void add_symbol(pare_bpe_work *work, int32_t id, size_t start, size_t length)
{
    int32_t index = (int32_t)work->symbol_count++;
    if (index > 0)
        work->symbols[index - 1].next = index;
    work->symbols[index] =
        (symbol){id, (uint32_t)start, (uint32_t)length, index - 1, -1, NO_MERGE, -1};
}

/* The bytes of a character as byte tokens; false where one of them has none. */
static bool add_bytes(const pare_bpe *bpe, pare_bpe_work *work, const char *text, size_t start,
                      size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bpe->bytes[(uint8_t)text[start + i]] < 0)
            return false;
    for (size_t i = 0; i < length; i++)
        add_symbol(work, bpe->bytes[(uint8_t)text[start + i]], start + i, 1);
    return true;
}

static int32_t character_id(const pare_vocab *vocab, const char *text, size_t *length)
{
    uint32_t c = pare_utf8_decode(text, length);
    return c < PARE_VOCAB_CHARACTERS ? vocab->characters[c] : pare_vocab_find(vocab, text, *length);
}

/* The piece's characters as symbols, as the tokenizers library does it: a pending unknown token is
 * put down before the next known character, but not before byte tokens. */
static pare_status split_characters(const pare_bpe *bpe, pare_bpe_work *work, const char *text,
                                    size_t size)
{
    size_t unknown_start = 0, unknown_length = 0;
    for (size_t i = 0, length; i < size; i += length) {
        int32_t id = character_id(bpe->vocab, text + i, &length);
        if (id >= 0) {
            if (unknown_length)
                add_symbol(work, bpe->unk, unknown_start, unknown_length);
            unknown_length = 0;
            add_symbol(work, id, i, length);
        } else if (bpe->byte_fallback && add_bytes(bpe, work, text, i, length)) {
            continue;
        } else if (bpe->unk == PARE_UNK_MISSING) {
            return pare_fail(PARE_FORMAT, "the tokenizer's unk_token is not in its vocabulary");
        } else if (bpe->unk >= 0) {
            if (unknown_length && !bpe->fuse_unk)
                add_symbol(work, bpe->unk, unknown_start, unknown_length);
            if (!unknown_length || !bpe->fuse_unk) {
                unknown_start = i;
                unknown_length = 0;
            }
            unknown_length += length;
        }
    }
    if (unknown_length)
        add_symbol(work, bpe->unk, unknown_start, unknown_length);
    return PARE_OK;
}

static void split_for_scores(const pare_bpe *bpe, pare_bpe_work *work, const char *text,
                             size_t size)
{
    for (size_t i = 0, length; i < size; i += length) {
        int32_t id = character_id(bpe->vocab, text + i, &length);
        add_symbol(work, id, i, length);
    }
}

/* Bits whose unsigned order is the reverse of the numbers' order: a higher score is a lower rank.
 */
static uint32_t score_rank(float score)
{
    uint32_t bits = pare_f32_to_bits(score);
    uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~ascending == NO_MERGE ? NO_MERGE - 1 : ~ascending;
}

static void rank_pair(const pare_bpe *bpe, const char *text, symbol *left, const symbol *right)
{
    left->rank = NO_MERGE;
    if (bpe->kind == PARE_BPE_MERGES) {
        const pare_merge *merge = pare_vocab_merge(bpe->vocab, left->id, right->id);
        if (merge) {
            left->rank = merge->rank;
            left->merged = merge->id;
        }
    } else if ((size_t)left->length + right->length <= bpe->vocab->longest) {
        int32_t id = pare_vocab_find(bpe->vocab, text + left->start, left->length + right->length);
        if (id >= 0) {
            left->rank = score_rank(bpe->vocab->tokens[id].score);
            left->merged = id;
        }
    }
}

/* Lowest rank first, the leftmost of equals. */
static void merge_short(const pare_bpe *bpe, pare_bpe_work *work, const char *text)
{
    symbol *symbols = work->symbols;
    size_t count = work->symbol_count;
    for (size_t i = 0; i + 1 < count; i++)
        rank_pair(bpe, text, &symbols[i], &symbols[i + 1]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (symbols[i].rank < symbols[best].rank)
                best = i;
        if (symbols[best].rank == NO_MERGE)
            break;
        symbols[best].id = symbols[best].merged;
        symbols[best].length += symbols[best + 1].length;
        count--;
        memmove(symbols + best + 1, symbols + best + 2, (count - best - 1) * sizeof *symbols);
        symbols[best].rank = NO_MERGE;
        if (best + 1 < count)
            rank_pair(bpe, text, &symbols[best], &symbols[best + 1]);
        if (best > 0)
            rank_pair(bpe, text, &symbols[best - 1], &symbols[best]);
    }
    for (size_t i = 0; i < count; i++)
        symbols[i].next = i + 1 < count ? (int32_t)i + 1 : -1;
}

static pare_status heap_push(pare_bpe_work *work, uint32_t rank, int32_t position)
{
    if (rank == NO_MERGE)
        return PARE_OK;
    if (work->heap_count == work->heap_capacity) {
        pare_status status = pare_grow(&work->heap, &work->heap_capacity, 2 * work->heap_count + 64,
                                       sizeof *work->heap, "a queue of merges");
        if (status != PARE_OK)
            return status;
    }
    uint64_t key = (uint64_t)rank << 32 | (uint32_t)position;
    size_t i = work->heap_count++;
    for (; i > 0 && work->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        work->heap[i] = work->heap[(i - 1) / 2];
    work->heap[i] = key;
    return PARE_OK;
}

static uint64_t heap_pop(pare_bpe_work *work)
{
    uint64_t *heap = work->heap, top = heap[0], last = heap[--work->heap_count];
    size_t count = work->heap_count, i = 0;
    for (size_t child = 1; child < count; child = 2 * i + 1) {
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= last)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* The same merges in O(n log n): a queue of (rank, position), where an entry counts only while its
 * rank is still that of the pair at its position. */
static pare_status merge_long(const pare_bpe *bpe, pare_bpe_work *work, const char *text)
{
    symbol *symbols = work->symbols;
    pare_status status = PARE_OK;
    work->heap_count = 0;
    for (size_t i = 0; i + 1 < work->symbol_count && status == PARE_OK; i++) {
        rank_pair(bpe, text, &symbols[i], &symbols[i + 1]);
        status = heap_push(work, symbols[i].rank, (int32_t)i);
    }
    while (work->heap_count && status == PARE_OK) {
        uint64_t key = heap_pop(work);
        symbol *left = &symbols[(uint32_t)key];
        if (left->rank != (uint32_t)(key >> 32))
            continue;
        symbol *right = &symbols[left->next];
        left->id = left->merged;
        left->length += right->length;
        left->next = right->next;
        right->rank = left->rank = NO_MERGE;
        if (left->next >= 0) {
            symbols[left->next].previous = (int32_t)(uint32_t)key;
            rank_pair(bpe, text, left, &symbols[left->next]);
            status = heap_push(work, left->rank, (int32_t)(uint32_t)key);
        }
        if (left->previous >= 0 && status == PARE_OK) {
            rank_pair(bpe, text, &symbols[left->previous], left);
            status = heap_push(work, symbols[left->previous].rank, left->previous);
        }
    }
    return status;
}

static pare_status emit(const pare_bpe *bpe, pare_bpe_work *work, const char *text)
{
    pare_status status = PARE_OK;
    for (int32_t i = work->symbol_count ? 0 : -1; i >= 0 && status == PARE_OK;
         i = work->symbols[i].next) {
        const symbol *part = &work->symbols[i];
        if (part->id >= 0) {
            status = pare_bpe_append(work, part->id);
            continue;
        }
        for (uint32_t b = 0; b < part->length && status == PARE_OK; b++) {
            int32_t id = bpe->bytes[(uint8_t)text[part->start + b]];
            id = id >= 0 ? id : bpe->unk;
            if (id >= 0)
                status = pare_bpe_append(work, id);
        }
    }
    return status;
}

static pare_status encode_word(const pare_bpe *bpe, pare_bpe_work *work, const char *text,
                               size_t size)
{
    if (size > INT32_MAX)
        return pare_fail(PARE_LIMIT, "a piece of text of %zu bytes is over the tokenizer's limit",
                         size);
    work->symbol_count = 0;
    pare_status status = pare_grow(&work->symbols, &work->symbol_capacity, size + 1,
                                   sizeof *work->symbols, "symbols of a text");
    if (status != PARE_OK)
        return status;
    if (bpe->kind == PARE_BPE_SCORES)
        split_for_scores(bpe, work, text, size);
    else if ((status = split_characters(bpe, work, text, size)) != PARE_OK)
        return status;
    if (work->symbol_count <= SHORT_PIECE)
        merge_short(bpe, work, text);
    else if ((status = merge_long(bpe, work, text)) != PARE_OK)
        return status;
    return emit(bpe, work, text);
}

static pare_status repeat_cached(pare_bpe_work *work, const cached *entry)
{
    pare_status status = PARE_OK;
    for (uint32_t i = 0; i < entry->count && status == PARE_OK; i++)
        status = pare_bpe_append(work, work->ids[entry->first + i]);
    return status;
}

static pare_status encode_cached(const pare_bpe *bpe, pare_bpe_work *work, const char *text,
                                 size_t size)
{
    if (size > CACHED_LENGTH)
        return encode_word(bpe, work, text, size);
    if (!work->cache) {
        pare_status status =
            pare_allocate(CACHE_SIZE, sizeof *work->cache, "a tokenizer's cache", &work->cache);
        if (status != PARE_OK)
            return status;
        work->cache_mask = CACHE_SIZE - 1;
    }
    size_t slot = pare_text_hash(text, size) & work->cache_mask;
    for (; work->cache[slot].piece; slot = (slot + 1) & work->cache_mask)
        if (work->cache[slot].length == size && memcmp(work->cache[slot].piece, text, size) == 0)
            return repeat_cached(work, &work->cache[slot]);
    size_t first = work->count;
    pare_status status = encode_word(bpe, work, text, size);
    if (status == PARE_OK && 4 * work->cache_used < 3 * (work->cache_mask + 1)) {
        work->cache[slot] = (cached){text, (uint32_t)size, (uint32_t)(work->count - first), first};
        work->cache_used++;
    }
    return status;
}

/* The end of the run that no merge leaves: before the next "▁" that follows another character. */
static size_t word_end(const char *text, size_t size, size_t start)
{
    bool other = false;
    for (size_t i = start; i < size;) {
        const char *space = text[i] == '\xe2' ? NULL : memchr(text + i, '\xe2', size - i);
        if (text[i] != '\xe2') {
            other = true;
            if (!space)
                return size;
            i = (size_t)(space - text);
        }
        if (size - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0) {
            if (other)
                return i;
            i += 3;
        } else {
            other = true;
            i += pare_utf8_length(text[i]);
        }
    }
    return size;
}

pare_status pare_bpe_encode(const pare_bpe *bpe, pare_bpe_work *work, const char *piece,
                            size_t length)
{
    if (bpe->ignore_merges) {
        int32_t id = pare_vocab_find(bpe->vocab, piece, length);
        if (id >= 0)
            return pare_bpe_append(work, id);
    }
    if (!bpe->vocab->breaks_before_space || length <= CACHED_LENGTH)
        return encode_cached(bpe, work, piece, length);
    pare_status status = PARE_OK;
    for (size_t start = 0; start < length && status == PARE_OK;) {
        size_t end = word_end(piece, length, start);
        status = encode_cached(bpe, work, piece + start, end - start);
        start = end;
    }
    return status;
}

void pare_bpe_work_free(pare_bpe_work *work)
{
    free(work->ids);
    free(work->symbols);
    free(work->heap);
    free(work->cache);
    *work = (pare_bpe_work){0};
}
