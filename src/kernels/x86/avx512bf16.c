/* Products of weights in BF16 with activations rounded to BF16, AVX-512 BF16.
 *
 * VDPBF16PS adds two products of a lane (a row) to an FP32 sum. Weights that are not BF16 are
 * rounded to it, 9 significant bits as the activations have: FP16 (11 bits), and nf4 and fp4, whose
 * values times absmax have more. This operand is for many tokens, where arithmetic is the limit:
 * twice as fast as FP32. Columns are added in order, a pair at a time, for any number of tokens:
 * the same bits. */
#include "kernels/activations.h"
#include "kernels/kernels.h"
#include "kernels/x86/avx512_rows.h"
#include "kernels/x86/entries.h"

enum { CHUNK = 64, TILE_BF16 = 12, PAIRS = PARE_SUB / 2 };

typedef struct panel_chunk {
    uint32_t pairs[CHUNK * PAIRS][PARE_PANEL];
} panel_chunk;

/* The even column's values in the low halves of the lanes, the odd one's in the high halves. */
PARE_INLINE __m512i join(__m512 even, __m512 odd)
{
    __m512i joined = (__m512i)_mm512_cvtne2ps_pbh(odd, even); /* 16 of even, 16 of odd */
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, joined);
}

PARE_INLINE void unpack(pare_layout layout, panel_chunk *chunk, const uint8_t *panel, int64_t first,
                        int count)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    int block_subs = l->columns / PARE_SUB;
    const __m512i none = _mm512_setzero_si512();
    for (int i = 0; i < count; i++) {
        int s = (int)((first + i) % block_subs);
        const uint8_t *block = panel + l->header +
                               (size_t)((first + i) / block_subs) * pare_layout_block_bytes(layout);
        const uint8_t *sub = block + l->meta + s * l->sub;
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m512 scale = load_scale(layout, panel, block, s, 0, h);
#pragma GCC unroll 16
            for (int p = 0; p < PAIRS; p++) {
                __m512 even = _mm512_mul_ps(load_values(layout, sub, none, 2 * p, h), scale);
                __m512 odd = _mm512_mul_ps(load_values(layout, sub, none, 2 * p + 1, h), scale);
                _mm512_store_si512(&chunk->pairs[i * PAIRS + p][16 * h], join(even, odd));
            }
        }
    }
}

/* totals [width][32] += pairs of weights x tile. */
PARE_INLINE void multiply_tile(int width, float *totals, const uint32_t *weights, const uint32_t *x,
                               int64_t pairs)
{
    __m512 total[TILE_BF16][2];
#pragma GCC unroll 12
    for (int t = 0; t < width; t++) {
        total[t][0] = _mm512_load_ps(totals + t * PARE_PANEL);
        total[t][1] = _mm512_load_ps(totals + t * PARE_PANEL + 16);
    }
#pragma GCC unroll 2
    for (int64_t p = 0; p < pairs; p++, weights += PARE_PANEL, x += width) {
        __m512bh low = (__m512bh)_mm512_load_si512(weights),
                 high = (__m512bh)_mm512_load_si512(weights + 16);
#pragma GCC unroll 12
        for (int t = 0; t < width; t++) {
            __m512bh pair = (__m512bh)_mm512_set1_epi32((int)x[t]);
            total[t][0] = _mm512_dpbf16_ps(total[t][0], low, pair);
            total[t][1] = _mm512_dpbf16_ps(total[t][1], high, pair);
        }
    }
#pragma GCC unroll 12
    for (int t = 0; t < width; t++) {
        _mm512_store_ps(totals + t * PARE_PANEL, total[t][0]);
        _mm512_store_ps(totals + t * PARE_PANEL + 16, total[t][1]);
    }
}

#define WIDTHS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#define X(width)                                                                                   \
    static void tile_##width(float *totals, const uint32_t *weights, const uint32_t *x,            \
                             int64_t pairs)                                                        \
    {                                                                                              \
        multiply_tile(width, totals, weights, x, pairs);                                           \
    }
WIDTHS(X)
#undef X

typedef void tile_function(float *totals, const uint32_t *weights, const uint32_t *x,
                           int64_t pairs);
static tile_function *const tiles[TILE_BF16] = {
#define X(width) tile_##width,
    WIDTHS(X)
#undef X
};

typedef void unpack_function(panel_chunk *chunk, const uint8_t *panel, int64_t first, int count);

/* Scratch: a chunk, then totals [tokens][32]. */
static size_t scratch_bytes(int64_t rows, int64_t columns, int64_t tokens)
{
    return sizeof(panel_chunk) + (size_t)tokens * PARE_PANEL * sizeof(float);
}

/* unpack_subs NULL: the panel holds pairs as they are needed. */
static void multiply_panel(unpack_function *unpack_subs, const uint8_t *panel, const uint32_t *x,
                           int64_t subs, int64_t tokens, panel_chunk *chunk, float *totals)
{
    memset(totals, 0, (size_t)tokens * PARE_PANEL * sizeof *totals);
    for (int64_t s = 0; s < subs; s += CHUNK) {
        int count = (int)(subs - s < CHUNK ? subs - s : CHUNK);
        const uint32_t *weights = (const uint32_t *)panel + s * PAIRS * PARE_PANEL;
        if (unpack_subs) {
            unpack_subs(chunk, panel, s, count);
            weights = chunk->pairs[0];
        }
        for (int64_t i = 0; i < pare_tile_count(tokens, TILE_BF16); i++) {
            pare_tile tile = pare_tile_at(i, tokens, TILE_BF16);
            tiles[tile.width - 1](totals + tile.first * PARE_PANEL, weights,
                                  x + (tile.first * subs + s * tile.width) * PAIRS, count * PAIRS);
        }
    }
}

static void multiply(pare_layout layout, unpack_function *unpack_subs, float *y, int64_t y_stride,
                     const uint8_t *weights, const uint32_t *x, const float *bias, int64_t columns,
                     int64_t tokens, int64_t first, int64_t last, void *scratch)
{
    panel_chunk *chunk = scratch;
    float *totals = (float *)(chunk + 1);
    size_t panel_bytes = pare_layout_panel_bytes(layout, columns);
    for (int64_t r = first; r < last; r += PARE_PANEL) {
        multiply_panel(unpack_subs, weights + (size_t)(r / PARE_PANEL) * panel_bytes, x,
                       pare_subs(columns), tokens, chunk, totals);
        store_totals(y, y_stride, bias, r, last, tokens, totals);
    }
}

/* ---- activations: pairs [tile][pair][width], padded with zeros to whole subs ---- */

static size_t prepared_bytes(int64_t tokens, int64_t columns)
{
    return (size_t)tokens * (size_t)pare_subs(columns) * PAIRS * sizeof(uint32_t);
}

/* to: the token's first pair in its tile. */
PARE_INLINE void prepare_sub(uint32_t *to, const float *from, int64_t count, int width)
{
    mask_pair masks = lane_masks(count);
    _Alignas(64) uint32_t pairs[PAIRS];
    _mm512_store_si512(pairs,
                       (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(masks.half[1], from + 16),
                                                    _mm512_maskz_loadu_ps(masks.half[0], from)));
    for (int p = 0; p < PAIRS; p++)
        to[p * width] = pairs[p];
}

static void prepare(void *prepared, const float *x, int64_t x_stride, int64_t tokens,
                    int64_t columns, int64_t first, int64_t last)
{
    int64_t subs = pare_subs(columns);
    for (int64_t t = first, end; t < last; t = end) {
        pare_tile tile = pare_tile_of(t, tokens, TILE_BF16);
        uint32_t *to = (uint32_t *)prepared + tile.first * subs * PAIRS;
        end = pare_tile_end(tile, last);
        for (int64_t s = 0; s < subs; s++, to += tile.width * PAIRS)
            for (int64_t i = t; i < end; i++)
                prepare_sub(to + i - tile.first, x + i * x_stride + s * PARE_SUB,
                            columns - s * PARE_SUB, tile.width);
    }
}

/* ---- one entry for each layout that does not hold integer codes ---- */

PARE_INLINE void multiply_layout(pare_layout layout, unpack_function *unpack_subs, float *y,
                                 int64_t y_stride, const uint8_t *weights, const void *x,
                                 const float *bias, int64_t columns, int64_t tokens, int64_t first,
                                 int64_t last, void *scratch)
{
    multiply(layout, layout == PARE_LAYOUT_BF16 ? NULL : unpack_subs, y, y_stride, weights, x, bias,
             columns, tokens, first, last, scratch);
}

PARE_VALUE_LAYOUT_LIST(PARE_ENTRY_FUNCTIONS)

static const pare_matmul entries[PARE_LAYOUT_COUNT] = {
#define X(NAME, text, ...) PARE_ENTRY(NAME, text, "bf16, avx512bf16", prepared_bytes),
    PARE_VALUE_LAYOUT_LIST(X)
#undef X
};

void pare_kernels_add_avx512bf16_matmul(pare_kernels *kernels)
{
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++) {
        pare_layout layout = pare_layout_of(type);
        if (layout < PARE_LAYOUT_COUNT)
            kernels->matmul[type][PARE_OPERAND_BF16] =
                entries[layout].multiply ? &entries[layout] : NULL;
    }
}
