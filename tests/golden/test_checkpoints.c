/* Checkpoints that GPTQ, AWQ, bitsandbytes and compressed-tensors wrote, against the logits that
 * their own libraries' weights give. */
#include "golden/golden.h"

typedef struct checkpoint {
    const char *name;
    const char *format; /* what its matrices become */
    const char *note;
    double divergence, difference; /* bounds: of the mean KL divergence, of a logit */
} checkpoint;

enum { POSITIONS = 8 };

/* KL divergence from the library's next-token distribution to ours, of one position. */
static double divergence(const float *expected, const float *got, int64_t vocab)
{
    double sums[2] = {0, 0}, kl = 0;
    for (int64_t v = 0; v < vocab; v++) {
        sums[0] += exp((double)expected[v]);
        sums[1] += exp((double)got[v]);
    }
    for (int64_t v = 0; v < vocab; v++) {
        double p = exp((double)expected[v]) / sums[0];
        kl += p * ((double)expected[v] - log(sums[0]) - (double)got[v] + log(sums[1]));
    }
    return kl;
}

static void compare(const checkpoint *c, const pare_model *model, pare_isa isa, const int32_t *ids,
                    int64_t n, const float *expected)
{
    char what[128];
    int64_t vocab = pare_model_get_info(model)->vocab;
    float *logits = golden_logits(model, pare_isa_name(isa), ids, n),
          *last = logits + (n - POSITIONS) * vocab;
    double kl = 0;
    snprintf(what, sizeof what, "%s, %s", c->name, pare_isa_name(isa));
    for (int i = 0; i < POSITIONS; i++)
        kl += divergence(expected + i * vocab, last + i * vocab, vocab) / POSITIONS;
    print_message("%s: mean KL divergence %.3g\n", what, kl);
    assert_true(kl < c->divergence);
    golden_close(last, expected, POSITIONS * vocab, c->difference, what);
    free(logits);
}

static void check(const checkpoint *c)
{
    char path[GOLDEN_PATH], file[GOLDEN_PATH];
    snprintf(file, sizeof file, "golden/checkpoints/%s/case.json", c->name);
    json_t *golden = golden_json(file);
    int64_t n;
    int32_t *ids = golden_ids(json_object_get(golden, "ids"), &n);
    pare_model *model;
    snprintf(file, sizeof file, "golden/checkpoints/%s", c->name);
    golden_path(path, file);
    golden_ok(pare_model_open(path, &model));
    const pare_model_info *info = pare_model_get_info(model);
    assert_string_equal(info->format, c->format);
    assert_string_equal(info->checkpoint, c->note);
    assert_true(info->quantized);
    snprintf(file, sizeof file, "golden/checkpoints/%s/logits.f32", c->name);
    float *expected = golden_floats(file, POSITIONS * info->vocab);
    for (int isa = 0; isa < PARE_ISA_COUNT; isa++)
        if (pare_isa_supported((pare_isa)isa))
            compare(c, model, (pare_isa)isa, ids, n, expected);
    free(expected);
    free(ids);
    pare_model_close(model);
    json_decref(golden);
}

#define CASE(function, ...)                                                                        \
    static void function(void **state)                                                             \
    {                                                                                              \
        check(&(const checkpoint){__VA_ARGS__});                                                   \
    }

/* Weights alone: the logits are the library's within 1e-3, but for bitsandbytes' (0.15), whose bound
 * is looser here. Probably its CPU kernel computed them in BF16 (that alone costs this model 2.6e-4,
 * golden/bnb_reference.json); it was not reproduced. On WikiText-2 this file's divergence from the
 * FP32 model is 0.05484 here and there. */
CASE(gptq_4, "gptq-g128", "i4_g128_asym", "gptq: 84 matrices of 4 bits as i4_g128_asym", 1e-9, 1e-3)
CASE(gptq_3, "gptq-3bit", "i3_g128_asym", "gptq: 84 matrices of 3 bits as i3_g128_asym", 1e-9, 1e-3)
CASE(awq, "awq-g128", "i4_g128_asym", "awq: 84 matrices of 4 bits as i4_g128_asym", 1e-9, 1e-3)
CASE(ct_w4a16, "ct-w4a16", "f32",
     "compressed-tensors: 84 matrices of 4 bits decoded, as f32 (the scales need more than FP16)",
     1e-9, 1e-3)
CASE(bnb_nf4, "bnb-nf4-double", "nf4", "bitsandbytes: 84 matrices of 4 bits as nf4", 1e-3, 0.3)
/* Activations are rounded to 8 bits as the libraries do, which makes the logits chaotic: a sum in
 * another order flips a rounding, and 48 roundings later Pare's own tiers are 0.0022 (w8a8) and
 * 0.0013 (int8) apart, about as far as they are from the library's logits (0.0028 and 0.0025 at
 * most). What can be compared is the divergence from the FP32 model on text, with `pare eval` over
 * 24 windows: 0.00235 where quant_reference.json has 0.00241, 0.00127 where bnb_reference.json has
 * 0.00124. */
CASE(bnb_int8, "bnb-int8", "i8_ch",
     "bitsandbytes: 84 matrices of 8 bits as i8_ch; activations are rounded as by LLM.int8(), "
     "threshold 6",
     3.5e-3, 1)
CASE(ct_w8a8, "ct-w8a8", "i8_ch",
     "compressed-tensors: 84 matrices of 8 bits as i8_ch; activations are rounded to 8 bits for "
     "each token",
     3.5e-3, 1)

int main(void)
{
    char path[GOLDEN_PATH];
    golden_path(path, "golden/checkpoints");
    if (!pare_is_folder(path)) {
        fprintf(stderr, "%s is not there: skipped\n", path);
        return GOLDEN_SKIP;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_4),  cmocka_unit_test(gptq_3),   cmocka_unit_test(awq),
        cmocka_unit_test(bnb_nf4), cmocka_unit_test(bnb_int8), cmocka_unit_test(ct_w4a16),
        cmocka_unit_test(ct_w8a8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
