/* The row functions of every format_*.c, for the table in types.c, and what those files share. */
#ifndef PARE_QUANT_FORMATS_H
#define PARE_QUANT_FORMATS_H

#include "quant/types.h"

#include <math.h>

#include "base/half.h"

#define PARE_DECODER(name) void pare_decode_##name(const void *stored, float *values, int64_t n);
#define PARE_ENCODER(name)                                                                         \
    void pare_encode_##name(const float *values, void *stored, int64_t n, const float *importance);
#define PARE_BOTH(name) PARE_DECODER(name) PARE_ENCODER(name)

/* clang-format off */
PARE_BOTH(f32) PARE_BOTH(f16) PARE_BOTH(bf16) PARE_BOTH(q8_0) PARE_BOTH(q4_0) PARE_BOTH(q4_1)
PARE_BOTH(q5_0) PARE_BOTH(q5_1) PARE_BOTH(q2_k) PARE_BOTH(q3_k) PARE_BOTH(q4_k) PARE_BOTH(q5_k)
PARE_BOTH(q6_k) PARE_BOTH(iq4_nl) PARE_BOTH(iq4_xs) PARE_BOTH(mxfp4) PARE_BOTH(nvfp4)
PARE_BOTH(nvfp4_ch) PARE_BOTH(nf4) PARE_BOTH(fp4) PARE_BOTH(nf4_dq) PARE_BOTH(fp4_dq)
PARE_BOTH(f8_e4m3_ch) PARE_BOTH(f8_e5m2_ch) PARE_BOTH(i8_ch) PARE_BOTH(i8_tensor)
PARE_BOTH(i4_g32) PARE_BOTH(i4_g64) PARE_BOTH(i4_g128) PARE_BOTH(i4_g32_asym)
PARE_BOTH(i4_g64_asym) PARE_BOTH(i4_g128_asym) PARE_BOTH(i3_g32) PARE_BOTH(i3_g64)
PARE_BOTH(i3_g128) PARE_BOTH(i3_g32_asym) PARE_BOTH(i3_g64_asym) PARE_BOTH(i3_g128_asym)
PARE_BOTH(i2_g32) PARE_BOTH(i2_g64) PARE_BOTH(i2_g128) PARE_BOTH(i2_g32_asym)
PARE_BOTH(i2_g64_asym) PARE_BOTH(i2_g128_asym) PARE_DECODER(f64) PARE_DECODER(q8_1)
PARE_DECODER(q8_k) PARE_DECODER(iq2_xxs) PARE_DECODER(iq2_xs) PARE_DECODER(iq2_s)
PARE_DECODER(iq3_xxs) PARE_DECODER(iq3_s) PARE_DECODER(iq1_s) PARE_DECODER(iq1_m)
PARE_DECODER(tq1_0) PARE_DECODER(tq2_0) PARE_DECODER(q1_0) PARE_DECODER(q2_0)
/* clang-format on */

#undef PARE_DECODER
#undef PARE_ENCODER
#undef PARE_BOTH

    /* Elements of a K-quant block. */
    enum {
        PARE_SUPER_BLOCK = 256
    };

/* 1/d, or 0 where that is not a finite number (d zero or a small subnormal). */
static inline float pare_inverse(float d)
{
    float inverse = d != 0 ? 1 / d : 0;
    return isfinite(inverse) ? inverse : 0;
}

/* FP16 of a scale or minimum. A fitted one may lie a little above the largest weight: it saturates,
 * so that decoding never meets an infinity. */
static inline uint16_t pare_scale_to_f16(float scale)
{
    scale = scale < 65504.0f ? scale : 65504.0f;
    return pare_f32_to_f16(scale > -65504.0f ? scale : -65504.0f);
}

/* Truncates to 0..top; NaN gives 0. */
static inline int pare_truncate_code(float value, int top)
{
    if (!(value > 0))
        return 0;
    return value >= (float)top ? top : (int)value;
}

static inline int pare_clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

/* Nearest integer, halves to even, for magnitudes below 2^22; larger ones saturate there, NaN gives
 * an end too. Adding 1.5 * 2^23 leaves no fraction bits: the sum's low mantissa bits are the
 * integer. */
static inline int pare_nearest(float value)
{
    const float limit = 0x1.fffffp21f;
    value = value > -limit ? value : -limit;
    value = value < limit ? value : limit;
    return (int)(pare_f32_to_bits(value + 0x1.8p23f) & 0x7fffff) - 0x400000;
}

#endif
