/* The tokens of a template. The rules are those of Jinja2's lexer with trim_blocks and
 * lstrip_blocks: a newline right after a block or comment is dropped, blanks before one on its line
 * are dropped ("+" keeps both), "-" drops all whitespace. */
#include "text/template_syntax.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { BALANCE_LIMIT = 400 };

typedef struct lexer {
    tpl *t;
    tpl_tokens *tokens;
    const char *start, *cursor, *end;
    char open[BALANCE_LIMIT]; /* the brackets that are open inside a tag */
    size_t open_count;
} lexer;

static const char *const operators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/",
                                        "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                        ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

static tpl_token *push(lexer *l, tpl_token_type type)
{
    tpl_tokens *tokens = l->tokens;
    if (tokens->count == tokens->capacity) {
        size_t capacity = tokens->capacity * 2 + 64;
        tpl_token *grown = tpl_allocate(l->t, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        if (tokens->count)
            memcpy(grown, tokens->data, tokens->count * sizeof *grown);
        tokens->data = grown;
        tokens->capacity = capacity;
    }
    tpl_token *token = &tokens->data[tokens->count++];
    *token = (tpl_token){.type = type, .line = l->t->line};
    return token;
}

/* Moves to `to` and counts the lines on the way. */
static void move(lexer *l, const char *to)
{
    for (; l->cursor < to; l->cursor++)
        l->t->line += *l->cursor == '\n';
}

static const char *skip_space(const char *cursor, const char *end)
{
    while (cursor < end) {
        const char *next = cursor;
        if (!tpl_is_space(tpl_decode(&next, end)))
            break;
        cursor = next;
    }
    return cursor;
}

static const char *trim_right(const char *start, const char *end)
{
    while (end > start) {
        const char *last = end - 1;
        while (last > start && ((unsigned char)*last & 0xc0) == 0x80)
            last--;
        const char *cursor = last;
        if (!tpl_is_space(tpl_decode(&cursor, end)))
            break;
        end = last;
    }
    return end;
}

static bool starts_with(const lexer *l, const char *at, const char *text)
{
    size_t length = strlen(text);
    return (size_t)(l->end - at) >= length && !memcmp(at, text, length);
}

/* The end of a closing mark ("%}", "#}") at `at` with its whitespace control, or NULL. */
static const char *closing(const lexer *l, const char *at, const char *mark)
{
    if (*at == '-' && starts_with(l, at + 1, mark))
        return skip_space(at + 3, l->end);
    if (*at == '+' && starts_with(l, at + 1, mark))
        return at + 3;
    if (!starts_with(l, at, mark))
        return NULL;
    return at + 2 < l->end && at[2] == '\n' ? at + 3 : at + 2;
}

/* Text up to the tag at `tag`, whose sign is '-', '+' or another character. */
static void push_data(lexer *l, const char *tag, char sign, bool is_print)
{
    const char *start = l->cursor, *end = tag;
    bool line_starting = start == l->start || start[-1] == '\n';
    if (sign == '-') {
        end = trim_right(start, end);
    } else if (sign != '+' && !is_print) {
        const char *line = end;
        while (line > start && line[-1] != '\n')
            line--;
        if ((line > start || line_starting) && skip_space(line, end) == end)
            end = line;
    }
    if (end > start) {
        tpl_token *token = push(l, TPL_TOKEN_DATA);
        if (token)
            token->value = tpl_text(l->t, start, (size_t)(end - start));
    }
    move(l, tag);
}

static void lex_comment(lexer *l)
{
    move(l, l->cursor + 2 + (l->cursor[2] == '-' || l->cursor[2] == '+'));
    for (const char *at = l->cursor; at < l->end; at++) {
        const char *after = closing(l, at, "#}");
        if (after) {
            move(l, after);
            return;
        }
    }
    tpl_fail(l->t, PARE_FORMAT, "a comment does not end");
}

/* "{% raw %}": its end, or NULL where the tag is another one. */
static const char *raw_begin(const lexer *l)
{
    const char *at = l->cursor + 2;
    at = skip_space(at + (*at == '-' || *at == '+'), l->end);
    if (!starts_with(l, at, "raw"))
        return NULL;
    at = skip_space(at + 3, l->end);
    if (starts_with(l, at, "-%}"))
        return skip_space(at + 3, l->end);
    return starts_with(l, at, "%}") ? at + 2 : NULL;
}

static void lex_raw(lexer *l, const char *body)
{
    move(l, body);
    for (const char *at = body; at < l->end; at++) {
        if (!starts_with(l, at, "{%"))
            continue;
        char sign = at[2];
        const char *word = skip_space(at + 2 + (sign == '-' || sign == '+'), l->end);
        if (!starts_with(l, word, "endraw"))
            continue;
        const char *after = closing(l, skip_space(word + 6, l->end), "%}");
        if (after) {
            push_data(l, at, sign, false);
            move(l, after);
            return;
        }
    }
    tpl_fail(l->t, PARE_FORMAT, "'raw' is not closed by 'endraw'");
}

static void lex_operator(lexer *l)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        const char *text = operators[i];
        if (!starts_with(l, l->cursor, text))
            continue;
        char expected = *text == ')' ? '(' : *text == ']' ? '[' : *text == '}' ? '{' : 0;
        if (*text == '(' || *text == '[' || *text == '{') {
            if (l->open_count == BALANCE_LIMIT)
                tpl_fail(l->t, PARE_LIMIT, "over %d brackets are open", BALANCE_LIMIT);
            else
                l->open[l->open_count++] = *text;
        } else if (expected && (!l->open_count || l->open[--l->open_count] != expected)) {
            tpl_fail(l->t, PARE_FORMAT, "unexpected '%s'", text);
        }
        tpl_token *token = push(l, TPL_TOKEN_OPERATOR);
        if (token)
            token->text = text;
        l->cursor += strlen(text);
        return;
    }
    const char *next = l->cursor;
    tpl_decode(&next, l->end);
    tpl_fail(l->t, PARE_FORMAT, "unexpected character '%.*s'", (int)(next - l->cursor), l->cursor);
}

static bool name_character(int32_t code, bool first)
{
    if (code < 0x80)
        return code == '_' || (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') ||
               (!first && code >= '0' && code <= '9');
    utf8proc_category_t category = utf8proc_category(code);
    return category >= UTF8PROC_CATEGORY_LU &&
           category <= (first ? UTF8PROC_CATEGORY_LO : UTF8PROC_CATEGORY_NL);
}

static void lex_name(lexer *l)
{
    const char *end = l->cursor, *next = end;
    while (next < l->end && name_character(tpl_decode(&next, l->end), false))
        end = next;
    tpl_token *token = push(l, TPL_TOKEN_NAME);
    size_t length = (size_t)(end - l->cursor);
    char *copy = tpl_allocate(l->t, length + 1, 1);
    if (token && copy) {
        memcpy(copy, l->cursor, length);
        token->text = copy;
        token->value = tpl_text(l->t, copy, length);
    }
    l->cursor = end;
}

static bool is_digit(char c, int base)
{
    if (base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')))
        return true;
    return c >= '0' && c <= (base == 2 ? '1' : base == 8 ? '7' : '9');
}

/* Digits with single underscores between them are appended to `text` (of 320 bytes) without these.
 */
static const char *take_digits(const lexer *l, const char *at, int base, char *text, size_t *length)
{
    while (at < l->end && *length < 319) {
        if (is_digit(*at, base))
            text[(*length)++] = *at++;
        else if (*at == '_' && at + 1 < l->end && is_digit(at[1], base))
            at++;
        else
            break;
    }
    text[*length] = 0;
    return at;
}

static void push_integer(lexer *l, const char *text, int base)
{
    errno = 0;
    long long value = strtoll(text, NULL, base);
    if (errno)
        tpl_fail(l->t, PARE_LIMIT, "the integer %.40s is over 64 bits", text);
    tpl_token *token = push(l, TPL_TOKEN_CONSTANT);
    if (token)
        token->value = tpl_int(value);
}

static void lex_number(lexer *l)
{
    char text[400];
    size_t length = 0;
    const char *at = l->cursor;
    char letter = at + 2 < l->end && *at == '0' ? (char)(at[1] | 0x20) : 0;
    int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    if (base != 10 && is_digit(at[2], base)) {
        l->cursor = take_digits(l, at + 2, base, text, &length);
        push_integer(l, text, base);
        return;
    }
    at = take_digits(l, at, 10, text, &length);
    bool real = false;
    bool index = l->cursor > l->start &&
                 l->cursor[-1] == '.'; /* "a.0.1": two subscripts, no number with a point */
    if (!index && at + 1 < l->end && *at == '.' && is_digit(at[1], 10)) {
        text[length++] = '.';
        at = take_digits(l, at + 1, 10, text, &length);
        real = true;
    }
    const char *exponent = at + 1;
    if (exponent < l->end && (*exponent == '+' || *exponent == '-'))
        exponent++;
    if (!index && at < l->end && (*at == 'e' || *at == 'E') && exponent < l->end &&
        is_digit(*exponent, 10)) {
        text[length++] = 'e';
        if (exponent > at + 1)
            text[length++] = exponent[-1];
        at = take_digits(l, exponent, 10, text, &length);
        real = true;
    }
    l->cursor = at;
    if (!real) {
        push_integer(l, text, 10);
        return;
    }
    tpl_token *token = push(l, TPL_TOKEN_CONSTANT);
    if (token)
        token->value = tpl_float(strtod(text, NULL));
}

static void put_code(lexer *l, pare_buffer *buffer, long code)
{
    char bytes[4];
    if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        tpl_fail(l->t, PARE_UNSUPPORTED, "a string with the character %lx", code);
    else
        tpl_put(l->t, buffer, bytes, tpl_encode((int32_t)code, bytes));
}

/* The character code of up to `limit` digits. */
static const char *escaped_code(lexer *l, const char *at, const char *end, int base, size_t limit,
                                bool exact, pare_buffer *buffer)
{
    char digits[16];
    size_t count = 0;
    while (count < limit && at < end && is_digit(*at, base))
        digits[count++] = *at++;
    digits[count] = 0;
    if (exact && count < limit)
        tpl_fail(l->t, PARE_FORMAT, "a string's escape has too few digits");
    put_code(l, buffer, strtol(digits, NULL, base));
    return at;
}

/* Python's unicode-escape after a backslash. */
static const char *unescape(lexer *l, const char *at, const char *end, pare_buffer *buffer)
{
    static const char plain[] =
        "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v"; /* pairs: the letter, what it stands for */
    for (size_t i = 0; i + 1 < sizeof plain; i += 2)
        if (*at == plain[i]) {
            tpl_put(l->t, buffer, &plain[i + 1], 1);
            return at + 1;
        }
    if (*at == '\n')
        return at + 1;
    if (is_digit(*at, 8))
        return escaped_code(l, at, end, 8, 3, false, buffer);
    if (*at == 'x' || *at == 'u' || *at == 'U')
        return escaped_code(l, at + 1, end, 16, *at == 'x' ? 2 : *at == 'u' ? 4 : 8, true, buffer);
    if (*at == 'N')
        tpl_fail(l->t, PARE_UNSUPPORTED, "\\N{...} in a string");
    tpl_put(l->t, buffer, "\\", 1); /* an unknown escape stays as it is */
    return at;
}

static void lex_string(lexer *l)
{
    char quote = *l->cursor;
    const char *start = l->cursor + 1, *end = start;
    bool escapes = false;
    for (; end < l->end && *end != quote; end++)
        if (*end == '\\' && end + 1 < l->end) {
            end++;
            escapes = true;
        }
    if (end >= l->end) {
        tpl_fail(l->t, PARE_FORMAT, "a string does not end");
        return;
    }
    tpl_token *token = push(l, TPL_TOKEN_CONSTANT);
    if (token && !escapes) {
        token->value = tpl_text(l->t, start, (size_t)(end - start));
    } else if (token) {
        pare_buffer buffer = {0};
        for (const char *at = start; at < end && !tpl_failed(l->t);) {
            const char *stop = memchr(at, '\\', (size_t)(end - at));
            tpl_put(l->t, &buffer, at, (size_t)((stop ? stop : end) - at));
            at = stop ? unescape(l, stop + 1, end, &buffer) : end;
        }
        token->value = tpl_take(l->t, &buffer);
    }
    move(l, end + 1);
}

/* The inside of {{ }} or {% %}. */
static void lex_tag(lexer *l, bool is_print)
{
    l->open_count = 0;
    while (!tpl_failed(l->t)) {
        move(l, skip_space(l->cursor, l->end));
        if (l->cursor >= l->end)
            return; /* the parser sees that the tag does not end */
        const char *after = NULL;
        if (!l->open_count && !is_print)
            after = closing(l, l->cursor, "%}");
        else if (!l->open_count && starts_with(l, l->cursor, "-}}"))
            after = skip_space(l->cursor + 3, l->end);
        else if (!l->open_count && starts_with(l, l->cursor, "}}"))
            after = l->cursor + 2;
        if (after) {
            push(l, is_print ? TPL_TOKEN_PRINT_END : TPL_TOKEN_BLOCK_END);
            move(l, after);
            return;
        }
        const char *next = l->cursor;
        if (name_character(tpl_decode(&next, l->end), true))
            lex_name(l);
        else if (is_digit(*l->cursor, 10))
            lex_number(l);
        else if (*l->cursor == '\'' || *l->cursor == '"')
            lex_string(l);
        else
            lex_operator(l);
    }
}

void tpl_lex(tpl *t, const char *source, tpl_tokens *tokens)
{
    lexer l = {.t = t,
               .tokens = tokens,
               .start = source,
               .cursor = source,
               .end = source + strlen(source)};
    if (l.end > source && l.end[-1] == '\n')
        l.end--; /* keep_trailing_newline is off */
    t->line = 1;
    for (const char *at = source; !tpl_failed(t);) {
        at = memchr(at, '{', (size_t)(l.end - at));
        if (!at || at + 1 >= l.end)
            break;
        char mark = at[1];
        if (mark != '{' && mark != '%' && mark != '#') {
            at++;
            continue;
        }
        push_data(&l, at, at[2], mark == '{');
        const char *raw = mark == '%' ? raw_begin(&l) : NULL;
        if (raw) {
            lex_raw(&l, raw);
        } else if (mark == '#') {
            lex_comment(&l);
        } else {
            push(&l, mark == '{' ? TPL_TOKEN_PRINT : TPL_TOKEN_BLOCK);
            l.cursor += 2;
            if (l.cursor < l.end && (*l.cursor == '-' || *l.cursor == '+'))
                l.cursor++;
            lex_tag(&l, mark == '{');
        }
        at = l.cursor;
    }
    push_data(&l, l.end, '+', false);
    push(&l, TPL_TOKEN_END);
    t->line = 1;
}
