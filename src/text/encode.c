#include "base/fail.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_LIMIT = 1 << 30 };

/* The text cut at added tokens that are spelled in it. */
static pare_status find_raw(const pare_tokenizer *tokenizer, const char *text, size_t length,
                            bool plain_special, pare_pieces *pieces)
{
    pare_status status = pare_utf8_append_lossy(&pieces->text, text, length);
    if (status != PARE_OK)
        return status;
    return pare_added_split(&tokenizer->added, &tokenizer->added.raw, pieces->text.data,
                            pieces->text.size, 0, plain_special, true, pieces);
}

/* Each stretch of text normalized, and cut at the added tokens that are found in normalized text.
 */
static pare_status normalize(const pare_tokenizer *tokenizer, pare_regex_search *search,
                             bool plain_special, pare_pieces *pieces)
{
    pare_pieces to = {0};
    pare_buffer part = {0};
    if (!tokenizer->normalizer.count && !tokenizer->added.normalized.count)
        return PARE_OK;
    pare_status status = pare_buffer_append(&to.text, "", 0);
    for (size_t i = 0; i < pieces->count && status == PARE_OK; i++) {
        const pare_piece *piece = &pieces->items[i];
        bool first = piece->first;
        if (piece->id >= 0) {
            status = pare_pieces_add(&to, 0, 0, piece->id, false);
            continue;
        }
        part.size = 0;
        PARE_TRY(pare_buffer_append(&part, pieces->text.data + piece->offset, piece->length));
        PARE_TRY(pare_normalize(&tokenizer->normalizer, search, &part, &first));
        size_t base = to.text.size;
        PARE_TRY(pare_buffer_append(&to.text, part.data, part.size));
        status = pare_added_split(&tokenizer->added, &tokenizer->added.normalized, part.data,
                                  part.size, base, plain_special, first, &to);
    }
fail:
    pare_buffer_free(&part);
    pare_pieces_free(pieces);
    *pieces = to;
    return status;
}

static pare_status append_list(pare_bpe_work *work, const pare_id_list *list)
{
    pare_status status = PARE_OK;
    for (size_t i = 0; i < list->count && status == PARE_OK; i++)
        status = pare_bpe_append(work, list->ids[i]);
    return status;
}

pare_status pare_tokenizer_encode(const pare_tokenizer *tokenizer, const char *text, size_t length,
                                  unsigned flags, int32_t **ids, size_t *count)
{
    bool add_special = flags & PARE_TOKENIZE_ADD_SPECIAL,
         plain_special = !(flags & PARE_TOKENIZE_PARSE_SPECIAL);
    pare_pieces pieces = {0};
    pare_regex_search search = {0};
    pare_bpe_work work = {0};
    pare_status status;
    *ids = NULL;
    *count = 0;
    if (length > TEXT_LIMIT)
        return pare_fail(PARE_LIMIT, "a text of %zu bytes is over the tokenizer's limit of %d",
                         length, TEXT_LIMIT);
    PARE_TRY(find_raw(tokenizer, text, length, plain_special, &pieces));
    PARE_TRY(normalize(tokenizer, &search, plain_special, &pieces));
    PARE_TRY(pare_pretokenize(&tokenizer->pretokenizer, &search, &pieces));
    PARE_TRY(pare_grow(&work.ids, &work.capacity, length / 4 + 16, sizeof *work.ids, "token ids"));
    if (add_special)
        PARE_TRY(append_list(&work, &tokenizer->prefix));
    for (size_t i = 0; i < pieces.count; i++) {
        const pare_piece *piece = &pieces.items[i];
        if (piece->id >= 0)
            PARE_TRY(pare_bpe_append(&work, piece->id));
        else
            PARE_TRY(pare_bpe_encode(&tokenizer->bpe, &work, pieces.text.data + piece->offset,
                                     piece->length));
    }
    if (add_special)
        PARE_TRY(append_list(&work, &tokenizer->suffix));
    *ids = work.ids;
    *count = work.count;
    work.ids = NULL;
fail:
    pare_bpe_work_free(&work);
    pare_regex_search_free(&search);
    pare_pieces_free(&pieces);
    return status;
}

struct pare_text_stream {
    const pare_tokenizer *tokenizer;
    bool skip_special;
    pare_decoding *decoding;
    pare_buffer out;
};

pare_status pare_text_stream_create(const pare_tokenizer *tokenizer, bool skip_special,
                                    pare_text_stream **out)
{
    pare_status status = pare_allocate(1, sizeof **out, "a text stream", out);
    if (status != PARE_OK)
        return status;
    (*out)->tokenizer = tokenizer;
    (*out)->skip_special = skip_special;
    if ((status = pare_decoding_create(&tokenizer->decoder, &(*out)->decoding)) != PARE_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

void pare_text_stream_free(pare_text_stream *stream)
{
    if (!stream)
        return;
    pare_decoding_free(stream->decoding);
    pare_buffer_free(&stream->out);
    free(stream);
}

/* Appends what the token adds to the text. */
static pare_status decode_one(pare_text_stream *stream, int32_t id)
{
    const pare_vocab *vocab = &stream->tokenizer->vocab;
    if (id < 0 || (size_t)id >= vocab->size)
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: token id %d is outside the vocabulary of %zu",
                         stream->tokenizer->file, (int)id, vocab->size);
    const pare_token *token = &vocab->tokens[id];
    const pare_added_token *added =
        token->added >= 0 ? &stream->tokenizer->added.tokens[token->added] : NULL;
    if (!token->text || (added && added->skipped && stream->skip_special))
        return PARE_OK;
    if (added && added->decoded)
        return pare_decoding_push(stream->decoding, added->decoded, strlen(added->decoded),
                                  &stream->out);
    return pare_decoding_push(stream->decoding, token->text, token->length, &stream->out);
}

static pare_status give(pare_text_stream *stream, pare_status status, const char **text,
                        size_t *length)
{
    if (status == PARE_OK)
        status = pare_buffer_append(&stream->out, "", 0);
    *text = stream->out.data ? stream->out.data : "";
    *length = stream->out.size;
    return status;
}

pare_status pare_text_stream_push(pare_text_stream *stream, int32_t id, const char **text,
                                  size_t *length)
{
    stream->out.size = 0;
    return give(stream, decode_one(stream, id), text, length);
}

pare_status pare_text_stream_flush(pare_text_stream *stream, const char **text, size_t *length)
{
    stream->out.size = 0;
    return give(stream, pare_decoding_flush(stream->decoding, &stream->out), text, length);
}

pare_status pare_tokenizer_decode(const pare_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                  bool skip_special, char **text, size_t *length)
{
    pare_text_stream *stream;
    *text = NULL;
    *length = 0;
    pare_status status = pare_text_stream_create(tokenizer, skip_special, &stream);
    if (status != PARE_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        PARE_TRY(decode_one(stream, ids[i]));
    PARE_TRY(pare_decoding_flush(stream->decoding, &stream->out));
    PARE_TRY(pare_buffer_append(&stream->out, "", 0));
    *length = stream->out.size;
    *text = pare_buffer_take(&stream->out);
fail:
    pare_text_stream_free(stream);
    return status;
}
