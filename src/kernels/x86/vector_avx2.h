/* The vector operations that ops_template.h and attention_template.h are written with, for AVX2,
 * FMA and F16C. */
#ifndef PARE_KERNELS_X86_VECTOR_AVX2_H
#define PARE_KERNELS_X86_VECTOR_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef __m256 vec;
typedef __m256d vecd; /* half as many doubles */
typedef __m256i veci;
enum { LANES = 8 };

static inline vec v_set1(float x)
{
    return _mm256_set1_ps(x);
}

static inline vec v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void v_store(float *p, vec x)
{
    _mm256_storeu_ps(p, x);
}

static inline __m256i v_first(int64_t n)
{
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(ones + 8 - n));
}

/* 0 < n < LANES elements; the others are `fill`. */
static inline vec v_load_partial(const float *p, int64_t n, float fill)
{
    __m256i first = v_first(n);
    return _mm256_blendv_ps(v_set1(fill), _mm256_maskload_ps(p, first), _mm256_castsi256_ps(first));
}

static inline void v_store_partial(float *p, vec x, int64_t n)
{
    _mm256_maskstore_ps(p, v_first(n), x);
}

static inline vec v_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline vec v_load_f16_partial(const uint16_t *p, int64_t n)
{
    uint16_t copy[8] = {0};
    memcpy(copy, p, (size_t)n * sizeof *p);
    return v_load_f16(copy);
}

static inline void v_store_f16(uint16_t *p, vec x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

static inline void v_store_f16_partial(uint16_t *p, vec x, int64_t n)
{
    uint16_t copy[8];
    v_store_f16(copy, x);
    memcpy(p, copy, (size_t)n * sizeof *p);
}

static inline vec v_load_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

/* The low or high nibbles of 8 bytes, less 8. */
static inline vec v_load_i4(const uint8_t *p, bool high)
{
    __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    bytes = high ? _mm256_srli_epi32(bytes, 4) : _mm256_and_si256(bytes, _mm256_set1_epi32(15));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(bytes, _mm256_set1_epi32(8)));
}

/* Rounded to nearest even; values within -127..127. */
static inline void v_store_i8(int8_t *p, vec x)
{
    __m256i q = _mm256_cvtps_epi32(x);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(words, words));
}

/* a b + c and c - a b, rounded once. */
static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline vec v_fnma(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

/* The second operand where one is NaN. */
static inline vec v_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static inline vec v_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

static inline vec v_abs(vec x)
{
    return _mm256_andnot_ps(v_set1(-0.0f), x);
}

static inline vec v_round(vec x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vec v_power(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* x 2^n for whole n, |n| < 252, with the right rounding to subnormals: in two steps, as 2^n itself
 * may be out of range. */
static inline vec v_scale_by_power(vec x, vec n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return x * v_power(half) * v_power(_mm256_sub_epi32(whole, half));
}

/* `negative` where x < 0, `other` elsewhere. */
static inline vec v_select_negative(vec x, vec negative, vec other)
{
    return _mm256_blendv_ps(other, negative, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
}

static inline float v_sum(vec x)
{
    __m128 s = _mm256_castps256_ps128(x) + _mm256_extractf128_ps(x, 1);
    s = s + _mm_movehl_ps(s, s);
    return _mm_cvtss_f32(s + _mm_movehdup_ps(s));
}

static inline float v_highest(vec x)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ps(s, _mm_movehdup_ps(s)));
}

static inline int v_any_less(vec a, vec b)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

static inline vec v_unpack_ps(vec a, vec b, int high)
{
    return high ? _mm256_unpackhi_ps(a, b) : _mm256_unpacklo_ps(a, b);
}

static inline float v_get_first(vec x)
{
    return _mm256_cvtss_f32(x);
}

/* x where base + lane is in first..last-1, -infinity elsewhere. */
static inline vec v_keep_range(vec x, int base, int first, int last)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i from = _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(first - base - 1));
    __m256i to = _mm256_cmpgt_epi32(_mm256_set1_epi32(last - base), lane);
    return _mm256_blendv_ps(v_set1(-INFINITY), x, _mm256_castsi256_ps(_mm256_and_si256(from, to)));
}

static inline vecd vd_zero(void)
{
    return _mm256_setzero_pd();
}

static inline vecd vd_low(vec x)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(x));
}

static inline vecd vd_high(vec x)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
}

static inline vecd vd_fma(vecd a, vecd b, vecd c)
{
    return _mm256_fmadd_pd(a, b, c);
}

static inline double vd_sum(vecd x)
{
    __m128d s = _mm256_castpd256_pd128(x) + _mm256_extractf128_pd(x, 1);
    return _mm_cvtsd_f64(s + _mm_unpackhi_pd(s, s));
}

/* LANES/2 floats, each twice: a a b b ... */
static inline vec v_load_twice(const float *p)
{
    const __m256i index = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), index);
}

/* For each pair (x0, x1): (x0 c - x1 s, x1 c + x0 s). */
static inline vec v_rotate_pairs(vec x, vec c, vec s)
{
    return _mm256_fmaddsub_ps(x, c, _mm256_permute_ps(x, 0xb1) * s);
}

static inline vec v_unpack_pd(vec a, vec b, int high)
{
    __m256d x = _mm256_castps_pd(a), y = _mm256_castps_pd(b);
    return _mm256_castpd_ps(high ? _mm256_unpackhi_pd(x, y) : _mm256_unpacklo_pd(x, y));
}

static inline __m256i v_load_words(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* Nibble i of each lane, less 8, times 2^28. */
static inline vec v_quad_nibble(__m256i quads, int i)
{
    __m256i top = _mm256_slli_epi32(quads, 28 - 4 * i);
    __m256i kept = _mm256_and_si256(top, _mm256_set1_epi32((int)0xf0000000));
    return _mm256_cvtepi32_ps(_mm256_xor_si256(kept, _mm256_set1_epi32((int)0x80000000)));
}

/* Byte i of each lane, signed, times 2^24. */
static inline vec v_quad_byte(__m256i quads, int i)
{
    __m256i top = i < 3 ? _mm256_slli_epi32(quads, 24 - 8 * i) : quads;
    return _mm256_cvtepi32_ps(i > 0 ? _mm256_and_si256(top, _mm256_set1_epi32((int)0xff000000))
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
    vec low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
    return v_combine(low, high, maximum);
}

#endif
