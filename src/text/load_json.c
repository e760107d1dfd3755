/* tokenizer.json, as the tokenizers library writes it: https://github.com/huggingface/tokenizers */
#include "base/fail.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* Ids beyond this are no vocabulary's: a table is as long as the highest id. */
static int64_t id_limit(size_t tokens)
{
    int64_t limit = 4 * (int64_t)tokens + 65536;
    return limit < PARE_VOCAB_LIMIT ? limit : PARE_VOCAB_LIMIT;
}

static pare_status load_vocab(pare_tokenizer *tokenizer, const json_t *json, size_t merges)
{
    pare_vocab *vocab = &tokenizer->vocab;
    if (!json_is_object(json))
        return pare_fail(PARE_FORMAT, "%s: 'model.vocab' is not an object", tokenizer->file);
    size_t count = json_object_size(json);
    pare_status status = pare_vocab_reserve(vocab, count, merges);
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)json, text, id)
    {
        bool taken;
        int64_t number = json_integer_value(id);
        if (status != PARE_OK)
            return status;
        if (!json_is_integer(id) || number < 0 || number >= id_limit(count))
            return pare_fail(PARE_FORMAT, "%s: model.vocab: the id of '%.80s' is not usable",
                             tokenizer->file, text);
        status = pare_vocab_add(vocab, (int32_t)number, text, strlen(text), false, &taken);
        if (status == PARE_OK && taken)
            return pare_fail(PARE_FORMAT, "%s: model.vocab: '%.80s' has id %lld, which is taken",
                             tokenizer->file, text, (long long)number);
    }
    return status;
}

/* "a b", or ["a", "b"]. */
static bool merge_parts(const json_t *merge, const char **left, size_t *left_length,
                        const char **right, size_t *right_length)
{
    if (json_is_array(merge)) {
        const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
        *left = json_string_value(a);
        *left_length = json_string_length(a);
        *right = json_string_value(b);
        *right_length = json_string_length(b);
        return json_array_size(merge) == 2 && *left && *right;
    }
    const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return false;
    *left = text;
    *left_length = (size_t)(space - text);
    *right = space + 1;
    *right_length = strlen(space + 1);
    return true;
}

static pare_status load_merge(pare_tokenizer *tokenizer, const json_t *merge, uint32_t rank,
                              pare_buffer *joined)
{
    const char *left, *right;
    size_t left_length, right_length;
    if (!merge_parts(merge, &left, &left_length, &right, &right_length))
        return pare_fail(PARE_FORMAT, "%s: model.merges: entry %u is not a pair of tokens",
                         tokenizer->file, rank);
    joined->size = 0;
    pare_buffer_append(joined, left, left_length);
    pare_status status = pare_buffer_append(joined, right, right_length);
    if (status != PARE_OK)
        return status;
    const pare_vocab *vocab = &tokenizer->vocab;
    int32_t a = pare_vocab_find(vocab, left, left_length),
            b = pare_vocab_find(vocab, right, right_length);
    int32_t id = pare_vocab_find(vocab, joined->data, joined->size);
    if (a < 0 || b < 0 || id < 0)
        return pare_fail(PARE_FORMAT,
                         "%s: model.merges: entry %u names '%.80s', which is not in model.vocab",
                         tokenizer->file, rank,
                         a < 0   ? left
                         : b < 0 ? right
                                 : joined->data);
    pare_vocab_add_merge(&tokenizer->vocab, a, b, rank, id, true);
    return PARE_OK;
}

static pare_status load_merges(pare_tokenizer *tokenizer, const json_t *merges)
{
    pare_buffer joined = {0};
    uint32_t rank = 0;
    pare_status status = PARE_OK;
    for (size_t i = 0; i < json_array_size(merges) && status == PARE_OK; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *text = json_string_value(merge);
        if (!text || strncmp(text, "#version", 8) != 0)
            status = load_merge(tokenizer, merge, rank++, &joined);
    }
    pare_buffer_free(&joined);
    return status;
}

/* Options that change the meaning of the vocabulary and that no causal language model of today
 * uses. */
static pare_status refuse_options(const json_t *model, const char *file)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    double dropout = 0;
    pare_status status = pare_json_f64(model, "dropout", file, &dropout);
    if (status != PARE_OK)
        return status;
    if (dropout > 0)
        return pare_fail(PARE_UNSUPPORTED, "%s: model.dropout %g (random merges) is not supported",
                         file, dropout);
    for (int i = 0; i < 2; i++) {
        const char *text = NULL;
        if ((status = pare_json_string(model, affixes[i], file, &text)) != PARE_OK)
            return status;
        if (text && *text)
            return pare_fail(PARE_UNSUPPORTED, "%s: model.%s '%.40s' is not supported", file,
                             affixes[i], text);
    }
    return PARE_OK;
}

static pare_status load_model(pare_tokenizer *tokenizer, const json_t *model)
{
    const char *file = tokenizer->file, *type = NULL, *unk = NULL;
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_object(model))
        return pare_fail(PARE_FORMAT, "%s: 'model' is not an object", file);
    pare_status status = pare_json_string(model, "type", file, &type);
    if (status != PARE_OK)
        return status;
    if (type && strcmp(type, "BPE") != 0)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: the tokenizer model '%.40s' is not supported, only BPE is", file,
                         type);
    if (!json_is_array(merges))
        return pare_fail(PARE_FORMAT, "%s: 'model.merges' is not a list", file);
    PARE_TRY(refuse_options(model, file));
    PARE_TRY(load_vocab(tokenizer, json_object_get(model, "vocab"), json_array_size(merges)));
    PARE_TRY(load_merges(tokenizer, merges));
    PARE_TRY(pare_json_bool(model, "fuse_unk", file, &tokenizer->bpe.fuse_unk));
    PARE_TRY(pare_json_bool(model, "byte_fallback", file, &tokenizer->bpe.byte_fallback));
    PARE_TRY(pare_json_bool(model, "ignore_merges", file, &tokenizer->bpe.ignore_merges));
    PARE_TRY(pare_json_string(model, "unk_token", file, &unk));
    if (unk) {
        int32_t id = pare_vocab_find(&tokenizer->vocab, unk, strlen(unk));
        tokenizer->bpe.unk = id >= 0 ? id : PARE_UNK_MISSING;
        tokenizer->unk = id;
    }
fail:
    return status;
}

/* A token of the model keeps the model's id; another one has the id that the file gives. */
static pare_status place_added(pare_tokenizer *tokenizer, pare_added_token *token, int64_t id,
                               size_t listed)
{
    pare_vocab *vocab = &tokenizer->vocab;
    token->id = pare_vocab_find(vocab, token->content, token->length);
    if (token->id >= 0)
        return PARE_OK;
    if (id < 0 || id >= id_limit(vocab->size + listed))
        return pare_fail(PARE_FORMAT, "%s: added_tokens: the id of '%.80s' is not usable",
                         tokenizer->file, token->content);
    bool taken;
    pare_status status =
        pare_vocab_add(vocab, (int32_t)id, token->content, token->length, true, &taken);
    if (status == PARE_OK && taken)
        return pare_fail(PARE_FORMAT, "%s: added_tokens: '%.80s' has id %lld, which is taken",
                         tokenizer->file, token->content, (long long)id);
    token->id = (int32_t)id;
    return status;
}

static pare_status load_added_token(pare_tokenizer *tokenizer, const json_t *json, size_t listed)
{
    const char *file = tokenizer->file;
    const json_t *content = json_object_get(json, "content");
    int64_t id = -1;
    pare_added_token token = {.length = json_string_length(content)};
    if (!json_is_string(content))
        return pare_fail(PARE_FORMAT, "%s: added_tokens: an entry has no 'content'", file);
    if (token.length == 0)
        return PARE_OK;
    token.content = (char *)json_string_value(content); /* copied by pare_added_add */
    pare_status status;
    PARE_TRY(pare_json_i64(json, "id", file, &id));
    PARE_TRY(pare_json_bool(json, "single_word", file, &token.single_word));
    PARE_TRY(pare_json_bool(json, "lstrip", file, &token.lstrip));
    PARE_TRY(pare_json_bool(json, "rstrip", file, &token.rstrip));
    PARE_TRY(pare_json_bool(json, "normalized", file, &token.normalized));
    PARE_TRY(pare_json_bool(json, "special", file, &token.special));
    int32_t known = pare_tokenizer_find(tokenizer, token.content, token.length);
    int32_t index = known >= 0 ? tokenizer->vocab.tokens[known].added : -1;
    if (index >= 0) { /* given twice: the last one counts */
        char *copy = tokenizer->added.tokens[index].content;
        token.id = known;
        tokenizer->added.tokens[index] = token;
        tokenizer->added.tokens[index].content = copy;
        return PARE_OK;
    }
    PARE_TRY(place_added(tokenizer, &token, id, listed));
    tokenizer->vocab.tokens[token.id].added = (int32_t)tokenizer->added.count;
    tokenizer->vocab.tokens[token.id].type =
        token.special ? PARE_TOKEN_CONTROL : PARE_TOKEN_USER_DEFINED;
    status = pare_added_add(&tokenizer->added, &token);
fail:
    return status;
}

static bool is_special_content(const pare_added *added, const char *text, size_t length)
{
    for (size_t i = 0; i < added->count; i++)
        if (added->tokens[i].special && added->tokens[i].length == length &&
            memcmp(added->tokens[i].content, text, length) == 0)
            return true;
    return false;
}

/* A normalized token decodes to its normal form, and is skipped where that is a special token's
 * content. */
static pare_status normalize_added(pare_tokenizer *tokenizer)
{
    pare_regex_search search = {0};
    pare_status status = PARE_OK;
    for (size_t i = 0; i < tokenizer->added.count && status == PARE_OK; i++) {
        pare_added_token *token = &tokenizer->added.tokens[i];
        pare_buffer text = {0};
        bool kept = true;
        status = pare_buffer_append(&text, token->content, token->length);
        if (status == PARE_OK && token->normalized)
            status = pare_normalize(&tokenizer->normalizer, &search, &text, &kept);
        if (status == PARE_OK)
            status = pare_added_index(&tokenizer->added, i, text.data, text.size);
        token->skipped = token->special;
        if (status == PARE_OK &&
            (text.size != token->length || memcmp(text.data, token->content, text.size) != 0)) {
            token->skipped = is_special_content(&tokenizer->added, text.data, text.size);
            status = pare_text_copy(text.data, text.size, &token->decoded);
        }
        pare_buffer_free(&text);
    }
    pare_regex_search_free(&search);
    return status;
}

static pare_status load_added(pare_tokenizer *tokenizer, const json_t *list)
{
    if (!list || json_is_null(list))
        return PARE_OK;
    if (!json_is_array(list))
        return pare_fail(PARE_FORMAT, "%s: 'added_tokens' is not a list", tokenizer->file);
    pare_status status = PARE_OK;
    for (size_t i = 0; i < json_array_size(list) && status == PARE_OK; i++)
        status = load_added_token(tokenizer, json_array_get(list, i), json_array_size(list));
    return status == PARE_OK ? normalize_added(tokenizer) : status;
}

pare_status pare_tokenizer_load_json(pare_tokenizer *tokenizer, const json_t *json)
{
    const char *file = tokenizer->file;
    pare_status status;
    PARE_TRY(load_model(tokenizer, json_object_get(json, "model")));
    PARE_TRY(
        pare_normalizer_load(&tokenizer->normalizer, json_object_get(json, "normalizer"), file));
    PARE_TRY(pare_pretokenizer_load(&tokenizer->pretokenizer,
                                    json_object_get(json, "pre_tokenizer"), file));
    PARE_TRY(pare_decoder_load(&tokenizer->decoder, json_object_get(json, "decoder"), file));
    PARE_TRY(load_added(tokenizer, json_object_get(json, "added_tokens")));
    PARE_TRY(
        pare_tokenizer_load_post_processor(tokenizer, json_object_get(json, "post_processor")));
fail:
    return status;
}
