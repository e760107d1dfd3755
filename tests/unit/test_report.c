/* src/base/number, src/plan, src/report: text of numbers, the recommendation, the table, the page,
 * the charts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/number.h"
#include "report/html.h"
#include "report/plot.h"
#include "report/sections.h"

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

static pare_axis axis_of(double low, double high, bool logarithmic)
{
    pare_axis axis = pare_axis_empty(PARE_UNIT_PLAIN, logarithmic);
    axis.low = low, axis.high = high;
    return axis;
}

static void ticks_are_round(void **state)
{
    double ticks[PARE_MOST_TICKS];
    pare_axis axis = axis_of(0, 934, false);
    int n = pare_axis_ticks(&axis, 6, ticks);
    assert_int_equal(n, 5);
    assert_true(ticks[0] == 0 && !signbit(ticks[0]) && ticks[4] == 800);
    axis = axis_of(-0.031, 0.052, false);
    n = pare_axis_ticks(&axis, 6, ticks);
    for (int i = 0; i < n; i++)
        assert_true(fabs(ticks[i] / 0.02 - round(ticks[i] / 0.02)) < 1e-9);
    axis = axis_of(1, 1, false);
    assert_int_equal(pare_axis_ticks(&axis, 6, ticks), 0);
    axis = axis_of(0, INFINITY, false);
    assert_int_equal(pare_axis_ticks(&axis, 6, ticks), 0);
    axis = axis_of(0.9, 1100, true);
    n = pare_axis_ticks(&axis, 5, ticks);
    assert_int_equal(n, 4);
    assert_true(ticks[0] == 1 && ticks[3] == 1000);
    axis = axis_of(1, 9, true);
    n = pare_axis_ticks(&axis, 8, ticks);
    assert_true(n == 6 && fabs(ticks[1] - 1.5) < 1e-12);
}

static void axes_hold_their_values(void **state)
{
    pare_axis axis = pare_axis_empty(PARE_UNIT_PLAIN, false);
    pare_axis_include(&axis, around(5, 2));
    pare_axis_include(&axis, (pare_measure){.absent = true});
    pare_axis_close(&axis, 0.1, true);
    axis.from = 100, axis.to = 0;
    assert_true(axis.low == 0 && axis.high > 7);
    assert_true(pare_axis_place(&axis, 0) == 100 && pare_axis_place(&axis, 7) > 0);
    axis = pare_axis_empty(PARE_UNIT_PLAIN, true);
    pare_axis_include(&axis, exact(-1)); /* has no place there */
    pare_axis_include(&axis, exact(10));
    pare_axis_close(&axis, 0.1, false);
    assert_true(axis.low > 0 && axis.low < 10 && axis.high > 10);
}

static void tick_labels_carry_their_unit(void **state)
{
    char text[PARE_NUMBER_BYTES];
    const struct {
        pare_unit unit;
        double value;
        const char *text;
    } cases[] = {{PARE_UNIT_BYTES, 2.5e9, "2.5 GB"},   {PARE_UNIT_BYTES, 0, "0"},
                 {PARE_UNIT_PERCENT, 0.2, "20 %"},     {PARE_UNIT_FACTOR, 1.5, "1.5x"},
                 {PARE_UNIT_OPS_PER_S, 3e11, "300 G"}, {PARE_UNIT_RATE, 20000, "20000"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_axis axis = pare_axis_empty(cases[i].unit, false);
        assert_string_equal(pare_axis_label(text, &axis, cases[i].value), cases[i].text);
    }
}

/* Everything that a plot is asked to bear: nothing, one value, absent ones, long labels. */
static void draw_plots(pare_canvas *canvas, const void *what)
{
    const int *count = what;
    static const char *const labels[] = {"a", "a label much longer than its place on the page",
                                         "c"};
    const pare_bar bars[] = {
        {around(3, 1), 0, "three"}, {{.absent = true}, 1, "none"}, {exact(-1), 2, NULL}};
    const pare_bars plot = {.metric = "decode_tokens_per_s",
                            .groups = *count,
                            .series = 1,
                            .labels = labels,
                            .bars = bars,
                            .reference = NAN};
    const pare_point points[] = {{.x = exact(1), .y = around(2, 1), .label = labels[1]},
                                 {.x = {.absent = true}, .y = exact(1)},
                                 {.x = exact(1), .y = exact(2), .label = "same place"}};
    const pare_points scatter = {
        .points = points, .count = *count, .x_reference = NAN, .y_reference = 1};
    pare_box box = pare_plot_title(canvas, "a title", "and a note");
    pare_plot_bars(canvas, pare_plot_cell(box, 2, 1, 0, 8), &plot);
    pare_plot_points(canvas, pare_plot_cell(box, 2, 1, 1, 8), &scatter);
}

static void plots_come_out_in_every_format(void **state)
{
    const char *const magic[] = {"\x89PNG", "<?xml", "%PDF"};
    for (int count = 0; count <= 3; count += 3)
        for (int kind = 0; kind < 3; kind++) {
            pare_buffer out = {0};
            pare_canvas canvas = {0};
            assert_int_equal(pare_canvas_render(draw_plots, &count, (pare_file_kind)kind, 300, 200,
                                                &out, &canvas),
                             PARE_OK);
            assert_memory_equal(out.data, magic[kind], strlen(magic[kind]));
            assert_int_equal(canvas.hot_count, count ? 2 : 0);
            pare_canvas_free_hots(&canvas);
            pare_buffer_free(&out);
        }
}

static void every_chart_can_be_found(void **state)
{
    for (int i = 0; i < pare_chart_count; i++) {
        assert_ptr_equal(pare_chart_find(pare_charts[i].name), &pare_charts[i]);
        for (int k = 0; k < PARE_CHART_NEEDS && pare_charts[i].needs[k]; k++)
            assert_non_null(pare_metric_find(pare_charts[i].needs[k]));
    }
    int shown = 0;
    for (int s = 0; s < pare_section_count; s++)
        for (int c = 0; c < PARE_SECTION_CHARTS && pare_sections[s].charts[c]; c++, shown++)
            assert_non_null(pare_chart_find(pare_sections[s].charts[c]));
    assert_int_equal(shown, pare_chart_count);
}

static void intervals_decide(void **state)
{
    assert_true(pare_measure_excludes(around(1.2, 0.1), 1));
    assert_false(pare_measure_excludes(around(1.2, 0.3), 1));
    assert_false(pare_measure_excludes(exact(2), 1)); /* no interval, no support */
    pare_measure ratio = pare_measure_ratio(around(4, 0.3), around(2, 0.2));
    assert_true(fabs(ratio.value - 2) < 1e-12);
    assert_true(fabs(ratio.high - ratio.value - 2 * hypot(0.075, 0.1)) < 1e-12);
    assert_true(pare_measure_ratio(exact(1), (pare_measure){.absent = true}).absent);
}

static void text_of_pages_is_escaped(void **state)
{
    pare_buffer out = {0};
    pare_html_escape(&out, "a<b>&\"");
    pare_html_escape(&out, NULL);
    assert_string_equal(out.data, "a&lt;b&gt;&amp;&quot;");
    pare_buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(recommends_fastest_within_limit),
        cmocka_unit_test(draws_go_to_the_smaller_file),
        cmocka_unit_test(table_has_every_row_and_only_columns_with_data),
        cmocka_unit_test(ticks_are_round),
        cmocka_unit_test(axes_hold_their_values),
        cmocka_unit_test(tick_labels_carry_their_unit),
        cmocka_unit_test(plots_come_out_in_every_format),
        cmocka_unit_test(every_chart_can_be_found),
        cmocka_unit_test(intervals_decide),
        cmocka_unit_test(text_of_pages_is_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
