/* Several sequences in one session: each has the bits that it would have alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "unit/small_model.h"

#include <pare/session.h>
#include <stdio.h>

enum { STEPS = 5, MOST = 40, LONGEST = 700 };

typedef struct batch {
    small_model small;
    pare_model *model;
    int64_t count, lengths[MOST];
    int32_t ids[MOST][LONGEST + STEPS];
} batch;

/* Sequences of other tokens and other lengths, the first ones long enough to be split. */
static batch *make(bool llama, pare_type type, int64_t window, int64_t count)
{
    static const int64_t lengths[] = {LONGEST, 1, 300, 65, 2, 513};
    batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->model = small_model_create(&b->small, llama, type, window);
    b->count = count;
    pare_random random = {17};
    for (int64_t s = 0; s < count; s++) {
        b->lengths[s] = s < 6 ? lengths[s] : 1 + 3 * s;
        for (int i = 0; i < LONGEST + STEPS; i++)
            b->ids[s][i] = (int32_t)pare_random_below(&random, (uint64_t)b->model->decoder.vocab);
    }
    return b;
}

static void drop(batch *b)
{
    small_model_free(&b->small);
    free(b);
}

static pare_session_options options_with(int threads, const char *isa, int64_t count)
{
    pare_session_options options = pare_session_options_default();
    options.threads = threads;
    options.kv_type = PARE_TYPE_F32;
    options.isa = isa;
    options.context = LONGEST + STEPS;
    options.batch = count;
    return options;
}

static pare_session *open_session(const batch *b, pare_session_options options)
{
    pare_session *session = NULL;
    pare_status status = pare_session_create(b->model, &options, &session);
    if (status != PARE_OK)
        print_error("%s\n", pare_error_message());
    assert_int_equal(status, PARE_OK);
    return session;
}

/* [STEPS][count][vocab], each sequence in a session of its own. */
static float *separately(const batch *b, pare_session_options options)
{
    int64_t vocab = b->model->decoder.vocab;
    float *logits = malloc((size_t)(STEPS * b->count * vocab) * sizeof *logits);
    assert_non_null(logits);
    options.batch = 1;
    for (int64_t s = 0; s < b->count; s++) {
        pare_session *session = open_session(b, options);
        assert_int_equal(pare_session_forward(session, b->ids[s], b->lengths[s]), PARE_OK);
        for (int64_t i = 0; i < STEPS; i++) {
            assert_int_equal(pare_session_forward(session, b->ids[s] + b->lengths[s] + i, 1),
                             PARE_OK);
            assert_int_equal(
                pare_session_logits(session, 0, 1, logits + (i * b->count + s) * vocab), PARE_OK);
        }
        pare_session_free(session);
    }
    return logits;
}

static void step(const batch *b, pare_session *session, int64_t i)
{
    int32_t ids[MOST];
    for (int64_t s = 0; s < b->count; s++)
        ids[s] = b->ids[s][b->lengths[s] + i];
    assert_int_equal(pare_session_forward_batch(session, ids), PARE_OK);
}

static float *together(const batch *b, pare_session_options options)
{
    int64_t vocab = b->model->decoder.vocab;
    float *logits = malloc((size_t)(STEPS * b->count * vocab) * sizeof *logits);
    assert_non_null(logits);
    pare_session *session = open_session(b, options);
    assert_int_equal(pare_session_batch(session), b->count);
    for (int64_t s = b->count - 1; s >= 0; s--) { /* in any order */
        assert_int_equal(pare_session_select(session, s), PARE_OK);
        assert_int_equal(pare_session_forward(session, b->ids[s], b->lengths[s]), PARE_OK);
    }
    for (int64_t i = 0; i < STEPS; i++) {
        step(b, session, i);
        assert_int_equal(pare_session_logits(session, 0, b->count, logits + i * b->count * vocab),
                         PARE_OK);
    }
    for (int64_t s = 0; s < b->count; s++) {
        assert_int_equal(pare_session_select(session, s), PARE_OK);
        assert_int_equal(pare_session_position(session), b->lengths[s] + STEPS);
    }
    pare_session_free(session);
    return logits;
}

static void same_bits(const batch *b, const float *x, const float *y, const char *what)
{
    int64_t vocab = b->model->decoder.vocab;
    for (int64_t i = 0; i < STEPS * b->count; i++)
        if (memcmp(x + i * vocab, y + i * vocab, (size_t)vocab * sizeof *x) != 0)
            fail_msg("%s: step %lld of sequence %lld differs (%g, %g)", what,
                     (long long)(i / b->count), (long long)(i % b->count), x[i * vocab],
                     y[i * vocab]);
}

static void alike(const batch *b, pare_session_options options)
{
    float *alone = separately(b, options);
    for (int threads = 1; threads <= 3; threads++) {
        char what[96];
        options.threads = threads;
        float *batched = together(b, options);
        snprintf(what, sizeof what, "%s, %lld sequences, %d threads", options.isa,
                 (long long)b->count, threads);
        same_bits(b, alone, batched, what);
        free(batched);
    }
    free(alone);
}

static void equals_single_sessions(void **state)
{
    for (int isa = 0; isa < PARE_ISA_COUNT; isa++) {
        const char *name = pare_isa_name((pare_isa)isa);
        if (!pare_isa_supported((pare_isa)isa))
            continue;
        for (int i = 0; i < 3; i++) { /* GPT-2; Llama; Llama with a window */
            batch *b = make(i > 0, i == 1 ? PARE_TYPE_Q8_0 : PARE_TYPE_F32, i == 2 ? 50 : 0, 6);
            alike(b, options_with(1, name, b->count));
            drop(b);
        }
    }
}

/* From 32 sequences on the matrix products are those of prompts. */
static void many_sequences(void **state)
{
    for (int llama = 0; llama < 2; llama++) {
        batch *b = make(llama, llama ? PARE_TYPE_Q4_K : PARE_TYPE_BF16, 0, MOST);
        pare_session_options options = options_with(1, pare_isa_name(pare_isa_best()), b->count);
        options.kv_type = PARE_TYPE_F16;
        alike(b, options);
        drop(b);
    }
}

/* What is done to one sequence leaves the others alone; a snapshot of one continues in another. */
static void sequences_are_separate(void **state)
{
    batch *b = make(true, PARE_TYPE_F32, 0, 3);
    int64_t vocab = b->model->decoder.vocab;
    pare_session_options options = options_with(2, NULL, b->count);
    float *alone = separately(b, options);
    float *logits = malloc((size_t)(b->count * vocab) * sizeof *logits);
    assert_non_null(logits);
    pare_session *session = open_session(b, options);
    pare_snapshot *snapshot;
    for (int64_t s = 0; s < b->count; s++) {
        assert_int_equal(pare_session_select(session, s), PARE_OK);
        assert_int_equal(pare_session_forward(session, b->ids[s], b->lengths[s]), PARE_OK);
    }
    assert_int_equal(pare_session_snapshot(session, &snapshot), PARE_OK); /* of sequence 2 */
    step(b, session, 0);
    assert_int_equal(pare_session_select(session, 1), PARE_OK);
    assert_int_equal(pare_session_rollback(session, 0), PARE_OK);
    assert_int_equal(pare_session_restore(session, snapshot), PARE_OK);
    assert_int_equal(pare_session_position(session), b->lengths[2]);
    int32_t ids[] = {b->ids[0][b->lengths[0] + 1], b->ids[2][b->lengths[2]],
                     b->ids[2][b->lengths[2] + 1]};
    assert_int_equal(pare_session_forward_batch(session, ids), PARE_OK);
    assert_int_equal(pare_session_logits(session, 0, 3, logits), PARE_OK);
    const float *expected[] = {alone + 3 * vocab, alone + 2 * vocab, alone + 5 * vocab};
    for (int s = 0; s < 3; s++)
        assert_memory_equal(logits + s * vocab, expected[s], (size_t)vocab * sizeof *logits);
    pare_snapshot_free(snapshot);
    pare_session_free(session);
    free(logits);
    free(alone);
    drop(b);
}

static void limits(void **state)
{
    batch *b = make(false, PARE_TYPE_F32, 0, MOST);
    pare_session_options options = options_with(2, NULL, MOST);
    pare_session *session = NULL, *single;
    int32_t ids[MOST] = {0};
    options.no_kv_cache = true;
    assert_int_equal(pare_session_create(b->model, &options, &session), PARE_UNSUPPORTED);
    assert_null(session);
    options.no_kv_cache = false;
    options.batch = -1;
    assert_int_equal(pare_session_create(b->model, &options, &session), PARE_INVALID_ARGUMENT);
    options.batch = MOST;
    options.context = 4; /* fewer positions than sequences */
    session = open_session(b, options);
    options.batch = 1;
    single = open_session(b, options);
    assert_int_equal(pare_session_get_memory(session).kv_bytes,
                     MOST * pare_session_get_memory(single).kv_bytes);
    assert_int_equal(pare_session_select(session, MOST), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_select(session, -1), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_select(session, MOST - 1), PARE_OK);
    assert_int_equal(pare_session_forward(session, ids, 3), PARE_OK);
    ids[7] = -1;
    assert_int_equal(pare_session_forward_batch(session, ids), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_position(session), 3);
    ids[7] = 0;
    assert_int_equal(pare_session_forward_batch(session, ids), PARE_OK);
    assert_int_equal(pare_session_forward_batch(session, ids), PARE_LIMIT); /* the last one's */
    assert_int_equal(pare_session_select(session, 0), PARE_OK);
    assert_int_equal(pare_session_position(session), 1);
    pare_session_free(session);
    pare_session_free(single);
    drop(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_single_sessions),
        cmocka_unit_test(many_sequences),
        cmocka_unit_test(sequences_are_separate),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
