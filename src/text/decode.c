#include "text/decode.h"

#include "base/fail.h"
#include "base/memory.h"
#include "text/normalize.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* What a stage keeps between tokens. */
typedef struct stage {
    pare_buffer held;  /* BYTES, BYTE_FALLBACK: bytes; a stage over a whole text that must see its
                          end: the text */
    size_t stripped;   /* STRIP over a whole text: how many were stripped at its beginning */
    bool begun, ended; /* a token has come; STRIP: nothing more is stripped at the beginning */
} stage;

struct pare_decoding {
    const pare_decoder *decoder;
    pare_regex_search search;
    stage stages[]; /* one for each step */
};

pare_status pare_decoding_create(const pare_decoder *decoder, pare_decoding **out)
{
    pare_status status =
        pare_allocate(1, sizeof **out + decoder->count * sizeof(stage), "a decoding", out);
    if (status == PARE_OK)
        (*out)->decoder = decoder;
    return status;
}

void pare_decoding_free(pare_decoding *decoding)
{
    if (!decoding)
        return;
    for (size_t i = 0; i < decoding->decoder->count; i++)
        pare_buffer_free(&decoding->stages[i].held);
    pare_regex_search_free(&decoding->search);
    free(decoding);
}

static pare_status pass(pare_decoding *decoding, size_t index, const char *token, size_t length,
                        pare_buffer *out);

/* Appends what is certain of the held bytes; a cut character stays, unless `end`. */
static void release_utf8(pare_buffer *held, bool end, pare_buffer *text)
{
    size_t done = 0, length;
    while (done < held->size) {
        pare_utf8_step step = pare_utf8_next(held->data + done, held->size - done, &length);
        if (step == PARE_UTF8_CUT && !end)
            break;
        if (step == PARE_UTF8_WHOLE)
            pare_buffer_append(text, held->data + done, length);
        else
            pare_buffer_append(text, "\xef\xbf\xbd", 3);
        done += length;
    }
    memmove(held->data, held->data + done, held->size - done);
    held->size -= done;
}

/* A token of visible characters as its bytes; any other token as it is. */
static void append_token_bytes(pare_buffer *held, const char *token, size_t size)
{
    size_t before = held->size;
    for (size_t i = 0, length; i < size; i += length) {
        int byte = pare_character_to_byte(pare_utf8_decode(token + i, &length));
        if (byte < 0) {
            held->size = before;
            pare_buffer_append(held, token, size);
            return;
        }
        char c = (char)byte;
        pare_buffer_append(held, &c, 1);
    }
}

/* The decoder makes one token of all: what follows sees chunks of it. */
static pare_status push_bytes(pare_decoding *decoding, size_t index, const char *token,
                              size_t length, pare_buffer *out)
{
    stage *state = &decoding->stages[index];
    pare_buffer text = {0};
    append_token_bytes(&state->held, token, length);
    release_utf8(&state->held, false, &text);
    pare_status status =
        text.failed || state->held.failed ? pare_fail_memory(0, "decoded text") : PARE_OK;
    if (status == PARE_OK && text.size)
        status = pass(decoding, index + 1, text.data, text.size, out);
    pare_buffer_free(&text);
    return status;
}

/* "<0x41>" or -1. Rust's from_str_radix takes a sign: "<0x+A>" is 10. */
static int byte_token(const char *token, size_t length)
{
    if (length != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>')
        return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        char c = token[i];
        if (i == 3 && c == '+')
            continue;
        int digit = c >= '0' && c <= '9'                     ? c - '0'
                    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                             : -1;
        if (digit < 0)
            return -1;
        value = 16 * value + digit;
    }
    return value;
}

/* The run of bytes has ended. */
static pare_status release_run(pare_decoding *decoding, size_t index, pare_buffer *out)
{
    pare_buffer *held = &decoding->stages[index].held;
    pare_status status = PARE_OK;
    if (held->size && pare_utf8_valid(held->data, held->size))
        status = pass(decoding, index + 1, held->data, held->size, out);
    else
        for (size_t i = 0; i < held->size && status == PARE_OK; i++)
            status = pass(decoding, index + 1, "\xef\xbf\xbd", 3, out);
    held->size = 0;
    return status;
}

static pare_status push_fallback(pare_decoding *decoding, size_t index, const char *token,
                                 size_t length, pare_buffer *out)
{
    int byte = byte_token(token, length);
    if (byte >= 0) {
        char c = (char)byte;
        return pare_buffer_append(&decoding->stages[index].held, &c, 1);
    }
    pare_status status = release_run(decoding, index, out);
    return status == PARE_OK ? pass(decoding, index + 1, token, length, out) : status;
}

/* Strips the beginning of a token, or of the chunk where the token comes in chunks; `*stripped`
 * counts. */
static size_t strip_start(const pare_decoder_step *step, const char *token, size_t length,
                          size_t *stripped, bool *ended)
{
    size_t at = 0;
    while (!*ended && at < length) {
        if (*stripped == step->start || length - at < step->string_length ||
            memcmp(token + at, step->string, step->string_length) != 0) {
            *ended = true;
            break;
        }
        at += step->string_length;
        (*stripped)++;
    }
    return at;
}

static size_t strip_stop(const pare_decoder_step *step, const char *token, size_t start,
                         size_t length)
{
    size_t end = length;
    for (size_t i = 0; i < step->stop && end >= start + step->string_length; i++) {
        if (memcmp(token + end - step->string_length, step->string, step->string_length) != 0)
            break;
        end -= step->string_length;
    }
    return end;
}

static pare_status strip_token(pare_decoding *decoding, size_t index, const char *token,
                               size_t length, pare_buffer *out)
{
    const pare_decoder_step *step = &decoding->decoder->steps[index];
    size_t stripped = 0;
    bool ended = false;
    size_t start = strip_start(step, token, length, &stripped, &ended),
           end = strip_stop(step, token, start, length);
    return pass(decoding, index + 1, token + start, end - start, out);
}

static pare_status replace_token(pare_decoding *decoding, size_t index, const char *token,
                                 size_t length, pare_buffer *out)
{
    const pare_decoder_step *step = &decoding->decoder->steps[index];
    pare_buffer text = {0};
    pare_status status =
        pare_replace_all(token, length, step->string, step->string_length, step->regex,
                         &decoding->search, step->content, step->content_length, &text);
    if (status == PARE_OK)
        status = pass(decoding, index + 1, text.data, text.size, out);
    pare_buffer_free(&text);
    return status;
}

static pare_status metaspace_token(pare_decoding *decoding, size_t index, const char *token,
                                   size_t length, pare_buffer *out)
{
    const pare_decoder_step *step = &decoding->decoder->steps[index];
    stage *state = &decoding->stages[index];
    pare_buffer text = {0};
    bool skip = step->skip_first && !state->begun;
    state->begun = true;
    pare_status status = pare_replace_all(token, length, step->string, step->string_length, NULL,
                                          NULL, " ", !skip, &text);
    if (status == PARE_OK)
        status = pass(decoding, index + 1, text.data, text.size, out);
    pare_buffer_free(&text);
    return status;
}

/* A stage whose input is one token in chunks. Replacing and stripping at the end must wait for the
 * whole. */
static pare_status push_whole(pare_decoding *decoding, size_t index, const char *token,
                              size_t length, pare_buffer *out)
{
    const pare_decoder_step *step = &decoding->decoder->steps[index];
    stage *state = &decoding->stages[index];
    if (step->kind == PARE_DECODE_STRIP && step->stop == 0) {
        size_t start = strip_start(step, token, length, &state->stripped, &state->ended);
        return pass(decoding, index + 1, token + start, length - start, out);
    }
    if (step->kind == PARE_DECODE_FUSE || step->kind == PARE_DECODE_SPACED)
        return pass(decoding, index + 1, token, length, out);
    return pare_buffer_append(&state->held, token, length);
}

static pare_status run_token(pare_decoding *decoding, size_t index, const char *token,
                             size_t length, pare_buffer *out)
{
    stage *state = &decoding->stages[index];
    switch (decoding->decoder->steps[index].kind) {
    case PARE_DECODE_BYTES:
        return push_bytes(decoding, index, token, length, out);
    case PARE_DECODE_BYTE_FALLBACK:
        return push_fallback(decoding, index, token, length, out);
    case PARE_DECODE_STRIP:
        return strip_token(decoding, index, token, length, out);
    case PARE_DECODE_REPLACE:
        return replace_token(decoding, index, token, length, out);
    case PARE_DECODE_METASPACE:
        return metaspace_token(decoding, index, token, length, out);
    case PARE_DECODE_SPACED:
        if (state->begun && pare_buffer_append(out, " ", 1) != PARE_OK)
            return PARE_OUT_OF_MEMORY;
        state->begun = true;
        return pass(decoding, index + 1, token, length, out);
    case PARE_DECODE_FUSE:
        break;
    }
    return pass(decoding, index + 1, token, length, out);
}

static pare_status pass(pare_decoding *decoding, size_t index, const char *token, size_t length,
                        pare_buffer *out)
{
    if (index == decoding->decoder->count)
        return pare_buffer_append(out, token, length);
    if (decoding->decoder->steps[index].whole)
        return push_whole(decoding, index, token, length, out);
    return run_token(decoding, index, token, length, out);
}

pare_status pare_decoding_push(pare_decoding *decoding, const char *token, size_t length,
                               pare_buffer *out)
{
    return pass(decoding, 0, token, length, out);
}

/* The bytes that a stage still holds at the end. */
static pare_status release_end(pare_decoding *decoding, size_t index, pare_buffer *out)
{
    stage *state = &decoding->stages[index];
    pare_decoder_kind kind = decoding->decoder->steps[index].kind;
    if (kind == PARE_DECODE_BYTE_FALLBACK)
        return release_run(decoding, index, out);
    if (kind != PARE_DECODE_BYTES || !state->held.size)
        return PARE_OK;
    pare_buffer text = {0};
    release_utf8(&state->held, true, &text);
    pare_status status = text.failed ? pare_fail_memory(0, "decoded text")
                                     : pass(decoding, index + 1, text.data, text.size, out);
    pare_buffer_free(&text);
    return status;
}

static pare_status flush_stage(pare_decoding *decoding, size_t index, pare_buffer *out)
{
    stage *state = &decoding->stages[index];
    pare_status status = PARE_OK;
    if (decoding->decoder->steps[index].whole && state->held.size) {
        pare_buffer whole = state->held;
        state->held = (pare_buffer){0};
        status = run_token(decoding, index, whole.data, whole.size, out);
        pare_buffer_free(&whole);
    }
    return status == PARE_OK ? release_end(decoding, index, out) : status;
}

pare_status pare_decoding_flush(pare_decoding *decoding, pare_buffer *out)
{
    pare_status status = PARE_OK;
    for (size_t i = 0; i < decoding->decoder->count && status == PARE_OK; i++) {
        status = flush_stage(decoding, i, out);
        decoding->stages[i].stripped = 0;
        decoding->stages[i].begun = decoding->stages[i].ended = false;
    }
    return status;
}
