/* Truth, equality, order, membership and length, as Python has them. */
#define _GNU_SOURCE /* memmem */
#include "text/template_value.h"

#include <string.h>

const char *tpl_type_name(tpl_value value)
{
    static const char *const kinds[] = {"list",      "tuple",       "_GroupTuple", "range",
                                        "dict_keys", "dict_values", "dict_items",  "generator"};
    switch (value.type) {
    case TPL_NONE:
        return "NoneType";
    case TPL_BOOL:
        return "bool";
    case TPL_INT:
        return "int";
    case TPL_FLOAT:
        return "float";
    case TPL_STRING:
        return value.string->safe ? "Markup" : "str";
    case TPL_SEQUENCE:
        return kinds[value.sequence->kind];
    case TPL_DICT:
        return "dict";
    case TPL_NAMESPACE:
        return "Namespace";
    case TPL_MACRO:
        return "Macro";
    case TPL_FUNCTION:
        return "function";
    case TPL_METHOD:
        return "method";
    case TPL_LOOP:
        return "LoopContext";
    case TPL_JOINER:
        return "Joiner";
    default:
        return "Undefined";
    }
}

bool tpl_is_string(tpl_value value, const char *text)
{
    return value.type == TPL_STRING && strlen(text) == value.string->length &&
           !memcmp(value.string->data, text, value.string->length);
}

bool tpl_is_integer(tpl_value value)
{
    return value.type == TPL_INT || value.type == TPL_BOOL;
}

bool tpl_is_number(tpl_value value)
{
    return tpl_is_integer(value) || value.type == TPL_FLOAT;
}

int64_t tpl_integer(tpl_value value)
{
    return value.type == TPL_BOOL ? value.boolean : value.integer;
}

double tpl_number(tpl_value value)
{
    return value.type == TPL_FLOAT ? value.number : (double)tpl_integer(value);
}

bool tpl_truth(tpl_value value)
{
    switch (value.type) {
    case TPL_ABSENT:
    case TPL_UNDEFINED:
    case TPL_NONE:
        return false;
    case TPL_BOOL:
        return value.boolean;
    case TPL_INT:
        return value.integer != 0;
    case TPL_FLOAT:
        return value.number != 0;
    case TPL_STRING:
        return value.string->length != 0;
    case TPL_SEQUENCE:
        return value.sequence->count != 0 || value.sequence->kind == TPL_GENERATOR;
    case TPL_DICT:
        return value.dict->count != 0;
    default:
        return true;
    }
}

/* A long double holds every int64 and every double where it has 64 bits of mantissa (x86) or more
 * (AArch64). */
static long double wide(tpl_value value)
{
    return value.type == TPL_FLOAT ? (long double)value.number : (long double)tpl_integer(value);
}

static tpl_kind family(const tpl_sequence *sequence)
{
    return sequence->kind == TPL_GROUP ? TPL_TUPLE : sequence->kind;
}

static bool equal_sequences(tpl *t, const tpl_sequence *a, const tpl_sequence *b)
{
    if (a == b)
        return true;
    tpl_kind kind = family(a);
    if (kind != family(b) || a->count != b->count ||
        (kind != TPL_LIST && kind != TPL_TUPLE && kind != TPL_RANGE))
        return false;
    bool equal = true;
    for (size_t i = 0; i < a->count && equal && !tpl_failed(t); i++)
        equal = tpl_equal(t, a->items[i], b->items[i]);
    return equal;
}

static bool equal_dicts(tpl *t, const tpl_dict *a, const tpl_dict *b)
{
    if (a == b)
        return true;
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count && !tpl_failed(t); i++) {
        const tpl_value *other = tpl_dict_get(t, b, a->entries[i].key);
        if (!other || !tpl_equal(t, a->entries[i].value, *other))
            return false;
    }
    return true;
}

bool tpl_equal(tpl *t, tpl_value a, tpl_value b)
{
    if (!tpl_charge(t, 1))
        return false;
    if (tpl_is_number(a) && tpl_is_number(b))
        return wide(a) == wide(b);
    if (a.type != b.type)
        return false;
    bool equal;
    switch (a.type) {
    case TPL_UNDEFINED:
    case TPL_NONE:
        return true;
    case TPL_STRING:
        return a.string->length == b.string->length && tpl_charge(t, a.string->length / 64) &&
               !memcmp(a.string->data, b.string->data, a.string->length);
    case TPL_SEQUENCE:
    case TPL_DICT:
        if (!tpl_enter(t))
            return false;
        equal = a.type == TPL_DICT ? equal_dicts(t, a.dict, b.dict)
                                   : equal_sequences(t, a.sequence, b.sequence);
        tpl_leave(t);
        return equal;
    default:
        return a.dict == b.dict; /* the same object */
    }
}

static int compare_strings(const tpl_string *a, const tpl_string *b)
{
    size_t common = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->data, b->data, common); /* UTF-8 sorts as its code points do */
    if (order)
        return order < 0 ? -1 : 1;
    return a->length < b->length ? -1 : a->length > b->length;
}

static int compare_sequences(tpl *t, const tpl_sequence *a, const tpl_sequence *b,
                             const char *symbol)
{
    for (size_t i = 0; i < a->count && i < b->count && !tpl_failed(t); i++)
        if (!tpl_equal(t, a->items[i], b->items[i]))
            return tpl_compare(t, a->items[i], b->items[i], symbol);
    return a->count < b->count ? -1 : a->count > b->count;
}

int tpl_compare(tpl *t, tpl_value a, tpl_value b, const char *symbol)
{
    int order = 0;
    if (!tpl_enter(t))
        return 0;
    bool lists = a.type == TPL_SEQUENCE && b.type == TPL_SEQUENCE &&
                 family(a.sequence) == family(b.sequence) && family(a.sequence) <= TPL_TUPLE;
    if (!tpl_charge(t, 1)) {
        order = 0;
    } else if (a.type == TPL_UNDEFINED || b.type == TPL_UNDEFINED) {
        tpl_fail_undefined(t, a.type == TPL_UNDEFINED ? a : b);
    } else if (tpl_is_number(a) && tpl_is_number(b)) {
        long double x = wide(a), y = wide(b);
        order = x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
    } else if (a.type == TPL_STRING && b.type == TPL_STRING) {
        tpl_charge(t, (a.string->length < b.string->length ? a : b).string->length / 64);
        order = compare_strings(a.string, b.string);
    } else if (lists) {
        order = compare_sequences(t, a.sequence, b.sequence, symbol);
    } else {
        tpl_fail(t, PARE_INVALID_ARGUMENT, "'%s' not supported between instances of '%s' and '%s'",
                 symbol, tpl_type_name(a), tpl_type_name(b));
    }
    tpl_leave(t);
    return order;
}

bool tpl_contains(tpl *t, tpl_value container, tpl_value item)
{
    if (container.type == TPL_STRING) {
        if (item.type != TPL_STRING) {
            tpl_fail(t, PARE_INVALID_ARGUMENT,
                     "'in <string>' requires string as left operand, not %s", tpl_type_name(item));
            return false;
        }
        const tpl_string *in = container.string, *what = item.string;
        return tpl_charge(t, in->length / 64) &&
               (!what->length || memmem(in->data, in->length, what->data, what->length));
    }
    if (container.type == TPL_DICT)
        return tpl_dict_get(t, container.dict, item) != NULL;
    if (container.type != TPL_SEQUENCE && container.type != TPL_UNDEFINED) {
        tpl_fail(t, PARE_INVALID_ARGUMENT, "argument of type '%s' is not iterable",
                 tpl_type_name(container));
        return false;
    }
    tpl_items items = tpl_iterate(t, container);
    for (size_t i = 0; i < items.count && !tpl_failed(t); i++)
        if (tpl_equal(t, items.data[i], item))
            return true;
    return false;
}

size_t tpl_length(tpl *t, tpl_value value)
{
    switch (value.type) {
    case TPL_UNDEFINED:
        return 0;
    case TPL_STRING:
        return tpl_characters(value.string);
    case TPL_DICT:
        return value.dict->count;
    case TPL_SEQUENCE:
        if (value.sequence->kind != TPL_GENERATOR)
            return value.sequence->count;
        /* fall through */
    default:
        tpl_fail(t, PARE_INVALID_ARGUMENT, "object of type '%s' has no len()",
                 tpl_type_name(value));
        return 0;
    }
}
