/* The table of metrics and how their numbers are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pare/metric.h>
#include <string.h>

static void shows(const char *name, double value, double half, const char *plain,
                  const char *with_unit)
{
    char text[PARE_NUMBER_BYTES];
    pare_measure m = {value, value - half, value + half, false};
    assert_string_equal(pare_metric_text(text, name, m, false), plain);
    assert_string_equal(pare_metric_text_unit(text, name, m, half > 0), with_unit);
}

static void numbers_have_their_units(void **state)
{
    shows("decode_tokens_per_s", 38.23, 0.42, "38.2", "38.2 \xc2\xb1 0.4 tokens/s");
    shows("peak_rss_bytes", 23.1e6, 0, "23.1 MB", "23.1 MB");
    shows("kld_mean", 0.0472, 0, "0.0472", "0.0472 nats");
    shows("decode_joules_per_token", 0.001234, 0, "0.00123", "0.00123 J/token");
    shows("decode_joules_per_token", 0, 0, "0.00", "0.00 J/token");
    shows("cpu_clock_hz", 2.6e9, 0, "2.60 GHz", "2.60 GHz");
    shows("read_bandwidth_bytes_per_s", 23.1e9, 0, "23.1 GB/s", "23.1 GB/s");
    shows("prefill_ops_per_s", 412.2e9, 0, "412 GOP/s", "412 GOP/s");
    shows("instructions", 512, 0, "512", "512");
    shows("instructions", 1.85e9, 0, "1.85 G", "1.85 G");
    shows("instructions", 9999, 0, "9999", "9999");
    shows("quality_score", 3.417, 0, "3.42", "3.42 of 5");
    shows("perplexity_ratio", 1.0131, 0.0004, "1.013", "1.0131 \xc2\xb1 0.0004");
    shows("quality_loss", 0.0131, 0, "+1.31 %", "+1.31 %");
    shows("top1", 0.953, 0, "95.3 %", "95.3 %");
    shows("decode_speedup", 1.849, 0, "1.85x", "1.85x");
    shows("no such metric", 0.5, 0, "0.500", "0.500");
}

static void absent_is_a_dash(void **state)
{
    char text[PARE_NUMBER_BYTES];
    pare_measure absent = {.absent = true};
    assert_string_equal(pare_metric_text_unit(text, "decode_watts", absent, true), "-");
}

static void the_table_is_consistent(void **state)
{
    size_t count = 0;
    for (const pare_metric_info *info; (info = pare_metric_get(count)); count++) {
        assert_ptr_equal(pare_metric_find(info->name), info); /* names are unique */
        assert_true(*info->title && *info->column);
        assert_true(info->better >= -1 && info->better <= 1);
    }
    assert_true(count > 50);
    assert_null(pare_metric_find("no such metric"));
    assert_int_equal(pare_metric_find("decode_tokens_per_s")->better, 1);
    assert_int_equal(pare_metric_find("perplexity")->better, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_have_their_units),
        cmocka_unit_test(absent_is_a_dash),
        cmocka_unit_test(the_table_is_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
