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
                         pare_activations activations)
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
    eval.max_windows = 24;
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
    double wanted = golden_kld(s, &e), kld = divergence(s, options, activations);
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
        cmocka_unit_test(w8a8),
        cmocka_unit_test(llm_int8),
        cmocka_unit_test(ort_dynamic),
        cmocka_unit_test(four_bits),
    };
    return cmocka_run_group_tests(tests, start, end);
}
