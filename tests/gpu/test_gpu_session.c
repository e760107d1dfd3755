/* The GPU's sessions against the CPU's: small models of every format, fed as a prompt, in pieces
 * and token by token, with exact and with rounded activations. PARE_TEST_BRIEF: fewer of them, for
 * the emulated device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gpu/session_device.h"
#include "unit/small_model.h"

#include <pare/session.h>
#include <stdio.h>

enum { TOKENS = 75, SKIP = 77 };

static void make_ids(const pare_model *model, int32_t ids[TOKENS])
{
    pare_random random = {11};
    for (int i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)pare_random_below(&random, (uint64_t)model->decoder.vocab);
}

/* Formats with kernels of their own (src/kernels/cuda/formats.cuh); others run as FP16. */
static bool has_layout(pare_type type)
{
    static const pare_type types[] = {
        PARE_TYPE_F32,     PARE_TYPE_F16,         PARE_TYPE_BF16,        PARE_TYPE_Q8_0,
        PARE_TYPE_I8_CH,   PARE_TYPE_Q4_0,        PARE_TYPE_I4_G32,      PARE_TYPE_I4_G64,
        PARE_TYPE_I4_G128, PARE_TYPE_I4_G32_ASYM, PARE_TYPE_I4_G64_ASYM, PARE_TYPE_I4_G128_ASYM,
        PARE_TYPE_Q4_1,    PARE_TYPE_Q5_0,        PARE_TYPE_Q5_1,        PARE_TYPE_Q2_K,
        PARE_TYPE_Q3_K,    PARE_TYPE_Q4_K,        PARE_TYPE_Q5_K,        PARE_TYPE_Q6_K,
        PARE_TYPE_IQ4_NL,  PARE_TYPE_IQ4_XS,      PARE_TYPE_NF4,         PARE_TYPE_FP4};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i] == type)
            return true;
    return false;
}

/* Logits of the first tokens, fed `piece` at a time. */
static float *logits_of(const pare_model *model, const char *on, pare_activations activations,
                        pare_type kv_type, int piece, int tokens)
{
    int64_t vocab = model->decoder.vocab;
    int32_t ids[TOKENS];
    float *logits = malloc((size_t)(tokens * vocab) * sizeof *logits);
    pare_session_options options = pare_session_options_default();
    pare_session *session = NULL;
    assert_non_null(logits);
    make_ids(model, ids);
    memset(logits, 0xff, (size_t)(tokens * vocab) * sizeof *logits); /* NaN */
    options.device = on;
    options.activations = activations;
    options.kv_type = kv_type;
    options.context = 300;
    ok(pare_session_create(model, &options, &session));
    for (int done = 0; done < tokens; done += piece) {
        int n = tokens - done < piece ? tokens - done : piece;
        ok(pare_session_forward(session, ids + done, n));
        ok(pare_session_logits(session, 0, n, logits + done * vocab));
    }
    pare_session_free(session);
    return logits;
}

/* Root mean square of the difference over that of the expected. */
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

static int compare(bool llama, pare_type type, int64_t window)
{
    static const int pieces[] = {TOKENS, 1, 13};
    const int tokens = brief() ? 5 : TOKENS;
    small_model small;
    int failures = 0;
    const pare_model *model = small_model_create(&small, llama, type, window);
    int64_t n = tokens * model->decoder.vocab;
    float *exact = logits_of(model, "cpu", PARE_ACTIVATIONS_F32, PARE_TYPE_F32, TOKENS, tokens);
    for (int i = 0; i < 12; i++) {
        /* a prompt, exact; token by token, fast; a prompt in 16-bit numbers all through */
        if (brief() && i != 2 && i != 4 && i != 9)
            continue;
        pare_activations activations = i / 3 % 2 ? PARE_ACTIVATIONS_FAST : PARE_ACTIVATIONS_F32;
        pare_type kv_type = i / 3 >= 2 ? PARE_TYPE_F16 : PARE_TYPE_F32;
        double limit = i / 3 % 2 ? 3e-2 : i / 3 == 2 ? 2e-3 : 5e-6;
        limit += has_layout(type) ? 0 : 2e-3;
        float *got = logits_of(model, device(), activations, kv_type, pieces[i % 3], tokens);
        double off = relative(got, exact, n);
        if (!(off <= limit)) {
            failures++;
            print_message("%s %s window %d, %s, cache %s, %d at a time: off by %.3g, limit %.1g\n",
                          llama ? "llama" : "gpt2", pare_type_name(type), (int)window,
                          activations ? "fast" : "exact", pare_type_name(kv_type), pieces[i % 3],
                          off, limit);
        }
        free(got);
    }
    free(exact);
    small_model_free(&small);
    return failures;
}

static void every_format(void **state)
{
    int failures = 0, formats = 0;
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        if (!pare_type_writable((pare_type)type) || type == PARE_TYPE_I8 || type == PARE_TYPE_F64)
            continue;
        if (brief() && !has_layout((pare_type)type) && type % 4)
            continue;
        failures += compare(true, (pare_type)type, 0);
        if (!brief() || type == PARE_TYPE_Q6_K)
            failures += compare(false, (pare_type)type, 0);
        formats++;
    }
    print_message("%d formats\n", formats);
    assert_int_equal(failures, 0);
}

static void windows(void **state)
{
    if (brief()) {
        assert_int_equal(compare(true, PARE_TYPE_F32, 3), 0);
        return;
    }
    assert_int_equal(compare(true, PARE_TYPE_F32, 20) + compare(true, PARE_TYPE_BF16, 7) +
                         compare(false, PARE_TYPE_Q4_K, 9),
                     0);
}

/* Going back, snapshots, greedy decoding: equal bits, and the same on every run. */
static void states(void **state)
{
    small_model small;
    const pare_model *model = small_model_create(&small, true, PARE_TYPE_Q4_0, 0);
    int64_t vocab = model->decoder.vocab;
    int32_t ids[TOKENS], greedy[20], stepped[20];
    float *first = calloc((size_t)vocab, sizeof *first),
          *second = calloc((size_t)vocab, sizeof *first);
    pare_session_options options = pare_session_options_default();
    pare_session *session;
    pare_snapshot *snapshot;
    make_ids(model, ids);
    options.device = device();
    options.context = 200;
    ok(pare_session_create(model, &options, &session));
    assert_string_equal(pare_session_backend(session), "cuda");
    ok(pare_session_forward(session, ids, 40));
    ok(pare_session_snapshot(session, &snapshot));
    ok(pare_session_greedy(session, ids[40], 20, greedy));
    ok(pare_session_logits(session, 0, 1, first));
    assert_int_equal(pare_session_position(session), 60);
    ok(pare_session_rollback(session, 10));
    ok(pare_session_forward(session, ids + 20, 30)); /* overwrites the cache */
    ok(pare_session_restore(session, snapshot));
    int32_t id = ids[40];
    for (int i = 0; i < 20; i++) {
        ok(pare_session_forward(session, &id, 1));
        ok(pare_session_logits(session, 0, 1, second));
        id = 0;
        for (int32_t v = 1; v < vocab; v++)
            if (second[v] > second[id])
                id = v;
        stepped[i] = id;
    }
    assert_memory_equal(greedy, stepped, sizeof greedy);
    assert_memory_equal(first, second, (size_t)vocab * sizeof *first);
    pare_snapshot_free(snapshot);
    pare_session_free(session);
    free(first);
    free(second);
    small_model_free(&small);
}

static void refusals(void **state)
{
    small_model small;
    const pare_model *model = small_model_create(&small, true, PARE_TYPE_F32, 0);
    pare_session_options options = pare_session_options_default();
    pare_session *session;
    options.device = "cuda:99";
    assert_int_equal(pare_session_create(model, &options, &session), PARE_NOT_FOUND);
    print_message("%s\n", pare_error_message());
    if (brief()) {
        small_model_free(&small);
        return;
    }
    options.device = device();
    options.context = 1 << 24; /* 2 layers x 2 heads x 20 elements: 5 GB of F16 keys and values */
    small.model.decoder.context = 1 << 24;
    small.model.decoder.layers = 2;
    pare_status status = pare_session_create(model, &options, &session);
    print_message("%s\n", status == PARE_OK ? "16 million positions fit" : pare_error_message());
    pare_session_free(session);
    small_model_free(&small);
}

int main(void)
{
    if (pare_device_check(device()) != PARE_OK) {
        print_message("skipped: %s\n", pare_error_message());
        return SKIP;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format),
        cmocka_unit_test(windows),
        cmocka_unit_test(states),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
