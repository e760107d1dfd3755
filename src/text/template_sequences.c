/* The filters on sequences. Those that Jinja2 makes generators give a TPL_GENERATOR, whose items
 * were made at once: the difference shows only where making them fails or has effects. */
#include "text/template_eval.h"

#include <stdlib.h>
#include <string.h>

/* environment.getitem along "a.b.0"; TPL_NONE or absent: the item itself. */
static tpl_value by_path(tpl *t, tpl_value item, tpl_value path, tpl_value otherwise)
{
    if (path.type != TPL_STRING) {
        bool whole = path.type == TPL_NONE || path.type == TPL_ABSENT;
        item = whole ? item : tpl_get_item(t, item, path);
        return !whole && item.type == TPL_UNDEFINED && otherwise.type > TPL_NONE ? otherwise : item;
    }
    const char *cursor = path.string->data, *end = cursor + path.string->length;
    while (cursor <= end && tpl_charge(t, 1)) {
        const char *dot = memchr(cursor, '.', (size_t)(end - cursor)), *stop = dot ? dot : end;
        int64_t index = 0;
        bool number = stop > cursor && stop - cursor < 18;
        for (const char *c = cursor; c < stop && number; c++) {
            number = *c >= '0' && *c <= '9';
            index = index * 10 + (*c - '0');
        }
        item = tpl_get_item(t, item,
                            number ? tpl_int(index) : tpl_text(t, cursor, (size_t)(stop - cursor)));
        if (item.type == TPL_UNDEFINED && otherwise.type > TPL_NONE)
            item = otherwise;
        cursor = stop + 1;
    }
    return item;
}

static tpl_value without_case(tpl *t, tpl_value value)
{
    return value.type == TPL_STRING ? tpl_change_case(t, value.string, TPL_LOWER) : value;
}

/* The keys that "a,b.c" names, as a list to compare. */
static tpl_value sort_key(tpl *t, tpl_value item, tpl_value paths, bool case_sensitive)
{
    tpl_value key = tpl_sequence_new(t, TPL_LIST, 1);
    if (paths.type != TPL_STRING) {
        tpl_value one = by_path(t, item, paths, (tpl_value){0});
        tpl_append(t, key, case_sensitive ? one : without_case(t, one));
        return key;
    }
    const char *cursor = paths.string->data, *end = cursor + paths.string->length;
    while (cursor <= end && tpl_charge(t, 1)) {
        const char *comma = memchr(cursor, ',', (size_t)(end - cursor)),
                   *stop = comma ? comma : end;
        tpl_value one =
            by_path(t, item, tpl_text(t, cursor, (size_t)(stop - cursor)), (tpl_value){0});
        tpl_append(t, key, case_sensitive ? one : without_case(t, one));
        cursor = stop + 1;
    }
    return key;
}

typedef struct keyed {
    tpl_value key, item;
} keyed;

/* A stable merge sort of items[0 .. count), with room for as many more. */
static void merge_sort(tpl *t, keyed *items, keyed *room, size_t count, bool reverse)
{
    if (count < 2 || tpl_failed(t))
        return;
    size_t half = count / 2, left = 0, right = half, out = 0;
    merge_sort(t, items, room, half, reverse);
    merge_sort(t, items + half, room, count - half, reverse);
    memcpy(room, items, count * sizeof *items);
    while (left < half && right < count && !tpl_failed(t)) {
        int order = tpl_compare(t, room[right].key, room[left].key, "<");
        bool take_right = reverse ? order == 1 : order == -1;
        items[out++] = take_right ? room[right++] : room[left++];
    }
    while (left < half)
        items[out++] = room[left++];
    while (right < count)
        items[out++] = room[right++];
}

static tpl_value sorted(tpl *t, tpl_items items, const tpl_value *keys, bool reverse)
{
    keyed *pairs = tpl_allocate(t, items.count, sizeof *pairs),
          *room = tpl_allocate(t, items.count, sizeof *room);
    tpl_value list = tpl_sequence_new(t, TPL_LIST, items.count);
    if (tpl_failed(t))
        return list;
    for (size_t i = 0; i < items.count; i++)
        pairs[i] = (keyed){keys[i], items.data[i]};
    merge_sort(t, pairs, room, items.count, reverse);
    for (size_t i = 0; i < items.count; i++)
        tpl_append(t, list, pairs[i].item);
    return list;
}

static tpl_value sort_by(tpl *t, tpl_items items, tpl_value paths, bool case_sensitive,
                         bool reverse)
{
    tpl_value *keys = tpl_allocate(t, items.count, sizeof *keys);
    for (size_t i = 0; keys && i < items.count && tpl_charge(t, 1); i++)
        keys[i] = sort_key(t, items.data[i], paths, case_sensitive);
    return sorted(t, items, keys, reverse);
}

static tpl_value sort(tpl *t, const tpl_call *call)
{
    return sort_by(t, tpl_iterate(t, call->self), call->args[2], tpl_arg_truth(call, 1, false),
                   tpl_arg_truth(call, 0, false));
}

static tpl_value pairs_of(tpl *t, const tpl_dict *dict, tpl_kind kind)
{
    tpl_value list = tpl_sequence_new(t, kind, dict->count);
    for (size_t i = 0; i < dict->count && tpl_charge(t, 1); i++)
        tpl_append(t, list, tpl_pair(t, TPL_TUPLE, dict->entries[i].key, dict->entries[i].value));
    return list;
}

static tpl_value dict_sort(tpl *t, const tpl_call *call)
{
    static const tpl_string key_name = {.data = "key", .length = 3};
    if (call->self.type != TPL_DICT)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "dictsort needs a dict, not '%s'",
                        tpl_type_name(call->self));
    tpl_value by = {.type = TPL_STRING, .string = tpl_arg_string(t, call, 1, &key_name)};
    if (!tpl_is_string(by, "key") && !tpl_is_string(by, "value"))
        return tpl_fail(t, PARE_INVALID_ARGUMENT,
                        "You can only sort by either \"key\" or \"value\"");
    tpl_value pairs = pairs_of(t, call->self.dict, TPL_LIST);
    tpl_value index = tpl_int(tpl_is_string(by, "value"));
    return sort_by(t, tpl_iterate(t, pairs), index, tpl_arg_truth(call, 0, false),
                   tpl_arg_truth(call, 2, false));
}

static tpl_value items(tpl *t, const tpl_call *call)
{
    if (call->self.type == TPL_UNDEFINED)
        return tpl_sequence_new(t, TPL_GENERATOR, 0);
    if (call->self.type != TPL_DICT)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "Can only get item pairs from a mapping.");
    return pairs_of(t, call->self.dict, TPL_GENERATOR);
}

static tpl_value unique(tpl *t, const tpl_call *call)
{
    tpl_items all = tpl_iterate(t, call->self);
    tpl_value result = tpl_sequence_new(t, TPL_GENERATOR, 0), seen = tpl_dict_new(t);
    for (size_t i = 0; i < all.count && tpl_charge(t, 1); i++) {
        tpl_value key = by_path(t, all.data[i], call->args[1], (tpl_value){0});
        key = tpl_arg_truth(call, 0, false) ? key : without_case(t, key);
        if (tpl_failed(t) || tpl_dict_get(t, seen.dict, key))
            continue;
        tpl_dict_set(t, seen.dict, key, TPL_NOTHING);
        tpl_append(t, result, all.data[i]);
    }
    return result;
}

static tpl_value extreme(tpl *t, const tpl_call *call)
{
    bool largest = call->builtin->detail;
    tpl_items all = tpl_iterate(t, call->self);
    tpl_value best = {0}, best_key = {0};
    for (size_t i = 0; i < all.count && tpl_charge(t, 1); i++) {
        tpl_value key = by_path(t, all.data[i], call->args[1], (tpl_value){0});
        key = tpl_arg_truth(call, 0, false) ? key : without_case(t, key);
        if (tpl_failed(t))
            break;
        if (i == 0 || tpl_compare(t, key, best_key, largest ? ">" : "<") == (largest ? 1 : -1)) {
            best = all.data[i];
            best_key = key;
        }
    }
    return best.type == TPL_ABSENT
               ? tpl_undefined_hint(t, "No aggregated item, sequence was empty.")
               : best;
}

static tpl_value join(tpl *t, const tpl_call *call)
{
    const tpl_string *separator =
        call->args[0].type == TPL_ABSENT ? NULL : tpl_str(t, call->args[0]);
    tpl_items all = tpl_iterate(t, call->self);
    pare_buffer buffer = {0};
    for (size_t i = 0; i < all.count && tpl_charge(t, 1); i++) {
        if (i && separator)
            tpl_put(t, &buffer, separator->data, separator->length);
        tpl_put_value(t, &buffer, by_path(t, all.data[i], call->args[1], (tpl_value){0}));
    }
    return tpl_take(t, &buffer);
}

static tpl_value length(tpl *t, const tpl_call *call)
{
    return tpl_int((int64_t)tpl_length(t, call->self));
}

static tpl_value first(tpl *t, const tpl_call *call)
{
    tpl_value v = call->self;
    if (v.type == TPL_SEQUENCE && v.sequence->kind == TPL_GENERATOR &&
        v.sequence->position < v.sequence->count)
        return v.sequence->items[v.sequence->position++];
    if (v.type == TPL_STRING && v.string->length)
        return tpl_get_item(t, v, tpl_int(0));
    tpl_items all = tpl_iterate(t, v);
    return all.count ? all.data[0] : tpl_undefined_hint(t, "No first item, sequence was empty.");
}

static tpl_value last(tpl *t, const tpl_call *call)
{
    tpl_value v = call->self;
    if (v.type == TPL_SEQUENCE && v.sequence->kind == TPL_GENERATOR)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "'generator' object is not reversible");
    if (v.type == TPL_STRING && v.string->length)
        return tpl_get_item(t, v, tpl_int(-1));
    tpl_items all = tpl_iterate(t, v);
    return all.count ? all.data[all.count - 1]
                     : tpl_undefined_hint(t, "No last item, sequence was empty.");
}

static tpl_value list(tpl *t, const tpl_call *call)
{
    return tpl_list_of(t, tpl_iterate(t, call->self), TPL_LIST);
}

static tpl_value reverse(tpl *t, const tpl_call *call)
{
    if (call->self.type == TPL_STRING)
        return tpl_get_slice(t, call->self, TPL_NOTHING, TPL_NOTHING, tpl_int(-1));
    bool generator = call->self.type == TPL_SEQUENCE && call->self.sequence->kind == TPL_GENERATOR;
    tpl_items all = tpl_iterate(t, call->self);
    tpl_value reversed = tpl_sequence_new(t, generator ? TPL_LIST : TPL_GENERATOR, all.count);
    for (size_t i = all.count; i-- > 0 && tpl_charge(t, 1);)
        tpl_append(t, reversed, all.data[i]);
    return reversed;
}

static tpl_value sum(tpl *t, const tpl_call *call)
{
    tpl_items all = tpl_iterate(t, call->self);
    tpl_value total = call->args[1].type == TPL_ABSENT ? tpl_int(0) : call->args[1];
    if (total.type == TPL_STRING)
        return tpl_fail(t, PARE_INVALID_ARGUMENT,
                        "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; i < all.count && tpl_charge(t, 1); i++)
        total = tpl_binary(t, "+", total, by_path(t, all.data[i], call->args[0], (tpl_value){0}));
    return total;
}

static tpl_value batch(tpl *t, const tpl_call *call)
{
    tpl_items all = tpl_iterate(t, call->self);
    int64_t size = tpl_arg_int(t, call, 0, 1);
    tpl_value rows = tpl_sequence_new(t, TPL_GENERATOR, 0), row = {0};
    if (size < 1)
        return tpl_fail(t, PARE_UNSUPPORTED, "batch with %lld items", (long long)size);
    for (size_t i = 0; i < all.count && tpl_charge(t, 1); i++) {
        if (i % (size_t)size == 0) {
            row = tpl_sequence_new(t, TPL_LIST, 0);
            tpl_append(t, rows, row);
        }
        tpl_append(t, row, all.data[i]);
    }
    bool fill = all.count && call->args[1].type > TPL_NONE;
    while (fill && tpl_charge(t, 1) && row.sequence->count < (size_t)size)
        tpl_append(t, row, call->args[1]);
    return rows;
}

static tpl_value slice(tpl *t, const tpl_call *call)
{
    tpl_items all = tpl_iterate(t, call->self);
    int64_t slices = tpl_arg_int(t, call, 0, 1);
    tpl_value rows = tpl_sequence_new(t, TPL_GENERATOR, 0);
    if (slices < 1)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "slice into %lld lists", (long long)slices);
    size_t each = all.count / (size_t)slices, larger = all.count % (size_t)slices, at = 0;
    for (size_t i = 0; i < (size_t)slices && tpl_charge(t, 1); i++) {
        tpl_value row = tpl_sequence_new(t, TPL_LIST, 0);
        for (size_t n = each + (i < larger); n-- > 0 && !tpl_failed(t);)
            tpl_append(t, row, all.data[at++]);
        if (call->args[1].type > TPL_NONE && i >= larger)
            tpl_append(t, row, call->args[1]);
        tpl_append(t, rows, row);
    }
    return rows;
}

static tpl_value group_by(tpl *t, const tpl_call *call)
{
    bool case_sensitive = tpl_arg_truth(call, 2, false);
    tpl_items all = tpl_iterate(t, call->self);
    tpl_value groups = tpl_sequence_new(t, TPL_LIST, 0), group = {0}, last_key = {0};
    tpl_value *keys = tpl_allocate(t, all.count, sizeof *keys);
    for (size_t i = 0; keys && i < all.count && tpl_charge(t, 1); i++) {
        keys[i] = by_path(t, all.data[i], call->args[0], call->args[1]);
        keys[i] = case_sensitive ? keys[i] : without_case(t, keys[i]);
    }
    tpl_items ordered = tpl_iterate(t, sorted(t, all, keys, false));
    for (size_t i = 0; i < ordered.count && tpl_charge(t, 1); i++) {
        tpl_value shown = by_path(t, ordered.data[i], call->args[0], call->args[1]);
        tpl_value key = case_sensitive ? shown : without_case(t, shown);
        if (i == 0 || !tpl_equal(t, key, last_key)) {
            group = tpl_sequence_new(t, TPL_LIST, 0);
            tpl_append(t, groups, tpl_pair(t, TPL_GROUP, shown, group));
        }
        last_key = key;
        tpl_append(t, group, ordered.data[i]);
    }
    return groups;
}

/* A filter's or test's name among the arguments, NUL-terminated. */
static const char *name_at(tpl *t, const tpl_call *call, size_t index)
{
    tpl_value name = call->raw->positional[index];
    if (name.type != TPL_STRING)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "'%s' needs the name of a filter or test",
                 call->builtin->name);
    char *copy = name.type == TPL_STRING ? tpl_allocate(t, name.string->length + 1, 1) : NULL;
    if (copy)
        memcpy(copy, name.string->data, name.string->length);
    return copy ? copy : "";
}

static tpl_value map(tpl *t, const tpl_call *call)
{
    tpl_value result = tpl_sequence_new(t, TPL_GENERATOR, 0);
    const tpl_arguments *raw = call->raw;
    const tpl_value *path = tpl_dict_find(&raw->named, "attribute"),
                    *otherwise = tpl_dict_find(&raw->named, "default");
    if (!raw->count && !path)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "map requires a filter argument");
    if (!raw->count && raw->named.count > 1 + (size_t)(otherwise != NULL))
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "map got an unexpected keyword argument");
    tpl_items all = tpl_truth(call->self) ? tpl_iterate(t, call->self) : (tpl_items){0};
    const char *name = raw->count ? name_at(t, call, 0) : NULL;
    tpl_arguments rest = {.positional = name ? raw->positional + 1 : NULL,
                          .count = name ? raw->count - 1 : 0,
                          .named = raw->named};
    for (size_t i = 0; i < all.count && tpl_charge(t, 1); i++)
        tpl_append(t, result,
                   name ? tpl_apply_filter(t, name, all.data[i], &rest)
                        : by_path(t, all.data[i], *path, otherwise ? *otherwise : (tpl_value){0}));
    return result;
}

enum { SELECT = 1, BY_ATTRIBUTE = 2 };

static tpl_value select_items(tpl *t, const tpl_call *call)
{
    size_t offset = call->builtin->detail & BY_ATTRIBUTE ? 1 : 0, count = call->raw->count;
    if (count < offset)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "Missing parameter for attribute name");
    tpl_value result = tpl_sequence_new(t, TPL_GENERATOR, 0);
    tpl_items all = tpl_truth(call->self) ? tpl_iterate(t, call->self) : (tpl_items){0};
    const char *name = count > offset ? name_at(t, call, offset) : NULL;
    tpl_arguments rest = {.positional = name ? call->raw->positional + offset + 1 : NULL,
                          .count = name ? count - offset - 1 : 0,
                          .named = call->raw->named};
    for (size_t i = 0; i < all.count && tpl_charge(t, 1); i++) {
        tpl_value value = all.data[i];
        if (offset)
            value = by_path(t, value, call->raw->positional[0], (tpl_value){0});
        bool passes = name ? tpl_apply_test(t, name, value, &rest) : tpl_truth(value);
        if (passes == ((call->builtin->detail & SELECT) != 0))
            tpl_append(t, result, all.data[i]);
    }
    return result;
}

static const tpl_builtin filters[] = {
    {"batch", "linecount [fill_with]", batch, 0},
    {"count", "", length, 0},
    {"dictsort", "[case_sensitive] [by] [reverse]", dict_sort, 0},
    {"first", "", first, 0},
    {"groupby", "attribute [default] [case_sensitive]", group_by, 0},
    {"items", "", items, 0},
    {"join", "[d] [attribute]", join, 0},
    {"last", "", last, 0},
    {"length", "", length, 0},
    {"list", "", list, 0},
    {"map", "*", map, 0},
    {"max", "[case_sensitive] [attribute]", extreme, 1},
    {"min", "[case_sensitive] [attribute]", extreme, 0},
    {"reject", "*", select_items, 0},
    {"rejectattr", "*", select_items, BY_ATTRIBUTE},
    {"reverse", "", reverse, 0},
    {"select", "*", select_items, SELECT},
    {"selectattr", "*", select_items, SELECT | BY_ATTRIBUTE},
    {"slice", "slices [fill_with]", slice, 0},
    {"sort", "[reverse] [case_sensitive] [attribute]", sort, 0},
    {"sum", "[attribute] [start]", sum, 0},
    {"unique", "[case_sensitive] [attribute]", unique, 0},
};

const tpl_builtin *tpl_find_sequence_filter(const char *name)
{
    return tpl_find_row(filters, sizeof filters / sizeof *filters, name);
}
