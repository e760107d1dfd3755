/* A tokenizer.json, and behind a NUL byte a text for it. */
#include "fuzz.h"

#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static const char sample[] =
    "Hello  world's\r\n 123 caf\xc3\xa9 e\xcc\x81 \xe2\x96\x81\xf0\x9f\x91\xa9\xe2\x80\x8d"
    "\xf0\x9f\x91\xa7 <s>\xff\xe2\x82 \xd9\xa3\xd9\xa4 <0x41> end";

/* Whole and streamed text are the same; ids are tokens. */
static void decode(const pare_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip)
{
    char *text;
    size_t length, total = 0, size;
    const char *part;
    pare_text_stream *stream;
    if (pare_tokenizer_decode(tokenizer, ids, count, skip, &text, &length) != PARE_OK)
        return;
    if (pare_text_stream_create(tokenizer, skip, &stream) != PARE_OK)
        abort();
    for (size_t i = 0; i <= count; i++) {
        pare_status status = i < count ? pare_text_stream_push(stream, ids[i], &part, &size)
                                       : pare_text_stream_flush(stream, &part, &size);
        if (status != PARE_OK)
            break; /* a regular expression may give up in one and not in the other */
        if (total + size > length || memcmp(text + total, part, size) != 0)
            abort();
        total += size;
        if (i == count && total != length)
            abort();
    }
    pare_text_stream_free(stream);
    free(text);
}

static void encode(const pare_tokenizer *tokenizer, const char *text, size_t length, unsigned flags)
{
    int32_t *ids;
    size_t count;
    if (pare_tokenizer_encode(tokenizer, text, length, flags, &ids, &count) != PARE_OK)
        return;
    for (size_t i = 0; i < count; i++)
        if (!pare_tokenizer_token(tokenizer, ids[i]))
            abort();
    decode(tokenizer, ids, count, flags & PARE_TOKENIZE_ADD_SPECIAL);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *json = (const char *)data;
    const char *end = size ? memchr(json, 0, size) : NULL;
    size_t json_size = end ? (size_t)(end - json) : size;
    pare_tokenizer *tokenizer;
    if (pare_tokenizer_open_memory(json, json_size, "input", &tokenizer) != PARE_OK)
        return 0;
    for (unsigned flags = 0; flags < 4; flags++) {
        encode(tokenizer, sample, sizeof sample, flags);
        if (end)
            encode(tokenizer, end + 1, size - json_size - 1, flags);
    }
    int32_t ids[64];
    int64_t vocab = pare_tokenizer_vocab_size(tokenizer);
    for (int i = 0; i < 64; i++)
        ids[i] = vocab ? (int32_t)((i * 7919) % vocab) : 0;
    decode(tokenizer, ids, vocab ? 64 : 0, false);
    pare_tokenizer_close(tokenizer);
    return 0;
}
