/* The GPU's sessions against the CPU's, beyond one exact sequence: several sequences, caches of 8
 * and 4 bits, rounded activations, kept scales, what does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gpu/session_device.h"
#include "unit/small_model.h"

#include <pare/hw.h>
#include <pare/session.h>
#include <stdio.h>

enum { SKIP = 77, LONGEST = 90, STEPS = 2, MOST = 70 };

static double relative(const float *got, const float *expected, int64_t n)
{
    double difference = 0, square = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(got[i]))
            return INFINITY;
        difference +=
            ((double)got[i] - (double)expected[i]) * ((double)got[i] - (double)expected[i]);
        square += (double)expected[i] * (double)expected[i];
    }
    return sqrt(difference / square);
}

static int32_t id_of(const pare_model *model, int64_t sequence, int64_t i)
{
    return (int32_t)((sequence * 7919 + i * 104729 + i * i * 31) % model->decoder.vocab);
}

static int64_t length_of(int64_t sequence)
{
    static const int64_t lengths[] = {3, 1, 7, 2};
    return !brief() && sequence == 0 ? LONGEST : lengths[sequence % 4];
}

typedef struct setting {
    const char *on;
    pare_activations activations;
    pare_type kv_type;
    int64_t batch;
} setting;

static pare_session *open_session(const pare_model *model, setting s)
{
    pare_session_options options = pare_session_options_default();
    pare_session *session = NULL;
    options.device = s.on;
    options.activations = s.activations;
    options.kv_type = s.kv_type;
    options.context = LONGEST + STEPS + 1;
    options.batch = s.batch;
    ok(pare_session_create(model, &options, &session));
    return session;
}

/* Logits of each sequence's last prompt token, then of STEPS tokens of all of them:
 * [1 + STEPS][batch][vocab]. */
static float *run(const pare_model *model, setting s)
{
    int64_t vocab = model->decoder.vocab;
    size_t bytes = (size_t)((1 + STEPS) * s.batch * vocab) * sizeof(float);
    float *logits = malloc(bytes);
    int32_t ids[MOST], best[MOST];
    memset(logits, 0xff, bytes);
    pare_session *session = open_session(model, s);
    for (int64_t q = s.batch - 1; q >= 0; q--) {
        int32_t prompt[LONGEST];
        int64_t n = length_of(q);
        for (int64_t i = 0; i < n; i++)
            prompt[i] = id_of(model, q, i);
        ok(pare_session_select(session, q));
        ok(pare_session_forward(session, prompt, n));
        ok(pare_session_logits(session, n - 1, 1, logits + q * vocab));
    }
    for (int64_t i = 0; i < STEPS; i++) {
        float *to = logits + (1 + i) * s.batch * vocab;
        for (int64_t q = 0; q < s.batch; q++)
            ids[q] = id_of(model, q, length_of(q) + i);
        ok(pare_session_forward_batch(session, ids));
        ok(pare_session_logits(session, 0, s.batch, to));
        ok(pare_session_best(session, 0, s.batch, best));
        for (int64_t q = 0; q < s.batch; q++)
            for (int64_t v = 0; v < vocab; v++)
                assert_true(to[q * vocab + v] <= to[q * vocab + best[q]]);
    }
    pare_session_free(session);
    return logits;
}

/* The same on both devices; failures. */
static int compare(const pare_model *model, setting s, double limit, const char *what)
{
    setting cpu = s;
    cpu.on = "cpu";
    cpu.activations = PARE_ACTIVATIONS_F32;
    int64_t n = (1 + STEPS) * s.batch * model->decoder.vocab;
    float *expected = run(model, cpu), *got = run(model, s);
    double off = relative(got, expected, n);
    if (!(off <= limit))
        print_message("%s, batch %d, %s, cache %s: off by %.3g, limit %.1g\n", what, (int)s.batch,
                      s.activations ? "fast" : "exact", pare_type_name(s.kv_type), off, limit);
    free(expected);
    free(got);
    return !(off <= limit);
}

static void caches(void **state)
{
    static const pare_type types[] = {PARE_TYPE_Q8_0, PARE_TYPE_Q4_0, PARE_TYPE_F16};
    static const double limits[] = {1e-3, 1e-2, 1e-3};
    int failures = 0;
    for (int llama = 0; llama < 2; llama++) {
        small_model small;
        const pare_model *model = small_model_create(&small, llama, PARE_TYPE_F16, 0);
        for (int i = 0; i < 3; i++)
            failures += compare(model, (setting){device(), PARE_ACTIVATIONS_F32, types[i], 1},
                                limits[i], llama ? "llama" : "gpt2");
        small_model_free(&small);
    }
    assert_int_equal(failures, 0);
}

static void batches(void **state)
{
    static const pare_type types[] = {PARE_TYPE_Q4_0, PARE_TYPE_F32,  PARE_TYPE_BF16,
                                      PARE_TYPE_Q6_K, PARE_TYPE_Q8_0, PARE_TYPE_Q4_K,
                                      PARE_TYPE_NF4};
    int failures = 0;
    for (int i = 0; i < (brief() ? 3 : 7); i++)
        for (int64_t batch = 3; batch < MOST; batch += brief() ? MOST : 31) {
            small_model small;
            const pare_model *model = small_model_create(&small, i % 2 == 0, types[i], 0);
            double limit = types[i] == PARE_TYPE_BF16 ? 1e-2 : 3e-2;
            setting s = {device(), PARE_ACTIVATIONS_FAST, PARE_TYPE_F32, batch};
            failures += compare(model, s, limit, pare_type_name(types[i]));
            s.activations = PARE_ACTIVATIONS_F32;
            if (!brief() || i == 0)
                failures += compare(model, s, 5e-6, pare_type_name(types[i]));
            small_model_free(&small);
        }
    assert_int_equal(failures, 0);
}

/* More than are decoded together (64), and each with the bits that it has beside others. */
static void many(void **state)
{
    small_model small;
    const pare_model *model = small_model_create(&small, true, PARE_TYPE_Q4_0, 0);
    int64_t vocab = model->decoder.vocab, few = 2, all = brief() ? 66 : MOST;
    setting s = {device(), PARE_ACTIVATIONS_FAST, PARE_TYPE_Q8_0, all}, pair = s;
    pair.batch = few;
    float *a = run(model, s), *b = run(model, pair);
    int failures = 0;
    for (int64_t i = 0; i <= STEPS; i++)
        for (int64_t q = 0; q < few; q++) {
            const float *x = a + (i * all + q) * vocab, *y = b + (i * few + q) * vocab;
            if (memcmp(x, y, (size_t)vocab * sizeof *x) == 0)
                continue;
            failures++;
            print_message("step %d, sequence %d: %g and %g, off by %.3g\n", (int)i, (int)q,
                          (double)x[0], (double)y[0], relative(x, y, vocab));
        }
    assert_int_equal(failures, 0);
    free(a);
    free(b);
    small_model_free(&small);
}

static void roundings(void **state)
{
    static const pare_input_rounding rules[] = {PARE_INPUTS_LLM_INT8, PARE_INPUTS_ORT_DYNAMIC,
                                                PARE_INPUTS_W8A8, PARE_INPUTS_TOKEN_INT8};
    int failures = 0;
    for (int i = 0; i < 4; i++)
        for (int64_t batch = 1; batch < 5; batch += 3) {
            small_model small;
            const pare_model *model = small_model_create(&small, i % 2 == 0, PARE_TYPE_I8_CH, 0);
            setting s = {device(), PARE_ACTIVATIONS_F32, PARE_TYPE_F32, batch};
            small.model.decoder.input_rounding = rules[i];
            small.model.decoder.outlier_threshold = 3;
            if (brief() && i > 1 && batch > 1) {
                small_model_free(&small);
                continue;
            }
            failures += compare(model, s, 8e-3, pare_input_rounding_name(rules[i]));
            s.activations = PARE_ACTIVATIONS_FAST;
            failures += compare(model, s, 3e-2, pare_input_rounding_name(rules[i]));
            small_model_free(&small);
        }
    assert_int_equal(failures, 0);
}

/* The share of outlier columns that both devices count. */
static void outlier_shares(void **state)
{
    small_model small;
    const pare_model *model = small_model_create(&small, true, PARE_TYPE_I8_CH, 0);
    const char *on[] = {"cpu", device()};
    double shares[2];
    small.model.decoder.input_rounding = PARE_INPUTS_LLM_INT8;
    small.model.decoder.outlier_threshold = 3;
    for (int i = 0; i < 2; i++) {
        setting s = {on[i], PARE_ACTIVATIONS_F32, PARE_TYPE_F32, 1};
        pare_session *session = open_session(model, s);
        int32_t ids[6] = {1, 2, 3, 4, 5, 6};
        ok(pare_session_forward(session, ids, 5));
        ok(pare_session_forward(session, ids + 5, 1));
        shares[i] = pare_session_outlier_share(session, 1);
        pare_session_free(session);
    }
    assert_true(shares[0] > 0);
    assert_true(fabs(shares[0] - shares[1]) < 2e-3);
    small_model_free(&small);
}

/* Losses that the device computes are those of its logits. */
static void losses(void **state)
{
    enum { N = 7 };
    small_model small;
    const pare_model *model = small_model_create(&small, true, PARE_TYPE_Q4_0, 0);
    int64_t vocab = model->decoder.vocab;
    setting s = {device(), PARE_ACTIVATIONS_F32, PARE_TYPE_F32, 1};
    int32_t ids[N], targets[N] = {5, -1, 330, 0, 17, 200, 331};
    double nll[N];
    float *logits = malloc((size_t)(N * vocab) * sizeof *logits);
    pare_session *session = open_session(model, s);
    for (int i = 0; i < N; i++)
        ids[i] = id_of(model, 0, i);
    ok(pare_session_forward(session, ids, N));
    assert_int_equal(pare_session_losses(session, 0, N, targets, nll), PARE_INVALID_ARGUMENT);
    targets[N - 1] = 1;
    ok(pare_session_losses(session, 0, N, targets, nll));
    ok(pare_session_logits(session, 0, N, logits));
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int64_t v = 0; v < vocab; v++)
            sum += exp((double)logits[i * vocab + v]);
        double expected = targets[i] < 0 ? 0 : log(sum) - (double)logits[i * vocab + targets[i]];
        assert_true(fabs(nll[i] - expected) < 1e-6);
    }
    assert_int_equal(pare_session_losses(session, 1, N, targets, nll), PARE_INVALID_ARGUMENT);
    pare_session_free(session);
    free(logits);
    small_model_free(&small);
}

/* sum of p log(p / q), p and q the softmax. */
static double divergence(const float *p, const float *q, int64_t vocab)
{
    double p_sum = 0, q_sum = 0, sum = 0;
    for (int64_t v = 0; v < vocab; v++) {
        p_sum += exp((double)p[v]);
        q_sum += exp((double)q[v]);
    }
    for (int64_t v = 0; v < vocab; v++)
        sum += exp((double)p[v]) / p_sum * ((double)p[v] - (double)q[v] + log(q_sum) - log(p_sum));
    return sum;
}

static int64_t most_probable(const float *logits, int64_t vocab)
{
    int64_t best = 0;
    for (int64_t v = 1; v < vocab; v++)
        best = logits[v] > logits[best] ? v : best;
    return best;
}

/* Comparisons that the device makes are those of the two models' logits. */
static void comparisons(void **state)
{
    enum { N = 5 };
    small_model small[2];
    const pare_type types[2] = {PARE_TYPE_Q4_0, PARE_TYPE_BF16};
    pare_session *sessions[2], *on_cpu;
    int32_t ids[N], targets[N] = {5, -1, 17, 0, 3};
    double nll[2][N];
    float *logits[2];
    pare_divergence rows[N];
    int64_t vocab = 0;
    for (int i = 0; i < 2; i++) {
        const pare_model *model = small_model_create(&small[i], true, types[i], 0);
        vocab = model->decoder.vocab;
        sessions[i] = open_session(model, (setting){device(), i, PARE_TYPE_F32, 1});
        logits[i] = malloc((size_t)(N * vocab) * sizeof *logits[i]);
        for (int t = 0; t < N; t++)
            ids[t] = id_of(model, 0, t);
        ok(pare_session_forward(sessions[i], ids, N));
        ok(pare_session_losses(sessions[i], 0, N, targets, nll[i]));
        ok(pare_session_logits(sessions[i], 0, N, logits[i]));
    }
    ok(pare_session_compare(sessions[0], sessions[1], 0, N, targets, rows));
    for (int t = 0; t < N; t++) {
        const float *model = logits[0] + t * vocab, *base = logits[1] + t * vocab;
        assert_true(rows[t].nll == nll[0][t] && rows[t].base_nll == nll[1][t]);
        assert_true(fabs(rows[t].kld - divergence(base, model, vocab)) < 1e-6);
        assert_int_equal(rows[t].same, most_probable(model, vocab) == most_probable(base, vocab));
    }
    on_cpu = open_session(&small[1].model, (setting){"cpu", 0, PARE_TYPE_F32, 1});
    ok(pare_session_forward(on_cpu, ids, N));
    assert_int_equal(pare_session_compare(sessions[0], on_cpu, 0, N, targets, rows),
                     PARE_UNSUPPORTED);
    pare_session_free(on_cpu);
    for (int i = 0; i < 2; i++) {
        pare_session_free(sessions[i]);
        small_model_free(&small[i]);
        free(logits[i]);
    }
}

static void kept_scales(void **state)
{
    small_model small;
    pare_model *model = small_model_create(&small, true, PARE_TYPE_Q4_0, 0);
    const pare_decoder *d = &model->decoder;
    for (int l = 0; l < 2; l++) {
        small.layers[l].output_scale =
            small_tensor(&small, PARE_TYPE_F32, 0, d->heads * d->head_dim, 0.2f, 1);
        small.layers[l].down_scale = small_tensor(&small, PARE_TYPE_F32, 0, d->mlp_hidden, 0.2f, 1);
    }
    model->tensor_count = (size_t)small.count;
    int failures = 0;
    for (int64_t batch = 1; batch < 5; batch += 3)
        failures += compare(model, (setting){device(), PARE_ACTIVATIONS_F32, PARE_TYPE_F32, batch},
                            5e-6, "kept scales");
    assert_int_equal(failures, 0);
    small_model_free(&small);
}

static void limits(void **state)
{
    static const char *const names[] = {"gpu_read_bandwidth_bytes_per_s",
                                        "gpu_copy_bandwidth_bytes_per_s"};
    pare_hw_limits measured = {0};
    ok(pare_device_measure(device(), &measured));
    for (int i = 0; i < 2; i++) {
        const pare_hw_limit *limit = pare_hw_limit_find(&measured, names[i], NULL, 0);
        assert_non_null(limit);
        assert_true(limit->low > 0 && limit->low <= limit->median && limit->median <= limit->high);
    }
    for (int i = 0; i < measured.count; i++)
        print_message("%s %.4g\n", measured.items[i].name, measured.items[i].median);
    assert_int_equal(pare_device_measure("cpu", &measured), PARE_UNSUPPORTED);
}

static void room(void **state)
{
    small_model small;
    const pare_model *model = small_model_create(&small, true, PARE_TYPE_F16, 0);
    pare_session_options options = pare_session_options_default();
    pare_session *session = NULL;
    options.device = device();
    options.context = 1 << 23;
    options.batch = 100;
    assert_int_equal(pare_session_create(model, &options, &session), PARE_OUT_OF_MEMORY);
    print_message("%s\n", pare_error_message());
    assert_non_null(strstr(pare_error_message(), "use a context of at most"));
    small_model_free(&small);
    model = small_model_create(&small, true, PARE_TYPE_F32, 0); /* heads of 20 */
    options = pare_session_options_default();
    options.device = device();
    options.kv_type = PARE_TYPE_Q8_0;
    assert_int_equal(pare_session_create(model, &options, &session), PARE_UNSUPPORTED);
    assert_non_null(strstr(pare_error_message(), "no multiple of its 32"));
    small_model_free(&small);
}

int main(void)
{
    if (pare_device_check(device()) != PARE_OK) {
        print_message("skipped: %s\n", pare_error_message());
        return SKIP;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caches),      cmocka_unit_test(batches),        cmocka_unit_test(many),
        cmocka_unit_test(roundings),   cmocka_unit_test(outlier_shares), cmocka_unit_test(losses),
        cmocka_unit_test(comparisons), cmocka_unit_test(kept_scales),    cmocka_unit_test(limits),
        cmocka_unit_test(room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
