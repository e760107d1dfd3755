#include "base/fail.h"
#include "base/memory.h"
#include "text/decode.h"
#include "text/normalize.h"

#include <stdlib.h>
#include <string.h>

pare_status pare_decoder_add(pare_decoder *decoder, pare_decoder_kind kind,
                             pare_decoder_step **step)
{
    pare_status status = pare_grow(&decoder->steps, &decoder->capacity, decoder->count + 1,
                                   sizeof *decoder->steps, "decoders");
    if (status != PARE_OK)
        return status;
    *step = &decoder->steps[decoder->count++];
    **step = (pare_decoder_step){.kind = kind};
    return PARE_OK;
}

pare_status pare_decoder_set(char **string, size_t *length, const char *text, size_t size)
{
    pare_status status = pare_allocate(size + 1, 1, "a decoder", string);
    if (status != PARE_OK)
        return status;
    memcpy(*string, text, size);
    *length = size;
    return PARE_OK;
}

static pare_status load_replace(const json_t *json, const char *file, pare_decoder_step *step)
{
    const json_t *content = json_object_get(json, "content");
    if (!json_is_string(content))
        return pare_fail(PARE_FORMAT, "%s: decoder Replace: 'content' is not a string", file);
    pare_status status = pare_load_pattern(json, "decoder Replace", file, &step->string,
                                           &step->string_length, &step->regex);
    if (status != PARE_OK)
        return status;
    return pare_decoder_set(&step->content, &step->content_length, json_string_value(content),
                            json_string_length(content));
}

static pare_status load_strip(const json_t *json, const char *file, pare_decoder_step *step)
{
    const json_t *content = json_object_get(json, "content");
    int64_t start = 0, stop = 0;
    pare_status status = pare_json_i64(json, "start", file, &start);
    if (status == PARE_OK)
        status = pare_json_i64(json, "stop", file, &stop);
    if (status != PARE_OK)
        return status;
    if (!json_is_string(content) || !json_string_length(content) || start < 0 || stop < 0)
        return pare_fail(PARE_FORMAT,
                         "%s: decoder Strip needs a 'content' and counts that are not negative",
                         file);
    step->start = (size_t)start;
    step->stop = (size_t)stop;
    return pare_decoder_set(&step->string, &step->string_length, json_string_value(content),
                            json_string_length(content));
}

static pare_status load_metaspace(const json_t *json, const char *file, pare_decoder_step *step)
{
    const char *scheme = "always", *replacement = NULL;
    bool prefix = true;
    pare_status status = pare_json_string(json, "replacement", file, &replacement);
    if (status == PARE_OK)
        status = pare_json_string(json, "prepend_scheme", file, &scheme);
    if (status == PARE_OK)
        status = pare_json_bool(json, "add_prefix_space", file, &prefix);
    if (status != PARE_OK)
        return status;
    if (!replacement || !*replacement)
        return pare_fail(PARE_FORMAT, "%s: decoder Metaspace has no 'replacement'", file);
    step->skip_first = prefix && strcmp(scheme, "never") != 0;
    return pare_decoder_set(&step->string, &step->string_length, replacement, strlen(replacement));
}

static pare_status load_one(pare_decoder *decoder, const json_t *json, const char *file)
{
    static const struct {
        const char *name;
        pare_decoder_kind kind;
        pare_status (*load)(const json_t *json, const char *file, pare_decoder_step *step);
    } kinds[] = {
        {"ByteLevel", PARE_DECODE_BYTES, NULL},
        {"Replace", PARE_DECODE_REPLACE, load_replace},
        {"ByteFallback", PARE_DECODE_BYTE_FALLBACK, NULL},
        {"Fuse", PARE_DECODE_FUSE, NULL},
        {"Strip", PARE_DECODE_STRIP, load_strip},
        {"Metaspace", PARE_DECODE_METASPACE, load_metaspace},
    };
    const char *name = json_string_value(json_object_get(json, "type"));
    if (!name)
        return pare_fail(PARE_FORMAT, "%s: a decoder has no 'type'", file);
    if (strcmp(name, "Sequence") == 0) {
        const json_t *list = json_object_get(json, "decoders");
        if (!json_is_array(list))
            return pare_fail(PARE_FORMAT, "%s: decoder Sequence: 'decoders' is not a list", file);
        pare_status status = PARE_OK;
        for (size_t i = 0; i < json_array_size(list) && status == PARE_OK; i++)
            status = load_one(decoder, json_array_get(list, i), file);
        return status;
    }
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        if (strcmp(kinds[k].name, name) != 0)
            continue;
        pare_decoder_step *step;
        pare_status status = pare_decoder_add(decoder, kinds[k].kind, &step);
        return status == PARE_OK && kinds[k].load ? kinds[k].load(json, file, step) : status;
    }
    return pare_fail(PARE_UNSUPPORTED, "%s: the decoder '%s' is not supported", file, name);
}

pare_status pare_decoder_load(pare_decoder *decoder, const json_t *json, const char *file)
{
    pare_decoder_step *step;
    pare_status status = json && !json_is_null(json)
                             ? load_one(decoder, json, file)
                             : pare_decoder_add(decoder, PARE_DECODE_SPACED, &step);
    if (status == PARE_OK)
        pare_decoder_finish(decoder);
    return status;
}

void pare_decoder_finish(pare_decoder *decoder)
{
    bool whole = false;
    for (size_t i = 0; i < decoder->count; i++) {
        decoder->steps[i].whole = whole;
        whole |= decoder->steps[i].kind == PARE_DECODE_FUSE ||
                 decoder->steps[i].kind == PARE_DECODE_BYTES;
    }
}

void pare_decoder_free(pare_decoder *decoder)
{
    for (size_t i = 0; i < decoder->count; i++) {
        free(decoder->steps[i].string);
        free(decoder->steps[i].content);
        pare_regex_free(decoder->steps[i].regex);
    }
    free(decoder->steps);
    *decoder = (pare_decoder){0};
}
