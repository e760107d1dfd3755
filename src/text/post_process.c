/* The post-processors of tokenizer.json: the tokens around one text. (A second text, "B", does not
 * occur here.) */
#include "base/fail.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static pare_status add_ids(pare_tokenizer *tokenizer, pare_id_list *list, const json_t *ids)
{
    pare_status status = PARE_OK;
    if (!json_is_array(ids))
        return pare_fail(PARE_FORMAT, "%s: post_processor: a special token has no 'ids'",
                         tokenizer->file);
    for (size_t i = 0; i < json_array_size(ids) && status == PARE_OK; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX)
            return pare_fail(PARE_FORMAT, "%s: post_processor: an id is not usable",
                             tokenizer->file);
        status = pare_id_list_add(list, (int32_t)json_integer_value(id));
    }
    return status;
}

/* Puts what one processor adds outside of what the ones before it added. */
static pare_status wrap(pare_tokenizer *tokenizer, pare_id_list *before, pare_id_list *after)
{
    pare_status status = PARE_OK;
    for (size_t i = 0; i < tokenizer->prefix.count && status == PARE_OK; i++)
        status = pare_id_list_add(before, tokenizer->prefix.ids[i]);
    free(tokenizer->prefix.ids);
    tokenizer->prefix = *before;
    *before = (pare_id_list){0};
    for (size_t i = 0; i < after->count && status == PARE_OK; i++)
        status = pare_id_list_add(&tokenizer->suffix, after->ids[i]);
    return status;
}

static pare_status load_template(pare_tokenizer *tokenizer, const json_t *json,
                                 pare_id_list *before, pare_id_list *after)
{
    const json_t *single = json_object_get(json, "single"),
                 *specials = json_object_get(json, "special_tokens");
    int texts = 0;
    pare_status status = PARE_OK;
    if (!json_is_array(single))
        return pare_fail(PARE_FORMAT,
                         "%s: post_processor TemplateProcessing: 'single' is not a list",
                         tokenizer->file);
    for (size_t i = 0; i < json_array_size(single) && status == PARE_OK; i++) {
        const json_t *part = json_array_get(single, i),
                     *special = json_object_get(part, "SpecialToken");
        const char *id = json_string_value(json_object_get(special, "id"));
        if (json_object_get(part, "Sequence"))
            texts++;
        else if (!id)
            return pare_fail(
                PARE_FORMAT,
                "%s: post_processor TemplateProcessing: entry %zu of 'single' is neither a "
                "SpecialToken nor a Sequence",
                tokenizer->file, i);
        else
            status = add_ids(tokenizer, texts ? after : before,
                             json_object_get(json_object_get(specials, id), "ids"));
    }
    if (status == PARE_OK && texts != 1)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: post_processor TemplateProcessing: 'single' holds the text %d times",
                         tokenizer->file, texts);
    return status;
}

/* ["</s>", 2] */
static pare_status load_pair(pare_tokenizer *tokenizer, const json_t *json, const char *key,
                             pare_id_list *list)
{
    const json_t *id = json_array_get(json_object_get(json, key), 1);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
        return pare_fail(PARE_FORMAT,
                         "%s: post_processor: '%s' is not a pair of a token and its id",
                         tokenizer->file, key);
    return pare_id_list_add(list, (int32_t)json_integer_value(id));
}

static pare_status load_one(pare_tokenizer *tokenizer, const json_t *json, const char *name)
{
    pare_id_list before = {0}, after = {0};
    pare_status status;
    if (strcmp(name, "ByteLevel") == 0) /* only moves offsets */
        return PARE_OK;
    if (strcmp(name, "TemplateProcessing") == 0) {
        PARE_TRY(load_template(tokenizer, json, &before, &after));
    } else if (strcmp(name, "RobertaProcessing") == 0 || strcmp(name, "BertProcessing") == 0) {
        PARE_TRY(load_pair(tokenizer, json, "cls", &before));
        PARE_TRY(load_pair(tokenizer, json, "sep", &after));
    } else {
        return pare_fail(PARE_UNSUPPORTED, "%s: the post-processor '%.40s' is not supported",
                         tokenizer->file, name);
    }
    status = wrap(tokenizer, &before, &after);
fail:
    free(before.ids);
    free(after.ids);
    return status;
}

pare_status pare_tokenizer_load_post_processor(pare_tokenizer *tokenizer, const json_t *json)
{
    if (!json || json_is_null(json))
        return PARE_OK;
    const char *name = json_string_value(json_object_get(json, "type"));
    if (!name)
        return pare_fail(PARE_FORMAT, "%s: a post-processor has no 'type'", tokenizer->file);
    if (strcmp(name, "Sequence") != 0)
        return load_one(tokenizer, json, name);
    const json_t *list = json_object_get(json, "processors");
    if (!json_is_array(list))
        return pare_fail(PARE_FORMAT, "%s: post-processor Sequence: 'processors' is not a list",
                         tokenizer->file);
    pare_status status = PARE_OK;
    for (size_t i = 0; i < json_array_size(list) && status == PARE_OK; i++)
        status = pare_tokenizer_load_post_processor(tokenizer, json_array_get(list, i));
    return status;
}
