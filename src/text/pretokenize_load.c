#include "base/fail.h"
#include "base/memory.h"
#include "text/normalize.h"
#include "text/pretokenize.h"

#include <stdlib.h>
#include <string.h>

const char pare_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* \w of Rust's regular expressions. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d"

static pare_status add_step(pare_pretokenizer *pretokenizer, pare_split_kind kind,
                            pare_split_behavior behavior, pare_split_step **step)
{
    pare_status status =
        pare_grow(&pretokenizer->steps, &pretokenizer->capacity, pretokenizer->count + 1,
                  sizeof *pretokenizer->steps, "pre-tokenizers");
    if (status != PARE_OK)
        return status;
    *step = &pretokenizer->steps[pretokenizer->count++];
    **step = (pare_split_step){.kind = kind, .behavior = behavior};
    return PARE_OK;
}

static pare_status copy_string(const char *text, char **copy)
{
    pare_status status = pare_allocate(strlen(text) + 1, 1, "a pattern", copy);
    if (status == PARE_OK)
        memcpy(*copy, text, strlen(text));
    return status;
}

pare_status pare_pretokenizer_add_regex(pare_pretokenizer *pretokenizer, const char *pattern,
                                        bool invert, pare_split_behavior behavior)
{
    pare_split_step *step;
    pare_status status = add_step(pretokenizer, PARE_SPLIT_REGEX, behavior, &step);
    if (status != PARE_OK)
        return status;
    step->invert = invert;
    if ((status = copy_string(pattern, &step->source)) != PARE_OK)
        return status;
    return pare_regex_compile(pattern, strlen(pattern), &step->regex);
}

pare_status pare_pretokenizer_add_bytes(pare_pretokenizer *pretokenizer, bool prepend)
{
    pare_split_step *step;
    pare_status status = add_step(pretokenizer, PARE_SPLIT_BYTES, PARE_SPLIT_ISOLATED, &step);
    if (status == PARE_OK)
        step->prepend = prepend ? PARE_PREPEND_ALWAYS : PARE_PREPEND_NEVER;
    return status;
}

static pare_status load_behavior(const json_t *json, const char *file,
                                 pare_split_behavior *behavior)
{
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"};
    const char *name = NULL;
    pare_status status = pare_json_string(json, "behavior", file, &name);
    if (status != PARE_OK || !name)
        return status;
    for (int i = 0; i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            *behavior = (pare_split_behavior)i;
            return PARE_OK;
        }
    }
    return pare_fail(PARE_UNSUPPORTED, "%s: the split behavior '%s' is not known", file, name);
}

static pare_status load_split(pare_pretokenizer *pretokenizer, const json_t *json, const char *file)
{
    pare_split_step *step;
    pare_status status = add_step(pretokenizer, PARE_SPLIT_STRING, PARE_SPLIT_ISOLATED, &step);
    if (status == PARE_OK)
        status = load_behavior(json, file, &step->behavior);
    if (status == PARE_OK)
        status = pare_json_bool(json, "invert", file, &step->invert);
    if (status == PARE_OK)
        status = pare_load_pattern(json, "pre-tokenizer Split", file, &step->string,
                                   &step->string_length, &step->regex);
    if (status != PARE_OK)
        return status;
    if (step->regex)
        step->kind = PARE_SPLIT_REGEX;
    const char *source =
        json_string_value(json_object_get(json_object_get(json, "pattern"), "Regex"));
    return source ? copy_string(source, &step->source) : PARE_OK;
}

static pare_status load_bytes(pare_pretokenizer *pretokenizer, const json_t *json, const char *file)
{
    bool prefix = true, regex = true;
    pare_status status = pare_json_bool(json, "add_prefix_space", file, &prefix);
    if (status == PARE_OK)
        status = pare_json_bool(json, "use_regex", file, &regex);
    if (status == PARE_OK)
        status = pare_pretokenizer_add_bytes(pretokenizer, prefix);
    if (status != PARE_OK || !regex)
        return status;
    pare_split_step *step = &pretokenizer->steps[pretokenizer->count - 1];
    if ((status = copy_string(pare_gpt2_pattern, &step->source)) != PARE_OK)
        return status;
    return pare_regex_compile(pare_gpt2_pattern, strlen(pare_gpt2_pattern), &step->regex);
}

static pare_status load_metaspace(pare_pretokenizer *pretokenizer, const json_t *json,
                                  const char *file)
{
    const char *scheme = "always", *replacement = NULL;
    bool prefix = true;
    pare_split_step *step;
    pare_status status = add_step(pretokenizer, PARE_SPLIT_METASPACE, PARE_SPLIT_ISOLATED, &step);
    if (status != PARE_OK)
        return status;
    step->split = true;
    PARE_TRY(pare_json_string(json, "replacement", file, &replacement));
    PARE_TRY(pare_json_string(json, "prepend_scheme", file, &scheme));
    PARE_TRY(pare_json_bool(json, "add_prefix_space", file, &prefix));
    PARE_TRY(pare_json_bool(json, "split", file, &step->split));
    if (!replacement || !*replacement)
        return pare_fail(PARE_FORMAT, "%s: pre-tokenizer Metaspace has no 'replacement'", file);
    PARE_TRY(copy_string(replacement, &step->string));
    step->string_length = strlen(replacement);
    if (strcmp(scheme, "always") == 0)
        step->prepend = prefix ? PARE_PREPEND_ALWAYS : PARE_PREPEND_NEVER;
    else if (strcmp(scheme, "first") == 0)
        step->prepend = PARE_PREPEND_FIRST;
    else if (strcmp(scheme, "never") != 0)
        return pare_fail(PARE_UNSUPPORTED, "%s: the prepend_scheme '%s' is not known", file,
                         scheme);
fail:
    return status;
}

static pare_status load_digits(pare_pretokenizer *pretokenizer, const json_t *json,
                               const char *file)
{
    bool individual = false;
    pare_split_step *step;
    pare_status status = pare_json_bool(json, "individual_digits", file, &individual);
    if (status != PARE_OK)
        return status;
    return add_step(pretokenizer, PARE_SPLIT_NUMBERS,
                    individual ? PARE_SPLIT_ISOLATED : PARE_SPLIT_CONTIGUOUS, &step);
}

static pare_status load_one(pare_pretokenizer *pretokenizer, const json_t *json, const char *name,
                            const char *file)
{
    pare_split_step *step;
    pare_status status;
    if (strcmp(name, "Split") == 0)
        return load_split(pretokenizer, json, file);
    if (strcmp(name, "ByteLevel") == 0)
        return load_bytes(pretokenizer, json, file);
    if (strcmp(name, "Metaspace") == 0)
        return load_metaspace(pretokenizer, json, file);
    if (strcmp(name, "Digits") == 0)
        return load_digits(pretokenizer, json, file);
    if (strcmp(name, "Whitespace") == 0)
        return pare_pretokenizer_add_regex(pretokenizer, "[" WORD "]+|[^" WORD "\\s]+", true,
                                           PARE_SPLIT_REMOVED);
    if (strcmp(name, "WhitespaceSplit") == 0 || strcmp(name, "BertPreTokenizer") == 0) {
        status = add_step(pretokenizer, PARE_SPLIT_SPACES, PARE_SPLIT_REMOVED, &step);
        if (status != PARE_OK || strcmp(name, "WhitespaceSplit") == 0)
            return status;
        return add_step(pretokenizer, PARE_SPLIT_PUNCTUATION, PARE_SPLIT_ISOLATED, &step);
    }
    if (strcmp(name, "Punctuation") == 0) {
        status = add_step(pretokenizer, PARE_SPLIT_PUNCTUATION, PARE_SPLIT_ISOLATED, &step);
        return status == PARE_OK ? load_behavior(json, file, &step->behavior) : status;
    }
    return pare_fail(PARE_UNSUPPORTED, "%s: the pre-tokenizer '%s' is not supported", file, name);
}

pare_status pare_pretokenizer_load(pare_pretokenizer *pretokenizer, const json_t *json,
                                   const char *file)
{
    if (!json || json_is_null(json))
        return PARE_OK;
    const char *name = json_string_value(json_object_get(json, "type"));
    if (!name)
        return pare_fail(PARE_FORMAT, "%s: a pre-tokenizer has no 'type'", file);
    if (strcmp(name, "Sequence") != 0)
        return load_one(pretokenizer, json, name, file);
    const json_t *list = json_object_get(json, "pretokenizers");
    if (!json_is_array(list))
        return pare_fail(PARE_FORMAT, "%s: pre-tokenizer Sequence: 'pretokenizers' is not a list",
                         file);
    pare_status status = PARE_OK;
    for (size_t i = 0; i < json_array_size(list) && status == PARE_OK; i++)
        status = pare_pretokenizer_load(pretokenizer, json_array_get(list, i), file);
    return status;
}
