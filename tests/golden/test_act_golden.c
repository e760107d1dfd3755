/* Methods that act on activations or are calibrated, against the libraries that define them
 * (bnb_reference.json, ort_reference.json) and PyTorch (quant_reference.json): KL divergence over
 * windows of 1024 tokens. One row of each method and both ways of computing;
 * scripts/check-references.py measures all rows on both models. */
#include "golden/golden.h"

static void expect(const golden_model *m, pare_quantize_options options,
                   pare_activations activations, const char *file, const char *entry,
                   double tolerance)
{
    double wanted = golden_kld(m, file, NULL, entry),
           kld = golden_divergence(m, options, activations, 24);
    print_message("%s, %s, %s: KL divergence %.6f, expected %.6f (%+.2f %%)\n", m->name, entry,
                  activations == PARE_ACTIVATIONS_FAST ? "integers" : "FP32", kld, wanted,
                  100 * (kld / wanted - 1));
    if (!(fabs(kld / wanted - 1) <= tolerance))
        fail_msg("%s, %s: KL divergence %g, expected %g", m->name, entry, kld, wanted);
}

static const float three = 3;

static void w8a8(void **state)
{
    const pare_quantize_options o = {.type = PARE_TYPE_I8_CH, .method = "w8a8"};
    expect(*state, o, PARE_ACTIVATIONS_FAST, "quant_reference.json", "w8a8_token_channel", 0.08);
}

static void llm_int8(void **state)
{
    pare_quantize_options o = {.recipe = "bnb-int8"};
    expect(*state, o, PARE_ACTIVATIONS_F32, "bnb_reference.json", "llm_int8_t6.0", 0.2);
    o.threshold = &three;
    expect(*state, o, PARE_ACTIVATIONS_FAST, "bnb_reference.json", "llm_int8_t3.0", 0.2);
}

static void ort_dynamic(void **state)
{
    pare_quantize_options o = {.recipe = "ort-int8"};
    expect(*state, o, PARE_ACTIVATIONS_F32, "ort_reference.json", "blocks_int8_tensor", 0.08);
    o = (pare_quantize_options){.recipe = "ort-int8-channel", .reduce_range = true};
    expect(*state, o, PARE_ACTIVATIONS_FAST, "ort_reference.json",
           "blocks_int8_channel_reduce_range", 0.08);
}

/* ---- methods with calibration: fewer sequences than the references had, so bounds of our own ----
 */

/* 16 sequences and 8 windows: below rounding to nearest by what the methods gain, with room. */
static void calibrated(void **state)
{
    static const struct {
        const char *method;
        double share; /* of rounding's divergence, at most */
    } methods[] = {{"gptq", 0.72}, {"awq", 0.9}};
    const pare_calibration text = golden_calibration(*state, 16, 1024);
    pare_quantize_options o = {.type = PARE_TYPE_I4_G128_ASYM, .calibration = &text};
    double rounded =
        golden_divergence(*state, (pare_quantize_options){.type = o.type}, PARE_ACTIVATIONS_F32, 8);
    for (int i = 0; i < 2; i++) {
        o.method = methods[i].method;
        double kld = golden_divergence(*state, o, PARE_ACTIVATIONS_F32, 8);
        print_message("%s: KL divergence %.6f, rounded %.6f\n", o.method, kld, rounded);
        assert_true(kld <= methods[i].share * rounded);
    }
    free((void *)text.ids);
}

static void smoothquant(void **state)
{
    const pare_calibration text = golden_calibration(*state, 8, 512);
    pare_quantize_options o = {.method = "w8a8", .type = PARE_TYPE_I8_CH};
    double plain = golden_divergence(*state, o, PARE_ACTIVATIONS_FAST, 6);
    o.method = "smoothquant";
    o.calibration = &text;
    double smooth = golden_divergence(*state, o, PARE_ACTIVATIONS_FAST, 6);
    o.search_alpha = true;
    double searched = golden_divergence(*state, o, PARE_ACTIVATIONS_FAST, 6);
    print_message("w8a8 %.6f, smoothed %.6f, alpha searched %.6f\n", plain, smooth, searched);
    assert_true(smooth < plain && searched < plain);
    free((void *)text.ids);
}

/* Scales change nothing by themselves: in 8 bits what they are folded into, or kept beside, gives
 * the model back. Fused and separate matrices, norms with biases, scales that fold nowhere. */
static void folding(void **state)
{
    static const char *const names[] = {"ref-llama-11m", "ref-gpt2-30m"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        golden_model m;
        golden_model_open(&m, names[i]);
        const pare_calibration text = golden_calibration(&m, 4, 256);
        const pare_quantize_options o = {
            .type = PARE_TYPE_Q8_0, .method = "awq", .calibration = &text};
        double kld = golden_divergence(&m, o, PARE_ACTIVATIONS_F32, 2);
        print_message("%s in q8_0 by awq: KL divergence %.6f\n", names[i], kld);
        assert_true(kld < 5e-4);
        golden_model_close(&m);
        free((void *)text.ids);
    }
}

static int start(void **state)
{
    static golden_model m;
    golden_model_open(&m, "ref-llama-11m");
    *state = &m;
    return 0;
}

static int end(void **state)
{
    golden_model_close(*state);
    return 0;
}

int main(void)
{
    char path[GOLDEN_PATH];
    golden_path(path, "golden/quant_reference.json");
    if (!pare_is_file(path))
        return GOLDEN_SKIP;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(w8a8),       cmocka_unit_test(llm_int8), cmocka_unit_test(ort_dynamic),
        cmocka_unit_test(calibrated), cmocka_unit_test(folding),  cmocka_unit_test(smoothquant),
    };
    return cmocka_run_group_tests(tests, start, end);
}
