/* Arithmetic, concatenation and slices, as Python has them. */
#include "text/template_eval.h"

#include "base/checked.h"

#include <math.h>
#include <string.h>

static tpl_value too_large(tpl *t)
{
    return tpl_fail(t, PARE_LIMIT, "an integer grows over 64 bits");
}

tpl_value tpl_negative(tpl *t, tpl_value value)
{
    if (value.type == TPL_FLOAT)
        return tpl_float(-value.number);
    int64_t integer = tpl_integer(value);
    return integer == INT64_MIN ? too_large(t) : tpl_int(-integer);
}

static tpl_value no_operator(tpl *t, const char *symbol, tpl_value a, tpl_value b)
{
    if (a.type == TPL_STRING && *symbol == '+')
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "can only concatenate str (not \"%s\") to str",
                        tpl_type_name(b));
    return tpl_fail(t, PARE_INVALID_ARGUMENT, "unsupported operand type(s) for %s: '%s' and '%s'",
                    symbol, tpl_type_name(a), tpl_type_name(b));
}

/* Python rounds the quotient down and gives the remainder the divisor's sign. */
static tpl_value divide_integers(tpl *t, char symbol, int64_t x, int64_t y)
{
    if (y == 0)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "division by zero");
    if (y == -1)
        return symbol == '%' ? tpl_int(0) : tpl_negative(t, tpl_int(x));
    int64_t quotient = x / y, remainder = x % y;
    if (remainder && (remainder < 0) != (y < 0)) {
        quotient--;
        remainder += y;
    }
    return tpl_int(symbol == '%' ? remainder : quotient);
}

static tpl_value divide_floats(tpl *t, const char *symbol, double x, double y)
{
    if (y == 0)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "division by zero");
    if (!strcmp(symbol, "/"))
        return tpl_float(x / y);
    double remainder = fmod(x, y);
    double quotient = (x - remainder) / y;
    if (remainder != 0) {
        if ((remainder < 0) != (y < 0)) {
            remainder += y;
            quotient -= 1;
        }
    } else {
        remainder = copysign(0, y);
    }
    if (*symbol == '%')
        return tpl_float(remainder);
    double floored = floor(quotient);
    if (quotient - floored > 0.5)
        floored += 1;
    return tpl_float(quotient != 0 ? floored : copysign(0, x / y));
}

static tpl_value power_of_integers(tpl *t, int64_t base, int64_t exponent)
{
    if (exponent < 0) {
        if (base == 0)
            return tpl_fail(t, PARE_INVALID_ARGUMENT, "0.0 cannot be raised to a negative power");
        return tpl_float(pow((double)base, (double)exponent));
    }
    int64_t result = 1;
    for (;;) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
            return too_large(t);
        exponent >>= 1;
        if (!exponent)
            return tpl_int(result);
        if (__builtin_mul_overflow(base, base, &base))
            return too_large(t);
    }
}

static tpl_value power_of_floats(tpl *t, double base, double exponent)
{
    if (base == 0 && exponent < 0)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "0.0 cannot be raised to a negative power");
    if (base < 0 && exponent != floor(exponent))
        return tpl_fail(t, PARE_UNSUPPORTED, "complex numbers");
    double result = pow(base, exponent);
    if (isinf(result) && isfinite(base) && isfinite(exponent))
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "a power is too large");
    return tpl_float(result);
}

static tpl_value integers(tpl *t, const char *symbol, int64_t x, int64_t y)
{
    int64_t result;
    bool overflow;
    if (*symbol == '+')
        overflow = __builtin_add_overflow(x, y, &result);
    else if (*symbol == '-')
        overflow = __builtin_sub_overflow(x, y, &result);
    else if (!strcmp(symbol, "*"))
        overflow = __builtin_mul_overflow(x, y, &result);
    else if (!strcmp(symbol, "**"))
        return power_of_integers(t, x, y);
    else if (!strcmp(symbol, "/"))
        return y ? tpl_float((double)((long double)x / (long double)y))
                 : divide_integers(t, '/', x, y);
    else
        return divide_integers(t, *symbol, x, y);
    return overflow ? too_large(t) : tpl_int(result);
}

static tpl_value floats(tpl *t, const char *symbol, double x, double y)
{
    if (*symbol == '+')
        return tpl_float(x + y);
    if (*symbol == '-')
        return tpl_float(x - y);
    if (!strcmp(symbol, "*"))
        return tpl_float(x * y);
    if (!strcmp(symbol, "**"))
        return power_of_floats(t, x, y);
    return divide_floats(t, symbol, x, y);
}

static tpl_value concatenate(tpl *t, const tpl_string *a, const tpl_string *b)
{
    size_t length;
    if (!b->length && a->safe == b->safe)
        return (tpl_value){.type = TPL_STRING, .string = a};
    if (!a->length && a->safe == b->safe)
        return (tpl_value){.type = TPL_STRING, .string = b};
    if (!pare_add_size(a->length, b->length, &length))
        return too_large(t);
    char *bytes = tpl_allocate(t, length, 1);
    if (!bytes || !tpl_charge(t, length / 64))
        return (tpl_value){.type = TPL_UNDEFINED};
    memcpy(bytes, a->data, a->length);
    memcpy(bytes + a->length, b->data, b->length);
    tpl_value joined = tpl_text(t, bytes, length);
    if (joined.type == TPL_STRING)
        ((tpl_string *)joined.string)->safe = a->safe && b->safe;
    return joined;
}

static tpl_value add_strings(tpl *t, tpl_value a, tpl_value b)
{
    if (a.string->safe != b.string->safe) { /* what is not safe is escaped */
        a = tpl_escape(t, a);
        b = tpl_escape(t, b);
    }
    return tpl_failed(t) ? a : concatenate(t, a.string, b.string);
}

static tpl_value add_sequences(tpl *t, tpl_value a, tpl_value b)
{
    tpl_kind kind = a.sequence->kind == TPL_GROUP ? TPL_TUPLE : a.sequence->kind;
    tpl_kind other = b.sequence->kind == TPL_GROUP ? TPL_TUPLE : b.sequence->kind;
    if (kind != other || kind > TPL_TUPLE)
        return no_operator(t, "+", a, b);
    tpl_value sum = tpl_sequence_new(t, kind, a.sequence->count + b.sequence->count);
    for (size_t i = 0; i < a.sequence->count; i++)
        tpl_append(t, sum, a.sequence->items[i]);
    for (size_t i = 0; i < b.sequence->count; i++)
        tpl_append(t, sum, b.sequence->items[i]);
    tpl_charge(t, (a.sequence->count + b.sequence->count) / 8);
    return sum;
}

static tpl_value repeat(tpl *t, tpl_value value, int64_t times)
{
    if (times < 0)
        times = 0;
    if (value.type == TPL_STRING) {
        pare_buffer buffer = {0};
        for (int64_t i = 0; i < times && value.string->length && tpl_charge(t, 1); i++)
            tpl_put(t, &buffer, value.string->data, value.string->length);
        tpl_value text = tpl_take(t, &buffer);
        if (text.type == TPL_STRING)
            ((tpl_string *)text.string)->safe = value.string->safe;
        return text;
    }
    tpl_value list =
        tpl_sequence_new(t, value.sequence->kind == TPL_LIST ? TPL_LIST : TPL_TUPLE, 0);
    for (int64_t i = 0; i < times && value.sequence->count && tpl_charge(t, 1); i++)
        for (size_t j = 0; j < value.sequence->count; j++)
            tpl_append(t, list, value.sequence->items[j]);
    return list;
}

static bool repeatable(tpl_value value)
{
    return value.type == TPL_STRING ||
           (value.type == TPL_SEQUENCE && value.sequence->kind <= TPL_GROUP);
}

static tpl_value join_texts(tpl *t, tpl_value a, tpl_value b)
{
    tpl_string x = *tpl_str(t, a), y = *tpl_str(t, b);
    x.safe = y.safe = false; /* `~` gives a plain string */
    tpl_string *copies = tpl_allocate(t, 2, sizeof *copies);
    if (!copies)
        return a;
    copies[0] = x;
    copies[1] = y;
    return concatenate(t, &copies[0], &copies[1]);
}

tpl_value tpl_binary(tpl *t, const char *symbol, tpl_value a, tpl_value b)
{
    if (tpl_failed(t))
        return a;
    if (*symbol == '~')
        return join_texts(t, a, b);
    if (a.type == TPL_STRING && *symbol == '%')
        return tpl_format_percent(t, a.string, b);
    if (a.type == TPL_UNDEFINED || b.type == TPL_UNDEFINED)
        return tpl_fail_undefined(t, a.type == TPL_UNDEFINED ? a : b);
    if (tpl_is_integer(a) && tpl_is_integer(b))
        return integers(t, symbol, tpl_integer(a), tpl_integer(b));
    if (tpl_is_number(a) && tpl_is_number(b))
        return floats(t, symbol, tpl_number(a), tpl_number(b));
    if (*symbol == '+' && a.type == TPL_STRING && b.type == TPL_STRING)
        return add_strings(t, a, b);
    if (*symbol == '+' && a.type == TPL_SEQUENCE && b.type == TPL_SEQUENCE)
        return add_sequences(t, a, b);
    if (!strcmp(symbol, "*") && repeatable(a) && tpl_is_integer(b))
        return repeat(t, a, tpl_integer(b));
    if (!strcmp(symbol, "*") && repeatable(b) && tpl_is_integer(a))
        return repeat(t, b, tpl_integer(a));
    return no_operator(t, symbol, a, b);
}

/* Python's slice.indices: the first index, the step and the number of items. */
static int64_t slice_bounds(tpl *t, tpl_value bounds[3], int64_t length, int64_t *first,
                            int64_t *step)
{
    for (size_t i = 0; i < 3; i++)
        if (bounds[i].type != TPL_NONE && !tpl_is_integer(bounds[i]))
            tpl_fail(t, PARE_INVALID_ARGUMENT, "slice indices must be integers or None");
    *step = bounds[2].type == TPL_NONE ? 1 : tpl_integer(bounds[2]);
    if (*step == 0)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "slice step cannot be zero");
    if (tpl_failed(t))
        return 0;
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? length - 1 : length, ends[2];
    for (size_t i = 0; i < 2; i++) {
        if (bounds[i].type == TPL_NONE) {
            ends[i] = (i == 0) == (*step > 0) ? low : high;
            continue;
        }
        int64_t index = tpl_integer(bounds[i]);
        if (index < 0)
            index = index < -length ? -1 - length : index; /* no overflow in the sum */
        ends[i] = index < 0 ? index + length : index;
        ends[i] = ends[i] < low ? low : ends[i] > high ? high : ends[i];
    }
    *first = ends[0];
    uint64_t distance = *step > 0 ? (uint64_t)(ends[1] - ends[0]) : (uint64_t)(ends[0] - ends[1]);
    if (*step > 0 ? ends[1] <= ends[0] : ends[0] <= ends[1])
        return 0;
    uint64_t stride = *step > 0 ? (uint64_t)*step : 0 - (uint64_t)*step;
    return (int64_t)((distance - 1) / stride) + 1;
}

static tpl_value slice_string(tpl *t, const tpl_string *string, int64_t first, int64_t step,
                              int64_t count)
{
    const char *end = string->data + string->length;
    if (step == 1) {
        const char *start = tpl_character_at(string, (size_t)first), *stop = start;
        if (tpl_characters(string) == string->length)
            stop = start + count;
        for (int64_t i = 0; i < count && stop < end && tpl_characters(string) != string->length;
             i++)
            tpl_decode(&stop, end);
        tpl_charge(t, string->length / 64);
        return tpl_substring(t, string, start, stop);
    }
    tpl_items all = tpl_iterate(t, (tpl_value){.type = TPL_STRING, .string = string});
    pare_buffer buffer = {0};
    for (int64_t i = 0, at = first; i < count && all.count && tpl_charge(t, 1); i++) {
        tpl_put_value(t, &buffer, all.data[at]);
        if (i + 1 < count) /* the step over the last item may overflow */
            at += step;
    }
    return tpl_take(t, &buffer);
}

static tpl_value slice_sequence(tpl *t, const tpl_sequence *s, int64_t first, int64_t step,
                                int64_t count)
{
    tpl_value result =
        tpl_sequence_new(t, s->kind == TPL_GROUP ? TPL_TUPLE : s->kind, (size_t)count);
    for (int64_t i = 0, at = first; i < count && !tpl_failed(t); i++) {
        tpl_append(t, result, s->items[at]);
        if (i + 1 < count)
            at += step;
    }
    tpl_charge(t, (uint64_t)count / 8);
    if (s->kind == TPL_RANGE && !tpl_failed(t)) {
        int64_t stride = 0;
        if (__builtin_mul_overflow(s->step, step, &stride))
            return too_large(t);
        int64_t start = s->count ? s->start + first * s->step : s->start;
        result.sequence->start = start;
        result.sequence->step = stride;
        result.sequence->stop = start + count * stride;
    }
    return result;
}

tpl_value tpl_get_slice(tpl *t, tpl_value object, tpl_value start, tpl_value stop, tpl_value step)
{
    if (tpl_failed(t))
        return object;
    if (object.type == TPL_UNDEFINED)
        return tpl_fail_undefined(t, object);
    bool string = object.type == TPL_STRING;
    if (!string && !(object.type == TPL_SEQUENCE && object.sequence->kind <= TPL_RANGE))
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "'%s' object is not subscriptable",
                        tpl_type_name(object));
    int64_t first, stride;
    int64_t length =
        string ? (int64_t)tpl_characters(object.string) : (int64_t)object.sequence->count;
    int64_t count = slice_bounds(t, (tpl_value[]){start, stop, step}, length, &first, &stride);
    if (tpl_failed(t))
        return object;
    return string ? slice_string(t, object.string, first, stride, count)
                  : slice_sequence(t, object.sequence, first, stride, count);
}
