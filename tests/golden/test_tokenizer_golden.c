/* Tokenizers against the tokenizers library, transformers and llama.cpp: every case of the golden
 * files, as opened and again after an export to GGUF. */
#include "golden/golden.h"

#include "text/export.h"

#include <unistd.h>

static const char *smollm2(void)
{
    const char *path = getenv("PARE_SMOLLM2");
    return path ? path : PARE_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

static int64_t checked;

static void check_encode(const pare_tokenizer *tokenizer, const char *text, size_t length,
                         unsigned flags, const json_t *expected)
{
    int32_t *ids;
    size_t count;
    golden_ok(pare_tokenizer_encode(tokenizer, text, length, flags, &ids, &count));
    if (count != json_array_size(expected))
        fail_msg("'%s': %zu ids, %zu were expected", text, count, json_array_size(expected));
    for (size_t i = 0; i < count; i++)
        if (ids[i] != json_integer_value(json_array_get(expected, i)))
            fail_msg("'%s': id %zu is %d, not %lld", text, i, (int)ids[i],
                     (long long)json_integer_value(json_array_get(expected, i)));
    free(ids);
    checked++;
}

static void check_texts(const pare_tokenizer *tokenizer, const json_t *cases, const char *key,
                        unsigned flags)
{
    size_t i;
    json_t *one;
    json_array_foreach(cases, i, one)
    {
        const json_t *text = json_object_get(one, "text"), *ids = json_object_get(one, key);
        if (ids)
            check_encode(tokenizer, json_string_value(text), json_string_length(text), flags, ids);
    }
}

/* Whole and as a stream, whose pieces never end inside a character. */
static void check_decode(const pare_tokenizer *tokenizer, const json_t *ids, const char *expected)
{
    int64_t count = (int64_t)json_array_size(ids);
    int32_t *list = calloc((size_t)count + 1, sizeof *list);
    char *text;
    size_t length, size, total = 0;
    const char *part;
    pare_text_stream *stream;
    for (int64_t i = 0; i < count; i++)
        list[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    golden_ok(pare_tokenizer_decode(tokenizer, list, (size_t)count, false, &text, &length));
    assert_string_equal(text, expected);
    golden_ok(pare_text_stream_create(tokenizer, false, &stream));
    for (int64_t i = 0; i <= count; i++) {
        if (i < count)
            golden_ok(pare_text_stream_push(stream, list[i], &part, &size));
        else
            golden_ok(pare_text_stream_flush(stream, &part, &size));
        assert_true(total + size <= length);
        assert_memory_equal(text + total, part, size);
        total += size;
        assert_true(total == length || ((unsigned char)text[total] & 0xc0) != 0x80);
    }
    assert_int_equal(total, length);
    pare_text_stream_free(stream);
    free(text);
    free(list);
    checked++;
}

static void check_chat(const pare_tokenizer *tokenizer, const json_t *cases)
{
    size_t i;
    json_t *one;
    json_array_foreach(cases, i, one)
    {
        char *messages = json_dumps(json_object_get(one, "messages"), 0), *prompt;
        golden_ok(pare_tokenizer_render_chat(tokenizer, messages, true, NULL, &prompt));
        assert_string_equal(prompt, json_string_value(json_object_get(one, "prompt")));
        check_encode(tokenizer, prompt, strlen(prompt), PARE_TOKENIZE_PARSE_SPECIAL,
                     json_object_get(one, "ids"));
        free(prompt);
        free(messages);
    }
}

static void check_wikitext(const char *model, const json_t *golden, bool joined)
{
    int64_t count;
    int32_t *ids = golden_wikitext(model, joined, &count);
    const char *key = joined ? "wikitext2_joined_first_ids" : "wikitext2_raw_first_ids";
    const json_t *first = json_object_get(golden, key);
    assert_int_equal(count,
                     json_integer_value(json_object_get(golden, joined ? "wikitext2_joined_tokens"
                                                                       : "wikitext2_raw_tokens")));
    for (size_t i = 0; i < json_array_size(first); i++)
        assert_int_equal(ids[i], json_integer_value(json_array_get(first, i)));
    free(ids);
    checked++;
}

/* Opens the model, then what an export of it gives, and calls `check` with both. */
static void both(const char *model, const json_t *golden,
                 void (*check)(const char *path, const pare_tokenizer *tokenizer,
                               const json_t *golden))
{
    pare_tokenizer *tokenizer;
    pare_gguf_writer writer = {0};
    char exported[] = "/tmp/pare-tokenizer-XXXXXX.gguf";
    int fd = mkstemps(exported, 5);
    assert_true(fd >= 0);
    close(fd);
    golden_ok(pare_tokenizer_open(model, &tokenizer));
    check(model, tokenizer, golden);
    golden_ok(pare_tokenizer_export(tokenizer, 0, &writer));
    golden_ok(pare_gguf_write(&writer, exported, NULL, NULL));
    pare_gguf_writer_free(&writer);
    pare_tokenizer_close(tokenizer);
    golden_ok(pare_tokenizer_open(exported, &tokenizer));
    check(exported, tokenizer, golden);
    pare_tokenizer_close(tokenizer);
    unlink(exported);
}

static void check_model(const char *path, const pare_tokenizer *tokenizer, const json_t *golden)
{
    size_t i;
    json_t *one;
    check_texts(tokenizer, json_object_get(golden, "tokenization"), "ids",
                PARE_TOKENIZE_PARSE_SPECIAL);
    check_texts(tokenizer, json_object_get(golden, "digit_cases"), "ids",
                PARE_TOKENIZE_PARSE_SPECIAL);
    check_texts(tokenizer, json_object_get(golden, "tokenization_with_special"), "ids",
                PARE_TOKENIZE_PARSE_SPECIAL | PARE_TOKENIZE_ADD_SPECIAL);
    json_array_foreach(json_object_get(golden, "decode"), i, one) check_decode(
        tokenizer, json_object_get(one, "ids"), json_string_value(json_object_get(one, "text")));
    check_chat(tokenizer, json_object_get(golden, "chat"));
    check_wikitext(path, golden, true);
    check_wikitext(path, golden, false);
}

static void run_model(const char *path, const char *golden_name)
{
    json_t *golden = golden_json(golden_name);
    both(path, golden, check_model);
    json_decref(golden);
}

static void ref_gpt2(void **state)
{
    char path[GOLDEN_PATH];
    golden_path(path, "models/ref-gpt2-30m");
    run_model(path, "golden/ref-gpt2-30m.json");
}

static void ref_llama(void **state)
{
    char path[GOLDEN_PATH];
    golden_path(path, "models/ref-llama-11m");
    run_model(path, "golden/ref-llama-11m.json");
}

static void smollm2_gguf(void **state)
{
    if (!pare_is_file(smollm2())) {
        print_message("%s is not here\n", smollm2());
        return;
    }
    run_model(smollm2(), "golden/smollm2-135m-instruct-q4_1.json");
}

static void check_llama3(const char *path, const pare_tokenizer *tokenizer, const json_t *golden)
{
    const json_t *cases = json_object_get(golden, "cases");
    check_texts(tokenizer, cases, "ids", 0);
    check_texts(tokenizer, cases, "with_special",
                PARE_TOKENIZE_PARSE_SPECIAL | PARE_TOKENIZE_ADD_SPECIAL);
}

static void llama3(void **state)
{
    char path[GOLDEN_PATH];
    json_t *golden = golden_json("golden/tokenizers/llama-3.cases.json");
    golden_path(path, "golden/tokenizers/llama-3.tokenizer.json");
    both(path, golden, check_llama3);
    json_decref(golden);
}

/* llama.cpp's own test files: texts between separator lines, and a line of ids for each. */
static void check_vocabulary(const char *path, const pare_tokenizer *tokenizer, const json_t *name)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char file[GOLDEN_PATH + 8], *texts, *lines;
    size_t size;
    golden_path(file, json_string_value(name));
    strcat(file, ".inp");
    golden_ok(pare_read_file(file, 1 << 20, &texts, &size));
    golden_path(file, json_string_value(name));
    strcat(file, ".out");
    golden_ok(pare_read_file(file, 1 << 20, &lines, &size));
    char *text = texts, *line = lines;
    for (char *end = strstr(text, separator); end; end = strstr(text, separator)) {
        json_t *ids = json_array();
        char *next = strchr(line, '\n');
        assert_non_null(next);
        *next = 0;
        for (char *id = strtok(line, " "); id; id = strtok(NULL, " "))
            json_array_append_new(ids, json_integer(atoi(id)));
        check_encode(tokenizer, text, (size_t)(end - text), 0, ids);
        json_decref(ids);
        text = end + sizeof separator - 1;
        line = next + 1;
    }
    free(texts);
    free(lines);
}

static void vocabularies(void **state)
{
    static const char *const names[] = {"golden/tokenizers/ggml-vocab-gpt-2.gguf",
                                        "golden/tokenizers/ggml-vocab-llama-spm.gguf"};
    for (int i = 0; i < 2; i++) {
        char path[GOLDEN_PATH];
        json_t *name = json_string(names[i]);
        golden_path(path, names[i]);
        both(path, name, check_vocabulary);
        json_decref(name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ref_gpt2), cmocka_unit_test(ref_llama),
                                       cmocka_unit_test(smollm2_gguf), cmocka_unit_test(llama3),
                                       cmocka_unit_test(vocabularies)};
    if (!pare_is_folder(PARE_SHARED_DIR))
        return GOLDEN_SKIP;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    printf("%lld cases\n", (long long)checked);
    return failed;
}
