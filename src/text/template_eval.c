/* Executes statements and evaluates expressions. */
#include "text/template_eval.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

tpl_scope *tpl_scope_new(tpl *t, tpl_scope *parent)
{
    tpl_scope *scope = tpl_allocate(t, 1, sizeof *scope);
    if (scope)
        scope->parent = parent;
    return scope ? scope : parent;
}

static tpl_value look_up(tpl *t, tpl_value name, const char *text)
{
    const tpl_value *value = NULL;
    for (tpl_scope *scope = t->scope; scope && !value && tpl_charge(t, 1); scope = scope->parent)
        value = tpl_dict_get(t, &scope->variables, name);
    if (!value && !tpl_failed(t))
        value = tpl_dict_get(t, t->variables, name);
    if (value)
        return *value;
    const tpl_builtin *global = tpl_find_global(text);
    if (global)
        return (tpl_value){.type = TPL_FUNCTION, .function = global};
    return tpl_undefined_name(t, name);
}

static void assign_field(tpl *t, const tpl_node *target, tpl_value value)
{
    tpl_value object = look_up(t, tpl_literal(t, target->text), target->text);
    if (object.type == TPL_NAMESPACE)
        tpl_dict_set(t, object.dict, target->value, value);
    else
        tpl_fail(t, PARE_INVALID_ARGUMENT, "cannot assign attribute on non-namespace object");
}

static void assign_tuple(tpl *t, const tpl_node *target, tpl_value value)
{
    if (value.type == TPL_UNDEFINED)
        tpl_fail_undefined(t, value);
    tpl_items items = tpl_iterate(t, value);
    size_t wanted = 0;
    for (const tpl_node *part = target->list; part; part = part->next)
        wanted++;
    if (items.count > wanted)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "too many values to unpack (expected %zu)", wanted);
    else if (items.count < wanted)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "not enough values to unpack (expected %zu, got %zu)",
                 wanted, items.count);
    size_t i = 0;
    for (const tpl_node *part = target->list; part && !tpl_failed(t); part = part->next)
        tpl_assign(t, part, items.data[i++]);
}

void tpl_assign(tpl *t, const tpl_node *target, tpl_value value)
{
    if (tpl_failed(t))
        return;
    if (target->kind == TPL_NAME)
        tpl_dict_set(t, &t->scope->variables, target->value, value);
    else if (target->kind == TPL_FIELD)
        assign_field(t, target, value);
    else
        assign_tuple(t, target, value);
}

tpl_value tpl_capture(tpl *t, tpl_scope *scope, const tpl_node *list)
{
    pare_buffer buffer = {0}, *out = t->out;
    tpl_scope *outer = t->scope;
    tpl_flow flow = t->flow;
    t->out = &buffer;
    t->scope = scope;
    t->flow = TPL_ON;
    tpl_execute(t, list);
    if (t->flow == TPL_ON)
        t->flow = flow;
    t->scope = outer;
    t->out = out;
    return tpl_take(t, &buffer);
}

bool tpl_loop_take(tpl *t, tpl_loop *loop, size_t index)
{
    tpl_scope *scope = t->scope;
    tpl_sequence *taken = loop->taken.type == TPL_SEQUENCE ? loop->taken.sequence : NULL;
    while (taken && taken->count <= index && loop->next < loop->source.count && tpl_charge(t, 1)) {
        tpl_value item = loop->source.data[loop->next++];
        bool wanted = true;
        if (loop->node->c) {
            t->scope = tpl_scope_new(t, loop->outer);
            tpl_assign(t, loop->node->a, item);
            wanted = tpl_truth(tpl_eval(t, loop->node->c));
            t->scope = scope;
        }
        if (wanted)
            tpl_append(t, loop->taken, item);
    }
    return taken && !tpl_failed(t) && index < taken->count;
}

static void execute_for(tpl *t, const tpl_node *node)
{
    static const tpl_string loop_name = {.data = "loop", .length = 4, .characters = 4};
    tpl_scope *outer = t->scope;
    tpl_value source = tpl_eval(t, node->b);
    tpl_loop *loop = tpl_allocate(t, 1, sizeof *loop);
    if (!loop)
        return;
    *loop = (tpl_loop){.node = node, .outer = outer, .source = tpl_iterate(t, source)};
    loop->taken = tpl_sequence_new(t, TPL_LIST, 0);
    tpl_value self = {.type = TPL_LOOP, .loop = loop},
              name = {.type = TPL_STRING, .string = &loop_name};
    while (tpl_loop_take(t, loop, loop->index)) {
        t->scope = tpl_scope_new(t, outer);
        tpl_dict_set(t, &t->scope->variables, name, self);
        tpl_assign(t, node->a, loop->taken.sequence->items[loop->index]);
        tpl_execute(t, node->list);
        t->scope = outer;
        bool stop = t->flow == TPL_BREAK;
        t->flow = TPL_ON;
        if (stop)
            return;
        loop->index++;
    }
    if (loop->index == 0 && !tpl_failed(t)) {
        t->scope = tpl_scope_new(t, outer);
        tpl_execute(t, node->other);
        t->scope = outer;
    }
}

static void execute_if(tpl *t, const tpl_node *node)
{
    while (node && node->kind == TPL_IF && !tpl_failed(t)) {
        t->line = node->line;
        if (tpl_truth(tpl_eval(t, node->a))) {
            tpl_execute(t, node->list);
            return;
        }
        if (!node->other || node->other->kind != TPL_IF || node->other->next)
            break; /* not an elif, or an else whose body is more than one if */
        node = node->other;
    }
    if (node && !tpl_failed(t))
        tpl_execute(t, node->other);
}

static tpl_value through_filters(tpl *t, const tpl_node *filters, tpl_value input)
{
    if (!filters)
        return input;
    tpl_value before = t->block_input;
    t->block_input = input;
    tpl_value result = tpl_eval(t, filters);
    t->block_input = before;
    return result;
}

static void execute_with(tpl *t, const tpl_node *node)
{
    tpl_scope *outer = t->scope, *scope = tpl_scope_new(t, outer);
    for (const tpl_node *pair = node->parameters; pair && !tpl_failed(t); pair = pair->next) {
        tpl_value value = tpl_eval(t, pair->b);
        t->scope = scope;
        tpl_assign(t, pair->a, value);
        t->scope = outer;
    }
    t->scope = scope;
    tpl_execute(t, node->list);
    t->scope = outer;
}

static void execute_call_block(tpl *t, const tpl_node *node)
{
    static const tpl_string caller = {.data = "caller", .length = 6, .characters = 6};
    tpl_value callee = tpl_eval(t, node->a->a);
    tpl_arguments arguments = tpl_eval_arguments(t, node->a->list);
    tpl_dict_set(t, &arguments.named, (tpl_value){.type = TPL_STRING, .string = &caller},
                 tpl_macro_new(t, node));
    tpl_put_value(t, t->out, tpl_call_value(t, callee, &arguments));
}

static void execute_block(tpl *t, const tpl_node *node)
{
    tpl_value text;
    switch (node->kind) {
    case TPL_SET:
        tpl_assign(t, node->a, tpl_eval(t, node->b));
        break;
    case TPL_SET_BLOCK:
        text = tpl_capture(t, tpl_scope_new(t, t->scope), node->list);
        tpl_assign(t, node->a, through_filters(t, node->b, text));
        break;
    case TPL_DEFINE:
        tpl_dict_set(t, &t->scope->variables, node->value, tpl_macro_new(t, node));
        break;
    case TPL_CALL_BLOCK:
        execute_call_block(t, node);
        break;
    case TPL_FILTER_BLOCK:
        text = tpl_capture(t, tpl_scope_new(t, t->scope), node->list);
        text = through_filters(t, node->a, text);
        if (text.type != TPL_STRING)
            tpl_fail(t, PARE_INVALID_ARGUMENT, "a filter block gives '%s', not a string",
                     tpl_type_name(text));
        tpl_put_value(t, t->out, text);
        break;
    case TPL_GENERATION:
        tpl_put_value(t, t->out, tpl_capture(t, tpl_scope_new(t, t->scope), node->list));
        break;
    default:
        execute_with(t, node);
    }
}

void tpl_execute(tpl *t, const tpl_node *list)
{
    if (!tpl_enter(t))
        return;
    for (const tpl_node *node = list; node && t->flow == TPL_ON && tpl_charge(t, 1);
         node = node->next) {
        t->line = node->line;
        switch (node->kind) {
        case TPL_DATA:
            tpl_put(t, t->out, node->value.string->data, node->value.string->length);
            break;
        case TPL_OUTPUT:
            tpl_put_value(t, t->out, tpl_eval(t, node->a));
            break;
        case TPL_FOR:
            execute_for(t, node);
            break;
        case TPL_IF:
            execute_if(t, node);
            break;
        case TPL_BREAK_LOOP:
            t->flow = TPL_BREAK;
            break;
        case TPL_CONTINUE_LOOP:
            t->flow = TPL_CONTINUE;
            break;
        default:
            execute_block(t, node);
        }
    }
    tpl_leave(t);
}

static tpl_value eval_sequence(tpl *t, const tpl_node *node)
{
    tpl_value sequence = tpl_sequence_new(t, node->kind == TPL_LIST_OF ? TPL_LIST : TPL_TUPLE, 0);
    for (const tpl_node *item = node->list; item && !tpl_failed(t); item = item->next)
        tpl_append(t, sequence, tpl_eval(t, item));
    return sequence;
}

static tpl_value eval_dict(tpl *t, const tpl_node *node)
{
    tpl_value dict = tpl_dict_new(t);
    for (const tpl_node *pair = node->list; pair && !tpl_failed(t); pair = pair->next) {
        tpl_value key = tpl_eval(t, pair->a), value = tpl_eval(t, pair->b);
        if (!tpl_failed(t))
            tpl_dict_set(t, dict.dict, key, value);
    }
    return dict;
}

static tpl_value eval_item(tpl *t, const tpl_node *node)
{
    tpl_value object = tpl_eval(t, node->a);
    if (node->b->kind != TPL_SLICE)
        return tpl_get_item(t, object, tpl_eval(t, node->b));
    tpl_value bounds[3];
    const tpl_node *parts[3] = {node->b->a, node->b->b, node->b->c};
    for (size_t i = 0; i < 3; i++)
        bounds[i] = parts[i] ? tpl_eval(t, parts[i]) : TPL_NOTHING;
    return tpl_get_slice(t, object, bounds[0], bounds[1], bounds[2]);
}

static tpl_value eval_filter(tpl *t, const tpl_node *node)
{
    tpl_value value = node->a ? tpl_eval(t, node->a) : t->block_input;
    tpl_arguments arguments = tpl_eval_arguments(t, node->list);
    t->line = node->line;
    return tpl_apply_filter(t, node->text, value, &arguments);
}

static tpl_value eval_test(tpl *t, const tpl_node *node)
{
    tpl_value value = tpl_eval(t, node->a);
    tpl_arguments arguments = tpl_eval_arguments(t, node->list);
    t->line = node->line;
    return tpl_bool(tpl_apply_test(t, node->text, value, &arguments));
}

static bool compare(tpl *t, const char *symbol, tpl_value a, tpl_value b)
{
    if (!strcmp(symbol, "=="))
        return tpl_equal(t, a, b);
    if (!strcmp(symbol, "!="))
        return !tpl_equal(t, a, b);
    if (!strcmp(symbol, "in"))
        return tpl_contains(t, b, a);
    if (!strcmp(symbol, "not in"))
        return !tpl_contains(t, b, a);
    int order = tpl_compare(t, a, b, symbol);
    bool with_equal = symbol[1] == '=';
    return symbol[0] == '<' ? order == -1 || (with_equal && order == 0)
                            : order == 1 || (with_equal && order == 0);
}

static tpl_value eval_compare(tpl *t, const tpl_node *node)
{
    tpl_value left = tpl_eval(t, node->a);
    for (const tpl_node *operand = node->list; operand && !tpl_failed(t); operand = operand->next) {
        tpl_value right = tpl_eval(t, operand->a);
        t->line = node->line;
        if (tpl_failed(t) || !compare(t, operand->text, left, right))
            return tpl_bool(false);
        left = right;
    }
    return tpl_bool(true);
}

static tpl_value eval_if_else(tpl *t, const tpl_node *node)
{
    if (tpl_truth(tpl_eval(t, node->a)))
        return tpl_eval(t, node->b);
    if (node->c)
        return tpl_eval(t, node->c);
    return tpl_undefined_hint(
        t, "the inline if-expression evaluated to false and no else section was defined");
}

static tpl_value eval_call(tpl *t, const tpl_node *node)
{
    tpl_value callee = tpl_eval(t, node->a);
    tpl_arguments arguments = tpl_eval_arguments(t, node->list);
    t->line = node->line;
    return tpl_call_value(t, callee, &arguments);
}

static tpl_value eval_unary(tpl *t, const tpl_node *node)
{
    tpl_value value = tpl_eval(t, node->a);
    if (node->kind == TPL_NOT)
        return tpl_bool(!tpl_truth(value));
    if (value.type == TPL_UNDEFINED)
        return tpl_fail_undefined(t, value);
    if (!tpl_is_number(value))
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "bad operand type for unary %c: '%s'",
                        node->kind == TPL_NEGATIVE ? '-' : '+', tpl_type_name(value));
    if (node->kind == TPL_POSITIVE)
        return value.type == TPL_FLOAT ? value : tpl_int(tpl_integer(value));
    return tpl_negative(t, value);
}

static tpl_value eval_binary(tpl *t, const tpl_node *node)
{
    tpl_value a = tpl_eval(t, node->a), b = tpl_eval(t, node->b);
    t->line = node->line;
    return tpl_binary(t, node->text, a, b);
}

static tpl_value eval_inner(tpl *t, const tpl_node *node)
{
    tpl_value value;
    switch (node->kind) {
    case TPL_CONSTANT:
        return node->value;
    case TPL_NAME:
        return look_up(t, node->value, node->text);
    case TPL_LIST_OF:
    case TPL_TUPLE_OF:
        return eval_sequence(t, node);
    case TPL_DICT_OF:
        return eval_dict(t, node);
    case TPL_ATTRIBUTE:
        return tpl_get_attribute(t, tpl_eval(t, node->a), node->value);
    case TPL_ITEM:
        return eval_item(t, node);
    case TPL_CALL:
        return eval_call(t, node);
    case TPL_FILTER:
        return eval_filter(t, node);
    case TPL_TEST:
        return eval_test(t, node);
    case TPL_AND:
        value = tpl_eval(t, node->a);
        return tpl_truth(value) ? tpl_eval(t, node->b) : value;
    case TPL_OR:
        value = tpl_eval(t, node->a);
        return tpl_truth(value) ? value : tpl_eval(t, node->b);
    case TPL_COMPARE:
        return eval_compare(t, node);
    case TPL_IF_ELSE:
        return eval_if_else(t, node);
    case TPL_BINARY:
        return eval_binary(t, node);
    case TPL_SLICE: /* among several subscripts */
        return tpl_fail(t, PARE_UNSUPPORTED, "a slice among several subscripts");
    default:
        return eval_unary(t, node);
    }
}

tpl_value tpl_eval(tpl *t, const tpl_node *node)
{
    tpl_value value = {.type = TPL_UNDEFINED};
    if (!tpl_charge(t, 1) || !tpl_enter(t))
        return value;
    int line = t->line;
    t->line = node->line;
    value = eval_inner(t, node);
    t->line = line;
    tpl_leave(t);
    return tpl_failed(t) ? (tpl_value){.type = TPL_UNDEFINED} : value;
}
