/* Every matrix-vector kernel against sums in double of the decoder's values: odd shapes, extreme
 * inputs, poisoned outputs; and packing against dequantizing, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "kernels/cuda/gpu.h"
#include "kernels/quantize8.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SKIP = 77 };

static gpu_context gpu;

static void ok(pare_status status)
{
    if (status != PARE_OK)
        fail_msg("%s", pare_error_message());
}

static void *device_copy(const void *from, size_t bytes)
{
    void *to;
    ok(gpu_allocate(&gpu, bytes, "a test", &to));
    if (from)
        ok(gpu_upload(&gpu, to, from, bytes));
    ok(gpu_wait(&gpu));
    return to;
}

static void fetch(void *to, const void *from, size_t bytes)
{
    ok(gpu_wait(&gpu));
    ok(gpu_check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copy"));
}

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
    m->weights.data = device_copy(NULL, (size_t)rows * m->weights.row_bytes);
    void *on_device = device_copy(stored, row * (size_t)rows);
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
    float *got = malloc(bytes), *on_device = device_copy(NULL, bytes);
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
    float *dx = device_copy(x, (size_t)padded * sizeof *x), *dy = device_copy(NULL, out);
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
                      int64_t columns, bool portable, bool add)
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
    float *dx = device_copy(x, (size_t)nx * 4), *dw = device_copy(w, (size_t)nw * 4);
    float *db = device_copy(bias, (size_t)rows * 4),
          *dy = device_copy(NULL, (size_t)(tokens * rows) * 4);
    gpu_planes px = {device_copy(NULL, (size_t)(nx * x_planes) * 2), number, x_planes, tokens,
                     stride};
    gpu_planes pw = {device_copy(NULL, (size_t)(nw * w_planes) * 2), number, w_planes, rows,
                     stride};
    ok(gpu_norm_rows(&gpu, dx, stride, tokens, stride, GPU_NORM_NONE, NULL, NULL, 0, &px));
    ok(gpu_norm_rows(&gpu, dw, stride, rows, stride, GPU_NORM_NONE, NULL, NULL, 0, &pw));
    ok(gpu_check(cudaMemset(dy, add ? 0 : 0xff, (size_t)(tokens * rows) * 4), "poison"));
    gpu_gemm_args args = {px, pw, tokens, rows, columns, db, dy, rows, add, portable};
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
        print_message("gemm %s, planes %d x %d, %lld tokens, %lld x %lld%s: off by %.3g\n",
                      number == GPU_F16 ? "f16" : "bf16", x_planes, w_planes, (long long)tokens,
                      (long long)rows, (long long)columns, portable ? ", portable" : "", worst);
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

static void gemms(void **state)
{
    static const int64_t shapes[][3] = {
        {2, 1, 32}, {13, 300, 96}, {75, 768, 256}, {129, 257, 2000}, {300, 129, 64}};
    int failures = 0;
    for (int i = 0; i < 5; i++)
        for (int portable = 0; portable < 2; portable++) {
            const int64_t *s = shapes[i];
            if (getenv("PARE_TEST_BRIEF") && (i > 1 || portable))
                continue;
            failures += check_gemm(GPU_F16, 1, 1, s[0], s[1], s[2], portable, false);
            failures += check_gemm(GPU_BF16, 1, 1, s[0], s[1], s[2], portable, true);
            failures += check_gemm(GPU_BF16, 3, 1, s[0], s[1], s[2], portable, true);
            failures += check_gemm(GPU_BF16, 3, 3, s[0], s[1], s[2], portable, false);
        }
    assert_int_equal(failures, 0);
}

int main(void)
{
    if (gpu_open(&gpu, 0) != PARE_OK) {
        print_message("skipped: %s\n", pare_error_message());
        return SKIP;
    }
    print_message("%s, %d multiprocessors, sm_%d%d\n", gpu.name, gpu.multiprocessors, gpu.major,
                  gpu.minor);
    const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(gemms)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gpu_close(&gpu);
    return failed;
}
