#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include "base/fail.h"
#include "base/memory.h"
#include "text/unicode.h"

#include <pcre2.h>
#include <stdlib.h>

struct pare_regex {
    pcre2_code *code;
};

enum { JIT_STACK_START = 32 << 10, JIT_STACK_LIMIT = 64 << 20 };

pare_status pare_regex_compile(const char *pattern, size_t length, pare_regex **out)
{
    pare_buffer translated = {0};
    *out = NULL;
    pare_status status = pare_regex_translate(pattern, length, &translated);
    if (status == PARE_OK)
        status = pare_allocate(1, sizeof **out, "a regular expression", out);
    if (status != PARE_OK)
        goto done;
    int error;
    size_t offset;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context) {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        (*out)->code =
            pcre2_compile((PCRE2_SPTR)translated.data, translated.size,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                          &offset, context);
        pcre2_compile_context_free(context);
    }
    if (!context || !(*out)->code) {
        PCRE2_UCHAR text[128] = "out of memory";
        if (context)
            pcre2_get_error_message(error, text, sizeof text);
        status = pare_fail(PARE_UNSUPPORTED, "the regular expression '%.200s' is not usable: %s",
                           pattern, (char *)text);
        pare_regex_free(*out);
        *out = NULL;
        goto done;
    }
    pcre2_jit_compile((*out)->code,
                      PCRE2_JIT_COMPLETE); /* where there is none, the interpreter gives the same */
done:
    pare_buffer_free(&translated);
    return status;
}

void pare_regex_free(pare_regex *regex)
{
    if (regex)
        pcre2_code_free(regex->code);
    free(regex);
}

void pare_regex_begin(pare_regex_search *search, const pare_regex *regex, const char *text,
                      size_t size)
{
    search->regex = regex;
    search->text = text;
    search->size = size;
    search->position = 0;
    search->matched = false;
}

static pare_status prepare(pare_regex_search *search)
{
    if (search->data)
        return PARE_OK;
    search->data = pcre2_match_data_create(1, NULL);
    search->context = pcre2_match_context_create(NULL);
    search->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_LIMIT, NULL);
    if (!search->data || !search->context)
        return pare_fail_memory(0, "matching");
    if (search->stack)
        pcre2_jit_stack_assign(search->context, NULL, search->stack);
    return PARE_OK;
}

pare_status pare_regex_next(pare_regex_search *search, size_t *start, size_t *end, bool *found)
{
    pare_status status = prepare(search);
    *found = false;
    while (status == PARE_OK && search->position <= search->size) {
        int rc = pcre2_match(search->regex->code, (PCRE2_SPTR)search->text, search->size,
                             search->position, PCRE2_NO_UTF_CHECK, search->data, search->context);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(search->regex->code, (PCRE2_SPTR)search->text, search->size,
                             search->position, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, search->data,
                             search->context);
        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        if (rc < 0)
            return pare_fail(
                PARE_LIMIT,
                "a regular expression of the tokenizer gives up at byte %zu (PCRE2 error %d)",
                search->position, rc);
        PCRE2_SIZE *range = pcre2_get_ovector_pointer(search->data);
        if (range[0] == range[1] && search->matched && range[1] == search->last_end) {
            search->position += search->position < search->size
                                    ? pare_utf8_length(search->text[search->position])
                                    : 1;
            continue;
        }
        *start = range[0];
        *end = search->position = search->last_end = range[1];
        *found = search->matched = true;
        return PARE_OK;
    }
    return status;
}

void pare_regex_search_free(pare_regex_search *search)
{
    pcre2_match_data_free(search->data);
    pcre2_match_context_free(search->context);
    pcre2_jit_stack_free(search->stack);
    *search = (pare_regex_search){0};
}
