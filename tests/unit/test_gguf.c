/* GGUF: what is written is read back; every truncation and many corruptions of a file are survived.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "formats/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const float numbers[64] = {1, -2, 3};

static pare_status fill(void *user, size_t tensor, pare_output *output)
{
    static const char codes[18 * 2] = {7};
    return tensor == 0 ? pare_output_write(output, codes, sizeof codes)
                       : pare_output_write(output, numbers, 3 * sizeof *numbers);
}

static void describe(pare_gguf_writer *writer)
{
    static const pare_gguf_string words[] = {{"the", 3}, {"", 0}, {"a\0b", 3}};
    pare_gguf_set_text(writer, "general.architecture", "llama", 5);
    pare_gguf_set_u32(writer, "a.u32", 4000000000u);
    pare_gguf_set_u64(writer, "a.u64", 1);
    pare_gguf_set_u64(writer, "a.u64", UINT64_MAX); /* replaces */
    pare_gguf_set_i32(writer, "a.i32", -7);
    pare_gguf_set_f32(writer, "a.f32", 0.5f);
    pare_gguf_set_bool(writer, "a.bool", true);
    pare_gguf_set_strings(writer, "a.words", words, 3);
    pare_gguf_set_strings(writer, "a.empty", words, 0);
    pare_gguf_set_i32s(writer, "a.i32s", (int32_t[]){1, -2, 3}, 3);
    pare_gguf_set_f32s(writer, "a.f32s", numbers, 3);
    pare_gguf_add_tensor(writer, "matrix", PARE_TYPE_Q4_0, 2, (int64_t[]){2, 32});
    pare_gguf_add_tensor(writer, "vector", PARE_TYPE_F32, 1, (int64_t[]){3});
}

static void check(const pare_gguf *gguf)
{
    int64_t integer = 5;
    double real = 0;
    bool truth = false;
    pare_gguf_string text = {0};
    assert_int_equal(gguf->version, 3);
    assert_int_equal(gguf->value_count, 10);
    assert_int_equal(pare_gguf_i64(gguf, "absent", &integer), PARE_OK);
    assert_int_equal(integer, 5);
    assert_int_equal(pare_gguf_i64(gguf, "a.u32", &integer), PARE_OK);
    assert_int_equal(integer, 4000000000);
    assert_int_equal(pare_gguf_i64(gguf, "a.u64", &integer), PARE_FORMAT);
    assert_int_equal(pare_gguf_f64(gguf, "a.u64", &real), PARE_OK);
    assert_true(real == 0x1p64);
    assert_int_equal(pare_gguf_i64(gguf, "a.i32", &integer), PARE_OK);
    assert_int_equal(integer, -7);
    assert_int_equal(pare_gguf_i64(gguf, "a.f32", &integer), PARE_FORMAT);
    assert_non_null(strstr(pare_error_message(), "a.f32"));
    assert_int_equal(pare_gguf_f64(gguf, "a.f32", &real), PARE_OK);
    assert_true(real == 0.5);
    assert_int_equal(pare_gguf_bool(gguf, "a.bool", &truth), PARE_OK);
    assert_true(truth);
    assert_int_equal(pare_gguf_bool(gguf, "a.i32", &truth), PARE_FORMAT);
    assert_int_equal(pare_gguf_text(gguf, "general.architecture", &text), PARE_OK);
    assert_int_equal(text.length, 5);
    const pare_gguf_value *words = pare_gguf_find(gguf, "a.words"),
                          *list = pare_gguf_find(gguf, "a.i32s");
    assert_int_equal(words->count, 3);
    assert_memory_equal(words->strings[2].data, "a\0b", 3);
    assert_int_equal(pare_gguf_element_i64(list, 1), -2);
    assert_true(pare_gguf_element_f64(pare_gguf_find(gguf, "a.f32s"), 1) == -2);
    const pare_tensor *matrix = pare_tensors_find(&gguf->tensors, "matrix");
    assert_int_equal(matrix->type, PARE_TYPE_Q4_0);
    assert_int_equal(matrix->shape[0], 2);
    assert_int_equal(matrix->shape[1], 32);
    assert_int_equal(matrix->bytes, 36);
    assert_int_equal(*(const uint8_t *)matrix->data, 7);
    assert_memory_equal(pare_tensors_find(&gguf->tensors, "vector")->data, numbers, 12);
}

static void round_trip(void **state)
{
    char path[] = "/tmp/pare-gguf-XXXXXX";
    pare_gguf_writer writer = {0}, second = {0};
    pare_gguf gguf, copy;
    uint64_t predicted;
    char *bytes;
    size_t size;
    close(mkstemp(path));
    describe(&writer);
    assert_int_equal(pare_gguf_predict_size(&writer, &predicted), PARE_OK);
    assert_int_equal(pare_gguf_write(&writer, path, fill, NULL), PARE_OK);
    assert_int_equal(pare_read_file(path, 1 << 20, &bytes, &size), PARE_OK);
    assert_int_equal(size, predicted);
    assert_int_equal(pare_gguf_open(path, &gguf), PARE_OK);
    check(&gguf);
    /* A copy of the metadata gives the same file again. */
    for (size_t i = 0; i < gguf.value_count; i++)
        pare_gguf_copy(&second, &gguf.values[i]);
    pare_gguf_add_tensor(&second, "matrix", PARE_TYPE_Q4_0, 2, (int64_t[]){2, 32});
    pare_gguf_add_tensor(&second, "vector", PARE_TYPE_F32, 1, (int64_t[]){3});
    assert_int_equal(pare_gguf_write(&second, path, fill, NULL), PARE_OK);
    assert_int_equal(pare_gguf_open(path, &copy), PARE_OK);
    assert_int_equal(copy.tensors.mappings[0].size, size);
    assert_memory_equal(copy.tensors.mappings[0].data, bytes, size);
    pare_gguf_close(&copy);
    pare_gguf_close(&gguf);
    pare_gguf_writer_free(&writer);
    pare_gguf_writer_free(&second);
    free(bytes);
    unlink(path);
}

static void refusals_of_the_writer(void **state)
{
    pare_gguf_writer writer = {0};
    pare_gguf_add_tensor(&writer, "codes", PARE_TYPE_U8, 1, (int64_t[]){3}); /* has no id */
    assert_int_equal(pare_gguf_write(&writer, "/nowhere/x.gguf", fill, NULL), PARE_UNSUPPORTED);
    pare_gguf_writer_free(&writer);
    pare_gguf_add_tensor(&writer, "matrix", PARE_TYPE_Q4_0, 2, (int64_t[]){2, 33});
    assert_int_equal(pare_gguf_write(&writer, "/nowhere/x.gguf", fill, NULL), PARE_FORMAT);
    pare_gguf_writer_free(&writer);
    pare_gguf_add_tensor(&writer, "vector", PARE_TYPE_F32, 1,
                         (int64_t[]){4}); /* fill writes 36 bytes */
    char path[] = "/tmp/pare-gguf-XXXXXX";
    close(mkstemp(path));
    assert_int_equal(pare_gguf_write(&writer, path, fill, NULL), PARE_INTERNAL);
    pare_gguf_writer_free(&writer);
    unlink(path);
}

/* A file in memory, put together by hand. */
typedef struct bytes {
    uint8_t data[512];
    size_t size;
} bytes;

static void put(bytes *to, uint64_t value, size_t width)
{
    memcpy(to->data + to->size, &value, width);
    to->size += width;
}

static void put_text(bytes *to, const char *text)
{
    put(to, strlen(text), 8);
    memcpy(to->data + to->size, text, strlen(text));
    to->size += strlen(text);
}

static void begin(bytes *to, uint32_t version, uint64_t tensors, uint64_t values)
{
    to->size = 0;
    put(to, 0x46554747, 4);
    put(to, version, 4);
    put(to, tensors, 8);
    put(to, values, 8);
}

static void tensor(bytes *to, const char *name, uint32_t dims, uint64_t extent, uint32_t type,
                   uint64_t offset)
{
    put_text(to, name);
    put(to, dims, 4);
    for (uint32_t i = 0; i < dims && i < 8; i++)
        put(to, extent, 8);
    put(to, type, 4);
    put(to, offset, 8);
}

/* Pads to the data and adds `data` bytes of them. */
static void finish(bytes *to, size_t data)
{
    size_t size = (to->size + 31) / 32 * 32 + data;
    memset(to->data + to->size, 0, size - to->size);
    to->size = size;
}

static void expect(const bytes *file, pare_status wanted, const char *message)
{
    pare_gguf gguf;
    pare_status status = pare_gguf_parse(file->data, file->size, "x.gguf", &gguf);
    if (status != wanted || (status != PARE_OK && !strstr(pare_error_message(), message)))
        fail_msg("wanted '%s': status %s, message '%s'", message, pare_status_name(status),
                 pare_error_message());
    if (status != PARE_OK)
        assert_non_null(strstr(pare_error_message(), "x.gguf"));
    pare_gguf_close(&gguf);
}

static void malformed_header(void **state)
{
    bytes file;
    begin(&file, 3, 0, 0);
    expect(&file, PARE_OK, "");
    begin(&file, 2, 0, 0);
    expect(&file, PARE_OK, "");
    begin(&file, 1, 0, 0);
    expect(&file, PARE_UNSUPPORTED, "version 1");
    begin(&file, 0x03000000, 0, 0);
    expect(&file, PARE_UNSUPPORTED, "big-endian");
    begin(&file, 3, UINT64_MAX, 0);
    expect(&file, PARE_FORMAT, "tensors in");
    begin(&file, 3, 0, 1ull << 40);
    expect(&file, PARE_FORMAT, "metadata keys in");
    file.data[0] = 'X';
    expect(&file, PARE_FORMAT, "not a GGUF file");
    file.size = 3;
    expect(&file, PARE_FORMAT, "the magic at byte 0");
}

static void malformed_values(void **state)
{
    bytes file;
    for (int twice = 0; twice < 2; twice++) {
        begin(&file, 3, 0, 2);
        put_text(&file, "a"), put(&file, PARE_GGUF_U8, 4), put(&file, 1, 1);
        put_text(&file, twice ? "a" : "b"), put(&file, PARE_GGUF_U8, 4), put(&file, 1, 1);
        expect(&file, twice ? PARE_FORMAT : PARE_OK, "'a' at byte 38 occurs twice");
    }
    begin(&file, 3, 0, 1), put_text(&file, "a"), put(&file, 13, 4), put(&file, 0, 8);
    expect(&file, PARE_FORMAT, "unknown value type 13");
    begin(&file, 3, 0, 1), put_text(&file, "a"), put(&file, PARE_GGUF_BOOL, 4), put(&file, 2, 8);
    expect(&file, PARE_FORMAT, "not a boolean");
    begin(&file, 3, 0, 1), put_text(&file, "a"), put(&file, PARE_GGUF_STRING, 4),
        put(&file, UINT64_MAX, 8);
    expect(&file, PARE_FORMAT, "bytes");
    begin(&file, 3, 0, 1), put_text(&file, "a"), put(&file, PARE_GGUF_ARRAY, 4),
        put(&file, PARE_GGUF_ARRAY, 4);
    put(&file, 1, 8), put(&file, PARE_GGUF_ARRAY, 4);
    expect(&file, PARE_UNSUPPORTED, "array of arrays");
    for (uint32_t kind = PARE_GGUF_U8; kind <= PARE_GGUF_F64; kind++) {
        if (kind == PARE_GGUF_ARRAY)
            continue;
        begin(&file, 3, 0, 1), put_text(&file, "a"), put(&file, PARE_GGUF_ARRAY, 4),
            put(&file, kind, 4);
        put(&file, UINT64_MAX / 4, 8), put(&file, 0, 8);
        expect(&file, PARE_FORMAT, "elements in");
    }
    begin(&file, 3, 0, 1), put(&file, 70000, 8), put(&file, 0, 8);
    expect(&file, PARE_FORMAT, "a metadata key at byte 24");
}

static void malformed_tensors(void **state)
{
    bytes file;
    begin(&file, 3, 1, 0), tensor(&file, "t", 1, 4, 0, 0), finish(&file, 16);
    expect(&file, PARE_OK, "");
    begin(&file, 3, 1, 0), tensor(&file, "t", 1, 4, 0, 0), finish(&file, 15);
    expect(&file, PARE_FORMAT, "needs 16 bytes");
    begin(&file, 3, 1, 0), tensor(&file, "t", 1, 4, 0, UINT64_MAX - 31), finish(&file, 16);
    expect(&file, PARE_FORMAT, "needs 16 bytes");
    begin(&file, 3, 1, 0), tensor(&file, "t", 1, 4, 0, 4), finish(&file, 32);
    expect(&file, PARE_FORMAT, "not aligned");
    begin(&file, 3, 1, 0), tensor(&file, "t", 5, 1, 0, 0), finish(&file, 16);
    expect(&file, PARE_FORMAT, "5 dimensions");
    begin(&file, 3, 1, 0), tensor(&file, "t", 2, 1ull << 62, 0, 0), finish(&file, 16);
    expect(&file, PARE_FORMAT, "overflows");
    begin(&file, 3, 1, 0), tensor(&file, "t", 1, UINT64_MAX, 0, 0), finish(&file, 16);
    expect(&file, PARE_FORMAT, "dimension");
    begin(&file, 3, 1, 0), tensor(&file, "t", 1, 33, 2, 0), finish(&file, 36);
    expect(&file, PARE_FORMAT, "rows of 33");
    begin(&file, 3, 1, 0), tensor(&file, "t", 1, 32, 4, 0), finish(&file, 36);
    expect(&file, PARE_UNSUPPORTED, "unknown type 4");
    begin(&file, 3, 2, 0), tensor(&file, "t", 1, 4, 0, 0), tensor(&file, "t", 1, 4, 0, 32),
        finish(&file, 64);
    expect(&file, PARE_FORMAT, "occurs twice");
    begin(&file, 3, 2, 0), tensor(&file, "t", 1, 16, 0, 0), tensor(&file, "u", 1, 4, 0, 32),
        finish(&file, 64);
    expect(&file, PARE_FORMAT, "overlaps tensor 't'");
    for (uint32_t alignment = 0; alignment < 4;
         alignment++) { /* 1 and 2 are powers of two, but FP32 needs 4 */
        begin(&file, 3, 1, 1);
        put_text(&file, "general.alignment"), put(&file, PARE_GGUF_U32, 4),
            put(&file, alignment, 4);
        tensor(&file, "t", 1, 4, 0, 0), finish(&file, 32);
        expect(&file, PARE_FORMAT,
               alignment == 0 || alignment == 3 ? "power of two" : "not aligned");
    }
}

/* Any prefix of a good file and any change of a few bytes: an error or not, never a read outside
 * (ASan watches). */
static void survives_damage(void **state)
{
    char path[] = "/tmp/pare-gguf-XXXXXX", *good;
    size_t size;
    pare_gguf gguf;
    pare_gguf_writer writer = {0};
    pare_random random = {1};
    close(mkstemp(path));
    describe(&writer);
    assert_int_equal(pare_gguf_write(&writer, path, fill, NULL), PARE_OK);
    pare_gguf_writer_free(&writer);
    assert_int_equal(pare_read_file(path, 1 << 20, &good, &size), PARE_OK);
    unlink(path);
    for (size_t n = 0; n < size; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, good, n);
        pare_status status = pare_gguf_parse(cut, n, "cut", &gguf);
        if (n + 32 < size) /* the last tensor's padding may be missing */
            assert_int_equal(status, PARE_FORMAT);
        pare_gguf_close(&gguf);
        free(cut);
    }
    uint8_t *damaged = malloc(size);
    for (int i = 0; i < 20000; i++) {
        memcpy(damaged, good, size);
        for (uint64_t n = pare_random_below(&random, 4) + 1; n > 0; n--)
            damaged[pare_random_below(&random, size)] = (uint8_t)pare_random_u64(&random);
        pare_status ignored = pare_gguf_parse(damaged, size, "damaged", &gguf);
        (void)ignored;
        pare_gguf_close(&gguf);
    }
    free(damaged);
    free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),        cmocka_unit_test(refusals_of_the_writer),
        cmocka_unit_test(malformed_header),  cmocka_unit_test(malformed_values),
        cmocka_unit_test(malformed_tensors), cmocka_unit_test(survives_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
