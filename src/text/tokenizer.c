#include "text/tokenizer.h"

#include "base/fail.h"
#include "base/file.h"
#include "formats/locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pare_status pare_text_copy(const char *text, size_t length, char **copy)
{
    pare_status status = pare_allocate(length + 1, 1, "a text", copy);
    if (status == PARE_OK)
        memcpy(*copy, text, length);
    return status;
}

pare_status pare_id_list_add(pare_id_list *list, int32_t id)
{
    pare_status status =
        pare_grow(&list->ids, &list->capacity, list->count + 1, sizeof *list->ids, "token ids");
    if (status == PARE_OK)
        list->ids[list->count++] = id;
    return status;
}

int32_t pare_tokenizer_find(const pare_tokenizer *tokenizer, const char *text, size_t length)
{
    int32_t id = pare_vocab_find(&tokenizer->vocab, text, length);
    for (size_t i = 0; id < 0 && i < tokenizer->added.count; i++) {
        const pare_added_token *token = &tokenizer->added.tokens[i];
        if (token->length == length && memcmp(token->content, text, length) == 0)
            id = token->id;
    }
    return id;
}

static bool in_list(const pare_id_list *list, int32_t id)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->ids[i] == id)
            return true;
    return false;
}

static bool is_special(const pare_tokenizer *tokenizer, int32_t id)
{
    int32_t added = tokenizer->vocab.tokens[id].added;
    return added >= 0 && tokenizer->added.tokens[added].special;
}

pare_status pare_tokenizer_finish(pare_tokenizer *tokenizer)
{
    static const char *const turn_ends[] = {"<|im_end|>",      "<|eot_id|>",     "<|eom_id|>",
                                            "<|end|>",         "<end_of_turn>",  "<|endoftext|>",
                                            "<|end_of_text|>", "<|end_of_turn|>"};
    pare_vocab *vocab = &tokenizer->vocab;
    pare_status status = PARE_OK;
    pare_vocab_finish(vocab);
    tokenizer->bpe.vocab = vocab;
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        tokenizer->bpe.bytes[byte] = pare_vocab_find(vocab, text, 6);
    }
    for (size_t i = 0; i < tokenizer->prefix.count + tokenizer->suffix.count; i++) {
        int32_t id = i < tokenizer->prefix.count
                         ? tokenizer->prefix.ids[i]
                         : tokenizer->suffix.ids[i - tokenizer->prefix.count];
        if ((size_t)id >= vocab->size || !vocab->tokens[id].text)
            return pare_fail(PARE_FORMAT, "%s: post_processor adds id %d, which is no token",
                             tokenizer->file, (int)id);
    }
    if (tokenizer->eos >= 0 && !in_list(&tokenizer->ends, tokenizer->eos))
        status = pare_id_list_add(&tokenizer->ends, tokenizer->eos);
    for (size_t i = 0; i < sizeof turn_ends / sizeof *turn_ends && status == PARE_OK; i++) {
        int32_t id = pare_tokenizer_find(tokenizer, turn_ends[i], strlen(turn_ends[i]));
        if (id >= 0 && is_special(tokenizer, id) && !in_list(&tokenizer->ends, id))
            status = pare_id_list_add(&tokenizer->ends, id);
    }
    return status;
}

static pare_status create(const char *file, pare_tokenizer **out)
{
    pare_status status = pare_allocate(1, sizeof **out, "a tokenizer", out);
    if (status != PARE_OK)
        return status;
    (*out)->bos = (*out)->eos = (*out)->unk = (*out)->pad = -1;
    (*out)->bpe.unk = PARE_UNK_NONE;
    return pare_text_copy(file, strlen(file), &(*out)->file);
}

static pare_status load_json_document(pare_tokenizer *tokenizer, json_t *json)
{
    pare_status status = json_is_object(json)
                             ? pare_tokenizer_load_json(tokenizer, json)
                             : pare_fail(PARE_FORMAT, "%s: not an object", tokenizer->file);
    json_decref(json);
    return status;
}

pare_status pare_tokenizer_open_memory(const char *text, size_t size, const char *file,
                                       pare_tokenizer **out)
{
    json_t *json;
    *out = NULL;
    pare_status status;
    PARE_TRY(create(file, out));
    PARE_TRY(pare_json_load_text(text, size, file, &json));
    PARE_TRY(load_json_document(*out, json));
    PARE_TRY(pare_tokenizer_finish(*out));
    return PARE_OK;
fail:
    pare_tokenizer_close(*out);
    *out = NULL;
    return status;
}

static pare_status open_json(const char *path, const char *folder, pare_tokenizer **out)
{
    json_t *json;
    pare_status status;
    PARE_TRY(create(path, out));
    PARE_TRY(pare_json_load_file(path, PARE_JSON_LIMIT, &json));
    PARE_TRY(load_json_document(*out, json));
    if (folder)
        PARE_TRY(pare_tokenizer_load_folder(*out, folder));
    status = pare_tokenizer_finish(*out);
fail:
    return status;
}

static pare_status open_gguf(const char *path, pare_tokenizer **out)
{
    pare_status status = create(path, out);
    if (status == PARE_OK)
        status = pare_tokenizer_load_gguf(*out, path);
    return status == PARE_OK ? pare_tokenizer_finish(*out) : status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

/* A .safetensors file's tokenizer lies beside it. */
static pare_status open_beside(const char *path, pare_tokenizer **out)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL, *file = NULL;
    pare_status status;
    PARE_TRY(slash ? pare_text_copy(path, (size_t)(slash - path) + 1, &folder)
                   : pare_text_copy(".", 1, &folder));
    PARE_TRY(pare_path_join(folder, "tokenizer.json", &file));
    status = pare_is_file(file)
                 ? open_json(file, folder, out)
                 : pare_fail(PARE_NOT_FOUND, "%s: there is no tokenizer.json beside it", path);
fail:
    free(folder);
    free(file);
    return status;
}

static pare_status open_located(const char *name, pare_tokenizer **out)
{
    pare_location location = {0};
    pare_status status = pare_locate(name, &location);
    if (status != PARE_OK)
        return status;
    if (location.kind == PARE_LOCATION_GGUF)
        status = open_gguf(location.path, out);
    else if (location.kind == PARE_LOCATION_SAFETENSORS)
        status = open_beside(location.path, out);
    else if (location.tokenizer)
        status = open_json(location.tokenizer, location.path, out);
    else if (location.weights && ends_with(location.weights, ".gguf"))
        status = open_gguf(location.weights, out);
    else
        status = pare_fail(PARE_NOT_FOUND, "%s: the folder has no tokenizer.json", location.path);
    pare_location_free(&location);
    return status;
}

pare_status pare_tokenizer_open(const char *name, pare_tokenizer **out)
{
    *out = NULL;
    pare_status status = ends_with(name, ".json") && pare_is_file(name) ? open_json(name, NULL, out)
                                                                        : open_located(name, out);
    if (status != PARE_OK) {
        pare_tokenizer_close(*out);
        *out = NULL;
    }
    return status;
}

void pare_tokenizer_close(pare_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    pare_vocab_free(&tokenizer->vocab);
    pare_added_free(&tokenizer->added);
    pare_normalizer_free(&tokenizer->normalizer);
    pare_pretokenizer_free(&tokenizer->pretokenizer);
    pare_decoder_free(&tokenizer->decoder);
    free(tokenizer->prefix.ids);
    free(tokenizer->suffix.ids);
    free(tokenizer->ends.ids);
    free(tokenizer->chat_template);
    if (tokenizer->from_gguf)
        pare_gguf_close(&tokenizer->gguf);
    free(tokenizer->file);
    free(tokenizer);
}

int64_t pare_tokenizer_vocab_size(const pare_tokenizer *tokenizer)
{
    return (int64_t)tokenizer->vocab.size;
}

const char *pare_tokenizer_token(const pare_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer->vocab.size ? tokenizer->vocab.tokens[id].text : NULL;
}

int32_t pare_tokenizer_bos(const pare_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t pare_tokenizer_eos(const pare_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

bool pare_tokenizer_is_end(const pare_tokenizer *tokenizer, int32_t id)
{
    return in_list(&tokenizer->ends, id);
}

const char *pare_tokenizer_chat_template(const pare_tokenizer *tokenizer)
{
    return tokenizer->chat_template;
}
