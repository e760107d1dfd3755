/* Products of packed weights with activations of 8 bits, AVX-512 VNNI.
 *
 * VPDPBUSD multiplies unsigned codes (the weights') with signed ones (the activations'), four to a
 * lane, into 32-bit sums: no saturation, exact. The weights' zero point z is taken off by starting
 * each sum at -z times the sum of the activations' codes. Sums of the columns that share a scale
 * become FP32, are multiplied by the activations' scale and added, times the weights' scale, by a
 * fused multiply-add; minimums are multiplied with the sum of the activations. One order for any
 * number of tokens: the same bits.
 *
 * One token streams the packed weights. More tokens unpack a chunk of a panel to bytes once and
 * multiply it with tiles of 6 tokens, 2 x 6 registers of integer sums beside as many of FP32
 * totals. */
#include "kernels/activations.h"
#include "kernels/kernels.h"
#include "kernels/quantize8.h"
#include "kernels/x86/avx512_rows.h"

enum { CHUNK = 16 }; /* subs that are unpacked at a time: 16 KiB of codes, a part of the L1 cache */

typedef struct panel_chunk {
    uint8_t codes[CHUNK * 8][PARE_PANEL * 4];
    float scales[CHUNK * 2][PARE_PANEL];
    float minimums[CHUNK * 2][PARE_PANEL];
} panel_chunk;

/* 4 codes in each lane. */
PARE_INLINE __m512i repeat_quad(const int8_t *codes)
{
    int32_t quad;
    memcpy(&quad, codes, sizeof quad);
    return _mm512_set1_epi32(quad);
}

/* Where the integer sums start: minus the zero point times the sum of codes. */
PARE_INLINE __m512i start(int zero_bits, int32_t less)
{
    return zero_bits ? _mm512_slli_epi32(_mm512_set1_epi32(less), (unsigned)zero_bits)
                     : _mm512_setzero_si512();
}

PARE_INLINE __m512 add_scaled(__m512 total, __m512i sum, __m512 x_scale, __m512 scale)
{
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), x_scale), scale, total);
}

/* ---- one token ---- */

PARE_INLINE void add_sub(pare_layout layout, const uint8_t *panel, const uint8_t *block, int s,
                         pare_tiles_q8 x, int64_t at, __m512 total[2])
{
    const pare_layout_traits *l = &pare_layouts[layout];
    const uint8_t *sub = block + l->meta + s * l->sub;
    prefetch_ahead(layout, block, s);
    __m512 x_scale = _mm512_set1_ps(x.scales[at]);
    int per_sub = PARE_SUB / l->group;
#pragma GCC unroll 2
    for (int g = 0; g < per_sub; g++) {
        __m512i sum[2];
        sum[0] = sum[1] = start(l->zero_bits, per_sub == 1 ? x.less32[at] : x.less16[2 * at + g]);
#pragma GCC unroll 8
        for (int q = g * l->group / 4; q < (g + 1) * l->group / 4; q++) {
            __m512i codes = repeat_quad(x.codes + at * PARE_SUB + 4 * q);
            sum[0] = _mm512_dpbusd_epi32(sum[0], load_quad(layout, sub, q, 0), codes);
            sum[1] = _mm512_dpbusd_epi32(sum[1], load_quad(layout, sub, q, 1), codes);
        }
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            total[h] =
                add_scaled(total[h], sum[h], x_scale, load_scale(layout, panel, block, s, g, h));
            if (l->minimums) {
                __m512 x_sum = _mm512_set1_ps(per_sub == 1 ? x.sums32[at] : x.sums16[2 * at + g]);
                total[h] = _mm512_fmadd_ps(load_minimum(layout, block, s, g, h), x_sum, total[h]);
            }
        }
    }
}

PARE_INLINE void multiply_one(pare_layout layout, float *y, const uint8_t *weights, pare_tiles_q8 x,
                              const float *bias, int64_t columns, int64_t first, int64_t last)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    size_t panel_bytes = pare_layout_panel_bytes(layout, columns),
           block_bytes = pare_layout_block_bytes(layout);
    int64_t subs = pare_subs(columns);
    for (int64_t r = first; r < last; r += PARE_PANEL) {
        const uint8_t *panel = weights + (size_t)(r / PARE_PANEL) * panel_bytes,
                      *block = panel + l->header;
        __m512 total[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        for (int64_t done = 0; done < subs; done += l->columns / PARE_SUB, block += block_bytes)
            for (int s = 0; s < l->columns / PARE_SUB && done + s < subs; s++)
                add_sub(layout, panel, block, s, x, done + s, total);
        store_rows(y + r, bias ? bias + r : NULL, lane_masks(last - r), total[0], total[1]);
    }
}

/* ---- many tokens ---- */

/* Subs first..first+count-1 of a panel. */
PARE_INLINE void unpack(pare_layout layout, panel_chunk *chunk, const uint8_t *panel, int64_t first,
                        int count)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    int block_subs = l->columns / PARE_SUB, per_sub = PARE_SUB / l->group;
    for (int i = 0; i < count; i++) {
        int s = (int)((first + i) % block_subs);
        const uint8_t *block = panel + l->header +
                               (size_t)((first + i) / block_subs) * pare_layout_block_bytes(layout);
        const uint8_t *sub = block + l->meta + s * l->sub;
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++)
                _mm512_store_si512(chunk->codes[8 * i + q] + 64 * h, load_quad(layout, sub, q, h));
            for (int g = 0; g < per_sub; g++) {
                _mm512_store_ps(&chunk->scales[i * per_sub + g][16 * h],
                                load_scale(layout, panel, block, s, g, h));
                if (l->minimums)
                    _mm512_store_ps(&chunk->minimums[i * per_sub + g][16 * h],
                                    load_minimum(layout, block, s, g, h));
            }
        }
    }
}

/* A tile's part of the activations, from the chunk's first sub on. */
typedef struct tile_x {
    const int8_t *codes;
    const float *scales, *sums;
    const int32_t *less;
    int64_t ahead; /* subs to the next tile */
    prefetcher *weights;
    int64_t weights_step; /* bytes for each group */
} tile_x;

/* totals [width][32] += chunk x tile over `subs` subs. */
PARE_INLINE void multiply_tile(int width, int per_sub, bool minimums, int zero_bits, float *totals,
                               const panel_chunk *chunk, tile_x x, int subs)
{
    const __m128i shift = _mm_cvtsi32_si128(zero_bits);
    const uint8_t *codes = chunk->codes[0];
    __m512 total[PARE_TILE][2];
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        total[t][0] = _mm512_load_ps(totals + t * PARE_PANEL);
        total[t][1] = _mm512_load_ps(totals + t * PARE_PANEL + 16);
    }
    for (int g = 0; g < subs * per_sub; g++) {
        prefetch_some(x.weights, x.weights_step);
        _mm_prefetch((const char *)(x.scales + g / per_sub * width + x.ahead), _MM_HINT_T0);
        _mm_prefetch((const char *)((minimums ? (const int32_t *)x.sums : x.less) + g * width +
                                    x.ahead * per_sub),
                     _MM_HINT_T0);
        __m512i sum[PARE_TILE][2];
#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
            sum[t][0] = minimums
                            ? _mm512_setzero_si512()
                            : _mm512_sll_epi32(_mm512_set1_epi32(x.less[g * width + t]), shift);
            sum[t][1] = sum[t][0];
        }
#pragma GCC unroll 8
        for (int q = 0; q < 8 / per_sub; q++, codes += PARE_PANEL * 4, x.codes += 4 * width) {
            __m512i low = _mm512_load_si512(codes), high = _mm512_load_si512(codes + 64);
            if (q % 2 == 0)
                _mm_prefetch((const char *)x.codes + x.ahead * PARE_SUB, _MM_HINT_T0);
#pragma GCC unroll 6
            for (int t = 0; t < width; t++) {
                __m512i quad = repeat_quad(x.codes + 4 * t);
                sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], low, quad);
                sum[t][1] = _mm512_dpbusd_epi32(sum[t][1], high, quad);
            }
        }
#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
            __m512 x_scale = _mm512_set1_ps(x.scales[g / per_sub * width + t]);
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                total[t][h] = add_scaled(total[t][h], sum[t][h], x_scale,
                                         _mm512_load_ps(&chunk->scales[g][16 * h]));
                if (minimums)
                    total[t][h] =
                        _mm512_fmadd_ps(_mm512_load_ps(&chunk->minimums[g][16 * h]),
                                        _mm512_set1_ps(x.sums[g * width + t]), total[t][h]);
            }
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        _mm512_store_ps(totals + t * PARE_PANEL, total[t][0]);
        _mm512_store_ps(totals + t * PARE_PANEL + 16, total[t][1]);
    }
}

typedef void tile_function(float *totals, const panel_chunk *chunk, tile_x x, int subs,
                           int zero_bits);

#define TILE(width, per_sub, minimums)                                                             \
    static void tile_##width##_##per_sub##_##minimums(float *totals, const panel_chunk *chunk,     \
                                                      tile_x x, int subs, int zero_bits)           \
    {                                                                                              \
        multiply_tile(width, per_sub, minimums, zero_bits, totals, chunk, x, subs);                \
    }
#define TILES(per_sub, minimums)                                                                   \
    TILE(1, per_sub, minimums)                                                                     \
    TILE(2, per_sub, minimums)                                                                     \
    TILE(3, per_sub, minimums)                                                                     \
    TILE(4, per_sub, minimums)                                                                     \
    TILE(5, per_sub, minimums)                                                                     \
    TILE(6, per_sub, minimums)
TILES(1, 0)
TILES(1, 1)
TILES(2, 0)
TILES(2, 1)

#define ROW(per_sub, minimums)                                                                     \
    {                                                                                              \
        tile_1_##per_sub##_##minimums, tile_2_##per_sub##_##minimums,                              \
            tile_3_##per_sub##_##minimums, tile_4_##per_sub##_##minimums,                          \
            tile_5_##per_sub##_##minimums, tile_6_##per_sub##_##minimums                           \
    }
static tile_function *const tiles[2][2][PARE_TILE] = {{ROW(1, 0), ROW(1, 1)},
                                                      {ROW(2, 0), ROW(2, 1)}};

typedef void unpack_function(panel_chunk *chunk, const uint8_t *panel, int64_t first, int count);

/* Scratch: a chunk, then totals [tokens][32]. */
static size_t scratch_bytes(int64_t rows, int64_t columns, int64_t tokens)
{
    return sizeof(panel_chunk) + (size_t)tokens * PARE_PANEL * sizeof(float);
}

static void multiply_panel(pare_layout layout, unpack_function *unpack_subs, const uint8_t *panel,
                           pare_tiles_q8 x, int64_t subs, int64_t tokens, panel_chunk *chunk,
                           float *totals)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    int per_sub = PARE_SUB / l->group;
    memset(totals, 0, (size_t)tokens * PARE_PANEL * sizeof *totals);
    for (int64_t s = 0; s < subs; s += CHUNK) {
        int count = (int)(subs - s < CHUNK ? subs - s : CHUNK);
        unpack_subs(chunk, panel, s, count);
        prefetcher ahead = prefetch_subs(layout, panel, s + count, CHUNK);
        int64_t lines =
            (ahead.end - ahead.next) / pare_tile_count(tokens, PARE_TILE) / 64 / (count * per_sub) +
            1;
        for (int64_t i = 0; i < pare_tile_count(tokens, PARE_TILE); i++) {
            pare_tile tile = pare_tile_at(i, tokens, PARE_TILE);
            int64_t at = tile.first * subs + s * tile.width;
            tile_x part = {x.codes + at * PARE_SUB,
                           x.scales + at,
                           per_sub == 1 ? x.sums32 + at : x.sums16 + 2 * at,
                           per_sub == 1 ? x.less32 + at : x.less16 + 2 * at,
                           tile.width * subs,
                           &ahead,
                           64 * lines};
            tiles[per_sub - 1][l->minimums][tile.width - 1](totals + tile.first * PARE_PANEL, chunk,
                                                            part, count, l->zero_bits);
        }
    }
}

static void multiply_many(pare_layout layout, unpack_function *unpack_subs, float *y,
                          int64_t y_stride, const uint8_t *weights, pare_tiles_q8 x,
                          const float *bias, int64_t columns, int64_t tokens, int64_t first,
                          int64_t last, void *scratch)
{
    panel_chunk *chunk = scratch;
    float *totals = (float *)(chunk + 1);
    size_t panel_bytes = pare_layout_panel_bytes(layout, columns);
    for (int64_t r = first; r < last; r += PARE_PANEL) {
        multiply_panel(layout, unpack_subs, weights + (size_t)(r / PARE_PANEL) * panel_bytes, x,
                       pare_subs(columns), tokens, chunk, totals);
        store_totals(y, y_stride, bias, r, last, tokens, totals);
    }
}

/* ---- activations ---- */

/* quantize8.h's rule for 32 values: codes to the 8 places `to + 4 step q`; returns the scale and
 * the sums of 16 codes. */
PARE_INLINE float quantize_sub(__m512 low, __m512 high, int8_t *to, int64_t step, int32_t sums[2])
{
    float maximum = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    bool tiny = !(maximum > PARE_Q8_TINY);
    __m512 inverse = _mm512_set1_ps(tiny ? 0 : 127.0f / maximum);
    __m512i codes[2] = {_mm512_cvtps_epi32(_mm512_mul_ps(low, inverse)),
                        _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse))};
    _Alignas(16) int8_t bytes[PARE_SUB];
    for (int h = 0; h < 2; h++) {
        _mm_store_si128((__m128i *)(bytes + 16 * h), _mm512_cvtepi32_epi8(codes[h]));
        sums[h] = _mm512_reduce_add_epi32(codes[h]);
    }
    for (int q = 0; q < 8; q++)
        memcpy(to + 4 * step * q, bytes + 4 * q, 4);
    return tiny ? 0 : maximum / 127.0f;
}

static void prepare(void *prepared, const float *x, int64_t x_stride, int64_t tokens,
                    int64_t columns, int64_t first, int64_t last)
{
    pare_tiles_q8 to = pare_tiles_q8_of(prepared, tokens, columns);
    int64_t subs = pare_subs(columns);
    for (int64_t t = first; t < last; t++) {
        pare_tile tile = pare_tile_of(t, tokens, PARE_TILE);
        int64_t lane = t - tile.first;
        for (int64_t s = 0; s < subs; s++) {
            const float *from = x + t * x_stride + s * PARE_SUB;
            mask_pair masks = lane_masks(columns - s * PARE_SUB);
            int64_t at = tile.first * subs + s * tile.width, one = at + lane;
            int64_t two = 2 * at + lane; /* and two + width: the sums of 16 */
            int32_t sums[2];
            float scale = quantize_sub(_mm512_maskz_loadu_ps(masks.half[0], from),
                                       _mm512_maskz_loadu_ps(masks.half[1], from + 16),
                                       to.codes + at * PARE_SUB + 4 * lane, tile.width, sums);
            to.scales[one] = scale;
            to.less32[one] = -(sums[0] + sums[1]);
            to.sums32[one] = scale * (float)(sums[0] + sums[1]);
            for (int h = 0; h < 2; h++) {
                to.less16[two + h * tile.width] = -sums[h];
                to.sums16[two + h * tile.width] = scale * (float)sums[h];
            }
        }
    }
}

/* ---- one entry for each layout with integer codes ---- */

#define X(NAME, ...)                                                                               \
    static void unpack_##NAME(panel_chunk *chunk, const uint8_t *panel, int64_t first, int count)  \
    {                                                                                              \
        unpack(PARE_LAYOUT_##NAME, chunk, panel, first, count);                                    \
    }                                                                                              \
    static void multiply_##NAME(float *y, int64_t y_stride, const void *weights, pare_type type,   \
                                const void *x, int64_t x_stride, const float *bias, int64_t rows,  \
                                int64_t columns, int64_t tokens, int64_t first, int64_t last,      \
                                void *scratch)                                                     \
    {                                                                                              \
        pare_tiles_q8 tiled = pare_tiles_q8_of(x, tokens, columns);                                \
        if (tokens == 1)                                                                           \
            multiply_one(PARE_LAYOUT_##NAME, y, weights, tiled, bias, columns, first, last);       \
        else                                                                                       \
            multiply_many(PARE_LAYOUT_##NAME, unpack_##NAME, y, y_stride, weights, tiled, bias,    \
                          columns, tokens, first, last, scratch);                                  \
    }
PARE_CODE_LAYOUT_LIST(X)
#undef X

static const pare_matmul entries[PARE_LAYOUT_COUNT] = {
#define X(NAME, text, ...)                                                                         \
    [PARE_LAYOUT_##NAME] = {.name = text " x q8, avx512vnni",                                      \
                            .row_step = PARE_PANEL,                                                \
                            .packed_bytes = pare_layout_bytes_##NAME,                              \
                            .pack = pare_layout_pack,                                              \
                            .layout = text,                                                        \
                            .prepared_bytes = pare_tiles_q8_bytes,                                 \
                            .prepare = prepare,                                                    \
                            .scratch_bytes = scratch_bytes,                                        \
                            .multiply = multiply_##NAME},
    PARE_CODE_LAYOUT_LIST(X)
#undef X
};

void pare_kernels_add_avx512vnni_matmul(pare_kernels *kernels)
{
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++) {
        pare_layout layout = pare_layout_of(type);
        if (layout < PARE_LAYOUT_COUNT)
            kernels->matmul[type][PARE_OPERAND_Q8] =
                entries[layout].multiply ? &entries[layout] : NULL;
    }
}
