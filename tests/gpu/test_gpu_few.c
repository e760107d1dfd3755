/* Products of up to 64 tokens over packed weights: every format against sums in double, odd shapes,
 * poisoned outputs; the same bits whatever stands beside a token; and rounding by the rules of
 * kernels/int8.h against these. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "gpu/device_memory.h"
#include "kernels/int8.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIP = 77, GUARD = 8 };

typedef struct product {
    pare_type type;
    int64_t rows, columns, stride, tokens;
    float *values, *x, *bias; /* values: as stored */
    gpu_weights weights;
    void *stored, *on_device, *bias_on_device;
    float *partial;
    int *done;
} product;

static product make(pare_type type, int64_t rows, int64_t columns, int64_t tokens)
{
    size_t row = pare_type_row_bytes(type, columns), n = (size_t)(rows * columns);
    const pare_type_traits *traits = pare_type_get_traits(type);
    pare_random random = {(uint64_t)(rows * 31 + columns)};
    product p = {.type = type, .rows = rows, .columns = columns, .tokens = tokens};
    p.stride = (columns + 31) / 32 * 32;
    p.values = malloc(n * sizeof(float));
    p.x = calloc((size_t)(p.stride * tokens), sizeof(float));
    p.bias = malloc((size_t)rows * sizeof(float));
    char *stored = malloc(row * (size_t)rows);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++)
            p.values[r * columns + c] =
                (float)pare_random_normal(&random) * exp2f((float)((r + c / 32) % 8) - 8);
        traits->encode(p.values + r * columns, stored + row * (size_t)r, columns, NULL);
        traits->decode(stored + row * (size_t)r, p.values + r * columns, columns);
        p.bias[r] = (float)pare_random_normal(&random);
    }
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < columns; c++)
            p.x[t * p.stride + c] = (float)pare_random_normal(&random);
    p.weights = (gpu_weights){NULL, rows, columns, gpu_row_bytes(type, columns), type};
    p.weights.data = upload(NULL, (size_t)rows * p.weights.row_bytes);
    void *raw = upload(stored, row * (size_t)rows);
    ok(gpu_pack(&gpu, raw, row, rows, rows, &p.weights, 0, 1));
    ok(gpu_wait(&gpu));
    gpu_release(&gpu, raw, row * (size_t)rows);
    free(stored);
    p.on_device = upload(p.x, (size_t)(p.stride * tokens) * sizeof(float));
    p.bias_on_device = upload(p.bias, (size_t)rows * sizeof(float));
    p.partial = poisoned(gpu_few_partial(&gpu, &p.weights) + 16);
    p.done = upload(NULL, gpu_few_done(&p.weights));
    return p;
}

static void drop(product *p)
{
    gpu_release(&gpu, (void *)p->weights.data, (size_t)p->rows * p->weights.row_bytes);
    gpu_release(&gpu, p->on_device, (size_t)(p->stride * p->tokens) * sizeof(float));
    gpu_release(&gpu, p->bias_on_device, (size_t)p->rows * sizeof(float));
    gpu_release(&gpu, p->partial, gpu_few_partial(&gpu, &p->weights) + 16);
    gpu_release(&gpu, p->done, gpu_few_done(&p->weights));
    free(p->values);
    free(p->x);
    free(p->bias);
}

/* y of tokens first .. first + count - 1, [count][rows + GUARD]. */
static float *multiply(const product *p, int64_t first, int64_t count)
{
    int64_t y_stride = p->rows + GUARD;
    size_t bytes = (size_t)(count * y_stride) * sizeof(float);
    gpu_number number = gpu_few_number(&gpu, p->type);
    float *y = malloc(bytes), *dy = poisoned(bytes);
    void *packed = poisoned(gpu_few_bytes(p->columns, count));
    gpu_few_pack_args pack = {.x = (const float *)p->on_device + first * p->stride,
                              .stride = p->stride,
                              .tokens = count,
                              .columns = p->columns,
                              .number = number,
                              .packed = packed};
    gpu_few_args args = {.weights = p->weights,
                         .bias = p->bias_on_device,
                         .x = packed,
                         .tokens = (int)count,
                         .y = dy,
                         .y_stride = y_stride,
                         .partial = p->partial,
                         .done = p->done};
    ok(gpu_few_pack(&gpu, &pack));
    ok(gpu_few(&gpu, &args));
    fetch(y, dy, bytes);
    gpu_release(&gpu, dy, bytes);
    gpu_release(&gpu, packed, gpu_few_bytes(p->columns, count));
    return y;
}

static int check(const product *p)
{
    int64_t y_stride = p->rows + GUARD;
    float *y = multiply(p, 0, p->tokens), *alone = multiply(p, p->tokens - 1, 1);
    gpu_number number = gpu_few_number(&gpu, p->type);
    double worst = 0, bound = number == GPU_F16 ? 6e-4 : number == GPU_BF16 ? 4e-3 : 8e-3;
    int failed = 0;
    for (int64_t t = 0; t < p->tokens; t++) {
        for (int64_t r = 0; r < p->rows; r++) {
            double sum = p->bias[r], size = fabs(sum);
            for (int64_t c = 0; c < p->columns; c++) {
                double v = (double)p->values[r * p->columns + c] * (double)p->x[t * p->stride + c];
                sum += v;
                size += fabs(v);
            }
            double off = fabs((double)y[t * y_stride + r] - sum) / size;
            worst = !(off <= worst) ? off : worst;
        }
        for (int64_t r = p->rows; r < y_stride; r++)
            failed += !isnan(y[t * y_stride + r]);
    }
    failed += !(worst <= bound);
    failed += memcmp(alone, y + (p->tokens - 1) * y_stride, (size_t)p->rows * sizeof *y) != 0;
    if (failed)
        print_message("%s %lld x %lld, %lld tokens: off by %.3g of the sum of magnitudes, %d\n",
                      pare_type_name(p->type), (long long)p->rows, (long long)p->columns,
                      (long long)p->tokens, worst, failed);
    free(y);
    free(alone);
    return failed;
}

static void products(void **state)
{
    static const int64_t shapes[][3] = {{70, 256, 3},   {64, 2304, 9}, {5, 40, 2},
                                        {33, 1000, 17}, {2, 4096, 64}, {300, 768, 33}};
    bool brief = getenv("PARE_TEST_BRIEF") != NULL;
    int failures = 0, formats = 0;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        pare_type type = (pare_type)t;
        if (!pare_type_writable(type) || gpu_packed_type(type) != type ||
            !gpu_few_takes(&gpu, type))
            continue;
        formats++;
        for (int i = 0; i < 6; i++) {
            if (!pare_type_row_bytes(type, shapes[i][1]) || (brief && i > 3 && type % 5))
                continue;
            product p = make(type, shapes[i][0], shapes[i][1], shapes[i][2]);
            failures += check(&p);
            drop(&p);
        }
    }
    print_message("%d formats\n", formats);
    assert_int_equal(failures, 0);
}

/* Gate and up by turns, written as the input of the next product, which then must be what packing
 * the plain result gives. */
static void gated(void **state)
{
    enum { ROWS = 2 * 72, COLUMNS = 1024, TOKENS = 11 };
    product p = make(PARE_TYPE_Q4_0, ROWS, COLUMNS, TOKENS);
    size_t bytes = gpu_few_bytes(ROWS / 2, TOKENS), plain = (size_t)TOKENS * 96 * sizeof(float);
    void *in = upload(NULL, gpu_few_bytes(COLUMNS, TOKENS)), *direct = upload(NULL, bytes),
         *packed = upload(NULL, bytes);
    float *y = upload(NULL, plain);
    char *a = malloc(bytes), *b = malloc(bytes);
    gpu_few_pack_args pack = {.x = p.on_device,
                              .stride = p.stride,
                              .tokens = TOKENS,
                              .columns = COLUMNS,
                              .number = GPU_INT8,
                              .packed = in};
    gpu_few_args args = {.weights = p.weights,
                         .bias = p.bias_on_device,
                         .x = in,
                         .tokens = TOKENS,
                         .y = y,
                         .y_stride = 96,
                         .epilogue = GPU_GATED,
                         .activation = GPU_SILU,
                         .packed = direct,
                         .packed_number = GPU_INT8,
                         .partial = p.partial,
                         .done = p.done};
    ok(gpu_few_pack(&gpu, &pack));
    ok(gpu_few(&gpu, &args));
    args.packed = NULL;
    ok(gpu_few(&gpu, &args));
    pack = (gpu_few_pack_args){.x = y,
                               .stride = 96,
                               .tokens = TOKENS,
                               .columns = ROWS / 2,
                               .number = GPU_INT8,
                               .packed = packed};
    ok(gpu_few_pack(&gpu, &pack));
    fetch(a, direct, bytes);
    fetch(b, packed, bytes);
    assert_memory_equal(a, b, bytes);
    gpu_release(&gpu, in, gpu_few_bytes(COLUMNS, TOKENS));
    gpu_release(&gpu, direct, bytes);
    gpu_release(&gpu, packed, bytes);
    gpu_release(&gpu, y, plain);
    free(a);
    free(b);
    drop(&p);
}

static void best_rows(void **state)
{
    enum { ROWS = 3, VOCAB = 1999, STRIDE = 2016 };
    float *logits = malloc(ROWS * STRIDE * sizeof *logits);
    int32_t ids[ROWS];
    for (int i = 0; i < ROWS * STRIDE; i++)
        logits[i] = i % STRIDE < VOCAB ? (float)(i * 7919 % 1000) : 1e9f;
    logits[5] = logits[1998] = 5000; /* the first of equal ones */
    logits[STRIDE + 1998] = 5000;
    for (int i = 0; i < VOCAB; i++)
        logits[2 * STRIDE + i] = -3;
    float *on_device = upload(logits, ROWS * STRIDE * sizeof *logits);
    int32_t *best = poisoned(sizeof ids);
    gpu_best *parts = poisoned(ROWS * GPU_BEST_PARTS * sizeof *parts);
    ok(gpu_best_rows(&gpu, on_device, STRIDE, ROWS, VOCAB, parts, best));
    fetch(ids, best, sizeof ids);
    assert_int_equal(ids[0], 5);
    assert_int_equal(ids[1], 1998);
    assert_int_equal(ids[2], 0);
    gpu_release(&gpu, on_device, ROWS * STRIDE * sizeof *logits);
    gpu_release(&gpu, best, sizeof ids);
    gpu_release(&gpu, parts, ROWS * GPU_BEST_PARTS * sizeof *parts);
    free(logits);
}

/* The largest, of equal ones the lowest; of numbers that are none, still a token. */
static void chosen_token(void **state)
{
    enum { PARTS = 132, POSITION = 3 };
    const int32_t nothing = INT32_MAX; /* what a part leaves that saw only NaN */
    gpu_best best[PARTS];
    int32_t ids[POSITION + 1], expected[] = {0, 40};
    gpu_control *control = poisoned(sizeof *control), after;
    int32_t *chosen = poisoned(sizeof ids);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < PARTS; i++)
            best[i] = (gpu_best){-INFINITY, nothing};
        if (round)
            best[4] = best[100] = (gpu_best){5, 40}, best[100].id = 1000;
        gpu_best *on_device = upload(best, sizeof best);
        ok(gpu_set_control(&gpu, control, (gpu_control){7, POSITION, 0}));
        ok(gpu_choose(&gpu, on_device, PARTS, control, chosen));
        fetch(ids, chosen, sizeof ids);
        fetch(&after, control, sizeof after);
        assert_int_equal(ids[POSITION], expected[round]);
        assert_int_equal(after.token, expected[round]);
        assert_int_equal(after.position, POSITION + 1);
        gpu_release(&gpu, on_device, sizeof best);
    }
    gpu_release(&gpu, control, sizeof *control);
    gpu_release(&gpu, chosen, sizeof ids);
}

/* ---- rounding ---- */

static void round_expected(pare_int8_rule rule, float *x, int64_t tokens, int64_t columns)
{
    for (int64_t t = 0; t < tokens; t++) {
        float *row = x + t * columns, scale = pare_int8_scale(&rule, row, columns);
        int8_t *codes = malloc((size_t)columns);
        pare_int8_codes(&rule, scale, row, 0, columns, codes);
        for (int64_t c = 0; c < columns; c++)
            row[c] =
                rule.outliers && rule.outliers[c] ? row[c] : scale * (float)(codes[c] - rule.zero);
        free(codes);
    }
}

static int check_rounding(gpu_round_kind kind, int64_t tokens, int64_t columns, float size)
{
    static const pare_int8_kind kinds[] = {[GPU_ROUND_TOKEN_127] = PARE_INT8_TOKEN_127,
                                           [GPU_ROUND_TOKEN_128] = PARE_INT8_TOKEN_128,
                                           [GPU_ROUND_TENSOR] = PARE_INT8_TENSOR,
                                           [GPU_ROUND_OUTLIERS] = PARE_INT8_LLM};
    size_t bytes = (size_t)(tokens * columns) * sizeof(float);
    float *x = malloc(bytes), *got = malloc(bytes), *given = malloc(bytes), low = 0, high = 0;
    bool *outliers = calloc((size_t)columns, sizeof *outliers);
    int64_t expected = 0, counted = 0;
    pare_random random = {(uint64_t)columns};
    pare_int8_rule rule = {.kind = kinds[kind]};
    gpu_round_rule gpu_rule = {kind, kind == GPU_ROUND_OUTLIERS ? 3 : 0};
    for (int64_t i = 0; i < tokens * columns; i++) {
        x[i] = (float)pare_random_normal(&random) * size;
        given[i] = x[i];
        low = fminf(low, x[i]), high = fmaxf(high, x[i]);
        outliers[i % columns] |= fabsf(pare_int8_half(x[i])) >= 3;
    }
    for (int64_t c = 0; c < columns; c++)
        expected += outliers[c];
    if (kind == GPU_ROUND_OUTLIERS) {
        rule.outliers = outliers;
        rule.threshold = 3;
    } else if (kind == GPU_ROUND_TENSOR) {
        rule.scale = (high - low) / 255;
        rule.scale = rule.scale >= 0x1p-120f ? rule.scale : 0;
        float zero = rule.scale > 0 ? pare_int8_nearest(-low / rule.scale) : 0;
        rule.zero = (int)(zero > 255 ? 255 : zero) - 128;
    }
    float *dx = upload(given, bytes);
    gpu_round_scratch scratch = {poisoned((size_t)columns),
                                 poisoned((size_t)tokens * sizeof(gpu_range))};
    int64_t *count = upload(&counted, sizeof counted);
    ok(gpu_round_rows(&gpu, dx, columns, tokens, columns, &gpu_rule, &scratch, count));
    fetch(got, dx, bytes);
    fetch(&counted, count, sizeof counted);
    round_expected(rule, x, tokens, columns);
    int failed = memcmp(got, x, bytes) != 0 || (kind == GPU_ROUND_OUTLIERS && counted != expected);
    for (int64_t i = 0; failed && i < tokens * columns; i++) {
        if (got[i] == x[i]) /* also -0 and 0 */
            failed =
                i + 1 < tokens * columns || counted != (kind == GPU_ROUND_OUTLIERS ? expected : 0);
        else {
            print_message("rule %d, %lld x %lld: element %lld is %g, not %g\n", kind,
                          (long long)tokens, (long long)columns, (long long)i, (double)got[i],
                          (double)x[i]);
            break;
        }
    }
    gpu_release(&gpu, dx, bytes);
    gpu_release(&gpu, scratch.outlier, (size_t)columns);
    gpu_release(&gpu, scratch.ranges, (size_t)tokens * sizeof(gpu_range));
    gpu_release(&gpu, count, sizeof counted);
    free(given);
    free(outliers);
    free(x);
    free(got);
    return failed;
}

static void rounding(void **state)
{
    int failures = 0;
    for (int kind = GPU_ROUND_TOKEN_127; kind <= GPU_ROUND_OUTLIERS; kind++) {
        failures += check_rounding((gpu_round_kind)kind, 1, 40, 1);
        failures += check_rounding((gpu_round_kind)kind, 7, 1030, 2);
        failures += check_rounding((gpu_round_kind)kind, 300, 65, 1);
        failures += check_rounding((gpu_round_kind)kind, 2, 96, 0);
    }
    assert_int_equal(failures, 0);
}

int main(void)
{
    if (gpu_open(&gpu, 0) != PARE_OK) {
        print_message("skipped: %s\n", pare_error_message());
        return SKIP;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(gated),
                                       cmocka_unit_test(best_rows), cmocka_unit_test(chosen_token),
                                       cmocka_unit_test(rounding)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gpu_close(&gpu);
    return failed;
}
