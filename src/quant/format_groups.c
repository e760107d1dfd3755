/* Integer formats in groups of our own, of 4, 3 and 2 bits: an FP16 scale, with or without a zero
 * point, for 32, 64 or 128 columns. They hold what the papers call group-wise quantization.
 *
 * Without importance a scale is the range over the number of steps. With importance it is searched
 * so that the weighted squared error is least; the rule without a search is among the candidates.
 */
#include "base/clones.h"
#include "quant/formats.h"

#include <math.h>
#include <string.h>

enum { LONGEST = 128 };

/* Constant wherever it is used. */
typedef struct shape {
    int bits, group;
    bool asymmetric;
} shape;

static inline size_t head_bytes(shape s)
{
    return s.asymmetric ? 3 : 2;
}

static inline size_t block_bytes(shape s)
{
    return head_bytes(s) + (size_t)(s.group * s.bits / 8);
}

/* ---- codes ---- */

static inline void unpack_codes(shape s, const uint8_t *q, uint8_t *codes)
{
    const uint8_t *high = q + s.group / 4;
    for (int i = 0; i < s.group; i++) {
        if (s.bits == 4)
            codes[i] = q[i / 2] >> (i % 2 * 4) & 15;
        else
            codes[i] = (uint8_t)(q[i / 4] >> (i % 4 * 2) & 3);
        if (s.bits == 3)
            codes[i] |= (uint8_t)((high[i / 8] >> (i % 8) & 1) << 2);
    }
}

static inline void pack_codes(shape s, const uint8_t *codes, uint8_t *q)
{
    uint8_t *high = q + s.group / 4;
    for (int i = 0; i < s.group / 2 && s.bits == 4; i++)
        q[i] = (uint8_t)(codes[2 * i] | codes[2 * i + 1] << 4);
    if (s.bits == 4)
        return;
    memset(q, 0, (size_t)(s.group * s.bits / 8));
    for (int i = 0; i < s.group; i++) {
        q[i / 4] |= (uint8_t)((codes[i] & 3) << (i % 4 * 2));
        if (s.bits == 3)
            high[i / 8] |= (uint8_t)((codes[i] >> 2) << (i % 8));
    }
}

static inline void decode(shape s, const void *stored, float *values, int64_t n)
{
    const uint8_t *block = stored;
    uint8_t codes[LONGEST];
    for (int64_t b = 0; b < n / s.group; b++, block += block_bytes(s), values += s.group) {
        uint16_t half;
        memcpy(&half, block, 2);
        float scale = pare_f16_to_f32(half);
        int zero = s.asymmetric ? block[2] : 1 << (s.bits - 1);
        unpack_codes(s, block + head_bytes(s), codes);
        for (int i = 0; i < s.group; i++)
            values[i] = scale * (float)(codes[i] - zero);
    }
}

/* ---- scales ---- */

/* A grid: value = scale (code - zero), codes low..top. The scale as FP16 has it. */
typedef struct grid {
    float scale;
    int zero, low, top;
} grid;

/* A scale that FP16 rounds to zero leaves the zero point everywhere. */
PARE_CLONES static void round_codes(grid g, int n, const float *x, uint8_t *codes)
{
    const float scale = g.scale != 0 ? g.scale : INFINITY;
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)pare_clamp(pare_nearest(x[i] / scale) + g.zero, g.low, g.top);
}

/* By the bits, whose order is that of magnitudes. */
PARE_CLONES static float largest_magnitude(int n, const float *x)
{
    int32_t most = 0;
    for (int i = 0; i < n; i++) {
        int32_t bits = (int32_t)(pare_f32_to_bits(x[i]) & 0x7fffffff);
        most = bits > most ? bits : most;
    }
    return pare_bits_to_f32((uint32_t)most);
}

static inline float half_scale(float scale)
{
    return pare_f16_to_f32(pare_scale_to_f16(scale));
}

/* scale = absmax over the largest code: the lowest code is not used, so that both signs reach as
 * far. */
static grid symmetric_rule(int bits, int n, const float *x)
{
    int half = 1 << (bits - 1);
    float absmax = largest_magnitude(n, x);
    return (grid){half_scale(absmax / (float)(half - 1)), half, 1, 2 * half - 1};
}

static grid range_grid(int bits, float low, float high)
{
    int top = (1 << bits) - 1;
    grid g = {half_scale((high - low) / (float)top), 0, 0, top};
    g.zero = g.scale != 0 ? pare_clamp(pare_nearest(-low / g.scale), 0, top) : 0;
    return g;
}

static void range_with_zero(int n, const float *x, float *low, float *high)
{
    float least = 0, most = 0;
    for (int i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    *low = least;
    *high = most;
}

/* The range includes zero, so that the zero point is a code. */
static grid asymmetric_rule(int bits, int n, const float *x)
{
    float low, high;
    range_with_zero(n, x, &low, &high);
    return range_grid(bits, low, high);
}

/* ---- searching the scale ---- */

/* Rounds by a reciprocal, which differs from round_codes only on ties. */
static inline float rounded(float x, float inverse, float low, float top)
{
    float code = x * inverse;
    code = code < low ? low : code;
    code = code > top ? top : code;
    return (code + 0x1.8p23f) - 0x1.8p23f;
}

/* Sums are in eighths of the group, on every machine. */
typedef float lanes __attribute__((vector_size(32)));

/* What the weighted error of a grid is, beyond the weighted sum of squares, and the scale that fits
 * its codes best. */
PARE_CLONES static float grid_error(grid g, int n, const float *x, const float *weights,
                                    float *best_scale)
{
    float inverse = pare_inverse(g.scale), low = (float)(g.low - g.zero),
          top = (float)(g.top - g.zero);
    float weighted_x[LONGEST], weighted_code[LONGEST];
    lanes xc = {0}, cc = {0}, v;
    for (int i = 0; i < n; i++) {
        float code = rounded(x[i], inverse, low, top), weighted = weights[i] * code;
        weighted_x[i] = weighted * x[i];
        weighted_code[i] = weighted * code;
    }
    for (int i = 0; i < n; i += 8) {
        memcpy(&v, weighted_x + i, sizeof v);
        xc += v;
        memcpy(&v, weighted_code + i, sizeof v);
        cc += v;
    }
    float x_code = 0, code_code = 0;
    for (int k = 0; k < 8; k++) {
        x_code += xc[k];
        code_code += cc[k];
    }
    *best_scale = code_code > 0 ? x_code / code_code : g.scale;
    return g.scale * (g.scale * code_code - 2 * x_code);
}

/* Takes a candidate, and then its codes' own best scale, where they are better than what is there.
 */
static void try_grid(grid candidate, int n, const float *x, const float *weights, grid *best,
                     float *best_error)
{
    for (int round = 0; round < 2; round++) {
        float fitted, error = grid_error(candidate, n, x, weights, &fitted);
        if (error < *best_error) {
            *best_error = error;
            *best = candidate;
        } else if (round == 1) {
            return;
        }
        candidate.scale = half_scale(fitted);
    }
}

/* Either sign of the scale: the lowest code reaches one step further than the highest. */
static grid search_symmetric(int bits, int n, const float *x, const float *weights)
{
    enum { STEPS = 28 };
    const int half = 1 << (bits - 1);
    grid best = symmetric_rule(bits, n, x);
    float unused, error = grid_error(best, n, x, weights, &unused),
                  absmax = best.scale * (float)(half - 1);
    /* absmax lies at this many steps from zero: from a little inside the codes to far outside. */
    const float nearest = (float)half - 1.25f, farthest = (float)half * 1.6f;
    for (int i = 0; i < STEPS; i++) {
        float at = nearest + (farthest - nearest) * (float)i / (STEPS - 1);
        for (int sign = -1; sign <= 1; sign += 2)
            try_grid((grid){half_scale((float)sign * absmax / at), half, 0, 2 * half - 1}, n, x,
                     weights, &best, &error);
    }
    return best;
}

/* Both ends of the range shrink, each by itself. */
static grid search_asymmetric(int bits, int n, const float *x, const float *weights)
{
    enum { STEPS = 9 };
    const float step = bits == 2 ? 0.09f : bits == 3 ? 0.065f : 0.045f;
    float low, high, unused;
    range_with_zero(n, x, &low, &high);
    grid best = range_grid(bits, low, high);
    float error = grid_error(best, n, x, weights, &unused);
    for (int i = 0; i < STEPS; i++) {
        for (int k = 0; k < STEPS; k++)
            try_grid(range_grid(bits, low * (1 - step * (float)i), high * (1 - step * (float)k)), n,
                     x, weights, &best, &error);
    }
    return best;
}

static inline void encode(shape s, const float *x, void *stored, int64_t n, const float *importance)
{
    uint8_t *block = stored, codes[LONGEST];
    for (int64_t b = 0; b < n / s.group; b++, block += block_bytes(s), x += s.group) {
        const float *weights = importance ? importance + b * s.group : NULL;
        grid g = s.asymmetric ? (weights ? search_asymmetric(s.bits, s.group, x, weights)
                                         : asymmetric_rule(s.bits, s.group, x))
                              : (weights ? search_symmetric(s.bits, s.group, x, weights)
                                         : symmetric_rule(s.bits, s.group, x));
        uint16_t half = pare_f32_to_f16(g.scale);
        memcpy(block, &half, 2);
        if (s.asymmetric)
            block[2] = (uint8_t)g.zero;
        round_codes(g, s.group, x, codes);
        pack_codes(s, codes, block + head_bytes(s));
    }
}

#define FORMAT(name, bits, group, asymmetric)                                                      \
    void pare_decode_##name(const void *stored, float *values, int64_t n)                          \
    {                                                                                              \
        decode((shape){bits, group, asymmetric}, stored, values, n);                               \
    }                                                                                              \
    void pare_encode_##name(const float *values, void *stored, int64_t n, const float *importance) \
    {                                                                                              \
        encode((shape){bits, group, asymmetric}, values, stored, n, importance);                   \
    }
#define SIZES(bits)                                                                                \
    FORMAT(i##bits##_g32, bits, 32, false)                                                         \
    FORMAT(i##bits##_g64, bits, 64, false)                                                         \
    FORMAT(i##bits##_g128, bits, 128, false)                                                       \
    FORMAT(i##bits##_g32_asym, bits, 32, true)                                                     \
    FORMAT(i##bits##_g64_asym, bits, 64, true)                                                     \
    FORMAT(i##bits##_g128_asym, bits, 128, true)

SIZES(4)
SIZES(3)
SIZES(2)
