/* Products of i8_ch weights with activations by the rules of int8.h, in integers, in plain C: the
 * definition that the other tiers are checked against. Packed rows are the stored ones. Prepared
 * tokens: codes [tokens][columns, in whole subs], scales [tokens], and int8.h's rest. */
#include "kernels/int8.h"
#include "quant/types.h"

#include <math.h>
#include <string.h>

static int64_t padded(int64_t columns)
{
    return pare_subs(columns) * PARE_SUB;
}

static float *scales_of(const void *prepared, int64_t tokens, int64_t columns)
{
    return (float *)(void *)((int8_t *)prepared + tokens * padded(columns));
}

static int8_t *row_of(const void *packed, int64_t columns, int64_t row)
{
    return (int8_t *)packed + (size_t)row * pare_type_row_bytes(PARE_TYPE_I8_CH, columns);
}

static size_t packed_bytes(int64_t rows, int64_t columns)
{
    return (size_t)rows * pare_type_row_bytes(PARE_TYPE_I8_CH, columns);
}

static void pack(void *packed, const void *stored, pare_type type, int64_t rows, int64_t columns,
                 int64_t first, int64_t last)
{
    memcpy(row_of(packed, columns, first), row_of(stored, columns, first),
           packed_bytes(last - first, columns));
}

static void unscale(void *packed, int64_t rows, int64_t columns)
{
    const float one = 1;
    for (int64_t r = 0; r < rows; r++)
        memcpy(row_of(packed, columns, r) + columns, &one, sizeof one);
}

static size_t no_scratch(int64_t rows, int64_t columns, int64_t tokens)
{
    return 0;
}

static void prepare(void *prepared, const pare_int8_rule *rule, const float *x, int64_t x_stride,
                    int64_t tokens, int64_t columns, int64_t first, int64_t last)
{
    float *scales = scales_of(prepared, tokens, columns),
          *largest = pare_int8_llm_largests(prepared, tokens, columns),
          *outliers = pare_int8_outliers(prepared, tokens, columns);
    for (int64_t t = first; t < last; t++) {
        const float *row = x + t * x_stride;
        float scale = pare_int8_scale(rule, row, columns);
        pare_int8_codes(rule, scale, row, 0, columns, (int8_t *)prepared + t * padded(columns));
        scales[t] = rule->kind == PARE_INT8_LLM ? 1 : scale;
        if (rule->kind == PARE_INT8_LLM)
            pare_int8_keep(rule, row, columns, &largest[t], outliers + t * rule->outlier_count);
    }
}

static void multiply(float *y, int64_t y_stride, const void *weights, pare_type type, const void *x,
                     int64_t x_stride, const float *bias, int64_t rows, int64_t columns,
                     int64_t tokens, int64_t first, int64_t last, void *scratch)
{
    const float *scales = scales_of(x, tokens, columns);
    for (int64_t r = first; r < last; r++) {
        const int8_t *row = row_of(weights, columns, r);
        float scale;
        memcpy(&scale, row + columns, sizeof scale);
        for (int64_t t = 0; t < tokens; t++) {
            const int8_t *codes = (const int8_t *)x + t * padded(columns);
            int32_t sum = 0;
            for (int64_t c = 0; c < columns; c++)
                sum += row[c] * codes[c];
            y[t * y_stride + r] = (float)sum * (scales[t] * scale) + (bias ? bias[r] : 0);
        }
    }
}

static void add_outliers(float *y, const int8_t *row, float factor, const float *outliers,
                         const pare_int8_rule *rule)
{
    float sum = 0;
    for (int64_t i = 0; i < rule->outlier_count; i++)
        sum = fmaf(outliers[i], pare_int8_llm_weight(row[rule->outlier_columns[i]], factor), sum);
    *y += sum;
}

static void correct(float *y, int64_t y_stride, const void *weights, const void *prepared,
                    const pare_int8_rule *rule, const float *factors, const float *bias,
                    int64_t columns, int64_t tokens, int64_t first, int64_t last)
{
    const float *largest = pare_int8_llm_largests(prepared, tokens, columns),
                *outliers = pare_int8_outliers(prepared, tokens, columns),
                offset = rule->scale * (float)rule->zero;
    for (int64_t t = 0; t < tokens; t++) {
        float *to = y + t * y_stride;
        if (rule->kind == PARE_INT8_LLM)
            pare_int8_llm_scale(to + first, largest[t], factors + first, bias ? bias + first : NULL,
                                last - first);
        for (int64_t r = first; r < last; r++)
            if (rule->kind == PARE_INT8_TENSOR)
                to[r] -= offset * factors[r];
            else if (rule->outlier_count)
                add_outliers(to + r, row_of(weights, columns, r), factors[r],
                             outliers + t * rule->outlier_count, rule);
    }
}

static const pare_matmul matmul = {.name = "i8_ch x int8, ref",
                                   .row_step = 1,
                                   .packed_bytes = packed_bytes,
                                   .pack = pack,
                                   .layout = "i8_ch rows",
                                   .prepared_bytes = pare_tiles_q8_bytes,
                                   .scratch_bytes = no_scratch,
                                   .multiply = multiply};
static const pare_int8 ref_int8 = {&matmul, unscale, prepare, correct};

void pare_kernels_add_ref_int8(pare_kernels *kernels)
{
    kernels->int8 = &ref_int8;
}
