/* Products of packed weights with FP32 activations, AVX-512.
 *
 * One order of operations for any number of tokens and any share of rows, so that they all give the
 * same bits: the products of the columns that share a scale (32 of them, 16 in some formats) are
 * summed one after another by fused multiply-adds; each such sum is then added, times its scale, by
 * another one; minimums likewise. A SIMD lane is a row.
 *
 * One token streams the packed weights. More tokens unpack a chunk of a panel to FP32 once and
 * multiply it with tiles of 6 tokens, 2 x 6 registers of sums beside as many of totals. */
#include "kernels/activations.h"
#include "kernels/kernels.h"
#include "kernels/x86/avx512_rows.h"
#include "kernels/x86/entries.h"

/* Subs that are unpacked at a time: 64 KiB, in the L2 cache. As in avx512vnni_q8.c, fewer for few
 * tokens. */
enum { CHUNK = 16, SMALL_CHUNK = 4, FEW_TOKENS = 2 * PARE_TILE };

typedef struct panel_chunk {
    float values[CHUNK * PARE_SUB][PARE_PANEL];
    float scales[CHUNK * 2][PARE_PANEL];
    float minimums[CHUNK * 2][PARE_PANEL];
} panel_chunk;

/* ---- one token: two panels at a time, so that four chains of additions overlap ---- */

typedef struct stream {
    const uint8_t *panel, *block;
    __m512 total[2];
} stream;

PARE_INLINE void add_group(pare_layout layout, stream *streams, int count, int s, int g,
                           const float *x, float sum)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    __m512 part[2][2];
    __m512i quad[2][2];
#pragma GCC unroll 2
    for (int p = 0; p < count; p++) {
        part[p][0] = part[p][1] = _mm512_setzero_ps();
        quad[p][0] = quad[p][1] = _mm512_setzero_si512();
    }
#pragma GCC unroll 32
    for (int k = g * l->group; k < (g + 1) * l->group; k++) {
        __m512 value = _mm512_set1_ps(x[k]);
#pragma GCC unroll 2
        for (int p = 0; p < count; p++) {
            const uint8_t *sub = streams[p].block + l->meta + s * l->sub;
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                if (by_bytes(layout) && k % 4 == 0)
                    quad[p][h] = load_signed_quad(layout, sub, k / 4, h);
                part[p][h] =
                    _mm512_fmadd_ps(load_values(layout, sub, quad[p][h], k, h), value, part[p][h]);
            }
        }
    }
#pragma GCC unroll 2
    for (int p = 0; p < count; p++) {
        stream *from = &streams[p];
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m512 scale =
                unit_scale(layout, load_scale(layout, from->panel, from->block, s, g, h));
            from->total[h] = _mm512_fmadd_ps(scale, part[p][h], from->total[h]);
            if (l->minimums)
                from->total[h] = _mm512_fmadd_ps(load_minimum(layout, from->block, s, g, h),
                                                 _mm512_set1_ps(sum), from->total[h]);
        }
    }
}

PARE_INLINE void add_sub(pare_layout layout, stream *streams, int count, int s, pare_tiles_f32 x,
                         int64_t at)
{
    /* A plain count: sanitizers' checks of the division would keep the loop from being unrolled. */
    const int groups = pare_layouts[layout].group == 32 ? 1 : 2;
#pragma GCC unroll 2
    for (int p = 0; p < count; p++)
        prefetch_ahead(layout, streams[p].block, s);
#pragma GCC unroll 2
    for (int g = 0; g < groups; g++)
        add_group(layout, streams, count, s, g, x.values + at * PARE_SUB,
                  groups == 1 ? x.sums32[at] : x.sums16[2 * at + g]);
}

/* y: the first panel's first row; rows: how many are left from there on. */
PARE_INLINE void multiply_panels(pare_layout layout, int count, float *y, const uint8_t *panel,
                                 pare_tiles_f32 x, const float *bias, int64_t columns, int64_t rows)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    size_t panel_bytes = pare_layout_panel_bytes(layout, columns),
           block_bytes = pare_layout_block_bytes(layout);
    int block_subs = l->columns / PARE_SUB;
    int64_t subs = pare_subs(columns);
    stream streams[2];
#pragma GCC unroll 2
    for (int p = 0; p < count; p++) {
        streams[p].panel = panel + (size_t)p * panel_bytes;
        streams[p].block = streams[p].panel + l->header;
        streams[p].total[0] = streams[p].total[1] = _mm512_setzero_ps();
    }
    for (int64_t done = 0; done < subs; done += block_subs) {
        for (int s = 0; s < block_subs && done + s < subs; s++)
            add_sub(layout, streams, count, s, x, done + s);
#pragma GCC unroll 2
        for (int p = 0; p < count; p++)
            streams[p].block += block_bytes;
    }
#pragma GCC unroll 2
    for (int p = 0; p < count; p++)
        store_rows(y + p * PARE_PANEL, bias ? bias + p * PARE_PANEL : NULL,
                   lane_masks(rows - p * PARE_PANEL), streams[p].total[0], streams[p].total[1]);
}

PARE_INLINE void multiply_one(pare_layout layout, float *y, const uint8_t *weights,
                              pare_tiles_f32 x, const float *bias, int64_t columns, int64_t first,
                              int64_t last)
{
    size_t panel_bytes = pare_layout_panel_bytes(layout, columns);
    int64_t r = first;
    for (; r + PARE_PANEL < last; r += 2 * PARE_PANEL)
        multiply_panels(layout, 2, y + r, weights + (size_t)(r / PARE_PANEL) * panel_bytes, x,
                        bias ? bias + r : NULL, columns, last - r);
    if (r < last)
        multiply_panels(layout, 1, y + r, weights + (size_t)(r / PARE_PANEL) * panel_bytes, x,
                        bias ? bias + r : NULL, columns, last - r);
}

/* ---- many tokens ---- */

/* Subs first..first+count-1 of a panel. */
PARE_INLINE void unpack(pare_layout layout, panel_chunk *chunk, const uint8_t *panel, int64_t first,
                        int count)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    for (int i = 0; i < count; i++) {
        int s = (int)((first + i) % (l->columns / PARE_SUB));
        const uint8_t *block =
            panel + l->header +
            (size_t)((first + i) / (l->columns / PARE_SUB)) * pare_layout_block_bytes(layout);
        const uint8_t *sub = block + l->meta + s * l->sub;
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m512i quad = _mm512_setzero_si512();
#pragma GCC unroll 32
            for (int k = 0; k < PARE_SUB; k++) {
                if (by_bytes(layout) && k % 4 == 0)
                    quad = load_signed_quad(layout, sub, k / 4, h);
                _mm512_store_ps(&chunk->values[i * PARE_SUB + k][16 * h],
                                load_values(layout, sub, quad, k, h));
            }
            for (int g = 0; g < PARE_SUB / l->group; g++) {
                __m512 scale = unit_scale(layout, load_scale(layout, panel, block, s, g, h));
                _mm512_store_ps(&chunk->scales[i * PARE_SUB / l->group + g][16 * h], scale);
                if (l->minimums)
                    _mm512_store_ps(&chunk->minimums[i * PARE_SUB / l->group + g][16 * h],
                                    load_minimum(layout, block, s, g, h));
            }
        }
    }
}

/* A tile's part of the activations, from the chunk's first sub on. */
typedef struct tile_x {
    const float *values, *sums;

    prefetcher *weights;
    int64_t weights_step; /* bytes for each group */
} tile_x;

/* totals [width][32] += chunk x tile over `groups` groups of columns. */
PARE_INLINE void multiply_tile(int width, int group, bool minimums, float *totals,
                               const panel_chunk *chunk, tile_x x, int groups)
{
    __m512 total[PARE_TILE][2];
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        total[t][0] = _mm512_load_ps(totals + t * PARE_PANEL);
        total[t][1] = _mm512_load_ps(totals + t * PARE_PANEL + 16);
    }
    const float *values = chunk->values[0];
    for (int g = 0; g < groups; g++) {
        prefetch_some(x.weights, x.weights_step);
        __m512 part[PARE_TILE][2];
#pragma GCC unroll 6
        for (int t = 0; t < width; t++)
            part[t][0] = part[t][1] = _mm512_setzero_ps();
#pragma GCC unroll 4
        for (int k = 0; k < group; k++, values += PARE_PANEL, x.values += width) {
            __m512 low = _mm512_load_ps(values), high = _mm512_load_ps(values + 16);

#pragma GCC unroll 6
            for (int t = 0; t < width; t++) {
                __m512 value = _mm512_set1_ps(x.values[t]);
                part[t][0] = _mm512_fmadd_ps(low, value, part[t][0]);
                part[t][1] = _mm512_fmadd_ps(high, value, part[t][1]);
            }
        }
#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                total[t][h] = _mm512_fmadd_ps(_mm512_load_ps(&chunk->scales[g][16 * h]), part[t][h],
                                              total[t][h]);
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

typedef void tile_function(float *totals, const panel_chunk *chunk, tile_x x, int groups);

#define TILE(width, group, minimums)                                                               \
    static void tile_##width##_##group##_##minimums(float *totals, const panel_chunk *chunk,       \
                                                    tile_x x, int groups)                          \
    {                                                                                              \
        multiply_tile(width, group, minimums, totals, chunk, x, groups);                           \
    }
#define TILES(group, minimums)                                                                     \
    TILE(1, group, minimums)                                                                       \
    TILE(2, group, minimums)                                                                       \
    TILE(3, group, minimums)                                                                       \
    TILE(4, group, minimums)                                                                       \
    TILE(5, group, minimums)                                                                       \
    TILE(6, group, minimums)
TILES(16, 0)
TILES(16, 1)
TILES(32, 0)
TILES(32, 1)

#define ROW(group, minimums)                                                                       \
    {                                                                                              \
        tile_1_##group##_##minimums, tile_2_##group##_##minimums, tile_3_##group##_##minimums,     \
            tile_4_##group##_##minimums, tile_5_##group##_##minimums, tile_6_##group##_##minimums  \
    }
static tile_function *const tiles[2][2][PARE_TILE] = {{ROW(16, 0), ROW(16, 1)},
                                                      {ROW(32, 0), ROW(32, 1)}};

typedef void unpack_function(panel_chunk *chunk, const uint8_t *panel, int64_t first, int count);

/* Scratch: a chunk, then totals [tokens][32]. */
static size_t scratch_bytes(int64_t rows, int64_t columns, int64_t tokens)
{
    return sizeof(panel_chunk) + (size_t)tokens * PARE_PANEL * sizeof(float);
}

/* All tiles with the chunk of subs s..s+count-1, while `ahead` is fetched. */
static void multiply_chunk(int per_sub, bool minimums, const panel_chunk *chunk, pare_tiles_f32 x,
                           int64_t subs, int64_t s, int count, int64_t tokens, float *totals,
                           prefetcher ahead)
{
    const float *sums = per_sub == 1 ? x.sums32 : x.sums16;
    int64_t tile_count = pare_tile_count(tokens, PARE_TILE);
    int64_t lines = (ahead.end - ahead.next) / tile_count / 64 / (count * per_sub) + 1;
    for (int64_t i = 0; i < tile_count; i++) {
        pare_tile tile = pare_tile_at(i, tokens, PARE_TILE);
        int64_t at = tile.first * subs + s * tile.width;
        tile_x part = {x.values + at * PARE_SUB, sums + at * per_sub, &ahead, 64 * lines};
        tiles[per_sub == 1][minimums][tile.width - 1](totals + tile.first * PARE_PANEL, chunk, part,
                                                      count * per_sub);
    }
}

static void multiply_panel(pare_layout layout, unpack_function *unpack_subs, const uint8_t *panel,
                           pare_tiles_f32 x, int64_t subs, int64_t tokens, panel_chunk *chunk,
                           float *totals)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    memset(totals, 0, (size_t)tokens * PARE_PANEL * sizeof *totals);
    int size = tokens <= FEW_TOKENS ? SMALL_CHUNK : CHUNK;
    for (int64_t s = 0; s < subs; s += size) {
        int count = (int)(subs - s < size ? subs - s : size);
        unpack_subs(chunk, panel, s, count);
        multiply_chunk(PARE_SUB / l->group, l->minimums, chunk, x, subs, s, count, tokens, totals,
                       prefetch_subs(layout, panel, s + count, size));
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
        store_totals(y, y_stride, bias, r, last, tokens, totals);
    }
}

/* ---- formats without a layout: decoded as stored, 32 rows and some columns at a time ---- */

enum { DECODED = 256 }; /* columns: every block size divides it */

typedef struct decode_scratch {
    float rows[PARE_PANEL][DECODED];
    panel_chunk chunk;
} decode_scratch;

static size_t decode_scratch_bytes(int64_t rows, int64_t columns, int64_t tokens)
{
    return sizeof(decode_scratch) + (size_t)tokens * PARE_PANEL * sizeof(float);
}

/* Columns first.. of 32 rows to the chunk's order, all scales 1. */
static void gather_chunk(const decode_scratch *from, panel_chunk *chunk, int first, int count)
{
    for (int c = 0; c < count * PARE_SUB; c++)
        for (int r = 0; r < PARE_PANEL; r++)
            chunk->values[c][r] = from->rows[r][first + c];
    for (int s = 0; s < count; s++)
        for (int r = 0; r < PARE_PANEL; r++)
            chunk->scales[s][r] = 1;
}

/* The panel of up to 32 rows that starts at `stored`. */
static void multiply_stored_panel(const uint8_t *stored, pare_type type, int64_t rows,
                                  pare_tiles_f32 x, int64_t columns, int64_t tokens,
                                  decode_scratch *scratch, float *totals)
{
    size_t row_bytes = pare_type_row_bytes(type, columns);
    memset(totals, 0, (size_t)tokens * PARE_PANEL * sizeof *totals);
    memset(scratch->rows, 0, sizeof scratch->rows);
    for (int64_t c = 0; c < columns; c += DECODED) {
        int64_t n = columns - c < DECODED ? columns - c : DECODED;
        for (int64_t r = 0; r < PARE_PANEL && r < rows; r++)
            pare_type_get_traits(type)->decode(
                stored + (size_t)r * row_bytes + pare_type_row_bytes(type, c), scratch->rows[r], n);
        for (int64_t done = 0; done < n; done += CHUNK * PARE_SUB) {
            int64_t left = pare_subs(n - done);
            int count = (int)(left < CHUNK ? left : CHUNK);
            gather_chunk(scratch, &scratch->chunk, (int)done, count);
            multiply_chunk(1, false, &scratch->chunk, x, pare_subs(columns), (c + done) / PARE_SUB,
                           count, tokens, totals, (prefetcher){NULL, NULL});
        }
    }
}

static void multiply_stored(float *y, int64_t y_stride, const void *weights, pare_type type,
                            const void *x, int64_t x_stride, const float *bias, int64_t rows,
                            int64_t columns, int64_t tokens, int64_t first, int64_t last,
                            void *scratch)
{
    float *totals = (float *)((decode_scratch *)scratch + 1);
    for (int64_t r = first; r < last; r += PARE_PANEL) {
        const uint8_t *stored = weights;
        multiply_stored_panel(stored + (size_t)r * pare_type_row_bytes(type, columns), type,
                              last - r, pare_tiles_f32_of(x, tokens, columns), columns, tokens,
                              scratch, totals);
        store_totals(y, y_stride, bias, r, last, tokens, totals);
    }
}

/* ---- activations ---- */

PARE_INLINE void prepare_sub(pare_tiles_f32 to, const float *from, int64_t count, int64_t at,
                             int width, int64_t lane)
{
    mask_pair masks = lane_masks(count);
    _Alignas(64) float sub[PARE_SUB];
    __m512 low = _mm512_maskz_loadu_ps(masks.half[0], from);
    __m512 high = _mm512_maskz_loadu_ps(masks.half[1], from + 16);
    _mm512_store_ps(sub, low);
    _mm512_store_ps(sub + 16, high);
    for (int k = 0; k < PARE_SUB; k++)
        to.values[at * PARE_SUB + k * width + lane] = sub[k];
    float sums[2] = {_mm512_reduce_add_ps(low), _mm512_reduce_add_ps(high)};
    to.sums16[2 * at + lane] = sums[0];
    to.sums16[2 * at + width + lane] = sums[1];
    to.sums32[at + lane] = sums[0] + sums[1];
}

static void prepare(void *prepared, const float *x, int64_t x_stride, int64_t tokens,
                    int64_t columns, int64_t first, int64_t last)
{
    pare_tiles_f32 to = pare_tiles_f32_of(prepared, tokens, columns);
    int64_t subs = pare_subs(columns);
    for (int64_t t = first, end; t < last; t = end) {
        pare_tile tile = pare_tile_of(t, tokens, PARE_TILE);
        end = pare_tile_end(tile, last);
        for (int64_t s = 0; s < subs; s++)
            for (int64_t i = t; i < end; i++)
                prepare_sub(to, x + i * x_stride + s * PARE_SUB, columns - s * PARE_SUB,
                            tile.first * subs + s * tile.width, tile.width, i - tile.first);
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
        multiply_one(layout, y, weights, tiled, bias, columns, first, last);
    else
        multiply_many(layout, unpack_subs, y, y_stride, weights, tiled, bias, columns, tokens,
                      first, last, scratch);
}

PARE_LAYOUT_LIST(PARE_ENTRY_FUNCTIONS)

static const pare_matmul entries[PARE_LAYOUT_COUNT] = {
#define X(NAME, text, ...) PARE_ENTRY(NAME, text, "f32, avx512", pare_tiles_f32_bytes),
    PARE_LAYOUT_LIST(X)
#undef X
};

static const pare_matmul stored_entry = {.name = "stored x f32, avx512",
                                         .row_step = PARE_PANEL,
                                         .layout = "rows",
                                         .prepared_bytes = pare_tiles_f32_bytes,
                                         .prepare = prepare,
                                         .scratch_bytes = decode_scratch_bytes,
                                         .multiply = multiply_stored};

/* Formats without a layout have no other path: the reference's would be slower than this one. */
void pare_kernels_add_avx512_matmul(pare_kernels *kernels)
{
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++) {
        if (pare_layout_of(type) < PARE_LAYOUT_COUNT) {
            kernels->matmul[type][PARE_OPERAND_F32] = &entries[pare_layout_of(type)];
            if (!pare_layout_has_codes(
                    pare_layout_of(type))) /* the 256-bit product of AVX2 is slower */
                kernels->matmul[type][PARE_OPERAND_Q8] = NULL;
        } else if (pare_type_get_traits(type)->decode) {
            kernels->matmul[type][PARE_OPERAND_F32] = &stored_entry;
            kernels->matmul[type][PARE_OPERAND_Q8] = kernels->matmul[type][PARE_OPERAND_BF16] =
                NULL;
        }
    }
}
