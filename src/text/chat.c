/* Chat templates: the tokenizer's variables for the interpreter. */
#include "base/fail.h"
#include "text/template.h"
#include "text/tokenizer.h"

#include <string.h>

static void set_token(json_t *variables, const pare_tokenizer *tokenizer, const char *key,
                      int32_t id)
{
    const char *text = pare_tokenizer_token(tokenizer, id);
    if (text)
        json_object_set_new(variables, key, json_string(text));
}

/* The user's variables on top of the tokenizer's. */
static pare_status add_variables(json_t *variables, const char *text)
{
    json_t *more;
    pare_status status = pare_json_load_text(text, strlen(text), "template variables", &more);
    if (status != PARE_OK)
        return status;
    if (!json_is_object(more))
        status = pare_fail(PARE_INVALID_ARGUMENT, "the template variables are not a JSON object");
    else if (json_object_update(variables, more) != 0)
        status = pare_fail_memory(0, "template variables");
    json_decref(more);
    return status;
}

pare_status pare_tokenizer_render_chat(const pare_tokenizer *tokenizer, const char *messages_json,
                                       bool add_generation_prompt, const char *variables_json,
                                       char **text)
{
    json_t *messages = NULL, *variables = NULL;
    *text = NULL;
    if (!tokenizer->chat_template)
        return pare_fail(PARE_NOT_FOUND, "%s: the model has no chat template", tokenizer->file);
    pare_status status =
        pare_json_load_text(messages_json, strlen(messages_json), "messages", &messages);
    if (status != PARE_OK)
        return status;
    if (!json_is_array(messages)) {
        status = pare_fail(PARE_INVALID_ARGUMENT, "the messages are not a JSON list");
        goto fail;
    }
    variables = json_object();
    if (!variables) {
        status = pare_fail_memory(0, "template variables");
        goto fail;
    }
    json_object_set_new(variables, "tools", json_null());
    json_object_set_new(variables, "documents", json_null());
    set_token(variables, tokenizer, "bos_token", tokenizer->bos);
    set_token(variables, tokenizer, "eos_token", tokenizer->eos);
    set_token(variables, tokenizer, "unk_token", tokenizer->unk);
    set_token(variables, tokenizer, "pad_token", tokenizer->pad);
    if (variables_json)
        PARE_TRY(add_variables(variables, variables_json));
    json_object_set(variables, "messages", messages);
    json_object_set_new(variables, "add_generation_prompt", json_boolean(add_generation_prompt));
    status = pare_template_render(tokenizer->chat_template, tokenizer->file, variables, text);
fail:
    json_decref(messages);
    json_decref(variables);
    return status;
}
