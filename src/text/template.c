/* Rendering, and the global functions of templates. */
#include "text/template_eval.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

enum { RANGE_LIMIT = 100000 }; /* the sandbox's MAX_RANGE */

tpl_value tpl_range(tpl *t, int64_t start, int64_t stop, int64_t step)
{
    uint64_t count = 0;
    if (step > 0 && stop > start)
        count = ((uint64_t)stop - (uint64_t)start - 1) / (uint64_t)step + 1;
    else if (step < 0 && stop < start)
        count = ((uint64_t)start - (uint64_t)stop - 1) / (0 - (uint64_t)step) + 1;
    if (count > RANGE_LIMIT)
        return tpl_fail(t, PARE_LIMIT, "a range is longer than %d items", RANGE_LIMIT);
    tpl_value range = tpl_sequence_new(t, TPL_RANGE, (size_t)count);
    tpl_charge(t, count / 4);
    for (uint64_t i = 0; i < count && !tpl_failed(t); i++)
        tpl_append(t, range, tpl_int((int64_t)((uint64_t)start + i * (uint64_t)step)));
    if (!tpl_failed(t)) {
        range.sequence->start = start;
        range.sequence->stop = stop;
        range.sequence->step = step;
    }
    return range;
}

static tpl_value range(tpl *t, const tpl_call *call)
{
    int64_t bounds[3] = {0, 0, 1};
    for (size_t i = 0; i < 3 && call->args[i].type != TPL_ABSENT; i++) {
        if (!tpl_is_integer(call->args[i]))
            return tpl_fail(t, PARE_INVALID_ARGUMENT,
                            "'%s' object cannot be interpreted as an integer",
                            tpl_type_name(call->args[i]));
        bounds[i] = tpl_integer(call->args[i]);
    }
    if (bounds[2] == 0)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "range() arg 3 must not be zero");
    return call->args[1].type == TPL_ABSENT ? tpl_range(t, 0, bounds[0], 1)
                                            : tpl_range(t, bounds[0], bounds[1], bounds[2]);
}

static void add_pairs(tpl *t, tpl_dict *dict, tpl_value pairs)
{
    tpl_items items = tpl_iterate(t, pairs);
    for (size_t i = 0; i < items.count && tpl_charge(t, 1); i++) {
        tpl_items pair = tpl_iterate(t, items.data[i]);
        if (pair.count != 2)
            tpl_fail(t, PARE_INVALID_ARGUMENT,
                     "dictionary update sequence element #%zu has length %zu; 2 is required", i,
                     pair.count);
        else
            tpl_dict_set(t, dict, pair.data[0], pair.data[1]);
    }
}

static void add_entries(tpl *t, tpl_dict *to, const tpl_dict *from)
{
    for (size_t i = 0; i < from->count && !tpl_failed(t); i++)
        tpl_dict_set(t, to, from->entries[i].key, from->entries[i].value);
}

/* dict() and namespace(). */
static tpl_value make_dict(tpl *t, const tpl_call *call)
{
    tpl_value dict = tpl_dict_new(t);
    if (call->raw->count > 1)
        return tpl_fail(t, PARE_INVALID_ARGUMENT, "'%s' takes one argument at most",
                        call->builtin->name);
    if (tpl_failed(t))
        return dict;
    if (call->raw->count && call->raw->positional[0].type == TPL_DICT)
        add_entries(t, dict.dict, call->raw->positional[0].dict);
    else if (call->raw->count)
        add_pairs(t, dict.dict, call->raw->positional[0]);
    add_entries(t, dict.dict, &call->raw->named);
    dict.type = (tpl_type)call->builtin->detail;
    return dict;
}

static tpl_value raise_exception(tpl *t, const tpl_call *call)
{
    const tpl_string *message = tpl_str(t, call->args[0]);
    return tpl_fail(t, PARE_INVALID_ARGUMENT, "%.*s",
                    (int)(message->length < 1000 ? message->length : 1000), message->data);
}

static tpl_value strftime_now(tpl *t, const tpl_call *call)
{
    char format[256], text[1024];
    const tpl_string *wanted = tpl_arg_string(t, call, 0, NULL);
    time_t now = time(NULL);
    struct tm parts;
    if (!wanted || wanted->length >= sizeof format || memchr(wanted->data, 0, wanted->length))
        return tpl_fail(t, PARE_INVALID_ARGUMENT,
                        "strftime_now needs a format of at most 255 bytes");
    memcpy(format, wanted->data, wanted->length);
    format[wanted->length] = 0;
    if (strstr(format, "%f") || !localtime_r(&now, &parts))
        return tpl_fail(t, PARE_UNSUPPORTED, "microseconds in strftime_now");
    size_t length = strftime(text, sizeof text, format, &parts);
    char *copy = tpl_allocate(t, length, 1);
    if (copy)
        memcpy(copy, text, length);
    return copy ? tpl_text(t, copy, length) : TPL_NOTHING;
}

static tpl_value make_joiner(tpl *t, const tpl_call *call)
{
    static const tpl_string comma = {.data = ", ", .length = 2, .characters = 2};
    tpl_joiner *joiner = tpl_allocate(t, 1, sizeof *joiner);
    if (!joiner)
        return TPL_NOTHING;
    joiner->separator = tpl_arg_string(t, call, 0, &comma);
    return (tpl_value){.type = TPL_JOINER, .joiner = joiner};
}

static const tpl_builtin globals[] = {
    {"range", "start [stop] [step]", range, 0},
    {"dict", "*", make_dict, TPL_DICT},
    {"namespace", "*", make_dict, TPL_NAMESPACE},
    {"raise_exception", "message", raise_exception, 0},
    {"strftime_now", "format", strftime_now, 0},
    {"joiner", "[sep]", make_joiner, 0},
    {"cycler", "*", NULL, 0},
    {"lipsum", "*", NULL, 0},
};

const tpl_builtin *tpl_find_global(const char *name)
{
    return tpl_find_row(globals, sizeof globals / sizeof *globals, name);
}

/* The source with every kind of newline as "\n", checked to be UTF-8. */
static char *normalize(tpl *t, const char *source)
{
    const char *cursor = source, *end = source + strlen(source);
    char *copy = tpl_allocate(t, strlen(source) + 1, 1), *out = copy;
    t->line = 1;
    while (copy && cursor < end) {
        const char *start = cursor;
        if (tpl_decode(&cursor, end) < 0) {
            tpl_fail(t, PARE_FORMAT, "the template is not valid UTF-8");
            return NULL;
        }
        if (*start == '\r') {
            if (cursor < end && *cursor == '\n')
                continue;
            *out++ = '\n';
        } else {
            memcpy(out, start, (size_t)(cursor - start));
            out += cursor - start;
        }
        t->line += out[-1] == '\n';
    }
    return copy;
}

static void render(tpl *t, const char *source, const json_t *variables)
{
    tpl_tokens tokens = {0};
    char *text = normalize(t, source);
    if (!text)
        return;
    tpl_lex(t, text, &tokens);
    const tpl_node *body = tpl_parse(t, &tokens);
    tpl_value context = tpl_from_json(t, variables);
    if (context.type != TPL_DICT)
        tpl_fail(t, PARE_INVALID_ARGUMENT, "the variables of a template are not an object");
    if (tpl_failed(t))
        return;
    t->variables = context.dict;
    t->scope = tpl_scope_new(t, NULL);
    if (t->scope)
        tpl_execute(t, body);
}

pare_status pare_template_render_within(const pare_template_limits *limits, const char *source,
                                        const char *name, const json_t *variables, char **text)
{
    pare_buffer out = {0};
    tpl state = {.name = name, .limits = *limits, .out = &out};
    *text = NULL;
    render(&state, source, variables);
    if (state.status == PARE_OK && out.size && memchr(out.data, 0, out.size))
        tpl_fail(&state, PARE_UNSUPPORTED, "the rendered text holds a NUL character");
    if (state.status == PARE_OK) {
        pare_buffer_text(&out, "");
        *text = pare_buffer_take(&out);
        if (!*text)
            state.status = pare_fail_memory(out.size, "a rendered template");
    }
    pare_buffer_free(&out);
    pare_arena_free(&state.arena);
    return state.status;
}

pare_status pare_template_render(const char *source, const char *name, const json_t *variables,
                                 char **text)
{
    /* A long conversation takes some 10^5 steps; what stops here takes seconds. */
    static const pare_template_limits limits = {
        .steps = 20000000, .memory = (size_t)256 << 20, .output = (size_t)64 << 20};
    return pare_template_render_within(&limits, source, name, variables, text);
}
