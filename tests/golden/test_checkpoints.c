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

/* Weights alone: the logits are the library's within 1e-3, but for bitsandbytes'. The file is byte
 * for byte what bitsandbytes 0.50.2 makes here of the model, and its FP32 logits on this CPU (AVX2,
 * PyTorch 2.15) are ours within 1e-5 and 2.9e-4 and 0.146 from the stored ones. Those probably come
 * from a CPU with AVX512-BF16, on which its 4-bit product rounds inputs, codes' values, absmax and
 * outputs to BF16, whatever is asked for (functional.py, _convert_weight_packed_for_cpu): that
 * kernel, repeated in C within PyTorch, comes within 0.7e-4 to 1.6e-4 and 0.06 to 0.12, as near as
 * two runs of it come to each other, though never to the bit. What the file's weights give in FP32
 * is checked below. */
CASE(gptq_4, "gptq-g128", "i4_g128_asym", "gptq: 84 matrices of 4 bits as i4_g128_asym", 1e-9, 1e-3)
CASE(gptq_3, "gptq-3bit", "i3_g128_asym", "gptq: 84 matrices of 3 bits as i3_g128_asym", 1e-9, 1e-3)
CASE(awq, "awq-g128", "i4_g128_asym", "awq: 84 matrices of 4 bits as i4_g128_asym", 1e-9, 1e-3)
CASE(ct_w4a16, "ct-w4a16", "f32",
     "compressed-tensors: 84 matrices of 4 bits decoded, as f32 (the scales need more than FP16)",
     1e-9, 1e-3)
CASE(bnb_nf4, "bnb-nf4-double", "nf4", "bitsandbytes: 84 matrices of 4 bits as nf4", 4e-4, 0.2)
/* Activations are rounded to 8 bits as the libraries do, which makes logits chaotic: a sum in
 * another order flips a rounding, and layers later every code of the token may be another. The
 * libraries themselves (lab/checkpoint-logits.py says which), from the stored logits:
 * - bnb-int8: equal to the bit with PyTorch's fused attention on AVX2; 1.2e-4 with its portable
 *   kernels, 7.2e-4 with its plain attention, 7.6e-4 with everything but the products in FP64.
 * Ours, with the library's integer products in its order: 0.91e-3 (AVX2) and 1.08e-3 (ref), so a
 * bound of 1e-3 would be about the order of sums elsewhere;
 * - ct-w8a8: 1.7e-3 on AVX2, 2.5e-3 with PyTorch's portable kernels, 2.7e-3 with plain attention,
 *   2.8e-3 with MKL's portable ones; its definition in FP64 2.0e-3 to 2.9e-3. None of these met the
 *   stored logits, so 1e-3 seems out of reach but on a machine like the one that made them. */
CASE(bnb_int8, "bnb-int8", "i8_ch",
     "bitsandbytes: 84 matrices of 8 bits as i8_ch; activations are rounded as by LLM.int8(), "
     "threshold 6",
     1.5e-3, 0.5)
CASE(ct_w8a8, "ct-w8a8", "i8_ch",
     "compressed-tensors: 84 matrices of 8 bits as i8_ch; activations are rounded to 8 bits for "
     "each token",
     3.5e-3, 1)

/* What numpy computes from bnb-nf4-double in FP32, with weights in FP64: logits 0, 1000, 4000 and
 * 8191 of the last eight positions (lab/checkpoint-logits.py values). */
static void bnb_nf4_exact(void **state)
{
    static const int at[4] = {0, 1000, 4000, 8191};
    static const float wanted[POSITIONS][4] = {
        {-6.63861f, -7.74452f, -7.64378f, -1.29660f}, {-6.69202f, -7.67038f, -9.23544f, -2.70884f},
        {-6.30001f, -6.90501f, -4.82827f, -2.59401f}, {-6.31370f, -6.35669f, -5.96872f, -1.46372f},
        {-6.16609f, -6.97418f, -6.07746f, -1.46575f}, {-7.26195f, -8.24171f, -8.23727f, -1.77127f},
        {-6.87966f, -7.93777f, -6.13061f, -2.20141f}, {-5.91822f, -6.38381f, -7.25001f, -1.18159f},
    };
    float got[POSITIONS][4];
    char path[GOLDEN_PATH];
    json_t *golden = golden_json("golden/checkpoints/bnb-nf4-double/case.json");
    pare_model *model;
    int64_t n;
    int32_t *ids = golden_ids(json_object_get(golden, "ids"), &n);
    (void)state;
    golden_path(path, "golden/checkpoints/bnb-nf4-double");
    golden_ok(pare_model_open(path, &model));
    int64_t vocab = pare_model_get_info(model)->vocab;
    float *logits = golden_logits(model, NULL, ids, n);
    for (int i = 0; i < 4 * POSITIONS; i++)
        got[i / 4][i % 4] = logits[(n - POSITIONS + i / 4) * vocab + at[i % 4]];
    golden_close(got[0], wanted[0], 4 * POSITIONS, 1e-4, "bnb-nf4-double in FP32");
    free(logits);
    free(ids);
    json_decref(golden);
    pare_model_close(model);
}

int main(void)
{
    char path[GOLDEN_PATH];
    golden_path(path, "golden/checkpoints");
    if (!pare_is_folder(path)) {
        fprintf(stderr, "%s is not there: skipped\n", path);
        return GOLDEN_SKIP;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_4),  cmocka_unit_test(gptq_3),        cmocka_unit_test(awq),
        cmocka_unit_test(bnb_nf4), cmocka_unit_test(bnb_int8),      cmocka_unit_test(ct_w4a16),
        cmocka_unit_test(ct_w8a8), cmocka_unit_test(bnb_nf4_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
