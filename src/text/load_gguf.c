/* The vocabulary in a GGUF: models "gpt2" (byte-level BPE) and "llama" (SentencePiece BPE), as
 * llama.cpp reads them. */
#define _GNU_SOURCE /* memmem */
#include "base/fail.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool text_is(pare_gguf_string text, const char *wanted)
{
    return text.length == strlen(wanted) && memcmp(text.data, wanted, text.length) == 0;
}

/* An array of `kind` with at least `count` elements; NULL where the key is absent. */
static pare_status find_array(const pare_tokenizer *tokenizer, const char *key, pare_gguf_kind kind,
                              size_t count, const pare_gguf_value **value)
{
    const pare_gguf_value *found = pare_gguf_find(&tokenizer->gguf, key);
    *value = NULL;
    if (!found)
        return PARE_OK;
    if (found->kind != PARE_GGUF_ARRAY || found->count < count ||
        (found->count && found->element != kind &&
         !(kind == PARE_GGUF_F32 && found->element == PARE_GGUF_I32)))
        return pare_fail(PARE_FORMAT, "%s: '%s' has the wrong type or fewer than %zu elements",
                         tokenizer->file, key, count);
    *value = found;
    return PARE_OK;
}

/* Added tokens are found in text before it is split. Phi-3's swallow the space behind them, which
 * GGUF does not say. */
static pare_status add_special(pare_tokenizer *tokenizer, int32_t id, bool swallow)
{
    pare_token *token = &tokenizer->vocab.tokens[id];
    bool special = token->type != PARE_TOKEN_USER_DEFINED;
    pare_added_token added = {.id = id,
                              .content = (char *)token->text,
                              .length = token->length,
                              .special = special,
                              .skipped = special};
    added.rstrip = swallow && special && strcmp(token->text, "<unk>") != 0 &&
                   strcmp(token->text, "<s>") != 0 && strcmp(token->text, "<|endoftext|>") != 0;
    if (token->length == 0)
        return PARE_OK;
    token->added = (int32_t)tokenizer->added.count;
    pare_status status = pare_added_add(&tokenizer->added, &added);
    return status == PARE_OK ? pare_added_index(&tokenizer->added, (size_t)token->added,
                                                token->text, token->length)
                             : status;
}

/* Tokens that are not UTF-8 or that repeat another one's text can never be found, but can be
 * decoded. */
static pare_status add_token(pare_tokenizer *tokenizer, int32_t id, pare_gguf_string text)
{
    pare_buffer valid = {0};
    bool taken, whole = pare_utf8_valid(text.data, text.length);
    pare_status status = pare_utf8_append_lossy(&valid, text.data, text.length);
    if (status == PARE_OK)
        status = pare_vocab_add(&tokenizer->vocab, id, valid.data, valid.size,
                                !whole || valid.size == 0, &taken);
    if (status == PARE_OK && taken)
        status = pare_vocab_add(&tokenizer->vocab, id, valid.data, valid.size, true, &taken);
    pare_buffer_free(&valid);
    return status;
}

static bool is_phi3(const pare_gguf *gguf)
{
    pare_gguf_string name = {0};
    char lower[256];
    size_t n = 0;
    if (pare_gguf_text(gguf, "general.name", &name) != PARE_OK)
        return false;
    for (; n < name.length && n + 1 < sizeof lower; n++)
        lower[n] = (char)tolower((unsigned char)name.data[n]);
    lower[n] = 0;
    return strstr(lower, "phi-3") || strstr(lower, "phi3");
}

static pare_status load_tokens(pare_tokenizer *tokenizer, size_t merges)
{
    const pare_gguf_value *tokens, *types, *scores;
    pare_status status;
    PARE_TRY(find_array(tokenizer, "tokenizer.ggml.tokens", PARE_GGUF_STRING, 1, &tokens));
    if (!tokens)
        return pare_fail(PARE_NOT_FOUND, "%s: the file has no vocabulary (tokenizer.ggml.tokens)",
                         tokenizer->file);
    if (tokens->count > PARE_VOCAB_LIMIT)
        return pare_fail(PARE_LIMIT, "%s: tokenizer.ggml.tokens has %zu entries", tokenizer->file,
                         tokens->count);
    PARE_TRY(
        find_array(tokenizer, "tokenizer.ggml.token_type", PARE_GGUF_I32, tokens->count, &types));
    PARE_TRY(find_array(tokenizer, "tokenizer.ggml.scores", PARE_GGUF_F32, tokens->count, &scores));
    PARE_TRY(pare_vocab_reserve(&tokenizer->vocab, tokens->count, merges));
    bool swallow = is_phi3(&tokenizer->gguf);
    for (size_t i = 0; i < tokens->count; i++) {
        PARE_TRY(add_token(tokenizer, (int32_t)i, tokens->strings[i]));
        pare_token *token = &tokenizer->vocab.tokens[i];
        int64_t type = types ? pare_gguf_element_i64(types, i) : PARE_TOKEN_NORMAL;
        token->type = type >= PARE_TOKEN_NORMAL && type <= PARE_TOKEN_BYTE ? (pare_token_type)type
                                                                           : PARE_TOKEN_UNUSED;
        token->score = scores ? (float)pare_gguf_element_f64(scores, i) : 0;
        if (token->score != token->score)
            return pare_fail(PARE_FORMAT, "%s: tokenizer.ggml.scores: entry %zu is not a number",
                             tokenizer->file, i);
        if (token->type == PARE_TOKEN_CONTROL || token->type == PARE_TOKEN_UNKNOWN ||
            token->type == PARE_TOKEN_USER_DEFINED)
            PARE_TRY(add_special(tokenizer, (int32_t)i, swallow));
    }
fail:
    return status;
}

/* "a b", split at the first space behind the first byte. Merges whose tokens are not in the
 * vocabulary never happen. */
static pare_status load_merge(pare_tokenizer *tokenizer, pare_gguf_string merge, uint32_t rank,
                              pare_buffer *joined)
{
    const char *space = merge.length > 1 ? memchr(merge.data + 1, ' ', merge.length - 1) : NULL;
    if (!space)
        return pare_fail(PARE_FORMAT, "%s: tokenizer.ggml.merges: entry %u is not a pair of tokens",
                         tokenizer->file, rank);
    size_t left = (size_t)(space - merge.data), right = merge.length - left - 1;
    joined->size = 0;
    pare_buffer_append(joined, merge.data, left);
    pare_status status = pare_buffer_append(joined, space + 1, right);
    if (status != PARE_OK)
        return status;
    int32_t a = pare_vocab_find(&tokenizer->vocab, merge.data, left);
    int32_t b = pare_vocab_find(&tokenizer->vocab, space + 1, right);
    int32_t id = pare_vocab_find(&tokenizer->vocab, joined->data, joined->size);
    if (a >= 0 && b >= 0 && id >= 0)
        pare_vocab_add_merge(&tokenizer->vocab, a, b, rank, id, false);
    return PARE_OK;
}

static pare_status load_gpt2(pare_tokenizer *tokenizer, bool *add_bos)
{
    const pare_gguf_value *merges;
    pare_gguf_string name = {"default", 7};
    pare_buffer joined = {0};
    pare_decoder_step *step;
    pare_status status;
    PARE_TRY(pare_gguf_text(&tokenizer->gguf, "tokenizer.ggml.pre", &name));
    const pare_pre *pre = pare_pre_find(name.data, name.length);
    if (!pre)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: the pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not supported",
                         tokenizer->file, (int)(name.length < 80 ? name.length : 80), name.data);
    PARE_TRY(find_array(tokenizer, "tokenizer.ggml.merges", PARE_GGUF_STRING, 0, &merges));
    if (!merges)
        return pare_fail(PARE_FORMAT, "%s: the file has no tokenizer.ggml.merges", tokenizer->file);
    PARE_TRY(load_tokens(tokenizer, merges->count));
    for (size_t i = 0; i < merges->count; i++)
        PARE_TRY(load_merge(tokenizer, merges->strings[i], (uint32_t)i, &joined));
    for (size_t i = 0; i < 6 && pre->patterns[i]; i++)
        PARE_TRY(pare_pretokenizer_add_regex(&tokenizer->pretokenizer, pre->patterns[i], false,
                                             PARE_SPLIT_ISOLATED));
    PARE_TRY(pare_pretokenizer_add_bytes(&tokenizer->pretokenizer, false));
    PARE_TRY(pare_decoder_add(&tokenizer->decoder, PARE_DECODE_BYTES, &step));
    tokenizer->bpe.ignore_merges = pre->ignore_merges;
    *add_bos = pre->add_bos;
fail:
    pare_buffer_free(&joined);
    return status;
}

/* SentencePiece: "▁" for every space and, with add_space_prefix, before every stretch of text. */
static pare_status load_llama(pare_tokenizer *tokenizer, bool *add_bos)
{
    static const char metaspace[] = "\xe2\x96\x81";
    pare_decoder_step *step;
    bool prefix = true;
    pare_status status;
    PARE_TRY(pare_gguf_bool(&tokenizer->gguf, "tokenizer.ggml.add_space_prefix", &prefix));
    PARE_TRY(load_tokens(tokenizer, 0));
    if (prefix)
        PARE_TRY(pare_normalizer_add_prepend(&tokenizer->normalizer, metaspace));
    PARE_TRY(pare_normalizer_add_replace(&tokenizer->normalizer, " ", metaspace));
    PARE_TRY(pare_decoder_add(&tokenizer->decoder, PARE_DECODE_REPLACE, &step));
    PARE_TRY(pare_decoder_set(&step->string, &step->string_length, metaspace, 3));
    PARE_TRY(pare_decoder_set(&step->content, &step->content_length, " ", 1));
    PARE_TRY(pare_decoder_add(&tokenizer->decoder, PARE_DECODE_BYTE_FALLBACK, &step));
    PARE_TRY(pare_decoder_add(&tokenizer->decoder, PARE_DECODE_FUSE, &step));
    if (prefix) {
        PARE_TRY(pare_decoder_add(&tokenizer->decoder, PARE_DECODE_STRIP, &step));
        PARE_TRY(pare_decoder_set(&step->string, &step->string_length, " ", 1));
        step->start = 1;
    }
    tokenizer->bpe.kind = PARE_BPE_SCORES;
    *add_bos = true;
fail:
    return status;
}

static pare_status load_id(const pare_tokenizer *tokenizer, const char *key, int32_t standard,
                           int32_t *id)
{
    int64_t value = standard, size = (int64_t)tokenizer->vocab.size;
    pare_status status = pare_gguf_i64(&tokenizer->gguf, key, &value);
    *id = value >= 0 && value < size ? (int32_t)value : -1;
    return status;
}

static pare_status load_roles(pare_tokenizer *tokenizer, bool llama, bool add_bos)
{
    bool add_eos = false;
    int32_t eot, eom;
    pare_status status;
    PARE_TRY(load_id(tokenizer, "tokenizer.ggml.bos_token_id", llama ? 1 : -1, &tokenizer->bos));
    PARE_TRY(load_id(tokenizer, "tokenizer.ggml.eos_token_id", llama ? 2 : -1, &tokenizer->eos));
    PARE_TRY(
        load_id(tokenizer, "tokenizer.ggml.unknown_token_id", llama ? 0 : -1, &tokenizer->unk));
    PARE_TRY(load_id(tokenizer, "tokenizer.ggml.padding_token_id", -1, &tokenizer->pad));
    PARE_TRY(load_id(tokenizer, "tokenizer.ggml.eot_token_id", -1, &eot));
    PARE_TRY(load_id(tokenizer, "tokenizer.ggml.eom_token_id", -1, &eom));
    if (eot >= 0)
        PARE_TRY(pare_id_list_add(&tokenizer->ends, eot));
    if (eom >= 0)
        PARE_TRY(pare_id_list_add(&tokenizer->ends, eom));
    PARE_TRY(pare_gguf_bool(&tokenizer->gguf, "tokenizer.ggml.add_bos_token", &add_bos));
    PARE_TRY(pare_gguf_bool(&tokenizer->gguf, "tokenizer.ggml.add_eos_token", &add_eos));
    if (add_bos && tokenizer->bos >= 0)
        PARE_TRY(pare_id_list_add(&tokenizer->prefix, tokenizer->bos));
    if (add_eos && tokenizer->eos >= 0)
        PARE_TRY(pare_id_list_add(&tokenizer->suffix, tokenizer->eos));
    if (tokenizer->bpe.kind == PARE_BPE_SCORES)
        tokenizer->bpe.unk = tokenizer->unk;
fail:
    return status;
}

static pare_status load_template(pare_tokenizer *tokenizer)
{
    pare_gguf_string text = {0};
    pare_status status = pare_gguf_text(&tokenizer->gguf, "tokenizer.chat_template", &text);
    if (status != PARE_OK || !text.data)
        return status;
    if (!pare_utf8_valid(text.data, text.length))
        return pare_fail(PARE_FORMAT, "%s: tokenizer.chat_template is not valid UTF-8",
                         tokenizer->file);
    return pare_text_copy(text.data, text.length, &tokenizer->chat_template);
}

/* A whole tokenizer.json in the file says more than the other keys and is used in their place; only
 * the roles of tokens and what is put around a text are taken from them. */
static pare_status load_embedded(pare_tokenizer *tokenizer, pare_gguf_string text, bool *add_bos)
{
    json_t *json;
    pare_status status = pare_json_load_text(text.data, text.length, tokenizer->file, &json);
    if (status != PARE_OK)
        return pare_fail_in(status, "tokenizer.huggingface.json");
    status = json_is_object(json)
                 ? pare_tokenizer_load_json(tokenizer, json)
                 : pare_fail(PARE_FORMAT, "%s: tokenizer.huggingface.json is not an object",
                             tokenizer->file);
    json_decref(json);
    if (status == PARE_OK && pare_gguf_find(&tokenizer->gguf, "tokenizer.ggml.add_bos_token"))
        tokenizer->prefix.count = 0;
    if (status == PARE_OK && pare_gguf_find(&tokenizer->gguf, "tokenizer.ggml.add_eos_token"))
        tokenizer->suffix.count = 0;
    *add_bos = false;
    return status;
}

pare_status pare_tokenizer_load_gguf(pare_tokenizer *tokenizer, const char *path)
{
    pare_gguf_string model = {0};
    bool add_bos = false;
    pare_status status;
    PARE_TRY(pare_gguf_open(path, &tokenizer->gguf));
    tokenizer->from_gguf = true;
    PARE_TRY(pare_gguf_text(&tokenizer->gguf, "tokenizer.ggml.model", &model));
    bool llama = model.data && text_is(model, "llama");
    if (!model.data || text_is(model, "none") || text_is(model, "no_vocab"))
        return pare_fail(PARE_NOT_FOUND, "%s: the file has no tokenizer (tokenizer.ggml.model)",
                         path);
    if (!llama && !text_is(model, "gpt2"))
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: the tokenizer model '%.*s' is not supported, only gpt2 and llama are",
                         path, (int)(model.length < 40 ? model.length : 40), model.data);
    pare_gguf_string embedded = {0};
    PARE_TRY(pare_gguf_text(&tokenizer->gguf, "tokenizer.huggingface.json", &embedded));
    if (embedded.data)
        PARE_TRY(load_embedded(tokenizer, embedded, &add_bos));
    else
        PARE_TRY(llama ? load_llama(tokenizer, &add_bos) : load_gpt2(tokenizer, &add_bos));
    pare_decoder_finish(&tokenizer->decoder);
    PARE_TRY(load_roles(tokenizer, llama, add_bos));
    PARE_TRY(load_template(tokenizer));
fail:
    return status;
}
