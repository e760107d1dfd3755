/* Oniguruma's syntax (Ruby's) to PCRE2's, where the two mean different things by the same text:
 *   \s   White_Space; PCRE2 adds U+180E
 *   \w   alphabetic, marks, decimal digits, connectors; PCRE2: letters, numbers, "_"
 *   \b   by that \w
 *   \h   a hexadecimal digit; PCRE2: horizontal space
 *   \uHHHH
 *   \p{Han} is the script; PCRE2: the script extensions
 *   [[:punct:]] and other named classes have other members
 *   [a[bc]] a nested set
 *   X{1,3}+ repeats the group once or more; PCRE2: possessive */
#include "base/fail.h"
#include "text/regex.h"

#include <ctype.h>
#include <string.h>

#define SPACES                                                                                     \
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{"    \
    "205f}\\x{3000}"
#define NOT_SPACES                                                                                 \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{"   \
    "200b}-\\x{2027}"                                                                              \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* In Latin-1, Oniguruma also counts the superscript digits and the fractions. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
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

static pare_status set_or_member(translator *t, bool in_class, bool inverse, const char *members)
{
    if (in_class)
        return inverse ? unsupported(t, "the complement of a class in a set")
                       : pare_buffer_text(t->out, members);
    return pare_buffer_printf(t->out, "[%s%s]", inverse ? "^" : "", members);
}

/* What a named class means to Oniguruma: the POSIX ones and \p{...}, by the folded name. */
typedef struct named_class {
    const char *name, *members;
} named_class;

static const char *find_class(const named_class *classes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(classes[i].name, name) == 0)
            return classes[i].members;
    return NULL;
}

static const named_class properties[] = {
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"alpha", "\\p{Alphabetic}"},
    {"alphabetic", "\\p{Alphabetic}"},
    {"any", "\\p{Any}"},
    {"cntrl", "\\p{Cc}"},
    {"decimalnumber", "\\p{Nd}"},
    {"digit", "\\p{Nd}"},
    {"emoji", "\\p{Emoji}"},
    {"extendedpictographic", "\\p{Extended_Pictographic}"},
    {"ideographic", "\\p{Ideographic}"},
    {"letter", "\\p{L}"},
    {"lower", "\\p{Lowercase}"},
    {"lowercase", "\\p{Lowercase}"},
    {"mark", "\\p{M}"},
    {"number", "\\p{N}"},
    {"punct", "\\p{P}"},
    {"punctuation", "\\p{P}"},
    {"separator", "\\p{Z}"},
    {"space", SPACES},
    {"symbol", "\\p{S}"},
    {"upper", "\\p{Uppercase}"},
    {"uppercase", "\\p{Uppercase}"},
    {"whitespace", SPACES},
    {"word", WORD},
    {"xdigit", HEX},
};

static const named_class posix_classes[] = {
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"alpha", "\\p{Alphabetic}"},
    {"cntrl", "\\p{Cc}"},
    {"digit", "\\p{Nd}"},
    {"lower", "\\p{Lowercase}"},
    {"punct", "\\p{P}\\p{S}"},
    {"space", SPACES},
    {"upper", "\\p{Uppercase}"},
    {"word", WORD},
    {"xdigit", HEX},
};

/* \p{...} from behind the p. Names of one or two letters are general categories; names that are not
 * in the table are scripts. */
static pare_status property(translator *t, char p, bool in_class)
{
    const char *close = peek(t, 0) == '{' ? memchr(t->in + t->at, '}', t->size - t->at) : NULL;
    if (!close)
        return unsupported(t, "\\p without {}");
    const char *from = t->in + t->at + 1;
    bool inverse = *from == '^';
    from += inverse;
    char name[64];
    size_t length = (size_t)(close - from), f = 0;
    if (from >= close || length >= sizeof name)
        return unsupported(t, "an unknown \\p{...}");
    for (size_t i = 0; i < length; i++)
        if (from[i] != '_' && from[i] != ' ' && from[i] != '-')
            name[f++] = (char)tolower((unsigned char)from[i]);
    name[f] = 0;
    t->at = (size_t)(close - t->in) + 1;
    inverse ^= p == 'P';
    const char *members = find_class(properties, sizeof properties / sizeof *properties, name);
    if (members && (inverse ? strncmp(members, "\\p{", 3) != 0 || strchr(members + 1, '\\') : true))
        return set_or_member(t, in_class, inverse, members);
    if (members) /* the complement of a single property */
        return pare_buffer_printf(t->out, "\\P%s", members + 2);
    return pare_buffer_printf(t->out, "\\%c{%s%.*s}", inverse ? 'P' : 'p',
                              f <= 2 ? "" : "sc:", (int)length, from);
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
        return property(t, c, in_class);
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

/* [:alpha:] inside a set. */
static pare_status posix_class(translator *t)
{
    char name[16];
    size_t length = 0;
    while (length < sizeof name - 1 && isalpha((unsigned char)peek(t, 2 + length))) {
        name[length] = peek(t, 2 + length);
        length++;
    }
    name[length] = 0;
    const char *members =
        find_class(posix_classes, sizeof posix_classes / sizeof *posix_classes, name);
    if (peek(t, 2 + length) != ':' || peek(t, 3 + length) != ']' || !members)
        return unsupported(t, "an unknown [:class:]");
    t->at += length + 4;
    return pare_buffer_text(t->out, members);
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
            status = posix_class(t);
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
