/* BF16 for the emulation of CUDA. */
#ifndef PARE_EMULATE_BF16_H
#define PARE_EMULATE_BF16_H

#include <cuda_fp16.h>

struct __nv_bfloat162 {
    uint16_t x, y;
};
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b)
{
    return {pare_f32_to_bf16(a), pare_f32_to_bf16(b)};
}

static inline __nv_bfloat162 __hsub2(__nv_bfloat162 a, __nv_bfloat162 b)
{
    return {pare_f32_to_bf16(pare_bf16_to_f32(a.x) - pare_bf16_to_f32(b.x)),
            pare_f32_to_bf16(pare_bf16_to_f32(a.y) - pare_bf16_to_f32(b.y))};
}
#endif
