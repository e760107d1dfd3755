/* Activations in 8 bits by the rules of other libraries: one definition, used by the rounding in
 * FP32 (src/run/cpu_round.c) and by the integer products, so that both see the same codes.
 *
 *     value of a code = scale (code - zero)
 *
 *     TOKEN_127  scale = largest magnitude of the token / 127, codes -127..127, zero 0 (w8a8)
 *     LLM        of the inputs in FP16: codes x (1 / largest * 127), the largest without outliers;
 *                columns of outliers are left out. bitsandbytes on a CPU (backends/default/ops.py)
 *                multiplies sums by 6.200124e-05, which is 1 / 127 / 127 but for 1.8e-5. In FP32
 *                that is in the scale; products in integers do all of it in its own order:
 *                    ((sum of codes) (largest SCB)) 6.200124e-05 + bias + outliers
 *                with SCB = 127 times the row's scale. Its logits can be met only so
 *     TOKEN_128  scale = largest magnitude / 127.5, codes -128..127, zero 0 (compressed-tensors)
 *     TENSOR     one scale and zero point for all tokens of the pass (ONNX Runtime's
 *                DynamicQuantizeLinear): codes 0..255 there, less 128 here; or the file's
 *                (compressed-tensors, which adds the zero point before it rounds) */
#ifndef PARE_KERNELS_INT8_H
#define PARE_KERNELS_INT8_H

#include "kernels/activations.h"
#include "kernels/kernels.h"

#include <string.h>

/* To the nearest integer, ties to even; for magnitudes below 2^22. */
static inline float pare_int8_nearest(float x)
{
    const float shift = 0x1.8p23f;
    return (x + shift) - shift;
}

/* To the nearest value of FP16, ties to even; its largest value where x is beyond. Without
 * branches: compilers vectorize it. */
static inline float pare_int8_half(float x)
{
    uint32_t bits, rest, normal;
    float small, value;
    memcpy(&bits, &x, sizeof bits);
    rest = bits & 0x7fffffff;
    memcpy(&small, &rest, sizeof small);
    small = (small + 0.5f) - 0.5f; /* the step of subnormals is that of [0.5, 1) in FP32 */
    normal = (rest + 0xfff + (rest >> 13 & 1)) & ~0x1fffu;
    normal = normal < 0x477fe000 ? normal : 0x477fe000;
    memcpy(&rest, &small, sizeof rest);
    rest = (bits & 0x7fffffff) < 0x38800000 ? rest : normal;
    rest |= bits & 0x80000000;
    memcpy(&value, &rest, sizeof value);
    return value;
}

#define PARE_INT8_LLM_UNIT 6.200124e-05f
/* The value of code 1 of LLM.int8() in largest magnitudes. */
#define PARE_INT8_LLM_STEP (127 * PARE_INT8_LLM_UNIT)

/* The largest magnitude (of `half`: in FP16) below the threshold (0: of all). Bits of magnitudes
 * order like the magnitudes, and comparing integers is what compilers vectorize. */
static inline float pare_int8_largest(const float *x, int64_t n, float threshold, bool half)
{
    int32_t most = 0, limit = INT32_MAX;
    float value;
    if (threshold > 0)
        memcpy(&limit, &threshold, sizeof limit);
    for (int64_t i = 0; i < n; i++) {
        int32_t bits;
        value = half ? pare_int8_half(x[i]) : x[i];
        memcpy(&bits, &value, sizeof bits);
        bits &= 0x7fffffff;
        bits = bits < limit ? bits : 0;
        most = bits > most ? bits : most;
    }
    memcpy(&value, &most, sizeof value);
    return value;
}

/* The scale of one token; 0 where all its codes are zero. */
static inline float pare_int8_scale(const pare_int8_rule *rule, const float *x, int64_t n)
{
    if (rule->kind == PARE_INT8_TENSOR)
        return rule->scale;
    float largest = rule->kind == PARE_INT8_LLM ? pare_int8_largest(x, n, rule->threshold, true)
                                                : pare_int8_largest(x, n, rule->threshold, false);
    float scale = rule->kind == PARE_INT8_LLM
                      ? largest * PARE_INT8_LLM_STEP
                      : largest / (rule->kind == PARE_INT8_TOKEN_128 ? 127.5f : 127);
    return scale >= 0x1p-120f && scale <= 0x1p120f ? scale : 0;
}

/* The largest magnitude that gave the scale of LLM.int8(): FP16 holds it, so it comes back exactly.
 */
static inline float pare_int8_llm_largest(float scale)
{
    return pare_int8_half(scale / PARE_INT8_LLM_STEP);
}

/* The code of LLM.int8(); of an outlier, which has none, anything within a byte. */
static inline int8_t pare_int8_llm_code(float x, float inverse)
{
    float code = pare_int8_half(x) * inverse;
    code = code < -127 ? -127 : code > 127 ? 127 : code;
    return (int8_t)(int32_t)pare_int8_nearest(code);
}

/* Codes of columns first..first+n-1 of a token. */
static inline void pare_int8_codes(const pare_int8_rule *rule, float scale, const float *x,
                                   int64_t first, int64_t n, int8_t *codes)
{
    const float inside = rule->zero_inside ? (float)rule->zero : 0,
                zero = rule->zero_inside ? 0 : (float)rule->zero;
    if (scale == 0) {
        for (int64_t i = 0; i < n; i++)
            codes[i] = 0;
        return;
    }
    if (rule->kind == PARE_INT8_LLM) {
        /* Half of the largest is 63.5 steps, and PyTorch's order of these two operations decides
         * where that goes. */
        const float inverse = 1 / pare_int8_llm_largest(scale) * 127;
        for (int64_t i = 0; i < n; i++)
            codes[i] = pare_int8_llm_code(x[first + i], inverse);
    }
    for (int64_t i = 0; i < n && rule->kind != PARE_INT8_LLM; i++) {
        float code = pare_int8_nearest(x[first + i] / scale + inside) + zero;
        code = code > -128 ? code : -128; /* of NaN too: by a file's scale it comes this far */
        codes[i] = (int8_t)(int32_t)(code > 127 ? 127 : code);
    }
    for (int64_t i = 0; rule->outliers && i < n; i++)
        if (rule->outliers[first + i])
            codes[i] = 0;
}

/* ---- prepared activations: the tiles of activations.h (the scales of LLM are 1), then, of LLM,
 * the largest magnitudes [tokens] and the values of outliers [tokens][outlier_count] ---- */

static inline size_t pare_int8_prepared_bytes(int64_t tokens, int64_t columns, bool llm)
{
    return pare_tiles_q8_bytes(tokens, columns) +
           (llm ? (size_t)tokens * (size_t)(columns + 1) * sizeof(float) : 0);
}

static inline float *pare_int8_llm_largests(const void *prepared, int64_t tokens, int64_t columns)
{
    return (float *)(void *)((char *)prepared + pare_tiles_q8_bytes(tokens, columns));
}

static inline float *pare_int8_outliers(const void *prepared, int64_t tokens, int64_t columns)
{
    return pare_int8_llm_largests(prepared, tokens, columns) + tokens;
}

/* What LLM needs of a token beside its tiles. */
static inline void pare_int8_keep(const pare_int8_rule *rule, const float *x, int64_t columns,
                                  float *largest, float *outliers)
{
    *largest = pare_int8_llm_largest(pare_int8_scale(rule, x, columns));
    for (int64_t i = 0; i < rule->outlier_count; i++) {
        float value = x[rule->outlier_columns[i]];
        outliers[i] = rule->half_outliers ? pare_int8_half(value) : value;
    }
}

/* From sums of codes to values but for outliers. `factors`: the rows' scales. */
static inline void pare_int8_llm_scale(float *y, float largest, const float *factors,
                                       const float *bias, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++)
        y[r] = y[r] * (largest * (127 * factors[r])) * PARE_INT8_LLM_UNIT;
    for (int64_t r = 0; bias && r < rows; r++)
        y[r] += bias[r];
}

/* A weight of a column of outliers, as bitsandbytes dequantizes it. */
static inline float pare_int8_llm_weight(int code, float factor)
{
    return (float)code * (127 * factor) * 0.007874015718698502f;
}

#endif
