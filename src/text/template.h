/* Chat templates: an interpreter of the part of Jinja2 that chat templates use, with the meaning
 * that transformers.apply_chat_template gives them (trim_blocks, lstrip_blocks, loop controls, an
 * immutable sandbox, raise_exception, strftime_now, its own tojson, {% generation %}). */
#ifndef PARE_TEXT_TEMPLATE_H
#define PARE_TEXT_TEMPLATE_H

#include <jansson.h>
#include <pare/error.h>
#include <stddef.h>
#include <stdint.h>

/* Renders `source` (UTF-8) with `variables`, an object: messages, add_generation_prompt, bos_token,
 * tools, ... As with transformers, `tools` and `documents` should be null, not absent, where there
 * are none. `name` stands in messages. *text is malloc'ed and NUL-terminated. PARE_FORMAT a syntax
 * error, with its line PARE_UNSUPPORTED       a construct that Jinja2 has and this interpreter has
 * not: named, with its line PARE_INVALID_ARGUMENT  raise_exception (its message is included as it
 * is) or an error of the template while it runs PARE_LIMIT             the template needs more
 * steps, memory, output or nesting than allowed */
pare_status pare_template_render(const char *source, const char *name, const json_t *variables,
                                 char **text);

/* What a template may use before it is stopped: evaluation steps, bytes of intermediate values,
 * bytes of output. */
typedef struct pare_template_limits {
    uint64_t steps;
    size_t memory, output;
} pare_template_limits;

/* The same with limits of the caller's choice. */
pare_status pare_template_render_within(const pare_template_limits *limits, const char *source,
                                        const char *name, const json_t *variables, char **text);

#endif
