/* The vector operations that ops_template.h and attention_template.h are written with, for AVX-512
 * F, BW, DQ, VL. */
#ifndef PARE_KERNELS_X86_VECTOR_AVX512_H
#define PARE_KERNELS_X86_VECTOR_AVX512_H

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef __m512 vec;
typedef __m512d vecd; /* half as many doubles */
typedef __m512i veci;
enum { LANES = 16 };

static inline vec v_set1(float x)
{
    return _mm512_set1_ps(x);
}

static inline vec v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void v_store(float *p, vec x)
{
    _mm512_storeu_ps(p, x);
}

static inline __mmask16 v_first(int64_t n)
{
    return (__mmask16)((1u << n) - 1);
}

/* 0 < n < LANES elements; the others are `fill`. */
static inline vec v_load_partial(const float *p, int64_t n, float fill)
{
    return _mm512_mask_loadu_ps(v_set1(fill), v_first(n), p);
}

static inline void v_store_partial(float *p, vec x, int64_t n)
{
    _mm512_mask_storeu_ps(p, v_first(n), x);
}

static inline vec v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline vec v_load_f16_partial(const uint16_t *p, int64_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_first(n), p));
}

static inline void v_store_f16(uint16_t *p, vec x)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

static inline void v_store_f16_partial(uint16_t *p, vec x, int64_t n)
{
    _mm256_mask_storeu_epi16(p, v_first(n), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

static inline vec v_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/* The low or high nibbles of 16 bytes, less 8. */
static inline vec v_load_i4(const uint8_t *p, bool high)
{
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
    bytes = high ? _mm512_srli_epi32(bytes, 4) : _mm512_and_si512(bytes, _mm512_set1_epi32(15));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(bytes, _mm512_set1_epi32(8)));
}

/* Rounded to nearest even; values within -127..127. */
static inline void v_store_i8(int8_t *p, vec x)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}

/* a b + c and c - a b, rounded once. */
static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vec v_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

/* The second operand where one is NaN. */
static inline vec v_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

static inline vec v_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

static inline vec v_abs(vec x)
{
    return _mm512_abs_ps(x);
}

static inline vec v_round(vec x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* x 2^n for whole n, |n| < 252, with the right rounding to subnormals. */
static inline vec v_scale_by_power(vec x, vec n)
{
    return _mm512_scalef_ps(x, n);
}

/* `negative` where x < 0, `other` elsewhere. */
static inline vec v_select_negative(vec x, vec negative, vec other)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), other,
                                negative);
}

static inline float v_sum(vec x)
{
    return _mm512_reduce_add_ps(x);
}

static inline float v_highest(vec x)
{
    return _mm512_reduce_max_ps(x);
}

static inline int v_any_less(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

static inline vec v_unpack_ps(vec a, vec b, int high)
{
    return high ? _mm512_unpackhi_ps(a, b) : _mm512_unpacklo_ps(a, b);
}

static inline float v_get_first(vec x)
{
    return _mm512_cvtss_f32(x);
}

/* x where base + lane is in first..last-1, -infinity elsewhere. */
static inline vec v_keep_range(vec x, int base, int first, int last)
{
    int from = first - base < 0 ? 0 : first - base > 16 ? 16 : first - base;
    int to = last - base < 0 ? 0 : last - base > 16 ? 16 : last - base;
    uint32_t keep = ((1u << to) - 1) & ~((1u << from) - 1);
    return _mm512_mask_blend_ps((__mmask16)keep, v_set1(-INFINITY), x);
}

static inline vecd vd_zero(void)
{
    return _mm512_setzero_pd();
}

static inline vecd vd_low(vec x)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}

static inline vecd vd_high(vec x)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}

static inline vecd vd_fma(vecd a, vecd b, vecd c)
{
    return _mm512_fmadd_pd(a, b, c);
}

static inline double vd_sum(vecd x)
{
    return _mm512_reduce_add_pd(x);
}

/* LANES/2 floats, each twice: a a b b ... */
static inline vec v_load_twice(const float *p)
{
    const __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}

/* For each pair (x0, x1): (x0 c - x1 s, x1 c + x0 s). */
static inline vec v_rotate_pairs(vec x, vec c, vec s)
{
    return _mm512_fmaddsub_ps(x, c, _mm512_permute_ps(x, 0xb1) * s);
}

static inline __m512 v_unpack_pd(__m512 a, __m512 b, int high)
{
    __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
}

static inline __m512i v_load_words(const void *p)
{
    return _mm512_loadu_si512(p);
}

/* Nibble i of each lane, less 8, times 2^28. */
static inline vec v_quad_nibble(__m512i quads, int i)
{
    __m512i top = _mm512_slli_epi32(quads, (unsigned)(28 - 4 * i));
    __m512i kept = _mm512_and_si512(top, _mm512_set1_epi32((int)0xf0000000));
    return _mm512_cvtepi32_ps(_mm512_xor_si512(kept, _mm512_set1_epi32((int)0x80000000)));
}

/* Byte i of each lane, signed, times 2^24. */
static inline vec v_quad_byte(__m512i quads, int i)
{
    __m512i top = i < 3 ? _mm512_slli_epi32(quads, (unsigned)(24 - 8 * i)) : quads;
    return _mm512_cvtepi32_ps(i > 0 ? _mm512_and_si512(top, _mm512_set1_epi32((int)0xff000000))
                                    : top);
}

static inline vec v_combine(vec a, vec b, int maximum)
{
    if (maximum)
        return v_max(a, b);
    return a + b;
}

/* a: four numbers in each of its 128-bit lanes, b likewise: their sums (or maxima) over the lanes,
 * a's first. */
static inline vec v_join_lanes(vec a, vec b, int maximum)
{
    vec low = _mm512_shuffle_f32x4(a, b, 0x44), high = _mm512_shuffle_f32x4(a, b, 0xee);
    vec two = v_combine(low, high, maximum); /* a's two lanes, then b's */
    low = _mm512_shuffle_f32x4(two, two, 0x88), high = _mm512_shuffle_f32x4(two, two, 0xdd);
    return v_combine(low, high, maximum);
}

#endif
