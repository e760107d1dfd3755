/* The filters on single values. */
#include "text/template_eval.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static tpl_value string_value(const tpl_string *string)
{
    return (tpl_value){.type = TPL_STRING, .string = string};
}

tpl_value tpl_escape(tpl *t, tpl_value value)
{
    static const char marks[] = "&<>'\"";
    static const char *const escapes[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    const tpl_string *string = tpl_str(t, value);
    if (string->safe)
        return string_value(string);
    pare_buffer buffer = {0};
    const char *cursor = string->data, *end = cursor + string->length;
    for (const char *at = cursor; at <= end && !tpl_failed(t); at++) {
        const char *mark = at < end && *at ? strchr(marks, *at) : NULL;
        if (!mark && at < end)
            continue;
        tpl_put(t, &buffer, cursor, (size_t)(at - cursor));
        if (mark)
            tpl_put_text(t, &buffer, escapes[mark - marks]);
        cursor = at + 1;
    }
    tpl_value text = tpl_take(t, &buffer);
    if (text.type == TPL_STRING)
        ((tpl_string *)text.string)->safe = true;
    return text;
}

static tpl_value escape(tpl *t, const tpl_call *call)
{
    return tpl_escape(t, call->self);
}

static tpl_value safe(tpl *t, const tpl_call *call)
{
    tpl_string copy = *tpl_str(t, call->self);
    tpl_value text = tpl_text(t, copy.data, copy.length);
    if (text.type == TPL_STRING)
        ((tpl_string *)text.string)->safe = true;
    return text;
}

static tpl_value string(tpl *t, const tpl_call *call)
{
    return string_value(tpl_str(t, call->self));
}

static tpl_value change_case(tpl *t, const tpl_call *call)
{
    return tpl_change_case(t, tpl_str(t, call->self), (tpl_case)call->builtin->detail);
}

/* Unlike str.title, only blanks, hyphens and opening brackets begin a word. */
static tpl_value title(tpl *t, const tpl_call *call)
{
    const tpl_string *text = tpl_str(t, call->self);
    pare_buffer buffer = {0};
    const char *cursor = text->data, *end = cursor + text->length;
    bool first = true;
    tpl_charge(t, text->length / 8);
    while (cursor < end && !tpl_failed(t)) {
        const char *start = cursor;
        int32_t code = tpl_decode(&cursor, end);
        bool separator = tpl_is_space(code) || (code < 0x80 && code && strchr("-({[<", code));
        tpl_string one = {.data = start, .length = (size_t)(cursor - start), .characters = 1};
        if (code < 0x80 && !separator) {
            char c = (char)code;
            if (first && c >= 'a' && c <= 'z')
                c = (char)(c - 32);
            else if (!first && c >= 'A' && c <= 'Z')
                c = (char)(c + 32);
            tpl_put(t, &buffer, &c, 1);
        } else {
            tpl_put_value(t, &buffer,
                          separator ? string_value(&one)
                                    : tpl_change_case(t, &one, first ? TPL_UPPER : TPL_LOWER));
        }
        first = separator;
    }
    return tpl_take(t, &buffer);
}

static tpl_value trim(tpl *t, const tpl_call *call)
{
    return tpl_strip(t, tpl_str(t, call->self), tpl_arg_string(t, call, 0, NULL),
                     TPL_STRIP_LEFT | TPL_STRIP_RIGHT);
}

static tpl_value replace(tpl *t, const tpl_call *call)
{
    const tpl_string *text = tpl_str(t, call->self), *from = tpl_str(t, call->args[0]),
                     *to = tpl_str(t, call->args[1]);
    return tpl_replace(t, text, from, to, tpl_arg_int(t, call, 2, -1));
}

static tpl_value use_default(tpl *t, const tpl_call *call)
{
    bool missing = call->self.type == TPL_UNDEFINED ||
                   (tpl_arg_truth(call, 1, false) && !tpl_truth(call->self));
    if (!missing)
        return call->self;
    return call->args[0].type == TPL_ABSENT ? tpl_literal(t, "") : call->args[0];
}

static tpl_value tojson(tpl *t, const tpl_call *call)
{
    static const tpl_string comma = {.data = ", ", .length = 2}, tight = {.data = ",", .length = 1},
                            colon = {.data = ": ", .length = 2};
    tpl_json_style style = {.ascii = tpl_arg_truth(call, 0, false),
                            .sort = tpl_arg_truth(call, 3, false)};
    tpl_value indent = call->args[1], separators = call->args[2];
    if (tpl_is_integer(indent)) {
        int64_t width = tpl_integer(indent);
        if (width > 100)
            return tpl_fail(t, PARE_UNSUPPORTED, "an indent of %lld", (long long)width);
        pare_buffer blanks = {0};
        for (int64_t i = 0; i < width; i++)
            tpl_put_text(t, &blanks, " ");
        style.indent = tpl_str(t, tpl_take(t, &blanks));
    } else {
        style.indent = tpl_arg_string(t, call, 1, NULL);
    }
    style.item_separator = style.indent ? &tight : &comma;
    style.key_separator = &colon;
    if (separators.type == TPL_SEQUENCE && separators.sequence->count == 2) {
        style.item_separator = tpl_str(t, separators.sequence->items[0]);
        style.key_separator = tpl_str(t, separators.sequence->items[1]);
    } else if (separators.type != TPL_ABSENT && separators.type != TPL_NONE) {
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "tojson's separators are not a pair");
    }
    pare_buffer buffer = {0};
    tpl_put_json(t, &buffer, call->self, &style);
    return tpl_take(t, &buffer);
}

/* Text of a number without blanks around it and with Python's underscores taken out; false where it
 * is none. */
static bool number_text(tpl *t, const tpl_string *string, char *text, size_t room)
{
    tpl_value stripped = tpl_strip(t, string, NULL, TPL_STRIP_LEFT | TPL_STRIP_RIGHT);
    if (stripped.type != TPL_STRING || !stripped.string->length || stripped.string->length >= room)
        return false;
    size_t length = 0;
    const char *s = stripped.string->data;
    for (size_t i = 0; i < stripped.string->length; i++) {
        if (s[i] == '_') {
            bool between =
                i && i + 1 < stripped.string->length && s[i - 1] != '_' && s[i + 1] != '_';
            if (!between)
                return false;
        } else {
            text[length++] = s[i];
        }
    }
    text[length] = 0;
    return strlen(text) == length;
}

static bool parse_float(tpl *t, const tpl_string *string, double *value)
{
    char text[200], *end;
    if (!number_text(t, string, text, sizeof text) || strpbrk(text, "xXpP()"))
        return false;
    *value = strtod(text, &end);
    return !*end;
}

static bool parse_int(tpl *t, const tpl_string *string, int base, int64_t *value)
{
    char text[200], *end;
    if (!number_text(t, string, text, sizeof text) || (base == 10 && strpbrk(text, "xXbBoO")))
        return false;
    errno = 0;
    *value = strtoll(text, &end, base);
    if (errno == ERANGE)
        tpl_fail(t, PARE_LIMIT, "an integer grows over 64 bits");
    return !*end;
}

static tpl_value float_to_int(tpl *t, double value, tpl_value otherwise)
{
    if (isnan(value))
        return otherwise;
    if (isinf(value))
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "cannot convert float infinity to integer");
    if (!(value > -9.2e18 && value < 9.2e18))
        return tpl_fail(t, PARE_LIMIT, "an integer grows over 64 bits");
    return tpl_int((int64_t)value);
}

static tpl_value to_int(tpl *t, const tpl_call *call)
{
    tpl_value v = call->self,
              otherwise = call->args[0].type == TPL_ABSENT ? tpl_int(0) : call->args[0];
    int64_t integer, base = tpl_arg_int(t, call, 1, 10);
    double number;
    if (v.type == TPL_UNDEFINED)
        return tpl_fail_undefined(t, v);
    if (tpl_is_integer(v))
        return tpl_int(tpl_integer(v));
    if (v.type == TPL_FLOAT)
        return float_to_int(t, v.number, otherwise);
    if (v.type != TPL_STRING)
        return otherwise;
    if (base != 10 && base != 16 && base != 8 && base != 2)
        return tpl_fail(t, PARE_UNSUPPORTED, "the base %lld", (long long)base);
    if (parse_int(t, v.string, (int)base, &integer))
        return tpl_int(integer);
    return parse_float(t, v.string, &number) ? float_to_int(t, number, otherwise) : otherwise;
}

static tpl_value to_float(tpl *t, const tpl_call *call)
{
    double number;
    if (call->self.type == TPL_UNDEFINED)
        return tpl_fail_undefined(t, call->self);
    if (tpl_is_number(call->self))
        return tpl_float(tpl_number(call->self));
    if (call->self.type == TPL_STRING && parse_float(t, call->self.string, &number))
        return tpl_float(number);
    return call->args[0].type == TPL_ABSENT ? tpl_float(0) : call->args[0];
}

static tpl_value absolute(tpl *t, const tpl_call *call)
{
    tpl_value v = call->self;
    if (v.type == TPL_UNDEFINED)
        return tpl_fail_undefined(t, v);
    if (!tpl_is_number(v))
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "bad operand type for abs(): '%s'",
                        tpl_type_name(v));
    if (v.type == TPL_FLOAT)
        return tpl_float(fabs(v.number));
    return tpl_integer(v) < 0 ? tpl_negative(t, v) : tpl_int(tpl_integer(v));
}

/* Python rounds the exact decimal value half to even: printf does the same. */
static double round_decimal(double value, int64_t precision)
{
    char text[400];
    if (precision > 300 || !isfinite(value))
        return value;
    if (precision >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)(precision < 60 ? precision : 60), value);
        return strtod(text, NULL);
    }
    double scale = pow(10, (double)-precision);
    return isfinite(scale) ? nearbyint(value / scale) * scale : 0;
}

static tpl_value round_number(tpl *t, const tpl_call *call)
{
    static const tpl_string common = {.data = "common", .length = 6};
    const tpl_string *method = tpl_arg_string(t, call, 1, &common);
    tpl_value v = call->self, name = string_value(method);
    int64_t precision = tpl_arg_int(t, call, 0, 0);
    bool up = tpl_is_string(name, "ceil"), down = tpl_is_string(name, "floor");
    if (v.type == TPL_UNDEFINED)
        return tpl_fail_undefined(t, v);
    if (!tpl_is_number(v) || (!up && !down && !tpl_is_string(name, "common")))
        return tpl_fail(t, PARE_INVALID_ARGUMENT,
                        "round needs a number, and common, ceil or floor");
    if (!up && !down && v.type != TPL_FLOAT) {
        if (precision < 0)
            return tpl_fail(t, PARE_UNSUPPORTED, "an integer rounded to tens");
        return tpl_int(tpl_integer(v));
    }
    if (!up && !down)
        return tpl_float(round_decimal(v.number, precision));
    double scale = pow(10, (double)precision), scaled = tpl_number(v) * scale;
    return tpl_float((up ? ceil(scaled) : floor(scaled)) / scale);
}

static bool must_be_string(tpl *t, const tpl_call *call)
{
    if (call->self.type != TPL_STRING)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "the filter '%s' needs a string, not '%s'",
                 call->builtin->name, tpl_type_name(call->self));
    return !tpl_failed(t);
}

static tpl_value indent(tpl *t, const tpl_call *call)
{
    if (!must_be_string(t, call))
        return call->self;
    tpl_value width = call->args[0];
    const tpl_string *text = tpl_str(t, call->self), newline = {.data = "\n", .length = 1};
    bool first = tpl_arg_truth(call, 1, false), blank = tpl_arg_truth(call, 2, false);
    tpl_string prefix = {.data = "    ", .length = 4};
    pare_buffer blanks = {0}, buffer = {0};
    if (width.type == TPL_STRING) {
        prefix = *width.string;
    } else if (width.type != TPL_ABSENT) {
        int64_t count = tpl_arg_int(t, call, 0, 4);
        for (int64_t i = 0; i < count && tpl_charge(t, 1); i++)
            tpl_put_text(t, &blanks, " ");
        prefix = *tpl_str(t, tpl_take(t, &blanks));
    }
    tpl_value whole = tpl_binary(t, "+", string_value(text), string_value(&newline));
    if (tpl_failed(t))
        return whole;
    tpl_value lines = tpl_split_lines(t, whole.string, false);
    for (size_t i = 0; !tpl_failed(t) && i < lines.sequence->count; i++) {
        tpl_value line = lines.sequence->items[i];
        if (i)
            tpl_put_text(t, &buffer, "\n");
        if ((i || first) && (line.string->length || (blank && (i || first))))
            tpl_put(t, &buffer, prefix.data, prefix.length);
        else if (i == 0 && first)
            tpl_put(t, &buffer, prefix.data, prefix.length);
        tpl_put_value(t, &buffer, line);
    }
    return tpl_take(t, &buffer);
}

static tpl_value format(tpl *t, const tpl_call *call)
{
    tpl_value arguments =
        tpl_list_of(t, (tpl_items){call->raw->positional, call->raw->count}, TPL_TUPLE);
    if (call->raw->count && call->raw->named.count)
        return tpl_fail(t, PARE_INVALID_ARGUMENT,
                        "can't handle positional and keyword arguments at the same time");
    if (call->raw->named.count)
        arguments = (tpl_value){.type = TPL_DICT, .dict = (tpl_dict *)&call->raw->named};
    const tpl_string *text = tpl_str(t, call->self);
    return tpl_failed(t) ? arguments : tpl_format_percent(t, text, arguments);
}

static tpl_value truncate(tpl *t, const tpl_call *call)
{
    static const tpl_string dots = {.data = "...", .length = 3, .characters = 3};
    const tpl_string *tail = tpl_arg_string(t, call, 2, &dots), *text = call->self.string;
    int64_t length = tpl_arg_int(t, call, 0, 255), leeway = tpl_arg_int(t, call, 3, 5);
    int64_t kept = length - (int64_t)tpl_characters(tail);
    if (kept < 0 || leeway < 0)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "truncate: the length is less than the end's");
    if ((int64_t)tpl_length(t, call->self) - leeway <= length || !must_be_string(t, call))
        return call->self;
    const char *end = tpl_character_at(text, (size_t)kept);
    for (const char *at = end; !tpl_arg_truth(call, 1, false) && at > text->data; at--)
        if (at[-1] == ' ') { /* the last whole word */
            end = at - 1;
            break;
        }
    return tpl_binary(t, "+", tpl_substring(t, text, text->data, end), string_value(tail));
}

static tpl_value attribute(tpl *t, const tpl_call *call)
{
    tpl_value v = call->self;
    if (v.type == TPL_DICT) /* attributes only, not items */
        return tpl_undefined_item(t, v, call->args[0]);
    return tpl_get_attribute(t, v, call->args[0]);
}

static tpl_value center(tpl *t, const tpl_call *call)
{
    tpl_value text = string_value(tpl_str(t, call->self)),
              width = tpl_int(tpl_arg_int(t, call, 0, 80));
    tpl_arguments arguments = {.positional = &width, .count = 1};
    return tpl_failed(t)
               ? text
               : tpl_run_builtin(t, "filter", tpl_find_method(text, "center"), text, &arguments);
}

static const tpl_builtin filters[] = {
    {"abs", "", absolute, 0},
    {"attr", "name", attribute, 0},
    {"capitalize", "", change_case, TPL_CAPITALIZE},
    {"center", "[width]", center, 0},
    {"d", "[default_value] [boolean]", use_default, 0},
    {"default", "[default_value] [boolean]", use_default, 0},
    {"e", "", escape, 0},
    {"escape", "", escape, 0},
    {"float", "[default]", to_float, 0},
    {"format", "*", format, 0},
    {"indent", "[width] [first] [blank]", indent, 0},
    {"int", "[default] [base]", to_int, 0},
    {"lower", "", change_case, TPL_LOWER},
    {"replace", "old new [count]", replace, 0},
    {"round", "[precision] [method]", round_number, 0},
    {"safe", "", safe, 0},
    {"string", "", string, 0},
    {"title", "", title, 0},
    {"tojson", "[ensure_ascii] [indent] [separators] [sort_keys]", tojson, 0},
    {"trim", "[chars]", trim, 0},
    {"truncate", "[length] [killwords] [end] [leeway]", truncate, 0},
    {"upper", "", change_case, TPL_UPPER},
};

const tpl_builtin *tpl_find_filter(const char *name)
{
    const tpl_builtin *found = tpl_find_row(filters, sizeof filters / sizeof *filters, name);
    return found ? found : tpl_find_sequence_filter(name);
}
