/* Products of i8_ch weights with activations by the rules of kernels/int8.h, in integers: every
 * tier that this CPU has against sums in double of the values that the rules define, at the ends of
 * all ranges (where 16-bit sums would saturate), odd sizes, guarded memory; and bit for bit, one
 * token against many and shares of rows against all. With --bench: timed beside the 16-bit and
 * q8_0 products, on one thread. */
#include "guarded.h"

#include "base/clock.h"
#include "base/half.h"
#include "kernels/int8.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>

typedef struct fixture {
    const pare_int8 *int8;
    int64_t rows, columns, tokens, x_stride;
    uint8_t *stored, *packed;
    float *x, *bias, *factors;
    pare_int8_rule rule;
    bool outliers[1024];
    int32_t outlier_columns[1024];
} fixture;

static const char *const kinds[] = {"token 127", "token 128", "tensor", "outliers"};
enum { KINDS = 4 };

/* Every third row at the ends of the range: sums of products as large as they get. */
static void make_weights(fixture *f, int kind, pare_random *random)
{
    const size_t row_bytes = (size_t)f->columns + 4;
    f->stored = calloc((size_t)f->rows, row_bytes);
    f->factors = calloc((size_t)f->rows, sizeof *f->factors);
    for (int64_t r = 0; r < f->rows; r++) {
        int8_t *row = (int8_t *)f->stored + (size_t)r * row_bytes;
        float scale = 0.01f + 0.001f * (float)(r % 7);
        int32_t sum = 0;
        for (int64_t c = 0; c < f->columns; c++) {
            int code = (int)pare_random_below(random, 255) - 127;
            row[c] = (int8_t)(r % 3 == 1 ? 127 : r % 3 == 2 ? -127 : code);
            sum += row[c];
        }
        memcpy(row + f->columns, &scale, sizeof scale);
        f->factors[r] = kind == 3 ? scale : scale * (float)sum;
    }
}

static void make_activations(fixture *f, int kind, pare_random *random)
{
    f->x_stride = (f->columns + 15) / 16 * 16 + 16;
    f->x = aligned_alloc(64, (size_t)(f->tokens * f->x_stride) * sizeof(float));
    f->bias = calloc((size_t)f->rows, sizeof(float));
    fill_normal(f->x, f->tokens * f->x_stride, 1, random);
    fill_normal(f->bias, f->rows, 1, random);
    for (int64_t t = 0; t < f->tokens; t++)
        for (int64_t c = 0; c < f->x_stride; c++) {
            float *x = &f->x[t * f->x_stride + c];
            if (c >= f->columns)
                *x = NAN; /* must not be looked at */
            else if (t % 4 == 1)
                *x = -3; /* all codes at one end */
            else if (t % 4 == 2)
                *x = 0;
            else if (kind == 3 && c % 19 == 3 && t % 4 == 3)
                *x *= 40;
        }
    f->rule = (pare_int8_rule){.kind = (pare_int8_kind)kind};
    if (kind == 2) {
        f->rule.scale = 7.0f / 255;
        f->rule.zero = 110 - 128;
    }
    if (kind != 3)
        return;
    f->rule.threshold = 6;
    f->rule.half_outliers = f->tokens % 2;
    f->rule.outliers = f->outliers;
    f->rule.outlier_columns = f->outlier_columns;
    for (int64_t c = 0; c < f->columns; c++) {
        f->outliers[c] = false;
        for (int64_t t = 0; t < f->tokens; t++)
            f->outliers[c] |= fabsf(f->x[t * f->x_stride + c]) >= 6;
        if (f->outliers[c])
            f->outlier_columns[f->rule.outlier_count++] = (int32_t)c;
    }
}

static void free_fixture(fixture *f)
{
    free(f->stored);
    free(f->packed);
    free(f->x);
    free(f->bias);
    free(f->factors);
}

/* y [tokens][rows + 5] of tokens t.. and rows first..last-1. */
static void multiply(const fixture *f, float *y, int64_t y_stride, int64_t t, int64_t tokens,
                     int64_t first, int64_t last)
{
    guarded prepared =
        guarded_allocate(pare_int8_prepared_bytes(tokens, f->columns, f->rule.outliers != NULL));
    guarded scratch = guarded_allocate(f->int8->matmul->scratch_bytes(f->rows, f->columns, tokens));
    f->int8->prepare(prepared.data, &f->rule, f->x + t * f->x_stride, f->x_stride, tokens,
                     f->columns, 0, tokens);
    f->int8->matmul->multiply(y, y_stride, f->packed, PARE_TYPE_I8_CH, prepared.data, 0,
                              f->rule.kind == PARE_INT8_LLM ? NULL : f->bias, f->rows, f->columns,
                              tokens, first, last, scratch.data);
    f->int8->correct(y, y_stride, f->packed, prepared.data, &f->rule, f->factors, f->bias,
                     f->columns, tokens, first, last);
    guarded_free(&prepared);
    guarded_free(&scratch);
}

static void expect(const fixture *f, const char *what, int64_t t, int64_t r, float got)
{
    const float *x = f->x + t * f->x_stride;
    const int8_t *row = (int8_t *)f->stored + (size_t)r * (size_t)(f->columns + 4);
    float scale = pare_int8_scale(&f->rule, x, f->columns), w;
    double sum = (double)f->bias[r], size = fabs(sum);
    memcpy(&w, row + f->columns, sizeof w);
    for (int64_t c = 0; c < f->columns; c++) {
        int8_t code;
        pare_int8_codes(&f->rule, scale, x, c, 1, &code);
        double value = (double)scale * (code - f->rule.zero);
        if (f->rule.outliers && f->outliers[c])
            value = (double)(f->rule.half_outliers ? pare_f16_to_f32(pare_f32_to_f16(x[c])) : x[c]);
        sum += (double)w * row[c] * value;
        size += fabs((double)w * row[c]) * (fabs(value) + (double)scale * abs(f->rule.zero));
    }
    if (!(fabs(sum - (double)got) <= 2e-6 * size + 1e-12))
        fail_msg("%s, %lld x %lld, token %lld of %lld, row %lld: %.9g, expected %.9g", what,
                 (long long)f->rows, (long long)f->columns, (long long)t, (long long)f->tokens,
                 (long long)r, (double)got, sum);
}

static void check_one(const pare_kernels *kernels, int kind, int64_t rows, int64_t columns,
                      int64_t tokens, pare_random *random)
{
    fixture f = {.int8 = kernels->int8, .rows = rows, .columns = columns, .tokens = tokens};
    const pare_matmul *m = f.int8->matmul;
    const int64_t stride = rows + 5, step = m->row_step;
    char what[96];
    snprintf(what, sizeof what, "%s, %s", m->name, kinds[kind]);
    make_weights(&f, kind, random);
    make_activations(&f, kind, random);
    size_t packed = (m->packed_bytes(rows, columns) + 63) / 64 * 64;
    f.packed = aligned_alloc(64, packed);
    m->pack(f.packed, f.stored, PARE_TYPE_I8_CH, rows, columns, 0, rows);
    if (kind == 3)
        f.int8->unscale(f.packed, rows, columns);
    guarded y = guarded_allocate((size_t)(tokens * stride) * sizeof(float));
    guarded again = guarded_allocate((size_t)(tokens * stride) * sizeof(float));
    multiply(&f, (float *)y.data, stride, 0, tokens, 0, rows);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t r = 0; r < rows; r++)
            expect(&f, what, t, r, ((float *)y.data)[t * stride + r]);
    /* In three shares; then token by token. */
    for (int part = 0; part < 3; part++) {
        int64_t steps = (rows + step - 1) / step, first = steps * part / 3 * step,
                last = steps * (part + 1) / 3 * step;
        if (first < last)
            multiply(&f, (float *)again.data, stride, 0, tokens, first, last < rows ? last : rows);
    }
    for (int64_t t = 0; t < tokens; t++)
        if (memcmp(y.data + (size_t)(t * stride) * 4, again.data + (size_t)(t * stride) * 4,
                   (size_t)rows * 4) != 0)
            fail_msg("%s: shares of rows give other bits", what);
    for (int64_t t = 0; t < tokens; t++)
        multiply(&f, (float *)again.data + t * stride, stride, t, 1, 0, rows);
    for (int64_t t = 0; t < tokens; t++)
        if (memcmp(y.data + (size_t)(t * stride) * 4, again.data + (size_t)(t * stride) * 4,
                   (size_t)rows * 4) != 0)
            fail_msg("%s: token %lld of %lld alone gives other bits", what, (long long)t,
                     (long long)tokens);
    guarded_free(&y);
    guarded_free(&again);
    free_fixture(&f);
}

static void all_products(void **state)
{
    static const int64_t sizes[][3] = {{32, 32, 1},  {33, 64, 2},   {70, 96, 7},  {1, 33, 5},
                                       {64, 37, 13}, {95, 1000, 6}, {40, 512, 40}};
    pare_random random = {7};
    for (int isa = 0; isa < PARE_ISA_COUNT; isa++) {
        if (!pare_isa_supported((pare_isa)isa))
            continue;
        const pare_kernels *kernels = pare_kernels_get((pare_isa)isa);
        for (int kind = 0; kind < KINDS; kind++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                check_one(kernels, kind, sizes[s][0], sizes[s][1], sizes[s][2], &random);
    }
}

/* ---- timing ---- */

static double time_of(const fixture *f, float *y, void *prepared, void *scratch)
{
    double best = INFINITY;
    for (int i = 0; i < 9; i++) {
        double start = pare_seconds();
        f->int8->prepare(prepared, &f->rule, f->x, f->x_stride, f->tokens, f->columns, 0,
                         f->tokens);
        f->int8->matmul->multiply(y, f->rows, f->packed, PARE_TYPE_I8_CH, prepared, 0, NULL,
                                  f->rows, f->columns, f->tokens, 0, f->rows, scratch);
        f->int8->correct(y, f->rows, f->packed, prepared, &f->rule, f->factors, NULL, f->columns,
                         f->tokens, 0, f->rows);
        best = fmin(best, pare_seconds() - start);
    }
    return best;
}

static double time_other(const pare_kernels *kernels, pare_type type, pare_operand operand,
                         const fixture *f, float *y)
{
    const pare_matmul *m = kernels->matmul[type][operand];
    if (!m || !m->packed_bytes)
        return NAN;
    size_t row_bytes = pare_type_row_bytes(type, f->columns);
    uint8_t *stored = calloc((size_t)f->rows, row_bytes);
    uint8_t *packed = aligned_alloc(64, (m->packed_bytes(f->rows, f->columns) + 63) / 64 * 64);
    void *prepared = aligned_alloc(
        64, m->prepared_bytes ? (m->prepared_bytes(f->tokens, f->columns) + 63) / 64 * 64 : 64);
    void *scratch = aligned_alloc(
        64,
        m->scratch_bytes ? (m->scratch_bytes(f->rows, f->columns, f->tokens) + 63) / 64 * 64 : 64);
    double best = INFINITY;
    m->pack(packed, stored, type, f->rows, f->columns, 0, f->rows);
    for (int i = 0; i < 9; i++) {
        double start = pare_seconds();
        if (m->prepare)
            m->prepare(prepared, f->x, f->x_stride, f->tokens, f->columns, 0, f->tokens);
        m->multiply(y, f->rows, packed, type, m->prepare ? prepared : (void *)f->x, f->x_stride,
                    NULL, f->rows, f->columns, f->tokens, 0, f->rows, scratch);
        best = fmin(best, pare_seconds() - start);
    }
    free(stored);
    free(packed);
    free(prepared);
    free(scratch);
    return best;
}

static void bench_tier(const pare_kernels *kernels, int64_t tokens)
{
    pare_random random = {3};
    fixture f = {.int8 = kernels->int8, .rows = 1024, .columns = 1024, .tokens = tokens};
    make_weights(&f, 3, &random);
    f.packed = aligned_alloc(64, f.int8->matmul->packed_bytes(f.rows, f.columns) + 64);
    f.int8->matmul->pack(f.packed, f.stored, PARE_TYPE_I8_CH, f.rows, f.columns, 0, f.rows);
    float *y = calloc((size_t)(tokens * f.rows), sizeof *y);
    void *prepared =
        aligned_alloc(64, (pare_int8_prepared_bytes(tokens, f.columns, true) + 63) / 64 * 64);
    void *scratch = aligned_alloc(
        64, (f.int8->matmul->scratch_bytes(f.rows, f.columns, tokens) + 63) / 64 * 64);
    const double gops = 2e-9 * (double)(f.rows * f.columns * tokens);
    printf("%-12s %4lld tokens, 10^9 operations per second:", pare_isa_name(kernels->isa),
           (long long)tokens);
    for (int kind = 0; kind < KINDS; kind++) {
        free(f.x);
        free(f.bias);
        make_activations(&f, kind, &random);
        printf("  %s %.0f", kinds[kind], gops / time_of(&f, y, prepared, scratch));
    }
    printf(" (%lld columns)", (long long)f.rule.outlier_count);
    printf("  q8 %.0f", gops / time_other(kernels, PARE_TYPE_I8_CH, PARE_OPERAND_Q8, &f, y));
    printf("  f16 %.0f", gops / time_other(kernels, PARE_TYPE_F16, PARE_OPERAND_F32, &f, y));
    printf("  bf16 %.0f\n", gops / time_other(kernels, PARE_TYPE_BF16, PARE_OPERAND_BF16, &f, y));
    free(y);
    free(prepared);
    free(scratch);
    free_fixture(&f);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        for (int isa = 0; isa < PARE_ISA_COUNT; isa++)
            for (int64_t tokens = 1; tokens <= 256 && pare_isa_supported((pare_isa)isa);
                 tokens += 255)
                bench_tier(pare_kernels_get((pare_isa)isa), tokens);
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
