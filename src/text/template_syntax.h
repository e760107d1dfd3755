/* Templates as tokens and as a tree. */
#ifndef PARE_TEXT_TEMPLATE_SYNTAX_H
#define PARE_TEXT_TEMPLATE_SYNTAX_H

#include "text/template_value.h"

typedef enum tpl_token_type {
    TPL_TOKEN_END, /* of the template */
    TPL_TOKEN_DATA,
    TPL_TOKEN_PRINT,     /* {{ */
    TPL_TOKEN_PRINT_END, /* }} */
    TPL_TOKEN_BLOCK,     /* {% */
    TPL_TOKEN_BLOCK_END, /* %} */
    TPL_TOKEN_NAME,
    TPL_TOKEN_CONSTANT, /* a string, integer or float: `value` */
    TPL_TOKEN_OPERATOR, /* `text` is one of the operators */
} tpl_token_type;

typedef struct tpl_token {
    tpl_token_type type;
    int line;
    const char
        *text; /* a name or operator, NUL-terminated; data: not terminated, length in value */
    tpl_value value;
} tpl_token;

typedef struct tpl_tokens {
    tpl_token *data; /* in the arena; the last is TPL_TOKEN_END */
    size_t count, capacity;
} tpl_tokens;

/* Cuts `source` into tokens and applies whitespace control. Errors stick in t. */
void tpl_lex(tpl *t, const char *source, tpl_tokens *tokens);

typedef enum tpl_node_kind {
    /* expressions */
    TPL_CONSTANT, /* value */
    TPL_NAME,     /* value: its name */
    TPL_LIST_OF,  /* list */
    TPL_TUPLE_OF, /* list */
    TPL_DICT_OF,  /* list of TPL_PAIR(a, b) */
    TPL_PAIR,
    TPL_ATTRIBUTE, /* a.value */
    TPL_ITEM,      /* a[b] */
    TPL_SLICE,     /* a:b:c, each may be NULL */
    TPL_CALL,      /* a(list) */
    TPL_FILTER,    /* a | value(list); a is NULL for the input of a filter block */
    TPL_TEST,      /* a is value(list) */
    TPL_ARGUMENT,  /* a, with value as its keyword; text "*" or "**" */
    TPL_NOT,
    TPL_NEGATIVE,
    TPL_POSITIVE,
    TPL_BINARY, /* a text b */
    TPL_AND,
    TPL_OR,
    TPL_COMPARE, /* a, then a list of TPL_OPERAND(text a) */
    TPL_OPERAND,
    TPL_IF_ELSE, /* b if a else c, which may be NULL */
    TPL_FIELD,   /* as a target: the attribute value of the namespace named text */
    /* statements */
    TPL_DATA,         /* value */
    TPL_OUTPUT,       /* a */
    TPL_FOR,          /* for a in b if c: list; other */
    TPL_IF,           /* if a: list; other */
    TPL_SET,          /* a = b */
    TPL_SET_BLOCK,    /* a = list through the filters b, which may be NULL */
    TPL_DEFINE,       /* macro value(parameters): list */
    TPL_CALL_BLOCK,   /* call(parameters) a: list */
    TPL_FILTER_BLOCK, /* a: list */
    TPL_WITH,         /* parameters: TPL_PAIR(target, value): list */
    TPL_GENERATION,   /* list */
    TPL_BREAK_LOOP,
    TPL_CONTINUE_LOOP,
} tpl_node_kind;

enum { TPL_USES_VARARGS = 1, TPL_USES_KWARGS = 2, TPL_USES_CALLER = 4 };

typedef struct tpl_node tpl_node;
struct tpl_node {
    tpl_node_kind kind;
    int line;
    unsigned uses; /* of a macro: which of its special variables the body names */
    const char *text;
    tpl_value value;
    tpl_node *a, *b, *c;
    tpl_node *list, *other, *parameters; /* chained by `next` */
    tpl_node *next;
    const tpl_builtin *builtin; /* of a filter or test, once it was looked up */
};

/* The tree of the template; errors stick in t. */
tpl_node *tpl_parse(tpl *t, const tpl_tokens *tokens);

/* The state of the parser, and what its two files share. */
typedef struct tpl_parser {
    tpl *t;
    const tpl_token *token;
    unsigned depth, loops;
    unsigned uses; /* the special variables named so far in the innermost macro */
    tpl_node
        spare; /* stands for nodes after a failure, when nothing reads what the parser builds */
} tpl_parser;

tpl_node *tpl_node_new(tpl_parser *p, tpl_node_kind kind);
bool tpl_at(const tpl_parser *p, const char *operator_or_name);
bool tpl_skip(tpl_parser *p, const char *operator_or_name); /* when it is there */
void tpl_expect(tpl_parser *p, const char *operator_or_name);
const char *tpl_expect_name(tpl_parser *p);
void tpl_next(tpl_parser *p);
__attribute__((cold)) void tpl_fail_token(tpl_parser *p, const char *wanted);
bool tpl_parse_enter(tpl_parser *p);

tpl_node *tpl_parse_expression(tpl_parser *p, bool with_condition);
/* One expression or, with commas, a tuple. `end` is a name that ends it, or NULL. */
tpl_node *tpl_parse_tuple(tpl_parser *p, bool with_condition, const char *end, bool may_be_empty);
/* What an assignment can assign to: a name, a namespace's attribute, a tuple of them. */
tpl_node *tpl_parse_target(tpl_parser *p, const char *end, bool fields);
tpl_node *tpl_parse_filters(tpl_parser *p, tpl_node *input, bool inline_start);

#endif
