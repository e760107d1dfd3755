/* json.dumps, as transformers' tojson calls it. */
#include "text/template_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_unit(tpl *t, pare_buffer *buffer, unsigned unit)
{
    char text[8];
    snprintf(text, sizeof text, "\\u%04x", unit);
    tpl_put_text(t, buffer, text);
}

static void put_json_string(tpl *t, pare_buffer *buffer, const tpl_string *string, bool ascii)
{
    static const char letters[] =
        "\"\"\\\\\nn\rr\tt\ff\bb"; /* pairs: the character, its letter after the backslash */
    const char *cursor = string->data, *end = cursor + string->length;
    tpl_put_text(t, buffer, "\"");
    while (cursor < end && !tpl_failed(t)) {
        const char *start = cursor, *pair = NULL;
        int32_t code = tpl_decode(&cursor, end);
        for (size_t i = 0; i + 1 < sizeof letters && !pair; i += 2)
            pair = code == letters[i] ? letters + i : NULL;
        if (pair) {
            tpl_put(t, buffer, (char[]){'\\', pair[1]}, 2);
        } else if (code < 0x20 || (ascii && code >= 0x7f && code < 0x10000)) {
            put_unit(t, buffer, (unsigned)code);
        } else if (ascii && code >= 0x10000) {
            put_unit(t, buffer, 0xd800 + ((unsigned)(code - 0x10000) >> 10));
            put_unit(t, buffer, 0xdc00 + ((unsigned)(code - 0x10000) & 0x3ff));
        } else {
            tpl_put(t, buffer, start, (size_t)(cursor - start));
        }
    }
    tpl_put_text(t, buffer, "\"");
}

static void put_json_float(tpl *t, pare_buffer *buffer, double value)
{
    if (isfinite(value))
        tpl_put_float(t, buffer, value);
    else
        tpl_put_text(t, buffer, isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity");
}

static void put_any(tpl *t, pare_buffer *buffer, tpl_value value, const tpl_json_style *style,
                    unsigned level);

static void put_scalar(tpl *t, pare_buffer *buffer, tpl_value value, bool ascii)
{
    if (value.type == TPL_STRING)
        put_json_string(t, buffer, value.string, ascii);
    else if (value.type == TPL_NONE)
        tpl_put_text(t, buffer, "null");
    else if (value.type == TPL_BOOL)
        tpl_put_text(t, buffer, value.boolean ? "true" : "false");
    else if (value.type == TPL_FLOAT)
        put_json_float(t, buffer, value.number);
    else if (value.type == TPL_INT)
        tpl_put_repr(t, buffer, value);
    else
        tpl_fail(t, PARE_INVALID_ARGUMENT, "Object of type %s is not JSON serializable",
                 tpl_type_name(value));
}

static void put_line(tpl *t, pare_buffer *buffer, const tpl_json_style *style, unsigned level)
{
    if (!style->indent)
        return;
    tpl_put_text(t, buffer, "\n");
    for (unsigned i = 0; i < level && !tpl_failed(t); i++)
        tpl_put(t, buffer, style->indent->data, style->indent->length);
}

static void put_separator(tpl *t, pare_buffer *buffer, const tpl_json_style *style, bool first,
                          unsigned level)
{
    if (!first)
        tpl_put(t, buffer, style->item_separator->data, style->item_separator->length);
    put_line(t, buffer, style, level);
}

static int by_key(const void *a, const void *b)
{
    const tpl_string *x = ((const tpl_entry *)a)->key.string,
                     *y = ((const tpl_entry *)b)->key.string;
    size_t common = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->data, y->data, common);
    return order ? order : x->length < y->length ? -1 : x->length > y->length;
}

static const tpl_entry *sorted_entries(tpl *t, const tpl_dict *dict)
{
    tpl_entry *entries = tpl_allocate(t, dict->count, sizeof *entries);
    for (size_t i = 0; entries && i < dict->count; i++) {
        entries[i] = dict->entries[i];
        if (entries[i].key.type != TPL_STRING) {
            tpl_fail(t, PARE_UNSUPPORTED, "tojson with sort_keys and keys that are not strings");
            return NULL;
        }
    }
    if (entries)
        qsort(entries, dict->count, sizeof *entries, by_key);
    return entries;
}

static void put_object(tpl *t, pare_buffer *buffer, const tpl_dict *dict,
                       const tpl_json_style *style, unsigned level)
{
    const tpl_entry *entries = style->sort ? sorted_entries(t, dict) : dict->entries;
    tpl_put_text(t, buffer, "{");
    for (size_t i = 0; i < dict->count && !tpl_failed(t); i++) {
        tpl_value key = entries[i].key;
        put_separator(t, buffer, style, i == 0, level + 1);
        bool quoted = key.type != TPL_STRING;
        if (quoted)
            tpl_put_text(t, buffer, "\"");
        put_scalar(t, buffer, key, style->ascii);
        if (quoted)
            tpl_put_text(t, buffer, "\"");
        tpl_put(t, buffer, style->key_separator->data, style->key_separator->length);
        put_any(t, buffer, entries[i].value, style, level + 1);
    }
    if (dict->count)
        put_line(t, buffer, style, level);
    tpl_put_text(t, buffer, "}");
}

static void put_array(tpl *t, pare_buffer *buffer, const tpl_sequence *s,
                      const tpl_json_style *style, unsigned level)
{
    tpl_put_text(t, buffer, "[");
    for (size_t i = 0; i < s->count && !tpl_failed(t); i++) {
        put_separator(t, buffer, style, i == 0, level + 1);
        put_any(t, buffer, s->items[i], style, level + 1);
    }
    if (s->count)
        put_line(t, buffer, style, level);
    tpl_put_text(t, buffer, "]");
}

static void put_any(tpl *t, pare_buffer *buffer, tpl_value value, const tpl_json_style *style,
                    unsigned level)
{
    bool array = value.type == TPL_SEQUENCE && value.sequence->kind <= TPL_GROUP;
    if (!array && value.type != TPL_DICT) {
        put_scalar(t, buffer, value, style->ascii);
        return;
    }
    if (!tpl_enter(t))
        return;
    if (array)
        put_array(t, buffer, value.sequence, style, level);
    else
        put_object(t, buffer, value.dict, style, level);
    tpl_leave(t);
}

void tpl_put_json(tpl *t, pare_buffer *buffer, tpl_value value, const tpl_json_style *style)
{
    put_any(t, buffer, value, style, 0);
}
