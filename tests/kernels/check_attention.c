/* Attention of every tier against an exact softmax in double; and bit for bit: tokens fed at once
 * or in parts, any number of shares. With --time FILTER it measures speed instead. */
#include "guarded.h"

#include "base/half.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/key_cache.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

typedef struct problem {
    pare_attention a;
    guarded keys, values, q, out;
    float *exact_keys, *exact_values; /* what the cache holds, as FP32 */
} problem;

static size_t row_bytes(pare_type type, int64_t n)
{
    return pare_type_row_bytes(type, n);
}

static int64_t up16(int64_t n)
{
    return (n + 15) / 16 * 16;
}

static void read_stored(const void *row, float *values, int64_t n, pare_type type)
{
    pare_type_get_traits(type)->decode(row, values, n);
}

/* Rows beyond past + tokens hold NaN: whoever reads them shows it. */
static problem make_problem(pare_attention a, uint64_t seed)
{
    const pare_kernels *reference = pare_kernels_get(PARE_ISA_REF);
    problem p = {.a = a};
    pare_random random = {seed};
    int64_t filled = a.past + a.tokens;
    p.a.capacity = up16(filled + 3);
    p.a.cache_row_bytes = row_bytes(a.cache_type, a.head_dim);
    p.a.q_stride = up16(a.heads * a.head_dim) + 16;
    p.a.out_stride = up16(a.heads * a.head_dim);
    size_t bytes = (size_t)(a.kv_heads * p.a.capacity) * p.a.cache_row_bytes;
    p.keys = guarded_allocate(bytes), p.values = guarded_allocate(bytes);
    memset(p.keys.data, 0xff, bytes), memset(p.values.data, 0xff, bytes);
    p.q = guarded_allocate((size_t)(a.tokens * p.a.q_stride) * 4);
    p.out = guarded_allocate((size_t)(a.tokens * p.a.out_stride) * 4);
    fill_normal((float *)p.q.data, a.tokens * p.a.q_stride, 2, &random);
    size_t count = (size_t)(a.kv_heads * filled * a.head_dim);
    p.exact_keys = malloc(count * 4), p.exact_values = malloc(count * 4);
    float row[PARE_HEAD_DIM_MAX];
    for (int side = 0; side < 2; side++)
        for (int64_t i = 0; i < a.kv_heads * filled; i++) {
            fill_normal(row, a.head_dim, 1, &random);
            int64_t at = i / filled * p.a.capacity + i % filled;
            size_t plane = (size_t)(i / filled * p.a.capacity) * p.a.cache_row_bytes;
            uint8_t key[PARE_HEAD_DIM_MAX * sizeof(float)], *stored = key;
            if (side)
                stored = p.values.data + (size_t)at * p.a.cache_row_bytes;
            reference->store_cache(stored, row, a.head_dim, a.cache_type);
            if (!side)
                pare_key_store(p.keys.data + plane, p.a.cache_row_bytes, i % filled, key,
                               a.head_dim, a.cache_type);
            float *exact = (side ? p.exact_values : p.exact_keys) + i * a.head_dim;
            read_stored(stored, exact, a.head_dim, a.cache_type);
        }
    p.a.keys = p.keys.data, p.a.values = p.values.data;
    p.a.q = (float *)p.q.data, p.a.out = (float *)p.out.data;
    return p;
}

static void free_problem(problem *p)
{
    guarded_free(&p->keys), guarded_free(&p->values), guarded_free(&p->q), guarded_free(&p->out);
    free(p->exact_keys), free(p->exact_values);
}

/* Runs a call in `shares` shares, last share first: an order that no barrier allows to matter. */
static void run_shares(const pare_kernels *k, const pare_attention *a, int shares)
{
    guarded scratch = guarded_allocate(k->attention_scratch_bytes(a));
    for (int i = shares - 1; i >= 0; i--) {
        pare_range r = pare_share(k->attention_tasks(a), 1, i, shares);
        k->attention(a, r.first, r.last, scratch.data);
    }
    for (int i = shares - 1; i >= 0; i--) {
        pare_range r = pare_share(k->attention_finish_tasks(a), 1, i, shares);
        k->attention_finish(a, r.first, r.last, scratch.data);
    }
    guarded_free(&scratch);
}

static void exact_row(const problem *p, int64_t token, int64_t head, double *out)
{
    const pare_attention *a = &p->a;
    int64_t end = a->past + token + 1, n = a->head_dim, filled = a->past + a->tokens;
    int64_t first = a->window > 0 && end > a->window ? end - a->window : 0;
    int64_t plane = head / (a->heads / a->kv_heads) * filled;
    const float *q = a->q + token * a->q_stride + head * n;
    double *scores = malloc((size_t)end * sizeof *scores), highest = -INFINITY, sum = 0;
    for (int64_t key = first; key < end; key++) {
        double dot = 0;
        for (int64_t d = 0; d < n; d++)
            dot += (double)q[d] * p->exact_keys[(plane + key) * n + d];
        scores[key] = dot * a->scale;
        highest = fmax(highest, scores[key]);
    }
    for (int64_t d = 0; d < n; d++)
        out[d] = 0;
    for (int64_t key = first; key < end; key++) {
        double weight = exp(scores[key] - highest);
        sum += weight;
        for (int64_t d = 0; d < n; d++)
            out[d] += weight * p->exact_values[(plane + key) * n + d];
    }
    for (int64_t d = 0; d < n; d++)
        out[d] /= sum;
    free(scores);
}

/* FP32 throughout: a score of size s is wrong by some s 2^-24, a weight by as much relatively. */
static void check_exact(const problem *p)
{
    double exact[PARE_HEAD_DIM_MAX];
    const pare_attention *a = &p->a;
    for (int64_t token = 0; token < a->tokens; token++)
        for (int64_t head = 0; head < a->heads; head++) {
            exact_row(p, token, head, exact);
            const float *out = a->out + token * a->out_stride + head * a->head_dim;
            for (int64_t d = 0; d < a->head_dim; d++)
                if (!(fabs(out[d] - exact[d]) < 5e-6))
                    fail_msg("token %ld head %ld element %ld: %.9g instead of %.9g", (long)token,
                             (long)head, (long)d, out[d], exact[d]);
        }
}

/* The call's tokens in parts of `part`, into `out`. */
static void run_parts(const pare_kernels *k, const problem *p, int64_t part, float *out)
{
    for (int64_t t = 0; t < p->a.tokens; t += part) {
        pare_attention a = p->a;
        a.tokens = a.tokens - t < part ? a.tokens - t : part;
        a.past += t;
        a.q += t * a.q_stride;
        a.out = out + t * a.out_stride;
        run_shares(k, &a, 1 + (int)(t % 3));
    }
}

static void check_problem(pare_attention a)
{
    problem p = make_problem(a, (uint64_t)(a.tokens * 1000 + a.past));
    size_t floats = (size_t)(a.tokens * p.a.out_stride);
    float *parts = malloc(floats * 4);
    for (pare_isa isa = 0; isa < PARE_ISA_COUNT; isa++) {
        if (!pare_isa_supported(isa))
            continue;
        const pare_kernels *k = pare_kernels_get(isa);
        memset(p.out.data, 0, floats * 4);
        run_shares(k, &p.a, 1);
        check_exact(&p);
        const int64_t sizes[] = {1, 7, 9, 64};
        for (int s = 0; s < 4; s++) {
            memset(parts, 0, floats * 4);
            run_parts(k, &p, sizes[s], parts);
            assert_memory_equal(parts, p.out.data, floats * 4);
        }
        memcpy(parts, p.out.data, floats * 4);
        run_shares(k, &p.a, 5);
        assert_memory_equal(parts, p.out.data, floats * 4);
    }
    free(parts);
    free_problem(&p);
}

static pare_attention shape(int64_t tokens, int64_t past, int64_t heads, int64_t kv_heads,
                            int64_t head_dim, int64_t window, pare_type type)
{
    return (pare_attention){.tokens = tokens,
                            .past = past,
                            .heads = heads,
                            .kv_heads = kv_heads,
                            .head_dim = head_dim,
                            .window = window,
                            .cache_type = type,
                            .scale = 1 / sqrtf((float)head_dim)};
}

static void test_shapes(void **state)
{
    (void)state;
    const pare_type types[] = {PARE_TYPE_F32, PARE_TYPE_F16, PARE_TYPE_Q8_0, PARE_TYPE_Q4_0};
    for (int t = 0; t < 4; t++) {
        check_problem(shape(1, 0, 4, 2, 64, 0, types[t]));
        check_problem(shape(70, 0, 8, 2, 64, 0, types[t]));
        check_problem(shape(33, 500, 9, 3, 64, 0, types[t]));  /* over a chunk's end */
        check_problem(shape(5, 1530, 4, 4, 128, 0, types[t])); /* few tokens, several chunks */
        check_problem(shape(3, 1023, 8, 1, 96, 0, types[t]));
        check_problem(shape(150, 10, 4, 2, 32, 17, types[t])); /* window inside a block */
        check_problem(shape(20, 1100, 4, 2, 64, 600, types[t]));
        check_problem(shape(6, 1100, 4, 2, 64, 600, types[t])); /* window and split */
        check_problem(shape(6, 1100, 4, 2, 64, 1, types[t]));
        check_problem(shape(2, 70, 2, 1, 512, 0, types[t]));
    }
    for (int64_t head_dim = 1; head_dim <= 80; head_dim += head_dim < 20 ? 1 : 12)
        check_problem(
            shape(11, 60, 6, 3, head_dim, 0, head_dim % 2 ? PARE_TYPE_F32 : PARE_TYPE_F16));
    check_problem(
        shape(2, 5, 100, 1, 16, 0, PARE_TYPE_F16)); /* more heads in a group than rows in a tile */
}

/* Scores far apart, and all equal. */
static void test_extremes(void **state)
{
    (void)state;
    const float scales[] = {0, 40, -40, 1e-30f};
    for (int s = 0; s < 4; s++)
        for (pare_isa isa = 0; isa < PARE_ISA_COUNT; isa++) {
            if (!pare_isa_supported(isa))
                continue;
            pare_attention a = shape(9, 700, 4, 2, 64, 0, PARE_TYPE_F16);
            a.scale = scales[s];
            problem p = make_problem(a, 4);
            run_shares(pare_kernels_get(isa), &p.a, 2);
            double exact[64], worst = 0;
            for (int64_t row = 0; row < 36; row++) {
                exact_row(&p, row / 4, row % 4, exact);
                for (int d = 0; d < 64; d++)
                    worst = fmax(worst, fabs(p.a.out[row / 4 * p.a.out_stride + row % 4 * 64 + d] -
                                             exact[d]));
            }
            assert_true(worst < (fabsf(scales[s]) > 1
                                     ? 1e-2
                                     : 5e-6)); /* scores of 1e3: 2^-24 of that in the exponent */
            free_problem(&p);
        }
}

typedef struct job {
    const pare_kernels *kernels;
    const pare_attention *a;
    pare_pool *pool;
    void *scratch;
} job;

static void work(void *argument, int index, int count)
{
    job *j = argument;
    pare_range r = pare_share(j->kernels->attention_tasks(j->a), 1, index, count);
    j->kernels->attention(j->a, r.first, r.last, j->scratch);
    if (j->kernels->attention_finish_tasks(j->a) == 0)
        return;
    pare_pool_barrier(j->pool);
    r = pare_share(j->kernels->attention_finish_tasks(j->a), 1, index, count);
    j->kernels->attention_finish(j->a, r.first, r.last, j->scratch);
}

/* For ThreadSanitizer: tasks share the scratch and the output, never an element. */
static void test_threads(void **state)
{
    (void)state;
    for (int tokens = 1; tokens < 140; tokens += 69) {
        problem p = make_problem(shape(tokens, 1500, 8, 4, 64, 0, PARE_TYPE_F16), 2);
        const pare_kernels *k = pare_kernels_get(pare_isa_best());
        pare_pool *pool;
        assert_int_equal(pare_pool_create(3, &pool), PARE_OK);
        guarded scratch = guarded_allocate(k->attention_scratch_bytes(&p.a));
        job j = {k, &p.a, pool, scratch.data};
        pare_pool_run(pool, work, &j);
        check_exact(&p);
        pare_pool_free(pool);
        guarded_free(&scratch);
        free_problem(&p);
    }
}

/* Of this thread: a busy machine disturbs it least. */
static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* GFLOP/s (both products, the causal half only) and GB/s of cache read, on one thread, in the best
 * of many runs. */
static void time_shape(const char *filter, const char *name, pare_attention a)
{
    if (!strstr(name, filter))
        return;
    problem p = make_problem(a, 1);
    double pairs = 0;
    for (int64_t t = 0; t < a.tokens; t++)
        pairs += (double)(a.past + t + 1);
    double flops = 4 * pairs * (double)(a.heads * a.head_dim);
    double bytes = 2.0 * (double)((a.past + a.tokens) * a.kv_heads) * (double)p.a.cache_row_bytes;
    for (pare_isa isa = 0; isa < PARE_ISA_COUNT; isa++) {
        const pare_kernels *k = pare_kernels_get(isa);
        if (!pare_isa_supported(isa) || isa == PARE_ISA_REF || isa == PARE_ISA_AVXVNNI ||
            isa == PARE_ISA_AVX512VNNI)
            continue;
        double best = INFINITY, begin = cpu_seconds();
        do {
            double start = cpu_seconds();
            run_shares(k, &p.a, 1);
            best = fmin(best, cpu_seconds() - start);
        } while (cpu_seconds() - begin < 0.3);
        printf("%-28s %-8s %9.1f us %8.1f GFLOP/s %7.1f GB/s\n", name, pare_isa_name(isa),
               best * 1e6, flops / best * 1e-9, bytes / best * 1e-9);
    }
    free_problem(&p);
}

static int time_all(const char *filter)
{
    const pare_type f16 = PARE_TYPE_F16;
    time_shape(filter, "llama-1b prefill 512", shape(512, 0, 32, 8, 64, 0, f16));
    time_shape(filter, "tinyllama prefill 512", shape(512, 0, 32, 4, 64, 0, f16));
    time_shape(filter, "distilgpt2 prefill 512", shape(512, 0, 12, 12, 64, 0, f16));
    time_shape(filter, "llama-8b prefill 512", shape(512, 0, 8, 2, 128, 0, f16));
    time_shape(filter, "prefill 128 after 4096", shape(128, 4096, 8, 2, 128, 0, f16));
    time_shape(filter, "llama-1b decode 8192", shape(1, 8191, 32, 8, 64, 0, f16));
    time_shape(filter, "llama-1b decode 65536", shape(1, 65535, 32, 8, 64, 0, f16));
    time_shape(filter, "llama-1b decode 8192 f32", shape(1, 8191, 32, 8, 64, 0, PARE_TYPE_F32));
    time_shape(filter, "llama-1b decode 8192 q8_0", shape(1, 8191, 32, 8, 64, 0, PARE_TYPE_Q8_0));
    time_shape(filter, "tinyllama decode 2048", shape(1, 2047, 32, 4, 64, 0, f16));
    time_shape(filter, "llama-8b decode 8192", shape(1, 8191, 32, 8, 128, 0, f16));
    time_shape(filter, "llama-2-7b decode 2048", shape(1, 2047, 32, 32, 128, 0, f16));
    time_shape(filter, "distilgpt2 decode 512", shape(1, 511, 12, 12, 64, 0, f16));
    time_shape(filter, "distilgpt2 decode 64", shape(1, 63, 12, 12, 64, 0, f16));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--time") == 0)
        return time_all(argc > 2 ? argv[2] : "");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
