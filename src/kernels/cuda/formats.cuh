/* How each format's weights lie on the device, and how a lane gets its codes and scales. A new
 * format is one struct here, its unpacking in pack.cu, and one row in GPU_CODED_LIST.
 *
 * A chunk is 1024 columns, 32 groups of 32; lane l owns group l. With G groups (32, fewer in a
 * row's last chunk) it is
 *
 *     8 bits   columns 0..15 of all groups, [G][16 bytes]; columns 16..31, [G][16]
 *     4 bits   [G][4 words]: word j has columns 8j..8j+3 in the low and 8j+4..8j+7 in the high
 *              nibbles of its bytes
 *     2 bits   [G][2 words]: bits 2p of the bytes of word j are columns 16j+4p .. 16j+4p+3
 *     high bits, 1 bit: [G] words, bit i of byte b is column 4i+b; 2 bits: as above
 *     scales   by format, see the structs
 *
 * each part padded to 16 bytes. So a warp reads every part as one run of memory, and 32-bit word i
 * of a lane's unpacked codes holds columns 4i..4i+3 of its group: what a byte product takes.
 * value = scale (code - ZERO) + minimum. */
#ifndef PARE_KERNELS_CUDA_FORMATS_CUH
#define PARE_KERNELS_CUDA_FORMATS_CUH

#include "kernels/cuda/gpu.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

enum { GPU_CHUNK = 1024, GPU_GROUP = 32, GPU_CHUNK_GROUPS = GPU_CHUNK / GPU_GROUP };

__host__ __device__ constexpr uint32_t gpu_pad16(uint32_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

__device__ inline float gpu_half(uint16_t bits)
{
    return __half2float(__ushort_as_half(bits));
}

struct gpu_scales {
    float scale[2], minimum[2]; /* of columns 0..15 and 16..31 */
};

/* ---- codes ---- */

template <int LOW, int HIGH> struct gpu_codes {
    __host__ __device__ static constexpr uint32_t low_bytes(int groups)
    {
        return LOW == 8 ? 32 * groups : gpu_pad16(4 * LOW * groups);
    }
    __host__ __device__ static constexpr uint32_t bytes(int groups)
    {
        return low_bytes(groups) + (HIGH ? gpu_pad16(4 * HIGH * groups) : 0);
    }

    __device__ static void load(const uint8_t *chunk, int groups, int lane, uint32_t w[8])
    {
        if (LOW == 8) {
            uint4 a = *(const uint4 *)(chunk + 16 * lane);
            uint4 b = *(const uint4 *)(chunk + 16 * groups + 16 * lane);
            w[0] = a.x, w[1] = a.y, w[2] = a.z, w[3] = a.w;
            w[4] = b.x, w[5] = b.y, w[6] = b.z, w[7] = b.w;
        } else if (LOW == 4) {
            uint4 a = *(const uint4 *)(chunk + 16 * lane);
            uint32_t q[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
            for (int j = 0; j < 4; j++) {
                w[2 * j] = q[j] & 0x0f0f0f0f;
                w[2 * j + 1] = q[j] >> 4 & 0x0f0f0f0f;
            }
        } else {
            uint2 a = *(const uint2 *)(chunk + 8 * lane);
            uint32_t q[2] = {a.x, a.y};
#pragma unroll
            for (int i = 0; i < 8; i++)
                w[i] = q[i / 4] >> (i % 4 * 2) & 0x03030303;
        }
        const uint8_t *high = chunk + low_bytes(groups);
        if (HIGH == 1) {
            uint32_t h = *(const uint32_t *)(high + 4 * lane);
#pragma unroll
            for (int i = 0; i < 8; i++)
                w[i] |= (h >> i & 0x01010101) << LOW;
        } else if (HIGH == 2) {
            uint2 a = *(const uint2 *)(high + 8 * lane);
            uint32_t q[2] = {a.x, a.y};
#pragma unroll
            for (int i = 0; i < 8; i++)
                w[i] |= (q[i / 4] >> (i % 4 * 2) & 0x03030303) << LOW;
        }
    }

    /* Words 2q and 2q + 1 of load(): eight columns, q = 0..3. Neighbouring q read neighbouring
     * memory. */
    __device__ static void load2(const uint8_t *chunk, int groups, int lane, int q, uint32_t w[2])
    {
        const uint8_t *high = chunk + low_bytes(groups);
        if (LOW == 8) {
            uint2 a = *(const uint2 *)(chunk + (q / 2 * groups + lane) * 16 + q % 2 * 8);
            w[0] = a.x, w[1] = a.y;
        } else if (LOW == 4) {
            uint32_t a = ((const uint32_t *)chunk)[4 * lane + q];
            w[0] = a & 0x0f0f0f0f, w[1] = a >> 4 & 0x0f0f0f0f;
        } else {
            uint32_t a = ((const uint32_t *)chunk)[2 * lane + q / 2] >> (q % 2 * 4);
            w[0] = a & 0x03030303, w[1] = a >> 2 & 0x03030303;
        }
        if (HIGH == 1) {
            uint32_t h = ((const uint32_t *)high)[lane] >> (2 * q);
            w[0] |= (h & 0x01010101) << LOW;
            w[1] |= (h >> 1 & 0x01010101) << LOW;
        } else if (HIGH == 2) {
            uint32_t h = ((const uint32_t *)high)[2 * lane + q / 2] >> (q % 2 * 4);
            w[0] |= (h & 0x03030303) << LOW;
            w[1] |= (h >> 2 & 0x03030303) << LOW;
        }
    }

    /* The inverse of load(); the codes may be signed only where LOW is 8. */
    __device__ static void store(uint8_t *chunk, int groups, int lane, const uint8_t c[32])
    {
        if (LOW == 8) {
            for (int i = 0; i < 32; i++)
                chunk[(i / 16 * groups + lane) * 16 + i % 16] = c[i];
        } else if (LOW == 4) {
            for (int j = 0; j < 4; j++)
                for (int b = 0; b < 4; b++)
                    chunk[16 * lane + 4 * j + b] =
                        (uint8_t)((c[8 * j + b] & 15) | (c[8 * j + 4 + b] & 15) << 4);
        } else {
            store2(chunk + 8 * lane, c, 0);
        }
        uint8_t *high = chunk + low_bytes(groups);
        if (HIGH == 1)
            for (int b = 0; b < 4; b++) {
                int bits = 0;
                for (int i = 0; i < 8; i++)
                    bits |= (c[4 * i + b] >> LOW & 1) << i;
                high[4 * lane + b] = (uint8_t)bits;
            }
        else if (HIGH == 2)
            store2(high + 8 * lane, c, LOW);
    }

    __device__ static void store2(uint8_t *to, const uint8_t c[32], int shift)
    {
        for (int j = 0; j < 2; j++)
            for (int b = 0; b < 4; b++) {
                int bits = 0;
                for (int p = 0; p < 4; p++)
                    bits |= (c[16 * j + 4 * p + b] >> shift & 3) << (2 * p);
                to[4 * j + b] = (uint8_t)bits;
            }
    }
};

/* ---- scales ---- */

/* FP16 for each N groups. */
template <int N> struct gpu_scale_half {
    __host__ __device__ static constexpr uint32_t bytes(int groups)
    {
        return gpu_pad16(2 * ((groups + N - 1) / N));
    }
    __device__ static gpu_scales load(const uint8_t *part, int groups, int lane)
    {
        float s = gpu_half(((const uint16_t *)part)[lane / N]);
        return {{s, s}, {0, 0}};
    }
};

/* FP16 scale and minimum. NEGATE: the second number is a zero point, minimum = -scale zero. */
template <int N, bool ZERO_POINT> struct gpu_scale_pair {
    __host__ __device__ static constexpr uint32_t bytes(int groups)
    {
        return gpu_pad16(4 * ((groups + N - 1) / N));
    }
    __device__ static gpu_scales load(const uint8_t *part, int groups, int lane)
    {
        uint32_t both = ((const uint32_t *)part)[lane / N];
        float s = gpu_half((uint16_t)both), m = gpu_half((uint16_t)(both >> 16));
        if (ZERO_POINT)
            m *= -s;
        return {{s, s}, {m, m}};
    }
};

/* FP32 for each N groups; N 32: of the whole chunk. */
template <int N> struct gpu_scale_float {
    __host__ __device__ static constexpr uint32_t bytes(int groups)
    {
        return gpu_pad16(4 * ((groups + N - 1) / N));
    }
    __device__ static gpu_scales load(const uint8_t *part, int groups, int lane)
    {
        float s = ((const float *)part)[lane / N];
        return {{s, s}, {0, 0}};
    }
};

/* q4_k, q5_k: for 8 groups FP16 d and dmin, then 6-bit scales and minima in 12 bytes as stored
 * (kquant.h). */
struct gpu_scale_6_bits {
    __host__ __device__ static constexpr uint32_t bytes(int groups)
    {
        return 16 * ((groups + 7) / 8);
    }
    __device__ static gpu_scales load(const uint8_t *part, int groups, int lane)
    {
        uint4 h = *(const uint4 *)(part + lane / 8 * 16);
        int shift = lane % 4 * 8;
        uint32_t s, m;
        if (lane & 4) {
            s = (h.w >> shift & 15) | (h.y >> (shift + 6) & 3) << 4;
            m = (h.w >> (shift + 4) & 15) | (h.z >> (shift + 6) & 3) << 4;
        } else {
            s = h.y >> shift & 63;
            m = h.z >> shift & 63;
        }
        float scale = gpu_half((uint16_t)h.x) * (float)s;
        float minimum = -gpu_half((uint16_t)(h.x >> 16)) * (float)m;
        return {{scale, scale}, {minimum, minimum}};
    }
};

/* q6_k, q3_k: two signed bytes for a group, then FP16 d for 8 groups. */
struct gpu_scale_bytes {
    __host__ __device__ static constexpr uint32_t bytes(int groups)
    {
        return gpu_pad16(2 * groups) + gpu_pad16(2 * ((groups + 7) / 8));
    }
    __device__ static gpu_scales load(const uint8_t *part, int groups, int lane)
    {
        char2 s = ((const char2 *)part)[lane];
        float d = gpu_half(((const uint16_t *)(part + gpu_pad16(2 * groups)))[lane / 8]);
        return {{d * (float)s.x, d * (float)s.y}, {0, 0}};
    }
};

/* q2_k: two bytes for a group, scale in the low and minimum in the high nibble; FP16 d and dmin. */
struct gpu_scale_nibbles {
    __host__ __device__ static constexpr uint32_t bytes(int groups)
    {
        return gpu_pad16(2 * groups) + gpu_pad16(4 * ((groups + 7) / 8));
    }
    __device__ static gpu_scales load(const uint8_t *part, int groups, int lane)
    {
        uchar2 s = ((const uchar2 *)part)[lane];
        uint32_t both = ((const uint32_t *)(part + gpu_pad16(2 * groups)))[lane / 8];
        float d = gpu_half((uint16_t)both), m = -gpu_half((uint16_t)(both >> 16));
        return {{d * (float)(s.x & 15), d * (float)(s.y & 15)},
                {m * (float)(s.x >> 4), m * (float)(s.y >> 4)}};
    }
};

/* iq4_xs: a signed byte for a group, FP16 d for 8. */
struct gpu_scale_byte {
    __host__ __device__ static constexpr uint32_t bytes(int groups)
    {
        return gpu_pad16(groups) + gpu_pad16(2 * ((groups + 7) / 8));
    }
    __device__ static gpu_scales load(const uint8_t *part, int groups, int lane)
    {
        float s = (float)((const int8_t *)part)[lane];
        s *= gpu_half(((const uint16_t *)(part + gpu_pad16(groups)))[lane / 8]);
        return {{s, s}, {0, 0}};
    }
};

/* ---- tables of 16 ---- */

/* Bytes of a table for the 8 codes of a word: of columns 0, 4, 1, 5, and of 2, 6, 3, 7. */
__device__ inline void gpu_look_up(const uint32_t t[4], uint32_t q, uint32_t out[2])
{
    uint32_t index = q & 0x77777777, choose = 0x32103210 | (q >> 1 & 0x44444444);
#pragma unroll
    for (int i = 0; i < 2; i++) /* PRMT takes 4 nibbles of its selector */
        out[i] = __byte_perm(__byte_perm(t[0], t[1], index >> 16 * i),
                             __byte_perm(t[2], t[3], index >> 16 * i), choose >> 16 * i);
}

/* The values of iq4_nl and iq4_xs (pare_iq4_values). */
struct gpu_table_iq4 {
    static constexpr bool WIDE = false;
    __device__ static void high(uint32_t t[4])
    {
        t[0] = 0xbfad9881, t[1] = 0xf6eaddcf, t[2] = 0x26190d01, t[3] = 0x71594535;
    }
    __device__ static void low(uint32_t t[4])
    {
    }
};

/* nf4 and fp4 as 16-bit integers: value = (256 high + low) / 32767, off by at most 1.6e-5 of the
 * largest. Used where activations have 8 bits; elsewhere the values are exact. */
#define GPU_HIGH(a, b, c, d)                                                                       \
    ((uint32_t)((a) >> 8 & 255) | (uint32_t)((b) >> 8 & 255) << 8 |                                \
     (uint32_t)((c) >> 8 & 255) << 16 | (uint32_t)((d) >> 8 & 255) << 24)
#define GPU_LOW(a, b, c, d)                                                                        \
    ((uint32_t)((a)&255) | (uint32_t)((b)&255) << 8 | (uint32_t)((c)&255) << 16 |                  \
     (uint32_t)((d)&255) << 24)
#define GPU_WIDE_TABLE(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                             \
    static constexpr bool WIDE = true;                                                             \
    __device__ static void high(uint32_t t[4])                                                     \
    {                                                                                              \
        t[0] = GPU_HIGH(a, b, c, d), t[1] = GPU_HIGH(e, f, g, h);                                  \
        t[2] = GPU_HIGH(i, j, k, l), t[3] = GPU_HIGH(m, n, o, p);                                  \
    }                                                                                              \
    __device__ static void low(uint32_t t[4])                                                      \
    {                                                                                              \
        t[0] = GPU_LOW(a, b, c, d), t[1] = GPU_LOW(e, f, g, h);                                    \
        t[2] = GPU_LOW(i, j, k, l), t[3] = GPU_LOW(m, n, o, p);                                    \
    }

struct gpu_table_nf4 {
    /* pare_nf4_values times 32767, rounded */
    GPU_WIDE_TABLE(-32767, -22812, -17205, -12940, -9320, -6054, -2983, 0, 2608, 5273, 8064, 11072,
                   14441, 18435, 23689, 32767)
};

struct gpu_table_fp4 {
    /* pare_fp4_values times 32767, rounded */
    GPU_WIDE_TABLE(0, 171, 21845, 32767, 10922, 16384, 5461, 8192, 0, -171, -21845, -32767, -10922,
                   -16384, -5461, -8192)
};

struct gpu_no_table {
    static constexpr bool WIDE = false;
};

/* ---- formats ---- */

template <class CODES, class SCALES, int ZERO_, int HALVES_, bool MINIMUM_, class TABLE_>
struct gpu_format {
    static constexpr int ZERO = ZERO_;     /* of unsigned codes */
    static constexpr int HALVES = HALVES_; /* scales of a group */
    static constexpr bool MINIMUM = MINIMUM_;
    using table = TABLE_;
    static constexpr bool HAS_TABLE = !__is_same(TABLE_, gpu_no_table);
    using codes = CODES;
    using scales = SCALES;
    __host__ __device__ static constexpr uint32_t chunk_bytes(int groups)
    {
        return CODES::bytes(groups) + SCALES::bytes(groups);
    }
    __device__ static gpu_scales load_scales(const uint8_t *chunk, int groups, int lane)
    {
        return SCALES::load(chunk + CODES::bytes(groups), groups, lane);
    }
};

enum { GPU_SIGNED = 128 }; /* ZERO of signed bytes: codes are stored as they are */

using gpu_q8_0 = gpu_format<gpu_codes<8, 0>, gpu_scale_half<1>, GPU_SIGNED, 1, false, gpu_no_table>;
using gpu_i8_ch =
    gpu_format<gpu_codes<8, 0>, gpu_scale_float<32>, GPU_SIGNED, 1, false, gpu_no_table>;
using gpu_q4_0 = gpu_format<gpu_codes<4, 0>, gpu_scale_half<1>, 8, 1, false, gpu_no_table>;
using gpu_i4_g64 = gpu_format<gpu_codes<4, 0>, gpu_scale_half<2>, 8, 1, false, gpu_no_table>;
using gpu_i4_g128 = gpu_format<gpu_codes<4, 0>, gpu_scale_half<4>, 8, 1, false, gpu_no_table>;
using gpu_i4_g32_asym =
    gpu_format<gpu_codes<4, 0>, gpu_scale_pair<1, true>, 0, 1, true, gpu_no_table>;
using gpu_i4_g64_asym =
    gpu_format<gpu_codes<4, 0>, gpu_scale_pair<2, true>, 0, 1, true, gpu_no_table>;
using gpu_i4_g128_asym =
    gpu_format<gpu_codes<4, 0>, gpu_scale_pair<4, true>, 0, 1, true, gpu_no_table>;
using gpu_q4_1 = gpu_format<gpu_codes<4, 0>, gpu_scale_pair<1, false>, 0, 1, true, gpu_no_table>;
using gpu_q5_0 = gpu_format<gpu_codes<4, 1>, gpu_scale_half<1>, 16, 1, false, gpu_no_table>;
using gpu_q5_1 = gpu_format<gpu_codes<4, 1>, gpu_scale_pair<1, false>, 0, 1, true, gpu_no_table>;
using gpu_q2_k = gpu_format<gpu_codes<2, 0>, gpu_scale_nibbles, 0, 2, true, gpu_no_table>;
using gpu_q3_k = gpu_format<gpu_codes<2, 1>, gpu_scale_bytes, 4, 2, false, gpu_no_table>;
using gpu_q4_k = gpu_format<gpu_codes<4, 0>, gpu_scale_6_bits, 0, 1, true, gpu_no_table>;
using gpu_q5_k = gpu_format<gpu_codes<4, 1>, gpu_scale_6_bits, 0, 1, true, gpu_no_table>;
using gpu_q6_k = gpu_format<gpu_codes<4, 2>, gpu_scale_bytes, 32, 2, false, gpu_no_table>;
using gpu_iq4_nl = gpu_format<gpu_codes<4, 0>, gpu_scale_half<1>, 0, 1, false, gpu_table_iq4>;
using gpu_iq4_xs = gpu_format<gpu_codes<4, 0>, gpu_scale_byte, 0, 1, false, gpu_table_iq4>;
using gpu_nf4 = gpu_format<gpu_codes<4, 0>, gpu_scale_float<2>, 0, 1, false, gpu_table_nf4>;
using gpu_fp4 = gpu_format<gpu_codes<4, 0>, gpu_scale_float<2>, 0, 1, false, gpu_table_fp4>;

/* i4_g32 differs from q4_0 in how it is stored alone. */
struct gpu_i4_g32 : gpu_q4_0 {
};

/* X(TYPE, struct) */
#define GPU_INT_LIST(X)                                                                            \
    X(Q8_0, gpu_q8_0)                                                                              \
    X(I8_CH, gpu_i8_ch)                                                                            \
    X(Q4_0, gpu_q4_0)                                                                              \
    X(I4_G32, gpu_i4_g32)                                                                          \
    X(I4_G64, gpu_i4_g64)                                                                          \
    X(I4_G128, gpu_i4_g128)                                                                        \
    X(I4_G32_ASYM, gpu_i4_g32_asym)                                                                \
    X(I4_G64_ASYM, gpu_i4_g64_asym)                                                                \
    X(I4_G128_ASYM, gpu_i4_g128_asym)
#define GPU_K_LIST(X)                                                                              \
    X(Q4_1, gpu_q4_1)                                                                              \
    X(Q5_0, gpu_q5_0)                                                                              \
    X(Q5_1, gpu_q5_1)                                                                              \
    X(Q2_K, gpu_q2_k)                                                                              \
    X(Q3_K, gpu_q3_k)                                                                              \
    X(Q4_K, gpu_q4_k)                                                                              \
    X(Q5_K, gpu_q5_k)                                                                              \
    X(Q6_K, gpu_q6_k)
#define GPU_TABLE_LIST(X)                                                                          \
    X(IQ4_NL, gpu_iq4_nl)                                                                          \
    X(IQ4_XS, gpu_iq4_xs)                                                                          \
    X(NF4, gpu_nf4)                                                                                \
    X(FP4, gpu_fp4)
#define GPU_CODED_LIST(X) GPU_INT_LIST(X) GPU_K_LIST(X) GPU_TABLE_LIST(X)

/* Bytes of a row: numbers padded to 32 columns, or whole groups. */
template <class F> __host__ __device__ inline uint32_t gpu_coded_row_bytes(int64_t columns)
{
    int groups = (int)((columns + GPU_GROUP - 1) / GPU_GROUP);
    int rest = groups % GPU_CHUNK_GROUPS;
    return (uint32_t)(groups / GPU_CHUNK_GROUPS) * F::chunk_bytes(GPU_CHUNK_GROUPS) +
           (rest ? F::chunk_bytes(rest) : 0);
}

#endif
