/* Quantized copies of ref-llama-11m against the same formats made by other programs and evaluated
 * in PyTorch (quant_reference.json, llamacpp_quality.json): KL divergence over the first 24 windows
 * of 1024 tokens. scripts/check-references.py measures all formats and methods on both models. */
#include "golden/golden.h"

static void expect(const golden_model *m, const char *format, const pare_calibration *importance,
                   double expected, double tolerance)
{
    const pare_quantize_options options = {.type = pare_type_from_name(format),
                                           .method = importance ? "imatrix" : NULL,
                                           .calibration = importance};
    double kld = golden_divergence(m, options, PARE_ACTIVATIONS_F32, 24);
    print_message("%s: KL divergence %.6f, expected %.6f (%+.2f %%)\n", format, kld, expected,
                  100 * (kld / expected - 1));
    if (!(fabs(kld / expected - 1) <= tolerance))
        fail_msg("%s: KL divergence %g, expected %g", format, kld, expected);
}

/* Group-wise rounding as the papers have it; ours stores FP16 scales. */
static void rounding_formats(void **state)
{
    expect(*state, "i3_g128_asym", NULL,
           golden_kld(*state, "quant_reference.json", NULL, "w3_g128_asym_rtn"), 0.02);
}

/* The same bytes as llama-quantize: the same divergence, up to the reference's printed digits. */
static void llama_cpp_formats(void **state)
{
    expect(*state, "q3_k", NULL, golden_kld(*state, "llamacpp_quality.json", "types", "Q3_K_S"),
           0.002);
}

/* bitsandbytes' double quantization; ours has the second scale for a row. */
static void bitsandbytes_formats(void **state)
{
    expect(*state, "nf4_dq", NULL, golden_kld(*state, "bnb_reference.json", NULL, "nf4_double"),
           0.05);
}

/* With an importance matrix of the same text: llama.cpp's was measured in chunks of its own. */
static void importance(void **state)
{
    const pare_calibration calibration = golden_calibration(*state, 32, 1024);
    expect(*state, "iq4_xs", &calibration,
           golden_kld(*state, "llamacpp_quality.json", "types", "IQ4_XS_imatrix"), 0.03);
    free((void *)calibration.ids);
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
        cmocka_unit_test(rounding_formats),
        cmocka_unit_test(llama_cpp_formats),
        cmocka_unit_test(bitsandbytes_formats),
        cmocka_unit_test(importance),
    };
    return cmocka_run_group_tests(tests, start, end);
}
