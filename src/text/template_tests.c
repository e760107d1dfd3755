/* The tests: `value is NAME`. */
#include "text/template_eval.h"

#include <string.h>

enum {
    IS_DEFINED,
    IS_UNDEFINED,
    IS_NONE,
    IS_BOOLEAN,
    IS_TRUE,
    IS_FALSE,
    IS_INTEGER,
    IS_FLOAT,
    IS_NUMBER,
    IS_STRING,
    IS_MAPPING,
    IS_ITERABLE,
    IS_SEQUENCE,
    IS_CALLABLE,
    IS_ESCAPED
};

static bool is_sequence(tpl_value v)
{
    return v.type == TPL_STRING || v.type == TPL_DICT || v.type == TPL_UNDEFINED ||
           (v.type == TPL_SEQUENCE && v.sequence->kind <= TPL_RANGE);
}

static tpl_value is_kind(tpl *t, const tpl_call *call)
{
    tpl_value v = call->self;
    switch (call->builtin->detail) {
    case IS_DEFINED:
        return tpl_bool(v.type != TPL_UNDEFINED);
    case IS_UNDEFINED:
        return tpl_bool(v.type == TPL_UNDEFINED);
    case IS_NONE:
        return tpl_bool(v.type == TPL_NONE);
    case IS_BOOLEAN:
        return tpl_bool(v.type == TPL_BOOL);
    case IS_TRUE:
    case IS_FALSE:
        return tpl_bool(v.type == TPL_BOOL && v.boolean == (call->builtin->detail == IS_TRUE));
    case IS_INTEGER:
        return tpl_bool(v.type == TPL_INT);
    case IS_FLOAT:
        return tpl_bool(v.type == TPL_FLOAT);
    case IS_NUMBER:
        return tpl_bool(tpl_is_number(v));
    case IS_STRING:
        return tpl_bool(v.type == TPL_STRING);
    case IS_MAPPING:
        return tpl_bool(v.type == TPL_DICT);
    case IS_ITERABLE:
        return tpl_bool(is_sequence(v) || v.type == TPL_SEQUENCE || v.type == TPL_LOOP);
    case IS_SEQUENCE:
        return tpl_bool(is_sequence(v));
    case IS_CALLABLE:
        return tpl_bool(v.type == TPL_MACRO || v.type == TPL_FUNCTION || v.type == TPL_METHOD ||
                        v.type == TPL_LOOP || v.type == TPL_JOINER || v.type == TPL_UNDEFINED);
    default:
        return tpl_bool(v.type == TPL_STRING && v.string->safe);
    }
}

enum { EQ, NE, LT, LE, GT, GE };

static tpl_value compares(tpl *t, const tpl_call *call)
{
    static const char *const symbols[] = {"==", "!=", "<", "<=", ">", ">="};
    int detail = call->builtin->detail;
    if (detail <= NE)
        return tpl_bool(tpl_equal(t, call->self, call->args[0]) == (detail == EQ));
    int order = tpl_compare(t, call->self, call->args[0], symbols[detail]);
    return tpl_bool((order == 0 && (detail == LE || detail == GE)) ||
                    order == (detail <= LE ? -1 : 1));
}

static tpl_value is_in(tpl *t, const tpl_call *call)
{
    return tpl_bool(tpl_contains(t, call->args[0], call->self));
}

static tpl_value divides(tpl *t, const tpl_call *call)
{
    int detail = call->builtin->detail; /* 0: divisibleby, 1: odd, 2: even */
    tpl_value rest = tpl_binary(t, "%", call->self, detail ? tpl_int(2) : call->args[0]);
    return tpl_bool(tpl_is_number(rest) && tpl_number(rest) == (detail == 1 ? 1 : 0));
}

static tpl_value is_cased(tpl *t, const tpl_call *call)
{
    return tpl_bool(tpl_has_case(tpl_str(t, call->self), (tpl_case)call->builtin->detail));
}

static tpl_value is_same(tpl *t, const tpl_call *call)
{
    tpl_value a = call->self, b = call->args[0];
    if (a.type != b.type)
        return tpl_bool(false);
    if (a.type == TPL_NONE)
        return tpl_bool(true);
    if (a.type == TPL_BOOL ||
        (a.type == TPL_INT && a.integer >= -5 && a.integer <= 256)) /* CPython's own objects */
        return tpl_bool(tpl_integer(a) == tpl_integer(b));
    if (a.type <= TPL_STRING)
        return tpl_fail(t, PARE_UNSUPPORTED, "the identity of '%s' values", tpl_type_name(a));
    return tpl_bool(a.dict == b.dict);
}

static tpl_value is_named(tpl *t, const tpl_call *call)
{
    char name[64] = "";
    if (call->self.type == TPL_STRING && call->self.string->length < sizeof name)
        memcpy(name, call->self.string->data, call->self.string->length);
    return tpl_bool((call->builtin->detail ? tpl_find_filter(name) : tpl_find_test(name)) != NULL);
}

static const tpl_builtin tests[] = {
    {"defined", "", is_kind, IS_DEFINED},
    {"undefined", "", is_kind, IS_UNDEFINED},
    {"none", "", is_kind, IS_NONE},
    {"boolean", "", is_kind, IS_BOOLEAN},
    {"true", "", is_kind, IS_TRUE},
    {"false", "", is_kind, IS_FALSE},
    {"integer", "", is_kind, IS_INTEGER},
    {"float", "", is_kind, IS_FLOAT},
    {"number", "", is_kind, IS_NUMBER},
    {"string", "", is_kind, IS_STRING},
    {"mapping", "", is_kind, IS_MAPPING},
    {"iterable", "", is_kind, IS_ITERABLE},
    {"sequence", "", is_kind, IS_SEQUENCE},
    {"callable", "", is_kind, IS_CALLABLE},
    {"escaped", "", is_kind, IS_ESCAPED},
    {"eq", "other", compares, EQ},
    {"equalto", "other", compares, EQ},
    {"==", "other", compares, EQ},
    {"ne", "other", compares, NE},
    {"!=", "other", compares, NE},
    {"lt", "other", compares, LT},
    {"lessthan", "other", compares, LT},
    {"<", "other", compares, LT},
    {"le", "other", compares, LE},
    {"<=", "other", compares, LE},
    {"gt", "other", compares, GT},
    {"greaterthan", "other", compares, GT},
    {">", "other", compares, GT},
    {"ge", "other", compares, GE},
    {">=", "other", compares, GE},
    {"in", "seq", is_in, 0},
    {"divisibleby", "num", divides, 0},
    {"odd", "", divides, 1},
    {"even", "", divides, 2},
    {"lower", "", is_cased, TPL_LOWER},
    {"upper", "", is_cased, TPL_UPPER},
    {"sameas", "other", is_same, 0},
    {"filter", "", is_named, 1},
    {"test", "", is_named, 0},
};

const tpl_builtin *tpl_find_test(const char *name)
{
    return tpl_find_row(tests, sizeof tests / sizeof *tests, name);
}
