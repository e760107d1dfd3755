/* Rounding of one input by the rules of other libraries (kernels/int8.h). */
#ifndef PARE_KERNELS_CUDA_ROUND_CUH
#define PARE_KERNELS_CUDA_ROUND_CUH

#include "kernels/cuda/common.cuh"

/* To the nearest value of FP16; its largest where x is beyond. */
__device__ inline float round_half(float x)
{
    return __half2float(__float2half_rn(fminf(fmaxf(x, -65504.0f), 65504.0f)));
}

/* What a rule sees of an input. */
__device__ inline float round_seen(const gpu_round_rule &rule, float x)
{
    return rule.kind == GPU_ROUND_OUTLIERS ? round_half(x) : x;
}

/* Of an input as the rule sees it. */
__device__ inline bool round_apart(const gpu_round_rule &rule, float x)
{
    return rule.threshold > 0 && fabsf(x) >= rule.threshold;
}

struct round_scale {
    float scale;
    int zero;
    float inverse; /* LLM.int8(): of a step */
};

__device__ inline float round_usable(float scale)
{
    return scale >= 0x1p-120f && scale <= 0x1p120f ? scale : 0;
}

/* Of a token whose largest magnitude is `most`. */
__device__ inline round_scale round_token_scale(const gpu_round_rule &rule, float most)
{
    if (rule.kind == GPU_ROUND_OUTLIERS)
        return {round_usable(__fmul_rn(most, 127 * 6.200124e-05f)), 0,
                __fmul_rn(__fdiv_rn(1, most), 127)};
    return {round_usable(__fdiv_rn(most, rule.kind == GPU_ROUND_TOKEN_128 ? 127.5f : 127.0f)), 0,
            0};
}

/* Of values from least <= 0 to most >= 0. */
__device__ inline round_scale round_tensor_scale(float least, float most)
{
    round_scale s = {round_usable(__fdiv_rn(most - least, 255)), 0, 0};
    float zero = s.scale > 0 ? rintf(__fdiv_rn(-least, s.scale)) : 0;
    s.zero = (int)fminf(zero, 255.0f) - 128;
    return s;
}

/* The value of x's code. */
__device__ inline float round_value(const gpu_round_rule &rule, const round_scale &s, float x)
{
    float steps = rule.kind == GPU_ROUND_OUTLIERS ? __fmul_rn(round_half(x), s.inverse)
                                                  : __fdiv_rn(x, s.scale);
    float code = s.scale > 0 ? rintf(steps) + (float)s.zero : (float)s.zero;
    code = fminf(fmaxf(code, -128.0f), 127.0f);
    return s.scale * (code - (float)s.zero);
}

#endif
