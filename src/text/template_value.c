#include "text/template_value.h"

#include "base/checked.h"
#include "base/fail.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_LIMIT = 1000, MESSAGE_BYTES = 900 };

tpl_value tpl_fail(tpl *t, pare_status status, const char *format, ...)
{
    if (!tpl_failed(t)) {
        char message[MESSAGE_BYTES];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
        t->status = pare_fail(status, "%s: line %d: %s", t->name, t->line, message);
    }
    return (tpl_value){.type = TPL_UNDEFINED};
}

bool tpl_charge(tpl *t, uint64_t steps)
{
    if (tpl_failed(t))
        return false;
    if (steps > t->limits.steps - t->steps) {
        tpl_fail(t, PARE_LIMIT, "the template takes more than %llu steps",
                 (unsigned long long)t->limits.steps);
        return false;
    }
    t->steps += steps;
    return true;
}

bool tpl_enter(tpl *t)
{
    if (t->depth >= DEPTH_LIMIT)
        tpl_fail(t, PARE_LIMIT, "values, expressions or macro calls are nested over %d deep",
                 DEPTH_LIMIT);
    if (tpl_failed(t))
        return false;
    t->depth++;
    return true;
}

void tpl_leave(tpl *t)
{
    t->depth--;
}

void *tpl_allocate(tpl *t, size_t count, size_t size)
{
    size_t bytes;
    if (tpl_failed(t))
        return NULL;
    if (!pare_mul_size(count ? count : 1, size, &bytes) || bytes > t->limits.memory - t->memory) {
        tpl_fail(t, PARE_LIMIT, "the template takes more than %zu bytes", t->limits.memory);
        return NULL;
    }
    t->memory += bytes;
    void *memory = pare_arena_allocate(&t->arena, bytes);
    if (!memory)
        t->status = PARE_OUT_OF_MEMORY;
    return memory;
}

tpl_value tpl_bool(bool value)
{
    return (tpl_value){.type = TPL_BOOL, .boolean = value};
}

tpl_value tpl_int(int64_t value)
{
    return (tpl_value){.type = TPL_INT, .integer = value};
}

tpl_value tpl_float(double value)
{
    return (tpl_value){.type = TPL_FLOAT, .number = value};
}

tpl_value tpl_text(tpl *t, const char *data, size_t length)
{
    tpl_string *string = tpl_allocate(t, 1, sizeof *string);
    if (!string)
        return (tpl_value){.type = TPL_UNDEFINED};
    *string = (tpl_string){.data = data, .length = length, .characters = SIZE_MAX};
    return (tpl_value){.type = TPL_STRING, .string = string};
}

tpl_value tpl_literal(tpl *t, const char *text)
{
    return tpl_text(t, text, strlen(text));
}

tpl_value tpl_substring(tpl *t, const tpl_string *string, const char *start, const char *end)
{
    tpl_value part = tpl_text(t, start, (size_t)(end - start));
    if (part.type == TPL_STRING && string->safe)
        ((tpl_string *)part.string)->safe = true;
    return part;
}

tpl_value tpl_take(tpl *t, pare_buffer *buffer)
{
    char *copy = tpl_allocate(t, buffer->size + 1, 1);
    size_t length = buffer->size;
    if (copy && length)
        memcpy(copy, buffer->data, length);
    pare_buffer_free(buffer);
    return copy ? tpl_text(t, copy, length) : (tpl_value){.type = TPL_UNDEFINED};
}

tpl_value tpl_sequence_new(tpl *t, tpl_kind kind, size_t capacity)
{
    tpl_sequence *sequence = tpl_allocate(t, 1, sizeof *sequence);
    tpl_value *items = capacity ? tpl_allocate(t, capacity, sizeof *items) : NULL;
    if (tpl_failed(t))
        return (tpl_value){.type = TPL_UNDEFINED};
    *sequence = (tpl_sequence){.kind = kind, .capacity = capacity, .items = items};
    return (tpl_value){.type = TPL_SEQUENCE, .sequence = sequence};
}

void tpl_append(tpl *t, tpl_value value, tpl_value item)
{
    if (tpl_failed(t))
        return;
    tpl_sequence *sequence = value.sequence;
    if (sequence->count == sequence->capacity) {
        size_t capacity = sequence->capacity * 2 + 4;
        tpl_value *grown = tpl_allocate(t, capacity, sizeof *grown);
        if (!grown)
            return;
        if (sequence->count)
            memcpy(grown, sequence->items, sequence->count * sizeof *grown);
        sequence->items = grown;
        sequence->capacity = capacity;
    }
    sequence->items[sequence->count++] = item;
}

tpl_value tpl_pair(tpl *t, tpl_kind kind, tpl_value first, tpl_value second)
{
    tpl_value pair = tpl_sequence_new(t, kind, 2);
    tpl_append(t, pair, first);
    tpl_append(t, pair, second);
    return pair;
}

tpl_value tpl_list_of(tpl *t, tpl_items items, tpl_kind kind)
{
    tpl_value list = tpl_sequence_new(t, kind, items.count);
    for (size_t i = 0; i < items.count; i++)
        tpl_append(t, list, items.data[i]);
    return list;
}

tpl_value tpl_dict_new(tpl *t)
{
    tpl_dict *dict = tpl_allocate(t, 1, sizeof *dict);
    return dict ? (tpl_value){.type = TPL_DICT, .dict = dict} : (tpl_value){.type = TPL_UNDEFINED};
}

bool tpl_is_hashable(tpl *t, tpl_value key)
{
    bool hashable = key.type != TPL_DICT;
    if (key.type == TPL_SEQUENCE && key.sequence->kind <= TPL_GROUP) {
        hashable = key.sequence->kind != TPL_LIST;
        if (!tpl_enter(t))
            return false;
        for (size_t i = 0; i < key.sequence->count && hashable && tpl_charge(t, 1); i++)
            hashable = tpl_is_hashable(t, key.sequence->items[i]);
        tpl_leave(t);
    }
    return hashable;
}

const tpl_value *tpl_dict_get(tpl *t, const tpl_dict *dict, tpl_value key)
{
    if (key.type != TPL_STRING && !tpl_is_hashable(t, key))
        tpl_fail(t, PARE_INVALID_ARGUMENT, "unhashable type: '%s'", tpl_type_name(key));
    if (!tpl_charge(t, dict->count / 8))
        return NULL;
    for (size_t i = 0; i < dict->count; i++) {
        tpl_value other = dict->entries[i].key;
        if (key.type == TPL_STRING && other.type == TPL_STRING) {
            if (key.string->length == other.string->length &&
                !memcmp(key.string->data, other.string->data, key.string->length))
                return &dict->entries[i].value;
        } else if (tpl_equal(t, key, other)) {
            return &dict->entries[i].value;
        }
    }
    return NULL;
}

const tpl_value *tpl_dict_find(const tpl_dict *dict, const char *name)
{
    for (size_t i = 0; i < dict->count; i++)
        if (tpl_is_string(dict->entries[i].key, name))
            return &dict->entries[i].value;
    return NULL;
}

static void add_entry(tpl *t, tpl_dict *dict, tpl_value key, tpl_value value)
{
    if (dict->count == dict->capacity) {
        size_t capacity = dict->capacity * 2 + 4;
        tpl_entry *grown = tpl_allocate(t, capacity, sizeof *grown);
        if (!grown)
            return;
        if (dict->count)
            memcpy(grown, dict->entries, dict->count * sizeof *grown);
        dict->entries = grown;
        dict->capacity = capacity;
    }
    dict->entries[dict->count++] = (tpl_entry){key, value};
}

void tpl_dict_set(tpl *t, tpl_dict *dict, tpl_value key, tpl_value value)
{
    tpl_value *present = (tpl_value *)tpl_dict_get(t, dict, key);
    if (present)
        *present = value;
    else if (!tpl_failed(t))
        add_entry(t, dict, key, value);
}

static tpl_value undefined(tpl *t, tpl_undefined contents)
{
    tpl_undefined *copy = tpl_allocate(t, 1, sizeof *copy);
    if (copy)
        *copy = contents;
    return (tpl_value){.type = TPL_UNDEFINED, .undefined = copy};
}

tpl_value tpl_undefined_hint(tpl *t, const char *hint)
{
    return undefined(t, (tpl_undefined){.hint = hint});
}

tpl_value tpl_undefined_name(tpl *t, tpl_value name)
{
    return undefined(t, (tpl_undefined){.key = name});
}

tpl_value tpl_undefined_item(tpl *t, tpl_value object, tpl_value key)
{
    return undefined(t, (tpl_undefined){.object = object, .key = key});
}

tpl_value tpl_fail_undefined(tpl *t, tpl_value value)
{
    const tpl_undefined *u = value.undefined;
    if (!u)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "an undefined value is used");
    if (u->hint)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "%s", u->hint);
    pare_buffer key = {0};
    tpl_put_repr(t, &key, u->key);
    const char *text = key.data ? key.data : "";
    char object[40] = "None";
    if (u->object.type != TPL_NONE)
        snprintf(object, sizeof object, "%s object", tpl_type_name(u->object));
    if (u->object.type == TPL_ABSENT)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "%s is undefined", text);
    else
        tpl_fail(t, PARE_INVALID_ARGUMENT,
                 u->key.type == TPL_STRING ? "'%s' has no attribute %s" : "%s has no element %s",
                 object, text);
    pare_buffer_free(&key);
    return value;
}

static tpl_value object_from_json(tpl *t, const json_t *json)
{
    tpl_value dict = tpl_dict_new(t);
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)json, key, item)
    {
        if (!tpl_failed(t)) /* the keys of a JSON object differ: no search */
            add_entry(t, dict.dict, tpl_literal(t, key), tpl_from_json(t, item));
    }
    return dict;
}

tpl_value tpl_from_json(tpl *t, const json_t *json)
{
    tpl_value value = TPL_NOTHING;
    if (!tpl_enter(t))
        return value;
    switch (json ? json_typeof(json) : JSON_NULL) {
    case JSON_OBJECT:
        value = object_from_json(t, json);
        break;
    case JSON_ARRAY:
        value = tpl_sequence_new(t, TPL_LIST, json_array_size(json));
        for (size_t i = 0; i < json_array_size(json) && !tpl_failed(t); i++)
            tpl_append(t, value, tpl_from_json(t, json_array_get(json, i)));
        break;
    case JSON_STRING:
        value = tpl_text(t, json_string_value(json), json_string_length(json));
        break;
    case JSON_INTEGER:
        value = tpl_int(json_integer_value(json));
        break;
    case JSON_REAL:
        value = tpl_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        value = tpl_bool(json_is_true(json));
        break;
    case JSON_NULL:
        break;
    }
    tpl_leave(t);
    return value;
}

static tpl_items characters_of(tpl *t, const tpl_string *string)
{
    size_t count = tpl_characters(string);
    tpl_value *items = tpl_allocate(t, count, sizeof *items);
    const char *cursor = string->data, *end = cursor + string->length;
    for (size_t i = 0; items && i < count && !tpl_failed(t); i++) {
        const char *start = cursor;
        tpl_decode(&cursor, end);
        items[i] = tpl_text(t, start, (size_t)(cursor - start));
    }
    return (tpl_items){items, items && !tpl_failed(t) ? count : 0};
}

static tpl_items keys_of(tpl *t, const tpl_dict *dict)
{
    tpl_value *items = tpl_allocate(t, dict->count, sizeof *items);
    for (size_t i = 0; items && i < dict->count; i++)
        items[i] = dict->entries[i].key;
    return (tpl_items){items, items ? dict->count : 0};
}

tpl_items tpl_iterate(tpl *t, tpl_value value)
{
    if (tpl_failed(t))
        return (tpl_items){0};
    switch (value.type) {
    case TPL_UNDEFINED:
        return (tpl_items){0};
    case TPL_STRING:
        return characters_of(t, value.string);
    case TPL_DICT:
        return keys_of(t, value.dict);
    case TPL_SEQUENCE: {
        tpl_sequence *s = value.sequence;
        tpl_items items = {s->position ? s->items + s->position : s->items, s->count - s->position};
        if (s->kind == TPL_GENERATOR)
            s->position = s->count;
        return items;
    }
    default:
        tpl_fail(t, PARE_INVALID_ARGUMENT, "'%s' object is not iterable", tpl_type_name(value));
        return (tpl_items){0};
    }
}
