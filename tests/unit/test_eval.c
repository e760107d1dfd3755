/* Evaluation: which tokens each protocol scores, and the numbers against plain ones in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eval/loss.h"
#include "eval/statistics.h"
#include "unit/small_model.h"

#include <pare/eval.h>
#include <stdio.h>

enum { TOKENS = 500 };

typedef struct pair {
    small_model small[2];
    pare_model *model, *base;
    int32_t ids[TOKENS];
} pair;

/* The same weights twice, but the base's are not rounded. */
static void make(pair *p)
{
    p->base = small_model_create(&p->small[0], true, PARE_TYPE_F32, 0);
    p->model = small_model_create(&p->small[1], true, PARE_TYPE_BF16, 0);
    pare_random random = {3};
    for (int i = 0; i < TOKENS; i++)
        p->ids[i] = (int32_t)pare_random_below(&random, 331);
}

static void release(pair *p)
{
    small_model_free(&p->small[0]);
    small_model_free(&p->small[1]);
}

/* Log-probabilities [n][vocab] of ids[first ..] in double. */
static double *log_probabilities(const pare_model *model, const int32_t *ids, int64_t n)
{
    int64_t vocab = model->decoder.vocab;
    pare_session_options options = pare_eval_options_default().session;
    options.threads = 1;
    pare_session *session;
    float *logits = malloc((size_t)(n * vocab) * sizeof *logits);
    double *result = malloc((size_t)(n * vocab) * sizeof *result);
    assert_true(logits && result);
    assert_int_equal(pare_session_create(model, &options, &session), PARE_OK);
    assert_int_equal(pare_session_forward(session, ids, n), PARE_OK);
    assert_int_equal(pare_session_logits(session, 0, n, logits), PARE_OK);
    for (int64_t t = 0; t < n; t++) {
        double sum = 0;
        for (int64_t v = 0; v < vocab; v++)
            sum += exp((double)logits[t * vocab + v]);
        for (int64_t v = 0; v < vocab; v++)
            result[t * vocab + v] = (double)logits[t * vocab + v] - log(sum);
    }
    pare_session_free(session);
    free(logits);
    return result;
}

/* Sum of the losses of tokens first+from .. first+to-1 in a window that starts at `first`. */
static double losses(const pare_model *model, const int32_t *window, int64_t length, int64_t from)
{
    double *p = log_probabilities(model, window, length), sum = 0;
    for (int64_t t = from; t < length; t++)
        sum -= p[(t - 1) * model->decoder.vocab + window[t]];
    free(p);
    return sum;
}

static pare_eval_result evaluate(const pair *p, pare_protocol protocol, bool against, int threads)
{
    pare_eval_options options = pare_eval_options_default();
    pare_eval_result result;
    options.protocol = protocol;
    options.context = 128;
    options.stride = protocol == PARE_PROTOCOL_STRIDE ? 48 : 0;
    options.session.threads = threads;
    pare_status status =
        pare_eval_run(p->model, against ? p->base : NULL, p->ids, TOKENS, &options, NULL, &result);
    if (status != PARE_OK)
        fail_msg("%s", pare_error_message());
    return result;
}

static void windows(void **state)
{
    pair p;
    make(&p);
    pare_eval_result r = evaluate(&p, PARE_PROTOCOL_WINDOWS, false, 2);
    double sums[3], all = 0, squares = 0;
    for (int w = 0; w < 3; w++)
        all += sums[w] = losses(p.model, p.ids + 128 * w, 128, 1);
    assert_int_equal(r.windows, 3);
    assert_int_equal(r.tokens, 3 * 127);
    assert_int_equal(r.context, 128);
    assert_float_equal(r.mean_nll, all / 381, 1e-6);
    assert_float_equal(r.perplexity, exp(all / 381), 1e-3);
    for (int w = 0; w < 3; w++) /* equal clusters: the error of the mean of their means */
        squares += (sums[w] - all / 3) * (sums[w] - all / 3) / (127.0 * 127.0);
    assert_float_equal(r.mean_nll_se, sqrt(squares / 2 / 3), 1e-6);
    assert_float_equal(r.perplexity_se, r.perplexity * r.mean_nll_se, 1e-6);
    assert_false(r.compared);
    release(&p);
}

static void stride(void **state)
{
    pair p;
    make(&p);
    pare_eval_result r = evaluate(&p, PARE_PROTOCOL_STRIDE, false, 1);
    double all = 0;
    int64_t scored = 0, windows = 0;
    for (int64_t begin = 0, before = 0; before < TOKENS;
         begin += 48, windows++) { /* as transformers' documentation does */
        int64_t end = begin + 128 < TOKENS ? begin + 128 : TOKENS, fresh = end - before;
        if (begin == 0)
            fresh--;
        all += losses(p.model, p.ids + begin, end - begin, end - begin - fresh);
        scored += fresh;
        before = end;
    }
    assert_int_equal(scored, TOKENS - 1);
    assert_int_equal(r.tokens, TOKENS - 1);
    assert_int_equal(r.windows, windows);
    assert_float_equal(r.mean_nll, all / (TOKENS - 1), 1e-6);
    release(&p);
}

static void llama_cpp(void **state)
{
    pair p;
    make(&p);
    pare_eval_options options = pare_eval_options_default();
    pare_eval_result r;
    options.protocol = PARE_PROTOCOL_LLAMA_CPP;
    options.context = 128;
    options.bos = 5;
    assert_int_equal(pare_eval_run(p.model, NULL, p.ids, TOKENS, &options, NULL, &r), PARE_OK);
    double all = 0;
    for (int w = 0; w < 3; w++) {
        int32_t chunk[128];
        memcpy(chunk, p.ids + 128 * w, sizeof chunk);
        chunk[0] = 5;
        all += losses(p.model, chunk, 128, 65);
    }
    assert_int_equal(r.tokens, 3 * 63);
    assert_float_equal(r.mean_nll, all / (3 * 63), 1e-6);
    release(&p);
}

static void comparison(void **state)
{
    pair p;
    make(&p);
    pare_eval_result r = evaluate(&p, PARE_PROTOCOL_WINDOWS, true, 2);
    int64_t vocab = 331, same = 0;
    double kld = 0, most = 0, difference = 0;
    for (int w = 0; w < 3; w++) {
        const int32_t *ids = p.ids + 128 * w;
        double *q = log_probabilities(p.model, ids, 128), *b = log_probabilities(p.base, ids, 128);
        for (int64_t t = 0; t < 128; t++) {
            double sum = 0;
            int64_t best_q = 0, best_b = 0;
            for (int64_t v = 0; v < vocab; v++) {
                sum += exp(b[t * vocab + v]) * (b[t * vocab + v] - q[t * vocab + v]);
                best_q = q[t * vocab + v] > q[t * vocab + best_q] ? v : best_q;
                best_b = b[t * vocab + v] > b[t * vocab + best_b] ? v : best_b;
            }
            same += best_q == best_b;
            kld += sum;
            most = sum > most ? sum : most;
        }
        free(q);
        free(b);
        difference += losses(p.model, ids, 128, 1) - losses(p.base, ids, 128, 1);
    }
    assert_true(r.compared);
    assert_int_equal(r.kept, r.windows);
    double kld_sum = 0, nll_sum = 0;
    for (int64_t w = 0; w < r.kept; w++) { /* windows of one size: their mean is the whole's */
        kld_sum += r.window_kld[w] / (double)r.kept;
        nll_sum += r.window_nll[w] / (double)r.kept;
    }
    assert_true(fabs(kld_sum - r.kld_mean) < 1e-9 * fabs(r.kld_mean) + 1e-12);
    assert_true(fabs(nll_sum - r.mean_nll) < 1e-9 * r.mean_nll);
    assert_int_equal(r.positions, 384);
    assert_true(kld > 0);
    /* BF16 rounding makes a divergence of some 1e-6: the FP32 exponentials' 1e-7 show at a
     * thousandth of it. */
    assert_float_equal(r.kld_mean / (kld / 384), 1, 1e-3);
    assert_float_equal(r.kld_max / most, 1, 1e-3);
    assert_true(r.kld_median < r.kld_p99 && r.kld_p99 < r.kld_max);
    assert_float_equal(r.top1, (double)same / 384, 1e-12);
    assert_float_equal(r.perplexity_ratio, exp(difference / 381), 1e-7);
    assert_float_equal(r.perplexity / r.base_perplexity, r.perplexity_ratio, 1e-9);
    assert_true(r.perplexity_ratio_se > 0 &&
                r.perplexity_ratio_se < 0.1 * r.perplexity_se / r.perplexity);

    pare_eval_result one =
        evaluate(&p, PARE_PROTOCOL_WINDOWS, true, 1); /* threads change nothing */
    assert_true(one.mean_nll == r.mean_nll && one.kld_mean == r.kld_mean &&
                one.kld_p99 == r.kld_p99);
    p.model = p.base; /* against itself */
    r = evaluate(&p, PARE_PROTOCOL_WINDOWS, true, 2);
    assert_true(r.kld_mean == 0 && r.kld_max == 0 && r.top1 == 1 && r.perplexity_ratio == 1 &&
                r.perplexity_ratio_se == 0);
    release(&p);
}

static bool stop_at_once(void *user, double done, double total, const char *what)
{
    return false;
}

static void refusals(void **state)
{
    pair p;
    pare_eval_result r;
    make(&p);
    pare_eval_options options = pare_eval_options_default();
    pare_progress progress = {stop_at_once, NULL};
    options.context = 128;
    assert_int_equal(pare_eval_run(p.model, NULL, p.ids, TOKENS, &options, &progress, &r),
                     PARE_CANCELLED);
    assert_int_equal(pare_eval_run(p.model, NULL, p.ids, 100, &options, NULL, &r),
                     PARE_INVALID_ARGUMENT); /* no window */
    options.context = 2000;
    assert_int_equal(pare_eval_run(p.model, NULL, p.ids, TOKENS, &options, NULL, &r),
                     PARE_INVALID_ARGUMENT);
    options.context = 128;
    options.stride = 64; /* not a strided protocol */
    assert_int_equal(pare_eval_run(p.model, NULL, p.ids, TOKENS, &options, NULL, &r),
                     PARE_INVALID_ARGUMENT);
    options.stride = 0;
    p.small[1].model.info.synthetic = true;
    assert_int_equal(pare_eval_run(p.model, NULL, p.ids, TOKENS, &options, NULL, &r),
                     PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_eval_run(p.base, p.model, p.ids, TOKENS, &options, NULL, &r),
                     PARE_INVALID_ARGUMENT);
    p.small[1].model.info.synthetic = false;
    p.small[1].model.info.vocab = 330;
    assert_int_equal(pare_eval_run(p.model, p.base, p.ids, TOKENS, &options, NULL, &r),
                     PARE_INVALID_ARGUMENT);
    assert_null(pare_eval_baseline_note(p.base));
    p.small[0].model.info.quantized = true;
    assert_non_null(pare_eval_baseline_note(p.base));
    release(&p);
}

static void wikitext_rows(void **state)
{
    const struct {
        const char *raw, *joined;
    } cases[] = {{" \n = A = \n \n b c \n", "\n\n = A = \n\n\n\n\n b c \n"},
                 {"x", "x"},
                 {"", ""},
                 {" ", " "},
                 {" \n", ""},
                 {"\n", "\n"},
                 {"a\n\nb", "a\n\n\n\n\n\nb"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *joined;
        size_t length;
        assert_int_equal(
            pare_eval_join_wikitext(cases[i].raw, strlen(cases[i].raw), &joined, &length), PARE_OK);
        assert_string_equal(joined, cases[i].joined);
        assert_int_equal(length, strlen(cases[i].joined));
        free(joined);
    }
}

/* The divergence of far distributions, of widths with and without a tail, against double. */
static void divergence(void **state)
{
    pare_random random = {1};
    for (int n = 1; n < 70; n++) {
        float p[70], q[70];
        double p_sum = 0, q_sum = 0, expected = 0;
        for (int i = 0; i < n; i++) {
            p_sum += exp((double)(p[i] = (float)pare_random_normal(&random) * 30));
            q_sum += exp((double)(q[i] = (float)pare_random_normal(&random) * 30));
        }
        for (int i = 0; i < n; i++)
            expected += exp((double)p[i]) / p_sum * ((double)p[i] - q[i] - log(p_sum) + log(q_sum));
        double got = pare_kl_divergence(p, log(p_sum), q, log(q_sum), n);
        assert_true(fabs(got - expected) <= 1e-5 * (1 + fabs(expected)));
    }
}

static void statistics(void **state)
{
    double sums[] = {2, 9, 4}, weights[] = {1, 3, 2}, error, values[] = {5, 1, 4, 2, 3};
    assert_float_equal(pare_cluster_mean(sums, weights, 3, &error), 2.5, 1e-12);
    assert_float_equal(error, sqrt((0.25 + 2.25 + 1) * 1.5) / 6, 1e-12);
    pare_cluster_mean(sums, weights, 1, &error);
    assert_true(isnan(error));
    assert_float_equal(pare_quantile(values, 5, 0.5), 3, 1e-12);
    assert_float_equal(pare_quantile(values, 5, 1), 5, 1e-12);
    assert_float_equal(pare_quantile(values, 5, 0.9), 4.6, 1e-12);
    assert_int_equal(pare_protocol_from_name("llama.cpp"), PARE_PROTOCOL_LLAMA_CPP);
    assert_int_equal(pare_protocol_from_name("none"), PARE_PROTOCOL_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows),    cmocka_unit_test(stride),     cmocka_unit_test(llama_cpp),
        cmocka_unit_test(comparison), cmocka_unit_test(refusals),   cmocka_unit_test(wikitext_rows),
        cmocka_unit_test(divergence), cmocka_unit_test(statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
