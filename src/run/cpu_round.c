/* Activations rounded as another library's checkpoint asks. The values stay FP32: products of
 * rounded values are those of the library's integers times its scales. */
#include "run/cpu.h"

#include <math.h>

/* To the nearest integer, ties to even; for magnitudes below 2^22. */
static inline float nearest(float x)
{
    const float shift = 0x1.8p23f;
    return (x + shift) - shift;
}

static void round_token(float *x, int64_t n)
{
    float largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    float scale = largest / 127.5f;
    if (!(scale > 0))
        return;
    for (int64_t i = 0; i < n; i++) {
        float code = nearest(x[i] / scale);
        x[i] = scale * (code > 127 ? 127 : code);
    }
}

static void round_token_outliers(float *x, int64_t n, const bool *outliers, float threshold)
{
    float largest = 0;
    for (int64_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        if (threshold <= 0 || magnitude < threshold)
            largest = fmaxf(largest, magnitude);
    }
    float inverse = 127 / largest, scale = largest / 127;
    if (!isfinite(inverse))
        return;
    for (int64_t i = 0; i < n; i++)
        if (!outliers[i])
            x[i] = scale * nearest(x[i] * inverse);
}

static void find_outliers(const cpu_state *cpu, const float *x, int64_t stride, int64_t tokens,
                          pare_range columns)
{
    const float threshold = cpu->decoder->outlier_threshold;
    for (int64_t c = columns.first; c < columns.last; c++) {
        bool outlier = false;
        for (int64_t t = 0; t < tokens && threshold > 0; t++)
            outlier = outlier || fabsf(x[t * stride + c]) >= threshold;
        cpu->outliers[c] = outlier;
    }
}

void cpu_round_inputs(const cpu_state *cpu, float *x, int64_t stride, int64_t tokens,
                      int64_t columns, pare_range own, bool complete, int index, int count)
{
    bool outliers = cpu->decoder->input_rounding == PARE_INPUTS_LLM_INT8;
    if (outliers) {
        if (!complete)
            pare_pool_barrier(cpu->pool);
        find_outliers(cpu, x, stride, tokens, pare_share(columns, CPU_SHARE, index, count));
        pare_pool_barrier(cpu->pool);
    }
    for (int64_t t = own.first; t < own.last; t++) {
        if (outliers)
            round_token_outliers(x + t * stride, columns, cpu->outliers,
                                 cpu->decoder->outlier_threshold);
        else
            round_token(x + t * stride, columns);
    }
}
