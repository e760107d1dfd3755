/* Activations rounded as the file asks: the statistics over all tokens of a pass that the rules of
 * kernels/int8.h need, and rounding in FP32. Values of codes stay FP32: products of rounded values
 * are those of the library's integers times its scales. */
#include "run/cpu.h"

#include "kernels/fp8.h"
#include "kernels/int8.h"

#include <math.h>
#include <string.h>

enum { CPU_EXTREMES = CPU_LINE / sizeof(float) };

/* ---- LLM.int8() ---- */

/* Of the inputs in FP16, as in bitsandbytes, whatever the model computes in. Each thread has its
 * share of the columns. */
static void find_outliers(const cpu_state *cpu, const cpu_inputs *in)
{
    const float threshold = cpu->decoder->outlier_threshold;
    pare_range columns = pare_share(in->columns, CPU_SHARE, in->index, in->count);
    bool *outliers = cpu->statistics.outliers;
    for (int64_t c = columns.first; c < columns.last; c++)
        outliers[c] = false;
    for (int64_t t = 0; t < in->tokens && threshold > 0; t++) {
        const float *x = in->x + t * in->stride;
        for (int64_t c = columns.first; c < columns.last; c++)
            outliers[c] |= fabsf(pare_int8_half(x[c])) >= threshold;
    }
}

static int64_t list_outliers(const bool *outliers, int64_t columns, int32_t *list)
{
    int64_t n = 0;
    for (int64_t c = 0; c < columns; c++)
        if (outliers[c])
            list[n++] = (int32_t)c;
    return n;
}

static pare_int8_rule outlier_rule(const cpu_state *cpu, const cpu_inputs *in)
{
    const cpu_statistics *statistics = &cpu->statistics;
    int32_t *list = statistics->outlier_columns + in->index * statistics->widest;
    pare_int8_rule rule = {.kind = PARE_INT8_LLM,
                           .outliers = statistics->outliers,
                           .outlier_columns = list,
                           .threshold = cpu->decoder->outlier_threshold,
                           .half_outliers = cpu->activations == PARE_ACTIVATIONS_FAST};
    if (!in->complete)
        pare_pool_barrier(cpu->pool);
    find_outliers(cpu, in);
    pare_pool_barrier(cpu->pool);
    rule.outlier_count = list_outliers(statistics->outliers, in->columns, list);
    if (in->index == 0) {
        statistics->outlier_count[in->statistics] += rule.outlier_count;
        statistics->column_count[in->statistics] += in->columns;
    }
    return rule;
}

pare_status cpu_prepare_statistics(cpu_state *cpu)
{
    const pare_decoder *d = cpu->decoder;
    const size_t threads = (size_t)pare_pool_threads(cpu->pool),
                 inputs = (size_t)(d->layers * PARE_BLOCK_INPUTS);
    cpu_statistics *s = &cpu->statistics;
    int64_t attended = d->heads * d->head_dim;
    if (d->input_rounding != PARE_INPUTS_LLM_INT8 && d->input_rounding != PARE_INPUTS_ORT_DYNAMIC)
        return PARE_OK;
    s->widest = d->hidden > attended ? d->hidden : attended;
    s->widest = d->mlp_hidden > s->widest ? d->mlp_hidden : s->widest;
    s->extremes = pare_arena_allocate(&cpu->arena, threads * CPU_LINE);
    s->outlier_count = pare_arena_allocate(&cpu->arena, inputs * sizeof *s->outlier_count);
    s->column_count = pare_arena_allocate(&cpu->arena, inputs * sizeof *s->column_count);
    s->outliers = pare_arena_allocate(&cpu->arena, (size_t)s->widest * sizeof *s->outliers);
    s->outlier_columns =
        pare_arena_allocate(&cpu->arena, threads * (size_t)s->widest * sizeof *s->outlier_columns);
    return s->extremes && s->outlier_count && s->column_count && s->outliers && s->outlier_columns
               ? PARE_OK
               : PARE_OUT_OF_MEMORY;
}

double cpu_outlier_share(const cpu_state *cpu, int64_t layer)
{
    double outliers = 0, columns = 0;
    for (int64_t i = layer * PARE_BLOCK_INPUTS;
         cpu->statistics.outlier_count && i < (layer + 1) * PARE_BLOCK_INPUTS; i++) {
        outliers += (double)cpu->statistics.outlier_count[i];
        columns += (double)cpu->statistics.column_count[i];
    }
    return columns > 0 ? outliers / columns : 0;
}

/* ---- ONNX Runtime ---- */

/* Widens [low, high] by a row. Floats and integers that order alike, since compilers vectorize the
 * extremes of integers only. */
static void widen_range(const float *x, int64_t n, float range[2])
{
    int32_t low = 0, high = 0, bits;
    for (int64_t i = 0; i < n; i++) {
        memcpy(&bits, x + i, sizeof bits);
        bits ^= bits >> 31 & 0x7fffffff;
        low = bits < low ? bits : low;
        high = bits > high ? bits : high;
    }
    float ends[2];
    low ^= low >> 31 & 0x7fffffff;
    memcpy(&ends[0], &low, sizeof low);
    memcpy(&ends[1], &high, sizeof high);
    range[0] = fminf(range[0], ends[0]);
    range[1] = fmaxf(range[1], ends[1]);
}

static pare_int8_rule tensor_rule(const cpu_state *cpu, const cpu_inputs *in)
{
    float range[2] = {0, 0}, *all = cpu->statistics.extremes;
    pare_int8_rule rule = {.kind = PARE_INT8_TENSOR};
    for (int64_t t = in->own.first; t < in->own.last; t++)
        widen_range(in->x + t * in->stride, in->columns, range);
    memcpy(all + in->index * CPU_EXTREMES, range, sizeof range);
    pare_pool_barrier(cpu->pool);
    for (int i = 0; i < in->count; i++) {
        range[0] = fminf(range[0], all[i * CPU_EXTREMES]);
        range[1] = fmaxf(range[1], all[i * CPU_EXTREMES + 1]);
    }
    rule.scale = (range[1] - range[0]) / 255;
    if (!(rule.scale >= 0x1p-120f && rule.scale <= 0x1p120f))
        rule.scale = 0;
    float zero = rule.scale > 0 ? pare_int8_nearest(-range[0] / rule.scale) : 0;
    rule.zero = (int)(zero > 255 ? 255 : zero) - 128;
    return rule;
}

/* ---- compressed-tensors ---- */

/* Instead of a scale of 0, as in the library. What a NaN or infinity makes the scale of is NaN,
 * there too: zeros would hide that a model is broken. */
static const float LEAST_SCALE = 0x1p-23f;

static void round_fp8(float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = scale * pare_fp8_nearest(x[i] / scale);
}

/* Each group of columns by its own scale. */
static void round_fp8_groups(float *x, int64_t columns, int64_t group)
{
    for (int64_t c = 0, n; c < columns; c += n) {
        n = columns - c < group ? columns - c : group;
        float scale = pare_int8_largest(x + c, n, 0, false) / PARE_FP8_MOST;
        round_fp8(x + c, n, scale == 0 ? LEAST_SCALE : scale);
    }
}

static void round_int8(float *x, int64_t n, float scale, float zero)
{
    for (int64_t i = 0; i < n; i++) {
        float code = x[i] / scale + zero;
        code = code < -128 ? -128 : code > 127 ? 127 : code;
        x[i] = (pare_int8_nearest(code) - zero) * scale;
    }
}

/* Codes -128..127 over the token's range, which has zero in it. */
static void round_asymmetric(float *x, int64_t columns)
{
    float range[2] = {0, 0};
    widen_range(x, columns, range);
    for (int64_t c = 0; c < columns; c++)
        range[1] = x[c] == x[c] ? range[1] : NAN;
    float scale = (range[1] - range[0]) / 255;
    float zero = scale > 0 ? pare_int8_nearest(fminf(-128 - range[0] / scale, 127)) : 0;
    round_int8(x, columns, scale == 0 ? LEAST_SCALE : scale, zero);
}

/* True where the token was rounded here, by a rule of compressed-tensors. */
static bool round_in_floats(const cpu_state *cpu, const cpu_inputs *inputs, float *x)
{
    const pare_decoder *d = cpu->decoder;
    switch (d->input_rounding) {
    case PARE_INPUTS_TOKEN_FP8:
        round_fp8_groups(x, inputs->columns, inputs->columns);
        return true;
    case PARE_INPUTS_GROUP_FP8:
        round_fp8_groups(x, inputs->columns, d->input_group ? d->input_group : inputs->columns);
        return true;
    case PARE_INPUTS_STATIC_FP8:
        round_fp8(x, inputs->columns, inputs->scale);
        return true;
    case PARE_INPUTS_TOKEN_INT8_ASYM:
        round_asymmetric(x, inputs->columns);
        return true;
    case PARE_INPUTS_STATIC_INT8:
        round_int8(x, inputs->columns, inputs->scale, (float)inputs->zero);
        return true;
    default:
        return false;
    }
}

bool cpu_rounds_to_integers(pare_input_rounding rounding)
{
    return rounding != PARE_INPUTS_TOKEN_FP8 && rounding != PARE_INPUTS_GROUP_FP8 &&
           rounding != PARE_INPUTS_STATIC_FP8 && rounding != PARE_INPUTS_TOKEN_INT8_ASYM;
}

/* ---- all ---- */

pare_int8_rule cpu_round_rule(const cpu_state *cpu, const cpu_inputs *inputs)
{
    switch (cpu->decoder->input_rounding) {
    case PARE_INPUTS_LLM_INT8:
        return outlier_rule(cpu, inputs);
    case PARE_INPUTS_ORT_DYNAMIC:
        return tensor_rule(cpu, inputs);
    case PARE_INPUTS_TOKEN_INT8:
        return (pare_int8_rule){.kind = PARE_INT8_TOKEN_128};
    case PARE_INPUTS_STATIC_INT8:
        return (pare_int8_rule){.kind = PARE_INT8_TENSOR,
                                .scale = inputs->scale,
                                .zero = inputs->zero,
                                .zero_inside = true};
    default:
        return (pare_int8_rule){.kind = PARE_INT8_TOKEN_127};
    }
}

void cpu_round_tokens(const cpu_state *cpu, const pare_int8_rule *rule, const cpu_inputs *inputs,
                      pare_range tokens)
{
    for (int64_t t = tokens.first; t < tokens.last; t++) {
        float *x = inputs->x + t * inputs->stride;
        if (round_in_floats(cpu, inputs, x))
            continue;
        float scale = pare_int8_scale(rule, x, inputs->columns);
        for (int64_t c = 0; c < inputs->columns; c += PARE_SUB) {
            int64_t n = inputs->columns - c < PARE_SUB ? inputs->columns - c : PARE_SUB;
            int8_t codes[PARE_SUB];
            pare_int8_codes(rule, scale, x, c, n, codes);
            for (int64_t i = c; i < c + n; i++)
                x[i] = rule->outliers && rule->outliers[i]
                           ? x[i] /* in the precision that the model computes in */
                           : scale * (float)(codes[i - c] - rule->zero);
        }
    }
}
