/* The files beside tokenizer.json: special tokens by role, and the chat template. */
#include "base/fail.h"
#include "base/file.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 64 << 20 };

/* *json is NULL where the file does not exist. */
static pare_status load_optional(const char *folder, const char *name, char **path, json_t **json)
{
    *json = NULL;
    pare_status status = pare_path_join(folder, name, path);
    if (status != PARE_OK || !pare_is_file(*path))
        return status;
    status = pare_json_load_file(*path, FILE_LIMIT, json);
    if (status == PARE_OK && !json_is_object(*json)) {
        json_decref(*json);
        *json = NULL;
        return pare_fail(PARE_FORMAT, "%s: not an object", *path);
    }
    return status;
}

/* "bos_token": "<s>" or {"content": "<s>", ...}: its id, where it is a token and the role is still
 * free. */
static void take_token(const pare_tokenizer *tokenizer, const json_t *json, const char *key,
                       int32_t *id)
{
    const json_t *value = json_object_get(json, key);
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    if (*id < 0 && json_is_string(content))
        *id =
            pare_tokenizer_find(tokenizer, json_string_value(content), json_string_length(content));
}

static void take_tokens(pare_tokenizer *tokenizer, const json_t *json)
{
    take_token(tokenizer, json, "bos_token", &tokenizer->bos);
    take_token(tokenizer, json, "eos_token", &tokenizer->eos);
    take_token(tokenizer, json, "unk_token", &tokenizer->unk);
    take_token(tokenizer, json, "pad_token", &tokenizer->pad);
}

static bool is_token(const pare_tokenizer *tokenizer, const json_t *id)
{
    return json_is_integer(id) && json_integer_value(id) >= 0 &&
           json_integer_value(id) <= INT32_MAX &&
           pare_tokenizer_token(tokenizer, (int32_t)json_integer_value(id));
}

/* "eos_token_id": 2 or [2, 32000]. All of them end a text. */
static pare_status take_ids(pare_tokenizer *tokenizer, const json_t *json)
{
    const json_t *bos = json_object_get(json, "bos_token_id"),
                 *eos = json_object_get(json, "eos_token_id");
    size_t count = json_is_array(eos) ? json_array_size(eos) : 1;
    if (tokenizer->bos < 0 && is_token(tokenizer, bos))
        tokenizer->bos = (int32_t)json_integer_value(bos);
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!is_token(tokenizer, id))
            continue;
        if (tokenizer->eos < 0)
            tokenizer->eos = (int32_t)json_integer_value(id);
        pare_status status = pare_id_list_add(&tokenizer->ends, (int32_t)json_integer_value(id));
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

static pare_status set_template(pare_tokenizer *tokenizer, const char *text, size_t length)
{
    free(tokenizer->chat_template);
    tokenizer->chat_template = NULL;
    return pare_text_copy(text, length, &tokenizer->chat_template);
}

/* A text, or a list of {"name", "template"}, of which "default" is taken. */
static pare_status take_template(pare_tokenizer *tokenizer, const json_t *json, const char *path)
{
    const json_t *value = json_object_get(json, "chat_template"),
                 *text = json_is_string(value) ? value : NULL;
    if (!value || json_is_null(value))
        return PARE_OK;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (!text || (name && strcmp(name, "default") == 0))
            text = json_object_get(entry, "template");
    }
    if (!json_is_string(text))
        return pare_fail(PARE_FORMAT,
                         "%s: 'chat_template' is neither a text nor a list of named templates",
                         path);
    return set_template(tokenizer, json_string_value(text), json_string_length(text));
}

/* transformers' Llama tokenizers put BOS and EOS as these options say, whatever tokenizer.json's
 * post-processor does; its other fast tokenizers follow the post-processor. */
static pare_status take_bos_options(pare_tokenizer *tokenizer, const json_t *json, const char *path)
{
    static const char *const classes[] = {
        "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast",
        "GemmaTokenizer", "GemmaTokenizerFast", "CohereTokenizer",    "CohereTokenizerFast"};
    const char *class = NULL;
    bool bos = false, eos = false, follows = false;
    pare_status status = pare_json_string(json, "tokenizer_class", path, &class);
    for (size_t i = 0; class && i < sizeof classes / sizeof *classes; i++)
        follows |= strcmp(class, classes[i]) == 0;
    if (status != PARE_OK || !follows || !json_is_boolean(json_object_get(json, "add_bos_token")))
        return status;
    PARE_TRY(pare_json_bool(json, "add_bos_token", path, &bos));
    PARE_TRY(pare_json_bool(json, "add_eos_token", path, &eos));
    tokenizer->prefix.count = tokenizer->suffix.count = 0;
    if (bos && tokenizer->bos >= 0)
        PARE_TRY(pare_id_list_add(&tokenizer->prefix, tokenizer->bos));
    if (eos && tokenizer->eos >= 0)
        PARE_TRY(pare_id_list_add(&tokenizer->suffix, tokenizer->eos));
fail:
    return status;
}

static pare_status load_config(pare_tokenizer *tokenizer, const char *folder)
{
    char *path = NULL;
    json_t *json;
    pare_status status;
    PARE_TRY(load_optional(folder, "tokenizer_config.json", &path, &json));
    if (json) {
        take_tokens(tokenizer, json);
        PARE_TRY(take_template(tokenizer, json, path));
        PARE_TRY(take_bos_options(tokenizer, json, path));
    }
fail:
    json_decref(json);
    free(path);
    return status;
}

static pare_status load_roles(pare_tokenizer *tokenizer, const char *folder, const char *name,
                              bool ids)
{
    char *path = NULL;
    json_t *json;
    pare_status status = load_optional(folder, name, &path, &json);
    if (status == PARE_OK && json && ids)
        status = take_ids(tokenizer, json);
    else if (status == PARE_OK && json)
        take_tokens(tokenizer, json);
    json_decref(json);
    free(path);
    return status;
}

/* chat_template.jinja, or the "chat_template" of chat_template.json. */
static pare_status load_template(pare_tokenizer *tokenizer, const char *folder)
{
    char *path = NULL, *text = NULL;
    size_t size;
    json_t *json = NULL;
    pare_status status;
    PARE_TRY(load_optional(folder, "chat_template.json", &path, &json));
    if (json && !tokenizer->chat_template)
        PARE_TRY(take_template(tokenizer, json, path));
    free(path);
    path = NULL;
    PARE_TRY(pare_path_join(folder, "chat_template.jinja", &path));
    if (pare_is_file(path)) {
        PARE_TRY(pare_read_file(path, FILE_LIMIT, &text, &size));
        status = pare_utf8_valid(text, size) ? set_template(tokenizer, text, size)
                                             : pare_fail(PARE_FORMAT, "%s: not valid UTF-8", path);
    }
fail:
    json_decref(json);
    free(text);
    free(path);
    return status;
}

pare_status pare_tokenizer_load_folder(pare_tokenizer *tokenizer, const char *folder)
{
    pare_status status;
    PARE_TRY(load_config(tokenizer, folder));
    PARE_TRY(load_roles(tokenizer, folder, "special_tokens_map.json", false));
    PARE_TRY(load_roles(tokenizer, folder, "generation_config.json", true));
    if (tokenizer->eos < 0 || tokenizer->bos < 0)
        PARE_TRY(load_roles(tokenizer, folder, "config.json", true));
    PARE_TRY(load_template(tokenizer, folder));
fail:
    return status;
}
