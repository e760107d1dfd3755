/* The regular expressions of tokenizers: written for Oniguruma (Ruby syntax), run by PCRE2. */
#ifndef PARE_TEXT_REGEX_H
#define PARE_TEXT_REGEX_H

#include "base/buffer.h"

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct pare_regex pare_regex; /* immutable: many threads may match with it */

/* PARE_UNSUPPORTED with the reason where the pattern cannot be run as Oniguruma would run it. */
pare_status pare_regex_compile(const char *pattern, size_t length, pare_regex **out);
void pare_regex_free(pare_regex *regex); /* accepts NULL */

/* Matching in one text after the other; each thread has its own. Starts as {0}. */
typedef struct pare_regex_search {
    void *data, *context, *stack;
    const pare_regex *regex;
    const char *text;
    size_t size, position, last_end;
    bool matched;
} pare_regex_search;

void pare_regex_begin(pare_regex_search *search, const pare_regex *regex, const char *text,
                      size_t size);
/* The next match from the left, *found false at the end; an empty match at the end of the one
 * before is passed over. PARE_LIMIT where the pattern backtracks without end. */
pare_status pare_regex_next(pare_regex_search *search, size_t *start, size_t *end, bool *found);
void pare_regex_search_free(pare_regex_search *search);

/* The PCRE2 form of an Oniguruma pattern. */
pare_status pare_regex_translate(const char *pattern, size_t length, pare_buffer *out);

#endif
