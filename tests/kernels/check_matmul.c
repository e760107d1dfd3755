/* Every matrix product of every tier that this CPU has, against sums in double of the values that
 * the format's decoder gives: random and extreme weights, all kinds of tails, guarded memory; and
 * bit for bit, one token against many, and any share of rows against all. The same program times
 * them: test_kernels_matmul --bench [FORMAT ...]. */
#include "guarded.h"

#include "base/half.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/layouts.h"
#include "kernels/quantize8.h"
#include "kernels/time.h"
#include "quant/types.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

typedef struct fixture {
    const pare_matmul *matmul;
    pare_type type;
    pare_operand operand;
    int64_t rows, columns, tokens, x_stride, y_stride;
    uint8_t *stored;
    float *w; /* decoded, [rows, columns] */
    float *x, *bias;
} fixture;

/* ---- weights ---- */

/* Any byte of the stored row may become `byte` (or a random one where it is negative) as long as
 * the values stay finite and not much larger than before: so all codes are reached, and no scale
 * explodes. */
static void disturb(pare_type type, uint8_t *row, int64_t columns, int byte, float *values,
                    pare_random *random)
{
    size_t bytes = pare_type_row_bytes(type, columns);
    for (size_t i = 0; i < bytes; i++) {
        uint8_t before = row[i];
        row[i] = byte < 0 ? (uint8_t)pare_random_u64(random) : (uint8_t)byte;
        pare_type_get_traits(type)->decode(row, values, columns);
        for (int64_t c = 0; c < columns; c++)
            if (!(fabsf(values[c]) < 64)) {
                row[i] = before;
                break;
            }
    }
}

static void make_weights(fixture *f, pare_random *random)
{
    static const int patterns[] = {-2, -1, 0xff, 0x00, 0x80, 0x7f};
    const pare_type_traits *traits = pare_type_get_traits(f->type);
    size_t row_bytes = pare_type_row_bytes(f->type, f->columns);
    f->stored = calloc((size_t)f->rows, row_bytes);
    f->w = calloc((size_t)(f->rows * f->columns), sizeof *f->w);
    for (int64_t r = 0; r < f->rows; r++) {
        uint8_t *row = f->stored + (size_t)r * row_bytes;
        float *w = f->w + r * f->columns;
        fill_normal(w, f->columns, 0.5, random);
        if (traits->encode)
            traits->encode(w, row, f->columns, NULL);
        /* Disturbing decodes the row for each of its bytes: some rows suffice, and short ones. */
        int pattern = patterns[r % 6];
        if (f->columns <= 512 && (r < 12 || !traits->encode) && pattern > -2)
            disturb(f->type, row, f->columns, pattern, w, random);
        traits->decode(row, w, f->columns);
    }
}

static void make_fixture(fixture *f, pare_random *random)
{
    make_weights(f, random);
    f->x_stride = (f->columns + 15) / 16 * 16 + 16;
    f->y_stride = f->rows + 5;
    f->x = aligned_alloc(64, (size_t)(f->tokens * f->x_stride) * sizeof(float));
    f->bias = calloc((size_t)f->rows, sizeof(float));
    fill_normal(f->x, f->tokens * f->x_stride, 1, random);
    fill_normal(f->bias, f->rows, 1, random);
    for (int64_t t = 0; t < f->tokens;
         t++) { /* some blocks are zero, some constant, some tiny or large */
        float *x = f->x + t * f->x_stride;
        for (int64_t c = 0; c < f->columns; c++) {
            int64_t kind = (c / 32 + t) % 7;
            x[c] = kind == 3   ? 0
                   : kind == 4 ? 2.5f
                   : kind == 5 ? x[c] * 1e-20f
                   : kind == 6 ? x[c] * 50
                               : x[c];
        }
        for (int64_t c = f->columns; c < f->x_stride; c++)
            x[c] = NAN; /* must not be looked at */
    }
}

static void free_fixture(fixture *f)
{
    free(f->stored);
    free(f->w);
    free(f->x);
    free(f->bias);
}

/* ---- expected values ---- */

static void operand_values(const fixture *f, const float *x, float *rounded)
{
    memcpy(rounded, x, (size_t)f->columns * sizeof *x);
    for (int64_t c = 0; f->operand == PARE_OPERAND_BF16 && c < f->columns; c++)
        rounded[c] = pare_bf16_to_f32(pare_f32_to_bf16(x[c]));
    for (int64_t c = 0; f->operand == PARE_OPERAND_Q8 && c < f->columns; c += PARE_Q8_BLOCK) {
        int64_t n = f->columns - c < PARE_Q8_BLOCK ? f->columns - c : PARE_Q8_BLOCK;
        int8_t codes[PARE_Q8_BLOCK];
        float scale = pare_quantize8(codes, x + c, n);
        for (int64_t i = 0; i < n; i++)
            rounded[c + i] = scale * (float)codes[i];
    }
}

/* What rounding may do: FP32 sums err by some units of the sum of magnitudes, and minimums and zero
 * points, which are applied to sums of activations, by as much of the row's largest weight. Weights
 * that are not BF16 may be rounded to it where the activations are, and those without integer codes
 * to 16-bit fixed point where activations are integers. */
static double tolerance(const fixture *f, double magnitudes, double x_magnitudes, double largest)
{
    bool rounds_weights = f->operand == PARE_OPERAND_BF16 && f->type != PARE_TYPE_BF16;
    pare_layout layout = pare_layout_of(f->type);
    bool fixed = f->operand == PARE_OPERAND_Q8 && layout < PARE_LAYOUT_COUNT &&
                 !pare_layout_has_codes(layout);
    return 4e-7 * magnitudes + (4e-7 + (fixed ? 0x1p-15 : 0)) * largest * x_magnitudes +
           (rounds_weights ? 0x1p-8 * magnitudes : 0) + 1e-30;
}

static void check_values(const fixture *f, const float *y)
{
    float *x = malloc((size_t)f->columns * sizeof *x);
    for (int64_t t = 0; t < f->tokens; t++) {
        operand_values(f, f->x + t * f->x_stride, x);
        for (int64_t r = 0; r < f->rows; r++) {
            double sum = f->bias[r], magnitudes = fabs(sum), x_magnitudes = 0, largest = 0;
            for (int64_t c = 0; c < f->columns; c++) {
                double w = f->w[r * f->columns + c];
                sum += w * x[c];
                magnitudes += fabs(w * x[c]);
                x_magnitudes += fabs((double)x[c]);
                largest = fmax(largest, fabs(w));
            }
            double got = y[t * f->y_stride + r],
                   bound = tolerance(f, magnitudes, x_magnitudes, largest);
            if (!(fabs(got - sum) <= bound))
                fail_msg("%s, %s [%d, %d] x %d: row %d, token %d: %.9g instead of %.9g, %.1f times "
                         "the tolerance",
                         f->matmul->name, pare_type_name(f->type), (int)f->rows, (int)f->columns,
                         (int)f->tokens, (int)r, (int)t, got, sum, fabs(got - sum) / bound);
        }
        for (int64_t r = f->rows; r < f->y_stride; r++)
            assert_int_equal(pare_f32_to_bits(y[t * f->y_stride + r]), 0x7fa5a5a5);
    }
    free(x);
}

/* ---- running ---- */

static guarded pack(const fixture *f)
{
    const pare_matmul *m = f->matmul;
    guarded packed = guarded_allocate(m->packed_bytes(f->rows, f->columns));
    int64_t middle = f->rows / 2 / m->row_step * m->row_step;
    m->pack(packed.data, f->stored, f->type, f->rows, f->columns, middle, f->rows);
    m->pack(packed.data, f->stored, f->type, f->rows, f->columns, 0, middle);
    return packed;
}

/* Multiplies `tokens` tokens from token t on, in `shares` shares of rows. */
static void multiply(const fixture *f, const void *weights, int64_t t, int64_t tokens, int shares,
                     float *y)
{
    const pare_matmul *m = f->matmul;
    const float *x = f->x + t * f->x_stride;
    guarded prepared =
        guarded_allocate(m->prepared_bytes ? m->prepared_bytes(tokens, f->columns) : 0);
    if (m->prepared_bytes) {
        m->prepare(prepared.data, x, f->x_stride, tokens, f->columns, tokens / 3, tokens);
        m->prepare(prepared.data, x, f->x_stride, tokens, f->columns, 0, tokens / 3);
    }
    guarded scratch =
        guarded_allocate(m->scratch_bytes ? m->scratch_bytes(f->rows, f->columns, tokens) : 0);
    for (int i = shares - 1; i >= 0; i--) {
        pare_range share = pare_share(f->rows, m->row_step, i, shares);
        memset(scratch.data, 0xff, scratch.bytes);
        if (share.first < share.last)
            m->multiply(y, f->y_stride, weights, f->type,
                        m->prepared_bytes ? (const void *)prepared.data : x, f->x_stride, f->bias,
                        f->rows, f->columns, tokens, share.first, share.last, scratch.data);
    }
    guarded_free(&prepared);
    guarded_free(&scratch);
}

static float *poisoned(const fixture *f)
{
    size_t count = (size_t)(f->tokens * f->y_stride);
    float *y = malloc(count * sizeof *y);
    for (size_t i = 0; i < count; i++)
        y[i] = pare_bits_to_f32(0x7fa5a5a5);
    return y;
}

static void same_bits(const fixture *f, const float *y, const float *other, int64_t tokens,
                      const char *what)
{
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t r = 0; r < f->rows; r++)
            if (memcmp(y + t * f->y_stride + r, other + t * f->y_stride + r, sizeof *y) != 0)
                fail_msg("%s, %s [%d, %d] x %d: row %d, token %d: %.9g, but %.9g %s",
                         f->matmul->name, pare_type_name(f->type), (int)f->rows, (int)f->columns,
                         (int)f->tokens, (int)r, (int)t, y[t * f->y_stride + r],
                         other[t * f->y_stride + r], what);
}

static void check_product(fixture *f, pare_random *random)
{
    make_fixture(f, random);
    bool packs = f->matmul->packed_bytes != NULL;
    guarded packed = packs ? pack(f) : guarded_allocate(0);
    const void *weights = packs ? (const void *)packed.data : f->stored;
    float *y = poisoned(f), *other = poisoned(f);
    multiply(f, weights, 0, f->tokens, 1, y);
    check_values(f, y);
    multiply(f, weights, 0, f->tokens, 3, other);
    same_bits(f, y, other, f->tokens, "in three shares");
    for (int64_t t = 0; t < f->tokens; t++) {
        multiply(f, weights, t, 1, 1, other);
        same_bits(f, y + t * f->y_stride, other, 1, "alone");
    }
    guarded_free(&packed);
    free(y);
    free(other);
    free_fixture(f);
}

/* Shapes by the number of blocks in a row. */
static void check_entry(const pare_matmul *matmul, pare_type type, pare_operand operand,
                        pare_random *random)
{
    static const struct {
        int64_t rows, columns, tokens;
    } shapes[] = {{1, 32, 1},     {33, 64, 2},    {31, 256, 5}, {65, 288, 7},
                  {100, 512, 13}, {64, 1536, 12}, {37, 100, 25}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int64_t block = pare_type_block(type),
                columns = (shapes[i].columns + block - 1) / block * block;
        fixture f = {.matmul = matmul,
                     .type = type,
                     .operand = operand,
                     .rows = shapes[i].rows,
                     .columns = columns,
                     .tokens = shapes[i].tokens};
        check_product(&f, random);
    }
}

static void all_products(void **state)
{
    pare_random random = {1};
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++)
        for (pare_operand operand = 0; operand < PARE_OPERAND_COUNT; operand++) {
            const pare_matmul *before = NULL;
            for (pare_isa isa = 0; isa < PARE_ISA_COUNT; isa++) {
                const pare_matmul *matmul =
                    pare_isa_supported(isa) ? pare_kernels_get(isa)->matmul[type][operand] : NULL;
                if (matmul && matmul != before)
                    check_entry(matmul, type, operand, &random);
                before = matmul ? matmul : before;
            }
        }
}

/* ---- timing ---- */

typedef struct bench_options {
    int threads, format_count;
    const char *isa, *operand;     /* operand: NULL is all */
    int64_t rows, columns, tokens; /* tokens: 0 is 1, 4, 32 and 512 */
    char **formats;
} bench_options;

static bool wanted(const bench_options *options, pare_type type)
{
    for (int j = 0; j < options->format_count; j++)
        if (pare_type_from_name(options->formats[j]) == type)
            return true;
    return options->format_count == 0;
}

static bool wanted_operand(const bench_options *options, pare_operand operand)
{
    static const char *const names[PARE_OPERAND_COUNT] = {"f32", "q8", "bf16"};
    return !options->operand || strcmp(options->operand, names[operand]) == 0;
}

static int bench_one(const bench_options *options, const pare_kernels *kernels, pare_pool *pool,
                     pare_type type, pare_operand operand)
{
    static const int64_t tokens[] = {1, 4, 32, 512};
    const pare_matmul *matmul = kernels->matmul[type][operand];
    for (int i = 0; i < (options->tokens ? 1 : 4); i++) {
        int64_t count = options->tokens ? options->tokens : tokens[i];
        pare_kernel_time time;
        if (pare_kernels_time(kernels, pool, type, operand, options->rows, options->columns, count,
                              0.3, &time) != PARE_OK)
            return fprintf(stderr, "%s\n", pare_error_message()), 1;
        double best = time.seconds / time.best_seconds;
        printf("%-8s %-28s %3d tokens: %6.1f GB/s (best %6.1f, reads %5.1f), %7.1f GOP/s (best "
               "%7.1f) +- %2.0f %%, "
               "packs %.1f G/s\n",
               pare_type_name(type), matmul->name, (int)count, 1e-9 * time.bytes_per_s,
               1e-9 * time.bytes_per_s * best, 1e-9 * time.read_bytes_per_s,
               1e-9 * time.operations_per_s, 1e-9 * time.operations_per_s * best, 100 * time.spread,
               1e-9 * time.packed_weights_per_s);
        fflush(stdout);
    }
    return 0;
}

static int bench(int count, char **arguments)
{
    bench_options options = {.rows = 2048, .columns = 4096};
    int i = 0;
    for (; i + 1 < count && arguments[i][0] == '-'; i += 2) {
        if (strcmp(arguments[i], "-t") == 0)
            options.threads = atoi(arguments[i + 1]);
        else if (strcmp(arguments[i], "--isa") == 0)
            options.isa = arguments[i + 1];
        else if (strcmp(arguments[i], "--operand") == 0)
            options.operand = arguments[i + 1];
        else if (strcmp(arguments[i], "--tokens") == 0)
            options.tokens = atoll(arguments[i + 1]);
        else if (strcmp(arguments[i], "--shape") == 0 &&
                 sscanf(arguments[i + 1], "%" SCNd64 "x%" SCNd64, &options.rows,
                        &options.columns) == 2)
            continue;
        else
            return fprintf(stderr,
                           "--bench [-t N] [--isa TIER] [--shape ROWSxCOLUMNS] [--tokens N] "
                           "[--operand f32|q8|bf16] [FORMAT ...]\n"),
                   2;
    }
    options.format_count = count - i;
    options.formats = arguments + i;
    pare_isa isa;
    pare_pool *pool;
    if (pare_isa_from_name(options.isa, &isa) != PARE_OK ||
        pare_pool_create(options.threads, &pool) != PARE_OK)
        return fprintf(stderr, "%s\n", pare_error_message()), 1;
    int failed = 0;
    const pare_kernels *kernels = pare_kernels_get(isa), *ref = pare_kernels_get(PARE_ISA_REF);
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++)
        for (pare_operand operand = 0; operand < PARE_OPERAND_COUNT; operand++)
            if (wanted(&options, type) && wanted_operand(&options, operand) &&
                kernels->matmul[type][operand] &&
                (isa == PARE_ISA_REF ||
                 kernels->matmul[type][operand] != ref->matmul[type][operand]))
                failed |= bench_one(&options, kernels, pool, type, operand);
    pare_pool_free(pool);
    return failed;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench(argc - 2, argv + 2);
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
