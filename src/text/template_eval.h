/* Evaluation: what its files share, and the tables of builtins. */
#ifndef PARE_TEXT_TEMPLATE_EVAL_H
#define PARE_TEXT_TEMPLATE_EVAL_H

#include "text/template_syntax.h"

struct tpl_scope {
    tpl_scope *parent;
    tpl_dict variables;
};

/* A loop takes its items one by one, since a filter (`for .. if ..`) may depend on what the body
 * did before. */
struct tpl_loop {
    const tpl_node *node;
    tpl_scope *outer;
    tpl_items source;
    size_t next;     /* item of the source */
    tpl_value taken; /* the list of those that the filter let through */
    size_t index;
    tpl_value last_changed;
};

typedef struct tpl_arguments {
    const tpl_value *positional;
    size_t count;
    tpl_dict named;
} tpl_arguments;

enum { TPL_PARAMETERS = 5 };

/* A call of a builtin. */
typedef struct tpl_call {
    const tpl_builtin *builtin;
    tpl_value self; /* the object of a method, the value before a filter or test */
    tpl_value
        args[TPL_PARAMETERS]; /* by the order of builtin->parameters; TPL_ABSENT where not given */
    const tpl_arguments *raw; /* for builtins that take any arguments */
} tpl_call;

/* A row of a table of builtins. `parameters`: names with spaces between, optional ones in brackets
 * ("old new [count]"), or
 * "*" for any. A row without a function is something Jinja2 or Python has and Pare has not. */
struct tpl_builtin {
    const char *name, *parameters;
    tpl_value (*run)(tpl *t, const tpl_call *call);
    int detail; /* tells rows that share a function apart */
};

/* NULL where there is none of that name. */
const tpl_builtin *tpl_find_filter(const char *name);
const tpl_builtin *tpl_find_test(const char *name);
const tpl_builtin *tpl_find_global(const char *name);
const tpl_builtin *tpl_find_method(tpl_value object, const char *name);
const tpl_builtin *tpl_find_row(const tpl_builtin *rows, size_t count, const char *name);
/* The filters that work on sequences are a table of their own. */
const tpl_builtin *tpl_find_sequence_filter(const char *name);
const tpl_builtin *tpl_find_string_method(const char *name);

tpl_value tpl_eval(tpl *t, const tpl_node *node);
void tpl_execute(tpl *t, const tpl_node *list);
tpl_scope *tpl_scope_new(tpl *t, tpl_scope *parent);
void tpl_assign(tpl *t, const tpl_node *target, tpl_value value);
/* The text that executing `list` in `scope` gives. */
tpl_value tpl_capture(tpl *t, tpl_scope *scope, const tpl_node *list);
bool tpl_loop_take(tpl *t, tpl_loop *loop, size_t index); /* false: the loop has no such item */

/* Calls. `what` is "filter", "test", ... for messages. */
tpl_value tpl_run_builtin(tpl *t, const char *what, const tpl_builtin *builtin, tpl_value self,
                          const tpl_arguments *arguments);
tpl_value tpl_call_value(tpl *t, tpl_value callee, const tpl_arguments *arguments);
tpl_arguments tpl_eval_arguments(tpl *t, const tpl_node *list);
tpl_value tpl_apply_filter(tpl *t, const char *name, tpl_value value,
                           const tpl_arguments *arguments);
bool tpl_apply_test(tpl *t, const char *name, tpl_value value, const tpl_arguments *arguments);
tpl_value tpl_macro_new(tpl *t, const tpl_node *node);
tpl_value tpl_loop_attribute(tpl *t, tpl_loop *loop,
                             const char *name); /* TPL_ABSENT: it has none */

/* Operators. */
tpl_value tpl_binary(tpl *t, const char *symbol, tpl_value a, tpl_value b);
tpl_value tpl_negative(tpl *t, tpl_value value);
tpl_value tpl_get_attribute(tpl *t, tpl_value object, tpl_value name); /* object.name */
tpl_value tpl_get_item(tpl *t, tpl_value object, tpl_value key);       /* object[key] */
tpl_value tpl_get_slice(tpl *t, tpl_value object, tpl_value start, tpl_value stop, tpl_value step);
tpl_value tpl_format_percent(tpl *t, const tpl_string *format,
                             tpl_value arguments);         /* format % arguments */
tpl_value tpl_format_braces(tpl *t, const tpl_call *call); /* str.format */
tpl_value tpl_escape(tpl *t, tpl_value value);             /* for HTML; marked safe */

/* Strings, shared by methods and filters. */
enum { TPL_STRIP_LEFT = 1, TPL_STRIP_RIGHT = 2 };
tpl_value tpl_strip(tpl *t, const tpl_string *string, const tpl_string *characters,
                    int sides); /* NULL: whitespace */
tpl_value tpl_replace(tpl *t, const tpl_string *string, const tpl_string *from,
                      const tpl_string *to, int64_t limit);
tpl_value tpl_split_lines(tpl *t, const tpl_string *string, bool keep_ends);
typedef enum tpl_case { TPL_UPPER, TPL_LOWER, TPL_TITLE, TPL_CAPITALIZE, TPL_SWAP } tpl_case;
tpl_value tpl_change_case(tpl *t, const tpl_string *string, tpl_case wanted);
bool tpl_has_case(const tpl_string *string, tpl_case wanted); /* islower(), isupper() */
/* range, dict, namespace, ... */
tpl_value tpl_range(tpl *t, int64_t start, int64_t stop, int64_t step);

/* Arguments of builtins, with a value for those not given; a wrong type is an error. */
int64_t tpl_arg_int(tpl *t, const tpl_call *call, size_t index, int64_t otherwise);
bool tpl_arg_truth(const tpl_call *call, size_t index, bool otherwise);
const tpl_string *tpl_arg_string(tpl *t, const tpl_call *call, size_t index,
                                 const tpl_string *otherwise);

#endif
