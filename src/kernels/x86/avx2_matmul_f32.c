/* Products of packed weights with FP32 activations, AVX2. The order of operations is that of
 * avx512_f32.c, so a result has the same bits for any number of tokens and any share of rows:
 * products of columns that share a scale one after another, each sum then added times its scale.
 * Layouts without scales are summed by chunks of columns instead: each sum that goes to its total
 * costs as much as 3 columns. A SIMD lane is a row.
 *
 * One token streams the packed weights. More tokens unpack a chunk of a panel to FP32 once and
 * multiply it with tiles of 6 tokens: 2 x 6 registers of sums, the totals in the cache. */
#include "kernels/activations.h"
#include "kernels/kernels.h"
#include "kernels/x86/avx2_layouts.h"
#include "kernels/x86/entries.h"

enum { CHUNK = 4 }; /* subs that are unpacked at a time: 16 KiB, half of the L1 cache */

typedef struct panel_chunk {
    float values[CHUNK * PARE_SUB][PARE_PANEL];
    float scales[CHUNK * 2][PARE_PANEL];
    float minimums[CHUNK * 2][PARE_PANEL];
} panel_chunk;

/* True for the layouts that have no scales. */
PARE_INLINE bool is_plain(pare_layout layout)
{
    return layout == PARE_LAYOUT_F32 || layout == PARE_LAYOUT_F16 || layout == PARE_LAYOUT_BF16;
}

/* ---- one token ---- */

PARE_INLINE void add_group(pare_layout layout, const uint8_t *sub, int g, const float *x,
                           __m256 sums[PARE_PARTS])
{
    int group = pare_layouts[layout].group;
    __m256i quad[PARE_PARTS];
#pragma GCC unroll 4
    for (int p = 0; p < PARE_PARTS; p++)
        quad[p] = _mm256_setzero_si256();
#pragma GCC unroll 32
    for (int k = g * group; k < (g + 1) * group; k++) {
        __m256 value = _mm256_set1_ps(x[k]);
#pragma GCC unroll 4
        for (int p = 0; p < PARE_PARTS; p++) {
            if (pare_layout_has_codes(layout) && k % 4 == 0)
                quad[p] = load_signed_quad(layout, sub, k / 4, p);
            sums[p] = _mm256_fmadd_ps(load_values(layout, sub, quad[p], k, p), value, sums[p]);
        }
    }
}

PARE_INLINE void add_sub(pare_layout layout, const uint8_t *panel, const uint8_t *block, int s,
                         const float *x, const float *sums32, const float *sums16,
                         __m256 total[PARE_PARTS])
{
    const pare_layout_traits *l = &pare_layouts[layout];
    const int groups = l->group == 32 ? 1 : 2;
    const uint8_t *sub = block + l->meta + s * l->sub;
#pragma GCC unroll 2
    for (int g = 0; g < groups; g++) {
        __m256 sums[PARE_PARTS] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                                   _mm256_setzero_ps()};
        add_group(layout, sub, g, x, sums);
#pragma GCC unroll 4
        for (int p = 0; p < PARE_PARTS; p++) {
            __m256 scale = unit_scale(layout, load_scale(layout, panel, block, s, g, p));
            total[p] = _mm256_fmadd_ps(scale, sums[p], total[p]);
            if (l->minimums) {
                __m256 sum = _mm256_set1_ps(l->group == 32 ? sums32[0] : sums16[g]);
                total[p] = _mm256_fmadd_ps(load_minimum(layout, block, s, g, p), sum, total[p]);
            }
        }
    }
}

/* The same of a layout without scales; sums: of up to CHUNK subs, which then go to the total. */
PARE_INLINE void add_plain(pare_layout layout, const uint8_t *sub, const float *x, bool done,
                           __m256 sums[PARE_PARTS], __m256 total[PARE_PARTS])
{
    __m256 part[PARE_PARTS];
#pragma GCC unroll 4
    for (int p = 0; p < PARE_PARTS; p++)
        part[p] = sums[p];
    add_group(layout, sub, 0, x, part);
#pragma GCC unroll 4
    for (int p = 0; p < PARE_PARTS; p++) {
        if (done)
            total[p] = _mm256_add_ps(total[p], part[p]);
        sums[p] = done ? _mm256_setzero_ps() : part[p];
    }
}

typedef pare_tiles_f32 one_token;

typedef struct panel_sums {
    __m256 total[PARE_PARTS];
    __m256 plain[PARE_PARTS]; /* of layouts without scales: of up to CHUNK subs */
} panel_sums;

/* 16 bits and 8-bit codes. */
PARE_INLINE bool is_quick(pare_layout layout)
{
    return is_plain(layout) || layout == PARE_LAYOUT_Q8_0 || layout == PARE_LAYOUT_I8_CH;
}

/* Sub s of a block of the panel, the panel's sub `sub`; end: its last. */
PARE_INLINE void add_panel(pare_layout layout, const one_token *x, const uint8_t *panel,
                           const uint8_t *block, int s, int64_t sub, bool end, panel_sums *to)
{
    const float *values = x->values + sub * PARE_SUB;
    if (is_plain(layout))
        add_plain(layout, block, values, sub % CHUNK == CHUNK - 1 || end, to->plain, to->total);
    else
        add_sub(layout, panel, block, s, values, x->sums32 + sub, x->sums16 + 2 * sub, to->total);
}

#include "kernels/x86/avx2_streams.h"

/* ---- many tokens ---- */

PARE_INLINE void unpack_sub(pare_layout layout, panel_chunk *chunk, int i, const uint8_t *panel,
                            const uint8_t *block, int s, int part)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    const uint8_t *sub = block + l->meta + s * l->sub;
    __m256i quad = _mm256_setzero_si256();
#pragma GCC unroll 32
    for (int k = 0; k < PARE_SUB; k++) {
        if (pare_layout_has_codes(layout) && k % 4 == 0)
            quad = load_signed_quad(layout, sub, k / 4, part);
        _mm256_store_ps(&chunk->values[i * PARE_SUB + k][part * PARE_PART],
                        load_values(layout, sub, quad, k, part));
    }
    int groups = PARE_SUB / l->group;
    for (int g = 0; g < groups; g++) {
        __m256 scale = unit_scale(layout, load_scale(layout, panel, block, s, g, part));
        _mm256_store_ps(&chunk->scales[i * groups + g][part * PARE_PART], scale);
        if (l->minimums)
            _mm256_store_ps(&chunk->minimums[i * groups + g][part * PARE_PART],
                            load_minimum(layout, block, s, g, part));
    }
}

/* Subs first..first+count-1 of a panel. */
PARE_INLINE void unpack(pare_layout layout, panel_chunk *chunk, const uint8_t *panel, int64_t first,
                        int count)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    int per_block = l->columns / PARE_SUB;
    for (int i = 0; i < count; i++) {
        size_t block = (size_t)((first + i) / per_block) * pare_layout_block_bytes(layout);
        for (int part = 0; part < PARE_PARTS; part++)
            unpack_sub(layout, chunk, i, panel, panel + l->header + block,
                       (int)((first + i) % per_block), part);
    }
}

/* Two parts' sums of a tile over `columns` columns. */
typedef struct tile_sums {
    __m256 low[PARE_TILE], high[PARE_TILE];
} tile_sums;

PARE_INLINE tile_sums sum_columns(int width, int columns, const float *values, const float *x)
{
    tile_sums sums;
#pragma GCC unroll 6
    for (int t = 0; t < width; t++)
        sums.low[t] = sums.high[t] = _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int k = 0; k < columns; k++, values += PARE_PANEL, x += width) {
        __m256 low = _mm256_load_ps(values), high = _mm256_load_ps(values + 8);
#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
            __m256 value = _mm256_set1_ps(x[t]);
            sums.low[t] = _mm256_fmadd_ps(low, value, sums.low[t]);
            sums.high[t] = _mm256_fmadd_ps(high, value, sums.high[t]);
        }
    }
    return sums;
}

/* totals [width][32] += chunk x tile for the 16 rows from `row` on, without scales. */
PARE_INLINE void multiply_plain(int width, float *totals, const panel_chunk *chunk, const float *x,
                                int subs, int row)
{
    tile_sums sums = sum_columns(width, subs * PARE_SUB, chunk->values[0] + row, x);
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        float *total = totals + t * PARE_PANEL + row;
        _mm256_store_ps(total, _mm256_add_ps(_mm256_load_ps(total), sums.low[t]));
        _mm256_store_ps(total + 8, _mm256_add_ps(_mm256_load_ps(total + 8), sums.high[t]));
    }
}

/* totals [width][32] += chunk x tile over `groups` groups of columns, for the 16 rows from `row`
 * on. */
PARE_INLINE void multiply_half(int width, int group, bool minimums, float *totals,
                               const panel_chunk *chunk, const float *x, const float *sums,
                               int groups, int row)
{
    const float *values = chunk->values[0] + row;
    totals += row;
    for (int g = 0; g < groups; g++, values += group * PARE_PANEL, x += group * width) {
        tile_sums part = sum_columns(width, group, values, x);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m256 scale = _mm256_load_ps(&chunk->scales[g][row + 8 * h]);
#pragma GCC unroll 6
            for (int t = 0; t < width; t++) {
                float *total = totals + t * PARE_PANEL + 8 * h;
                __m256 sum =
                    _mm256_fmadd_ps(scale, h ? part.high[t] : part.low[t], _mm256_load_ps(total));
                if (minimums)
                    sum = _mm256_fmadd_ps(_mm256_load_ps(&chunk->minimums[g][row + 8 * h]),
                                          _mm256_set1_ps(sums[g * width + t]), sum);
                _mm256_store_ps(total, sum);
            }
        }
    }
}

typedef void tile_function(float *totals, const panel_chunk *chunk, const float *x,
                           const float *sums, int groups);

/* X(columns that share a scale, 0: no scales; has minimums): the kinds of layouts. */
#define KIND_LIST(X) X(0, 0) X(16, 0) X(16, 1) X(32, 0) X(32, 1)

#define TILE(width, group, minimums)                                                               \
    static void tile_##width##_##group##_##minimums(float *totals, const panel_chunk *chunk,       \
                                                    const float *x, const float *sums, int groups) \
    {                                                                                              \
        for (int row = 0; row < PARE_PANEL; row += 16) {                                           \
            if (group)                                                                             \
                multiply_half(width, group, minimums, totals, chunk, x, sums, groups, row);        \
            else                                                                                   \
                multiply_plain(width, totals, chunk, x, groups, row);                              \
        }                                                                                          \
    }
#define X(...)                                                                                     \
    TILE(1, __VA_ARGS__)                                                                           \
    TILE(2, __VA_ARGS__)                                                                           \
    TILE(3, __VA_ARGS__) TILE(4, __VA_ARGS__) TILE(5, __VA_ARGS__) TILE(6, __VA_ARGS__)
KIND_LIST(X)
#undef X

/* [group / 16][has minimums][width - 1] */
static tile_function *const tiles[3][2][PARE_TILE] = {
#define X(group, minimums)                                                                         \
    [group / 16][minimums] = {tile_1_##group##_##minimums, tile_2_##group##_##minimums,            \
                              tile_3_##group##_##minimums, tile_4_##group##_##minimums,            \
                              tile_5_##group##_##minimums, tile_6_##group##_##minimums},
    KIND_LIST(X)
#undef X
};

typedef void unpack_function(panel_chunk *chunk, const uint8_t *panel, int64_t first, int count);

/* Scratch: a chunk, then totals [tokens][32]. */
static size_t scratch_bytes(int64_t rows, int64_t columns, int64_t tokens)
{
    return sizeof(panel_chunk) + (size_t)tokens * PARE_PANEL * sizeof(float);
}

static void multiply_panel(pare_layout layout, unpack_function *unpack_subs, const uint8_t *panel,
                           pare_tiles_f32 x, int64_t subs, int64_t tokens, panel_chunk *chunk,
                           float *totals)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    int per_sub = PARE_SUB / l->group;
    const float *sums = per_sub == 1 ? x.sums32 : x.sums16;
    memset(totals, 0, (size_t)tokens * PARE_PANEL * sizeof *totals);
    for (int64_t s = 0; s < subs; s += CHUNK) {
        int count = (int)(subs - s < CHUNK ? subs - s : CHUNK);
        unpack_subs(chunk, panel, s, count);
        for (int64_t i = 0; i < pare_tile_count(tokens, PARE_TILE); i++) {
            pare_tile tile = pare_tile_at(i, tokens, PARE_TILE);
            int64_t at = tile.first * subs + s * tile.width;
            tiles[is_plain(layout) ? 0 : l->group / 16][l->minimums][tile.width - 1](
                totals + tile.first * PARE_PANEL, chunk, x.values + at * PARE_SUB,
                sums + at * per_sub, count * per_sub);
        }
    }
}

static void multiply_many(pare_layout layout, unpack_function *unpack_subs, float *y,
                          int64_t y_stride, const uint8_t *weights, pare_tiles_f32 x,
                          const float *bias, int64_t columns, int64_t tokens, int64_t first,
                          int64_t last, void *scratch)
{
    panel_chunk *chunk = scratch;
    float *totals = (float *)(chunk + 1);
    size_t panel_bytes = pare_layout_panel_bytes(layout, columns);
    for (int64_t r = first; r < last; r += PARE_PANEL) {
        multiply_panel(layout, unpack_subs, weights + (size_t)(r / PARE_PANEL) * panel_bytes, x,
                       pare_subs(columns), tokens, chunk, totals);
        for (int64_t t = 0; t < tokens; t++) {
            __m256 total[PARE_PARTS];
            for (int p = 0; p < PARE_PARTS; p++)
                total[p] = _mm256_load_ps(totals + t * PARE_PANEL + p * PARE_PART);
            store_rows(y + t * y_stride + r, bias ? bias + r : NULL, last - r, total);
        }
    }
}

/* ---- activations ---- */

static float sum_of(__m256 x)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static void prepare(void *prepared, const float *x, int64_t x_stride, int64_t tokens,
                    int64_t columns, int64_t first, int64_t last)
{
    pare_tiles_f32 to = pare_tiles_f32_of(prepared, tokens, columns);
    int64_t subs = pare_subs(columns);
    for (int64_t t = first; t < last; t++) {
        pare_tile tile = pare_tile_of(t, tokens, PARE_TILE);
        int64_t lane = t - tile.first;
        float *values = to.values + tile.first * subs * PARE_SUB + lane;
        float *sums32 = to.sums32 + tile.first * subs + lane,
              *sums16 = to.sums16 + tile.first * subs * 2 + lane;
        for (int64_t s = 0; s < subs; s++) {
            const float *from = x + t * x_stride + s * PARE_SUB;
            __m256 part[PARE_PARTS];
            _Alignas(32) float sub[PARE_SUB];
            for (int p = 0; p < PARE_PARTS; p++) {
                part[p] =
                    _mm256_maskload_ps(from + p * PARE_PART, row_mask(columns - s * PARE_SUB, p));
                _mm256_store_ps(sub + p * PARE_PART, part[p]);
            }
            for (int k = 0; k < PARE_SUB; k++)
                values[(s * PARE_SUB + k) * tile.width] = sub[k];
            float low = sum_of(_mm256_add_ps(part[0], part[1])),
                  high = sum_of(_mm256_add_ps(part[2], part[3]));
            sums16[2 * s * tile.width] = low;
            sums16[(2 * s + 1) * tile.width] = high;
            sums32[s * tile.width] = low + high;
        }
    }
}

/* ---- one entry for each layout ---- */

PARE_INLINE void multiply_layout(pare_layout layout, unpack_function *unpack_subs, float *y,
                                 int64_t y_stride, const uint8_t *weights, const void *x,
                                 const float *bias, int64_t columns, int64_t tokens, int64_t first,
                                 int64_t last, void *scratch)
{
    pare_tiles_f32 tiled = pare_tiles_f32_of(x, tokens, columns);
    if (tokens == 1)
        multiply_one(layout, &tiled, y, weights, bias, columns, first, last);
    else
        multiply_many(layout, unpack_subs, y, y_stride, weights, tiled, bias, columns, tokens,
                      first, last, scratch);
}

PARE_LAYOUT_LIST(PARE_ENTRY_FUNCTIONS)

static const pare_matmul entries[PARE_LAYOUT_COUNT] = {
#define X(NAME, text, ...) PARE_ENTRY(NAME, text, "f32, avx2", pare_tiles_f32_bytes),
    PARE_LAYOUT_LIST(X)
#undef X
};

void pare_kernels_add_avx2_matmul(pare_kernels *kernels)
{
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++) {
        if (pare_layout_of(type) == PARE_LAYOUT_COUNT)
            continue;
        kernels->matmul[type][PARE_OPERAND_F32] = &entries[pare_layout_of(type)];
        /* No BF16 products here, and the reference's would be slower than FP32 and less exact. */
        kernels->matmul[type][PARE_OPERAND_BF16] = NULL;
    }
    pare_kernels_add_avx2_q8(kernels);
}
