/* Every matrix-vector kernel against sums in double of the decoder's values: odd shapes, extreme
 * inputs, poisoned outputs; and packing against dequantizing, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/random.h"
#include "gpu/device_memory.h"
#include "kernels/int8.h"
#include "kernels/quantize8.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SKIP = 77 };

typedef struct matrix {
    pare_type type;
    int64_t rows, columns;
    float *values; /* decoded */
    gpu_weights weights;
} matrix;

/* Wild: block scales of very different size. */
static void make(matrix *m, pare_type type, int64_t rows, int64_t columns, bool wild)
{
    size_t row = pare_type_row_bytes(type, columns), n = (size_t)(rows * columns);
    pare_random random = {(uint64_t)(rows * 31 + columns)};
    const pare_type_traits *traits = pare_type_get_traits(type);
    char *stored = malloc(row * (size_t)rows);
    *m = (matrix){type, rows, columns, malloc(n * sizeof(float)), {0}};
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            float scale = wild ? exp2f((float)((r + c / 32) % 12) - 6) : 0.05f;
            m->values[r * columns + c] = (float)pare_random_normal(&random) * scale;
        }
        traits->encode(m->values + r * columns, stored + row * (size_t)r, columns, NULL);
        traits->decode(stored + row * (size_t)r, m->values + r * columns, columns);
    }
    m->weights = (gpu_weights){NULL, rows, columns, gpu_row_bytes(gpu_packed_type(type), columns),
                               gpu_packed_type(type)};
    m->weights.data = upload(NULL, (size_t)rows * m->weights.row_bytes);
    void *on_device = upload(stored, row * (size_t)rows);
    ok(gpu_pack(&gpu, on_device, row, rows, rows, &m->weights, 0, 1));
    ok(gpu_wait(&gpu));
    gpu_release(&gpu, on_device, row * (size_t)rows);
    free(stored);
}

static void release(matrix *m)
{
    gpu_release(&gpu, (void *)m->weights.data, (size_t)m->rows * m->weights.row_bytes);
    free(m->values);
}

/* What dequantizing gives is what the decoder gives. */
static int check_values(const matrix *m)
{
    int64_t stride = (m->columns + 31) / 32 * 32;
    size_t bytes = (size_t)(m->rows * stride) * sizeof(float);
    float *got = malloc(bytes), *on_device = upload(NULL, bytes);
    int64_t wrong = 0;
    gpu_planes to = {on_device, GPU_F32, 1, m->rows, stride};
    ok(gpu_check(cudaMemset(on_device, 0xff, bytes), "poison"));
    ok(gpu_dequantize(&gpu, &m->weights, 0, m->rows, &to));
    fetch(got, on_device, bytes);
    for (int64_t r = 0; r < m->rows; r++)
        for (int64_t c = 0; c < m->columns; c++) {
            float a = got[r * stride + c], b = m->values[r * m->columns + c];
            wrong +=
                !(fabsf(a - b) <= 1.3e-7f * fabsf(b) * (m->type >= PARE_TYPE_I4_G32_ASYM ? 16 : 4));
        }
    if (wrong)
        print_message("%s %lld x %lld: %lld values differ\n", pare_type_name(m->type),
                      (long long)m->rows, (long long)m->columns, (long long)wrong);
    gpu_release(&gpu, on_device, bytes);
    free(got);
    return wrong != 0;
}

static void make_input(float *x, int64_t n, int64_t padded, bool wild)
{
    pare_random random = {5};
    for (int64_t i = 0; i < padded; i++) {
        float scale = wild ? (i / 32 % 5 == 0 ? 0 : i / 32 % 5 == 1 ? 1e-6f : i % 97 ? 1 : 300) : 1;
        x[i] = i < n ? (float)pare_random_normal(&random) * scale : 0;
    }
}

/* Tables of nf4 and fp4 in 16 bits are off by 1.6e-5 of the block's largest: of a block whose
 * largest weight meets a zero, that is more of the sum of magnitudes. Formats with zero points
 * subtract two near sums. */
/* Sums in double; with rounded inputs where `fast` and the format has codes. */
static void expect(const matrix *m, const float *x, bool rounded, double *y, double *size)
{
    float *used = malloc((size_t)m->columns * sizeof *used);
    memcpy(used, x, (size_t)m->columns * sizeof *used);
    for (int64_t c = 0; rounded && c < m->columns; c += 32) {
        int8_t codes[32];
        int64_t n = m->columns - c < 32 ? m->columns - c : 32;
        float scale = pare_quantize8(codes, x + c, n);
        for (int64_t i = 0; i < n; i++)
            used[c + i] = scale * (float)codes[i];
    }
    for (int64_t r = 0; r < m->rows; r++) {
        y[r] = size[r] = 0;
        for (int64_t c = 0; c < m->columns; c++) {
            double product = (double)m->values[r * m->columns + c] * (double)used[c];
            y[r] += product;
            size[r] += fabs(product);
        }
    }
    free(used);
}

static int check_product(const matrix *m, bool wild, bool fast)
{
    int64_t padded = (m->columns + 31) / 32 * 32;
    size_t out = (size_t)(m->rows + 8) * sizeof(float);
    float *x = malloc((size_t)padded * sizeof *x), *y = malloc(out);
    double *expected = malloc((size_t)m->rows * sizeof *expected);
    double *size = malloc((size_t)m->rows * sizeof *size), worst = 0;
    bool dense = m->weights.type <= PARE_TYPE_F16 || m->weights.type == PARE_TYPE_BF16;
    bool table16 = m->type == PARE_TYPE_NF4 || m->type == PARE_TYPE_FP4;
    make_input(x, m->columns, padded, wild);
    expect(m, x, fast && !dense, expected, size);
    float *dx = upload(x, (size_t)padded * sizeof *x), *dy = upload(NULL, out);
    ok(gpu_check(cudaMemset(dy, 0xff, out), "poison"));
    gpu_matvec_args args = {.weights = m->weights, .x = dx, .y = dy};
    ok(gpu_matvec(&gpu, &args, fast));
    fetch(y, dy, out);
    for (int64_t r = 0; r < m->rows; r++) {
        double off = fabs((double)y[r] - expected[r]) / (size[r] + 1e-30);
        worst = !(off <= worst) ? off : worst;
    }
    int failed = !(worst <= (table16 && fast ? wild ? 3e-4 : 3e-5 : 6e-6));
    for (int i = 0; i < 8; i++) /* nothing behind the rows is written */
        failed += !isnan(y[m->rows + i]);
    if (failed)
        print_message("%s %lld x %lld %s %s: off by %.3g of the sum of magnitudes\n",
                      pare_type_name(m->type), (long long)m->rows, (long long)m->columns,
                      fast ? "fast" : "exact", wild ? "wild" : "", worst);
    gpu_release(&gpu, dx, (size_t)padded * sizeof *x);
    gpu_release(&gpu, dy, out);
    free(x);
    free(y);
    free(expected);
    free(size);
    return failed;
}

static void products(void **state)
{
    static const int64_t shapes[][2] = {{1, 256}, {7, 256}, {67, 768}, {300, 1280}, {1063, 2304}};
    static const int64_t odd[][2] = {{5, 40}, {33, 1000}, {2, 4100}};
    int failures = 0, formats = 0;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        pare_type type = (pare_type)t;
        if (!pare_type_writable(type) || gpu_packed_type(type) != type)
            continue;
        formats++;
        for (int i = getenv("PARE_TEST_BRIEF") ? 2 : 0; i < 16; i++) {
            const int64_t *shape = i < 10 ? shapes[i / 2] : odd[(i - 10) / 2];
            matrix m;
            if (!pare_type_row_bytes(type, shape[1]) ||
                (getenv("PARE_TEST_BRIEF") && shape[0] * shape[1] > 100000))
                continue;
            make(&m, type, shape[0], shape[1], i % 2);
            failures += check_values(&m);
            failures += check_product(&m, i % 2, false);
            failures += check_product(&m, i % 2, true);
            release(&m);
        }
    }
    print_message("%d formats\n", formats);
    assert_int_equal(failures, 0);
}

/* One product of many tokens, in a way that does not depend on the kernel's: each element in double
 * of the planes' sums. */
static int check_gemm(gpu_number number, int x_planes, int w_planes, int64_t tokens, int64_t rows,
                      int64_t columns, int way, bool add)
{
    int64_t stride = (columns + 31) / 32 * 32, nx = tokens * stride, nw = rows * stride;
    float *x = calloc((size_t)nx, sizeof *x), *w = calloc((size_t)nw, sizeof *w);
    float *y = malloc((size_t)(tokens * rows) * sizeof *y), bias[4096];
    pare_random random = {17};
    double worst = 0;
    for (int64_t i = 0; i < nx; i++)
        x[i] = i % stride < columns ? (float)pare_random_normal(&random) : 0;
    for (int64_t i = 0; i < nw; i++)
        w[i] = i % stride < columns ? (float)pare_random_normal(&random) : 0;
    for (int64_t i = 0; i < rows; i++)
        bias[i] = (float)pare_random_normal(&random);
    float *dx = upload(x, (size_t)nx * 4), *dw = upload(w, (size_t)nw * 4);
    float *db = upload(bias, (size_t)rows * 4), *dy = upload(NULL, (size_t)(tokens * rows) * 4);
    gpu_planes px = {upload(NULL, (size_t)(nx * x_planes) * 2), number, x_planes, tokens, stride};
    gpu_planes pw = {upload(NULL, (size_t)(nw * w_planes) * 2), number, w_planes, rows, stride};
    ok(gpu_norm_rows(&gpu, dx, stride, tokens, stride, GPU_NORM_NONE, NULL, NULL, 0, &px));
    ok(gpu_norm_rows(&gpu, dw, stride, rows, stride, GPU_NORM_NONE, NULL, NULL, 0, &pw));
    ok(gpu_check(cudaMemset(dy, add ? 0 : 0xff, (size_t)(tokens * rows) * 4), "poison"));
    gpu_gemm_args args = {.x = px,
                          .w = pw,
                          .tokens = tokens,
                          .rows = rows,
                          .columns = columns,
                          .bias = db,
                          .epilogue = add ? GPU_ADD : GPU_STORE,
                          .y = dy,
                          .y_stride = rows,
                          .way = way};
    ok(gpu_gemm(&gpu, &args));
    fetch(y, dy, (size_t)(tokens * rows) * 4);
    double limit = number == GPU_F16 ? 1e-3 : x_planes == 1 ? 6e-3 : w_planes == 1 ? 4e-3 : 2e-6;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t r = 0; r < rows; r++) {
            double sum = bias[r], size = fabs(sum);
            for (int64_t c = 0; c < columns; c++) {
                sum += (double)x[t * stride + c] * (double)w[r * stride + c];
                size += fabs((double)x[t * stride + c] * (double)w[r * stride + c]);
            }
            double off = fabs((double)y[t * rows + r] - sum) / size;
            worst = !(off <= worst) ? off : worst;
        }
    if (!(worst <= limit))
        print_message("gemm %s, planes %d x %d, %lld tokens, %lld x %lld, way %d: off by %.3g\n",
                      number == GPU_F16 ? "f16" : "bf16", x_planes, w_planes, (long long)tokens,
                      (long long)rows, (long long)columns, way, worst);
    gpu_release(&gpu, px.data, (size_t)(nx * x_planes) * 2);
    gpu_release(&gpu, pw.data, (size_t)(nw * w_planes) * 2);
    gpu_release(&gpu, dx, (size_t)nx * 4);
    gpu_release(&gpu, dw, (size_t)nw * 4);
    gpu_release(&gpu, db, (size_t)rows * 4);
    gpu_release(&gpu, dy, (size_t)(tokens * rows) * 4);
    free(x);
    free(w);
    free(y);
    return !(worst <= limit);
}

static float number_at(const uint16_t *numbers, gpu_planes p, int64_t row, int64_t column)
{
    float sum = 0;
    for (int i = p.planes - 1; i >= 0; i--) {
        uint16_t bits = numbers[(i * p.plane_rows + row) * p.stride + column];
        sum += p.number == GPU_F16 ? pare_f16_to_f32(bits) : pare_bf16_to_f32(bits);
    }
    return sum;
}

static double activated(double x, gpu_activation f)
{
    return f == GPU_SILU ? x / (1 + exp(-x)) : x * 0.5 * erfc(-x * sqrt(0.5));
}

/* What is multiplied by whole numbers is exact, so that only what follows is checked: an
 * activation, gates, numbers of the next product, whose padding is zero and behind which nothing is
 * written. */
static int check_numbers(gpu_number number, int planes, int64_t tokens, int64_t rows,
                         gpu_epilogue epilogue, gpu_activation activation, int way)
{
    enum { COLUMNS = 64 };
    bool gated = epilogue == GPU_GATED;
    int64_t outputs = gated ? rows / 2 : rows, padded = (outputs + 31) / 32 * 32;
    gpu_planes to = {NULL, number, planes, tokens + 1, padded + 32};
    size_t bytes = (size_t)(planes * to.plane_rows * to.stride) * 2;
    float *x = calloc((size_t)(tokens * COLUMNS), 4), *w = calloc((size_t)(rows * COLUMNS), 4);
    uint16_t *got = malloc(bytes);
    int failed = 0;
    pare_random random = {23};
    for (int64_t i = 0; i < tokens * COLUMNS; i++)
        x[i] = (float)pare_random_below(&random, 5) - 2;
    for (int64_t i = 0; i < rows * COLUMNS; i++)
        w[i] = ((float)pare_random_below(&random, 5) - 2) / 16;
    float *dx = upload(x, (size_t)(tokens * COLUMNS) * 4);
    float *dw = upload(w, (size_t)(rows * COLUMNS) * 4);
    gpu_planes px = {upload(NULL, (size_t)(tokens * COLUMNS) * 2), number, 1, tokens, COLUMNS};
    gpu_planes pw = {upload(NULL, (size_t)(rows * COLUMNS) * 2), number, 1, rows, COLUMNS};
    ok(gpu_norm_rows(&gpu, dx, COLUMNS, tokens, COLUMNS, GPU_NORM_NONE, NULL, NULL, 0, &px));
    ok(gpu_norm_rows(&gpu, dw, COLUMNS, rows, COLUMNS, GPU_NORM_NONE, NULL, NULL, 0, &pw));
    to.data = upload(NULL, bytes);
    ok(gpu_check(cudaMemset(to.data, 0xff, bytes), "poison"));
    gpu_gemm_args args = {.x = px,
                          .w = pw,
                          .tokens = tokens,
                          .rows = rows,
                          .columns = COLUMNS,
                          .epilogue = epilogue,
                          .activation = activation,
                          .to = to,
                          .way = way};
    ok(gpu_gemm(&gpu, &args));
    fetch(got, to.data, bytes);
    double limit = planes == 3 ? 1e-6 : number == GPU_F16 ? 6e-4 : 5e-3;
    for (int64_t t = 0; t < tokens + 1; t++)
        for (int64_t i = 0; i < padded + 32; i++) {
            double sums[2] = {0, 0}, expected;
            float value = number_at(got, to, t, i);
            if (t == tokens || i >= padded) {
                failed += !isnan(value);
                continue;
            }
            for (int e = 0; e < 1 + gated && i < outputs; e++)
                for (int64_t c = 0; c < COLUMNS; c++)
                    sums[e] += (double)x[t * COLUMNS + c] *
                               (double)w[(gated ? 2 * i + e : i) * COLUMNS + c];
            expected = epilogue == GPU_STORE ? sums[0] : activated(sums[0], activation);
            expected *= gated ? sums[1] : 1;
            failed += !(fabs((double)value - expected) <= limit * fabs(expected) + 1e-6);
        }
    if (failed)
        print_message(
            "gemm into %s, %d planes, %lld tokens, %lld rows, epilogue %d, way %d: %d wrong\n",
            number == GPU_F16 ? "f16" : "bf16", planes, (long long)tokens, (long long)rows,
            (int)epilogue, way, failed);
    gpu_release(&gpu, to.data, bytes);
    gpu_release(&gpu, px.data, (size_t)(tokens * COLUMNS) * 2);
    gpu_release(&gpu, pw.data, (size_t)(rows * COLUMNS) * 2);
    gpu_release(&gpu, dx, (size_t)(tokens * COLUMNS) * 4);
    gpu_release(&gpu, dw, (size_t)(rows * COLUMNS) * 4);
    free(x);
    free(w);
    free(got);
    return failed != 0;
}

static void numbers(void **state)
{
    static const int64_t shapes[][2] = {{3, 40}, {130, 514}, {260, 1024}};
    int failures = 0;
    for (int i = 0; i < 3; i++)
        for (int way = GPU_GEMM_PORTABLE; way <= GPU_GEMM_SHAPES; way++) {
            const int64_t *s = shapes[i];
            if (getenv("PARE_TEST_BRIEF") && (i > 1 || way != 0))
                continue;
            failures += check_numbers(GPU_F16, 1, s[0], s[1], GPU_GATED, GPU_SILU, way);
            failures += check_numbers(GPU_BF16, 3, s[0], s[1], GPU_GATED, GPU_SILU, way);
            failures += check_numbers(GPU_BF16, 1, s[0], s[1], GPU_ACTIVATE, GPU_SILU, way);
            failures += check_numbers(GPU_BF16, 3, s[0], s[1], GPU_ACTIVATE, GPU_GELU, way);
            failures += check_numbers(GPU_F16, 1, s[0], s[1], GPU_STORE, GPU_SILU, way);
        }
    assert_int_equal(failures, 0);
}

static void gemms(void **state)
{
    static const int64_t shapes[][3] = {{2, 1, 32},       {13, 300, 96},  {75, 768, 256},
                                        {129, 257, 2000}, {300, 129, 64}, {600, 520, 264}};
    int failures = 0;
    for (int i = 0; i < 6; i++)
        for (int way = GPU_GEMM_PORTABLE; way <= GPU_GEMM_SHAPES; way++) {
            const int64_t *s = shapes[i];
            if (getenv("PARE_TEST_BRIEF") && (i > 1 || way != 0))
                continue;
            failures += check_gemm(GPU_F16, 1, 1, s[0], s[1], s[2], way, false);
            failures += check_gemm(GPU_BF16, 1, 1, s[0], s[1], s[2], way, true);
            failures += check_gemm(GPU_BF16, 3, 1, s[0], s[1], s[2], way, true);
            failures += check_gemm(GPU_BF16, 3, 3, s[0], s[1], s[2], way, false);
        }
    assert_int_equal(failures, 0);
}

/* Codes of inputs by the rule of kernels/int8.h, then sums of integers, which are exact. */
static int check_codes(int64_t tokens, int64_t rows, int64_t columns, gpu_round_kind kind, bool add,
                       int way)
{
    int64_t stride = (columns + 31) / 32 * 32;
    size_t out = (size_t)((tokens + 1) * rows) * sizeof(float);
    pare_int8_rule cpu = {.kind = kind == GPU_ROUND_TOKEN_128 ? PARE_INT8_TOKEN_128
                                                              : PARE_INT8_TOKEN_127};
    gpu_round_rule rule = {kind, 0};
    float *x = calloc((size_t)(tokens * stride), sizeof *x), *y = malloc(out);
    int8_t *codes = malloc((size_t)stride), *wcodes = malloc((size_t)(rows * columns));
    float *scales = malloc((size_t)rows * sizeof *scales);
    double worst = 0;
    int failed = 0;
    matrix m;
    make(&m, PARE_TYPE_I8_CH, rows, columns, false);
    make_input(x, tokens * stride, tokens * stride, true);
    for (int64_t r = 0; r < rows; r++) { /* the largest code is 127 */
        float most = 0;
        for (int64_t c = 0; c < columns; c++)
            most = fmaxf(most, fabsf(m.values[r * columns + c]));
        scales[r] = most / 127;
        for (int64_t c = 0; c < columns; c++)
            wcodes[r * columns + c] = (int8_t)lrintf(m.values[r * columns + c] / scales[r]);
    }
    float *dx = upload(x, (size_t)(tokens * stride) * sizeof *x), *dy = upload(NULL, out);
    int8_t *dc = upload(NULL, (size_t)(tokens * stride));
    float *ds = upload(NULL, (size_t)tokens * sizeof *ds);
    ok(gpu_check(cudaMemset(dy, add ? 0 : 0xff, (size_t)(tokens * rows) * sizeof *y), "poison"));
    ok(gpu_check(cudaMemset(dy + tokens * rows, 0xff, (size_t)rows * sizeof *y), "poison"));
    ok(gpu_check(cudaMemset(dc, 0x55, (size_t)(tokens * stride)), "poison"));
    ok(gpu_round_codes(&gpu, dx, stride, tokens, columns, &rule, dc, stride, ds));
    gpu_gemm_args args = {.x = {dc, GPU_INT8, 1, tokens, stride},
                          .w = {(void *)m.weights.data, GPU_INT8, 1, rows, m.weights.row_bytes},
                          .tokens = tokens,
                          .rows = rows,
                          .columns = columns,
                          .x_scales = ds,
                          .epilogue = add ? GPU_ADD : GPU_STORE,
                          .y = dy,
                          .y_stride = rows,
                          .way = way};
    ok(gpu_gemm(&gpu, &args));
    fetch(y, dy, out);
    for (int64_t t = 0; t < tokens; t++) {
        float scale = pare_int8_scale(&cpu, x + t * stride, columns);
        pare_int8_codes(&cpu, scale, x + t * stride, 0, columns, codes);
        for (int64_t r = 0; r < rows; r++) {
            int64_t sum = 0;
            for (int64_t c = 0; c < columns; c++)
                sum += codes[c] * wcodes[r * columns + c];
            double expected = (double)sum * (double)scale * (double)scales[r];
            double off = fabs((double)y[t * rows + r] - expected) / (fabs(expected) + 1e-20);
            worst = !(off <= worst) ? off : worst;
        }
    }
    for (int64_t i = tokens * rows; i < (tokens + 1) * rows; i++)
        failed += !isnan(y[i]);
    failed += !(worst <= 3e-7);
    if (failed)
        print_message("codes, %lld tokens, %lld x %lld: off by %.3g\n", (long long)tokens,
                      (long long)rows, (long long)columns, worst);
    gpu_release(&gpu, dx, (size_t)(tokens * stride) * sizeof *x);
    gpu_release(&gpu, dy, out);
    gpu_release(&gpu, dc, (size_t)(tokens * stride));
    gpu_release(&gpu, ds, (size_t)tokens * sizeof *ds);
    release(&m);
    free(x);
    free(y);
    free(codes);
    free(wcodes);
    free(scales);
    return failed != 0;
}

static void codes(void **state)
{
    int failures = 0;
    if (!gpu_multiplies_codes(&gpu))
        return;
    for (int way = 0; way <= GPU_GEMM_SHAPES; way++) {
        failures += check_codes(5, 40, 96, GPU_ROUND_TOKEN_127, false, way);
        failures += check_codes(3, 33, 1056, GPU_ROUND_TOKEN_128, true, way);
        if (!getenv("PARE_TEST_BRIEF")) {
            failures += check_codes(130, 257, 2100, GPU_ROUND_TOKEN_127, false, way);
            failures += check_codes(300, 1030, 1024, GPU_ROUND_TOKEN_127, true, way);
            failures += check_codes(600, 520, 1088, GPU_ROUND_TOKEN_128, false, way);
        }
    }
    assert_int_equal(failures, 0);
}

/* Attention of FP16 numbers against sums in double. The cache behind the positions holds numbers as
 * well, which nobody may see. */
static int check_attention(int heads, int kv_heads, int dim, int64_t past, int64_t tokens,
                           int window, float spread, gpu_number number)
{
    int64_t capacity = past + tokens + 5, stride = (heads * dim + 31) / 32 * 32;
    gpu_heads h = {.heads = heads,
                   .kv_heads = kv_heads,
                   .head_dim = dim,
                   .cache_dim = gpu_cache_dim(PARE_TYPE_F16, dim),
                   .cache_type = PARE_TYPE_F16,
                   .capacity = capacity,
                   .window = window};
    h.row_bytes = gpu_cache_row_bytes(PARE_TYPE_F16, h.cache_dim);
    h.sequence_bytes = (size_t)(kv_heads * capacity) * h.row_bytes;
    size_t cache = 2 * h.sequence_bytes, size = (size_t)((tokens + 1) * stride) * 4;
    size_t row = h.row_bytes / 2;
    uint16_t *keys = malloc(cache), *values = malloc(cache), *q = malloc(size);
    float *got = malloc(size);
    double *score = malloc((size_t)capacity * sizeof *score), worst = 0;
    int failed = 0;
    pare_random random = {29};
    for (size_t i = 0; i < cache / 2; i++) {
        keys[i] = pare_f32_to_f16((float)pare_random_normal(&random));
        values[i] = pare_f32_to_f16((float)pare_random_normal(&random));
    }
    for (int64_t i = 0; i < tokens * stride; i++)
        q[i] = pare_f32_to_f16((float)pare_random_normal(&random) * spread);
    h.keys = upload(keys, cache);
    h.values = upload(values, cache);
    gpu_planes dq = {upload(q, size), GPU_F16, 1, tokens, stride};
    gpu_planes to = {upload(NULL, size), number, 1, tokens, stride};
    ok(gpu_check(cudaMemset(to.data, 0xff, size), "poison"));
    ok(gpu_attend_numbers(&gpu, &h, &dq, 1, tokens, past, &to));
    fetch(got, to.data, size);
    for (int64_t t = 0; t < tokens; t++)
        for (int head = 0; head < heads; head++) {
            int64_t first = (kv_heads + head / (heads / kv_heads)) * capacity;
            int64_t low = window && past + t - window + 1 > 0 ? past + t - window + 1 : 0;
            double most = -INFINITY, sum = 0;
            for (int64_t i = low; i <= past + t; i++) {
                score[i] = 0;
                for (int d = 0; d < dim; d++)
                    score[i] += (double)pare_f16_to_f32(q[t * stride + head * dim + d]) *
                                (double)pare_f16_to_f32(keys[(size_t)(first + i) * row + d]);
                most = score[i] > most ? score[i] : most;
            }
            for (int64_t i = low; i <= past + t; i++)
                sum += score[i] = exp2(score[i] - most);
            for (int d = 0; d < dim; d++) {
                double expected = 0;
                for (int64_t i = low; i <= past + t; i++)
                    expected += score[i] / sum *
                                (double)pare_f16_to_f32(values[(size_t)(first + i) * row + d]);
                int64_t at = t * stride + head * dim + d;
                double v =
                    (double)(number == GPU_F32 ? got[at]
                                               : number_at((uint16_t *)got, to, t, head * dim + d));
                double off = fabs(v - expected);
                worst = !(off <= worst) ? off : worst;
            }
        }
    for (int64_t i = tokens * stride; i < (tokens + 1) * stride; i++) /* nothing behind the rows */
        failed += !isnan(number == GPU_F32 ? got[i] : pare_f16_to_f32(((uint16_t *)got)[i]));
    failed += !(worst <= (number == GPU_BF16 ? 2e-2 : 4e-3));
    if (failed)
        print_message("attention, %d of %d heads of %d, %lld tokens behind %lld, window %d: off by "
                      "%.3g\n",
                      heads, kv_heads, dim, (long long)tokens, (long long)past, window, worst);
    gpu_release(&gpu, h.keys, cache);
    gpu_release(&gpu, h.values, cache);
    gpu_release(&gpu, dq.data, size);
    gpu_release(&gpu, to.data, size);
    free(keys);
    free(values);
    free(q);
    free(got);
    free(score);
    return failed != 0;
}

static void attentions(void **state)
{
    gpu_heads any = {.cache_type = PARE_TYPE_F16, .head_dim = 64};
    bool brief = getenv("PARE_TEST_BRIEF") != NULL;
    int failures = 0;
    if (!gpu_attends_numbers(&gpu, &any))
        return;
    failures += check_attention(4, 2, 64, 0, 3, 0, 0.1f, GPU_F16);
    failures += check_attention(2, 1, 128, 130, 40, 0, 0.1f, GPU_F32);
    if (!brief) {
        failures += check_attention(4, 4, 128, 0, 300, 0, 0.2f, GPU_F16);
        failures += check_attention(4, 1, 64, 517, 129, 0, 1, GPU_F32);
        failures += check_attention(2, 2, 80, 100, 128, 0, 0.2f, GPU_BF16);
        failures += check_attention(3, 1, 40, 1, 255, 0, 0.2f, GPU_F16);
        failures += check_attention(2, 1, 128, 400, 200, 100, 0.2f, GPU_F16);
        failures += check_attention(2, 1, 64, 0, 600, 150, 0.2f, GPU_F32);
        failures += check_attention(2, 2, 128, 0, 256, 0, 4, GPU_F32); /* one key decides */
    }
    assert_int_equal(failures, 0);
}

/* Heads of FP16 numbers are placed as heads of FP32 values that are such numbers. */
static int check_places(int heads, int kv_heads, int dim, bool norms, bool rotated, bool pairs)
{
    enum { TOKENS = 5, PAST = 3, CAPACITY = 11 };
    int64_t units = heads + 2 * kv_heads, n = TOKENS * units * dim, half = dim / 2;
    gpu_heads h = {.heads = heads,
                   .kv_heads = kv_heads,
                   .head_dim = dim,
                   .cache_dim = gpu_cache_dim(PARE_TYPE_F16, dim),
                   .cache_type = PARE_TYPE_F16,
                   .epsilon = 1e-5f,
                   .rope_dims = rotated ? dim : 0,
                   .rope_pairs = pairs,
                   .capacity = CAPACITY,
                   .scale = 0.125f};
    h.row_bytes = gpu_cache_row_bytes(PARE_TYPE_F16, h.cache_dim);
    h.sequence_bytes = (size_t)(kv_heads * CAPACITY) * h.row_bytes;
    size_t cache = 4 * h.sequence_bytes, q_bytes = (size_t)(TOKENS * heads * dim) * 2;
    float *values = malloc((size_t)n * sizeof *values), angles[2 * CAPACITY * 64], norm[2 * 128];
    uint16_t *numbers = malloc((size_t)n * 2), *q = malloc(q_bytes);
    char *cached[2] = {malloc(cache), malloc(cache)};
    int failed = 0;
    pare_random random = {37};
    for (int64_t i = 0; i < n; i++) {
        numbers[i] = pare_f32_to_f16((float)pare_random_normal(&random));
        values[i] = pare_f16_to_f32(numbers[i]);
    }
    for (int64_t i = 0; i < CAPACITY * half; i++) {
        angles[i] = cosf((float)i * 0.37f);
        angles[CAPACITY * half + i] = sinf((float)i * 0.37f);
    }
    for (int i = 0; i < 2 * dim; i++)
        norm[i] = 1 + 0.1f * (float)pare_random_normal(&random);
    float *da = upload(angles, sizeof angles), *dn = upload(norm, sizeof norm);
    float *dv = upload(values, (size_t)n * sizeof *values);
    gpu_planes dx = {upload(numbers, (size_t)n * 2), GPU_F16, 1, TOKENS, units * dim};
    gpu_planes dq = {upload(NULL, q_bytes), GPU_F16, 1, TOKENS, heads * dim};
    if (rotated) {
        h.cosines = da;
        h.sines = da + CAPACITY * half;
    }
    if (norms) {
        h.q_norm = dn;
        h.k_norm = dn + dim;
    }
    for (int i = 0; i < 2; i++) {
        h.keys = upload(NULL, cache);
        h.values = (char *)h.keys + 2 * h.sequence_bytes;
        ok(gpu_check(cudaMemset(h.keys, 0xff, cache), "poison"));
        if (i == 0)
            ok(gpu_place_heads(&gpu, &h, dv, units * dim, 1, TOKENS, PAST));
        else
            ok(gpu_place_numbers(&gpu, &h, &dx, 1, TOKENS, PAST, &dq));
        fetch(cached[i], h.keys, cache);
        gpu_release(&gpu, h.keys, cache);
    }
    for (size_t i = 0; i < cache / 2; i++) { /* sums of squares in another order */
        float a = pare_f16_to_f32(((uint16_t *)cached[0])[i]);
        float b = pare_f16_to_f32(((uint16_t *)cached[1])[i]);
        failed += isnan(a) != isnan(b) || fabsf(a - b) > 1e-3f * fabsf(a) + 1e-6f;
    }
    fetch(values, dv, (size_t)n * sizeof *values);
    fetch(q, dq.data, q_bytes);
    for (int64_t i = 0; i < TOKENS * heads * dim; i++) {
        float a = values[i / (heads * dim) * units * dim + i % (heads * dim)];
        float b = pare_f16_to_f32(q[i]);
        a *= h.scale * 1.4426950408889634f;
        failed += !(fabsf(a - b) <= 1e-3f * fabsf(a) + 1e-6f);
    }
    if (failed)
        print_message("placing %d, %d heads of %d%s%s%s: %d wrong\n", heads, kv_heads, dim,
                      norms ? ", norms" : "", rotated ? ", rotated" : "", pairs ? ", pairs" : "",
                      failed);
    gpu_release(&gpu, da, sizeof angles);
    gpu_release(&gpu, dn, sizeof norm);
    gpu_release(&gpu, dv, (size_t)n * sizeof *values);
    gpu_release(&gpu, dx.data, (size_t)n * 2);
    gpu_release(&gpu, dq.data, q_bytes);
    free(values);
    free(numbers);
    free(q);
    free(cached[0]);
    free(cached[1]);
    return failed != 0;
}

static void places(void **state)
{
    int failures = check_places(3, 1, 128, false, true, false);
    failures += check_places(4, 2, 64, true, true, false);
    failures += check_places(2, 2, 80, true, true, true);
    failures += check_places(3, 3, 40, false, false, false);
    assert_int_equal(failures, 0);
}

/* An argument names the tests to run; * stands for anything. */
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (gpu_open(&gpu, 0) != PARE_OK) {
        print_message("skipped: %s\n", pare_error_message());
        return SKIP;
    }
    print_message("%s, %d multiprocessors, sm_%d%d\n", gpu.name, gpu.multiprocessors, gpu.major,
                  gpu.minor);
    const struct CMUnitTest tests[] = {cmocka_unit_test(products),   cmocka_unit_test(gemms),
                                       cmocka_unit_test(numbers),    cmocka_unit_test(codes),
                                       cmocka_unit_test(attentions), cmocka_unit_test(places)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gpu_close(&gpu);
    return failed;
}
