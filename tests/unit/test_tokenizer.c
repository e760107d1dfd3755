/* Tokenizers made in memory: splitting, merging, added tokens, decoding as a stream, files that are
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "text/regex.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ok(call)                                                                                   \
    do {                                                                                           \
        if ((call) != PARE_OK)                                                                     \
            fail_msg("%s: %s", #call, pare_error_message());                                       \
    } while (0)

/* A BPE model of the characters of "ab lo▁" and a few merges, and whatever else is given. */
#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\" \":3,"  \
    "\"l\":4,\"o\":5,\"ab\":6,\"lo\":7,\"abab\":8,\"\xe2\x96\x81\":9,\"ba\":10},\"merges\":["      \
    "[\"a\",\"b\"],\"l o\",[\"ab\",\"ab\"],[\"b\",\"a\"]]}"

static pare_tokenizer *open_json(const char *rest)
{
    char json[4096];
    pare_tokenizer *tokenizer;
    snprintf(json, sizeof json, "{%s%s" MODEL "}", rest, *rest ? "," : "");
    ok(pare_tokenizer_open_memory(json, strlen(json), "test.json", &tokenizer));
    return tokenizer;
}

static void expect_ids(const pare_tokenizer *tokenizer, const char *text, unsigned flags,
                       const char *expected)
{
    int32_t *ids;
    size_t count, at = 0;
    char line[1024] = "";
    ok(pare_tokenizer_encode(tokenizer, text, strlen(text), flags, &ids, &count));
    for (size_t i = 0; i < count; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%d", i ? " " : "", (int)ids[i]);
    free(ids);
    assert_string_equal(line, expected);
}

static void expect_text(const pare_tokenizer *tokenizer, const int32_t *ids, size_t count,
                        const char *expected)
{
    char *text;
    size_t length;
    ok(pare_tokenizer_decode(tokenizer, ids, count, false, &text, &length));
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
    free(text);
}

/* Lowest rank first, the leftmost of equals; unknown characters one by one. */
static void merges(void **state)
{
    pare_tokenizer *tokenizer = open_json("");
    expect_ids(tokenizer, "", 0, "");
    expect_ids(tokenizer, "ab", 0, "6");
    expect_ids(tokenizer, "bab", 0, "2 6");
    expect_ids(tokenizer, "baba", 0, "2 6 1");
    expect_ids(tokenizer, "ababab", 0, "8 6");
    expect_ids(tokenizer, "lolxyo", 0, "7 4 0 0 5");
    pare_tokenizer_close(tokenizer);
}

/* More symbols than are merged pair by pair: the queue gives the same. */
static void long_pieces(void **state)
{
    enum { PAIRS = 500000 };
    pare_tokenizer *tokenizer = open_json("");
    char *text = malloc(2 * PAIRS);
    int32_t *ids;
    size_t count;
    for (size_t i = 0; i < PAIRS; i++)
        memcpy(text + 2 * i, "ab", 2);
    double start = pare_seconds();
    ok(pare_tokenizer_encode(tokenizer, text, 2 * PAIRS, 0, &ids, &count));
    assert_true(pare_seconds() - start < 20); /* a quadratic way takes hours */
    assert_int_equal(count, PAIRS / 2);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids[i], 8);
    free(ids);
    free(text);
    pare_tokenizer_close(tokenizer);
}

static void added_tokens(void **state)
{
    pare_tokenizer *tokenizer = open_json(
        "\"added_tokens\":[{\"id\":11,\"content\":\"<s>\",\"special\":true},"
        "{\"id\":12,\"content\":\"lol\",\"single_word\":true,\"lstrip\":true,\"rstrip\":true},"
        "{\"id\":13,\"content\":\"<s\"},{\"id\":14,\"content\":\"A\",\"normalized\":true}],"
        "\"normalizer\":{\"type\":\"Lowercase\"},\"post_processor\":{\"type\":"
        "\"TemplateProcessing\","
        "\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},{\"Sequence\":{\"id\":\"A\"}}],"
        "\"special_tokens\":{\"x\":{\"ids\":[11,2]}}}");
    expect_ids(tokenizer, "l<s>o", PARE_TOKENIZE_PARSE_SPECIAL, "4 11 5");
    expect_ids(tokenizer, "l<s>o", 0, "4 0 0 0 5");   /* passed over, what is inside of it too */
    expect_ids(tokenizer, "l<so", 0, "4 13 5");       /* not special */
    expect_ids(tokenizer, "b  lol\n b", 0, "2 12 2"); /* takes the white space along */
    expect_ids(tokenizer, "blol", 0, "2 7 4");        /* not a word of its own */
    expect_ids(tokenizer, "lA", 0, "4 14");           /* found as \"a\" in lower case */
    expect_ids(tokenizer, "la", PARE_TOKENIZE_ADD_SPECIAL, "11 2 4 14");
    assert_int_equal(pare_tokenizer_vocab_size(tokenizer), 15);
    assert_string_equal(pare_tokenizer_token(tokenizer, 13), "<s");
    assert_null(pare_tokenizer_token(tokenizer, 15));
    assert_null(pare_tokenizer_token(tokenizer, -1));
    pare_tokenizer_close(tokenizer);
}

static void splits(void **state)
{
    static const struct {
        const char *pretokenizer, *text, *ids;
    } cases[] = {
        {"{\"type\":\"Split\",\"pattern\":{\"String\":\"b\"},\"behavior\":\"Isolated\",\"invert\":"
         "false}",
         "abab", "1 2 1 2"},
        {"{\"type\":\"Split\",\"pattern\":{\"String\":\"b\"},\"behavior\":\"Removed\",\"invert\":"
         "false}",
         "abab", "1 1"},
        {"{\"type\":\"Split\",\"pattern\":{\"String\":\"b\"},\"behavior\":\"Removed\",\"invert\":"
         "true}",
         "abab", "2 2"},
        {"{\"type\":\"Split\",\"pattern\":{\"String\":\"b\"},\"behavior\":\"MergedWithPrevious\","
         "\"invert\":false}",
         "abab", "6 6"},
        {"{\"type\":\"Split\",\"pattern\":{\"String\":\"b\"},\"behavior\":\"MergedWithNext\","
         "\"invert\":false}",
         "abab", "1 10 2"},
        {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[ab]\"},\"behavior\":\"Contiguous\","
         "\"invert\":false}",
         "ablo", "6 7"},
        {"{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"first\"}",
         "ab lo", "9 6 9 7"},
        {"{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"never\"}",
         "ab lo", "6 9 7"},
        {"{\"type\":\"WhitespaceSplit\"}", "ab \t lo", "6 7"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":"
         "\"Split\",\"pattern\":"
         "{\"String\":\"a\"},\"behavior\":\"Isolated\"}]}",
         "ab lo", "1 2 7"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char rest[1024];
        snprintf(rest, sizeof rest, "\"pre_tokenizer\":%s", cases[i].pretokenizer);
        pare_tokenizer *tokenizer = open_json(rest);
        expect_ids(tokenizer, cases[i].text, 0, cases[i].ids);
        pare_tokenizer_close(tokenizer);
    }
}

static void normalizers(void **state)
{
    pare_tokenizer *tokenizer = open_json(
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":"
        "\"StripAccents\"},"
        "{\"type\":\"Lowercase\"},{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true},"
        "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"o+\"},\"content\":\"l\"},{\"type\":"
        "\"Prepend\",\"prepend\":\"b\"}]}");
    expect_ids(tokenizer, " \xc3\x81OO\xc5\x8d \n", 0, "10 4"); /* "ÁOOō" -> "bal" */
    expect_ids(tokenizer, "", 0, "");
    expect_ids(tokenizer, "a\xff", 0, "10 0"); /* an invalid byte is one unknown character */
    pare_tokenizer_close(tokenizer);
}

/* <0x..> tokens: a run that is UTF-8 becomes characters, any other one U+FFFD for each byte. */
static void byte_fallback(void **state)
{
    static const char json[] = "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"<"
                               "0xC3>\":0,\"<0xA9>\":1,\"a\":2,"
                               "\"\xe2\x96\x81\":3},\"merges\":[]},\"decoder\":{\"type\":"
                               "\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                               "\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" "
                               "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
                               "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}}";
    pare_tokenizer *tokenizer;
    pare_text_stream *stream;
    const char *text;
    size_t length;
    ok(pare_tokenizer_open_memory(json, sizeof json - 1, "test.json", &tokenizer));
    expect_ids(tokenizer,
               "\xc3\xa9"
               "a",
               0, "0 1 2");
    expect_text(tokenizer, (int32_t[]){3, 0, 1, 2}, 4,
                "\xc3\xa9"
                "a");
    expect_text(tokenizer, (int32_t[]){3, 3, 2, 0}, 4, " a\xef\xbf\xbd");
    expect_text(tokenizer, (int32_t[]){0, 1, 0}, 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    ok(pare_text_stream_create(tokenizer, false, &stream));
    ok(pare_text_stream_push(stream, 0, &text, &length));
    assert_int_equal(length, 0);
    ok(pare_text_stream_push(stream, 1, &text, &length));
    ok(pare_text_stream_push(stream, 2, &text, &length));
    assert_string_equal(text, "\xc3\xa9"
                              "a");
    assert_int_equal(pare_text_stream_push(stream, 4, &text, &length), PARE_INVALID_ARGUMENT);
    ok(pare_text_stream_flush(stream, &text, &length));
    assert_string_equal(text, "");
    pare_text_stream_free(stream);
    pare_tokenizer_close(tokenizer);
}

static void refused(void **state)
{
    static const struct {
        const char *json;
        pare_status status;
        const char *names; /* what the message must say */
    } cases[] = {
        {"", PARE_FORMAT, "test.json"},
        {"[]", PARE_FORMAT, "test.json"},
        {"{}", PARE_FORMAT, "'model'"},
        {"{\"model\":{\"type\":\"Unigram\"}}", PARE_UNSUPPORTED, "Unigram"},
        {"{\"model\":{\"type\":\"BPE\",\"merges\":[]}}", PARE_FORMAT, "model.vocab"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", PARE_FORMAT, "model.merges"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", PARE_FORMAT, "'a'"},
        {"{\"model\":{\"vocab\":{\"a\":999999999},\"merges\":[]}}", PARE_FORMAT, "'a'"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", PARE_FORMAT, "taken"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"b\"]]}}", PARE_FORMAT, "'b'"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", PARE_FORMAT, "entry 0"},
        {"{\"model\":{\"vocab\":{},\"merges\":[],\"dropout\":0.1}}", PARE_UNSUPPORTED, "dropout"},
        {"{\"model\":{\"vocab\":{},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}",
         PARE_UNSUPPORTED, "end_of_word_suffix"},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Precompiled\"}}", PARE_UNSUPPORTED, "Precompiled"},
        {"{" MODEL ",\"normalizer\":{}}", PARE_FORMAT, "normalizer"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", PARE_UNSUPPORTED,
         "UnicodeScripts"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"}}}",
         PARE_UNSUPPORTED, "'('"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"}}}",
         PARE_UNSUPPORTED, "&&"},
        {"{" MODEL ",\"decoder\":{\"type\":\"CTC\"}}", PARE_UNSUPPORTED, "CTC"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"BertProcessing\"}}", PARE_FORMAT, "cls"},
        {"{" MODEL
         ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",99],\"sep\":[\"a\",1]}}",
         PARE_FORMAT, "99"},
        {"{" MODEL ",\"added_tokens\":[{\"id\":1,\"content\":\"<x>\"}]}", PARE_FORMAT, "'<x>'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_tokenizer *tokenizer;
        pare_status status = pare_tokenizer_open_memory(cases[i].json, strlen(cases[i].json),
                                                        "test.json", &tokenizer);
        if (status != cases[i].status || !strstr(pare_error_message(), cases[i].names))
            fail_msg("%s: %s: %s", cases[i].json, pare_status_name(status), pare_error_message());
        assert_null(tokenizer);
    }
}

/* Where Oniguruma and PCRE2 differ, Oniguruma's meaning. */
static void regular_expressions(void **state)
{
    static const struct {
        const char *pattern, *text;
        size_t start, end;
    } cases[] = {
        {"\\s+",
         "a\xe1\xa0\x8e \xc2\x85"
         "b",
         4, 7}, /* U+180E is no space, U+0085 is */
        {"\\h+", " xBEEF", 2, 6},
        {"\\w+", "-\xc2\xbd\xe0\xa7\xb4", 1, 3}, /* U+00BD counts, U+09F4 does not */
        {"\\w+\\b", " e\xcc\x81 ", 1, 4},        /* marks are of the word */
        {"[\\S]+", "  a", 2, 3},
        {"[a[bc]]+", "xabc", 1, 4},
        {"[[:punct:]]+", "a\xe2\x82\xac+", 1, 5}, /* symbols count */
        {"\\p{N}{1,2}+", "a1234", 1, 5},          /* not possessive: the group again */
        {"\\p{Han}", "\xe3\x80\x82\xe6\xbc\xa2", 3,
         6}, /* by script, not by extension: not U+3002 */
        {"\\p{^L}", "a1", 1, 2},
        {"\\u0042", "AB", 1, 2},
        {"(?i:'s)", "'\xc5\xbf", 0, 3}, /* the long s */
        {"^b", "a\nb", 2, 3},
        {".", "\nx", 1, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_regex *regex;
        pare_regex_search search = {0};
        size_t start, end;
        bool found;
        ok(pare_regex_compile(cases[i].pattern, strlen(cases[i].pattern), &regex));
        pare_regex_begin(&search, regex, cases[i].text, strlen(cases[i].text));
        ok(pare_regex_next(&search, &start, &end, &found));
        if (!found || start != cases[i].start || end != cases[i].end)
            fail_msg("%s: %d, %zu to %zu", cases[i].pattern, found, start, end);
        pare_regex_search_free(&search);
        pare_regex_free(regex);
    }
}

/* GPT-2's byte alphabet is one to one. */
static void byte_alphabet(void **state)
{
    bool seen[0x144] = {false};
    for (int byte = 0; byte < 256; byte++) {
        uint32_t c = pare_byte_to_character((uint8_t)byte);
        assert_true(c < 0x144 && !seen[c]);
        seen[c] = true;
        assert_int_equal(pare_character_to_byte(c), byte);
    }
    assert_int_equal(pare_byte_to_character(' '), 0x120);
    assert_int_equal(pare_character_to_byte(' '), -1);
    assert_int_equal(pare_character_to_byte(0x144), -1);
}

static void *encode_often(void *argument)
{
    for (int i = 0; i < 200; i++)
        expect_ids(argument, "lol  ab abab x", 0, "7 4 3 3 6 3 8 3 0");
    return NULL;
}

static void two_threads(void **state)
{
    pare_tokenizer *tokenizer = open_json("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{"
                                          "\"Regex\":\"\\\\s\"},\"behavior\":\"Isolated\"}");
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, encode_often, tokenizer), 0);
    encode_often(tokenizer);
    pthread_join(other, NULL);
    pare_tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges),        cmocka_unit_test(long_pieces),
        cmocka_unit_test(added_tokens),  cmocka_unit_test(splits),
        cmocka_unit_test(normalizers),   cmocka_unit_test(byte_fallback),
        cmocka_unit_test(refused),       cmocka_unit_test(regular_expressions),
        cmocka_unit_test(byte_alphabet), cmocka_unit_test(two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
