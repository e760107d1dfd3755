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
#include "kernels/x86/words_ymm.h"

/* Subs that are unpacked at a time: as many as the caches hold while a chunk meets many tokens
 * (each chunk costs every tile the reading and writing of its totals), fewer for few tokens. */
enum { CHUNK = 32, FEW_CHUNK = 8, FEW_TOKENS = 24 };

typedef struct panel_chunk {
    union {
        uint8_t codes[CHUNK * 8]
                     [PARE_PANEL * 4]; /* [quad][row][4]; signed where is_signed says so */
        int16_t words[CHUNK / 2 * 16][PARE_PANEL * 2]; /* [pair][row][2], of half as many subs */
    };
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

/* The same for 4-bit codes with a table of values. */
PARE_INLINE void add_looked_up(pare_layout layout, const uint8_t *panel, const uint8_t *block,
                               int s, fixed_table table, const int16_t *x, float x_scale,
                               __m256 total[PARE_PARTS])
{
    const pare_layout_traits *l = &pare_layouts[layout];
    const uint8_t *sub = block + l->meta + s * l->sub;
#pragma GCC unroll 4
    for (int part = 0; part < PARE_PARTS; part++)
        total[part] =
            add_scaled(total[part], sum_looked_up(sub, part, table, x),
                       fixed_scale(layout, load_scale(layout, panel, block, s, 0, part)), x_scale);
}

typedef struct one_token {
    product p;
    pare_tiles_q8 x;
    fixed_table table; /* of layouts without codes */
} one_token;

typedef struct panel_sums {
    __m256 total[PARE_PARTS];
} panel_sums;

/* Codes of 4 and more bits, of which nothing else has to be made. */
PARE_INLINE bool is_quick(pare_layout layout)
{
    switch (layout) {
    case PARE_LAYOUT_I8_CH:
    case PARE_LAYOUT_Q8_0:
    case PARE_LAYOUT_Q5_0:
    case PARE_LAYOUT_Q5_1:
    case PARE_LAYOUT_Q4_0:
    case PARE_LAYOUT_Q4_1:
    case PARE_LAYOUT_I4_G64:
    case PARE_LAYOUT_I4_G128:
    case PARE_LAYOUT_MXFP4:
        return true;
    default:
        return false;
    }
}

/* Sub s of a block of the panel, the panel's sub `sub`. */
PARE_INLINE void add_panel(pare_layout layout, const one_token *one, const uint8_t *panel,
                           const uint8_t *block, int s, int64_t sub, bool end, panel_sums *to)
{
    (void)end;
    if (pare_layout_has_codes(layout))
        add_sub(layout, one->p, panel, block, s, sub_at(one->p, one->x, sub), to->total);
    else
        add_looked_up(layout, panel, block, s, one->table, one->x.words + sub * PARE_SUB,
                      one->x.scales[sub], to->total);
}

#include "kernels/x86/avx2_streams.h"

/* ---- many tokens ---- */

/* Subs first..first+count-1 of a panel. */
PARE_INLINE void unpack(pare_layout layout, panel_chunk *chunk, const uint8_t *panel, int64_t first,
                        int count)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    const int per_block = l->columns / PARE_SUB, groups = PARE_SUB / l->group;
    const fixed_table table = fixed_table_of(layout);
    for (int i = 0; i < count; i++) {
        int s = (int)((first + i) % per_block);
        const uint8_t *block =
            panel + l->header + (size_t)((first + i) / per_block) * pare_layout_block_bytes(layout);
        const uint8_t *sub = block + l->meta + s * l->sub;
        for (int part = 0; part < PARE_PARTS; part++) {
            if (product_of(layout).words) {
#pragma GCC unroll 8
                for (int q = 0; q < 8; q++) {
                    quad_words quad = load_quad_words(layout, table, sub, q, part);
                    _mm256_store_si256((__m256i *)&chunk->words[i * 16 + 2 * q][part * 16],
                                       quad.pairs[0]);
                    _mm256_store_si256((__m256i *)&chunk->words[i * 16 + 2 * q + 1][part * 16],
                                       quad.pairs[1]);
                }
            } else {
#pragma GCC unroll 8
                for (int q = 0; q < 8; q++)
                    _mm256_store_si256((__m256i *)&chunk->codes[i * 8 + q][part * 32],
                                       load_operand(layout, sub, q, part));
            }
            for (int g = 0; g < groups; g++) {
                _mm256_store_ps(&chunk->scales[i * groups + g][part * PARE_PART],
                                fixed_scale(layout, load_scale(layout, panel, block, s, g, part)));
                if (l->minimums)
                    _mm256_store_ps(&chunk->minimums[i * groups + g][part * PARE_PART],
                                    load_minimum(layout, block, s, g, part));
            }
        }
    }
}

/* The activations of a tile from some sub on. */
typedef struct tile_q8 {
    const int8_t *codes;  /* [quad][width][4] */
    const int16_t *words; /* [pair][width][2] */
    const float *scales;  /* [sub][width] */
    const int32_t *less;  /* [group][width] */
    const float *sums;    /* [group][width] */
} tile_q8;

/* Two parts' sums of a tile. Not [PARE_TILE][2]: GCC 12 keeps arrays in registers under one
 * unrolled loop, not under two. */
typedef struct tile_sums {
    __m256i low[PARE_TILE], high[PARE_TILE];
} tile_sums;

/* The sums of the products of one group, added in 32 bits at once. */
PARE_INLINE void sum_wide(int width, product p, int quads, const uint8_t *codes, const int8_t *x,
                          const int32_t *starts, tile_sums *sums)
{
    __m256i low[PARE_TILE], high[PARE_TILE];
#pragma GCC unroll 6
    for (int t = 0; t < width; t++)
        low[t] = high[t] = starts ? _mm256_set1_epi32(starts[t]) : _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int q = 0; q < quads; q++, codes += PARE_PANEL * 4, x += 4 * width) {
        __m256i first = load_words(codes), second = load_words(codes + 32);
#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
            __m256i quad = broadcast_quad(x + 4 * t);
            low[t] = add_wide(p, low[t], first, quad);
            high[t] = add_wide(p, high[t], second, quad);
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        sums->low[t] = low[t];
        sums->high[t] = high[t];
    }
}

/* The same for 16-bit numbers, pair by pair. */
PARE_INLINE void sum_words(int width, int pairs, const int16_t *words, const int16_t *x,
                           tile_sums *sums)
{
    __m256i low[PARE_TILE], high[PARE_TILE];
#pragma GCC unroll 6
    for (int t = 0; t < width; t++)
        low[t] = high[t] = _mm256_setzero_si256();
#pragma GCC unroll 16
    for (int i = 0; i < pairs; i++, words += PARE_PANEL * 2, x += 2 * width) {
        __m256i first = load_words((const uint8_t *)words),
                second = load_words((const uint8_t *)(words + 16));
#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
            __m256i pair = broadcast_quad((const int8_t *)(x + 2 * t));
            low[t] = add_words(low[t], first, pair);
            high[t] = add_words(high[t], second, pair);
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        sums->low[t] = low[t];
        sums->high[t] = high[t];
    }
}

/* The same by series of quads in 16 bits. `starts`: start_sum's values for the tokens, or NULL;
 * they come last, for while quads are added all registers hold their 12 sums. */
PARE_INLINE void sum_narrow(int width, int quads, int series, const uint8_t *codes, const int8_t *x,
                            const int32_t *starts, tile_sums *sums)
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
        const __m256i *ones = ones_in_memory();
#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
            __m256i start = starts ? _mm256_set1_epi32(starts[t]) : _mm256_setzero_si256();
            sums->low[t] =
                _mm256_add_epi32(_mm256_madd_epi16(low[t], *ones), q == 0 ? start : sums->low[t]);
            sums->high[t] =
                _mm256_add_epi32(_mm256_madd_epi16(high[t], *ones), q == 0 ? start : sums->high[t]);
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

/* totals [width][32] += chunk x tile over `groups` groups of columns, for 16 rows from part `first`
 * on: 16 registers hold two parts of sums for 6 tokens. */
PARE_INLINE void multiply_half(int width, product p, const int32_t *starts, float *totals,
                               const panel_chunk *chunk, tile_q8 x, int groups, int first)
{
    const uint8_t *codes = chunk->codes[0] + first * 32;
    const int16_t *words = chunk->words[0] + first * 16;
    const int quads = p.group / 4;
    for (int g = 0; g < groups; g++) {
        const int32_t *start = starts ? starts + g * width : NULL;
        tile_sums sums;
        if (p.words)
            sum_words(width, 2 * quads, words, x.words, &sums);
        else if (p.series == 0)
            sum_wide(width, p, quads, codes, x.codes, start, &sums);
        else
            sum_narrow(width, quads, p.series, codes, x.codes, start, &sums);
        add_totals(width, p, totals, chunk, x, g, first, sums.low);
        add_totals(width, p, totals, chunk, x, g, first + 1, sums.high);
        codes += quads * PARE_PANEL * 4;
        words += quads * PARE_PANEL * 4;
        x.codes += p.group * width;
        x.words += p.group * width;
    }
}

PARE_INLINE void multiply_tile(int width, product p, int bits, float *totals,
                               const panel_chunk *chunk, tile_q8 x, int groups)
{
    const bool has_zero = !p.words && !p.minimums;
    int32_t starts[CHUNK * 2 * PARE_TILE];
    if (has_zero)
        for (int i = 0; i < groups * width; i++)
            starts[i] = x.less[i] * (1 << bits);
    for (int first = 0; first < PARE_PARTS; first += 2)
        multiply_half(width, p, has_zero ? starts : NULL, totals, chunk, x, groups, first);
}

typedef void tile_function(int bits, float *totals, const panel_chunk *chunk, tile_q8 x,
                           int groups);

/* X(columns of a group, has minimums, series, 16-bit numbers): the kinds of products that the
 * layouts have on this tier, and that tiles are made for. */
#ifdef PARE_VNNI
#define KIND_LIST(X) X(32, 0, 0, 0) X(32, 1, 0, 0) X(16, 0, 0, 0) X(16, 1, 0, 0) X(32, 0, 0, 1)
#else
#define KIND_LIST(X)                                                                               \
    X(32, 0, 4, 0)                                                                                 \
    X(32, 0, 8, 0)                                                                                 \
    X(32, 1, 4, 0)                                                                                 \
    X(32, 1, 8, 0)                                                                                 \
    X(16, 0, 2, 0) X(16, 0, 4, 0) X(16, 1, 4, 0) X(32, 0, 0, 1) X(16, 0, 0, 1)
#endif

#define KIND(group, minimums, series, words)                                                       \
    {                                                                                              \
        group, series, minimums, false, words                                                      \
    }
#define TILE(width, group, minimums, series, words)                                                \
    static void tile_##width##_##group##_##minimums##_##series##_##words(                          \
        int bits, float *totals, const panel_chunk *chunk, tile_q8 x, int groups)                  \
    {                                                                                              \
        const product p = KIND(group, minimums, series, words);                                    \
        multiply_tile(width, p, bits, totals, chunk, x, groups);                                   \
    }
#define X(...)                                                                                     \
    TILE(1, __VA_ARGS__)                                                                           \
    TILE(2, __VA_ARGS__)                                                                           \
    TILE(3, __VA_ARGS__) TILE(4, __VA_ARGS__) TILE(5, __VA_ARGS__) TILE(6, __VA_ARGS__)
KIND_LIST(X)
#undef X

static const struct {
    product kind;
    tile_function *by_width[PARE_TILE];
} tile_rows[] = {
#define NAME(width, group, minimums, series, words)                                                \
    tile_##width##_##group##_##minimums##_##series##_##words
#define X(...)                                                                                     \
    {KIND(__VA_ARGS__),                                                                            \
     {NAME(1, __VA_ARGS__), NAME(2, __VA_ARGS__), NAME(3, __VA_ARGS__), NAME(4, __VA_ARGS__),      \
      NAME(5, __VA_ARGS__), NAME(6, __VA_ARGS__)}},
    KIND_LIST(X)
#undef X
};

static tile_function *const *tiles_of(product p)
{
    size_t i = 0;
    while (tile_rows[i].kind.group != p.group || tile_rows[i].kind.series != p.series ||
           tile_rows[i].kind.minimums != p.minimums || tile_rows[i].kind.words != p.words)
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
    return (tile_q8){x.codes + at * PARE_SUB, x.words + at * PARE_SUB, x.scales + at,
                     whole ? x.less32 + at : x.less16 + 2 * at,
                     whole ? x.sums32 + at : x.sums16 + 2 * at};
}

static void multiply_panel(pare_layout layout, product p, unpack_function *unpack_subs,
                           const uint8_t *panel, pare_tiles_q8 x, int64_t subs, int64_t tokens,
                           panel_chunk *chunk, float *totals)
{
    tile_function *const *tiles = tiles_of(p);
    const int most = tokens < FEW_TOKENS ? FEW_CHUNK : p.words ? CHUNK / 2 : CHUNK;
    memset(totals, 0, (size_t)tokens * PARE_PANEL * sizeof *totals);
    for (int64_t s = 0; s < subs; s += most) {
        int count = (int)(subs - s < most ? subs - s : most);
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

/* ---- one entry for each layout of integer codes or fixed-point values ---- */

/* FP8 has no product of its own for one token (FP32 is faster). */
PARE_INLINE bool has_one(pare_layout layout)
{
    return layout != PARE_LAYOUT_F8_E4M3 && layout != PARE_LAYOUT_F8_E5M2;
}

PARE_INLINE void multiply_layout(pare_layout layout, unpack_function *unpack_subs, float *y,
                                 int64_t y_stride, const uint8_t *weights, const void *x,
                                 const float *bias, int64_t columns, int64_t tokens, int64_t first,
                                 int64_t last, void *scratch)
{
    pare_tiles_q8 tiled = pare_tiles_q8_of(x, tokens, columns);
    const one_token one = {product_of(layout), tiled, fixed_table_of(layout)};
    if (tokens == 1 && has_one(layout))
        multiply_one(layout, &one, y, weights, bias, columns, first, last);
    else
        multiply_many(layout, product_of(layout), unpack_subs, y, y_stride, weights, tiled, bias,
                      columns, tokens, first, last, scratch);
}

PARE_CODE_LAYOUT_LIST(PARE_ENTRY_FUNCTIONS)
PARE_FIXED_LAYOUT_LIST(PARE_ENTRY_FUNCTIONS)

static const pare_matmul entries[PARE_LAYOUT_COUNT] = {
#define X(NAME, text, ...) PARE_ENTRY(NAME, text, "q8, " PARE_TIER, pare_tiles_q8_bytes),
    PARE_CODE_LAYOUT_LIST(X) PARE_FIXED_LAYOUT_LIST(X)
#undef X
};

/* ---- i8_ch with activations by the rules of int8.h ---- */

#define PARE_WORDS
#include "kernels/x86/int8_template.h"

#ifdef PARE_VNNI
static const pare_int8 int8_entry = {&entries[PARE_LAYOUT_I8_CH], int8_unscale, int8_prepare,
                                     int8_correct};
#else
static void int8_multiply(float *y, int64_t y_stride, const void *weights, pare_type type,
                          const void *x, int64_t x_stride, const float *bias, int64_t rows,
                          int64_t columns, int64_t tokens, int64_t first, int64_t last,
                          void *scratch)
{
    const product p = {32, 0, false, true, true};
    pare_tiles_q8 tiled = pare_tiles_q8_of(x, tokens, columns);
    const one_token one = {p, tiled, fixed_table_of(PARE_LAYOUT_I8_CH)};
    if (tokens == 1)
        multiply_one(PARE_LAYOUT_I8_CH, &one, y, weights, bias, columns, first, last);
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
static const pare_int8 int8_entry = {&int8_matmul, int8_unscale, int8_prepare, int8_correct};
#endif

static void add_q8(pare_kernels *kernels)
{
    kernels->int8 = &int8_entry;
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++) {
        pare_layout layout = pare_layout_of(type);
        if (layout != PARE_LAYOUT_COUNT)
            kernels->matmul[type][PARE_OPERAND_Q8] =
                entries[layout].multiply ? &entries[layout] : NULL;
    }
}
