/* Methods that act on activations, against the libraries that define them (bnb_reference.json,
 * ort_reference.json) and PyTorch (quant_reference.json): KL divergence over the first 24 windows
 * of 1024 tokens. */
#include "golden/golden.h"

#include <pare/quant.h>
#include <unistd.h>

typedef struct setup {
    const char *name;
    char path[GOLDEN_PATH];
    pare_model *model;
    int32_t *ids;
    int64_t count;
} setup;

typedef struct expected {
    const char *file, *entry;
    double tolerance; /* relative */
} expected;

static double golden_kld(const setup *s, const expected *e)
{
    char path[128];
    snprintf(path, sizeof path, "golden/%s", e->file);
    json_t *root = golden_json(path);
    json_t *models = json_object_get(root, "models");
    json_t *entry = json_object_get(json_object_get(models, s->name), e->entry);
    double kld = json_number_value(json_object_get(entry, "kld"));
    assert_true(kld > 0);
    json_decref(root);
    return kld;
}

static double divergence(const setup *s, pare_quantize_options options,
                         pare_activations activations, int windows)
{
    char folder[] = "/tmp/pare-golden-XXXXXX", name[64];
    pare_quantize_result written;
    pare_model *copy = NULL;
    assert_non_null(mkdtemp(folder));
    snprintf(name, sizeof name, "%s/model.gguf", folder);
    options.output = name;
    golden_ok(pare_quantize(s->model, &options, &written));
    pare_quantize_result_free(&written);
    golden_ok(pare_model_open(name, &copy));
    pare_eval_options eval = pare_eval_options_default();
    eval.context = 1024;
    eval.max_windows = windows;
    eval.session.activations = activations;
    pare_eval_result r;
    golden_ok(pare_eval_run(copy, s->model, s->ids, s->count, &eval, NULL, &r));
    pare_model_close(copy);
    remove(name);
    rmdir(folder);
    return r.kld_mean;
}

static void expect(const setup *s, pare_quantize_options options, pare_activations activations,
                   expected e)
{
    double wanted = golden_kld(s, &e), kld = divergence(s, options, activations, 24);
    print_message("%s, %s, %s: KL divergence %.6f, expected %.6f (%+.2f %%)\n", s->name, e.entry,
                  activations == PARE_ACTIVATIONS_FAST ? "integers" : "FP32", kld, wanted,
                  100 * (kld / wanted - 1));
    if (!(fabs(kld / wanted - 1) <= e.tolerance))
        fail_msg("%s, %s: KL divergence %g, expected %g", s->name, e.entry, kld, wanted);
}

static const float three = 3, none = 0;

static void w8a8(void **state)
{
    pare_quantize_options o = {.type = PARE_TYPE_I8_CH, .method = "w8a8"};
    expected e = {"quant_reference.json", "w8a8_token_channel", 0.08};
    expect(*state, o, PARE_ACTIVATIONS_F32, e);
    expect(*state, o, PARE_ACTIVATIONS_FAST, e);
}

static void llm_int8(void **state)
{
    pare_quantize_options o = {.recipe = "bnb-int8"};
    expect(*state, o, PARE_ACTIVATIONS_F32, (expected){"bnb_reference.json", "llm_int8_t6.0", 0.2});
    expect(*state, o, PARE_ACTIVATIONS_FAST,
           (expected){"bnb_reference.json", "llm_int8_t6.0", 0.2});
    o.threshold = &three;
    expect(*state, o, PARE_ACTIVATIONS_FAST,
           (expected){"bnb_reference.json", "llm_int8_t3.0", 0.2});
    o.threshold = &none;
    expect(*state, o, PARE_ACTIVATIONS_FAST, (expected){"bnb_reference.json", "llm_int8_t0", 0.2});
}

static void ort_dynamic(void **state)
{
    pare_quantize_options o = {.recipe = "ort-int8"};
    expected tensor = {"ort_reference.json", "blocks_int8_tensor", 0.08};
    expect(*state, o, PARE_ACTIVATIONS_F32, tensor);
    expect(*state, o, PARE_ACTIVATIONS_FAST, tensor);
    o.reduce_range = true;
    expect(*state, o, PARE_ACTIVATIONS_FAST,
           (expected){"ort_reference.json", "blocks_int8_tensor_reduce_range", 0.08});
    o = (pare_quantize_options){.recipe = "ort-int8-channel"};
    expect(*state, o, PARE_ACTIVATIONS_FAST,
           (expected){"ort_reference.json", "blocks_int8_channel", 0.08});
}

static void four_bits(void **state)
{
    pare_quantize_options o = {.recipe = "bnb-nf4"};
    expect(*state, o, PARE_ACTIVATIONS_F32, (expected){"bnb_reference.json", "nf4", 0.05});
    o.recipe = "bnb-fp4";
    expect(*state, o, PARE_ACTIVATIONS_F32, (expected){"bnb_reference.json", "fp4", 0.05});
}

/* ---- methods with calibration ---- */

static int32_t *calibration_ids(const char *model, int64_t *count)
{
    char path[GOLDEN_PATH], *text;
    size_t size, n;
    int32_t *ids;
    pare_tokenizer *tokenizer;
    golden_path(path, "data/calibration.txt");
    golden_ok(pare_read_file(path, 1 << 24, &text, &size));
    golden_ok(pare_tokenizer_open(model, &tokenizer));
    golden_ok(pare_tokenizer_encode(tokenizer, text, size, 0, &ids, &n));
    pare_tokenizer_close(tokenizer);
    free(text);
    *count = (int64_t)n;
    return ids;
}

/* At or below the reference's divergence, made with the same text. */
static void awq(void **state)
{
    const setup *s = *state;
    int64_t count;
    int32_t *ids = calibration_ids(s->path, &count);
    const pare_calibration text = {
        .ids = ids, .count = (size_t)count, .sequences = 128, .length = 1024, .source = "test"};
    const pare_quantize_options o = {.recipe = "awq-4bit-g128", .calibration = &text};
    double wanted = golden_kld(s, &(expected){"quant_reference.json", "w4_g128_asym_awq", 0});
    double kld = divergence(s, o, PARE_ACTIVATIONS_F32, 24);
    print_message("%s, awq: KL divergence %.6f, at most %.6f\n", s->name, kld, wanted);
    assert_true(kld <= wanted);
    free(ids);
}

static void smoothquant(void **state)
{
    const setup *s = *state;
    int64_t count;
    int32_t *ids = calibration_ids(s->path, &count);
    const pare_calibration text = {
        .ids = ids, .count = (size_t)count, .sequences = 16, .length = 512, .source = "test"};
    pare_quantize_options o = {.method = "w8a8", .type = PARE_TYPE_I8_CH};
    double plain = divergence(s, o, PARE_ACTIVATIONS_FAST, 6);
    o.method = "smoothquant";
    o.calibration = &text;
    double smooth = divergence(s, o, PARE_ACTIVATIONS_FAST, 6);
    o.search_alpha = true;
    double searched = divergence(s, o, PARE_ACTIVATIONS_FAST, 6);
    print_message("%s: w8a8 %.6f, smoothed %.6f, alpha searched %.6f\n", s->name, plain, smooth,
                  searched);
    assert_true(smooth < plain && searched < plain);
    free(ids);
}

/* Scales change nothing by themselves: in 8 bits what they are folded into, or kept beside, gives
 * the model back. Fused and separate matrices, norms with biases, scales that fold nowhere. */
static void folding(void **state)
{
    static const char *const names[] = {"ref-llama-11m", "ref-gpt2-30m"};
    for (int i = 0; i < 2; i++) {
        setup s = {.name = names[i]};
        char path[GOLDEN_PATH];
        snprintf(path, sizeof path, "models/%s", names[i]);
        golden_path(s.path, path);
        golden_ok(pare_model_open(s.path, &s.model));
        s.ids = golden_wikitext(s.path, true, &s.count);
        int64_t count;
        int32_t *ids = calibration_ids(s.path, &count);
        const pare_calibration text = {
            .ids = ids, .count = (size_t)count, .sequences = 4, .length = 256, .source = "test"};
        pare_quantize_options o = {.type = PARE_TYPE_Q8_0, .method = "awq", .calibration = &text};
        double kld = divergence(&s, o, PARE_ACTIVATIONS_F32, 2);
        print_message("%s in q8_0 by awq: KL divergence %.6f\n", names[i], kld);
        assert_true(kld < 5e-4);
        pare_model_close(s.model);
        free(s.ids);
        free(ids);
    }
}

static int start(void **state)
{
    static setup s;
    const char *name = getenv("PARE_GOLDEN_MODEL"); /* by hand: ref-gpt2-30m */
    char path[GOLDEN_PATH];
    s.name = name ? name : "ref-llama-11m";
    snprintf(path, sizeof path, "models/%s", s.name);
    golden_path(s.path, path);
    if (pare_model_open(s.path, &s.model) != PARE_OK)
        return -1;
    s.ids = golden_wikitext(s.path, true, &s.count);
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
        cmocka_unit_test(w8a8),      cmocka_unit_test(llm_int8), cmocka_unit_test(ort_dynamic),
        cmocka_unit_test(four_bits), cmocka_unit_test(folding),  cmocka_unit_test(smoothquant),
        cmocka_unit_test(awq),
    };
    return cmocka_run_group_tests(tests, start, end);
}
