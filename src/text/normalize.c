#define _GNU_SOURCE /* memmem */
#include "text/normalize.h"

#include "base/fail.h"
#include "base/memory.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

pare_status pare_replace_all(const char *text, size_t size, const char *pattern,
                             size_t pattern_length, const pare_regex *regex,
                             pare_regex_search *search, const char *with, size_t with_length,
                             pare_buffer *out)
{
    size_t from = 0, start, end;
    bool found;
    if (regex)
        pare_regex_begin(search, regex, text, size);
    for (;;) {
        if (regex) {
            pare_status status = pare_regex_next(search, &start, &end, &found);
            if (status != PARE_OK)
                return status;
        } else {
            const char *match = memmem(text + from, size - from, pattern, pattern_length);
            found = match;
            start = match ? (size_t)(match - text) : 0;
            end = start + pattern_length;
        }
        if (!found)
            return pare_buffer_append(out, text + from, size - from);
        pare_buffer_append(out, text + from, start - from);
        pare_buffer_append(out, with, with_length);
        from = end;
    }
}

static bool all_below(const pare_buffer *text, uint8_t first)
{
    for (size_t i = 0; i < text->size; i++)
        if ((uint8_t)text->data[i] >= first)
            return false;
    return true;
}

/* One of the four normal forms. All text below U+0300 is in NFC, all ASCII in every form. */
static pare_status normal_form(pare_normalizer_kind kind, pare_buffer *text)
{
    if (all_below(text, kind == PARE_NORMALIZE_NFC ? 0xcc : 0x80))
        return PARE_OK;
    utf8proc_option_t options = UTF8PROC_STABLE;
    options |= kind == PARE_NORMALIZE_NFC || kind == PARE_NORMALIZE_NFKC ? UTF8PROC_COMPOSE
                                                                         : UTF8PROC_DECOMPOSE;
    if (kind == PARE_NORMALIZE_NFKC || kind == PARE_NORMALIZE_NFKD)
        options |= UTF8PROC_COMPAT;
    utf8proc_uint8_t *result = NULL;
    utf8proc_ssize_t size = utf8proc_map((const utf8proc_uint8_t *)text->data,
                                         (utf8proc_ssize_t)text->size, &result, options);
    if (size < 0)
        return pare_fail(size == UTF8PROC_ERROR_NOMEM ? PARE_OUT_OF_MEMORY : PARE_INTERNAL,
                         "normalizing text: %s", utf8proc_errmsg(size));
    text->size = 0;
    pare_status status = pare_buffer_append(text, result, (size_t)size);
    free(result);
    return status;
}

static bool nmt_removes(uint32_t c)
{
    return (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
           c == 0x9f;
}

static bool nmt_is_space(uint32_t c)
{
    return c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
           c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
}

/* The characters that one becomes: none, one or two. */
static size_t map_character(pare_normalizer_kind kind, uint32_t c, uint32_t out[2])
{
    out[0] = c;
    switch (kind) {
    case PARE_NORMALIZE_LOWERCASE:
        out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        out[1] = 0x307;
        if (c == 0x130) /* the only character whose lower case is two */
            out[0] = 'i';
        return c == 0x130 ? 2 : 1;
    case PARE_NORMALIZE_STRIP_ACCENTS:
        return !pare_is_mark(c);
    case PARE_NORMALIZE_NMT:
        if (nmt_is_space(c))
            out[0] = ' ';
        return !nmt_removes(c);
    default:
        return 1;
    }
}

static pare_status map_characters(pare_normalizer_kind kind, const pare_buffer *text,
                                  pare_buffer *out, bool *start_kept)
{
    for (size_t i = 0, length; i < text->size; i += length) {
        uint32_t mapped[2], c = pare_utf8_decode(text->data + i, &length);
        size_t count = map_character(kind, c, mapped);
        if (i == 0 && count == 0)
            *start_kept = false;
        for (size_t m = 0; m < count; m++) {
            char bytes[4];
            pare_buffer_append(out, bytes, pare_utf8_encode(mapped[m], bytes));
        }
    }
    return pare_buffer_append(out, "", 0);
}

static pare_status map_bytes(const pare_buffer *text, pare_buffer *out)
{
    for (size_t i = 0; i < text->size; i++) {
        char bytes[4];
        pare_buffer_append(out, bytes,
                           pare_utf8_encode(pare_byte_to_character((uint8_t)text->data[i]), bytes));
    }
    return pare_buffer_append(out, "", 0);
}

static pare_status strip(const pare_normalizer_step *step, const pare_buffer *text,
                         pare_buffer *out, bool *start_kept)
{
    size_t start = 0, end = text->size, length;
    while (step->left && start < end &&
           pare_is_space(pare_utf8_decode(text->data + start, &length)))
        start += length;
    while (step->right && end > start) {
        size_t last = pare_utf8_previous(text->data, end);
        if (!pare_is_space(pare_utf8_decode(text->data + last, &length)))
            break;
        end = last;
    }
    if (start > 0)
        *start_kept = false;
    return pare_buffer_append(out, text->data + start, end - start);
}

static pare_status run_step(const pare_normalizer_step *step, pare_regex_search *search,
                            const pare_buffer *text, pare_buffer *out, bool *start_kept)
{
    switch (step->kind) {
    case PARE_NORMALIZE_PREPEND:
        if (text->size)
            pare_buffer_append(out, step->text, step->text_length);
        return pare_buffer_append(out, text->data, text->size);
    case PARE_NORMALIZE_REPLACE:
        return pare_replace_all(text->data, text->size, step->pattern, step->pattern_length,
                                step->regex, search, step->text, step->text_length, out);
    case PARE_NORMALIZE_STRIP:
        return strip(step, text, out, start_kept);
    case PARE_NORMALIZE_BYTES:
        return map_bytes(text, out);
    default:
        return map_characters(step->kind, text, out, start_kept);
    }
}

pare_status pare_normalize(const pare_normalizer *normalizer, pare_regex_search *search,
                           pare_buffer *text, bool *start_kept)
{
    pare_status status = PARE_OK;
    for (size_t i = 0; i < normalizer->count && status == PARE_OK && text->size; i++) {
        const pare_normalizer_step *step = &normalizer->steps[i];
        if (step->kind <= PARE_NORMALIZE_NFKD) {
            status = normal_form(step->kind, text);
            continue;
        }
        pare_buffer out = {0};
        status = run_step(step, search, text, &out, start_kept);
        pare_buffer_free(text);
        *text = out;
    }
    return status;
}

static pare_status add_step(pare_normalizer *normalizer, pare_normalizer_kind kind,
                            pare_normalizer_step **step)
{
    pare_status status = pare_grow(&normalizer->steps, &normalizer->capacity, normalizer->count + 1,
                                   sizeof *normalizer->steps, "normalizers");
    if (status != PARE_OK)
        return status;
    *step = &normalizer->steps[normalizer->count++];
    **step = (pare_normalizer_step){.kind = kind};
    return PARE_OK;
}

static pare_status copy_text(const char *text, size_t length, char **copy, size_t *copy_length)
{
    pare_status status = pare_allocate(length + 1, 1, "a normalizer", copy);
    if (status != PARE_OK)
        return status;
    memcpy(*copy, text, length);
    *copy_length = length;
    return PARE_OK;
}

pare_status pare_normalizer_add_prepend(pare_normalizer *normalizer, const char *text)
{
    pare_normalizer_step *step;
    pare_status status = add_step(normalizer, PARE_NORMALIZE_PREPEND, &step);
    return status == PARE_OK ? copy_text(text, strlen(text), &step->text, &step->text_length)
                             : status;
}

pare_status pare_normalizer_add_replace(pare_normalizer *normalizer, const char *pattern,
                                        const char *text)
{
    pare_normalizer_step *step;
    pare_status status = add_step(normalizer, PARE_NORMALIZE_REPLACE, &step);
    if (status == PARE_OK)
        status = copy_text(pattern, strlen(pattern), &step->pattern, &step->pattern_length);
    return status == PARE_OK ? copy_text(text, strlen(text), &step->text, &step->text_length)
                             : status;
}

pare_status pare_load_pattern(const json_t *step, const char *kind, const char *file, char **string,
                              size_t *length, pare_regex **regex)
{
    const json_t *pattern = json_object_get(step, "pattern");
    const json_t *text = json_object_get(pattern, "String"),
                 *expression = json_object_get(pattern, "Regex");
    const json_t *given = text ? text : expression;
    if (!json_is_string(given))
        return pare_fail(PARE_FORMAT,
                         "%s: the pattern of %s is neither {\"String\": ...} nor {\"Regex\": ...}",
                         file, kind);
    if (text && json_string_length(text))
        return copy_text(json_string_value(text), json_string_length(text), string, length);
    pare_status status =
        pare_regex_compile(json_string_value(given), json_string_length(given), regex);
    return status == PARE_OK ? status : pare_fail_in(status, "%s: %s", file, kind);
}

static pare_status load_text(const json_t *json, const char *kind, const char *key,
                             const char *file, pare_normalizer_step *step)
{
    const json_t *text = json_object_get(json, key);
    if (!json_is_string(text))
        return pare_fail(PARE_FORMAT, "%s: normalizer %s: '%s' is not a string", file, kind, key);
    return copy_text(json_string_value(text), json_string_length(text), &step->text,
                     &step->text_length);
}

static pare_status load_one(pare_normalizer *normalizer, const json_t *json, const char *name,
                            const char *file)
{
    static const struct {
        const char *name;
        pare_normalizer_kind kind;
    } kinds[] = {
        {"NFC", PARE_NORMALIZE_NFC},
        {"NFD", PARE_NORMALIZE_NFD},
        {"NFKC", PARE_NORMALIZE_NFKC},
        {"NFKD", PARE_NORMALIZE_NFKD},
        {"Lowercase", PARE_NORMALIZE_LOWERCASE},
        {"Prepend", PARE_NORMALIZE_PREPEND},
        {"Replace", PARE_NORMALIZE_REPLACE},
        {"Strip", PARE_NORMALIZE_STRIP},
        {"StripAccents", PARE_NORMALIZE_STRIP_ACCENTS},
        {"ByteLevel", PARE_NORMALIZE_BYTES},
        {"Nmt", PARE_NORMALIZE_NMT},
    };
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].name, name) != 0)
        k++;
    if (k == sizeof kinds / sizeof *kinds)
        return pare_fail(PARE_UNSUPPORTED, "%s: the normalizer '%s' is not supported", file, name);
    pare_normalizer_step *step;
    pare_status status = add_step(normalizer, kinds[k].kind, &step);
    if (status != PARE_OK)
        return status;
    switch (step->kind) {
    case PARE_NORMALIZE_PREPEND:
        return load_text(json, name, "prepend", file, step);
    case PARE_NORMALIZE_REPLACE:
        status = pare_load_pattern(json, "normalizer Replace", file, &step->pattern,
                                   &step->pattern_length, &step->regex);
        return status == PARE_OK ? load_text(json, name, "content", file, step) : status;
    case PARE_NORMALIZE_STRIP:
        if ((status = pare_json_bool(json, "strip_left", file, &step->left)) != PARE_OK)
            return status;
        return pare_json_bool(json, "strip_right", file, &step->right);
    default:
        return PARE_OK;
    }
}

pare_status pare_normalizer_load(pare_normalizer *normalizer, const json_t *json, const char *file)
{
    if (!json || json_is_null(json))
        return PARE_OK;
    const char *name = json_string_value(json_object_get(json, "type"));
    if (!name)
        return pare_fail(PARE_FORMAT, "%s: a normalizer has no 'type'", file);
    if (strcmp(name, "Sequence") != 0)
        return load_one(normalizer, json, name, file);
    const json_t *list = json_object_get(json, "normalizers");
    if (!json_is_array(list))
        return pare_fail(PARE_FORMAT, "%s: normalizer Sequence: 'normalizers' is not a list", file);
    pare_status status = PARE_OK;
    for (size_t i = 0; i < json_array_size(list) && status == PARE_OK; i++)
        status = pare_normalizer_load(normalizer, json_array_get(list, i), file);
    return status;
}

void pare_normalizer_free(pare_normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        free(normalizer->steps[i].text);
        free(normalizer->steps[i].pattern);
        pare_regex_free(normalizer->steps[i].regex);
    }
    free(normalizer->steps);
    *normalizer = (pare_normalizer){0};
}
