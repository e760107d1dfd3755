#include "model/rope.h"

#include "base/fail.h"

#include <math.h>

#define PI 3.14159265358979323846

pare_rope pare_rope_default(void)
{
    return (pare_rope){.theta = 10000,
                       .factor = 1,
                       .beta_fast = 32,
                       .beta_slow = 1,
                       .magnitude = 1,
                       .truncate = true};
}

double pare_rope_yarn_magnitude(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

/* Written so that NaN fails too. */
static pare_status check(const pare_rope *rope, const char *file)
{
    if (!(rope->theta > 0 && rope->theta < 1e30))
        return pare_fail(PARE_FORMAT, "%s: the RoPE base (rope_theta) %g is not usable", file,
                         rope->theta);
    if (!(rope->factor > 0 && rope->factor < 1e9))
        return pare_fail(PARE_FORMAT, "%s: the RoPE scaling factor %g is not usable", file,
                         rope->factor);
    if (!(rope->magnitude > 0 && rope->magnitude < 1e6))
        return pare_fail(PARE_FORMAT, "%s: the RoPE attention factor %g is not usable", file,
                         rope->magnitude);
    if (rope->kind != PARE_ROPE_LLAMA3 && rope->kind != PARE_ROPE_YARN)
        return PARE_OK;
    if (!(rope->original_context > 0 && rope->original_context < 1e12))
        return pare_fail(PARE_FORMAT, "%s: RoPE scaling has original_max_position_embeddings %g",
                         file, rope->original_context);
    if (rope->kind == PARE_ROPE_LLAMA3 &&
        !(rope->low_frequency_factor > 0 &&
          rope->high_frequency_factor > rope->low_frequency_factor &&
          rope->high_frequency_factor < 1e9))
        return pare_fail(PARE_FORMAT,
                         "%s: RoPE scaling has low_freq_factor %g and high_freq_factor %g", file,
                         rope->low_frequency_factor, rope->high_frequency_factor);
    if (rope->kind == PARE_ROPE_YARN &&
        !(rope->theta > 1 && rope->beta_fast > 0 && rope->beta_slow > 0 && rope->beta_fast < 1e9 &&
          rope->beta_slow < 1e9 && rope->attention_factor >= 0 && rope->attention_factor < 1e6))
        return pare_fail(
            PARE_FORMAT, "%s: YaRN has base %g, beta_fast %g, beta_slow %g, attention_factor %g",
            file, rope->theta, rope->beta_fast, rope->beta_slow, rope->attention_factor);
    return PARE_OK;
}

/* theta^(2i/dims), its exponent rounded to FP32 before the power as torch does. */
static float period(const pare_rope *rope, int64_t dims, int64_t i)
{
    return powf((float)rope->theta, (float)(2 * i) / (float)dims);
}

/* Llama 3.1: long wavelengths are stretched by the factor, short ones kept, those between blended.
 */
static float llama3(const pare_rope *rope, float frequency)
{
    float factor = (float)rope->factor, low = (float)rope->low_frequency_factor,
          high = (float)rope->high_frequency_factor, context = (float)rope->original_context;
    float wavelength = (float)(2 * PI) / frequency;
    if (wavelength < context / high)
        return frequency;
    if (wavelength > context / low)
        return frequency / factor;
    float smooth = (context / wavelength - low) / (high - low);
    return (1 - smooth) * frequency / factor + smooth * frequency;
}

/* The pair (a fraction) that turns `rotations` times within the original context. */
static double yarn_pair(const pare_rope *rope, int64_t dims, double rotations)
{
    return (double)dims * log(rope->original_context / (rotations * 2 * PI)) /
           (2 * log(rope->theta));
}

/* YaRN (Peng et al. 2023, section 3.2): pairs before `low` keep their frequency, those after `high`
 * are stretched by the factor, with a ramp between. */
static void yarn(const pare_rope *rope, int64_t dims, float *frequencies)
{
    double low = yarn_pair(rope, dims, rope->beta_fast),
           high = yarn_pair(rope, dims, rope->beta_slow);
    if (rope->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)(dims - 1));
    if (low == high)
        high += 0.001;
    for (int64_t i = 0; i < dims / 2; i++) {
        float ramp = ((float)i - (float)low) / (float)(high - low);
        ramp = fminf(fmaxf(ramp, 0), 1);
        float kept = 1 - ramp, power = period(rope, dims, i);
        frequencies[i] = 1.0f / ((float)rope->factor * power) * (1 - kept) + 1.0f / power * kept;
    }
}

static double yarn_magnitude(const pare_rope *rope)
{
    if (rope->attention_factor > 0)
        return rope->attention_factor;
    if (rope->mscale != 0 && rope->mscale_all_dim != 0)
        return pare_rope_yarn_magnitude(rope->factor, rope->mscale) /
               pare_rope_yarn_magnitude(rope->factor, rope->mscale_all_dim);
    return pare_rope_yarn_magnitude(rope->factor, 1);
}

pare_status pare_rope_compute(const pare_rope *rope, int64_t dims, const char *file,
                              float *frequencies, float *magnitude)
{
    pare_status status = check(rope, file);
    if (status != PARE_OK)
        return status;
    double factor = rope->magnitude;
    for (int64_t i = 0; i < dims / 2; i++) {
        frequencies[i] = 1.0f / period(rope, dims, i);
        if (rope->kind == PARE_ROPE_LINEAR)
            frequencies[i] /= (float)rope->factor;
        if (rope->kind == PARE_ROPE_LLAMA3)
            frequencies[i] = llama3(rope, frequencies[i]);
    }
    if (rope->kind == PARE_ROPE_YARN) {
        yarn(rope, dims, frequencies);
        factor *= yarn_magnitude(rope);
    }
    *magnitude = (float)factor;
    if (!isfinite(*magnitude) || *magnitude <= 0)
        return pare_fail(PARE_FORMAT, "%s: the RoPE attention factor %g is not usable", file,
                         factor);
    return PARE_OK;
}
