/* src/base/number, src/plan, src/report: text of numbers, the recommendation, the table, the page,
 * the charts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/number.h"
#include "report/chart.h"
#include "report/charts.h"

#include <math.h>
#include <pare/plan.h>
#include <pare/report.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pare_measure exact(double value)
{
    return (pare_measure){value, value, value, false};
}

static pare_measure around(double value, double half)
{
    return (pare_measure){value, value - half, value + half, false};
}

static void numbers_read_well(void **state)
{
    char text[PARE_NUMBER_BYTES];
    const pare_measure nothing = {.absent = true};
    assert_string_equal(pare_number(text, exact(23093424), PARE_UNIT_BYTES, false), "23.1 MB");
    assert_string_equal(pare_number(text, exact(999499), PARE_UNIT_BYTES, false), "999 kB");
    assert_string_equal(pare_number(text, exact(999600), PARE_UNIT_BYTES, false), "1.00 MB");
    assert_string_equal(pare_number(text, exact(12), PARE_UNIT_BYTES, false), "12 B");
    assert_string_equal(pare_number(text, around(412.3, 4.2), PARE_UNIT_RATE, true), "412 ± 4");
    assert_string_equal(pare_number(text, around(38.24, 0.02), PARE_UNIT_RATE, true),
                        "38.24 ± 0.02");
    assert_string_equal(pare_number(text, around(0.01304, 0.0004), PARE_UNIT_CHANGE, true),
                        "+1.30 ± 0.04 %");
    assert_string_equal(pare_number(text, exact(-0.00001), PARE_UNIT_CHANGE, false), "+0.00 %");
    assert_string_equal(pare_number(text, exact(0.572), PARE_UNIT_PERCENT, false), "57.2 %");
    assert_string_equal(pare_number(text, nothing, PARE_UNIT_RATE, true), "-");
    assert_string_equal(pare_number(text, exact(NAN), PARE_UNIT_RATE, true), "-");
}

enum { ROWS = 4 };
static void fill(pare_overview *study, pare_overview_row *rows)
{
    const pare_measure nothing = {.absent = true};
    const struct {
        char *label, *format;
        double mb, decode, loss;
    } values[ROWS] = {{"FP16", "f16", 23.1, 400, 0},
                      {"INT8", "q8_0", 14.2, 600, 0.0002},
                      {"INT4", "q4_0", 9.6, 850, 0.042},
                      {"<b>", "broken", 0, 0, 0}};
    memset(rows, 0, sizeof *rows * ROWS);
    for (int i = 0; i < ROWS; i++) {
        rows[i].label = values[i].label;
        rows[i].format = values[i].format;
        bool absent = i == 3;
        rows[i].file_bytes = absent ? nothing : exact(values[i].mb * 1e6);
        rows[i].bits_per_weight = nothing;
        rows[i].peak_rss_bytes = absent ? nothing : exact(values[i].mb * 1.2e6);
        rows[i].prefill_tokens_per_s = nothing;
        rows[i].decode_tokens_per_s = absent ? nothing : around(values[i].decode, 5);
        rows[i].decode_speedup = absent ? nothing : exact(values[i].decode / 400);
        rows[i].memory_reduction = rows[i].prefill_speedup = rows[i].perplexity =
            rows[i].perplexity_ratio = nothing;
        rows[i].kld_mean = rows[i].top1 = rows[i].bandwidth_share = rows[i].peak_share = nothing;
        rows[i].weights_bytes = nothing;
        rows[i].quality_loss = absent ? nothing : around(values[i].loss, i ? 0.001 : 0);
    }
    rows[3].failure = "killed & gone";
    *study = (pare_overview){.name = "s",
                             .model = "m<script>",
                             .machine = "here",
                             .rows = rows,
                             .count = ROWS,
                             .baseline = 0};
}

static void recommends_fastest_within_limit(void **state)
{
    pare_overview study;
    pare_overview_row rows[ROWS];
    pare_recommendation advice;
    fill(&study, rows);
    pare_recommend(&study, 0.01, &advice);
    assert_int_equal(advice.row, 1);
    assert_non_null(strstr(advice.sentence, "Deploy INT8 (q8_0)"));
    assert_non_null(strstr(advice.sentence, "INT4 (q4_0) would run at 2.12x"));
    pare_recommend(&study, 0.05, &advice);
    assert_int_equal(advice.row, 2);
    assert_null(strstr(advice.sentence, "would run"));
    rows[0].quality_loss = rows[1].quality_loss = rows[2].quality_loss = exact(0.5);
    pare_recommend(&study, 0.01, &advice);
    assert_int_equal(advice.row, -1);
    assert_non_null(strstr(advice.sentence, "No measured format"));
}

static void draws_go_to_the_smaller_file(void **state)
{
    pare_overview study;
    pare_overview_row rows[ROWS];
    pare_recommendation advice;
    fill(&study, rows);
    rows[0].decode_tokens_per_s = around(603, 5); /* overlaps INT8's 600 ± 5 */
    pare_recommend(&study, 0.01, &advice);
    assert_int_equal(advice.row, 1);
}

static void table_has_every_row_and_only_columns_with_data(void **state)
{
    pare_overview study;
    pare_overview_row rows[ROWS];
    char *text;
    size_t size;
    fill(&study, rows);
    FILE *memory = open_memstream(&text, &size);
    pare_report_print(&study, memory, false);
    fclose(memory);
    assert_non_null(strstr(text, "INT8 q8_0"));
    assert_non_null(strstr(text, "600 ± 5"));
    assert_non_null(strstr(text, "not measured: killed & gone"));
    assert_null(strstr(text, "prefill"));
    assert_null(strchr(text, '\x1b'));
    free(text);
}

static void page_is_whole_and_escaped(void **state)
{
    pare_overview study;
    pare_overview_row rows[ROWS];
    pare_recommendation advice;
    char path[] = "/tmp/pare-test-XXXXXX", *text;
    size_t size;
    fill(&study, rows);
    pare_recommend(&study, 0.01, &advice);
    close(mkstemp(path));
    assert_int_equal(pare_report_write_html(&study, &advice, path), PARE_OK);
    assert_int_equal(pare_read_file(path, 64 << 20, &text, &size), PARE_OK);
    unlink(path);
    assert_non_null(strstr(text, "m&lt;script&gt;"));
    assert_non_null(strstr(text, "killed &amp; gone"));
    assert_null(strstr(text, "m<script>"));
    assert_null(strstr(text, "src=")); /* nothing is fetched */
    assert_non_null(strstr(text, "id=\"c0-"));
    assert_null(strstr(text, "id=\"glyph"));
    assert_non_null(strstr(text, "</html>"));
    free(text);
}

static void charts_come_out_in_every_format(void **state)
{
    const pare_chart_row rows[] = {{"a", 0, {1, 0.5, 2, false}, {3, 2, 4, false}},
                                   {"b", 1, {.absent = true}, {.absent = true}},
                                   {"c", 2, {5, 5, 5, false}, {-1, -1, -1, false}}};
    const char *const magic[] = {"\x89PNG", "<?xml", "%PDF"};
    for (int kind = 0; kind < 2; kind++)
        for (int file = 0; file < 3; file++) {
            pare_chart chart = {kind ? PARE_CHART_SCATTER : PARE_CHART_BARS,
                                "title",
                                "note",
                                "x",
                                "y",
                                rows,
                                3,
                                false,
                                2,
                                "line"};
            pare_buffer out = {0};
            assert_int_equal(pare_chart_draw(&chart, (pare_chart_file)file, 300, 200, &out),
                             PARE_OK);
            assert_memory_equal(out.data, magic[file], strlen(magic[file]));
            pare_buffer_free(&out);
        }
    pare_chart empty = {PARE_CHART_SCATTER, "none", NULL, "x", "y", rows, 0, true, NAN, NULL};
    pare_buffer out = {0};
    assert_int_equal(pare_chart_draw(&empty, PARE_CHART_SVG, 300, 200, &out), PARE_OK);
    pare_buffer_free(&out);
}

static void ticks_are_round(void **state)
{
    double ticks[12];
    int n = pare_chart_ticks(0, 934, 6, ticks);
    assert_int_equal(n, 5);
    assert_true(ticks[0] == 0 && !signbit(ticks[0]) && ticks[4] == 800);
    n = pare_chart_ticks(-0.031, 0.052, 6, ticks);
    for (int i = 0; i < n; i++)
        assert_true(fabs(ticks[i] / 0.02 - round(ticks[i] / 0.02)) < 1e-9);
    assert_int_equal(pare_chart_ticks(1, 1, 6, ticks), 0);
    assert_int_equal(pare_chart_ticks(0, INFINITY, 6, ticks), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(recommends_fastest_within_limit),
        cmocka_unit_test(draws_go_to_the_smaller_file),
        cmocka_unit_test(table_has_every_row_and_only_columns_with_data),
        cmocka_unit_test(page_is_whole_and_escaped),
        cmocka_unit_test(charts_come_out_in_every_format),
        cmocka_unit_test(ticks_are_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
