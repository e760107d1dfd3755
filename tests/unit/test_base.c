/* src/base: conversions, buffers, atomic output, the pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/half.h"
#include "base/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Every FP16 value survives the way to FP32 and back, and rounding agrees with the nearest
 * neighbours. */
static void half_round_trip(void **state)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = pare_f16_to_f32((uint16_t)h);
        if (isnan(value))
            assert_true(isnan(pare_f16_to_f32(pare_f32_to_f16(value))));
        else
            assert_int_equal(pare_f32_to_f16(value), h);
        value = pare_bf16_to_f32((uint16_t)h);
        if (!isnan(value))
            assert_int_equal(pare_f32_to_bf16(value), h);
    }
    for (uint32_t h = 0; h < 0x7bff; h++) { /* halfway goes to even */
        float low = pare_f16_to_f32((uint16_t)h), high = pare_f16_to_f32((uint16_t)(h + 1)),
              middle = (low + high) / 2;
        assert_int_equal(pare_f32_to_f16(middle), h & 1 ? h + 1 : h);
        assert_int_equal(pare_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(pare_f32_to_f16(nextafterf(middle, 0)), h);
    }
    assert_int_equal(pare_f32_to_f16(65519.9f), 0x7bff);
    assert_int_equal(pare_f32_to_f16(65520.0f), 0x7c00);
}

static void messages_are_one_line(void **state)
{
    pare_fail(PARE_FORMAT, "file '%s'", "a\nb\x1b[31m");
    assert_string_equal(pare_error_message(), "file 'a?b?[31m'");
    assert_int_equal(pare_fail_in(PARE_FORMAT, "outer"), PARE_FORMAT);
    assert_string_equal(pare_error_message(), "outer: file 'a?b?[31m'");
}

static void output_replaces_only_on_commit(void **state)
{
    char path[] = "/tmp/pare-test-XXXXXX", *data;
    size_t size;
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "old", 3), 3);
    close(fd);
    pare_output output;
    assert_int_equal(pare_output_open(&output, path), PARE_OK);
    assert_int_equal(pare_output_write(&output, "new text", 8), PARE_OK);
    pare_output_abort(&output);
    assert_int_equal(pare_read_file(path, 100, &data, &size), PARE_OK);
    assert_string_equal(data, "old");
    free(data);
    assert_int_equal(pare_output_open(&output, path), PARE_OK);
    assert_int_equal(pare_output_write(&output, "new text", 8), PARE_OK);
    assert_int_equal(pare_output_commit(&output), PARE_OK);
    assert_int_equal(pare_read_file(path, 100, &data, &size), PARE_OK);
    assert_string_equal(data, "new text");
    free(data);
    assert_int_equal(pare_read_file(path, 3, &data, &size), PARE_LIMIT);
    unlink(path);
    assert_int_equal(pare_output_open(&output, "/dev/null/file"), PARE_IO);
    pare_output_abort(&output);
}

/* Phases of unequal work: a barrier that lets anyone through early shows up as a wrong sum. */
enum { PHASES = 2000, CELLS = 8 };
typedef struct relay {
    pare_pool *pool;
    long cells[CELLS];
    int errors[CELLS];
} relay;

static void run_relay(void *argument, int index, int count)
{
    relay *r = argument;
    for (int phase = 0; phase < PHASES; phase++) {
        for (volatile int spin = 0; spin < (index == phase % count ? 50 : 0); spin++)
            ;
        r->cells[index] = phase + 1;
        pare_pool_barrier(r->pool);
        for (int i = 0; i < count; i++)
            r->errors[index] += r->cells[i] != phase + 1;
        pare_pool_barrier(r->pool);
    }
}

static void barriers_hold(void **state)
{
    for (int threads = 1; threads <= 4; threads++) {
        relay r = {0};
        assert_int_equal(pare_pool_create(threads, &r.pool), PARE_OK);
        for (int repeat = 0; repeat < 3; repeat++)
            pare_pool_run(r.pool, run_relay, &r);
        pare_pool_free(r.pool);
        for (int i = 0; i < threads; i++)
            assert_int_equal(r.errors[i], 0);
    }
    pare_pool *pool;
    assert_int_equal(pare_pool_create(-1, &pool), PARE_INVALID_ARGUMENT);
}

static void shares_cover_everything_once(void **state)
{
    for (int64_t n = 0; n < 70; n++)
        for (int count = 1; count < 6; count++) {
            int64_t next = 0;
            for (int i = 0; i < count; i++) {
                pare_range range = pare_share(n, 16, i, count);
                assert_int_equal(range.first, next);
                assert_true(range.first % 16 == 0 || range.first == n);
                next = range.last;
            }
            assert_int_equal(next, n);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_round_trip),
        cmocka_unit_test(messages_are_one_line),
        cmocka_unit_test(output_replaces_only_on_commit),
        cmocka_unit_test(barriers_hold),
        cmocka_unit_test(shares_cover_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
