/* Sessions: what must not change the logits by a single bit (threads, batching, going back, the
 * cache switched off), and the forward pass against a plain one written here in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/fp8.h"
#include "kernels/int8.h"
#include "kernels/kernels.h"
#include "run/cpu.h"
#include "unit/small_model.h"

#include <math.h>
#include <pare/session.h>
#include <stdio.h>

enum { TOKENS = 600 }; /* more than a chunk of 512 */

typedef struct run {
    small_model small;
    pare_model *model;
    int32_t ids[TOKENS];
} run;

static void make(run *r, bool llama, pare_type type, int64_t window)
{
    r->model = small_model_create(&r->small, llama, type, window);
    pare_random random = {11};
    for (int i = 0; i < TOKENS; i++)
        r->ids[i] = (int32_t)pare_random_below(&random, (uint64_t)r->model->decoder.vocab);
}

static pare_session *open_session(const run *r, pare_session_options options)
{
    pare_session *session = NULL;
    pare_status status = pare_session_create(r->model, &options, &session);
    if (status != PARE_OK)
        print_error("%s\n", pare_error_message());
    assert_int_equal(status, PARE_OK);
    return session;
}

static pare_session_options options_with(int threads, pare_activations activations, const char *isa)
{
    pare_session_options options = pare_session_options_default();
    options.threads = threads;
    options.kv_type = PARE_TYPE_F32;
    options.activations = activations;
    options.isa = isa;
    return options;
}

/* Feeds `n` tokens in pieces of `piece` and gives the logits of all. */
static float *logits_in_pieces(const run *r, pare_session_options options, int64_t n, int64_t piece)
{
    int64_t vocab = r->model->decoder.vocab;
    float *logits = malloc((size_t)(n * vocab) * sizeof(float));
    assert_non_null(logits);
    pare_session *session = open_session(r, options);
    for (int64_t done = 0; done < n; done += piece) {
        int64_t count = n - done < piece ? n - done : piece;
        assert_int_equal(pare_session_forward(session, r->ids + done, count), PARE_OK);
        assert_int_equal(pare_session_logits(session, 0, count, logits + done * vocab), PARE_OK);
    }
    assert_int_equal(pare_session_position(session), n);
    pare_session_free(session);
    return logits;
}

static void same_bits(const run *r, const float *a, const float *b, int64_t n, const char *what)
{
    int64_t vocab = r->model->decoder.vocab;
    float worst = 0;
    for (int64_t i = 0; i < n * vocab; i++) {
        assert_true(isfinite(a[i]));
        worst = fmaxf(worst, fabsf(a[i] - b[i]));
    }
    if (worst != 0 || memcmp(a, b, (size_t)(n * vocab) * sizeof(float)) != 0)
        fail_msg("%s: logits differ by up to %g", what, worst);
}

/* ---- a plain forward pass in double ---- */

static double weight_at(const pare_tensor *t, int64_t i)
{
    return t->type == PARE_TYPE_BF16 ? pare_bf16_to_f32(((const uint16_t *)t->data)[i])
                                     : ((const float *)t->data)[i];
}

static void plain_multiply(double *y, const pare_tensor *w, const pare_tensor *bias,
                           const double *x)
{
    for (int64_t r = 0; r < w->shape[0]; r++) {
        y[r] = bias ? weight_at(bias, r) : 0;
        for (int64_t c = 0; c < w->shape[1]; c++)
            y[r] += weight_at(w, r * w->shape[1] + c) * x[c];
    }
}

static void plain_norm(double *y, const double *x, const pare_tensor *w, const pare_tensor *b,
                       int64_t n, bool layer)
{
    double mean = 0, square = 0;
    for (int64_t i = 0; layer && i < n; i++)
        mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) / sqrt(square + 1e-5f) * weight_at(w, i) + (b ? weight_at(b, i) : 0);
}

static void plain_heads(const pare_decoder *d, double *rows, int64_t heads, const pare_tensor *norm,
                        int64_t position)
{
    for (double *h = rows; h < rows + heads * d->head_dim; h += d->head_dim) {
        if (norm)
            plain_norm(h, h, norm, NULL, d->head_dim, false);
        for (int64_t i = 0; i < d->rope_dims / 2; i++) {
            double angle = (double)position * d->rope_frequencies[i], a = h[i],
                   b = h[i + d->rope_dims / 2];
            h[i] = a * cos(angle) - b * sin(angle);
            h[i + d->rope_dims / 2] = a * sin(angle) + b * cos(angle);
        }
    }
}

enum { WIDE = 256, FEW = 40 };
typedef struct plain_cache {
    double k[2][FEW][WIDE], v[2][FEW][WIDE];
} plain_cache;

static void plain_attention(const pare_decoder *d, const plain_cache *cache, int64_t l,
                            int64_t position, const double *q, double *out)
{
    int64_t first =
        d->sliding_window && position >= d->sliding_window ? position - d->sliding_window + 1 : 0;
    for (int64_t h = 0; h < d->heads; h++) {
        int64_t kv = h / (d->heads / d->kv_heads) * d->head_dim;
        double sum = 0, *to = out + h * d->head_dim;
        memset(to, 0, (size_t)d->head_dim * sizeof *to);
        for (int64_t p = first; p <= position; p++) {
            double score = 0;
            for (int64_t i = 0; i < d->head_dim; i++)
                score += q[h * d->head_dim + i] * cache->k[l][p][kv + i];
            double weight = exp(score * d->attention_scale[l]);
            sum += weight;
            for (int64_t i = 0; i < d->head_dim; i++)
                to[i] += weight * cache->v[l][p][kv + i];
        }
        for (int64_t i = 0; i < d->head_dim; i++)
            to[i] /= sum;
    }
}

static void plain_layer(const pare_model *m, plain_cache *cache, int64_t l, int64_t position,
                        double *x)
{
    const pare_decoder *d = &m->decoder;
    const pare_layer *w = &m->layers[l];
    bool layer_norm = d->norm == PARE_NORM_LAYER;
    double normed[WIDE], q[WIDE], out[WIDE], y[WIDE], up[WIDE], gate[WIDE];
    plain_norm(normed, x, w->attention_norm, w->attention_norm_bias, d->hidden, layer_norm);
    plain_multiply(q, w->q, w->q_bias, normed);
    plain_multiply(cache->k[l][position], w->k, w->k_bias, normed);
    plain_multiply(cache->v[l][position], w->v, w->v_bias, normed);
    plain_heads(d, q, d->heads, w->q_norm, position);
    plain_heads(d, cache->k[l][position], d->kv_heads, w->k_norm, position);
    plain_attention(d, cache, l, position, q, out);
    plain_multiply(y, w->output, w->output_bias, out);
    for (int64_t i = 0; i < d->hidden; i++)
        x[i] += y[i];
    plain_norm(normed, x, w->mlp_norm, w->mlp_norm_bias, d->hidden, layer_norm);
    plain_multiply(up, w->up, w->up_bias, normed);
    if (d->gated_mlp)
        plain_multiply(gate, w->gate, w->gate_bias, normed);
    for (int64_t i = 0; i < d->mlp_hidden; i++) {
        double u = up[i];
        up[i] = d->gated_mlp
                    ? gate[i] / (1 + exp(-gate[i])) * u
                    : 0.5 * u * (1 + tanh(0.7978845608028654 * (u + 0.044715 * u * u * u)));
    }
    plain_multiply(y, w->down, w->down_bias, up);
    for (int64_t i = 0; i < d->hidden; i++)
        x[i] += y[i];
}

static void plain_logits(const pare_model *m, const int32_t *ids, int64_t n, double *logits)
{
    const pare_decoder *d = &m->decoder;
    plain_cache *cache = calloc(1, sizeof *cache);
    assert_non_null(cache);
    for (int64_t t = 0; t < n; t++) {
        double x[WIDE], normed[WIDE];
        for (int64_t i = 0; i < d->hidden; i++)
            x[i] =
                weight_at(m->token_embedding, ids[t] * d->hidden + i) +
                (m->position_embedding ? weight_at(m->position_embedding, t * d->hidden + i) : 0);
        for (int64_t l = 0; l < d->layers; l++)
            plain_layer(m, cache, l, t, x);
        plain_norm(normed, x, m->final_norm, m->final_norm_bias, d->hidden,
                   d->norm == PARE_NORM_LAYER);
        plain_multiply(logits + t * d->vocab, m->head, NULL, normed);
    }
    free(cache);
}

static void against_plain(bool llama, int64_t window, const char *isa)
{
    run r;
    make(&r, llama, PARE_TYPE_F32, window);
    int64_t vocab = r.model->decoder.vocab;
    double *expected = malloc((size_t)(FEW * vocab) * sizeof *expected), worst = 0;
    assert_non_null(expected);
    plain_logits(r.model, r.ids, FEW, expected);
    float *logits = logits_in_pieces(&r, options_with(2, PARE_ACTIVATIONS_F32, isa), FEW, FEW);
    for (int64_t i = 0; i < FEW * vocab; i++)
        worst = fmax(worst, fabs(expected[i] - logits[i]));
    if (!(worst < 2e-4))
        fail_msg("%s: off by %g from double", isa, worst);
    free(logits);
    free(expected);
    small_model_free(&r.small);
}

static void matches_plain_pass(void **state)
{
    for (int isa = 0; isa < PARE_ISA_COUNT; isa++) {
        if (!pare_isa_supported((pare_isa)isa))
            continue;
        against_plain(true, 0, pare_isa_name((pare_isa)isa));
        against_plain(true, 9, pare_isa_name((pare_isa)isa));
        against_plain(false, 0, pare_isa_name((pare_isa)isa));
    }
}

/* ---- the same bits ---- */

static void same_in_every_way(bool llama, pare_type type, int64_t window,
                              pare_activations activations, const char *isa)
{
    run r;
    make(&r, llama, type, window);
    float *whole = logits_in_pieces(&r, options_with(1, activations, isa), TOKENS, TOKENS);
    const struct {
        int threads;
        int64_t piece;
        const char *what;
    } ways[] = {{2, TOKENS, "2 threads"}, {3, TOKENS, "3 threads"},
                {1, 1, "token by token"}, {2, 1, "token by token, 2 threads"},
                {2, 7, "7 at a time"},    {1, 100, "100 at a time"}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char what[96];
        snprintf(what, sizeof what, "%s, %s, %s", isa, pare_type_name(type), ways[i].what);
        float *other = logits_in_pieces(&r, options_with(ways[i].threads, activations, isa), TOKENS,
                                        ways[i].piece);
        same_bits(&r, whole, other, TOKENS, what);
        free(other);
    }
    free(whole);
    small_model_free(&r.small);
}

static void threads_and_batches(void **state)
{
    for (int isa = 0; isa < PARE_ISA_COUNT; isa++) {
        const char *name = pare_isa_name((pare_isa)isa);
        if (!pare_isa_supported((pare_isa)isa))
            continue;
        same_in_every_way(true, PARE_TYPE_BF16, 0, PARE_ACTIVATIONS_F32, name);
        same_in_every_way(true, PARE_TYPE_F32, 50, PARE_ACTIVATIONS_F32, name);
        same_in_every_way(false, PARE_TYPE_F32, 0, PARE_ACTIVATIONS_F32, name);
    }
}

/* Quantized weights, with FP32 activations and with 8-bit ones, which are the same for one token
 * and for many. On the best tier: the kernels' own tests go through all. */
static void quantized_threads_and_batches(void **state)
{
    const pare_type types[] = {PARE_TYPE_Q8_0, PARE_TYPE_Q4_1,  PARE_TYPE_Q4_K,
                               PARE_TYPE_Q6_K, PARE_TYPE_I8_CH, PARE_TYPE_I4_G32};
    const char *best = pare_isa_name(pare_isa_best());
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        same_in_every_way(true, types[i], 0, PARE_ACTIVATIONS_F32, best);
        same_in_every_way(true, types[i], 0, PARE_ACTIVATIONS_FAST, best);
    }
}

/* With fast activations 16-bit weights meet FP32 activations in small batches and BF16 ones in
 * large: threads change nothing, the size of the batch does. */
static void fast_halves(void **state)
{
    run r;
    make(&r, true, PARE_TYPE_BF16, 0);
    float *many = NULL, *single = NULL, worst = 0;
    for (int64_t piece = 1; piece <= 64; piece *= 64) {
        float *one = logits_in_pieces(&r, options_with(1, PARE_ACTIVATIONS_FAST, NULL), 128, piece);
        float *two = logits_in_pieces(&r, options_with(2, PARE_ACTIVATIONS_FAST, NULL), 128, piece);
        same_bits(&r, one, two, 128, "fast, 2 threads");
        *(piece == 1 ? &single : &many) = one;
        free(two);
    }
    for (int64_t i = 0; i < 128 * r.model->decoder.vocab; i++)
        worst = fmaxf(worst, fabsf(many[i] - single[i]));
    print_message("BF16 activations in batches: logits differ by up to %.3g\n", worst);
    assert_true(worst < 0.2f);
    free(many);
    free(single);
    small_model_free(&r.small);
}

static void no_cache_is_equal(void **state)
{
    run r;
    make(&r, true, PARE_TYPE_F32, 0);
    pare_session_options options = options_with(2, PARE_ACTIVATIONS_F32, NULL);
    float *cached = logits_in_pieces(&r, options, 60, 20);
    options.no_kv_cache = true;
    float *recomputed = logits_in_pieces(&r, options, 60, 20),
          *single = logits_in_pieces(&r, options, 60, 1);
    same_bits(&r, cached, recomputed, 60, "no KV cache");
    same_bits(&r, cached, single, 60, "no KV cache, token by token");
    free(cached);
    free(recomputed);
    free(single);
    small_model_free(&r.small);
}

static void rollback_and_snapshot(void **state)
{
    run r;
    make(&r, false, PARE_TYPE_F32, 0);
    int64_t vocab = r.model->decoder.vocab;
    pare_session_options options = options_with(2, PARE_ACTIVATIONS_F32, NULL);
    float *expected = logits_in_pieces(&r, options, 40, 40),
          *got = malloc((size_t)vocab * sizeof *got);
    assert_non_null(got);
    pare_session *session = open_session(&r, options);
    pare_snapshot *snapshot = NULL;
    assert_int_equal(pare_session_forward(session, r.ids, 30), PARE_OK);
    assert_int_equal(pare_session_snapshot(session, &snapshot), PARE_OK);
    assert_int_equal(pare_session_forward(session, r.ids + 100, 200),
                     PARE_OK); /* something else, over it */
    assert_int_equal(pare_session_rollback(session, 30), PARE_OK);
    assert_int_equal(pare_session_forward(session, r.ids + 30, 10), PARE_OK);
    assert_int_equal(pare_session_logits(session, 9, 1, got), PARE_OK);
    assert_memory_equal(got, expected + 39 * vocab, (size_t)vocab * sizeof *got);

    assert_int_equal(pare_session_rollback(session, 0), PARE_OK);
    assert_int_equal(pare_session_forward(session, r.ids + 200, 300), PARE_OK); /* overwrites all */
    for (int again = 0; again < 2; again++) {
        assert_int_equal(pare_session_restore(session, snapshot), PARE_OK);
        assert_int_equal(pare_session_position(session), 30);
        assert_int_equal(pare_session_logits(session, 0, 1, got), PARE_INVALID_ARGUMENT);
        assert_int_equal(pare_session_forward(session, r.ids + 30, 10), PARE_OK);
        assert_int_equal(pare_session_logits(session, 9, 1, got), PARE_OK);
        assert_memory_equal(got, expected + 39 * vocab, (size_t)vocab * sizeof *got);
    }
    pare_snapshot_free(snapshot);
    pare_session_free(session);
    free(expected);
    free(got);
    small_model_free(&r.small);
}

/* An F16 cache costs accuracy, not much, and not nothing. */
static void half_cache(void **state)
{
    run r;
    make(&r, true, PARE_TYPE_F32, 0);
    pare_session_options options = options_with(1, PARE_ACTIVATIONS_F32, NULL);
    float *exact = logits_in_pieces(&r, options, 50, 50), worst = 0;
    options.kv_type = PARE_TYPE_F16;
    float *rounded = logits_in_pieces(&r, options, 50, 50);
    for (int64_t i = 0; i < 50 * r.model->decoder.vocab; i++)
        worst = fmaxf(worst, fabsf(exact[i] - rounded[i]));
    assert_true(worst > 0 && worst < 2e-2f);
    free(exact);
    free(rounded);
    small_model_free(&r.small);
}

/* 8 bits cost more; fed at once or in pieces, the bits are the same. */
static void eight_bit_cache(void **state)
{
    run r;
    make(&r, true, PARE_TYPE_Q8_0, 0);
    pare_session_options options = options_with(2, PARE_ACTIVATIONS_F32, NULL);
    float *exact = logits_in_pieces(&r, options, 50, 50), worst = 0;
    options.kv_type = PARE_TYPE_Q8_0;
    float *rounded = logits_in_pieces(&r, options, 50, 50),
          *pieces = logits_in_pieces(&r, options, 50, 7);
    for (int64_t i = 0; i < 50 * r.model->decoder.vocab; i++)
        worst = fmaxf(worst, fabsf(exact[i] - rounded[i]));
    assert_true(worst > 1e-4f && worst < 0.2f);
    same_bits(&r, rounded, pieces, 50, "8-bit cache, pieces of 7");
    free(exact);
    free(rounded);
    free(pieces);
    small_model_free(&r.small);
}

static bool differ(const run *r, const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)(n * r->model->decoder.vocab) * sizeof *a) != 0;
}

static double most_apart(const run *r, const float *a, const float *b, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n * r->model->decoder.vocab; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* Rounding each token by itself, threads and batches change nothing. With a threshold under which
 * every column holds an outlier, LLM.int8() rounds nothing. */
static void rounded_inputs(void **state)
{
    enum { N = 40 };
    run r;
    make(&r, true, PARE_TYPE_I8_CH, 0);
    pare_decoder *d = &r.model->decoder;
    pare_session_options one = options_with(1, PARE_ACTIVATIONS_F32, NULL),
                         three = options_with(3, PARE_ACTIVATIONS_F32, NULL);
    float *exact = logits_in_pieces(&r, one, N, N);
    d->input_rounding = PARE_INPUTS_TOKEN_INT8;
    float *token = logits_in_pieces(&r, one, N, N), *shared = logits_in_pieces(&r, three, N, N),
          *single = logits_in_pieces(&r, three, N, 1);
    assert_true(differ(&r, token, exact, N));
    same_bits(&r, token, shared, N, "rounded, 3 threads");
    same_bits(&r, token, single, N, "rounded, token by token");
    d->input_rounding = PARE_INPUTS_LLM_INT8;
    d->outlier_threshold = 1e-30f;
    float *all = logits_in_pieces(&r, three, N, N);
    assert_true(most_apart(&r, exact, all, N) < 1e-5);
    d->outlier_threshold = 1;
    float *some = logits_in_pieces(&r, one, N, N), *some_shared = logits_in_pieces(&r, three, N, N);
    assert_true(differ(&r, some, exact, N));
    same_bits(&r, some, some_shared, N, "outliers, 3 threads");
    float *logits[] = {exact, token, shared, single, all, some, some_shared};
    for (size_t i = 0; i < sizeof logits / sizeof *logits; i++)
        free(logits[i]);
    small_model_free(&r.small);
}

/* Rows of four columns. */
static void round_rows(const cpu_state *cpu, float *x, int64_t tokens)
{
    cpu_inputs in = {.x = x,
                     .stride = 4,
                     .tokens = tokens,
                     .columns = 4,
                     .own = {0, tokens},
                     .complete = true,
                     .count = 1};
    pare_int8_rule rule = cpu_round_rule(cpu, &in);
    cpu_round_tokens(cpu, &rule, &in, in.own);
}

/* One token of eight columns by every rule of compressed-tensors that is not int8 for each token:
 * values that its fake_quantize (version 0.20) gives, to the bit. */
static void library_rules(void **state)
{
    static const struct {
        pare_input_rounding rounding;
        float scale;
        int zero;
        float wanted[8];
    } cases[] = {
        {PARE_INPUTS_TOKEN_FP8,
         0,
         0,
         {1, -0.3125f, 0.03515625f, 0.00219726562f, 0.9375f, -7, 3.25f, 0.000915527344f}},
        {PARE_INPUTS_GROUP_FP8,
         0,
         0,
         {1, -0.285714298f, 0.0357142873f, 0.00209263409f, 0.9375f, -7, 3.25f, 0.000915527344f}},
        {PARE_INPUTS_STATIC_FP8,
         0.01f,
         0,
         {0.959999979f, -0.299999982f, 0.0374999978f, 0.00203124993f, 0.959999979f, -4.48000002f,
          3.19999981f, 0.000937499979f}},
        {PARE_INPUTS_TOKEN_INT8_ASYM,
         0,
         0,
         {1.00980389f, -0.282745093f, 0.0403921567f, 0, 0.92901963f, -6.98784304f, 3.31215692f, 0}},
        {PARE_INPUTS_STATIC_INT8,
         0.03f,
         7,
         {0.98999995f, -0.299999982f, 0.0299999993f, 0, 0.930000007f, -4.04999971f, 3.29999995f,
          0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_decoder d = {.input_rounding = cases[i].rounding, .input_group = 4};
        cpu_state cpu = {.decoder = &d};
        float x[8] = {1, -0.3f, 0.0371f, 0.0021f, 0.9375f, -7, 3.3f, 0.0009f}, zeros[8] = {0};
        cpu_inputs in = {.x = x,
                         .stride = 8,
                         .tokens = 1,
                         .columns = 8,
                         .own = {0, 1},
                         .complete = true,
                         .count = 1,
                         .scale = cases[i].scale,
                         .zero = cases[i].zero};
        pare_int8_rule rule = cpu_round_rule(&cpu, &in);
        cpu_round_tokens(&cpu, &rule, &in, in.own);
        in.x = zeros;
        cpu_round_tokens(&cpu, &rule, &in, in.own);
        for (int c = 0; c < 8; c++)
            if (x[c] != cases[i].wanted[c] || zeros[c] != 0)
                fail_msg("%s, column %d: %.9g and %g, wanted %.9g and 0",
                         pare_input_rounding_name(d.input_rounding), c, (double)x[c],
                         (double)zeros[c], (double)cases[i].wanted[c]);
    }
}

/* Every code of E4M3 is itself, what lies half way goes to the even one, the rest to the nearest.
 */
static void fp8_values(void **state)
{
    float before = 0;
    for (int code = 0; code < 127; code++) {
        int exponent = code >> 3, mantissa = code & 7;
        float value =
            exponent ? ldexpf(8 + (float)mantissa, exponent - 10) : ldexpf((float)mantissa, -9);
        assert_float_equal(pare_fp8_nearest(value), value, 0);
        assert_float_equal(pare_fp8_nearest(-value), -value, 0);
        float half = (before + value) / 2;
        assert_float_equal(pare_fp8_nearest(half), (code & 1 ? before : value), 0);
        assert_float_equal(pare_fp8_nearest(nextafterf(half, 1000)), value, 0);
        if (code)
            assert_float_equal(pare_fp8_nearest(nextafterf(half, 0)), before, 0);
        before = value;
    }
    assert_float_equal(pare_fp8_nearest(1e30f), 448, 0);
    assert_float_equal(pare_fp8_nearest(-INFINITY), -448, 0);
}

/* Integer products against rounding in FP32: the same codes, sums in another order, which moves a
 * value over the edge of a step now and then. What a wrong product does is far larger;
 * check_int8.c compares single products closely. */
static void integer_products(void **state)
{
    enum { N = 40 };
    run r;
    make(&r, true, PARE_TYPE_I8_CH, 0);
    pare_decoder *d = &r.model->decoder;
    d->outlier_threshold = 1;
    for (int i = 0; i < r.small.count; i++) { /* of static rules */
        r.small.tensors[i].input_scale = 0.02f;
        r.small.tensors[i].input_zero = 3;
    }
    for (int rounding = PARE_INPUTS_W8A8; rounding < PARE_INPUTS_COUNT; rounding++)
        for (int isa = 0; isa < PARE_ISA_COUNT; isa++) {
            if (!pare_isa_supported((pare_isa)isa))
                continue;
            const char *name = pare_isa_name((pare_isa)isa);
            d->input_rounding = PARE_INPUTS_EXACT;
            float *exact = logits_in_pieces(&r, options_with(1, PARE_ACTIVATIONS_F32, name), N, N);
            d->input_rounding = (pare_input_rounding)rounding;
            pare_session_options fast = options_with(3, PARE_ACTIVATIONS_FAST, name);
            float *slow = logits_in_pieces(&r, options_with(1, PARE_ACTIVATIONS_F32, name), N, N),
                  *many = logits_in_pieces(&r, fast, N, N),
                  *one = logits_in_pieces(&r, options_with(1, PARE_ACTIVATIONS_FAST, name), N, N);
            same_bits(&r, many, one, N, "integers, 3 threads");
            double apart = most_apart(&r, slow, many, N), whole = most_apart(&r, slow, exact, N);
            if (!(apart < 4 * whole) || !(whole > 0))
                fail_msg("%s, %s: %g from FP32, which is %g from exact",
                         pare_input_rounding_name(d->input_rounding), name, apart, whole);
            free(exact);
            free(slow);
            free(many);
            free(one);
        }
    small_model_free(&r.small);
}

/* The values themselves. Column 1 has an outlier in the second token; 2.5 steps go to 2, and -51.49
 * to -52, since LLM.int8() rounds inputs to FP16, -51.5, first. */
static void rounding_rules(void **state)
{
    pare_decoder d = {
        .layers = 1, .hidden = 4, .input_rounding = PARE_INPUTS_LLM_INT8, .outlier_threshold = 6};
    cpu_state cpu = {.decoder = &d};
    assert_int_equal(pare_pool_create(1, &cpu.pool), PARE_OK);
    assert_int_equal(cpu_prepare_statistics(&cpu), PARE_OK);
    float x[2][4] = {{127.f / 64, 25.f / 64, 2.5f / 64, -51.49f / 64}, {0, -7, 127.f / 32, 0.01f}};
    round_rows(&cpu, x[0], 2);
    assert_float_equal(cpu_outlier_share(&cpu, 0), 0.25, 0);
    const float one = PARE_INT8_LLM_STEP * 127.f / 64; /* the value of code 1 of the first token */
    const float wanted[2][4] = {{127 * one, 25.f / 64, 2 * one, -52 * one},
                                {0, -7, 127 * 2 * one, 0}};
    for (int i = 0; i < 8; i++)
        assert_float_equal(x[i / 4][i % 4], wanted[i / 4][i % 4], 1e-7);
    /* Half of the largest is 63.5 steps, but for the rounding of their number. */
    float halves[2][4] = {{2.896484375f, 5.79296875f, 0, 0},
                          {0.03411865234375f, 0.068237304687f, 0, 0}};
    round_rows(&cpu, halves[0], 2);
    assert_float_equal(halves[0][0], 64 * 5.79296875f * PARE_INT8_LLM_STEP, 1e-6);
    assert_float_equal(halves[1][0], 63 * 0.0682373046875f * PARE_INT8_LLM_STEP, 1e-8);
    d.input_rounding = PARE_INPUTS_TOKEN_INT8;
    float y[4] = {127.5f, -127.5f, 2.5f, 0.4f}, zeros[4] = {0};
    round_rows(&cpu, y, 1);
    round_rows(&cpu, zeros, 1);
    const float codes[4] = {127, -128, 2, 0};
    for (int i = 0; i < 4; i++) {
        assert_float_equal(y[i], codes[i], 0);
        assert_float_equal(zeros[i], 0, 0);
    }
    /* ONNX Runtime: from -1 to 254 in steps of 1, zero point 1; 2.5 is even at 2. */
    d.input_rounding = PARE_INPUTS_ORT_DYNAMIC;
    float z[2][4] = {{-1, 2.5f, 0.4f, 0}, {254, 100.6f, -0.6f, 3.5f}};
    const float steps[2][4] = {{-1, 2, 0, 0}, {254, 101, -1, 4}};
    round_rows(&cpu, z[0], 2);
    for (int i = 0; i < 8; i++)
        assert_float_equal(z[i / 4][i % 4], steps[i / 4][i % 4], 0);
    pare_arena_free(&cpu.arena);
    pare_pool_free(cpu.pool);
}

static void limits(void **state)
{
    run r;
    make(&r, false, PARE_TYPE_F32, 0);
    pare_session_options options = options_with(1, PARE_ACTIVATIONS_F32, NULL);
    pare_session *session;
    options.context = 1101; /* learned positions: 1100 */
    assert_int_equal(pare_session_create(r.model, &options, &session), PARE_LIMIT);
    assert_null(session);
    options.context = 10;
    options.kv_type = PARE_TYPE_Q4_1;
    assert_int_equal(pare_session_create(r.model, &options, &session), PARE_INVALID_ARGUMENT);
    options.kv_type = PARE_TYPE_Q8_0; /* heads of 16 */
    assert_int_equal(pare_session_create(r.model, &options, &session), PARE_UNSUPPORTED);
    options.kv_type = PARE_TYPE_F32;
    session = open_session(&r, options);
    float logits[331];
    int32_t bad = 331, negative = -1;
    assert_int_equal(pare_session_logits(session, 0, 1, logits), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_forward(session, r.ids, 8), PARE_OK);
    assert_int_equal(pare_session_forward(session, r.ids, 3), PARE_LIMIT);
    assert_int_equal(pare_session_forward(session, &bad, 1), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_forward(session, &negative, 1), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_forward(session, r.ids, 0), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_position(session), 8);
    assert_int_equal(pare_session_logits(session, 7, 2, logits), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_logits(session, 7, 1, logits), PARE_OK);
    assert_int_equal(pare_session_forward(session, r.ids, 2), PARE_OK);
    assert_int_equal(pare_session_rollback(session, 11), PARE_INVALID_ARGUMENT);
    pare_session_free(session);
    small_model_free(&r.small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_plain_pass), cmocka_unit_test(threads_and_batches),
        cmocka_unit_test(fast_halves),        cmocka_unit_test(quantized_threads_and_batches),
        cmocka_unit_test(no_cache_is_equal),  cmocka_unit_test(rollback_and_snapshot),
        cmocka_unit_test(half_cache),         cmocka_unit_test(eight_bit_cache),
        cmocka_unit_test(rounded_inputs),     cmocka_unit_test(rounding_rules),
        cmocka_unit_test(library_rules),      cmocka_unit_test(fp8_values),
        cmocka_unit_test(integer_products),   cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
