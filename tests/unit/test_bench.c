/* src/bench: a configuration whose process misbehaves costs its own row and nothing else. This
 * program is its own child: called with the name of a behaviour it shows it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "bench/message.h"

#include <math.h>
#include <pare/bench.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL PARE_SOURCE_DIR "/models/ref-llama-11m"
static const char *program;

/* ---- the child's side ---- */

static void say(const char *line)
{
    if (write(STDIN_FILENO, line, strlen(line)) < 0)
        _exit(9);
}

/* A well-behaved fake with known numbers: 10 tokens in 0.1 s, then 4 in 0.02 s each. */
static int pretend(pare_bench_task *task, FILE *in)
{
    char line[64];
    if (task->describe) {
        say("{\"event\":\"model\",\"hash\":\"h\",\"name\":\"fake\",\"architecture\":\"a\","
            "\"format\":\"q4_0\",\"parameters\":1000,"
            "\"file_bytes\":500,\"matrix_parameters\":1000000000,\"bits_per_weight\":4.5,"
            "\"synthetic\":true,\"quantized\":true}\n");
        return 0;
    }
    say("{\"event\":\"ready\",\"threads\":1}\n");
    if (!fgets(line, sizeof line, in) || strcmp(line, "go\n") != 0)
        return 8;
    say("{\"event\":\"progress\",\"share\":0.5}\n{\"event\":\"done\",\"load_s\":0.25,\"peak_rss_"
        "bytes\":3e6,"
        "\"anonymous_rss_bytes\":1e6,\"weights_bytes\":2000000,\"kv_bytes\":1400,\"scratch_bytes\":"
        "7,\"decode_bytes\":1000000,"
        "\"context\":14,\"threads\":1,\"isa\":\"avx2\",\"backend\":\"cpu\",\"prefill_s\":[0.1,0.1,"
        "0.2],\"decode_s\":[0.08,0.08],"
        "\"token_s\":[0.02,0.02,0.02,0.02,0.02,0.02,0.02,0.02],\"other_cpu_share\":0.25,"
        "\"cpu_share\":0.75,\"idle_watts\":10,\"energy_source\":\"fake\",\"prefill_joules\":[2,2,"
        "null],"
        "\"decode_joules\":[1.6,1.6],\"clocks_hz\":[3e9,null],\"decode_instructions\":8000,"
        "\"decode_cycles\":4000,\"reasons\":{\"counters\":\"no misses\",\"temperature\":\"no "
        "sensor\",\"gpu\":\"\"}}\n");
    return 0;
}

static int behave(const char *how)
{
    char *line = NULL;
    size_t capacity = 0;
    FILE *in = fdopen(dup(STDIN_FILENO), "r");
    pare_bench_task task;
    if (strcmp(how, "real") == 0)
        return pare_bench_child(STDIN_FILENO);
    if (getline(&line, &capacity, in) < 0 || pare_bench_task_parse(line, &task) != PARE_OK)
        return 7;
    /* One program serves several configurations: the model's name says who misbehaves. */
    if (strcmp(how, "mixed") == 0)
        how = strcmp(task.model, "good") == 0 ? "pretend" : task.model;
    if (strcmp(how, "crash") == 0)
        signal(SIGSEGV, SIG_DFL), raise(SIGSEGV);
    if (strcmp(how, "kill") == 0)
        raise(SIGKILL);
    if (strcmp(how, "exit") == 0)
        return 3;
    if (strcmp(how, "silent") == 0)
        return 0;
    if (strcmp(how, "babble") == 0)
        say("Hello! This is not JSON.\n");
    if (strcmp(how, "half") == 0)
        say("{\"event\":\"model\",");
    if (strcmp(how, "hang") == 0)
        for (;;)
            pause();
    return strcmp(how, "pretend") == 0 ? pretend(&task, in) : 0;
}

/* ---- the parent's side ---- */

static pare_bench_options quick(const char *const *child)
{
    pare_bench_options options = pare_bench_options_default();
    options.child = child;
    options.budget_s = 0.3;
    options.timeout_s = 60;
    return options;
}

static void assert_fails(const char *how, double timeout_s, const char *says)
{
    const char *const child[] = {program, how, NULL};
    pare_bench_options options = quick(child);
    pare_bench_config config = pare_bench_config_default("some model");
    pare_bench_result result;
    options.timeout_s = timeout_s;
    assert_int_equal(pare_bench_run(&config, 1, &options, &result), PARE_OK);
    assert_non_null(result.record.failure);
    if (!strstr(result.record.failure, says))
        fail_msg("%s: '%s' does not say '%s'", how, result.record.failure, says);
    assert_string_equal(pare_record_condition(&result.record, "model"), "some model");
    assert_true(pare_record_metric(&result.record, "decode_tokens_per_s")->measure.absent);
    pare_bench_result_free(&result);
}

static void failures_become_reasons(void **state)
{
    assert_fails("crash", 60, "signal 11");
    assert_fails("kill", 60, "out of memory");
    assert_fails("exit", 60, "exit code 3");
    assert_fails("silent", 60, "without a result");
    assert_fails("babble", 60, "not understood");
    assert_fails("half", 60, "without a result");
    double start = pare_seconds();
    assert_fails("hang", 0.3, "longer than");
    assert_true(pare_seconds() - start < 10);
    const char *const nothing[] = {"/dev/null/program", NULL};
    pare_bench_options options = quick(nothing);
    pare_bench_config config = pare_bench_config_default("m");
    pare_bench_result result;
    assert_int_equal(pare_bench_run(&config, 1, &options, &result), PARE_OK);
    assert_non_null(strstr(result.record.failure, "cannot be started"));
    pare_bench_result_free(&result);
}

static double value_of(const pare_record *record, const char *name)
{
    const pare_metric *metric = pare_record_metric(record, name);
    assert_non_null(metric);
    assert_false(metric->measure.absent);
    return metric->measure.value;
}

static void assert_near(double value, double wanted)
{
    if (!(fabs(value - wanted) <= 1e-9 * fabs(wanted)))
        fail_msg("%.17g instead of %.17g", value, wanted);
}

/* The geometric mean over two rounds of what was read before and after each. */
static double bandwidth_of(const pare_record *record)
{
    const pare_metric *metric = pare_record_metric(record, "read_bandwidth_bytes_per_s");
    assert_int_equal(metric->sample_count, 4);
    const double *x = metric->samples;
    assert_near(metric->measure.value, (x[0] + x[1] + x[2] + x[3]) / 4);
    return sqrt((x[0] + x[1]) / 2 * ((x[2] + x[3]) / 2));
}

static void assert_absent(const pare_record *record, const char *name, const char *reason)
{
    const pare_metric *metric = pare_record_metric(record, name);
    assert_non_null(metric);
    assert_true(metric->measure.absent);
    assert_string_equal(metric->absent_reason, reason);
}

/* 2 J in 0.1 s, less 10 W of idling: 1 J for 10 tokens; 1.6 J in 0.08 s, less 0.8 J, for 4 tokens.
 */
static void assert_hardware_follows(const pare_record *r)
{
    assert_near(value_of(r, "prefill_joules_per_token"), 0.1);
    assert_near(value_of(r, "decode_joules_per_token"), 0.2);
    assert_near(value_of(r, "prefill_watts"), 20);
    assert_near(value_of(r, "decode_watts"), 20);
    assert_near(value_of(r, "tokens_per_s_per_watt"), 2.5);
    assert_near(value_of(r, "idle_watts"), 10);
    assert_int_equal(pare_record_metric(r, "prefill_watts")->sample_count, 4);
    assert_string_equal(pare_record_condition(r, "energy_source"), "fake");
    assert_near(value_of(r, "cpu_utilization"), 0.75);
    assert_near(value_of(r, "cpu_clock_hz"), 3e9);
    assert_near(value_of(r, "instructions"), 1000); /* 8000 for 2 x 4 tokens */
    assert_near(value_of(r, "ipc"), 2);
    assert_absent(r, "llc_misses", "no misses");
    assert_absent(r, "cpu_temperature_celsius", "no sensor");
    assert_absent(r, "gpu_watts", "the process did not tell");
    assert_near(value_of(r, "other_bytes"), 3e6 - 2000000 - 1400 - 7);
    assert_near(value_of(r, "prefill_ops_per_s"), 2e9 * 100);
    assert_near(value_of(r, "decode_ops_per_s"), 2e9 * 50);
    assert_near(value_of(r, "arithmetic_intensity_prefill"), 2e9 * 10 / 1e6);
    assert_near(value_of(r, "arithmetic_intensity_decode"), 2e9 / (1e6 + 1400 * 12.0 / 14));
    assert_near(value_of(r, "decode_bandwidth_bytes_per_s"), 50 * (1e6 + 1400 * 12.0 / 14));
}

/* Two good ones around a bad one, two rounds: samples of both rounds, and arithmetic that can be
 * checked by hand. */
static void numbers_follow_from_samples(void **state)
{
    const char *const child[] = {program, "mixed", NULL};
    pare_bench_options options = quick(child);
    const pare_condition extra[] = {{"study", "s"}, {"model", "renamed"}};
    const pare_hw_limits limits = {{{"int8_ops_per_s", "avx2", 1, 1e12, 1e12, 1e12, 1}}, 1};
    pare_bench_config configs[3];
    pare_bench_result results[3];
    const char *const names[] = {"good", "crash", "good"};
    options.limits = &limits;
    options.rounds = 2;
    for (int i = 0; i < 3; i++) {
        configs[i] = pare_bench_config_default(names[i]);
        configs[i].n_prompt = 10;
        configs[i].n_gen = 4;
    }
    configs[2].conditions = extra;
    configs[2].condition_count = 2;
    assert_int_equal(pare_bench_run(configs, 3, &options, results), PARE_OK);
    assert_non_null(results[1].record.failure);
    for (int i = 0; i < 3; i += 2) {
        const pare_record *r = &results[i].record;
        assert_null(r->failure);
        assert_near(value_of(r, "prefill_tokens_per_s"), 100);
        assert_int_equal(pare_record_metric(r, "prefill_tokens_per_s")->sample_count, 6);
        assert_near(value_of(r, "decode_tokens_per_s"), 50);
        assert_near(value_of(r, "ttft_ms"), 100);
        assert_near(value_of(r, "itl_ms_p99"), 20);
        assert_int_equal(pare_record_metric(r, "itl_ms_p50")->sample_count, 16);
        assert_near(value_of(r, "load_ms"), 250);
        assert_near(value_of(r, "peak_rss_bytes"), 3e6);
        assert_near(value_of(r, "peak_share"), 2 * 1e9 * 100 / 1e12);
        assert_hardware_follows(r);
        /* weights, and keys and values of 10 + 4 / 2 of the cache's 14 positions */
        assert_near(value_of(r, "bandwidth_share"),
                    50 * (1e6 + 1400.0 * 12 / 14) / bandwidth_of(r));
        assert_near(value_of(r, "other_cpu_share"), 0.25);
        assert_string_equal(pare_record_condition(r, "model_hash"), "h");
        assert_string_equal(pare_record_condition(r, "threads"), "1");
        assert_string_equal(pare_record_condition(r, "peak"), "int8_ops_per_s");
    }
    assert_string_equal(pare_record_condition(&results[0].record, "model"), "fake");
    assert_null(pare_record_condition(&results[0].record, "study"));
    assert_string_equal(pare_record_condition(&results[2].record, "model"), "renamed");
    assert_string_equal(pare_record_condition(&results[2].record, "study"), "s");
    for (int i = 0; i < 3; i++)
        pare_bench_result_free(&results[i]);
}

static bool stop(void *user, double done, double total, const char *what)
{
    return false;
}

static void wrong_requests_and_stopping(void **state)
{
    const char *const child[] = {program, "hang", NULL};
    pare_bench_options options = quick(child);
    const pare_progress progress = {stop, NULL};
    pare_bench_config config = pare_bench_config_default("m");
    pare_bench_result result;
    config.n_prompt = config.n_gen = 0;
    assert_int_equal(pare_bench_run(&config, 1, &options, &result), PARE_INVALID_ARGUMENT);
    config.n_prompt = -1;
    assert_int_equal(pare_bench_run(&config, 1, &options, &result), PARE_INVALID_ARGUMENT);
    config.n_prompt = 1;
    options.progress = &progress;
    assert_int_equal(pare_bench_run(&config, 1, &options, &result), PARE_CANCELLED);
    assert_null(result.memory);
}

static pare_status stop_at_first(void *user, int index, const pare_record *record)
{
    int *seen = user;
    assert_null(record->failure);
    seen[index]++;
    return seen[0] + seen[1] == 1 ? PARE_CANCELLED : PARE_OK;
}

static int files_in(const char *where)
{
    char command[300];
    int count = -1;
    snprintf(command, sizeof command, "ls '%s' | wc -l", where);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_int_equal(fscanf(out, "%d", &count), 1);
    pclose(out);
    return count;
}

/* Stopped when the first of two was complete: what was measured is kept and not measured again. */
static void a_stopped_bench_goes_on(void **state)
{
    const char *const child[] = {program, "mixed", NULL};
    char folder[] = "/tmp/pare-journal-XXXXXX", command[300];
    pare_bench_options options = quick(child);
    pare_bench_config configs[2] = {pare_bench_config_default("good"),
                                    pare_bench_config_default("good")};
    pare_bench_result results[2];
    int seen[2] = {0};
    assert_non_null(mkdtemp(folder));
    configs[0].key = "a";
    configs[1].key = "b";
    options.rounds = 2;
    options.journal = folder;
    options.each = stop_at_first;
    options.each_user = seen;
    assert_int_equal(pare_bench_run(configs, 2, &options, results), PARE_CANCELLED);
    assert_int_equal(seen[1], 1); /* A B, B */
    assert_int_equal(files_in(folder), 3);
    snprintf(command, sizeof command, "sed -i 's/\"load_s\":0.25/\"load_s\":77/' '%s/a-0.json'",
             folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(pare_bench_run(configs, 2, &options, results), PARE_OK);
    assert_int_equal(files_in(folder), 0);
    const pare_metric *load = pare_record_metric(&results[0].record, "load_ms");
    assert_int_equal(load->sample_count, 2);
    assert_near(load->samples[0], 77000);
    assert_near(load->samples[1], 250);
    const char *const metrics[] = {"prefill_tokens_per_s", "read_bandwidth_bytes_per_s"};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pare_record_metric(&results[0].record, metrics[i])->sample_count,
                         pare_record_metric(&results[1].record, metrics[i])->sample_count);
    for (int i = 0; i < 2; i++)
        pare_bench_result_free(&results[i]);
    assert_int_equal(rmdir(folder), 0);
}

/* The whole way with the embedded model: plausible against what is known of it. */
static void a_real_model_is_measured(void **state)
{
    const char *const child[] = {program, "real", NULL};
    pare_bench_options options = quick(child);
    pare_bench_config config = pare_bench_config_default(MODEL);
    pare_bench_result result;
    config.n_prompt = 20;
    config.n_gen = 5;
    config.depth = 7;
    options.repetitions = 4;
    assert_int_equal(pare_bench_run(&config, 1, &options, &result), PARE_OK);
    const pare_record *r = &result.record;
    if (r->failure)
        fail_msg("%s", r->failure);
    assert_int_equal(pare_record_metric(r, "prefill_tokens_per_s")->sample_count, 4);
    assert_int_equal(pare_record_metric(r, "decode_tokens_per_s")->sample_count, 4);
    assert_int_equal(pare_record_metric(r, "itl_ms_p50")->sample_count, 20);
    assert_string_equal(pare_record_condition(r, "format"), "bf16");
    assert_string_equal(pare_record_condition(r, "context"), "32");
    assert_int_equal(strlen(pare_record_condition(r, "model_hash")), 64);
    assert_true(value_of(r, "peak_rss_bytes") > value_of(r, "weights_bytes"));
    assert_true(value_of(r, "bandwidth_share") > 0);
    pare_bench_result_free(&result);

    config.model = "/nonexistent";
    assert_int_equal(pare_bench_run(&config, 1, &options, &result), PARE_OK);
    assert_non_null(result.record.failure);
    assert_non_null(strstr(result.record.failure, "/nonexistent"));
    pare_bench_result_free(&result);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_become_reasons),
        cmocka_unit_test(numbers_follow_from_samples),
        cmocka_unit_test(wrong_requests_and_stopping),
        cmocka_unit_test(a_stopped_bench_goes_on),
        cmocka_unit_test(a_real_model_is_measured),
    };
    if (argc > 1 && strcmp(argv[1], "real") != 0)
        _exit(behave(
            argv[1])); /* the fakes do not clean up: a leak checker would change their exit code */
    if (argc > 1)
        return behave(argv[1]);
    program = argv[0];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
