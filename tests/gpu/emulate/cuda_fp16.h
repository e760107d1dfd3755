/* FP16 for the emulation of CUDA: the compiler's own type. */
#ifndef PARE_EMULATE_FP16_H
#define PARE_EMULATE_FP16_H

#include <cuda_runtime_api.h>

extern "C" {
#include "base/half.h"
}

struct __half {
    uint16_t bits;
};
struct __half2 {
    __half x, y;
};
static inline float __half2float(__half h)
{
    return pare_f16_to_f32(h.bits);
}
static inline __half __float2half_rn(float v)
{
    return {pare_f32_to_f16(v)};
}
static inline __half __ushort_as_half(uint16_t bits)
{
    return {bits};
}
static inline uint16_t __half_as_ushort(__half h)
{
    return h.bits;
}
static inline float2 __half22float2(__half2 h)
{
    return {__half2float(h.x), __half2float(h.y)};
}
static inline __half2 __hsub2(__half2 a, __half2 b)
{
    return {__float2half_rn(__half2float(a.x) - __half2float(b.x)),
            __float2half_rn(__half2float(a.y) - __half2float(b.y))};
}
static inline __half2 __hmul2(__half2 a, __half2 b)
{
    return {__float2half_rn(__half2float(a.x) * __half2float(b.x)),
            __float2half_rn(__half2float(a.y) * __half2float(b.y))};
}
static inline __half2 __hfma2(__half2 a, __half2 b, __half2 c)
{
    return {__float2half_rn(__half2float(a.x) * __half2float(b.x) + __half2float(c.x)),
            __float2half_rn(__half2float(a.y) * __half2float(b.y) + __half2float(c.y))};
}
static inline __half2 __floats2half2_rn(float a, float b)
{
    return {__float2half_rn(a), __float2half_rn(b)};
}

#endif
