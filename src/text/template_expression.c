/* The parser of expressions. Jinja2's precedence, low to high: if-else, or, and, not, comparisons,
 * + -, ~, * / // %,
 * ** (left to right), signs, then what follows a value: .a [b] (c), | filter, is test. */
#include "text/template_syntax.h"

#include <string.h>

static tpl_node *parse_primary(tpl_parser *p);
static tpl_node *parse_unary(tpl_parser *p, bool with_filters);

static tpl_node *node_of(tpl_parser *p, tpl_node_kind kind, tpl_node *a, tpl_node *b)
{
    tpl_node *node = tpl_node_new(p, kind);
    node->a = a;
    node->b = b;
    return node;
}

static tpl_node *parse_argument(tpl_parser *p)
{
    tpl_node *argument = tpl_node_new(p, TPL_ARGUMENT);
    const tpl_token *token = p->token;
    if (tpl_skip(p, "*")) {
        argument->text = "*";
    } else if (tpl_skip(p, "**")) {
        argument->text = "**";
    } else if (token->type == TPL_TOKEN_NAME && token[1].type == TPL_TOKEN_OPERATOR &&
               !strcmp(token[1].text, "=")) {
        argument->value = token->value;
        tpl_next(p);
        tpl_next(p);
    }
    argument->a = tpl_parse_expression(p, true);
    return argument;
}

/* "(a, b=c, *d, **e)": the list of arguments. */
static tpl_node *parse_arguments(tpl_parser *p)
{
    tpl_node *list = NULL, **tail = &list;
    tpl_expect(p, "(");
    while (!tpl_failed(p->t) && !tpl_at(p, ")")) {
        tpl_node *argument = parse_argument(p);
        bool plain = !argument->text && argument->value.type == TPL_ABSENT;
        for (const tpl_node *before = list; plain && before; before = before->next)
            if (before->text || before->value.type != TPL_ABSENT)
                tpl_fail(p->t, PARE_FORMAT, "a positional argument follows a keyword argument");
        *tail = argument;
        tail = &argument->next;
        if (!tpl_skip(p, ","))
            break;
    }
    tpl_expect(p, ")");
    return list;
}

static tpl_node *parse_subscript(tpl_parser *p)
{
    tpl_node *first = NULL;
    if (!tpl_at(p, ":")) {
        first = tpl_parse_expression(p, true);
        if (!tpl_at(p, ":"))
            return first;
    }
    tpl_node *slice = node_of(p, TPL_SLICE, first, NULL);
    tpl_next(p);
    if (!tpl_at(p, ":") && !tpl_at(p, "]") && !tpl_at(p, ","))
        slice->b = tpl_parse_expression(p, true);
    if (tpl_skip(p, ":") && !tpl_at(p, "]") && !tpl_at(p, ","))
        slice->c = tpl_parse_expression(p, true);
    return slice;
}

static tpl_node *parse_item(tpl_parser *p, tpl_node *object)
{
    tpl_node *item = node_of(p, TPL_ITEM, object, NULL), *list = NULL, **tail = &list;
    tpl_next(p);
    size_t count = 0;
    do {
        *tail = parse_subscript(p);
        tail = &(*tail)->next;
        count++;
    } while (!tpl_failed(p->t) && tpl_skip(p, ","));
    tpl_expect(p, "]");
    item->b = list;
    if (count > 1) {
        item->b = tpl_node_new(p, TPL_TUPLE_OF);
        item->b->list = list;
    }
    return item;
}

static tpl_node *parse_attribute(tpl_parser *p, tpl_node *object)
{
    tpl_next(p);
    const tpl_token *token = p->token;
    bool number = token->type == TPL_TOKEN_CONSTANT && token->value.type == TPL_INT;
    tpl_node *node = tpl_node_new(p, number ? TPL_ITEM : TPL_ATTRIBUTE);
    node->a = object;
    if (number) {
        node->b = tpl_node_new(p, TPL_CONSTANT);
        node->b->value = token->value;
        tpl_next(p);
    } else {
        node->value = token->value;
        node->text = tpl_expect_name(p);
    }
    return node;
}

static tpl_node *parse_postfix(tpl_parser *p, tpl_node *node)
{
    for (size_t chain = 0; !tpl_failed(p->t); chain++) {
        if (tpl_at(p, ".")) {
            node = parse_attribute(p, node);
        } else if (tpl_at(p, "[")) {
            node = parse_item(p, node);
        } else if (tpl_at(p, "(")) {
            node = node_of(p, TPL_CALL, node, NULL);
            node->list = parse_arguments(p);
        } else {
            break;
        }
    }
    return node;
}

tpl_node *tpl_parse_filters(tpl_parser *p, tpl_node *input, bool inline_start)
{
    while (!tpl_failed(p->t) && (inline_start || tpl_skip(p, "|"))) {
        inline_start = false;
        input = node_of(p, TPL_FILTER, input, NULL);
        input->text = tpl_expect_name(p);
        if (tpl_at(p, "("))
            input->list = parse_arguments(p);
    }
    return input;
}

static bool starts_test_argument(const tpl_parser *p)
{
    if (p->token->type == TPL_TOKEN_CONSTANT || tpl_at(p, "[") || tpl_at(p, "{"))
        return true;
    return p->token->type == TPL_TOKEN_NAME && !tpl_at(p, "else") && !tpl_at(p, "or") &&
           !tpl_at(p, "and");
}

static tpl_node *parse_test(tpl_parser *p, tpl_node *operand)
{
    tpl_next(p);
    bool negated = tpl_skip(p, "not");
    tpl_node *test = node_of(p, TPL_TEST, operand, NULL);
    test->text = tpl_expect_name(p);
    if (tpl_at(p, "(")) {
        test->list = parse_arguments(p);
    } else if (tpl_at(p, "is")) {
        tpl_fail(p->t, PARE_FORMAT, "tests with 'is' cannot be chained");
    } else if (starts_test_argument(p)) {
        test->list = tpl_node_new(p, TPL_ARGUMENT);
        test->list->a = parse_postfix(p, parse_primary(p));
    }
    return negated ? node_of(p, TPL_NOT, test, NULL) : test;
}

static tpl_node *parse_filters_and_tests(tpl_parser *p, tpl_node *node)
{
    while (!tpl_failed(p->t)) {
        if (tpl_at(p, "|")) {
            node = tpl_parse_filters(p, node, false);
        } else if (tpl_at(p, "is")) {
            node = parse_test(p, node);
        } else if (tpl_at(p, "(")) {
            node = node_of(p, TPL_CALL, node, NULL);
            node->list = parse_arguments(p);
        } else {
            break;
        }
    }
    return node;
}

static tpl_node *parse_list(tpl_parser *p)
{
    tpl_node *list = tpl_node_new(p, TPL_LIST_OF), **tail = &list->list;
    tpl_next(p);
    while (!tpl_failed(p->t) && !tpl_at(p, "]")) {
        *tail = tpl_parse_expression(p, true);
        tail = &(*tail)->next;
        if (!tpl_skip(p, ","))
            break;
    }
    tpl_expect(p, "]");
    return list;
}

static tpl_node *parse_dict(tpl_parser *p)
{
    tpl_node *dict = tpl_node_new(p, TPL_DICT_OF), **tail = &dict->list;
    tpl_next(p);
    while (!tpl_failed(p->t) && !tpl_at(p, "}")) {
        tpl_node *pair = node_of(p, TPL_PAIR, tpl_parse_expression(p, true), NULL);
        tpl_expect(p, ":");
        pair->b = tpl_parse_expression(p, true);
        *tail = pair;
        tail = &pair->next;
        if (!tpl_skip(p, ","))
            break;
    }
    tpl_expect(p, "}");
    return dict;
}

static void note_special_name(tpl_parser *p, const char *name)
{
    if (!strcmp(name, "varargs"))
        p->uses |= TPL_USES_VARARGS;
    else if (!strcmp(name, "kwargs"))
        p->uses |= TPL_USES_KWARGS;
    else if (!strcmp(name, "caller"))
        p->uses |= TPL_USES_CALLER;
}

static tpl_node *parse_name(tpl_parser *p)
{
    static const struct {
        const char *name;
        tpl_value value;
    } constants[] = {
        {"true", {.type = TPL_BOOL, .boolean = true}},
        {"True", {.type = TPL_BOOL, .boolean = true}},
        {"false", {.type = TPL_BOOL, .boolean = false}},
        {"False", {.type = TPL_BOOL, .boolean = false}},
        {"none", {.type = TPL_NONE}},
        {"None", {.type = TPL_NONE}},
    };
    const tpl_token *token = p->token;
    tpl_node *node = tpl_node_new(p, TPL_NAME);
    node->value = token->value;
    node->text = token->text;
    tpl_next(p);
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (!strcmp(token->text, constants[i].name)) {
            node->kind = TPL_CONSTANT;
            node->value = constants[i].value;
        }
    note_special_name(p, token->text);
    return node;
}

/* Neighbouring string literals are one string. */
static tpl_node *parse_constant(tpl_parser *p)
{
    tpl_node *node = tpl_node_new(p, TPL_CONSTANT);
    node->value = p->token->value;
    tpl_next(p);
    while (!tpl_failed(p->t) && node->value.type == TPL_STRING &&
           p->token->type == TPL_TOKEN_CONSTANT && p->token->value.type == TPL_STRING) {
        pare_buffer joined = {0};
        tpl_put_value(p->t, &joined, node->value);
        tpl_put_value(p->t, &joined, p->token->value);
        node->value = tpl_take(p->t, &joined);
        tpl_next(p);
    }
    return node;
}

static tpl_node *parse_primary(tpl_parser *p)
{
    tpl_node *node;
    if (p->token->type == TPL_TOKEN_NAME)
        return parse_name(p);
    if (p->token->type == TPL_TOKEN_CONSTANT)
        return parse_constant(p);
    if (tpl_at(p, "["))
        return parse_list(p);
    if (tpl_at(p, "{"))
        return parse_dict(p);
    if (tpl_skip(p, "(")) {
        node = tpl_parse_tuple(p, true, NULL, true);
        tpl_expect(p, ")");
        return node;
    }
    tpl_fail_token(p, "an expression");
    return tpl_node_new(p, TPL_CONSTANT);
}

static tpl_node *parse_unary(tpl_parser *p, bool with_filters)
{
    tpl_node *node;
    if (!tpl_parse_enter(p))
        return tpl_node_new(p, TPL_CONSTANT);
    if (tpl_at(p, "-") || tpl_at(p, "+")) {
        node = tpl_node_new(p, tpl_at(p, "-") ? TPL_NEGATIVE : TPL_POSITIVE);
        tpl_next(p);
        node->a = parse_unary(p, false);
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    if (with_filters)
        node = parse_filters_and_tests(p, node);
    p->depth--;
    return node;
}

/* The binary operators of one level of precedence; NULL-terminated rows, loosest first. */
static const char *const levels[][5] = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
enum { LEVELS = sizeof levels / sizeof *levels };

static int level_of(const tpl_parser *p)
{
    for (int level = 0; p->token->type == TPL_TOKEN_OPERATOR && level < LEVELS; level++)
        for (size_t i = 0; levels[level][i]; i++)
            if (!strcmp(p->token->text, levels[level][i]))
                return level;
    return -1;
}

static tpl_node *parse_arithmetic(tpl_parser *p, int lowest)
{
    tpl_node *left = parse_unary(p, true);
    for (int level; !tpl_failed(p->t) && (level = level_of(p)) >= lowest;) {
        tpl_node *node = node_of(p, TPL_BINARY, left, NULL);
        node->text = p->token->text;
        tpl_next(p);
        node->b = parse_arithmetic(p, level + 1);
        left = node;
    }
    return left;
}

static const char *comparison(tpl_parser *p)
{
    static const char *const symbols[] = {"==", "!=", "<", "<=", ">", ">=", "in"};
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (tpl_skip(p, symbols[i]))
            return symbols[i];
    if (tpl_at(p, "not") && p->token[1].type == TPL_TOKEN_NAME && !strcmp(p->token[1].text, "in")) {
        tpl_next(p);
        tpl_next(p);
        return "not in";
    }
    return NULL;
}

static tpl_node *parse_compare(tpl_parser *p)
{
    tpl_node *first = parse_arithmetic(p, 0), *node = NULL, **tail = NULL;
    for (const char *symbol; !tpl_failed(p->t) && (symbol = comparison(p));) {
        tpl_node *operand = tpl_node_new(p, TPL_OPERAND);
        operand->text = symbol;
        operand->a = parse_arithmetic(p, 0);
        if (!node) {
            node = node_of(p, TPL_COMPARE, first, NULL);
            tail = &node->list;
        }
        *tail = operand;
        tail = &operand->next;
    }
    return node ? node : first;
}

static tpl_node *parse_not(tpl_parser *p)
{
    if (!tpl_at(p, "not"))
        return parse_compare(p);
    tpl_node *node = tpl_node_new(p, TPL_NOT);
    tpl_next(p);
    if (tpl_parse_enter(p)) {
        node->a = parse_not(p);
        p->depth--;
    }
    return node;
}

static tpl_node *parse_and(tpl_parser *p)
{
    tpl_node *left = parse_not(p);
    while (!tpl_failed(p->t) && tpl_skip(p, "and")) {
        left = node_of(p, TPL_AND, left, NULL);
        left->b = parse_not(p);
    }
    return left;
}

static tpl_node *parse_or(tpl_parser *p)
{
    tpl_node *left = parse_and(p);
    while (!tpl_failed(p->t) && tpl_skip(p, "or")) {
        left = node_of(p, TPL_OR, left, NULL);
        left->b = parse_and(p);
    }
    return left;
}

tpl_node *tpl_parse_expression(tpl_parser *p, bool with_condition)
{
    if (!tpl_parse_enter(p))
        return tpl_node_new(p, TPL_CONSTANT);
    tpl_node *node = parse_or(p);
    while (with_condition && !tpl_failed(p->t) && tpl_skip(p, "if")) {
        node = node_of(p, TPL_IF_ELSE, NULL, node);
        node->a = parse_or(p);
        if (tpl_skip(p, "else"))
            node->c = tpl_parse_expression(p, true);
    }
    p->depth--;
    return node;
}

static bool ends_tuple(const tpl_parser *p, const char *end)
{
    tpl_token_type type = p->token->type;
    return type == TPL_TOKEN_PRINT_END || type == TPL_TOKEN_BLOCK_END || tpl_at(p, ")") ||
           (end && tpl_at(p, end));
}

tpl_node *tpl_parse_tuple(tpl_parser *p, bool with_condition, const char *end, bool may_be_empty)
{
    tpl_node *list = NULL, **tail = &list;
    bool is_tuple = false;
    while (!tpl_failed(p->t) && !ends_tuple(p, end)) {
        *tail = tpl_parse_expression(p, with_condition);
        tail = &(*tail)->next;
        if (!tpl_skip(p, ","))
            break;
        is_tuple = true;
    }
    if (!is_tuple && list)
        return list;
    if (!list && !may_be_empty)
        tpl_fail_token(p, "an expression");
    tpl_node *tuple = tpl_node_new(p, TPL_TUPLE_OF);
    tuple->list = list;
    return tuple;
}

static tpl_node *parse_one_target(tpl_parser *p, bool fields)
{
    tpl_node *node = tpl_node_new(p, TPL_NAME);
    if (tpl_parse_enter(p)) {
        if (tpl_skip(p, "(")) {
            node = tpl_parse_target(p, NULL, fields);
            tpl_expect(p, ")");
        } else {
            node->value = p->token->value;
            node->text = tpl_expect_name(p);
            if (fields && tpl_skip(p, ".")) {
                node->kind = TPL_FIELD;
                node->value = p->token->value;
                tpl_expect_name(p);
            }
        }
        p->depth--;
    }
    return node;
}

tpl_node *tpl_parse_target(tpl_parser *p, const char *end, bool fields)
{
    tpl_node *first = parse_one_target(p, fields), **tail = &first->next;
    if (!tpl_at(p, ","))
        return first;
    tpl_node *tuple = tpl_node_new(p, TPL_TUPLE_OF);
    tuple->list = first;
    while (!tpl_failed(p->t) && tpl_skip(p, ",") && !ends_tuple(p, end) && !tpl_at(p, "=")) {
        *tail = parse_one_target(p, fields);
        tail = &(*tail)->next;
    }
    return tuple;
}
