/* Golden results of other implementations, in the folder PARE_SHARED_DIR; tests that need it are
 * skipped without it. */
#ifndef PARE_TESTS_GOLDEN_H
#define PARE_TESTS_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "kernels/kernels.h"
#include "quantized_copy.h"

#include <math.h>
#include <pare/eval.h>
#include <pare/model.h>
#include <pare/quant.h>
#include <pare/session.h>
#include <pare/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GOLDEN_SKIP = 77, GOLDEN_PATH = 1024 };

static inline void golden_path(char path[GOLDEN_PATH], const char *name)
{
    snprintf(path, GOLDEN_PATH, "%s/%s", PARE_SHARED_DIR, name);
}

#define golden_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) != PARE_OK)                                                                     \
            fail_msg("%s: %s", #call, pare_error_message());                                       \
    } while (0)

static inline json_t *golden_json(const char *name)
{
    char path[GOLDEN_PATH];
    json_t *json = NULL;
    golden_path(path, name);
    golden_ok(pare_json_load_file(path, 1 << 24, &json));
    return json;
}

static inline int32_t *golden_ids(const json_t *array, int64_t *count)
{
    *count = (int64_t)json_array_size(array);
    assert_true(*count > 0);
    int32_t *ids = calloc((size_t)*count, sizeof *ids);
    assert_non_null(ids);
    for (int64_t i = 0; i < *count; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, (size_t)i));
    return ids;
}

static inline float *golden_floats(const char *name, int64_t count)
{
    char path[GOLDEN_PATH], *data;
    size_t size;
    golden_path(path, name);
    golden_ok(pare_read_file(path, 1 << 26, &data, &size));
    assert_int_equal(size, (size_t)count * sizeof(float));
    return (float *)data;
}

/* FP32 throughout. On a GPU where PARE_TEST_DEVICE names one (tests/gpu/check.sh). */
static inline pare_session *golden_session(const pare_model *model, const char *isa,
                                           pare_type kv_type, int64_t context)
{
    pare_session_options options = pare_session_options_default();
    pare_session *session = NULL;
    options.isa = isa;
    options.device = getenv("PARE_TEST_DEVICE");
    options.kv_type = kv_type;
    options.context = context;
    golden_ok(pare_session_create(model, &options, &session));
    return session;
}

/* Logits [n][vocab] of n tokens fed at once. */
static inline float *golden_logits(const pare_model *model, const char *isa, const int32_t *ids,
                                   int64_t n)
{
    int64_t vocab = pare_model_get_info(model)->vocab;
    float *logits = calloc((size_t)(n * vocab), sizeof *logits);
    assert_non_null(logits);
    pare_session *session = golden_session(model, isa, PARE_TYPE_F32, n);
    golden_ok(pare_session_forward(session, ids, n));
    golden_ok(pare_session_logits(session, 0, n, logits));
    pare_session_free(session);
    return logits;
}

static inline void golden_close(const float *got, const float *expected, int64_t n,
                                double tolerance, const char *what)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        worst = !(fabs((double)got[i] - (double)expected[i]) <= worst)
                    ? fabs((double)got[i] - (double)expected[i])
                    : worst;
    print_message("%s: largest difference %.3g of %lld\n", what, worst, (long long)n);
    if (!(worst <= tolerance))
        fail_msg("%s: off by %g, at most %g is allowed", what, worst, tolerance);
}

/* The losses of tokens 1 .. n-1 against the file's "nll_first_512", and the last row of logits. */
static inline void golden_losses(const pare_model *model, const json_t *golden,
                                 const char *last_logits, double tolerance)
{
    int64_t count, n = 512, vocab = pare_model_get_info(model)->vocab;
    int32_t *ids = golden_ids(json_object_get(golden, "wikitext2_joined_first_ids"), &count);
    const json_t *expected = json_object_get(golden, "nll_first_512");
    assert_true(count >= n);
    assert_int_equal(json_array_size(expected), n - 1);
    float *logits = golden_logits(model, NULL, ids, n), *nll = calloc((size_t)n, sizeof *nll),
          *wanted = calloc((size_t)n, sizeof *nll);
    assert_true(nll && wanted);
    for (int64_t t = 0; t < n - 1; t++) {
        const float *row = logits + t * vocab;
        double sum = 0;
        for (int64_t v = 0; v < vocab; v++)
            sum += exp((double)row[v]);
        nll[t] = (float)(log(sum) - (double)row[ids[t + 1]]);
        wanted[t] = (float)json_number_value(json_array_get(expected, (size_t)t));
    }
    golden_close(nll, wanted, n - 1, tolerance, "losses of the first 512 tokens");
    float *last = golden_floats(last_logits, vocab);
    golden_close(logits + (n - 1) * vocab, last, vocab, 10 * tolerance, "logits behind them");
    free(last);
    free(wanted);
    free(nll);
    free(logits);
    free(ids);
}

/* Continues the prompt greedily and compares ids. With an FP32 cache: an FP16 one changes one of
 * ref-gpt2-30m's five texts, which is why FP32 is what `pare run` uses. */
static inline void golden_greedy(const pare_model *model, const json_t *one)
{
    int64_t prompt_count, count, vocab = pare_model_get_info(model)->vocab;
    int32_t *prompt = golden_ids(json_object_get(one, "prompt_ids"), &prompt_count);
    int32_t *expected = golden_ids(json_object_get(one, "ids"), &count);
    float *logits = calloc((size_t)vocab, sizeof *logits);
    assert_non_null(logits);
    pare_session *session = golden_session(model, NULL, PARE_TYPE_F32, prompt_count + count);
    pare_sampling greedy = pare_sampling_default();
    pare_sampler *sampler;
    golden_ok(pare_sampler_create(&greedy, vocab, &sampler));
    golden_ok(pare_session_forward(session, prompt, prompt_count));
    golden_ok(pare_session_logits(session, prompt_count - 1, 1, logits));
    for (int64_t i = 0; i < count; i++) {
        int32_t id;
        golden_ok(pare_sampler_next(sampler, logits, NULL, 0, &id, NULL));
        if (id != expected[i])
            fail_msg("'%s': token %lld is %d, %d was expected",
                     json_string_value(json_object_get(one, "prompt")), (long long)i, id,
                     expected[i]);
        golden_ok(pare_session_forward(session, &id, 1));
        golden_ok(pare_session_logits(session, 0, 1, logits));
    }
    pare_sampler_free(sampler);
    pare_session_free(session);
    free(logits);
    free(expected);
    free(prompt);
}

/* WikiText-2's test text as ids without special tokens: rows joined as papers do, or the raw file.
 */
static inline int32_t *golden_wikitext(const char *model, bool joined, int64_t *count)
{
    char path[GOLDEN_PATH], *raw, *text;
    size_t raw_size, size, n;
    int32_t *ids;
    pare_tokenizer *tokenizer;
    golden_path(path, "data/wikitext-2-raw.test.txt");
    golden_ok(pare_read_file(path, 1 << 24, &raw, &raw_size));
    text = raw;
    size = raw_size;
    if (joined)
        golden_ok(pare_eval_join_wikitext(raw, raw_size, &text, &size));
    golden_ok(pare_tokenizer_open(model, &tokenizer));
    golden_ok(pare_tokenizer_encode(tokenizer, text, size, 0, &ids, &n));
    pare_tokenizer_close(tokenizer);
    if (joined)
        free(text);
    free(raw);
    *count = (int64_t)n;
    return ids;
}

static inline void golden_perplexity(const pare_model *model, const int32_t *ids, int64_t count,
                                     const pare_eval_options *options, double expected,
                                     int64_t tokens, double tolerance, const char *what)
{
    pare_eval_result r;
    pare_eval_options on_device = *options;
    on_device.session.device = getenv("PARE_TEST_DEVICE");
    golden_ok(pare_eval_run(model, NULL, ids, count, &on_device, NULL, &r));
    print_message("%s: perplexity %.6f, expected %.6f (%+.5f %%), %lld tokens, %.1f s\n", what,
                  r.perplexity, expected, 100 * (r.perplexity / expected - 1), (long long)r.tokens,
                  r.seconds);
    assert_int_equal(r.tokens, tokens);
    if (!(fabs(r.perplexity / expected - 1) <= tolerance))
        fail_msg("%s: perplexity %g, expected %g", what, r.perplexity, expected);
}

/* ---- quantized copies of a reference model against other implementations ---- */

typedef struct golden_model {
    const char *name;
    char path[GOLDEN_PATH];
    pare_model *model;
    int32_t *ids; /* WikiText-2's, joined */
    int64_t count;
} golden_model;

static inline void golden_model_open(golden_model *m, const char *name)
{
    char path[128];
    *m = (golden_model){.name = name};
    snprintf(path, sizeof path, "models/%s", name);
    golden_path(m->path, path);
    golden_ok(pare_model_open(m->path, &m->model));
    m->ids = golden_wikitext(m->path, true, &m->count);
}

static inline void golden_model_close(golden_model *m)
{
    pare_model_close(m->model);
    free(m->ids);
}

/* The KL divergence that golden/FILE has of the model in `entry` (of `group`, or NULL). */
static inline double golden_kld(const golden_model *m, const char *file, const char *group,
                                const char *entry)
{
    char path[128];
    snprintf(path, sizeof path, "golden/%s", file);
    json_t *root = golden_json(path);
    json_t *model = json_object_get(json_object_get(root, "models"), m->name);
    json_t *found = json_object_get(group ? json_object_get(model, group) : model, entry);
    double kld = json_number_value(json_object_get(found, "kld"));
    if (!(kld > 0))
        fail_msg("%s has no divergence of '%s'", file, entry);
    json_decref(root);
    return kld;
}

/* Quantizes the model and measures the copy's divergence over the first windows of 1024 tokens. */
static inline double golden_divergence(const golden_model *m, pare_quantize_options options,
                                       pare_activations activations, int64_t windows)
{
    pare_model *copy = quantized_copy(m->model, options);
    pare_eval_options eval = pare_eval_options_default();
    eval.context = 1024;
    eval.max_windows = windows;
    eval.session.activations = activations;
    pare_eval_result r;
    golden_ok(pare_eval_run(copy, m->model, m->ids, m->count, &eval, NULL, &r));
    pare_model_close(copy);
    return r.kld_mean;
}

/* The ids of data/calibration.txt, to be freed. */
static inline pare_calibration golden_calibration(const golden_model *m, int64_t sequences,
                                                  int64_t length)
{
    char path[GOLDEN_PATH], *text;
    size_t size, n;
    int32_t *ids;
    pare_tokenizer *tokenizer;
    golden_path(path, "data/calibration.txt");
    golden_ok(pare_read_file(path, 1 << 24, &text, &size));
    golden_ok(pare_tokenizer_open(m->path, &tokenizer));
    golden_ok(pare_tokenizer_encode(tokenizer, text, size, 0, &ids, &n));
    pare_tokenizer_close(tokenizer);
    free(text);
    return (pare_calibration){.ids = ids,
                              .count = n,
                              .sequences = sequences,
                              .length = length,
                              .source = "calibration.txt"};
}

#endif
