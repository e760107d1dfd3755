/* The parser of statements. */
#include "text/template_syntax.h"

#include <stdlib.h>
#include <string.h>

/* Deep enough for any real template, shallow enough for a thread's stack. */
enum { PARSE_DEPTH_LIMIT = 400 };

static tpl_node *parse_body(tpl_parser *p, const char *const ends[]);

tpl_node *tpl_node_new(tpl_parser *p, tpl_node_kind kind)
{
    tpl_node *node = tpl_allocate(p->t, 1, sizeof *node);
    if (!node) {
        node = &p->spare;
        memset(node, 0, sizeof *node);
    }
    node->kind = kind;
    node->line = p->token->line;
    return node;
}

bool tpl_parse_enter(tpl_parser *p)
{
    if (p->depth >= PARSE_DEPTH_LIMIT)
        tpl_fail(p->t, PARE_LIMIT, "the template is nested over %d deep", PARSE_DEPTH_LIMIT);
    if (tpl_failed(p->t))
        return false;
    p->depth++;
    return true;
}

bool tpl_at(const tpl_parser *p, const char *text)
{
    return (p->token->type == TPL_TOKEN_OPERATOR || p->token->type == TPL_TOKEN_NAME) &&
           !strcmp(p->token->text, text);
}

void tpl_next(tpl_parser *p)
{
    if (p->token->type != TPL_TOKEN_END)
        p->token++;
    p->t->line = p->token->line;
}

bool tpl_skip(tpl_parser *p, const char *text)
{
    if (!tpl_at(p, text))
        return false;
    tpl_next(p);
    return true;
}

void tpl_fail_token(tpl_parser *p, const char *wanted)
{
    static const char *const names[] = {
        "the end of the template", "text", "'{{'", "'}}'", "'{%'", "'%}'"};
    p->t->line = p->token->line;
    if (p->token->type == TPL_TOKEN_NAME || p->token->type == TPL_TOKEN_OPERATOR)
        tpl_fail(p->t, PARE_FORMAT, "expected %s, got '%s'", wanted, p->token->text);
    else if (p->token->type == TPL_TOKEN_CONSTANT)
        tpl_fail(p->t, PARE_FORMAT, "expected %s, got a constant", wanted);
    else
        tpl_fail(p->t, PARE_FORMAT, "expected %s, got %s", wanted, names[p->token->type]);
}

void tpl_expect(tpl_parser *p, const char *text)
{
    char quoted[40] = "'";
    if (!tpl_skip(p, text))
        tpl_fail_token(p, strcat(strncat(quoted, text, 30), "'"));
}

const char *tpl_expect_name(tpl_parser *p)
{
    const char *name = p->token->text;
    if (p->token->type != TPL_TOKEN_NAME) {
        tpl_fail_token(p, "a name");
        return "";
    }
    tpl_next(p);
    return name;
}

static void expect_type(tpl_parser *p, tpl_token_type type, const char *what)
{
    if (p->token->type == type)
        tpl_next(p);
    else
        tpl_fail_token(p, what);
}

/* The statements up to one of `ends`, which is left to the caller to skip. The tag's own end comes
 * first. */
static tpl_node *parse_statements(tpl_parser *p, const char *const ends[])
{
    tpl_skip(p, ":"); /* for Python's sake */
    expect_type(p, TPL_TOKEN_BLOCK_END, "'%}'");
    return parse_body(p, ends);
}

static tpl_node *parse_for(tpl_parser *p)
{
    tpl_node *loop = tpl_node_new(p, TPL_FOR);
    tpl_next(p);
    loop->a = tpl_parse_target(p, "in", false);
    tpl_expect(p, "in");
    loop->b = tpl_parse_tuple(p, false, "recursive", false);
    if (tpl_skip(p, "if"))
        loop->c = tpl_parse_expression(p, true);
    if (tpl_at(p, "recursive"))
        tpl_fail(p->t, PARE_UNSUPPORTED, "recursive loops");
    p->loops++;
    loop->list = parse_statements(p, (const char *const[]){"endfor", "else", NULL});
    p->loops--;
    if (tpl_skip(p, "else"))
        loop->other = parse_statements(p, (const char *const[]){"endfor", NULL});
    tpl_expect(p, "endfor");
    return loop;
}

static tpl_node *parse_if(tpl_parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    tpl_node *first = tpl_node_new(p, TPL_IF), *node = first;
    tpl_next(p);
    for (;;) { /* an elif is an if in the other branch */
        node->a = tpl_parse_tuple(p, false, NULL, false);
        node->list = parse_statements(p, ends);
        if (tpl_failed(p->t) || !tpl_skip(p, "elif"))
            break;
        node->other = tpl_node_new(p, TPL_IF);
        node = node->other;
    }
    if (tpl_skip(p, "else"))
        node->other = parse_statements(p, (const char *const[]){"endif", NULL});
    tpl_expect(p, "endif");
    return first;
}

static tpl_node *parse_set(tpl_parser *p)
{
    tpl_node *set = tpl_node_new(p, TPL_SET);
    tpl_next(p);
    set->a = tpl_parse_target(p, NULL, true);
    if (tpl_skip(p, "=")) {
        set->b = tpl_parse_tuple(p, true, NULL, false);
        return set;
    }
    set->kind = TPL_SET_BLOCK;
    set->b = tpl_parse_filters(p, NULL, false);
    set->list = parse_statements(p, (const char *const[]){"endset", NULL});
    tpl_expect(p, "endset");
    return set;
}

static tpl_node *parse_parameters(tpl_parser *p)
{
    tpl_node *list = NULL, **tail = &list;
    bool defaults = false;
    tpl_expect(p, "(");
    while (!tpl_failed(p->t) && !tpl_at(p, ")")) {
        tpl_node *parameter = tpl_node_new(p, TPL_NAME);
        parameter->value = p->token->value;
        parameter->text = tpl_expect_name(p);
        if (tpl_skip(p, "="))
            parameter->a = tpl_parse_expression(p, true);
        else if (defaults)
            tpl_fail(p->t, PARE_FORMAT, "a parameter without a default follows one with a default");
        defaults = parameter->a != NULL;
        *tail = parameter;
        tail = &parameter->next;
        if (!tpl_skip(p, ","))
            break;
    }
    tpl_expect(p, ")");
    return list;
}

/* A body that is called as a macro is: break cannot leave it, and its special names are its own. */
static tpl_node *parse_macro_body(tpl_parser *p, tpl_node *macro, const char *end)
{
    unsigned loops = p->loops, uses = p->uses;
    p->loops = p->uses = 0;
    tpl_node *body = parse_statements(p, (const char *const[]){end, NULL});
    tpl_expect(p, end);
    macro->uses = p->uses;
    p->loops = loops;
    p->uses = uses;
    return body;
}

static tpl_node *parse_macro(tpl_parser *p)
{
    tpl_node *macro = tpl_node_new(p, TPL_DEFINE);
    tpl_next(p);
    macro->value = p->token->value;
    macro->text = tpl_expect_name(p);
    macro->parameters = parse_parameters(p);
    macro->list = parse_macro_body(p, macro, "endmacro");
    return macro;
}

static tpl_node *parse_call_block(tpl_parser *p)
{
    tpl_node *call = tpl_node_new(p, TPL_CALL_BLOCK);
    tpl_next(p);
    if (tpl_at(p, "("))
        call->parameters = parse_parameters(p);
    call->a = tpl_parse_expression(p, true);
    if (call->a->kind != TPL_CALL)
        tpl_fail(p->t, PARE_FORMAT, "expected a call in a call block");
    call->list = parse_macro_body(p, call, "endcall");
    return call;
}

static tpl_node *parse_filter_block(tpl_parser *p)
{
    tpl_node *block = tpl_node_new(p, TPL_FILTER_BLOCK);
    tpl_next(p);
    block->a = tpl_parse_filters(p, NULL, true);
    block->list = parse_statements(p, (const char *const[]){"endfilter", NULL});
    tpl_expect(p, "endfilter");
    return block;
}

static tpl_node *parse_with(tpl_parser *p)
{
    tpl_node *with = tpl_node_new(p, TPL_WITH), **tail = &with->parameters;
    tpl_next(p);
    while (!tpl_failed(p->t) && p->token->type != TPL_TOKEN_BLOCK_END) {
        tpl_node *pair = tpl_node_new(p, TPL_PAIR);
        pair->a = tpl_parse_target(p, NULL, false);
        tpl_expect(p, "=");
        pair->b = tpl_parse_expression(p, true);
        *tail = pair;
        tail = &pair->next;
        if (!tpl_skip(p, ","))
            break;
    }
    with->list = parse_statements(p, (const char *const[]){"endwith", NULL});
    tpl_expect(p, "endwith");
    return with;
}

/* transformers' tag around what the model generates: its body's text, in a scope of its own. */
static tpl_node *parse_generation(tpl_parser *p)
{
    tpl_node *block = tpl_node_new(p, TPL_GENERATION);
    tpl_next(p);
    block->list = parse_macro_body(p, block, "endgeneration");
    return block;
}

static tpl_node *parse_loop_control(tpl_parser *p)
{
    bool is_break = tpl_at(p, "break");
    if (!p->loops)
        tpl_fail(p->t, PARE_FORMAT, "'%s' outside of a loop", p->token->text);
    tpl_node *node = tpl_node_new(p, is_break ? TPL_BREAK_LOOP : TPL_CONTINUE_LOOP);
    tpl_next(p);
    return node;
}

static tpl_node *parse_print(tpl_parser *p)
{
    tpl_node *node = tpl_node_new(p, TPL_OUTPUT);
    tpl_next(p);
    node->a = tpl_parse_expression(p, true);
    return node;
}

static tpl_node *parse_statement(tpl_parser *p)
{
    static const struct {
        const char *name;
        tpl_node *(*parse)(tpl_parser *p);
    } statements[] = {
        {"for", parse_for},
        {"if", parse_if},
        {"set", parse_set},
        {"macro", parse_macro},
        {"call", parse_call_block},
        {"filter", parse_filter_block},
        {"with", parse_with},
        {"generation", parse_generation},
        {"break", parse_loop_control},
        {"continue", parse_loop_control},
        {"print", parse_print},
    };
    static const char *const unsupported[] = {"block",  "extends", "include",
                                              "import", "from",    "autoescape"};
    if (p->token->type == TPL_TOKEN_NAME) {
        for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
            if (tpl_at(p, statements[i].name))
                return statements[i].parse(p);
        for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
            if (tpl_at(p, unsupported[i]))
                tpl_fail(p->t, PARE_UNSUPPORTED, "the tag '%s'", p->token->text);
        tpl_fail(p->t, PARE_FORMAT, "unknown tag '%s'", p->token->text);
    }
    tpl_fail_token(p, "the name of a tag");
    return tpl_node_new(p, TPL_DATA);
}

static bool at_any(const tpl_parser *p, const char *const ends[])
{
    for (size_t i = 0; ends && ends[i]; i++)
        if (p->token->type == TPL_TOKEN_NAME && tpl_at(p, ends[i]))
            return true;
    return false;
}

static tpl_node *parse_output(tpl_parser *p)
{
    tpl_node *node = tpl_node_new(p, TPL_OUTPUT);
    tpl_next(p);
    node->a = tpl_parse_tuple(p, true, NULL, false);
    expect_type(p, TPL_TOKEN_PRINT_END, "'}}'");
    return node;
}

static tpl_node *parse_body(tpl_parser *p, const char *const ends[])
{
    tpl_node *list = NULL, **tail = &list;
    if (!tpl_parse_enter(p))
        return NULL;
    while (!tpl_failed(p->t)) {
        p->t->line = p->token->line;
        if (p->token->type == TPL_TOKEN_END) {
            if (ends)
                tpl_fail(p->t, PARE_FORMAT, "the template ends before '%s'", ends[0]);
            break;
        }
        if (p->token->type == TPL_TOKEN_DATA) {
            *tail = tpl_node_new(p, TPL_DATA);
            (*tail)->value = p->token->value;
            tpl_next(p);
        } else if (p->token->type == TPL_TOKEN_PRINT) {
            *tail = parse_output(p);
        } else {
            expect_type(p, TPL_TOKEN_BLOCK, "'{%'");
            if (at_any(p, ends))
                break;
            *tail = parse_statement(p);
            expect_type(p, TPL_TOKEN_BLOCK_END, "'%}'");
        }
        tail = &(*tail)->next;
    }
    p->depth--;
    return list;
}

tpl_node *tpl_parse(tpl *t, const tpl_tokens *tokens)
{
    if (tpl_failed(t))
        return NULL;
    tpl_parser parser = {.t = t, .token = tokens->data};
    return parse_body(&parser, NULL);
}
