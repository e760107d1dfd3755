/* Calls: arguments, macros, builtins by name, and what `loop` offers. */
#include "text/template_eval.h"

#include <string.h>

static void add_keywords(tpl *t, tpl_arguments *arguments, tpl_value dict)
{
    if (dict.type != TPL_DICT) {
        tpl_fail(t, PARE_INVALID_ARGUMENT, "the argument after ** is not a mapping");
        return;
    }
    for (size_t i = 0; i < dict.dict->count && !tpl_failed(t); i++)
        tpl_dict_set(t, &arguments->named, dict.dict->entries[i].key, dict.dict->entries[i].value);
}

tpl_arguments tpl_eval_arguments(tpl *t, const tpl_node *list)
{
    tpl_arguments arguments = {0};
    if (!list)
        return arguments;
    tpl_value positional = tpl_sequence_new(t, TPL_LIST, 4);
    for (const tpl_node *node = list; node && !tpl_failed(t); node = node->next) {
        tpl_value value = tpl_eval(t, node->a);
        if (tpl_failed(t))
            return arguments;
        if (node->value.type != TPL_ABSENT) {
            tpl_dict_set(t, &arguments.named, node->value, value);
        } else if (!node->text) {
            tpl_append(t, positional, value);
        } else if (node->text[1]) {
            add_keywords(t, &arguments, value);
        } else {
            tpl_items items = tpl_iterate(t, value);
            for (size_t i = 0; i < items.count && !tpl_failed(t); i++)
                tpl_append(t, positional, items.data[i]);
        }
    }
    if (!tpl_failed(t)) {
        arguments.positional = positional.sequence->items;
        arguments.count = positional.sequence->count;
    }
    return arguments;
}

/* The next word of a builtin's parameters; moves the cursor. */
static size_t next_parameter(const char **cursor, const char **word, bool *optional)
{
    while (**cursor == ' ')
        (*cursor)++;
    *optional = **cursor == '[';
    *cursor += *optional;
    *word = *cursor;
    size_t length = strcspn(*cursor, " ]");
    *cursor += length + ((*cursor)[length] == ']');
    return length;
}

static const tpl_value *take_named(const tpl_arguments *arguments, const char *word, size_t length)
{
    for (size_t i = 0; i < arguments->named.count; i++) {
        const tpl_string *key = arguments->named.entries[i].key.type == TPL_STRING
                                    ? arguments->named.entries[i].key.string
                                    : NULL;
        if (key && key->length == length && !memcmp(key->data, word, length))
            return &arguments->named.entries[i].value;
    }
    return NULL;
}

static void bind(tpl *t, const char *what, tpl_call *call, const tpl_arguments *arguments)
{
    const char *cursor = call->builtin->parameters, *word, *name = call->builtin->name;
    size_t count = 0, named = 0;
    bool optional;
    for (size_t length; (length = next_parameter(&cursor, &word, &optional)) > 0; count++) {
        const tpl_value *keyword = take_named(arguments, word, length);
        if (count < arguments->count)
            call->args[count] = arguments->positional[count];
        else if (keyword)
            call->args[count] = *keyword;
        else if (!optional)
            tpl_fail(t, PARE_INVALID_ARGUMENT, "%s '%s' misses its argument '%.*s'", what, name,
                     (int)length, word);
        if (keyword && count < arguments->count)
            tpl_fail(t, PARE_INVALID_ARGUMENT, "%s '%s' got its argument '%.*s' twice", what, name,
                     (int)length, word);
        named += keyword != NULL;
    }
    if (arguments->count > count)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "%s '%s' takes %zu arguments at most, got %zu", what,
                 name, count, arguments->count);
    if (named < arguments->named.count)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "%s '%s' got an unexpected keyword argument", what,
                 name);
}

tpl_value tpl_run_builtin(tpl *t, const char *what, const tpl_builtin *builtin, tpl_value self,
                          const tpl_arguments *arguments)
{
    tpl_call call = {.builtin = builtin, .self = self, .raw = arguments};
    if (!builtin->run)
        return tpl_fail(t, PARE_UNSUPPORTED, "the %s '%s'", what, builtin->name);
    if (strcmp(builtin->parameters, "*"))
        bind(t, what, &call, arguments);
    return tpl_failed(t) ? (tpl_value){.type = TPL_UNDEFINED} : builtin->run(t, &call);
}

const tpl_builtin *tpl_find_row(const tpl_builtin *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(rows[i].name, name))
            return &rows[i];
    return NULL;
}

tpl_value tpl_apply_filter(tpl *t, const char *name, tpl_value value,
                           const tpl_arguments *arguments)
{
    if (tpl_failed(t))
        return (tpl_value){.type = TPL_UNDEFINED};
    const tpl_builtin *filter = tpl_find_filter(name);
    return filter ? tpl_run_builtin(t, "filter", filter, value, arguments)
                  : tpl_fail(t, PARE_UNSUPPORTED, "the filter '%s'", name);
}

bool tpl_apply_test(tpl *t, const char *name, tpl_value value, const tpl_arguments *arguments)
{
    if (tpl_failed(t))
        return false;
    const tpl_builtin *test = tpl_find_test(name);
    if (!test)
        tpl_fail(t, PARE_UNSUPPORTED, "the test '%s'", name);
    return test && tpl_truth(tpl_run_builtin(t, "test", test, value, arguments));
}

int64_t tpl_arg_int(tpl *t, const tpl_call *call, size_t index, int64_t otherwise)
{
    tpl_value value = call->args[index];
    if (value.type == TPL_ABSENT || value.type == TPL_NONE)
        return otherwise;
    if (tpl_is_integer(value))
        return tpl_integer(value);
    tpl_fail(t, PARE_INVALID_ARGUMENT, "argument %zu of '%s' must be an integer, not '%s'",
             index + 1, call->builtin->name, tpl_type_name(value));
    return otherwise;
}

bool tpl_arg_truth(const tpl_call *call, size_t index, bool otherwise)
{
    return call->args[index].type == TPL_ABSENT ? otherwise : tpl_truth(call->args[index]);
}

const tpl_string *tpl_arg_string(tpl *t, const tpl_call *call, size_t index,
                                 const tpl_string *otherwise)
{
    tpl_value value = call->args[index];
    if (value.type == TPL_STRING)
        return value.string;
    if (value.type != TPL_ABSENT && value.type != TPL_NONE)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "argument %zu of '%s' must be a string, not '%s'",
                 index + 1, call->builtin->name, tpl_type_name(value));
    return otherwise;
}

tpl_value tpl_macro_new(tpl *t, const tpl_node *node)
{
    tpl_macro *macro = tpl_allocate(t, 1, sizeof *macro);
    if (!macro)
        return (tpl_value){.type = TPL_UNDEFINED};
    *macro =
        (tpl_macro){.node = node, .scope = t->scope, .is_caller = node->kind == TPL_CALL_BLOCK};
    return (tpl_value){.type = TPL_MACRO, .macro = macro};
}

static bool is_parameter(const tpl_node *macro, tpl_value name)
{
    for (const tpl_node *p = macro->parameters; p; p = p->next)
        if (p->value.string->length == name.string->length &&
            !memcmp(p->value.string->data, name.string->data, name.string->length))
            return true;
    return false;
}

/* What is left over for varargs, kwargs and caller; an error where the macro does not use them. */
static void bind_rest(tpl *t, const tpl_node *macro, tpl_scope *scope,
                      const tpl_arguments *arguments, size_t bound)
{
    tpl_value rest = tpl_sequence_new(t, TPL_TUPLE, 0), keywords = tpl_dict_new(t);
    tpl_value caller = tpl_undefined_hint(t, "No caller defined");
    for (size_t i = bound; i < arguments->count; i++)
        tpl_append(t, rest, arguments->positional[i]);
    for (size_t i = 0; i < arguments->named.count && !tpl_failed(t); i++) {
        tpl_entry entry = arguments->named.entries[i];
        if (tpl_is_string(entry.key, "caller"))
            caller = entry.value;
        else if (entry.key.type == TPL_STRING && !is_parameter(macro, entry.key))
            tpl_dict_set(t, keywords.dict, entry.key, entry.value);
    }
    if (tpl_failed(t))
        return;
    if (rest.sequence->count && !(macro->uses & TPL_USES_VARARGS))
        tpl_fail(t, PARE_INVALID_ARGUMENT, "macro '%s' takes not more than %zu argument(s)",
                 macro->text ? macro->text : "caller", bound);
    if (keywords.dict->count && !(macro->uses & TPL_USES_KWARGS))
        tpl_fail(t, PARE_INVALID_ARGUMENT, "macro '%s' takes no keyword argument '%.*s'",
                 macro->text ? macro->text : "caller",
                 (int)keywords.dict->entries[0].key.string->length,
                 keywords.dict->entries[0].key.string->data);
    if (macro->uses & TPL_USES_VARARGS)
        tpl_dict_set(t, &scope->variables, tpl_literal(t, "varargs"), rest);
    if (macro->uses & TPL_USES_KWARGS)
        tpl_dict_set(t, &scope->variables, tpl_literal(t, "kwargs"), keywords);
    if (macro->uses & TPL_USES_CALLER)
        tpl_dict_set(t, &scope->variables, tpl_literal(t, "caller"), caller);
    else if (caller.type == TPL_MACRO)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "macro '%s' was invoked with a caller it does not use",
                 macro->text ? macro->text : "caller");
}

static tpl_value call_macro(tpl *t, const tpl_macro *macro, const tpl_arguments *arguments)
{
    tpl_value text = {.type = TPL_UNDEFINED};
    if (!tpl_enter(t))
        return text;
    tpl_scope *outer = t->scope, *scope = tpl_scope_new(t, macro->scope);
    size_t bound = 0;
    t->scope = scope;
    for (const tpl_node *p = macro->node->parameters; p && !tpl_failed(t); p = p->next) {
        const tpl_value *keyword = take_named(arguments, p->text, strlen(p->text));
        tpl_value value;
        if (bound < arguments->count)
            value = arguments->positional[bound++];
        else if (keyword)
            value = *keyword;
        else if (p->a)
            value = tpl_eval(t, p->a);
        else
            value = tpl_undefined_hint(t, "a parameter of a macro was not provided");
        if (!tpl_failed(t))
            tpl_dict_set(t, &scope->variables, p->value, value);
    }
    if (!tpl_failed(t))
        bind_rest(t, macro->node, scope, arguments, bound);
    t->scope = outer;
    text = tpl_capture(t, scope, macro->node->list);
    tpl_leave(t);
    return text;
}

static tpl_value call_joiner(tpl *t, tpl_joiner *joiner)
{
    if (!joiner->used) {
        joiner->used = true;
        return tpl_literal(t, "");
    }
    return (tpl_value){.type = TPL_STRING, .string = joiner->separator};
}

tpl_value tpl_call_value(tpl *t, tpl_value callee, const tpl_arguments *arguments)
{
    if (tpl_failed(t))
        return callee;
    switch (callee.type) {
    case TPL_MACRO:
        return call_macro(t, callee.macro, arguments);
    case TPL_FUNCTION:
        return tpl_run_builtin(t, "function", callee.function, (tpl_value){0}, arguments);
    case TPL_METHOD:
        return tpl_run_builtin(t, "method", callee.method->builtin, callee.method->self, arguments);
    case TPL_JOINER:
        return call_joiner(t, callee.joiner);
    case TPL_LOOP:
        return tpl_fail(t, PARE_UNSUPPORTED, "recursive loops");
    case TPL_UNDEFINED:
        return tpl_fail_undefined(t, callee);
    default:
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "'%s' object is not callable",
                        tpl_type_name(callee));
    }
}

static tpl_value loop_cycle(tpl *t, const tpl_call *call)
{
    if (!call->raw->count)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "no items for cycling given");
    return call->raw->positional[call->self.loop->index % call->raw->count];
}

static tpl_value loop_changed(tpl *t, const tpl_call *call)
{
    tpl_loop *loop = call->self.loop;
    tpl_value now = tpl_list_of(t, (tpl_items){call->raw->positional, call->raw->count}, TPL_TUPLE);
    bool changed = loop->last_changed.type == TPL_ABSENT || !tpl_equal(t, loop->last_changed, now);
    loop->last_changed = now;
    return tpl_bool(changed);
}

static tpl_value loop_neighbour(tpl *t, tpl_loop *loop, bool next)
{
    if (next ? !tpl_loop_take(t, loop, loop->index + 1) : loop->index == 0)
        return tpl_undefined_hint(t, next ? "there is no next item" : "there is no previous item");
    return loop->taken.sequence->items[next ? loop->index + 1 : loop->index - 1];
}

/* How many items the loop has: all are taken. */
static int64_t loop_length(tpl *t, tpl_loop *loop)
{
    tpl_loop_take(t, loop, SIZE_MAX);
    return loop->taken.type == TPL_SEQUENCE ? (int64_t)loop->taken.sequence->count : 0;
}

static tpl_value bound_method(tpl *t, tpl_value self, const tpl_builtin *builtin)
{
    tpl_method *method = tpl_allocate(t, 1, sizeof *method);
    if (!method)
        return (tpl_value){.type = TPL_UNDEFINED};
    *method = (tpl_method){self, builtin};
    return (tpl_value){.type = TPL_METHOD, .method = method};
}

tpl_value tpl_loop_attribute(tpl *t, tpl_loop *loop, const char *name)
{
    static const tpl_builtin cycle = {"cycle", "*", loop_cycle, 0},
                             changed = {"changed", "*", loop_changed, 0};
    tpl_value self = {.type = TPL_LOOP, .loop = loop};
    int64_t index = (int64_t)loop->index;
    if (!strcmp(name, "index"))
        return tpl_int(index + 1);
    if (!strcmp(name, "index0"))
        return tpl_int(index);
    if (!strcmp(name, "first"))
        return tpl_bool(index == 0);
    if (!strcmp(name, "last"))
        return tpl_bool(!tpl_loop_take(t, loop, loop->index + 1));
    if (!strcmp(name, "length"))
        return tpl_int(loop_length(t, loop));
    if (!strcmp(name, "revindex"))
        return tpl_int(loop_length(t, loop) - index);
    if (!strcmp(name, "revindex0"))
        return tpl_int(loop_length(t, loop) - index - 1);
    if (!strcmp(name, "previtem") || !strcmp(name, "nextitem"))
        return loop_neighbour(t, loop, *name == 'n');
    if (!strcmp(name, "depth") || !strcmp(name, "depth0"))
        return tpl_int(name[5] == 0);
    if (!strcmp(name, "cycle") || !strcmp(name, "changed"))
        return bound_method(t, self, *name == 'c' && name[1] == 'y' ? &cycle : &changed);
    return (tpl_value){0};
}

/* The methods that change their object: the sandbox gives an undefined value that fails when it is
 * called. */
static bool is_unsafe(tpl_value object, const char *name)
{
    static const char *const of_list[] = {"append", "clear", "pop",    "reverse",
                                          "insert", "sort",  "extend", "remove"};
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update"};
    bool list = object.type == TPL_SEQUENCE && object.sequence->kind == TPL_LIST;
    for (size_t i = 0; list && i < sizeof of_list / sizeof *of_list; i++)
        if (!strcmp(name, of_list[i]))
            return true;
    for (size_t i = 0; object.type == TPL_DICT && i < sizeof of_dict / sizeof *of_dict; i++)
        if (!strcmp(name, of_dict[i]))
            return true;
    size_t length = strlen(name);
    return length > 4 && !strncmp(name, "__", 2) && !strcmp(name + length - 2, "__");
}

/* An attribute in Python's sense: a method, or one of the fields of a group. TPL_ABSENT: there is
 * none. */
static tpl_value python_attribute(tpl *t, tpl_value object, const char *name)
{
    if (object.type == TPL_LOOP)
        return tpl_loop_attribute(t, object.loop, name);
    if (object.type == TPL_SEQUENCE && object.sequence->kind == TPL_GROUP &&
        object.sequence->count == 2) {
        if (!strcmp(name, "grouper"))
            return object.sequence->items[0];
        if (!strcmp(name, "list"))
            return object.sequence->items[1];
    }
    if (object.type == TPL_MACRO && !strcmp(name, "name"))
        return object.macro->node->text ? tpl_literal(t, object.macro->node->text) : TPL_NOTHING;
    if (is_unsafe(object, name))
        return tpl_undefined_hint(t, "access to an attribute that is unsafe (a method that changes "
                                     "its object, or an internal one)");
    const tpl_builtin *method = tpl_find_method(object, name);
    if (method && !method->run)
        return tpl_fail(t, PARE_UNSUPPORTED, "the method '%s' of '%s'", name,
                        tpl_type_name(object));
    return method ? bound_method(t, object, method) : (tpl_value){0};
}

/* The item of a dict or namespace, or TPL_ABSENT. */
static tpl_value entry_of(tpl *t, tpl_value object, tpl_value key)
{
    const tpl_value *value = NULL;
    if (!tpl_is_hashable(t, key))
        return (tpl_value){0};
    if (object.type == TPL_DICT || (object.type == TPL_NAMESPACE && key.type == TPL_STRING))
        value = tpl_dict_get(t, object.dict, key);
    return value ? *value : (tpl_value){0};
}

static tpl_value attribute(tpl *t, tpl_value object, tpl_value name, bool item_first)
{
    char text[64]; /* no attribute's name is longer */
    tpl_value value = item_first ? entry_of(t, object, name) : (tpl_value){0};
    if (value.type == TPL_ABSENT && name.type == TPL_STRING && name.string->length < sizeof text &&
        (object.type != TPL_NAMESPACE)) {
        memcpy(text, name.string->data, name.string->length);
        text[name.string->length] = 0;
        value = python_attribute(t, object, text);
    }
    if (value.type == TPL_ABSENT && !item_first)
        value = entry_of(t, object, name);
    return value.type == TPL_ABSENT ? tpl_undefined_item(t, object, name) : value;
}

tpl_value tpl_get_attribute(tpl *t, tpl_value object, tpl_value name)
{
    if (tpl_failed(t))
        return object;
    if (object.type == TPL_UNDEFINED)
        return tpl_fail_undefined(t, object);
    return attribute(t, object, name, false);
}

static tpl_value element(tpl *t, tpl_value object, int64_t index, tpl_value key)
{
    int64_t count = object.type == TPL_STRING ? (int64_t)tpl_characters(object.string)
                                              : (int64_t)object.sequence->count;
    int64_t at = index < 0 ? index + count : index;
    if (at < 0 || at >= count)
        return tpl_undefined_item(t, object, key);
    if (object.type == TPL_SEQUENCE)
        return object.sequence->items[at];
    const char *start = tpl_character_at(object.string, (size_t)at), *end = start;
    tpl_charge(t, tpl_characters(object.string) == object.string->length ? 0 : (uint64_t)at / 16);
    tpl_decode(&end, object.string->data + object.string->length);
    return tpl_substring(t, object.string, start, end);
}

tpl_value tpl_get_item(tpl *t, tpl_value object, tpl_value key)
{
    if (tpl_failed(t))
        return object;
    if (object.type == TPL_UNDEFINED)
        return tpl_fail_undefined(t, object);
    bool indexed = object.type == TPL_STRING ||
                   (object.type == TPL_SEQUENCE && object.sequence->kind <= TPL_RANGE);
    if (indexed && tpl_is_integer(key))
        return element(t, object, tpl_integer(key), key);
    return attribute(t, object, key, true);
}
