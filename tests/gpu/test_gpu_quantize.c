/* Methods with calibration on a GPU against the CPU: small models of exact shapes, quantized on
 * both, then run on the CPU. Not the same bytes: a code that falls the other way moves those behind
 * it. The same quality. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "gpu/session_device.h"

#include <math.h>
#include <pare/model.h>
#include <pare/quant.h>
#include <pare/session.h>
#include <pare/synth.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SKIP = 77, VOCAB = 150, SEQUENCES = 2, LENGTH = 40, TESTED = 48 };

static char folder[] = "/tmp/pare-quantize-XXXXXX";

static const char *file(const char *name)
{
    static char paths[64][64]; /* more than are in use at a time */
    static int next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void make_ids(int32_t *ids, int count, uint64_t seed)
{
    pare_random random = {seed};
    for (int i = 0; i < count; i++)
        ids[i] = (int32_t)pare_random_below(&random, VOCAB);
}

static const char *make_model(const char *name, const char *config)
{
    pare_synth_result result;
    FILE *json = fopen(file("config.json"), "w");
    assert_non_null(json);
    fputs(config, json);
    fclose(json);
    const char *path = file(name);
    ok(pare_synth(file("config.json"), PARE_TYPE_BF16, 3, path, NULL, &result));
    return path;
}

static pare_status quantize(const char *model_path, const char *method, const char *format,
                            const char *on, const char *output)
{
    int32_t ids[SEQUENCES * LENGTH];
    const pare_calibration calibration = {.ids = ids,
                                          .count = SEQUENCES * LENGTH,
                                          .sequences = SEQUENCES,
                                          .length = LENGTH,
                                          .source = "random ids"};
    const pare_quantize_options options = {.type = pare_type_from_name(format),
                                           .method = method,
                                           .calibration = &calibration,
                                           .output = output,
                                           .threads = 2,
                                           .device = on};
    pare_quantize_result result;
    pare_model *model;
    make_ids(ids, SEQUENCES * LENGTH, 1);
    ok(pare_model_open(model_path, &model));
    pare_status status = pare_quantize(model, &options, &result);
    pare_quantize_result_free(&result);
    pare_model_close(model);
    return status;
}

static void logits_of(const char *path, float *logits)
{
    int32_t ids[TESTED];
    pare_session_options options = pare_session_options_default();
    pare_session *session;
    pare_model *model;
    make_ids(ids, TESTED, 2);
    options.context = TESTED;
    ok(pare_model_open(path, &model));
    ok(pare_session_create(model, &options, &session));
    ok(pare_session_forward(session, ids, TESTED));
    ok(pare_session_logits(session, 0, TESTED, logits));
    pare_session_free(session);
    pare_model_close(model);
}

/* Root mean square of the difference over that of b. */
static double relative(const float *a, const float *b)
{
    double difference = 0, square = 0;
    for (int i = 0; i < TESTED * VOCAB; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        square += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / square);
}

/* What the device made of the model is at most `slack` further from it than what the CPU made, and
 * they are not further apart than `nearness` times that (weights of BF16 lie on ties: the order of
 * a sum decides some). */
static int compare(const char *model, const char *method, const char *format, double slack,
                   double nearness)
{
    static float exact[TESTED * VOCAB], here[TESTED * VOCAB], there[TESTED * VOCAB];
    ok(quantize(model, method, format, "cpu", file("cpu.gguf")));
    ok(quantize(model, method, format, device(), file("gpu.gguf")));
    logits_of(model, exact);
    logits_of(file("cpu.gguf"), here);
    logits_of(file("gpu.gguf"), there);
    double cpu = relative(here, exact), gpu = relative(there, exact),
           between = relative(there, here);
    print_message("%-11s %-12s CPU %.5f, GPU %.5f, apart %.5f\n", method, format, cpu, gpu,
                  between);
    return !(cpu > 0 && gpu <= (1 + slack) * cpu && between <= nearness * cpu);
}

static const char llama[] =
    "{\"model_type\":\"llama\",\"num_hidden_layers\":2,\"hidden_size\":96,\"num_attention_heads\":"
    "6,"
    "\"num_key_value_heads\":2,\"intermediate_size\":160,\"vocab_size\":150,"
    "\"max_position_embeddings\":64,\"tie_word_embeddings\":false,\"hidden_act\":\"silu\","
    "\"rms_norm_eps\":1e-5}";
static const char gpt2[] =
    "{\"model_type\":\"gpt2\",\"n_layer\":2,\"n_embd\":96,\"n_head\":3,\"n_positions\":64,"
    "\"vocab_size\":150,\"activation_function\":\"gelu_new\",\"layer_norm_epsilon\":1e-5}";

static void methods(void **state)
{
    int failures = 0;
    for (int i = 0; i < 2; i++) {
        const char *model = make_model(i ? "gpt2.gguf" : "llama.gguf", i ? gpt2 : llama);
        failures += compare(model, "gptq", "i4_g32", 0.25, 1.5);
        if (brief() && i)
            continue; /* the emulated device takes its time */
        failures += compare(model, "awq", "i4_g32", 0.02, 0.5);
        failures += compare(model, "smoothquant", "i8_ch", 0.02, 0.5);
        if (!brief()) {
            failures += compare(model, "gptq", "i8_ch", 0.25, 1.5);
            failures += compare(model, "imatrix", "q4_0", 0.02, 0.5);
        }
    }
    assert_int_equal(failures, 0);
}

/* Keeps what the first block left in the work file, and stops in the second. */
static bool keep_and_stop(void *user, double done, double total, const char *what)
{
    if (strcmp(what, "block 2 of 2") != 0)
        return true;
    if (link(file("stopped.gguf.partial"), file("kept")) != 0)
        fail_msg("no work file");
    return false;
}

static void read_file(const char *path, char **data, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    *data = malloc(*size);
    assert_int_equal(fread(*data, 1, *size, f), *size);
    fclose(f);
}

/* The same text gives the same bytes, also where the run was stopped after a block and went on. */
static void resuming(void **state)
{
    const char *outputs[] = {file("whole.gguf"), file("again.gguf"), file("stopped.gguf")};
    const char *model = make_model("llama.gguf", llama);
    int32_t ids[LENGTH];
    const pare_calibration calibration = {
        .ids = ids, .count = LENGTH, .sequences = 1, .length = LENGTH, .source = "random ids"};
    const pare_progress progress = {.update = keep_and_stop};
    pare_quantize_options options = {.type = PARE_TYPE_I4_G32,
                                     .method = "gptq",
                                     .calibration = &calibration,
                                     .output = outputs[2],
                                     .device = device(),
                                     .progress = &progress};
    pare_quantize_result result;
    pare_model *opened;
    char *data[3];
    size_t size[3];
    make_ids(ids, LENGTH, 1);
    ok(pare_model_open(model, &opened));
    assert_int_equal(pare_quantize(opened, &options, &result), PARE_CANCELLED);
    assert_int_equal(rename(file("kept"), file("stopped.gguf.partial")), 0);
    options.progress = NULL;
    for (int i = 2; i >= 0; i--) {
        options.output = outputs[i];
        ok(pare_quantize(opened, &options, &result));
        pare_quantize_result_free(&result);
        read_file(outputs[i], &data[i], &size[i]);
        unlink(outputs[i]);
    }
    for (int i = 1; i < 3; i++) {
        assert_int_equal(size[i], size[0]);
        assert_memory_equal(data[i], data[0], size[0]);
    }
    for (int i = 0; i < 3; i++)
        free(data[i]);
    pare_model_close(opened);
}

static bool stop(void *user, double done, double total, const char *what)
{
    int *calls = user;
    return ++*calls < 3;
}

static void refusals(void **state)
{
    const char *model = make_model("llama.gguf", llama);
    int32_t ids[SEQUENCES * LENGTH];
    pare_calibration calibration = {.ids = ids,
                                    .count = SEQUENCES * LENGTH,
                                    .sequences = SEQUENCES,
                                    .length = LENGTH,
                                    .source = "random ids"};
    int calls = 0;
    const pare_progress progress = {.update = stop, .user = &calls};
    pare_quantize_options options = {.type = PARE_TYPE_I4_G32,
                                     .method = "gptq",
                                     .calibration = &calibration,
                                     .output = file("stopped.gguf"),
                                     .device = device(),
                                     .progress = &progress};
    pare_quantize_result result;
    pare_model *opened;
    make_ids(ids, SEQUENCES * LENGTH, 1);
    ok(pare_model_open(model, &opened));
    assert_int_equal(pare_quantize(opened, &options, &result), PARE_CANCELLED);
    options.progress = NULL;
    options.device = "cuda:77";
    assert_int_equal(pare_quantize(opened, &options, &result), PARE_NOT_FOUND);
    options.device = device();
    options.method = "rtn";
    assert_int_equal(pare_quantize(opened, &options, &result), PARE_UNSUPPORTED);
    assert_non_null(strstr(pare_error_message(), "rtn"));
    if (brief()) { /* the emulated device has 4 GB: 2 x 96 floats for each of these tokens */
        calibration.count = 7 << 20;
        calibration.length = 64;
        calibration.sequences = (int64_t)calibration.count / calibration.length;
        calibration.ids = calloc(calibration.count, sizeof *ids);
        options.method = "gptq";
        assert_int_equal(pare_quantize(opened, &options, &result), PARE_OUT_OF_MEMORY);
        print_message("%s\n", pare_error_message());
        assert_non_null(strstr(pare_error_message(), "use at most"));
        free((int32_t *)calibration.ids);
    }
    pare_model_close(opened);
}

int main(void)
{
    if (pare_device_check(device()) != PARE_OK) {
        print_message("skipped: %s\n", pare_error_message());
        return SKIP;
    }
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(methods), cmocka_unit_test(resuming),
                                       cmocka_unit_test(refusals)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const made[] = {"config.json", "llama.gguf", "gpt2.gguf", "cpu.gguf",
                                       "gpu.gguf"};
    for (int i = 0; i < 5; i++)
        unlink(file(made[i]));
    rmdir(folder);
    return failed;
}
