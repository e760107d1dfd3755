/* Oniguruma's syntax (Ruby's) to PCRE2's, where the two mean different things by the same text:
 *   \s   White_Space; PCRE2 adds U+180E
 *   \w   letters, marks, decimal digits, connectors; PCRE2: letters, numbers, "_"
 *   \b   by that \w
 *   \h   a hexadecimal digit; PCRE2: horizontal space
 *   \uHHHH
 *   \p{Han} is the script; PCRE2: the script extensions
 *   [a[bc]] a nested set
 *   X{1,3}+ repeats the group once or more; PCRE2: possessive */
#include "base/fail.h"
#include "text/regex.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define SPACES                                                                                     \
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{"    \
    "205f}\\x{3000}"
#define NOT_SPACES                                                                                 \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{"   \
    "200b}-\\x{2027}"                                                                              \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define HEX "0-9a-fA-F"

enum { MAX_DEPTH = 250 };

typedef struct translator {
    const char *in;
    size_t size, at;
    pare_buffer *out;
    size_t atom;              /* where the last atom begins in `out` */
    size_t groups[MAX_DEPTH]; /* where the open groups begin */
    int depth;
} translator;

static pare_status unsupported(const translator *t, const char *what)
{
    return pare_fail(PARE_UNSUPPORTED,
                     "the regular expression '%.200s' uses %s, which Pare does not handle", t->in,
                     what);
}

static char peek(const translator *t, size_t ahead)
{
    return t->at + ahead < t->size ? t->in[t->at + ahead] : 0;
}

/* \p{...} from behind the p. General categories (one or two letters) and PCRE2's own names pass;
 * scripts become sc:. */
static pare_status property(translator *t, char p)
{
    static const char *const plain[][2] = {{"alnum", "Xan"},
                                           {"alpha", "Alphabetic"},
                                           {"alphabetic", "Alphabetic"},
                                           {"digit", "Nd"},
                                           {"punct", "P"},
                                           {"punctuation", "P"},
                                           {"upper", "Uppercase"},
                                           {"uppercase", "Uppercase"},
                                           {"lower", "Lowercase"},
                                           {"lowercase", "Lowercase"},
                                           {"letter", "L"},
                                           {"number", "N"},
                                           {"mark", "M"},
                                           {"symbol", "S"},
                                           {"separator", "Z"},
                                           {"any", "Any"},
                                           {"cntrl", "Cc"},
                                           {"emoji", "Emoji"},
                                           {"extendedpictographic", "Extended_Pictographic"},
                                           {"ideographic", "Ideographic"},
                                           {"decimalnumber", "Nd"}};
    const char *close = peek(t, 0) == '{' ? memchr(t->in + t->at, '}', t->size - t->at) : NULL;
    if (!close)
        return unsupported(t, "\\p without {}");
    const char *from = t->in + t->at + 1;
    bool inverse = *from == '^';
    from += inverse;
    char name[64], folded[64];
    size_t length = (size_t)(close - from), f = 0;
    if (length == 0 || length >= sizeof name)
        return unsupported(t, "an unknown \\p{...}");
    for (size_t i = 0; i < length; i++)
        if (from[i] != '_' && from[i] != ' ' && from[i] != '-')
            folded[f++] = (char)tolower((unsigned char)from[i]);
    folded[f] = 0;
    snprintf(name, sizeof name, "%.*s", (int)length, from);
    t->at = (size_t)(close - t->in) + 1;
    if (strcmp(folded, "space") == 0 || strcmp(folded, "whitespace") == 0 ||
        strcmp(folded, "word") == 0)
        return unsupported(t, "\\p{Space} or \\p{Word}");
    const char *mapped = f <= 2 ? name : NULL;
    for (size_t i = 0; i < sizeof plain / sizeof *plain && !mapped; i++)
        if (strcmp(folded, plain[i][0]) == 0)
            mapped = plain[i][1];
    return pare_buffer_printf(t->out, "\\%c{%s%s}", inverse ? (p == 'p' ? 'P' : 'p') : p,
                              mapped ? "" : "sc:", mapped ? mapped : name);
}

static pare_status set_or_member(translator *t, bool in_class, bool inverse, const char *members)
{
    if (in_class)
        return inverse ? unsupported(t, "\\W or \\H in a set") : pare_buffer_text(t->out, members);
    return pare_buffer_printf(t->out, "[%s%s]", inverse ? "^" : "", members);
}

/* From behind the backslash. */
static pare_status escape(translator *t, bool in_class)
{
    char c = peek(t, 0);
    if (!c && t->at >= t->size)
        return unsupported(t, "a backslash at its end");
    t->at++;
    switch (c) {
    case 's':
        return set_or_member(t, in_class, false, SPACES);
    case 'S':
        return set_or_member(t, in_class, false, NOT_SPACES);
    case 'w':
    case 'W':
        return set_or_member(t, in_class, c == 'W', WORD);
    case 'h':
    case 'H':
        return set_or_member(t, in_class, c == 'H', HEX);
    case 'p':
    case 'P':
        return property(t, c);
    case 'b':
        if (in_class)
            break;
        return pare_buffer_text(t->out,
                                "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))");
    case 'B':
        return pare_buffer_text(t->out,
                                "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))");
    case 'u': {
        char digits[5] = {peek(t, 0), peek(t, 1), peek(t, 2), peek(t, 3), 0};
        if (strspn(digits, "0123456789abcdefABCDEF") != 4)
            return unsupported(t, "\\u without four digits");
        t->at += 4;
        return pare_buffer_printf(t->out, "\\x{%s}", digits);
    }
    default:
        break;
    }
    pare_buffer_append(t->out, "\\", 1);
    return pare_buffer_append(t->out, &c, 1);
}

/* A set from its '['; nested sets are unions, so their brackets go. */
static pare_status set(translator *t)
{
    int nested = 0;
    pare_status status = pare_buffer_text(t->out, "[");
    t->at++;
    if (peek(t, 0) == '^') {
        pare_buffer_text(t->out, "^");
        t->at++;
    }
    for (bool first = true; status == PARE_OK; first = false) {
        if (t->at >= t->size)
            return unsupported(t, "a set without its end");
        char c = t->in[t->at];
        if (c == '[' && peek(t, 1) == ':') {
            const char *end = strstr(t->in + t->at, ":]");
            if (!end)
                return unsupported(t, "'[:' without ':]'");
            size_t length = (size_t)(end + 2 - (t->in + t->at));
            status = pare_buffer_append(t->out, t->in + t->at, length);
            t->at += length;
        } else if (c == '[') {
            if (peek(t, 1) == '^')
                return unsupported(t, "a negated set inside a set");
            nested++;
            t->at++;
        } else if (c == ']' && !first) {
            t->at++;
            if (nested-- == 0)
                return pare_buffer_text(t->out, "]");
        } else if (c == '&' && peek(t, 1) == '&') {
            return unsupported(t, "an intersection of sets (&&)");
        } else if (c == '\\') {
            t->at++;
            status = escape(t, true);
        } else {
            status = pare_buffer_append(t->out, &c, 1);
            t->at++;
        }
    }
    return status;
}

/* "{n,m}" or "{n}" at the position? Its length, or 0. */
static size_t interval(const translator *t)
{
    size_t i = t->at + 1, digits = 0;
    for (; i < t->size && (isdigit((unsigned char)t->in[i]) || t->in[i] == ','); i++)
        digits += t->in[i] != ',';
    return i < t->size && t->in[i] == '}' && digits ? i + 1 - t->at : 0;
}

static pare_status quantified(translator *t, size_t length)
{
    size_t from = t->at;
    t->at += length;
    if (peek(t, 0) != '+')
        return pare_buffer_append(t->out, t->in + from, length);
    pare_buffer atom = {0};
    pare_status status = pare_buffer_append(&atom, t->out->data + t->atom, t->out->size - t->atom);
    t->out->size = t->atom;
    if (status == PARE_OK)
        status = pare_buffer_printf(t->out, "(?:%s%.*s)", atom.data, (int)length, t->in + from);
    pare_buffer_free(&atom);
    return status;
}

static pare_status step(translator *t)
{
    char c = t->in[t->at];
    size_t length = c == '{' ? interval(t) : 0;
    if (length)
        return quantified(t, length);
    if (c == '(') {
        if (t->depth == MAX_DEPTH)
            return unsupported(t, "too many nested groups");
        if (peek(t, 1) == '?' && peek(t, 2) == '~')
            return unsupported(t, "an absence operator (?~");
        t->groups[t->depth++] = t->out->size;
    } else if (c == ')') {
        if (t->depth > 0)
            t->atom = t->groups[--t->depth];
    } else if (!strchr("*+?|", c) && ((unsigned char)c & 0xc0) != 0x80) {
        t->atom = t->out->size;
    }
    if (c == '[')
        return set(t);
    t->at++;
    if (c == '\\')
        return escape(t, false);
    return pare_buffer_append(t->out, &c, 1);
}

pare_status pare_regex_translate(const char *pattern, size_t length, pare_buffer *out)
{
    translator t = {.in = pattern, .size = length, .out = out};
    if (memchr(pattern, 0, length))
        return pare_fail(PARE_UNSUPPORTED, "a regular expression holds a NUL byte");
    pare_status status = pare_buffer_append(out, "", 0);
    while (t.at < t.size && status == PARE_OK)
        status = step(&t);
    return status;
}
