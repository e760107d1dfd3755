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

#endif
