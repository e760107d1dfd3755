/* safetensors: what is written is read back; malformed files give one-line errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pare_status fill(void *user, size_t entry, pare_output *output)
{
    return pare_output_write(output, ((const char *const *)user)[entry], entry == 0 ? 24 : 5);
}

static void write_text(const char *folder, const char *name, const void *text, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

static void round_trip(void **state)
{
    char path[] = "/tmp/pare-safetensors-XXXXXX";
    close(mkstemp(path));
    float numbers[6] = {1, 2, 3, -4, 5, 6};
    const char *data[] = {(const char *)numbers, "\1\2\3\4\5"};
    pare_safetensors_entry entries[] = {{"a \"quoted\" name", PARE_TYPE_F32, 2, {2, 3}},
                                        {"codes", PARE_TYPE_U8, 1, {5}}};
    const char *metadata[] = {"format", "pt", NULL};
    pare_tensors tensors;
    assert_int_equal(pare_safetensors_write(path, entries, 2, metadata, fill, data), PARE_OK);
    assert_int_equal(pare_safetensors_open(path, &tensors), PARE_OK);
    assert_int_equal(tensors.count, 2);
    const pare_tensor *item = pare_tensors_find(&tensors, "a \"quoted\" name");
    assert_non_null(item);
    assert_int_equal(item->dims, 2);
    assert_int_equal(item->shape[0], 2);
    assert_int_equal(pare_tensor_columns(item), 3);
    assert_int_equal(pare_tensor_rows(item), 2);
    assert_int_equal(item->offset % 8, 0);
    assert_memory_equal(item->data, numbers, sizeof numbers);
    assert_memory_equal(pare_tensors_find(&tensors, "codes")->data, "\1\2\3\4\5", 5);
    assert_null(pare_tensors_find(&tensors, "nothing"));
    pare_tensors_free(&tensors);
    /* An order that would misalign the second tensor is refused, and the old file stays. */
    pare_safetensors_entry bad[] = {entries[1], entries[0]};
    assert_int_equal(pare_safetensors_write(path, bad, 2, NULL, fill, data), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_safetensors_open(path, &tensors), PARE_OK);
    pare_tensors_free(&tensors);
    unlink(path);
}

/* Builds a file of `header` and `data` zero bytes in memory and parses it. */
static pare_status parse(const char *header, size_t data, uint64_t length)
{
    size_t size = 8 + strlen(header) + data;
    uint8_t *bytes = calloc(1, size);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, strlen(header));
    pare_tensors tensors;
    pare_status status = pare_safetensors_parse(bytes, size, "x.safetensors", &tensors);
    pare_tensors_free(&tensors);
    free(bytes);
    return status;
}

#define T(name, dtype, shape, first, last)                                                         \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" first "," last  \
    "]}"

static void malformed(void **state)
{
    static const struct {
        const char *header;
        size_t data;
        pare_status status;
        const char *message; /* a part of it */
    } cases[] = {
        {"{" T("a", "F32", "[2]", "0", "8") "}  ", 8, PARE_OK, ""},
        {"{" T("a", "F32", "[0]", "0", "0") "} ", 0, PARE_OK, ""},
        {"{" T("a", "F32", "[]", "0", "4") "}  ", 4, PARE_OK, ""},
        {"{}", 0, PARE_OK, ""},
        {"{}", 3, PARE_FORMAT, "3 bytes after the header"},
        {"[]", 0, PARE_FORMAT, "not an object"},
        {"{", 0, PARE_FORMAT, "line 1"},
        {"{" T("a", "F32", "[2]", "0", "8") "}  ", 7, PARE_FORMAT, "tensor 'a' ends at byte"},
        {"{" T("a", "F32", "[2]", "0", "8") "}  ", 12, PARE_FORMAT, "the tensors end at byte"},
        {"{" T("a", "F32", "[2]", "4", "12") "}  ", 12, PARE_FORMAT, "begins at byte"},
        {"{" T("a", "F32", "[2]", "8", "0") "}  ", 8, PARE_FORMAT, "from 8 to 0"},
        {"{" T("a", "F32", "[3]", "0", "8") "}  ", 8, PARE_FORMAT, "need 12"},
        {"{" T("a", "F32", "[-2]", "0", "8") "}  ", 8, PARE_FORMAT, "no size"},
        {"{" T("a", "F32", "[9223372036854775807,9]", "0", "8") "}  ", 8, PARE_FORMAT, "overflows"},
        {"{" T("a", "F32", "[0,9223372036854775807,9]", "0", "0") "}  ", 0, PARE_FORMAT,
         "overflows"},
        {"{" T("a", "F32", "[4611686018427387904]", "0", "8") "}  ", 8, PARE_FORMAT, "overflows"},
        {"{" T("a", "Q9", "[2]", "0", "8") "}  ", 8, PARE_UNSUPPORTED, "'Q9'"},
        {"{" T("a", "F32", "[1,1,1,1,2]", "0", "8") "}  ", 8, PARE_UNSUPPORTED, "5 dimensions"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("a", "F32", "[2]", "0", "8") "}", 8, PARE_FORMAT,
         "duplicate"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[2]", "4", "12") "} ", 12,
         PARE_FORMAT, "overlaps"},
        {"{" T("b", "U8", "[1]", "0", "1") "," T("a", "F32", "[2]", "1", "9") "}", 9, PARE_FORMAT,
         "not aligned"},
        {"{\"a\":7}", 0, PARE_FORMAT, "not an object"},
        {"{\"a\":{}}", 0, PARE_FORMAT, "no 'dtype'"},
        {"{\"a\":{\"dtype\":\"F32\"}}", 0, PARE_FORMAT, "no 'shape'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, PARE_FORMAT, "no 'data_offsets'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_status status = parse(cases[i].header, cases[i].data, strlen(cases[i].header));
        if (status != cases[i].status ||
            (status != PARE_OK && !strstr(pare_error_message(), cases[i].message)))
            fail_msg("%s: status %s, message '%s'", cases[i].header, pare_status_name(status),
                     pare_error_message());
        if (status != PARE_OK)
            assert_non_null(strstr(pare_error_message(), "x.safetensors"));
    }
    assert_int_equal(parse("{}", 0, 1000), PARE_FORMAT); /* a header longer than the file */
    assert_int_equal(parse("{}", 0, UINT64_MAX), PARE_FORMAT);
}

static pare_status open_index(const char *folder, const char *index, const char **message)
{
    char path[256];
    pare_tensors tensors;
    write_text(folder, "model.safetensors.index.json", index, strlen(index));
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    pare_status status = pare_safetensors_open(path, &tensors);
    *message = pare_error_message();
    if (status == PARE_OK)
        assert_true(tensors.count >= 1);
    pare_tensors_free(&tensors);
    return status;
}

/* A header that is not padded: the numbers must still be readable in place. */
static void unpadded_header(void **state)
{
    const char *header = "{" T("a", "F32", "[2]", "0", "8") "}";
    char file[256] = {0}, path[] = "/tmp/pare-safetensors-XXXXXX";
    size_t length = strlen(header);
    float numbers[2] = {1.5f, -2}, read[2];
    assert_int_not_equal(length % 4, 0);
    close(mkstemp(path));
    file[0] = (char)length;
    memcpy(file + 8, header, length);
    memcpy(file + 8 + length, numbers, sizeof numbers);
    write_text("", path, file, 8 + length + sizeof numbers);
    pare_tensors tensors;
    assert_int_equal(pare_safetensors_open(path, &tensors), PARE_OK);
    const pare_tensor *item = pare_tensors_find(&tensors, "a");
    assert_int_equal((uintptr_t)item->data % 8, 0);
    assert_int_equal(item->offset, 8 + length);
    memcpy(read, item->data, sizeof read);
    assert_memory_equal(read, numbers, sizeof numbers);
    pare_tensors_free(&tensors);
    unlink(path);
}

static void sharded(void **state)
{
    char folder[] = "/tmp/pare-shards-XXXXXX", command[64];
    const char *message;
    assert_non_null(mkdtemp(folder));
    char shard[256] = {0};
    const char *header = "{" T("a", "F32", "[2]", "0", "8") "}  ";
    shard[0] = (char)strlen(header);
    memcpy(shard + 8, header, strlen(header));
    write_text(folder, "one.safetensors", shard, 8 + strlen(header) + 8);
    assert_int_equal(open_index(folder, "{\"weight_map\":{\"a\":\"one.safetensors\"}}", &message),
                     PARE_OK);
    assert_int_equal(open_index(folder, "{\"weight_map\":{\"b\":\"one.safetensors\"}}", &message),
                     PARE_FORMAT);
    assert_non_null(strstr(message, "tensor 'b' is not in shard"));
    assert_int_equal(open_index(folder, "{\"weight_map\":{\"a\":\"two.safetensors\"}}", &message),
                     PARE_NOT_FOUND);
    assert_int_equal(
        open_index(folder, "{\"weight_map\":{\"a\":\"../one.safetensors\"}}", &message),
        PARE_FORMAT);
    assert_int_equal(
        open_index(folder, "{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}", &message),
        PARE_FORMAT);
    assert_int_equal(open_index(folder, "{\"weight_map\":{\"a\":1}}", &message), PARE_FORMAT);
    assert_int_equal(open_index(folder, "{}", &message), PARE_FORMAT);
    write_text(folder, "two.safetensors", shard, 8 + strlen(header) + 8);
    assert_int_equal(
        open_index(folder, "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}",
                   &message),
        PARE_FORMAT);
    assert_non_null(strstr(message, "occurs twice"));
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(malformed),
                                       cmocka_unit_test(unpadded_header),
                                       cmocka_unit_test(sharded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
