/* The values of the template language (Python's, as far as templates see them) and the state of one
 * rendering.
 *
 * Everything lives in one arena until the rendering ends. Errors stick: the first one is kept in
 * tpl.status, and from then on evaluation does nothing and gives undefined values, so that callers
 * need not check after each step. */
#ifndef PARE_TEXT_TEMPLATE_VALUE_H
#define PARE_TEXT_TEMPLATE_VALUE_H

#include "base/buffer.h"
#include "base/memory.h"
#include "text/template.h"

#include <stdbool.h>

typedef enum tpl_type {
    TPL_ABSENT, /* an argument that was not given; never seen by templates */
    TPL_UNDEFINED,
    TPL_NONE,
    TPL_BOOL,
    TPL_INT,
    TPL_FLOAT,
    TPL_STRING,
    TPL_SEQUENCE,
    TPL_DICT,
    TPL_NAMESPACE,
    TPL_MACRO,
    TPL_FUNCTION, /* a global function */
    TPL_METHOD,   /* a builtin bound to its object */
    TPL_LOOP,
    TPL_JOINER,
} tpl_type;

typedef enum tpl_kind { /* of a sequence */
                        TPL_LIST,
                        TPL_TUPLE,
                        TPL_GROUP, /* the (grouper, list) tuple of groupby */
                        TPL_RANGE,
                        TPL_KEYS, /* the views of a dict */
                        TPL_VALUES,
                        TPL_ITEMS,
                        TPL_GENERATOR, /* what select, map, ... give: it can be walked once */
} tpl_kind;

typedef struct tpl_string {
    const char *data; /* valid UTF-8, not NUL-terminated */
    size_t length;    /* bytes */
    size_t characters;
    bool safe; /* Markup: `+` escapes what is not safe */
} tpl_string;

typedef struct tpl_sequence tpl_sequence;
typedef struct tpl_dict tpl_dict;
typedef struct tpl_undefined tpl_undefined;
typedef struct tpl_macro tpl_macro;
typedef struct tpl_builtin tpl_builtin;
typedef struct tpl_method tpl_method;
typedef struct tpl_loop tpl_loop;
typedef struct tpl_joiner tpl_joiner;

typedef struct tpl_value {
    tpl_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        const tpl_string *string;
        tpl_sequence *sequence;
        tpl_dict *dict; /* of a namespace too */
        const tpl_undefined *undefined;
        const tpl_macro *macro;
        const tpl_builtin *function;
        const tpl_method *method;
        tpl_loop *loop;
        tpl_joiner *joiner;
    };
} tpl_value;

struct tpl_sequence {
    tpl_kind kind;
    size_t count, capacity;
    size_t position;           /* of a generator: items before it were taken */
    int64_t start, stop, step; /* of a range */
    tpl_value *items;
};

typedef struct tpl_entry {
    tpl_value key, value;
} tpl_entry;

struct tpl_dict {
    size_t count, capacity;
    tpl_entry *entries; /* in order of insertion */
};

struct tpl_undefined {
    const char *hint; /* the whole message, or NULL */
    tpl_value object; /* TPL_ABSENT: a variable */
    tpl_value key;
};

struct tpl_method {
    tpl_value self;
    const tpl_builtin *builtin;
};

struct tpl_joiner {
    const tpl_string *separator;
    bool used;
};

typedef struct tpl_scope tpl_scope;
struct tpl_node;

struct tpl_macro {
    const struct tpl_node *node; /* a macro, or a call block as `caller` */
    tpl_scope *scope;
    bool is_caller;
};

typedef enum tpl_flow { TPL_ON, TPL_BREAK, TPL_CONTINUE } tpl_flow;

typedef struct tpl {
    const char *name; /* in messages */
    pare_arena arena;
    pare_template_limits limits;
    uint64_t steps;
    size_t memory;
    unsigned depth;
    int line; /* being evaluated */
    pare_status status;
    tpl_flow flow;
    pare_buffer *out;
    tpl_scope *scope;
    tpl_dict *variables;
    tpl_value block_input; /* what a filter block's first filter works on */
} tpl;

/* Keeps the first error. The message is "NAME: line N: ...". */
__attribute__((format(printf, 3, 4), cold)) tpl_value tpl_fail(tpl *t, pare_status status,
                                                               const char *format, ...);
static inline bool tpl_failed(const tpl *t)
{
    return t->status != PARE_OK;
}
/* Counts work; false (and an error) when the template has used up its steps. */
bool tpl_charge(tpl *t, uint64_t steps);
bool tpl_enter(
    tpl *t); /* one more level of nesting; false over the limit; else tpl_leave follows */
void tpl_leave(tpl *t);
void *tpl_allocate(tpl *t, size_t count, size_t size); /* zeroed; NULL on failure */

/* Making values. */
#define TPL_NOTHING ((tpl_value){.type = TPL_NONE})
tpl_value tpl_bool(bool value);
tpl_value tpl_int(int64_t value);
tpl_value tpl_float(double value);
tpl_value tpl_text(tpl *t, const char *data, size_t length); /* keeps the pointer */
tpl_value tpl_literal(tpl *t, const char *text);
tpl_value tpl_substring(tpl *t, const tpl_string *string, const char *start, const char *end);
tpl_value tpl_take(tpl *t,
                   pare_buffer *buffer); /* a string of the buffer's text; frees the buffer */
tpl_value tpl_sequence_new(tpl *t, tpl_kind kind, size_t capacity);
void tpl_append(tpl *t, tpl_value sequence, tpl_value item);
tpl_value tpl_pair(tpl *t, tpl_kind kind, tpl_value first, tpl_value second);
tpl_value tpl_dict_new(tpl *t);
void tpl_dict_set(tpl *t, tpl_dict *dict, tpl_value key,
                  tpl_value value); /* fails on a key that cannot be hashed */
const tpl_value *tpl_dict_get(tpl *t, const tpl_dict *dict, tpl_value key);
const tpl_value *tpl_dict_find(const tpl_dict *dict, const char *name);
tpl_value tpl_undefined_hint(tpl *t, const char *hint);
tpl_value tpl_undefined_name(tpl *t, tpl_value name);
tpl_value tpl_undefined_item(tpl *t, tpl_value object, tpl_value key);
tpl_value tpl_from_json(tpl *t, const json_t *json);

/* Asking. */
bool tpl_is_hashable(tpl *t, tpl_value key); /* whether it can be the key of a dict */
bool tpl_is_string(tpl_value value, const char *text);
bool tpl_is_number(tpl_value value); /* with bool, as in Python */
double tpl_number(tpl_value value);
int64_t tpl_integer(tpl_value value); /* of an int or a bool */
bool tpl_is_integer(tpl_value value); /* an int or a bool */
bool tpl_truth(tpl_value value);
bool tpl_equal(tpl *t, tpl_value a, tpl_value b);
/* -1, 0 or 1; 2 where a NaN makes them unordered. Fails where Python does; `symbol` is for the
 * message. */
int tpl_compare(tpl *t, tpl_value a, tpl_value b, const char *symbol);
bool tpl_contains(tpl *t, tpl_value container, tpl_value item);
size_t tpl_length(tpl *t, tpl_value value); /* fails where Python's len() does */
const char *tpl_type_name(tpl_value value); /* Python's: "str", "dict", ... */
tpl_value tpl_fail_undefined(tpl *t, tpl_value undefined);

typedef struct tpl_items {
    const tpl_value *data;
    size_t count;
} tpl_items;
/* The items that a loop over the value gives; uses up a generator. */
tpl_items tpl_iterate(tpl *t, tpl_value value);
tpl_value tpl_list_of(tpl *t, tpl_items items, tpl_kind kind);

/* Writing: appends within the limits. */
void tpl_put(tpl *t, pare_buffer *buffer, const char *bytes, size_t count);
void tpl_put_text(tpl *t, pare_buffer *buffer, const char *text);
void tpl_put_float(tpl *t, pare_buffer *buffer, double value);
void tpl_put_value(tpl *t, pare_buffer *buffer, tpl_value value); /* str(value) */
void tpl_put_repr(tpl *t, pare_buffer *buffer, tpl_value value);  /* repr(value) */
const tpl_string *tpl_str(tpl *t, tpl_value value);               /* never NULL */

typedef struct tpl_json_style {
    bool ascii, sort;
    const tpl_string *indent; /* NULL: on one line */
    const tpl_string *item_separator, *key_separator;
} tpl_json_style;
void tpl_put_json(tpl *t, pare_buffer *buffer, tpl_value value, const tpl_json_style *style);

/* Characters. */
int32_t tpl_decode(const char **cursor,
                   const char *end); /* the next code point; moves the cursor */
size_t tpl_encode(int32_t code, char bytes[4]);
bool tpl_is_space(int32_t code);
size_t tpl_characters(const tpl_string *string);
const char *tpl_character_at(const tpl_string *string, size_t index); /* its address */

#endif
