/* The methods of dicts, sequences and numbers. */
#include "text/template_eval.h"

static tpl_value copy(tpl *t, const tpl_call *call)
{
    tpl_value dict = tpl_dict_new(t);
    if (call->self.type == TPL_SEQUENCE)
        return tpl_list_of(t, (tpl_items){call->self.sequence->items, call->self.sequence->count},
                           TPL_LIST);
    for (size_t i = 0; i < call->self.dict->count && !tpl_failed(t); i++)
        tpl_dict_set(t, dict.dict, call->self.dict->entries[i].key,
                     call->self.dict->entries[i].value);
    return dict;
}

static tpl_value dict_view(tpl *t, const tpl_call *call)
{
    const tpl_dict *dict = call->self.dict;
    tpl_kind kind = (tpl_kind)call->builtin->detail;
    tpl_value view = tpl_sequence_new(t, kind, dict->count);
    for (size_t i = 0; i < dict->count && tpl_charge(t, 1); i++) {
        tpl_entry entry = dict->entries[i];
        tpl_append(t, view,
                   kind == TPL_KEYS     ? entry.key
                   : kind == TPL_VALUES ? entry.value
                                        : tpl_pair(t, TPL_TUPLE, entry.key, entry.value));
    }
    return view;
}

static tpl_value dict_get(tpl *t, const tpl_call *call)
{
    const tpl_value *value = tpl_dict_get(t, call->self.dict, call->args[0]);
    return value ? *value : call->args[1].type == TPL_ABSENT ? TPL_NOTHING : call->args[1];
}

static tpl_value list_search(tpl *t, const tpl_call *call)
{
    int64_t found = 0;
    for (size_t i = 0; i < call->self.sequence->count && !tpl_failed(t); i++)
        if (tpl_equal(t, call->self.sequence->items[i], call->args[0])) {
            if (call->builtin->detail)
                return tpl_int((int64_t)i);
            found++;
        }
    return call->builtin->detail
               ? tpl_fail(t, PARE_INVALID_ARGUMENT, "the value is not in the list")
               : tpl_int(found);
}

static const tpl_builtin of_dicts[] = {
    {"items", "", dict_view, TPL_ITEMS},
    {"keys", "", dict_view, TPL_KEYS},
    {"values", "", dict_view, TPL_VALUES},
    {"get", "key [default]", dict_get, 0},
    {"copy", "", copy, 0},
    {"fromkeys", "", NULL, 0},
};
static const tpl_builtin of_sequences[] = {
    {"count", "value", list_search, 0},
    {"index", "value", list_search, 1},
    {"copy", "", copy, 0}, /* lists only: the last row */
};
static const tpl_builtin of_numbers[] = {
    {"as_integer_ratio", "", NULL, 0},
    {"bit_count", "", NULL, 0},
    {"bit_length", "", NULL, 0},
    {"conjugate", "", NULL, 0},
    {"denominator", "", NULL, 0},
    {"fromhex", "", NULL, 0},
    {"hex", "", NULL, 0},
    {"imag", "", NULL, 0},
    {"is_integer", "", NULL, 0},
    {"numerator", "", NULL, 0},
    {"real", "", NULL, 0},
    {"to_bytes", "", NULL, 0},
};

#define ROWS(table) table, sizeof table / sizeof *table

const tpl_builtin *tpl_find_method(tpl_value object, const char *name)
{
    if (object.type == TPL_STRING)
        return tpl_find_string_method(name);
    if (object.type == TPL_DICT)
        return tpl_find_row(ROWS(of_dicts), name);
    if (object.type == TPL_SEQUENCE && object.sequence->kind <= TPL_RANGE)
        return tpl_find_row(of_sequences, object.sequence->kind == TPL_LIST ? 3 : 2, name);
    if (tpl_is_number(object))
        return tpl_find_row(ROWS(of_numbers), name);
    return NULL;
}
