/* The methods of strings. */
#define _GNU_SOURCE /* memmem */
#include "text/template_eval.h"

#include <string.h>
#include <utf8proc.h>

static bool in_set(int32_t code, const tpl_string *set)
{
    if (!set)
        return tpl_is_space(code);
    const char *cursor = set->data, *end = cursor + set->length;
    while (cursor < end)
        if (tpl_decode(&cursor, end) == code)
            return true;
    return false;
}

static const char *before(const char *start, const char *cursor)
{
    do
        cursor--;
    while (cursor > start && ((unsigned char)*cursor & 0xc0) == 0x80);
    return cursor;
}

tpl_value tpl_strip(tpl *t, const tpl_string *string, const tpl_string *set, int sides)
{
    const char *start = string->data, *end = start + string->length;
    uint64_t work = 1 + (set ? set->length / 16 : 0);
    while ((sides & TPL_STRIP_LEFT) && start < end && tpl_charge(t, work)) {
        const char *next = start;
        if (!in_set(tpl_decode(&next, end), set))
            break;
        start = next;
    }
    while ((sides & TPL_STRIP_RIGHT) && start < end && tpl_charge(t, work)) {
        const char *last = before(start, end), *cursor = last;
        if (!in_set(tpl_decode(&cursor, end), set))
            break;
        end = last;
    }
    if (start == string->data && end == start + string->length)
        return (tpl_value){.type = TPL_STRING, .string = string};
    return tpl_substring(t, string, start, end);
}

tpl_value tpl_replace(tpl *t, const tpl_string *string, const tpl_string *from,
                      const tpl_string *to, int64_t limit)
{
    pare_buffer buffer = {0};
    const char *cursor = string->data, *end = cursor + string->length;
    uint64_t left = limit < 0 ? UINT64_MAX : (uint64_t)limit;
    tpl_charge(t, string->length / 16);
    while (left && !tpl_failed(t)) {
        const char *hit = from->length
                              ? memmem(cursor, (size_t)(end - cursor), from->data, from->length)
                              : cursor;
        if (!hit)
            break;
        tpl_put(t, &buffer, cursor, (size_t)(hit - cursor));
        tpl_put(t, &buffer, to->data, to->length);
        tpl_charge(t, 1);
        left--;
        cursor = hit + from->length;
        if (!from->length) { /* between all characters, and at both ends */
            if (cursor == end)
                break;
            tpl_decode(&cursor, end);
            tpl_put(t, &buffer, hit, (size_t)(cursor - hit));
        }
    }
    tpl_put(t, &buffer, cursor, (size_t)(end - cursor));
    return tpl_take(t, &buffer);
}

static tpl_value strip(tpl *t, const tpl_call *call)
{
    return tpl_strip(t, call->self.string, tpl_arg_string(t, call, 0, NULL), call->builtin->detail);
}

static tpl_value change_case(tpl *t, const tpl_call *call)
{
    return tpl_change_case(t, call->self.string, (tpl_case)call->builtin->detail);
}

static tpl_value replace(tpl *t, const tpl_call *call)
{
    const tpl_string *from = tpl_arg_string(t, call, 0, NULL),
                     *to = tpl_arg_string(t, call, 1, NULL);
    if (!from || !to)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "'replace' needs two strings");
    return tpl_replace(t, call->self.string, from, to, tpl_arg_int(t, call, 2, -1));
}

/* The part of the string that the arguments start and end (at `index`) leave. */
static tpl_string bounded(tpl *t, const tpl_call *call, size_t index, int64_t *offset)
{
    tpl_string part = *call->self.string;
    int64_t length = (int64_t)tpl_characters(call->self.string), ends[2];
    ends[0] = tpl_arg_int(t, call, index, 0);
    ends[1] = tpl_arg_int(t, call, index + 1, length);
    for (size_t i = 0; i < 2; i++) {
        if (ends[i] < 0)
            ends[i] = ends[i] < -length ? 0 : ends[i] + length;
        if (ends[i] > length)
            ends[i] =
                i ? length : length + 1; /* a start after the end finds nothing, not even "" */
    }
    *offset = ends[0];
    if (ends[0] > ends[1]) {
        *offset = -1;
        return part;
    }
    const char *start = tpl_character_at(call->self.string, (size_t)ends[0]);
    const char *end = tpl_character_at(call->self.string, (size_t)ends[1]);
    return (tpl_string){
        .data = start, .length = (size_t)(end - start), .characters = (size_t)(ends[1] - ends[0])};
}

static const char *find_last(const tpl_string *in, const tpl_string *what)
{
    if (what->length > in->length)
        return NULL;
    for (const char *at = in->data + in->length - what->length;; at--) {
        if (!memcmp(at, what->data, what->length))
            return at;
        if (at == in->data)
            return NULL;
    }
}

enum { FIND_LAST = 1, FIND_MUST = 2 };

static tpl_value find(tpl *t, const tpl_call *call)
{
    const tpl_string *what = tpl_arg_string(t, call, 0, NULL);
    int64_t offset;
    tpl_string in = bounded(t, call, 1, &offset);
    if (!what)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "'%s' needs a string", call->builtin->name);
    tpl_charge(t, in.length / 16 + ((call->builtin->detail & FIND_LAST)
                                        ? in.length * (what->length / 64 + 1) / 16
                                        : 0));
    const char *hit = NULL;
    if (offset >= 0 && !tpl_failed(t)) {
        if (call->builtin->detail & FIND_LAST)
            hit = find_last(&in, what);
        else
            hit = what->length ? memmem(in.data, in.length, what->data, what->length) : in.data;
    }
    if (hit) {
        tpl_string skipped = {
            .data = in.data, .length = (size_t)(hit - in.data), .characters = SIZE_MAX};
        return tpl_int(offset + (int64_t)tpl_characters(&skipped));
    }
    return call->builtin->detail & FIND_MUST
               ? tpl_fail(t, PARE_INVALID_ARGUMENT, "substring not found")
               : tpl_int(-1);
}

static tpl_value count(tpl *t, const tpl_call *call)
{
    const tpl_string *what = tpl_arg_string(t, call, 0, NULL);
    int64_t offset, found = 0;
    tpl_string in = bounded(t, call, 1, &offset);
    if (!what)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "'count' needs a string");
    if (offset < 0)
        return tpl_int(0);
    if (!what->length)
        return tpl_int((int64_t)in.characters + 1);
    tpl_charge(t, in.length / 16);
    const char *cursor = in.data, *end = cursor + in.length;
    while ((cursor = memmem(cursor, (size_t)(end - cursor), what->data, what->length)) &&
           tpl_charge(t, 1)) {
        found++;
        cursor += what->length;
    }
    return tpl_int(found);
}

static bool affix_matches(tpl *t, const tpl_string *in, tpl_value affix, bool at_end)
{
    if (affix.type != TPL_STRING) {
        tpl_fail(t, PARE_INVALID_ARGUMENT, "%s first arg must be str or a tuple of str, not %s",
                 at_end ? "endswith" : "startswith", tpl_type_name(affix));
        return false;
    }
    size_t length = affix.string->length;
    return length <= in->length &&
           !memcmp(at_end ? in->data + in->length - length : in->data, affix.string->data, length);
}

static tpl_value starts_or_ends(tpl *t, const tpl_call *call)
{
    int64_t offset;
    tpl_string in = bounded(t, call, 1, &offset);
    tpl_value affix = call->args[0];
    bool tuple = affix.type == TPL_SEQUENCE && affix.sequence->kind == TPL_TUPLE, found = false;
    if (!tuple)
        found = affix_matches(t, &in, affix, call->builtin->detail);
    for (size_t i = 0; tuple && i < affix.sequence->count && !found && tpl_charge(t, 1); i++)
        found = affix_matches(t, &in, affix.sequence->items[i], call->builtin->detail);
    return tpl_bool(found && offset >= 0);
}

static tpl_value remove_affix(tpl *t, const tpl_call *call)
{
    const tpl_string *in = call->self.string;
    bool at_end = call->builtin->detail;
    if (!affix_matches(t, in, call->args[0], at_end))
        return call->self;
    size_t cut = call->args[0].string->length;
    return tpl_substring(t, in, in->data + (at_end ? 0 : cut),
                         in->data + in->length - (at_end ? cut : 0));
}

static tpl_value split_on_space(tpl *t, const tpl_string *in, uint64_t limit)
{
    tpl_value list = tpl_sequence_new(t, TPL_LIST, 0);
    const char *cursor = in->data, *end = cursor + in->length;
    tpl_charge(t, in->length / 16);
    while (!tpl_failed(t)) {
        const char *start = cursor;
        while (cursor < end && tpl_is_space(tpl_decode(&cursor, end)))
            start = cursor;
        if (start == end)
            break;
        if (limit-- == 0) {
            tpl_append(t, list, tpl_substring(t, in, start, end));
            break;
        }
        const char *stop = start;
        for (cursor = start; cursor < end && !tpl_is_space(tpl_decode(&cursor, end));)
            stop = cursor;
        cursor = stop;
        tpl_append(t, list, tpl_substring(t, in, start, stop));
    }
    return list;
}

static void reverse(tpl_value list)
{
    for (size_t i = 0, j = list.sequence->count; i + 1 < j; i++) {
        tpl_value item = list.sequence->items[i];
        list.sequence->items[i] = list.sequence->items[--j];
        list.sequence->items[j] = item;
    }
}

/* From the right: the pieces come out in reverse order. */
static tpl_value split_on_space_right(tpl *t, const tpl_string *in, uint64_t limit)
{
    tpl_value list = tpl_sequence_new(t, TPL_LIST, 0);
    const char *start = in->data, *end = start + in->length;
    tpl_charge(t, in->length / 16);
    while (!tpl_failed(t)) {
        while (end > start) {
            const char *last = before(start, end), *cursor = last;
            if (!tpl_is_space(tpl_decode(&cursor, end)))
                break;
            end = last;
        }
        if (start == end)
            break;
        const char *word = limit ? end : start;
        while (word > start) {
            const char *last = before(start, word), *cursor = last;
            if (tpl_is_space(tpl_decode(&cursor, end)))
                break;
            word = last;
        }
        tpl_append(t, list, tpl_substring(t, in, word, end));
        end = word;
        if (!limit--)
            break;
    }
    if (!tpl_failed(t))
        reverse(list);
    return list;
}

static tpl_value split_on(tpl *t, const tpl_string *in, const tpl_string *separator, uint64_t limit)
{
    tpl_value list = tpl_sequence_new(t, TPL_LIST, 0);
    const char *cursor = in->data, *end = cursor + in->length, *hit;
    tpl_charge(t, in->length / 16);
    while (limit-- && !tpl_failed(t) &&
           (hit = memmem(cursor, (size_t)(end - cursor), separator->data, separator->length))) {
        tpl_append(t, list, tpl_substring(t, in, cursor, hit));
        cursor = hit + separator->length;
    }
    tpl_append(t, list, tpl_substring(t, in, cursor, end));
    return list;
}

static tpl_value split_on_right(tpl *t, const tpl_string *in, const tpl_string *separator,
                                uint64_t limit)
{
    tpl_value list = tpl_sequence_new(t, TPL_LIST, 0);
    tpl_string rest = *in;
    const char *hit;
    tpl_charge(t, in->length * (separator->length / 64 + 1) / 16);
    while (limit-- && !tpl_failed(t) && (hit = find_last(&rest, separator))) {
        tpl_append(t, list, tpl_substring(t, in, hit + separator->length, rest.data + rest.length));
        rest.length = (size_t)(hit - rest.data);
    }
    tpl_append(t, list, tpl_substring(t, in, rest.data, rest.data + rest.length));
    if (!tpl_failed(t))
        reverse(list);
    return list;
}

static tpl_value split(tpl *t, const tpl_call *call)
{
    const tpl_string *separator = tpl_arg_string(t, call, 0, NULL), *in = call->self.string;
    int64_t most = tpl_arg_int(t, call, 1, -1);
    uint64_t limit = most < 0 ? UINT64_MAX : (uint64_t)most;
    bool right = call->builtin->detail;
    if (tpl_failed(t))
        return call->self;
    if (!separator)
        return right ? split_on_space_right(t, in, limit) : split_on_space(t, in, limit);
    if (!separator->length)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "empty separator");
    return right ? split_on_right(t, in, separator, limit) : split_on(t, in, separator, limit);
}

static tpl_value partition(tpl *t, const tpl_call *call)
{
    const tpl_string *separator = tpl_arg_string(t, call, 0, NULL), *in = call->self.string;
    bool right = call->builtin->detail;
    if (!separator || !separator->length)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "empty separator");
    tpl_charge(t, in->length * (separator->length / 64 + 1) / 16);
    const char *hit = right ? find_last(in, separator)
                            : memmem(in->data, in->length, separator->data, separator->length);
    tpl_value tuple = tpl_sequence_new(t, TPL_TUPLE, 3), empty = tpl_literal(t, "");
    const char *end = in->data + in->length;
    tpl_append(t, tuple, hit ? tpl_substring(t, in, in->data, hit) : right ? empty : call->self);
    tpl_append(t, tuple, hit ? call->args[0] : empty);
    tpl_append(t, tuple,
               hit     ? tpl_substring(t, in, hit + separator->length, end)
               : right ? call->self
                       : empty);
    return tuple;
}

static bool is_line_end(int32_t c)
{
    return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

tpl_value tpl_split_lines(tpl *t, const tpl_string *in, bool keep_ends)
{
    tpl_value list = tpl_sequence_new(t, TPL_LIST, 0);
    const char *cursor = in->data, *end = cursor + in->length;
    tpl_charge(t, in->length / 16);
    while (cursor < end && !tpl_failed(t)) {
        const char *start = cursor, *stop = end, *next;
        for (; cursor < end; cursor = next) {
            next = cursor;
            int32_t code = tpl_decode(&next, end);
            if (is_line_end(code)) {
                stop = cursor;
                cursor = code == '\r' && next < end && *next == '\n' ? next + 1 : next;
                break;
            }
        }
        tpl_append(t, list, tpl_substring(t, in, start, keep_ends ? cursor : stop));
    }
    return list;
}

static tpl_value split_lines(tpl *t, const tpl_call *call)
{
    return tpl_split_lines(t, call->self.string, tpl_arg_truth(call, 0, false));
}

static tpl_value join(tpl *t, const tpl_call *call)
{
    if (call->args[0].type == TPL_UNDEFINED)
        return tpl_literal(t, "");
    tpl_items items = tpl_iterate(t, call->args[0]);
    pare_buffer buffer = {0};
    for (size_t i = 0; i < items.count && tpl_charge(t, 1); i++) {
        if (items.data[i].type != TPL_STRING)
            tpl_fail(t, PARE_INVALID_ARGUMENT, "sequence item %zu: expected str instance, %s found",
                     i, tpl_type_name(items.data[i]));
        if (i)
            tpl_put_value(t, &buffer, call->self);
        tpl_put_value(t, &buffer, items.data[i]);
    }
    return tpl_take(t, &buffer);
}

static tpl_value has_case(tpl *t, const tpl_call *call)
{
    return tpl_bool(tpl_has_case(call->self.string, (tpl_case)call->builtin->detail));
}

enum { IS_ALPHA = 1, IS_DECIMAL = 2, IS_DIGIT = 4, IS_NUMERIC = 8, IS_SPACE = 16, IS_ASCII = 32 };

static int kinds_of(int32_t c)
{
    int kinds = (tpl_is_space(c) ? IS_SPACE : 0) | (c < 0x80 ? IS_ASCII : 0);
    bool superscript = c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
                       (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return kinds | IS_ALPHA;
    case UTF8PROC_CATEGORY_ND:
        return kinds | IS_DECIMAL | IS_DIGIT | IS_NUMERIC;
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return kinds | IS_NUMERIC | (superscript ? IS_DIGIT : 0);
    default:
        return kinds;
    }
}

static tpl_value is_kind(tpl *t, const tpl_call *call)
{
    const char *cursor = call->self.string->data, *end = cursor + call->self.string->length;
    int wanted = call->builtin->detail;
    if (cursor == end)
        return tpl_bool(wanted == IS_ASCII);
    tpl_charge(t, call->self.string->length / 16);
    while (cursor < end)
        if (!(kinds_of(tpl_decode(&cursor, end)) & wanted))
            return tpl_bool(false);
    return tpl_bool(true);
}

enum { PAD_LEFT, PAD_RIGHT, PAD_CENTER, PAD_ZERO };

static tpl_value pad(tpl *t, const tpl_call *call)
{
    static const tpl_string blank = {.data = " ", .length = 1, .characters = 1},
                            zero = {.data = "0", .length = 1, .characters = 1};
    const tpl_string *in = call->self.string, *fill = &zero;
    int64_t length = (int64_t)tpl_characters(in), missing = tpl_arg_int(t, call, 0, 0), left = 0;
    if (call->builtin->detail != PAD_ZERO)
        fill = tpl_arg_string(t, call, 1, &blank);
    if (tpl_characters(fill) != 1)
        return tpl_fail(t, PARE_INVALID_ARGUMENT,
                        "The fill character must be exactly one character long");
    missing = missing > length ? missing - length : 0;
    if (call->builtin->detail ==
        PAD_CENTER) /* Python puts the odd one left where the width is odd */
        left = missing / 2 + (missing & (missing + length) & 1);
    else if (call->builtin->detail != PAD_RIGHT)
        left = missing;
    pare_buffer buffer = {0};
    size_t sign =
        call->builtin->detail == PAD_ZERO && in->length && (*in->data == '-' || *in->data == '+');
    tpl_put(t, &buffer, in->data, sign);
    for (int64_t i = 0; i < missing && tpl_charge(t, 1); i++) {
        if (i == left)
            tpl_put(t, &buffer, in->data + sign, in->length - sign);
        tpl_put(t, &buffer, fill->data, fill->length);
    }
    if (left >= missing)
        tpl_put(t, &buffer, in->data + sign, in->length - sign);
    return tpl_take(t, &buffer);
}

static const tpl_builtin of_strings[] = {
    {"strip", "[chars]", strip, TPL_STRIP_LEFT | TPL_STRIP_RIGHT},
    {"lstrip", "[chars]", strip, TPL_STRIP_LEFT},
    {"rstrip", "[chars]", strip, TPL_STRIP_RIGHT},
    {"split", "[sep] [maxsplit]", split, 0},
    {"rsplit", "[sep] [maxsplit]", split, 1},
    {"splitlines", "[keepends]", split_lines, 0},
    {"startswith", "prefix [start] [end]", starts_or_ends, 0},
    {"endswith", "suffix [start] [end]", starts_or_ends, 1},
    {"removeprefix", "prefix", remove_affix, 0},
    {"removesuffix", "suffix", remove_affix, 1},
    {"replace", "old new [count]", replace, 0},
    {"upper", "", change_case, TPL_UPPER},
    {"lower", "", change_case, TPL_LOWER},
    {"title", "", change_case, TPL_TITLE},
    {"capitalize", "", change_case, TPL_CAPITALIZE},
    {"swapcase", "", change_case, TPL_SWAP},
    {"join", "iterable", join, 0},
    {"find", "sub [start] [end]", find, 0},
    {"rfind", "sub [start] [end]", find, FIND_LAST},
    {"index", "sub [start] [end]", find, FIND_MUST},
    {"rindex", "sub [start] [end]", find, FIND_LAST | FIND_MUST},
    {"count", "sub [start] [end]", count, 0},
    {"format", "*", tpl_format_braces, 0},
    {"partition", "sep", partition, 0},
    {"rpartition", "sep", partition, 1},
    {"islower", "", has_case, TPL_LOWER},
    {"isupper", "", has_case, TPL_UPPER},
    {"isalpha", "", is_kind, IS_ALPHA},
    {"isalnum", "", is_kind, IS_ALPHA | IS_NUMERIC},
    {"isdecimal", "", is_kind, IS_DECIMAL},
    {"isdigit", "", is_kind, IS_DIGIT},
    {"isnumeric", "", is_kind, IS_NUMERIC},
    {"isspace", "", is_kind, IS_SPACE},
    {"isascii", "", is_kind, IS_ASCII},
    {"rjust", "width [fillchar]", pad, PAD_LEFT},
    {"ljust", "width [fillchar]", pad, PAD_RIGHT},
    {"center", "width [fillchar]", pad, PAD_CENTER},
    {"zfill", "width", pad, PAD_ZERO},
    {"casefold", "", NULL, 0},
    {"encode", "", NULL, 0},
    {"expandtabs", "", NULL, 0},
    {"format_map", "", NULL, 0},
    {"isidentifier", "", NULL, 0},
    {"isprintable", "", NULL, 0},
    {"istitle", "", NULL, 0},
    {"maketrans", "", NULL, 0},
    {"translate", "", NULL, 0},
};

const tpl_builtin *tpl_find_string_method(const char *name)
{
    return tpl_find_row(of_strings, sizeof of_strings / sizeof *of_strings, name);
}
