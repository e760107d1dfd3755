/* "..." % arguments and "...".format(): the conversions that templates use. */
#include "text/template_eval.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH_LIMIT = 10000, NUMBER_BYTES = 512 };

typedef struct conversion {
    char fill[4];
    size_t fill_length;
    char align;        /* '<', '>', '^', '=' or 0 for the type's own */
    char sign;         /* '+', ' ' or 0 */
    bool alternate;    /* '#' */
    bool grouped;      /* ',' */
    int64_t width;     /* characters */
    int64_t precision; /* -1: none */
    char type;         /* 0: as the value is */
} conversion;

static void put_fill(tpl *t, pare_buffer *buffer, const conversion *c, int64_t count)
{
    for (int64_t i = 0; i < count && !tpl_failed(t); i++)
        tpl_put(t, buffer, c->fill, c->fill_length);
}

static void put_padded(tpl *t, pare_buffer *buffer, const conversion *c, const tpl_string *text,
                       char align)
{
    int64_t missing = c->width - (int64_t)tpl_characters(text), left = 0;
    size_t sign = align == '=' && text->length && strchr("+- ", text->data[0]) ? 1 : 0;
    missing = missing < 0 ? 0 : missing;
    left = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
    tpl_put(t, buffer, text->data, sign);
    put_fill(t, buffer, c, left);
    tpl_put(t, buffer, text->data + sign, text->length - sign);
    put_fill(t, buffer, c, missing - left);
}

static void put_string(tpl *t, pare_buffer *buffer, const conversion *c, const tpl_string *text)
{
    tpl_string cut = *text;
    if (c->precision >= 0 && (size_t)c->precision < tpl_characters(text)) {
        cut.length = (size_t)(tpl_character_at(text, (size_t)c->precision) - text->data);
        cut.characters = (size_t)c->precision;
    }
    put_padded(t, buffer, c, &cut, c->align ? c->align : '<');
}

/* Commas between groups of three digits of the integer part. */
static void group_digits(char *text, size_t room)
{
    char *start = text + (strchr("+- ", *text) && *text ? 1 : 0);
    size_t digits = strspn(start, "0123456789"), length = strlen(text);
    for (size_t at = digits; at > 3 && length + 2 < room; length++) {
        at -= 3;
        memmove(start + at + 1, start + at, strlen(start + at) + 1);
        start[at] = ',';
    }
}

static void integer_text(tpl *t, const conversion *c, tpl_value value, char *text)
{
    int64_t integer = value.type == TPL_FLOAT ? (int64_t)value.number : tpl_integer(value);
    uint64_t magnitude = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
    const char *sign = integer < 0 ? "-" : c->sign == '+' ? "+" : c->sign == ' ' ? " " : "";
    int digits = c->precision > 0 && c->precision < 100 ? (int)c->precision : 1;
    const char *prefix = !c->alternate    ? ""
                         : c->type == 'x' ? "0x"
                         : c->type == 'X' ? "0X"
                         : c->type == 'o' ? "0o"
                                          : "";
    if (c->type == 'x')
        snprintf(text, NUMBER_BYTES, "%s%s%.*llx", sign, prefix, digits,
                 (unsigned long long)magnitude);
    else if (c->type == 'X')
        snprintf(text, NUMBER_BYTES, "%s%s%.*llX", sign, prefix, digits,
                 (unsigned long long)magnitude);
    else if (c->type == 'o')
        snprintf(text, NUMBER_BYTES, "%s%s%.*llo", sign, prefix, digits,
                 (unsigned long long)magnitude);
    else
        snprintf(text, NUMBER_BYTES, "%s%.*llu", sign, digits, (unsigned long long)magnitude);
    if (value.type == TPL_FLOAT && !(value.number > -9.2e18 && value.number < 9.2e18))
        tpl_fail(t, PARE_LIMIT, "an integer grows over 64 bits");
}

static void real_text(tpl *t, const conversion *c, double value, char *text)
{
    char format[16], type = c->type == '%' ? 'f' : c->type;
    int precision = c->precision < 0 ? 6 : (int)c->precision;
    if (precision > 100) {
        tpl_fail(t, PARE_UNSUPPORTED, "a precision of %d digits", precision);
        return;
    }
    snprintf(format, sizeof format, "%%%s%s.*%c",
             c->sign == '+'   ? "+"
             : c->sign == ' ' ? " "
                              : "",
             c->alternate ? "#" : "", type);
    snprintf(text, NUMBER_BYTES - 1, format, precision, c->type == '%' ? value * 100 : value);
    if (c->type == '%')
        strcat(text, "%");
}

/* The value by the conversion's type, padded. */
static void put_number(tpl *t, pare_buffer *buffer, const conversion *c, tpl_value value)
{
    char text[NUMBER_BYTES] = "";
    bool real = c->type && strchr("eEfFgG%", c->type);
    if (!tpl_is_number(value)) {
        tpl_fail(t, PARE_INVALID_ARGUMENT, "format '%c' requires a number, not %s", c->type,
                 tpl_type_name(value));
        return;
    }
    if (real)
        real_text(t, c, tpl_number(value), text);
    else
        integer_text(t, c, value, text);
    if (c->grouped)
        group_digits(text, sizeof text);
    tpl_string string = {.data = text, .length = strlen(text), .characters = strlen(text)};
    put_padded(t, buffer, c, &string, c->align ? c->align : '>');
}

static int64_t take_number(const char **cursor, const char *end)
{
    int64_t value = 0;
    while (*cursor < end && **cursor >= '0' && **cursor <= '9' && value < WIDTH_LIMIT)
        value = value * 10 + (*(*cursor)++ - '0');
    return value;
}

static void check_width(tpl *t, const conversion *c)
{
    if (c->width >= WIDTH_LIMIT || c->precision >= WIDTH_LIMIT)
        tpl_fail(t, PARE_LIMIT, "a formatted width is over %d", WIDTH_LIMIT);
}

/* The arguments of a "%" expression, taken one after the other or by key. */
typedef struct percent {
    const char *cursor, *end;
    tpl_value arguments;
    const tpl_value *items;
    size_t count, used;
} percent;

static tpl_value next_argument(tpl *t, percent *p)
{
    if (p->used < p->count)
        return p->items[p->used++];
    return tpl_fail(t, PARE_INVALID_ARGUMENT, "not enough arguments for format string");
}

static tpl_value keyed_argument(tpl *t, percent *p)
{
    const char *start = ++p->cursor, *stop = memchr(start, ')', (size_t)(p->end - start));
    if (!stop)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "incomplete format key");
    p->cursor = stop + 1;
    if (p->arguments.type != TPL_DICT)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "format requires a mapping");
    p->used = p->count;
    const tpl_value *value =
        tpl_dict_get(t, p->arguments.dict, tpl_text(t, start, (size_t)(stop - start)));
    return value ? *value
                 : tpl_fail(t, PARE_INVALID_ARGUMENT, "the format's key is not in the mapping");
}

static void percent_flags(percent *p, conversion *c)
{
    for (; p->cursor < p->end && strchr("-+ #0", *p->cursor); p->cursor++) {
        if (*p->cursor == '-')
            c->align = '<';
        else if (*p->cursor == '+' || (*p->cursor == ' ' && !c->sign))
            c->sign = *p->cursor;
        else if (*p->cursor == '#')
            c->alternate = true;
        else if (*p->cursor == '0' && !c->align) {
            c->align = '=';
            c->fill[0] = '0';
        }
    }
}

static void put_percent(tpl *t, pare_buffer *buffer, percent *p)
{
    conversion c = {.fill = " ", .fill_length = 1, .precision = -1};
    tpl_value value = {0};
    if (p->cursor < p->end && *p->cursor == '(')
        value = keyed_argument(t, p);
    percent_flags(p, &c);
    c.width = take_number(&p->cursor, p->end);
    if (p->cursor < p->end && *p->cursor == '.') {
        p->cursor++;
        c.precision = take_number(&p->cursor, p->end);
    }
    check_width(t, &c);
    if (tpl_failed(t))
        return;
    if (p->cursor == p->end) {
        tpl_fail(t, PARE_INVALID_ARGUMENT, "incomplete format");
        return;
    }
    c.type = *p->cursor++;
    if (c.type == '%') {
        tpl_put_text(t, buffer, "%");
        return;
    }
    if (!strchr("sdiufFeEgGxXor", c.type)) {
        tpl_fail(t, PARE_UNSUPPORTED, "the conversion '%%%c'", c.type);
        return;
    }
    if (value.type == TPL_ABSENT)
        value = next_argument(t, p);
    if (tpl_failed(t))
        return;
    if (c.type == 's' || c.type == 'r') {
        pare_buffer repr = {0};
        if (c.type == 'r')
            tpl_put_repr(t, &repr, value);
        tpl_value text = c.type == 'r' ? tpl_take(t, &repr) : value;
        if (c.align == '=') /* 0 pads numbers only */
            c.align = '>', c.fill[0] = ' ';
        c.align = c.align ? c.align : '>';
        put_string(t, buffer, &c, tpl_str(t, text));
    } else {
        put_number(t, buffer, &c, value);
    }
}

tpl_value tpl_format_percent(tpl *t, const tpl_string *format, tpl_value arguments)
{
    percent p = {.cursor = format->data,
                 .end = format->data + format->length,
                 .arguments = arguments,
                 .count = 1};
    tpl_value single = arguments;
    pare_buffer buffer = {0};
    p.items = &single;
    if (arguments.type == TPL_SEQUENCE &&
        (arguments.sequence->kind == TPL_TUPLE || arguments.sequence->kind == TPL_GROUP)) {
        p.items = arguments.sequence->items;
        p.count = arguments.sequence->count;
    }
    while (p.cursor < p.end && !tpl_failed(t)) {
        const char *stop = memchr(p.cursor, '%', (size_t)(p.end - p.cursor));
        tpl_put(t, &buffer, p.cursor, (size_t)((stop ? stop : p.end) - p.cursor));
        p.cursor = stop ? stop + 1 : p.end;
        if (stop)
            put_percent(t, &buffer, &p);
    }
    bool mapping = arguments.type == TPL_DICT || arguments.type == TPL_UNDEFINED ||
                   (arguments.type == TPL_SEQUENCE && arguments.sequence->kind == TPL_LIST);
    if (p.used < p.count && !mapping)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "not all arguments converted during string formatting");
    return tpl_take(t, &buffer);
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static void parse_spec(tpl *t, conversion *c, const char *cursor, const char *end)
{
    static const char aligns[] = "<>=^";
    const char *after = cursor;
    if (cursor < end)
        tpl_decode(&after, end);
    if (after < end && strchr(aligns, *after)) {
        memcpy(c->fill, cursor, c->fill_length = (size_t)(after - cursor));
        c->align = *after;
        cursor = after + 1;
    } else if (cursor < end && strchr(aligns, *cursor)) {
        c->align = *cursor++;
    }
    if (cursor < end && strchr("+- ", *cursor))
        c->sign = *cursor++;
    if (cursor < end && *cursor == '#') {
        c->alternate = true;
        cursor++;
    }
    if (cursor < end && *cursor == '0') {
        if (!c->align) {
            c->align = '=';
            c->fill[0] = '0';
        }
        cursor++;
    }
    c->width = take_number(&cursor, end);
    if (cursor < end && *cursor == ',') {
        c->grouped = true;
        cursor++;
    }
    if (cursor < end && *cursor == '.') {
        cursor++;
        c->precision = take_number(&cursor, end);
    }
    if (cursor < end)
        c->type = *cursor++;
    check_width(t, c);
    if (cursor < end || (c->type && !strchr("sdfFeEgGxXo%", c->type)))
        tpl_fail(t, PARE_UNSUPPORTED, "this format specification of str.format");
}

static void put_by_spec(tpl *t, pare_buffer *buffer, tpl_value value, const char *spec,
                        const char *end)
{
    conversion c = {.fill = " ", .fill_length = 1, .precision = -1};
    parse_spec(t, &c, spec, end);
    if (tpl_failed(t))
        return;
    if (spec == end) {
        tpl_put_value(t, buffer, value);
    } else if (value.type == TPL_STRING && (!c.type || c.type == 's')) {
        if (c.align == '=')
            c.align = '<';
        put_string(t, buffer, &c, value.string);
    } else if (!tpl_is_number(value) || value.type == TPL_BOOL || c.type == 's') {
        tpl_fail(t, PARE_UNSUPPORTED, "a format specification for '%s'", tpl_type_name(value));
    } else if (value.type == TPL_FLOAT && !c.type) {
        if (c.precision >= 0)
            tpl_fail(t, PARE_UNSUPPORTED, "a precision without a type in str.format");
        const tpl_string *text = tpl_str(t, value);
        put_padded(t, buffer, &c, text, c.align ? c.align : '>');
    } else {
        put_number(t, buffer, &c, value);
    }
}

/* What stands before '!' and ':' in a replacement field. */
static tpl_value field_value(tpl *t, const tpl_call *call, const char *start, const char *end,
                             size_t *next)
{
    size_t index = 0, length = (size_t)(end - start);
    bool number = length > 0 && length < 9;
    for (const char *c = start; c < end; c++) {
        if (*c == '.' || *c == '[')
            return tpl_fail(t, PARE_UNSUPPORTED, "'.' or '[' in a field of str.format");
        number = number && *c >= '0' && *c <= '9';
        index = number ? index * 10 + (size_t)(*c - '0') : 0;
    }
    if (!length)
        index = (*next)++;
    if (!length || number)
        return index < call->raw->count
                   ? call->raw->positional[index]
                   : tpl_fail(t, PARE_INVALID_ARGUMENT,
                              "Replacement index %zu out of range for positional args tuple",
                              index);
    const tpl_value *value = tpl_dict_get(t, &call->raw->named, tpl_text(t, start, length));
    return value ? *value
                 : tpl_fail(t, PARE_INVALID_ARGUMENT, "str.format has no argument '%.*s'",
                            (int)length, start);
}

static void put_field(tpl *t, pare_buffer *buffer, const tpl_call *call, const char *start,
                      const char *end, size_t *next)
{
    const char *colon = memchr(start, ':', (size_t)(end - start)), *name_end = colon ? colon : end;
    const char *mark = memchr(start, '!', (size_t)(name_end - start));
    tpl_value value = field_value(t, call, start, mark ? mark : name_end, next);
    if (tpl_failed(t))
        return;
    if (memchr(start, '{', (size_t)(end - start)))
        tpl_fail(t, PARE_UNSUPPORTED, "nested fields in str.format");
    if (mark && mark + 2 == name_end && mark[1] == 'r') {
        pare_buffer repr = {0};
        tpl_put_repr(t, &repr, value);
        value = tpl_take(t, &repr);
    } else if (mark && mark + 2 == name_end && mark[1] == 's') {
        value = (tpl_value){.type = TPL_STRING, .string = tpl_str(t, value)};
    } else if (mark) {
        tpl_fail(t, PARE_UNSUPPORTED, "this conversion in str.format");
    }
    put_by_spec(t, buffer, value, colon ? colon + 1 : end, end);
}

tpl_value tpl_format_braces(tpl *t, const tpl_call *call)
{
    const char *cursor = call->self.string->data, *end = cursor + call->self.string->length;
    pare_buffer buffer = {0};
    size_t next = 0;
    while (cursor < end && tpl_charge(t, 1)) {
        const char *brace = cursor;
        while (brace < end && *brace != '{' && *brace != '}')
            brace++;
        tpl_put(t, &buffer, cursor, (size_t)(brace - cursor));
        if (brace == end)
            break;
        if (brace + 1 < end && brace[1] == *brace) {
            tpl_put(t, &buffer, brace, 1);
            cursor = brace + 2;
            continue;
        }
        const char *close = *brace == '{' ? memchr(brace, '}', (size_t)(end - brace)) : NULL;
        if (!close)
            tpl_fail(t, PARE_INVALID_ARGUMENT, "Single '%c' encountered in format string", *brace);
        else
            put_field(t, &buffer, call, brace + 1, close, &next);
        cursor = close ? close + 1 : end;
    }
    return tpl_take(t, &buffer);
}
