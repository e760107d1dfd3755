/* Quantized copies of ref-llama-11m against the same formats made by other programs and evaluated
 * in PyTorch (quant_reference.json, llamacpp_quality.json): KL divergence over the first 24 windows
 * of 1024 tokens. */
#include "golden/golden.h"

#include <pare/quant.h>
#include <unistd.h>

typedef struct setup {
    char model_path[GOLDEN_PATH];
    pare_model *model;
    int32_t *ids;
    int64_t count;
} setup;

/* The KL divergence from the model as it is to its copy in `format`. importance NULL: rounded. */
static double divergence(const setup *s, const char *format, const pare_calibration *importance)
{
    char path[] = "/tmp/pare-golden-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    pare_quantize_options options = {.type = pare_type_from_name(format),
                                     .output = path,
                                     .method = importance ? "imatrix" : NULL,
                                     .calibration = importance};
    pare_quantize_result written;
    pare_model *copy = NULL;
    golden_ok(pare_quantize(s->model, &options, &written));
    pare_quantize_result_free(&written);
    char name[64];
    snprintf(name, sizeof name, "%s.gguf", path);
    assert_int_equal(rename(path, name), 0);
    golden_ok(pare_model_open(name, &copy));
    pare_eval_options eval = pare_eval_options_default();
    eval.context = 1024;
    eval.max_windows = 24;
    pare_eval_result r;
    golden_ok(pare_eval_run(copy, s->model, s->ids, s->count, &eval, NULL, &r));
    pare_model_close(copy);
    remove(name);
    return r.kld_mean;
}

static void expect_kld(const char *format, double kld, double expected, double tolerance)
{
    print_message("%s: KL divergence %.6f, expected %.6f (%+.2f %%)\n", format, kld, expected,
                  100 * (kld / expected - 1));
    if (!(fabs(kld / expected - 1) <= tolerance))
        fail_msg("%s: KL divergence %g, expected %g", format, kld, expected);
}

static void expect(const setup *s, const char *format, double expected, double tolerance)
{
    expect_kld(format, divergence(s, format, NULL), expected, tolerance);
}

static double golden_kld(const char *file, const char *group, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "golden/%s", file);
    json_t *root = golden_json(path);
    json_t *entry =
        json_object_get(json_object_get(json_object_get(root, "models"), "ref-llama-11m"), name);
    if (group)
        entry = json_object_get(
            json_object_get(json_object_get(json_object_get(root, "models"), "ref-llama-11m"),
                            group),
            name);
    double kld = json_number_value(json_object_get(entry, "kld"));
    assert_true(kld > 0);
    json_decref(root);
    return kld;
}

/* Per-channel and group-wise rounding as the papers have it; ours stores FP16 scales. */
static void rounding_formats(void **state)
{
    expect(*state, "i8_ch", golden_kld("quant_reference.json", NULL, "w8_channel_sym"), 0.05);
    expect(*state, "i8_tensor", golden_kld("quant_reference.json", NULL, "w8_tensor_sym"), 0.05);
    expect(*state, "i3_g128_asym", golden_kld("quant_reference.json", NULL, "w3_g128_asym_rtn"),
           0.02);
    expect(*state, "i4_g64_asym", golden_kld("quant_reference.json", NULL, "w4_g64_asym_rtn"),
           0.05);
}

/* The same bytes as llama-quantize: the same divergence, up to the reference's printed digits. */
static void llama_cpp_formats(void **state)
{
    expect(*state, "q3_k", golden_kld("llamacpp_quality.json", "types", "Q3_K_S"), 0.002);
}

/* bitsandbytes' double quantization; ours has the second scale for a row. */
static void bitsandbytes_formats(void **state)
{
    expect(*state, "nf4_dq", golden_kld("bnb_reference.json", NULL, "nf4_double"), 0.05);
}

/* With an importance matrix of the same text: llama.cpp's was measured in chunks of its own. */
static void importance(void **state)
{
    const setup *s = *state;
    size_t length, count;
    int32_t *ids = NULL;
    char path[GOLDEN_PATH], *text;
    pare_tokenizer *tokenizer;
    golden_path(path, "data/calibration.txt");
    golden_ok(pare_read_file(path, 64 << 20, &text, &length));
    golden_ok(pare_tokenizer_open(s->model_path, &tokenizer));
    golden_ok(pare_tokenizer_encode(tokenizer, text, length, 0, &ids, &count));
    pare_calibration calibration = {
        .ids = ids, .count = count, .sequences = 64, .length = 1024, .source = "calibration.txt"};
    expect_kld("iq4_xs, imatrix", divergence(s, "iq4_xs", &calibration),
               golden_kld("llamacpp_quality.json", "types", "IQ4_XS_imatrix"), 0.03);
    pare_tokenizer_close(tokenizer);
    free(ids);
    free(text);
}

static int start(void **state)
{
    static setup s;
    golden_path(s.model_path, "models/ref-llama-11m");
    if (pare_model_open(s.model_path, &s.model) != PARE_OK)
        return -1;
    s.ids = golden_wikitext(s.model_path, true, &s.count);
    *state = &s;
    return 0;
}

static int end(void **state)
{
    setup *s = *state;
    pare_model_close(s->model);
    free(s->ids);
    return 0;
}

int main(void)
{
    char path[GOLDEN_PATH];
    golden_path(path, "golden/quant_reference.json");
    if (!pare_is_file(path))
        return GOLDEN_SKIP;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_formats),
        cmocka_unit_test(llama_cpp_formats),
        cmocka_unit_test(bitsandbytes_formats),
        cmocka_unit_test(importance),
    };
    return cmocka_run_group_tests(tests, start, end);
}
