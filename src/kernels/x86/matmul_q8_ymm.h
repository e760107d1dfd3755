/* Products of packed weights with 8-bit activations in 256-bit registers: included by
 * avx2_matmul_q8.c and by avxvnni_matmul_q8.c, which defines PARE_VNNI.
 *
 * The integer products of the columns that share a scale (32, or 16) are summed exactly; the sum is
 * then converted, multiplied by the activations' scale and added times the weights' by a fused
 * multiply-add, minimums by another (the order of avx512vnni_q8.c): the same bits for any number of
 * tokens and any share of rows. A SIMD lane is a row. */
#include "kernels/activations.h"
#include "kernels/kernels.h"
#include "kernels/x86/bytes_ymm.h"
#include "kernels/x86/entries.h"

enum { CHUNK = 8 };    /* subs that are unpacked at a time: 8 KiB of codes and 4 of scales */
enum { AHEAD = 4096 }; /* bytes that a stream is prefetched ahead */

typedef struct panel_chunk {
    uint8_t codes[CHUNK * 8][PARE_PANEL * 4]; /* [quad][row][4]; signed where is_signed says so */
    float scales[CHUNK * 2][PARE_PANEL];
    float minimums[CHUNK * 2][PARE_PANEL];
} panel_chunk;

/* ---- one token ---- */

/* The activations of one sub of one token. */
typedef struct sub_q8 {
    const int8_t *codes;
    float scale;
    const int32_t *less;
    const float *sums; /* of its groups */
} sub_q8;

PARE_INLINE sub_q8 sub_at(product p, pare_tiles_q8 x, int64_t s)
{
    if (p.group == 32)
        return (sub_q8){x.codes + s * PARE_SUB, x.scales[s], x.less32 + s, x.sums32 + s};
    return (sub_q8){x.codes + s * PARE_SUB, x.scales[s], x.less16 + 2 * s, x.sums16 + 2 * s};
}

PARE_INLINE __m256i broadcast_quad(const int8_t *codes)
{
    int32_t word;
    memcpy(&word, codes, 4);
    return _mm256_set1_epi32(word);
}

PARE_INLINE void add_sub(pare_layout layout, product p, const uint8_t *panel, const uint8_t *block,
                         int s, sub_q8 x, __m256 total[PARE_PARTS])
{
    const pare_layout_traits *l = &pare_layouts[layout];
    const int groups = p.group == 32 ? 1 : 2, quads = p.group / 4;
    const uint8_t *sub = block + l->meta + s * l->sub;
    for (int i = 0; i < l->sub; i += 64)
        _mm_prefetch((const char *)sub + AHEAD + i, _MM_HINT_T0);
#pragma GCC unroll 2
    for (int g = 0; g < groups; g++) {
        __m256i wide[PARE_PARTS], narrow[PARE_PARTS];
#pragma GCC unroll 4
        for (int part = 0; part < PARE_PARTS; part++)
            wide[part] = start_sum(p, x.less[g], l->zero_bits);
#pragma GCC unroll 8
        for (int q = 0; q < quads; q++) {
            __m256i quad = broadcast_quad(x.codes + g * p.group + 4 * q);
#pragma GCC unroll 4
            for (int part = 0; part < PARE_PARTS; part++) {
                __m256i codes = load_operand(layout, sub, g * quads + q, part);
                if (p.series == 0) {
                    wide[part] = add_wide(p, wide[part], codes, quad);
                    continue;
                }
                narrow[part] = add_narrow(narrow[part], q % p.series == 0, codes, quad);
                if ((q + 1) % p.series == 0)
                    wide[part] = _mm256_add_epi32(wide[part], widen(narrow[part]));
            }
        }
#pragma GCC unroll 4
        for (int part = 0; part < PARE_PARTS; part++) {
            total[part] = add_scaled(total[part], wide[part],
                                     load_scale(layout, panel, block, s, g, part), x.scale);
            if (p.minimums)
                total[part] = _mm256_fmadd_ps(load_minimum(layout, block, s, g, part),
                                              _mm256_set1_ps(x.sums[g]), total[part]);
        }
    }
}

PARE_INLINE void multiply_one(pare_layout layout, product p, float *y, const uint8_t *weights,
                              pare_tiles_q8 x, const float *bias, int64_t columns, int64_t first,
                              int64_t last)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    size_t panel_bytes = pare_layout_panel_bytes(layout, columns),
           block_bytes = pare_layout_block_bytes(layout);
    int64_t subs = pare_subs(columns);
    for (int64_t r = first; r < last; r += PARE_PANEL) {
        const uint8_t *panel = weights + (size_t)(r / PARE_PANEL) * panel_bytes,
                      *block = panel + l->header;
        __m256 total[PARE_PARTS];
        for (int part = 0; part < PARE_PARTS; part++)
            total[part] = _mm256_setzero_ps();
        for (int64_t done = 0; done < subs; done += l->columns / PARE_SUB, block += block_bytes)
            for (int s = 0; s < l->columns / PARE_SUB && done + s < subs; s++)
                add_sub(layout, p, panel, block, s, sub_at(p, x, done + s), total);
        store_rows(y + r, bias ? bias + r : NULL, last - r, total);
    }
}

/* ---- many tokens ---- */

/* Subs first..first+count-1 of a panel. */
PARE_INLINE void unpack(pare_layout layout, panel_chunk *chunk, const uint8_t *panel, int64_t first,
                        int count)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    const int per_block = l->columns / PARE_SUB, groups = PARE_SUB / l->group;
    for (int i = 0; i < count; i++) {
        int s = (int)((first + i) % per_block);
        const uint8_t *block =
            panel + l->header + (size_t)((first + i) / per_block) * pare_layout_block_bytes(layout);
        const uint8_t *sub = block + l->meta + s * l->sub;
        for (int part = 0; part < PARE_PARTS; part++) {
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++)
                _mm256_store_si256((__m256i *)&chunk->codes[i * 8 + q][part * 32],
                                   load_operand(layout, sub, q, part));
            for (int g = 0; g < groups; g++) {
                _mm256_store_ps(&chunk->scales[i * groups + g][part * PARE_PART],
                                load_scale(layout, panel, block, s, g, part));
                if (l->minimums)
                    _mm256_store_ps(&chunk->minimums[i * groups + g][part * PARE_PART],
                                    load_minimum(layout, block, s, g, part));
            }
        }
    }
}

/* The activations of a tile from some sub on. */
typedef struct tile_q8 {
    const int8_t *codes; /* [quad][width][4] */
    const float *scales; /* [sub][width] */
    const int32_t *less; /* [group][width] */
    const float *sums;   /* [group][width] */
} tile_q8;

/* Two parts' sums of a tile. Not [PARE_TILE][2]: GCC 12 keeps arrays in registers under one
 * unrolled loop, not under two. */
typedef struct tile_sums {
    __m256i low[PARE_TILE], high[PARE_TILE];
} tile_sums;

/* Adds the products of one group, in 32 bits at once. */
PARE_INLINE void sum_wide(int width, product p, int parts, int quads, const uint8_t *codes,
                          const int8_t *x, tile_sums *sums)
{
    __m256i low[PARE_TILE], high[PARE_TILE];
#pragma GCC unroll 6
    for (int t = 0; t < width; t++)
        low[t] = high[t] = sums->low[t];
#pragma GCC unroll 8
    for (int q = 0; q < quads; q++, codes += PARE_PANEL * 4, x += 4 * width) {
        __m256i first = load_words(codes), second = parts == 2 ? load_words(codes + 32) : first;
#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
            __m256i quad = broadcast_quad(x + 4 * t);
            low[t] = add_wide(p, low[t], first, quad);
            if (parts == 2)
                high[t] = add_wide(p, high[t], second, quad);
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        sums->low[t] = low[t];
        sums->high[t] = high[t];
    }
}

/* The same by series of quads in 16 bits. */
PARE_INLINE void sum_narrow(int width, int quads, int series, const uint8_t *codes, const int8_t *x,
                            tile_sums *sums)
{
#pragma GCC unroll 4
    for (int q = 0; q < quads; q += series) {
        __m256i low[PARE_TILE], high[PARE_TILE];
#pragma GCC unroll 8
        for (int i = 0; i < series; i++, codes += PARE_PANEL * 4, x += 4 * width) {
            __m256i first = load_words(codes), second = load_words(codes + 32);
#pragma GCC unroll 6
            for (int t = 0; t < width; t++) {
                __m256i quad = broadcast_quad(x + 4 * t);
                low[t] = add_narrow(low[t], i == 0, first, quad);
                high[t] = add_narrow(high[t], i == 0, second, quad);
            }
        }
#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
            sums->low[t] = _mm256_add_epi32(sums->low[t], widen(low[t]));
            sums->high[t] = _mm256_add_epi32(sums->high[t], widen(high[t]));
        }
    }
}

/* Totals of one part of 8 rows for the tokens of a tile. */
PARE_INLINE void add_totals(int width, product p, float *totals, const panel_chunk *chunk,
                            tile_q8 x, int g, int part, const __m256i *sums)
{
    int row = part * PARE_PART;
    __m256 scale = _mm256_load_ps(&chunk->scales[g][row]);
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        float *to = totals + t * PARE_PANEL + row;
        float x_scale = x.scales[(p.group == 32 ? g : g / 2) * width + t];
        __m256 total = add_scaled(_mm256_load_ps(to), sums[t], scale, x_scale);
        if (p.minimums)
            total = _mm256_fmadd_ps(_mm256_load_ps(&chunk->minimums[g][row]),
                                    _mm256_set1_ps(x.sums[g * width + t]), total);
        _mm256_store_ps(to, total);
    }
}

/* totals [width][32] += chunk x tile over `groups` groups of columns, for `parts` parts of 8 rows
 * from part `first` on. */
PARE_INLINE void multiply_parts(int width, product p, int bits, float *totals,
                                const panel_chunk *chunk, tile_q8 x, int groups, int first,
                                int parts)
{
    const uint8_t *codes = chunk->codes[0] + first * 32;
    const int quads = p.group / 4;
    for (int g = 0; g < groups;
         g++, codes += quads * PARE_PANEL * 4, x.codes += quads * 4 * width) {
        tile_sums sums;
#pragma GCC unroll 6
        for (int t = 0; t < width; t++)
            sums.low[t] = sums.high[t] = start_sum(p, x.less[g * width + t], bits);
        if (p.series == 0)
            sum_wide(width, p, parts, quads, codes, x.codes, &sums);
        else
            sum_narrow(width, quads, p.series, codes, x.codes, &sums);
        add_totals(width, p, totals, chunk, x, g, first, sums.low);
        if (parts == 2)
            add_totals(width, p, totals, chunk, x, g, first + 1, sums.high);
    }
}

/* 16 registers: two parts of sums for 6 tokens, or one where each product needs more temporaries.
 */
PARE_INLINE void multiply_tile(int width, product p, int bits, float *totals,
                               const panel_chunk *chunk, tile_q8 x, int groups)
{
    const int parts = is_signed(p) ? 1 : 2;
    for (int first = 0; first < PARE_PARTS; first += parts)
        multiply_parts(width, p, bits, totals, chunk, x, groups, first, parts);
}

typedef void tile_function(int bits, float *totals, const panel_chunk *chunk, tile_q8 x,
                           int groups);

#define TILE(width, group, minimums, series)                                                       \
    static void tile_##width##_##group##_##minimums##_##series(                                    \
        int bits, float *totals, const panel_chunk *chunk, tile_q8 x, int groups)                  \
    {                                                                                              \
        multiply_tile(width, (product){group, series, minimums, false}, bits, totals, chunk, x,    \
                      groups);                                                                     \
    }
#define WIDE_TILE(width)                                                                           \
    static void tile_##width##_wide_x(int bits, float *totals, const panel_chunk *chunk,           \
                                      tile_q8 x, int groups)                                       \
    {                                                                                              \
        multiply_tile(width, (product){32, 0, false, true}, bits, totals, chunk, x, groups);       \
    }
#define TILES(group, minimums, series)                                                             \
    TILE(1, group, minimums, series)                                                               \
    TILE(2, group, minimums, series)                                                               \
    TILE(3, group, minimums, series)                                                               \
    TILE(4, group, minimums, series)                                                               \
    TILE(5, group, minimums, series)                                                               \
    TILE(6, group, minimums, series)
#define ROW(group, minimums, series)                                                               \
    {                                                                                              \
        {group, series, minimums, false},                                                          \
        {                                                                                          \
            tile_1_##group##_##minimums##_##series, tile_2_##group##_##minimums##_##series,        \
                tile_3_##group##_##minimums##_##series, tile_4_##group##_##minimums##_##series,    \
                tile_5_##group##_##minimums##_##series, tile_6_##group##_##minimums##_##series     \
        }                                                                                          \
    }

typedef struct tile_row {
    product kind;
    tile_function *by_width[PARE_TILE];
} tile_row;

#ifdef PARE_VNNI
TILES(32, 0, 0)
TILES(32, 1, 0)
TILES(16, 0, 0)
TILES(16, 1, 0)
static const tile_row tile_rows[] = {ROW(32, 0, 0), ROW(32, 1, 0), ROW(16, 0, 0), ROW(16, 1, 0)};
#else
TILES(32, 0, 0)
TILES(32, 0, 4)
TILES(32, 0, 8)
TILES(32, 1, 4)
TILES(32, 1, 8)
TILES(16, 0, 0)
TILES(16, 0, 2)
TILES(16, 0, 4)
TILES(16, 1, 4)
WIDE_TILE(1)
WIDE_TILE(2)
WIDE_TILE(3)
WIDE_TILE(4)
WIDE_TILE(5)
WIDE_TILE(6)
static const tile_row tile_rows[] = {
    ROW(32, 0, 0),
    ROW(32, 0, 4),
    ROW(32, 0, 8),
    ROW(32, 1, 4),
    ROW(32, 1, 8),
    ROW(16, 0, 0),
    ROW(16, 0, 2),
    ROW(16, 0, 4),
    ROW(16, 1, 4),
    {{32, 0, false, true},
     {tile_1_wide_x, tile_2_wide_x, tile_3_wide_x, tile_4_wide_x, tile_5_wide_x, tile_6_wide_x}}};
#endif

static tile_function *const *tiles_of(product p)
{
    size_t i = 0;
    while (tile_rows[i].kind.group != p.group || tile_rows[i].kind.series != p.series ||
           tile_rows[i].kind.minimums != p.minimums || tile_rows[i].kind.wide_x != p.wide_x)
        i++; /* every layout's kind is in the table: the checker runs them all */
    return tile_rows[i].by_width;
}

typedef void unpack_function(panel_chunk *chunk, const uint8_t *panel, int64_t first, int count);

/* Scratch: a chunk, then totals [tokens][32]. */
static size_t scratch_bytes(int64_t rows, int64_t columns, int64_t tokens)
{
    return sizeof(panel_chunk) + (size_t)tokens * PARE_PANEL * sizeof(float);
}

static tile_q8 tile_at(product p, pare_tiles_q8 x, int64_t subs, int64_t token, int width,
                       int64_t s)
{
    int64_t at = token * subs + s * width;
    bool whole = p.group == 32;
    return (tile_q8){x.codes + at * PARE_SUB, x.scales + at,
                     whole ? x.less32 + at : x.less16 + 2 * at,
                     whole ? x.sums32 + at : x.sums16 + 2 * at};
}

static void multiply_panel(pare_layout layout, product p, unpack_function *unpack_subs,
                           const uint8_t *panel, pare_tiles_q8 x, int64_t subs, int64_t tokens,
                           panel_chunk *chunk, float *totals)
{
    tile_function *const *tiles = tiles_of(p);
    memset(totals, 0, (size_t)tokens * PARE_PANEL * sizeof *totals);
    for (int64_t s = 0; s < subs; s += CHUNK) {
        int count = (int)(subs - s < CHUNK ? subs - s : CHUNK);
        unpack_subs(chunk, panel, s, count);
        for (int64_t i = 0; i < pare_tile_count(tokens, PARE_TILE); i++) {
            pare_tile tile = pare_tile_at(i, tokens, PARE_TILE);
            tiles[tile.width - 1](pare_layouts[layout].zero_bits, totals + tile.first * PARE_PANEL,
                                  chunk, tile_at(p, x, subs, tile.first, tile.width, s),
                                  count * (PARE_SUB / p.group));
        }
    }
}

static void multiply_many(pare_layout layout, product p, unpack_function *unpack_subs, float *y,
                          int64_t y_stride, const uint8_t *weights, pare_tiles_q8 x,
                          const float *bias, int64_t columns, int64_t tokens, int64_t first,
                          int64_t last, void *scratch)
{
    panel_chunk *chunk = scratch;
    float *totals = (float *)(chunk + 1);
    size_t panel_bytes = pare_layout_panel_bytes(layout, columns);
    for (int64_t r = first; r < last; r += PARE_PANEL) {
        multiply_panel(layout, p, unpack_subs, weights + (size_t)(r / PARE_PANEL) * panel_bytes, x,
                       pare_subs(columns), tokens, chunk, totals);
        for (int64_t t = 0; t < tokens; t++) {
            __m256 total[PARE_PARTS];
            for (int part = 0; part < PARE_PARTS; part++)
                total[part] = _mm256_load_ps(totals + t * PARE_PANEL + part * PARE_PART);
            store_rows(y + t * y_stride + r, bias ? bias + r : NULL, last - r, total);
        }
    }
}

/* ---- one entry for each layout of integer codes ---- */

PARE_INLINE void multiply_layout(pare_layout layout, unpack_function *unpack_subs, float *y,
                                 int64_t y_stride, const uint8_t *weights, const void *x,
                                 const float *bias, int64_t columns, int64_t tokens, int64_t first,
                                 int64_t last, void *scratch)
{
    pare_tiles_q8 tiled = pare_tiles_q8_of(x, tokens, columns);
    if (tokens == 1)
        multiply_one(layout, product_of(layout), y, weights, tiled, bias, columns, first, last);
    else
        multiply_many(layout, product_of(layout), unpack_subs, y, y_stride, weights, tiled, bias,
                      columns, tokens, first, last, scratch);
}

PARE_CODE_LAYOUT_LIST(PARE_ENTRY_FUNCTIONS)

static const pare_matmul entries[PARE_LAYOUT_COUNT] = {
#define X(NAME, text, ...) PARE_ENTRY(NAME, text, "q8, " PARE_TIER, pare_tiles_q8_bytes),
    PARE_CODE_LAYOUT_LIST(X)
#undef X
};

/* ---- i8_ch with activations by the rules of int8.h ---- */

#include "kernels/x86/int8_template.h"

#ifdef PARE_VNNI
static const pare_int8 int8_entry = {&entries[PARE_LAYOUT_I8_CH], int8_prepare, int8_correct};
#else
static void int8_multiply(float *y, int64_t y_stride, const void *weights, pare_type type,
                          const void *x, int64_t x_stride, const float *bias, int64_t rows,
                          int64_t columns, int64_t tokens, int64_t first, int64_t last,
                          void *scratch)
{
    const product p = {32, 0, false, true};
    pare_tiles_q8 tiled = pare_tiles_q8_of(x, tokens, columns);
    if (tokens == 1)
        multiply_one(PARE_LAYOUT_I8_CH, p, y, weights, tiled, bias, columns, first, last);
    else
        multiply_many(PARE_LAYOUT_I8_CH, p, unpack_I8_CH, y, y_stride, weights, tiled, bias,
                      columns, tokens, first, last, scratch);
}

static const pare_matmul int8_matmul = {.name = "i8_ch x int8, " PARE_TIER,
                                        .row_step = PARE_PANEL,
                                        .packed_bytes = pare_layout_bytes_I8_CH,
                                        .pack = pare_layout_pack,
                                        .layout = "i8_ch/32",
                                        .prepared_bytes = pare_tiles_q8_bytes,
                                        .prepare = prepare,
                                        .scratch_bytes = scratch_bytes,
                                        .multiply = int8_multiply};
static const pare_int8 int8_entry = {&int8_matmul, int8_prepare, int8_correct};
#endif

/* Formats whose values are no integers (nf4, fp4) have no such product: they take FP32 activations.
 */
static void add_q8(pare_kernels *kernels)
{
    kernels->int8 = &int8_entry;
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++) {
        pare_layout layout = pare_layout_of(type);
        if (layout == PARE_LAYOUT_COUNT)
            continue;
        kernels->matmul[type][PARE_OPERAND_Q8] = has_codes(layout) ? &entries[layout] : NULL;
    }
}
