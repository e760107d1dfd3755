/* Values as text: str(), repr(), JSON, and the characters of strings. */
#include "text/template_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

int32_t tpl_decode(const char **cursor, const char *end)
{
    utf8proc_int32_t code;
    utf8proc_ssize_t used =
        utf8proc_iterate((const utf8proc_uint8_t *)*cursor, end - *cursor, &code);
    if (used <= 0) { /* only for text that was not checked */
        *cursor = end;
        return -1;
    }
    *cursor += used;
    return code;
}

size_t tpl_encode(int32_t code, char bytes[4])
{
    return (size_t)utf8proc_encode_char(code, (utf8proc_uint8_t *)bytes);
}

bool tpl_is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t tpl_characters(const tpl_string *string)
{
    if (string->characters == SIZE_MAX) {
        size_t count = 0;
        for (size_t i = 0; i < string->length; i++)
            count += ((unsigned char)string->data[i] & 0xc0) != 0x80;
        ((tpl_string *)string)->characters = count; /* a cache */
    }
    return string->characters;
}

const char *tpl_character_at(const tpl_string *string, size_t index)
{
    if (tpl_characters(string) == string->length) /* ASCII */
        return string->data + (index < string->length ? index : string->length);
    const char *cursor = string->data, *end = cursor + string->length;
    for (; index && cursor < end; index--)
        tpl_decode(&cursor, end);
    return cursor;
}

void tpl_put(tpl *t, pare_buffer *buffer, const char *bytes, size_t count)
{
    if (tpl_failed(t))
        return;
    if (count > t->limits.output - buffer->size)
        tpl_fail(t, PARE_LIMIT, "a text grows over %zu bytes", t->limits.output);
    else if (tpl_charge(t, count / 64) && pare_buffer_append(buffer, bytes, count) != PARE_OK)
        t->status = PARE_OUT_OF_MEMORY;
}

void tpl_put_text(tpl *t, pare_buffer *buffer, const char *text)
{
    tpl_put(t, buffer, text, strlen(text));
}

/* Python's repr: the shortest digits that read back as the same number. */
void tpl_put_float(tpl *t, pare_buffer *buffer, double value)
{
    char digits[40], text[64];
    if (!isfinite(value)) {
        tpl_put_text(t, buffer, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
        return;
    }
    int precision = 0;
    do
        snprintf(digits, sizeof digits, "%.*e", precision, value);
    while (strtod(digits, NULL) != value && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int decimals = precision - exponent;
        snprintf(text, sizeof text, "%.*f", decimals > 1 ? decimals : 1, value);
        tpl_put_text(t, buffer, text);
    } else {
        tpl_put_text(t, buffer, digits); /* C's form is Python's: 1.5e+16, 1e-05 */
    }
}

static bool is_printable(int32_t code)
{
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return code == ' ';
    default:
        return true;
    }
}

static void put_escaped(tpl *t, pare_buffer *buffer, int32_t code)
{
    char text[16];
    if (code == '\n' || code == '\r' || code == '\t')
        snprintf(text, sizeof text, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    else
        snprintf(text, sizeof text,
                 code < 0x100     ? "\\x%02x"
                 : code < 0x10000 ? "\\u%04x"
                                  : "\\U%08x",
                 (unsigned)code);
    tpl_put_text(t, buffer, text);
}

static void put_string_repr(tpl *t, pare_buffer *buffer, const tpl_string *string)
{
    const char *cursor = string->data, *end = cursor + string->length;
    bool has_single = memchr(cursor, '\'', string->length),
         has_double = memchr(cursor, '"', string->length);
    char quote = has_single && !has_double ? '"' : '\'';
    if (string->safe)
        tpl_put_text(t, buffer, "Markup(");
    tpl_put(t, buffer, &quote, 1);
    while (cursor < end && !tpl_failed(t)) {
        const char *start = cursor;
        int32_t code = tpl_decode(&cursor, end);
        if (code == quote || code == '\\')
            tpl_put_text(t, buffer, "\\");
        if (is_printable(code))
            tpl_put(t, buffer, start, (size_t)(cursor - start));
        else
            put_escaped(t, buffer, code);
    }
    tpl_put(t, buffer, &quote, 1);
    if (string->safe)
        tpl_put_text(t, buffer, ")");
}

static void put_dict(tpl *t, pare_buffer *buffer, const tpl_dict *dict)
{
    tpl_put_text(t, buffer, "{");
    for (size_t i = 0; i < dict->count && !tpl_failed(t); i++) {
        if (i)
            tpl_put_text(t, buffer, ", ");
        tpl_put_repr(t, buffer, dict->entries[i].key);
        tpl_put_text(t, buffer, ": ");
        tpl_put_repr(t, buffer, dict->entries[i].value);
    }
    tpl_put_text(t, buffer, "}");
}

static void put_sequence(tpl *t, pare_buffer *buffer, tpl_value value)
{
    static const char *const opening[] = {
        "[", "(", "(", "range(", "dict_keys([", "dict_values([", "dict_items(["};
    static const char *const closing[] = {"]", ")", ")", ")", "])", "])", "])"};
    const tpl_sequence *s = value.sequence;
    char text[80];
    if (s->kind == TPL_GENERATOR) {
        tpl_fail(t, PARE_UNSUPPORTED,
                 "the text of a generator; put '| list' behind select, map, ...");
        return;
    }
    tpl_put_text(t, buffer, opening[s->kind]);
    if (s->kind == TPL_RANGE) {
        snprintf(text, sizeof text, s->step == 1 ? "%lld, %lld" : "%lld, %lld, %lld",
                 (long long)s->start, (long long)s->stop, (long long)s->step);
        tpl_put_text(t, buffer, text);
    }
    for (size_t i = 0; s->kind != TPL_RANGE && i < s->count && !tpl_failed(t); i++) {
        if (i)
            tpl_put_text(t, buffer, ", ");
        tpl_put_repr(t, buffer, s->items[i]);
    }
    if ((s->kind == TPL_TUPLE || s->kind == TPL_GROUP) && s->count == 1)
        tpl_put_text(t, buffer, ",");
    tpl_put_text(t, buffer, closing[s->kind]);
}

static void put_container(tpl *t, pare_buffer *buffer, tpl_value value)
{
    if (!tpl_enter(t))
        return;
    if (value.type == TPL_SEQUENCE) {
        put_sequence(t, buffer, value);
    } else {
        if (value.type == TPL_NAMESPACE)
            tpl_put_text(t, buffer, "<Namespace ");
        put_dict(t, buffer, value.dict);
        if (value.type == TPL_NAMESPACE)
            tpl_put_text(t, buffer, ">");
    }
    tpl_leave(t);
}

void tpl_put_repr(tpl *t, pare_buffer *buffer, tpl_value value)
{
    char text[32];
    switch (value.type) {
    case TPL_UNDEFINED:
        tpl_put_text(t, buffer, "Undefined");
        break;
    case TPL_NONE:
        tpl_put_text(t, buffer, "None");
        break;
    case TPL_BOOL:
        tpl_put_text(t, buffer, value.boolean ? "True" : "False");
        break;
    case TPL_INT:
        snprintf(text, sizeof text, "%lld", (long long)value.integer);
        tpl_put_text(t, buffer, text);
        break;
    case TPL_FLOAT:
        tpl_put_float(t, buffer, value.number);
        break;
    case TPL_STRING:
        put_string_repr(t, buffer, value.string);
        break;
    case TPL_SEQUENCE:
    case TPL_DICT:
    case TPL_NAMESPACE:
        put_container(t, buffer, value);
        break;
    default:
        tpl_fail(t, PARE_UNSUPPORTED, "the text of a %s", tpl_type_name(value));
    }
}

void tpl_put_value(tpl *t, pare_buffer *buffer, tpl_value value)
{
    if (value.type == TPL_STRING)
        tpl_put(t, buffer, value.string->data, value.string->length);
    else if (value.type != TPL_UNDEFINED)
        tpl_put_repr(t, buffer, value);
}

const tpl_string *tpl_str(tpl *t, tpl_value value)
{
    static const tpl_string empty = {.data = ""};
    if (value.type == TPL_STRING)
        return value.string;
    pare_buffer buffer = {0};
    tpl_put_value(t, &buffer, value);
    tpl_value text = tpl_take(t, &buffer);
    return text.type == TPL_STRING ? text.string : &empty;
}
