/* src/quant/imatrix.c: what is written is read again, llama.cpp's older format, broken files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quant/imatrix.h"

#include <pare/error.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void make(pare_imatrix *matrix)
{
    *matrix = (pare_imatrix){.chunks = 3, .chunk_size = 16, .dataset = "a text"};
    for (int i = 0; i < 4; i++) {
        char name[64];
        pare_imatrix_entry *entry;
        snprintf(name, sizeof name, "blk.%d.ffn_down.weight", i);
        assert_int_equal(pare_imatrix_add(matrix, name, 5 + i, &entry), PARE_OK);
        entry->count = 48;
        for (int64_t c = 0; c < entry->columns; c++)
            entry->sums[c] = (float)(i + 1) * (float)c * 0.3f;
    }
    assert_int_equal(pare_imatrix_finish(matrix, "test"), PARE_OK);
}

static char *written(const pare_imatrix *matrix, size_t *size)
{
    char path[] = "/tmp/pare-imatrix-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(pare_imatrix_write(matrix, path), PARE_OK);
    FILE *file = fopen(path, "rb");
    char *data = malloc(1 << 16);
    *size = fread(data, 1, 1 << 16, file);
    fclose(file);
    close(fd);
    remove(path);
    return data;
}

static void written_is_read_again(void **state)
{
    pare_imatrix matrix, again;
    size_t size;
    make(&matrix);
    char *data = written(&matrix, &size);
    assert_int_equal(pare_imatrix_parse((uint8_t *)data, size, "again", &again), PARE_OK);
    assert_int_equal(again.count, 4);
    assert_int_equal(again.chunks, 3);
    assert_int_equal(again.chunk_size, 16);
    assert_string_equal(again.dataset, "a text");
    for (size_t i = 0; i < 4; i++) {
        const pare_imatrix_entry *a = &matrix.entries[i], *b = pare_imatrix_find(&again, a->name);
        assert_non_null(b);
        assert_int_equal(b->columns, a->columns);
        assert_memory_equal(a->sums, b->sums, (size_t)a->columns * sizeof(float));
        assert_memory_equal(a->means, b->means, (size_t)a->columns * sizeof(float));
        assert_true(b->means[1] == b->sums[1] / 48);
    }
    assert_null(pare_imatrix_find(&again, "blk.9.ffn_down.weight"));
    free(data);
    pare_imatrix_free(&matrix);
    pare_imatrix_free(&again);
}

/* One matrix "ab" of 3 columns, 2 calls, then 7 chunks of "text". */
static const uint8_t old[] = {1,    0,    0, 0, 2, 0, 0, 0, 'a', 'b', 2,    0,    0,   0,
                              3,    0,    0, 0, 0, 0, 0, 0, 0,   0,   0x80, 0x3f, 0,   0,
                              0x40, 0x40, 7, 0, 0, 0, 4, 0, 0,   0,   't',  'e',  'x', 't'};

static void the_older_format_is_read(void **state)
{
    pare_imatrix matrix;
    assert_int_equal(pare_imatrix_parse(old, sizeof old, "old.dat", &matrix), PARE_OK);
    assert_int_equal(matrix.count, 1);
    assert_int_equal(matrix.chunks, 7);
    assert_string_equal(matrix.dataset, "text");
    const pare_imatrix_entry *entry = pare_imatrix_find(&matrix, "ab");
    assert_non_null(entry);
    assert_true(entry->means[0] == 0 && entry->means[1] == 0.5f && entry->means[2] == 1.5f);
    pare_imatrix_free(&matrix);
}

/* Heap copies of exactly their size: sanitizers see reads outside. */
static pare_status parse_copy(const void *data, size_t size, pare_imatrix *matrix)
{
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    pare_status status = pare_imatrix_parse(copy, size, "broken", matrix);
    if (status == PARE_OK)
        pare_imatrix_free(matrix);
    free(copy);
    return status;
}

static void broken_files_are_refused(void **state)
{
    pare_imatrix matrix;
    size_t size;
    for (size_t n = 0; n < sizeof old; n++)
        if (n != 30) /* the rest is optional */
            assert_int_not_equal(parse_copy(old, n, &matrix), PARE_OK);
    uint8_t changed[sizeof old];
    memcpy(changed, old, sizeof old);
    changed[4] = 0xff, changed[5] = 0xff; /* a long name */
    assert_int_not_equal(parse_copy(changed, sizeof changed, &matrix), PARE_OK);
    memcpy(changed, old, sizeof old);
    changed[29] = 0x7f, changed[28] = 0xc0; /* NaN */
    assert_int_equal(parse_copy(changed, sizeof changed, &matrix), PARE_FORMAT);
    assert_non_null(strstr(pare_error_message(), "'ab', column 2"));
    memcpy(changed, old, sizeof old);
    changed[29] = 0xc0; /* negative */
    assert_int_equal(parse_copy(changed, sizeof changed, &matrix), PARE_FORMAT);
    make(&matrix);
    char *data = written(&matrix, &size);
    pare_imatrix_free(&matrix);
    for (size_t n = 0; n + 64 < size; n += n < 64 ? 1 : 37) /* padding at the end may go */
        assert_int_not_equal(parse_copy(data, n, &matrix), PARE_OK);
    char *counts = data;
    while (counts + 28 < data + size && memcmp(counts, "blk.0.ffn_down.weight.counts", 28) != 0)
        counts++;
    assert_true(counts + 28 < data + size);
    memcpy(counts, "blk.0.ffn_down.weight.kounts", 28);
    assert_int_equal(parse_copy(data, size, &matrix), PARE_FORMAT);
    assert_non_null(strstr(pare_error_message(), "blk.0.ffn_down.weight.counts"));
    free(data);
}

static void names_occur_once(void **state)
{
    pare_imatrix matrix;
    pare_imatrix_entry *entry;
    make(&matrix);
    assert_int_equal(pare_imatrix_add(&matrix, "blk.1.ffn_down.weight", 3, &entry), PARE_FORMAT);
    pare_imatrix_free(&matrix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_is_read_again),
        cmocka_unit_test(the_older_format_is_read),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(names_occur_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
