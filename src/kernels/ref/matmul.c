/* Matrix products in plain C, for every readable format: the definition that the other tiers are
 * checked against.
 *
 * A row is decoded to FP32 by the format's own decoder. Its dot product with a token runs in 16
 * lanes: lane j sums the products of elements j, j+16, j+32, ... in that order in FP32, and the
 * lanes are then added in pairs (j and j+8, j+4, ...). */
#include "base/half.h"
#include "kernels/kernels.h"
#include "kernels/quantize8.h"
#include "quant/types.h"

#include <string.h>

enum { LANES = 16 };

static float sum_lanes(float lanes[LANES])
{
    for (int half = LANES / 2; half; half /= 2)
        for (int j = 0; j < half; j++)
            lanes[j] += lanes[j + half];
    return lanes[0];
}

static float dot(const float *w, const float *x, int64_t n)
{
    float lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] += w[i + j] * x[i + j];
    for (int j = 0; i < n; i++, j++)
        lanes[j] += w[i] * x[i];
    return sum_lanes(lanes);
}

static size_t row_scratch(int64_t rows, int64_t columns, int64_t tokens)
{
    return (size_t)columns * sizeof(float);
}

static const uint8_t *stored_row(const void *weights, pare_type type, int64_t columns, int64_t row)
{
    return (const uint8_t *)weights + (size_t)row * pare_type_row_bytes(type, columns);
}

static void multiply_f32(float *y, int64_t y_stride, const void *weights, pare_type type,
                         const void *x, int64_t x_stride, const float *bias, int64_t rows,
                         int64_t columns, int64_t tokens, int64_t first, int64_t last,
                         void *scratch)
{
    float *w = scratch;
    for (int64_t r = first; r < last; r++) {
        pare_type_get_traits(type)->decode(stored_row(weights, type, columns, r), w, columns);
        for (int64_t t = 0; t < tokens; t++)
            y[t * y_stride + r] =
                dot(w, (const float *)x + t * x_stride, columns) + (bias ? bias[r] : 0);
    }
}

/* Prepared tokens lie one after another: the codes of a row padded to whole blocks, then its
 * scales. */
static int64_t q8_blocks(int64_t columns)
{
    return (columns + PARE_Q8_BLOCK - 1) / PARE_Q8_BLOCK;
}

static size_t q8_row_bytes(int64_t columns)
{
    return (size_t)q8_blocks(columns) * (PARE_Q8_BLOCK + sizeof(float));
}

static size_t q8_prepared(int64_t tokens, int64_t columns)
{
    return (size_t)tokens * q8_row_bytes(columns);
}

static void q8_prepare(void *prepared, const float *x, int64_t x_stride, int64_t tokens,
                       int64_t columns, int64_t first, int64_t last)
{
    int64_t blocks = q8_blocks(columns);
    for (int64_t t = first; t < last; t++) {
        uint8_t *row = (uint8_t *)prepared + (size_t)t * q8_row_bytes(columns);
        float *scales = (float *)(row + blocks * PARE_Q8_BLOCK);
        for (int64_t b = 0; b < blocks; b++) {
            int64_t rest = columns - b * PARE_Q8_BLOCK;
            scales[b] = pare_quantize8((int8_t *)row + b * PARE_Q8_BLOCK,
                                       x + t * x_stride + b * PARE_Q8_BLOCK,
                                       rest < PARE_Q8_BLOCK ? rest : PARE_Q8_BLOCK);
        }
    }
}

/* Within a block the products are summed before the activations' scale is applied, as integer tiers
 * do. */
static float dot_q8(const float *w, const int8_t *codes, const float *scales, int64_t n)
{
    float lanes[LANES] = {0};
    for (int64_t b = 0; b * PARE_Q8_BLOCK < n; b++) {
        int64_t rest = n - b * PARE_Q8_BLOCK, count = rest < PARE_Q8_BLOCK ? rest : PARE_Q8_BLOCK;
        float sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += w[b * PARE_Q8_BLOCK + i] * (float)codes[b * PARE_Q8_BLOCK + i];
        lanes[b % LANES] += scales[b] * sum;
    }
    return sum_lanes(lanes);
}

static void multiply_q8(float *y, int64_t y_stride, const void *weights, pare_type type,
                        const void *x, int64_t x_stride, const float *bias, int64_t rows,
                        int64_t columns, int64_t tokens, int64_t first, int64_t last, void *scratch)
{
    float *w = scratch;
    for (int64_t r = first; r < last; r++) {
        pare_type_get_traits(type)->decode(stored_row(weights, type, columns, r), w, columns);
        for (int64_t t = 0; t < tokens; t++) {
            const int8_t *codes = (const int8_t *)x + (size_t)t * q8_row_bytes(columns);
            const float *scales = (const float *)(codes + q8_blocks(columns) * PARE_Q8_BLOCK);
            y[t * y_stride + r] = dot_q8(w, codes, scales, columns) + (bias ? bias[r] : 0);
        }
    }
}

/* FP32 rows that hold the values rounded to BF16. */
static size_t bf16_prepared(int64_t tokens, int64_t columns)
{
    return (size_t)(tokens * columns) * sizeof(float);
}

static void bf16_prepare(void *prepared, const float *x, int64_t x_stride, int64_t tokens,
                         int64_t columns, int64_t first, int64_t last)
{
    float *rounded = prepared;
    for (int64_t t = first; t < last; t++)
        for (int64_t i = 0; i < columns; i++)
            rounded[t * columns + i] = pare_bf16_to_f32(pare_f32_to_bf16(x[t * x_stride + i]));
}

static void multiply_bf16(float *y, int64_t y_stride, const void *weights, pare_type type,
                          const void *x, int64_t x_stride, const float *bias, int64_t rows,
                          int64_t columns, int64_t tokens, int64_t first, int64_t last,
                          void *scratch)
{
    multiply_f32(y, y_stride, weights, type, x, columns, bias, rows, columns, tokens, first, last,
                 scratch);
}

static const pare_matmul ref_f32 = {.name = "f32, ref",
                                    .row_step = 1,
                                    .layout = "rows",
                                    .scratch_bytes = row_scratch,
                                    .multiply = multiply_f32};
static const pare_matmul ref_q8 = {.name = "q8, ref",
                                   .row_step = 1,
                                   .layout = "rows",
                                   .prepared_bytes = q8_prepared,
                                   .prepare = q8_prepare,
                                   .scratch_bytes = row_scratch,
                                   .multiply = multiply_q8};
static const pare_matmul ref_bf16 = {.name = "bf16, ref",
                                     .row_step = 1,
                                     .layout = "rows",
                                     .prepared_bytes = bf16_prepared,
                                     .prepare = bf16_prepare,
                                     .scratch_bytes = row_scratch,
                                     .multiply = multiply_bf16};

void pare_kernels_add_ref_matmul(pare_kernels *kernels)
{
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++) {
        if (!pare_type_get_traits(type)->decode)
            continue;
        kernels->decode_row[type] = pare_type_get_traits(type)->decode;
        kernels->matmul[type][PARE_OPERAND_F32] = &ref_f32;
        kernels->matmul[type][PARE_OPERAND_Q8] = &ref_q8;
        kernels->matmul[type][PARE_OPERAND_BF16] = &ref_bf16;
    }
}
