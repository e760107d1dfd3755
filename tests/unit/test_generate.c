/* The score of generated text: its parts on texts that can be checked by hand, its formula, its
 * intervals, and the whole on the embedded model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "eval/generate.h"
#include "eval/statistics.h"

#include <math.h>
#include <pare/eval.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL PARE_SOURCE_DIR "/models/ref-llama-11m"

static void near_to(double value, double wanted, double tolerance)
{
    if (!(fabs(value - wanted) <= tolerance))
        fail_msg("%.17g is not %.17g within %g", value, wanted, tolerance);
}

static void repetition_is_counted(void **state)
{
    const int32_t loop[] = {1, 2, 3, 1, 2, 3, 1, 2, 3}, fresh[] = {1, 2, 3, 4, 5};
    near_to(pare_text_repetition(loop, 9, 4), 3.0 / 6, 1e-15); /* 1231 2312 3123 | 1231 2312 3123 */
    near_to(pare_text_repetition(fresh, 5, 4), 0, 0);
    near_to(pare_text_repetition(loop, 3, 4), 0, 0); /* too short for one */
    near_to(pare_text_distinct(loop, 9, 1), 3.0 / 9, 1e-15);
    near_to(pare_text_distinct(loop, 9, 2), 3.0 / 8, 1e-15);
    near_to(pare_text_distinct(fresh, 5, 2), 1, 0);
    near_to(pare_text_distinct(loop, 1, 2), 1, 0);
}

static void score_follows_its_formula(void **state)
{
    pare_text_scores s[2] = {{-2, -2, 1, 0, 1, 1}, {-2, -2, 1, 0, 1, 1}};
    near_to(pare_text_score(s, 2, -1), 5, 1e-12);
    s[0].log_probability = -3; /* e^(-1/2) over both */
    near_to(pare_text_score(s, 2, -1), 5 * exp(-0.2), 1e-12);
    near_to(pare_text_score(s, 2, 0), 5, 1e-12);
    s[0].log_probability = -1; /* more probable than the base's own text is no better */
    near_to(pare_text_score(s, 2, -1), 5, 1e-12);
    s[0].agreement = 0.5;
    s[1].repetition = 0.2;
    s[0].distinct_1 = 0.6;
    near_to(pare_text_score(s, 2, -1),
            5 * pow(0.75, 0.3) * pow(0.9, 0.2) * pow(0.5 * (0.8 + 1), 0.1), 1e-12);
    /* Random tokens: fresh and varied, but neither probable nor what the base would say. */
    pare_text_scores random = {-11, -2.5, 0.01, 0, 1, 1};
    assert_true(pare_text_score(&random, 1, -1) < 0.1);
    /* A loop: very probable. */
    pare_text_scores loop = {-0.2, -2.5, 0.5, 0.95, 0.05, 0.06};
    assert_true(pare_text_score(&loop, 1, -1) < 2);
}

/* Means over few clusters of unequal sizes, as windows and prompts give them. */
static void intervals_cover(void **state)
{
    enum { TRIALS = 8000 };
    static const int sizes[] = {4, 8, 16, 40};
    pare_random random = {5};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int n = sizes[s], covered = 0;
        double sums[40], weights[40], error;
        for (int t = 0; t < TRIALS; t++) {
            for (int i = 0; i < n; i++) {
                weights[i] = 100 + 20 * pare_random_uniform(&random);
                sums[i] = weights[i] * (3 + 0.5 * pare_random_normal(&random));
            }
            double mean = pare_cluster_mean(sums, weights, n, &error),
                   half = pare_eval_half_width(error, n);
            covered += fabs(mean - 3) <= half;
        }
        double coverage = (double)covered / TRIALS;
        if (coverage < 0.93 || coverage > 0.97)
            fail_msg("%d clusters: coverage %.4f", n, coverage);
    }
    near_to(pare_eval_half_width(1, 16), 2.1314, 1e-4);
    near_to(pare_eval_half_width(1, 61), 2.0003, 1e-4);
    near_to(pare_eval_half_width(1, 1000000), 1.95997, 1e-4);
    assert_true(isnan(pare_eval_half_width(1, 1)));
}

static double within_unit(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* Prompts that differ as those of a damaged model do; the true score is that of very many. */
static void draw_scores(pare_random *random, pare_text_scores *scores, int count)
{
    for (int i = 0; i < count; i++) {
        double hard = pare_random_normal(random); /* hard prompts are hard in all respects */
        scores[i] = (pare_text_scores){
            .base_log_probability = -2.7 - 0.4 * hard,
            .log_probability = -3.2 - 0.4 * hard + 0.3 * pare_random_normal(random),
            .agreement = within_unit(0.8 - 0.05 * hard + 0.08 * pare_random_normal(random)),
            .repetition = within_unit(0.04 + 0.03 * pare_random_normal(random)),
            .distinct_1 = within_unit(0.75 + 0.05 * pare_random_normal(random)),
            .distinct_2 = within_unit(0.92 + 0.03 * pare_random_normal(random))};
    }
}

static void intervals_of_the_score_cover(void **state)
{
    enum { TRIALS = 4000, N = 16, MANY = 200000 };
    pare_random random = {9};
    pare_text_scores *many = malloc(MANY * sizeof *many), scores[N];
    double values[N];
    int covered = 0;
    assert_non_null(many);
    draw_scores(&random, many, MANY);
    double truth = pare_text_score(many, MANY, -1);
    free(many);
    for (int t = 0; t < TRIALS; t++) {
        draw_scores(&random, scores, N);
        double score = pare_text_score_values(scores, N, values), mean = 0, squares = 0;
        for (int i = 0; i < N; i++)
            mean += values[i] / N;
        for (int i = 0; i < N; i++)
            squares += (values[i] - mean) * (values[i] - mean);
        covered += fabs(score - truth) <= pare_eval_half_width(sqrt(squares / (N - 1) / N), N);
    }
    double coverage = (double)covered / TRIALS;
    if (coverage < 0.93 || coverage > 0.97)
        fail_msg("coverage %.4f", coverage);
}

/* ---- the whole ---- */

typedef struct fixture {
    pare_model *model;
    pare_tokenizer *tokenizer;
    pare_generate_options options;
} fixture;

static int start(void **state)
{
    static fixture f;
    f.options = pare_generate_options_default();
    f.options.prompt_count = 3;
    f.options.tokens = 12;
    f.options.session.threads = 1;
    assert_int_equal(pare_model_open(MODEL, &f.model), PARE_OK);
    assert_int_equal(pare_tokenizer_open(MODEL, &f.tokenizer), PARE_OK);
    *state = &f;
    return 0;
}

static int end(void **state)
{
    fixture *f = *state;
    pare_tokenizer_close(f->tokenizer);
    pare_model_close(f->model);
    return 0;
}

static double value_of(const pare_record *record, const char *name)
{
    const pare_metric *metric = pare_record_metric(record, name);
    assert_non_null(metric);
    assert_false(metric->measure.absent);
    assert_true(metric->measure.low <= metric->measure.value &&
                metric->measure.value <= metric->measure.high);
    return metric->measure.value;
}

static pare_generate_result generate(fixture *f, const pare_generate_options *options)
{
    pare_generate_result result;
    if (pare_eval_generate(f->model, f->model, f->tokenizer, options, NULL, &result) != PARE_OK)
        fail_msg("%s", pare_error_message());
    return result;
}

static void a_model_agrees_with_itself(void **state)
{
    fixture *f = *state;
    pare_generate_result r = generate(f, &f->options);
    const pare_record *record = &r.record;
    assert_string_equal(record->kind, "generate");
    assert_true(value_of(record, "agreement") == 1);
    near_to(value_of(record, "log_probability"), value_of(record, "base_log_probability"), 1e-4);
    assert_true(value_of(record, "log_probability") < 0);
    assert_true(value_of(record, "quality_score") > 3 && value_of(record, "quality_score") <= 5);
    assert_int_equal(pare_record_metric(record, "quality_score")->sample_count, 3);
    const char *text = pare_record_condition(record, "sample_text"),
               *prompt = f->options.prompts[0];
    if (strncmp(text, prompt, strlen(prompt)) != 0)
        fail_msg("'%s' does not begin with the prompt", text);
    assert_true(strlen(text) > strlen(prompt));
    pare_generate_result_free(&r);
}

/* The same text from the same seed, whatever the number of threads and the cache; another from
 * another seed. */
static void texts_repeat(void **state)
{
    fixture *f = *state;
    pare_generate_options other = f->options, two = f->options, without = f->options;
    other.seed = 2;
    two.session.threads = 2;
    without.session.no_kv_cache = true;
    without.tokens = two.tokens;
    pare_generate_result first = generate(f, &f->options), again = generate(f, &two),
                         slow = generate(f, &without), different = generate(f, &other);
    const char *hash = pare_record_condition(&first.record, "text_hash");
    assert_string_equal(hash, pare_record_condition(&again.record, "text_hash"));
    assert_string_equal(hash, pare_record_condition(&slow.record, "text_hash"));
    assert_string_not_equal(hash, pare_record_condition(&different.record, "text_hash"));
    assert_true(value_of(&first.record, "quality_score") ==
                value_of(&again.record, "quality_score"));
    pare_generate_result_free(&first);
    pare_generate_result_free(&again);
    pare_generate_result_free(&slow);
    pare_generate_result_free(&different);
}

static bool stop(void *user, double done, double total, const char *what)
{
    return done < 1;
}

static void wrong_calls_are_refused(void **state)
{
    fixture *f = *state;
    const pare_progress progress = {stop, NULL};
    pare_generate_options bad = f->options;
    pare_generate_result r;
    assert_int_equal(pare_eval_generate(f->model, f->model, NULL, &f->options, NULL, &r),
                     PARE_NOT_FOUND);
    assert_null(r.memory);
    bad.tokens = 0;
    assert_int_equal(pare_eval_generate(f->model, f->model, f->tokenizer, &bad, NULL, &r),
                     PARE_INVALID_ARGUMENT);
    bad = f->options;
    bad.prompt_count = PARE_GENERATE_MOST_PROMPTS + 1;
    assert_int_equal(pare_eval_generate(f->model, f->model, f->tokenizer, &bad, NULL, &r),
                     PARE_INVALID_ARGUMENT);
    assert_int_equal(
        pare_eval_generate(f->model, f->model, f->tokenizer, &f->options, &progress, &r),
        PARE_CANCELLED);
    assert_null(r.memory);
    pare_generate_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repetition_is_counted),
        cmocka_unit_test(score_follows_its_formula),
        cmocka_unit_test(intervals_cover),
        cmocka_unit_test(intervals_of_the_score_cover),
        cmocka_unit_test(a_model_agrees_with_itself),
        cmocka_unit_test(texts_repeat),
        cmocka_unit_test(wrong_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, start, end);
}
