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
#include "kernels/x86/entries.h"

/* Subs that are unpacked at a time: 128 KiB of codes, which stay in the L2 cache and are streamed
 * from there. Each chunk costs every tile a visit of its totals, so smaller ones, that would fit
 * the L1 cache, were measured slower (lab/notes.md); but with few tokens unpacking and multiplying
 * must alternate often, so that memory is read all the time. */
enum { CHUNK = 128, SMALL_CHUNK = 16, FEW_TOKENS = 2 * PARE_TILE };

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

/* Where several subs share a scale they are added, times the activations' scale only, before it is
 * applied: fewer multiplications. How many: 2 and 4 for groups of 64 and 128, 0 for a whole row
 * (i8_ch), else 1. */
PARE_INLINE int scale_span(pare_layout layout)
{
    switch (layout) {
    case PARE_LAYOUT_I8_CH:
        return 0;
    case PARE_LAYOUT_I4_G64:
    case PARE_LAYOUT_I3_G64:
    case PARE_LAYOUT_I2_G64:
        return 2;
    case PARE_LAYOUT_I4_G128:
    case PARE_LAYOUT_I3_G128:
    case PARE_LAYOUT_I2_G128:
        return 4;
    default:
        return 1;
    }
}

/* ---- one token ---- */

PARE_INLINE void add_sub(pare_layout layout, const uint8_t *panel, const uint8_t *block, int s,
                         pare_tiles_q8 x, int64_t at, __m512 part[2], __m512 total[2])
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
            if (scale_span(layout) != 1)
                part[h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[h]), x_scale, part[h]);
            else
                total[h] = add_scaled(total[h], sum[h], x_scale,
                                      load_scale(layout, panel, block, s, g, h));
            if (l->minimums) {
                __m512 x_sum = _mm512_set1_ps(per_sub == 1 ? x.sums32[at] : x.sums16[2 * at + g]);
                total[h] = _mm512_fmadd_ps(load_minimum(layout, block, s, g, h), x_sum, total[h]);
            }
        }
    }
}

PARE_INLINE void apply_scale(pare_layout layout, const uint8_t *panel, const uint8_t *block,
                             __m512 part[2], __m512 total[2])
{
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        total[h] = _mm512_fmadd_ps(load_scale(layout, panel, block, 0, 0, h), part[h], total[h]);
        part[h] = _mm512_setzero_ps();
    }
}

PARE_INLINE void multiply_one(pare_layout layout, float *y, const uint8_t *weights, pare_tiles_q8 x,
                              const float *bias, int64_t columns, int64_t first, int64_t last)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    size_t panel_bytes = pare_layout_panel_bytes(layout, columns),
           block_bytes = pare_layout_block_bytes(layout);
    int64_t subs = pare_subs(columns);
    const __m512 none = _mm512_setzero_ps();
    for (int64_t r = first; r < last; r += PARE_PANEL) {
        const uint8_t *panel = weights + (size_t)(r / PARE_PANEL) * panel_bytes;
        const uint8_t *block = panel + l->header;
        __m512 total[2] = {none, none}, part[2] = {none, none};
        for (int64_t done = 0; done < subs; done += l->columns / PARE_SUB, block += block_bytes) {
            for (int s = 0; s < l->columns / PARE_SUB && done + s < subs; s++)
                add_sub(layout, panel, block, s, x, done + s, part, total);
            if (scale_span(layout) > 1)
                apply_scale(layout, panel, block, part, total);
        }
        if (scale_span(layout) == 0)
            apply_scale(layout, panel, block, part, total);
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

    prefetcher *weights;
    int64_t weights_step; /* bytes for each group */
} tile_x;

/* What the sums of a layout need: which products there are is what tiles are compiled for. */
typedef enum tile_kind {
    SCALED,         /* one scale for 32 columns */
    SCALED_MINIMUM, /* likewise, and a minimum */
    SCALED_16,      /* for 16 columns */
    SCALED_16_MINIMUM,
    SPAN_2, /* one scale for 2 subs */
    SPAN_4,
    SPAN_ROW,
    TILE_KINDS
} tile_kind;

PARE_INLINE tile_kind kind_of(pare_layout layout)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    if (l->group == 16)
        return l->minimums ? SCALED_16_MINIMUM : SCALED_16;
    if (l->minimums)
        return SCALED_MINIMUM;
    int span = scale_span(layout);
    return span == 2 ? SPAN_2 : span == 4 ? SPAN_4 : span == 0 ? SPAN_ROW : SCALED;
}

/* Adds the products of one group of columns: sum [width][2], of subs that start at `codes`. */
PARE_INLINE void multiply_group(int width, int quads, const uint8_t *codes, const int8_t *x,
                                __m512i sum[PARE_TILE][2])
{
#pragma GCC unroll 8
    for (int q = 0; q < quads; q++, codes += PARE_PANEL * 4, x += 4 * width) {
        __m512i low = _mm512_load_si512(codes), high = _mm512_load_si512(codes + 64);

#pragma GCC unroll 6
        for (int t = 0; t < width; t++) {
            __m512i quad = repeat_quad(x + 4 * t);
            sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], low, quad);
            sum[t][1] = _mm512_dpbusd_epi32(sum[t][1], high, quad);
        }
    }
}

/* What the totals of a group are: FP32 sums times scales, minimums. For spans, without the weights'
 * scale. */
PARE_INLINE void add_group(int width, tile_kind kind, const panel_chunk *chunk, tile_x x, int g,
                           const float *x_scales, __m512i sum[PARE_TILE][2],
                           __m512 total[PARE_TILE][2])
{
    bool minimums = kind == SCALED_MINIMUM || kind == SCALED_16_MINIMUM;
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        __m512 x_scale = _mm512_set1_ps(x_scales[t]);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            if (kind >= SPAN_2)
                total[t][h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t][h]), x_scale, total[t][h]);
            else
                total[t][h] = add_scaled(total[t][h], sum[t][h], x_scale,
                                         _mm512_load_ps(&chunk->scales[g][16 * h]));
            if (minimums)
                total[t][h] = _mm512_fmadd_ps(_mm512_load_ps(&chunk->minimums[g][16 * h]),
                                              _mm512_set1_ps(x.sums[g * width + t]), total[t][h]);
        }
    }
}

/* totals += scale * total, and total = 0. */
PARE_INLINE void flush_span(int width, const float scale[PARE_PANEL], float *totals,
                            __m512 total[PARE_TILE][2])
{
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            float *to = totals + t * PARE_PANEL + 16 * h;
            _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_load_ps(scale + 16 * h), total[t][h],
                                                _mm512_load_ps(to)));
            total[t][h] = _mm512_setzero_ps();
        }
    }
}

/* totals [width][32] += chunk x tile over `subs` subs. */
PARE_INLINE void multiply_tile(int width, tile_kind kind, int zero_bits, float *totals,
                               const panel_chunk *chunk, tile_x x, int subs)
{
    const __m128i shift = _mm_cvtsi32_si128(zero_bits);
    bool minimums = kind == SCALED_MINIMUM || kind == SCALED_16_MINIMUM;
    int per_sub = kind == SCALED_16 || kind == SCALED_16_MINIMUM ? 2 : 1, quads = 8 / per_sub;
    int span = kind == SPAN_2 ? 2 : kind == SPAN_4 ? 4 : 0;
    __m512 total[PARE_TILE][2];
#pragma GCC unroll 6
    for (int t = 0; t < width; t++) {
        total[t][0] = span ? _mm512_setzero_ps() : _mm512_load_ps(totals + t * PARE_PANEL);
        total[t][1] = span ? _mm512_setzero_ps() : _mm512_load_ps(totals + t * PARE_PANEL + 16);
    }
    for (int g = 0; g < subs * per_sub; g++) {
        const float *x_scales = x.scales + g / per_sub * width;
        const int32_t *less = minimums ? (const int32_t *)x.sums : x.less;
        prefetch_some(x.weights, x.weights_step);

        __m512i sum[PARE_TILE][2];
#pragma GCC unroll 6
        for (int t = 0; t < width; t++)
            sum[t][0] = sum[t][1] =
                minimums ? _mm512_setzero_si512()
                         : _mm512_sll_epi32(_mm512_set1_epi32(less[g * width + t]), shift);
        multiply_group(width, quads, chunk->codes[g * quads], x.codes + g * quads * 4 * width, sum);
        add_group(width, kind, chunk, x, g, x_scales, sum, total);
        if (span && g % span == span - 1)
            flush_span(width, chunk->scales[g], totals, total);
    }
#pragma GCC unroll 6
    for (int t = 0; !span && t < width; t++) {
        _mm512_store_ps(totals + t * PARE_PANEL, total[t][0]);
        _mm512_store_ps(totals + t * PARE_PANEL + 16, total[t][1]);
    }
}

typedef void tile_function(float *totals, const panel_chunk *chunk, tile_x x, int subs,
                           int zero_bits);

#define TILE(width, kind)                                                                          \
    static void tile_##width##_##kind(float *totals, const panel_chunk *chunk, tile_x x, int subs, \
                                      int zero_bits)                                               \
    {                                                                                              \
        multiply_tile(width, kind, zero_bits, totals, chunk, x, subs);                             \
    }
#define KINDS(X)                                                                                   \
    X(SCALED) X(SCALED_MINIMUM) X(SCALED_16) X(SCALED_16_MINIMUM) X(SPAN_2) X(SPAN_4) X(SPAN_ROW)
#define X(kind) TILE(1, kind) TILE(2, kind) TILE(3, kind) TILE(4, kind) TILE(5, kind) TILE(6, kind)
KINDS(X)
#undef X

static tile_function *const tiles[TILE_KINDS][PARE_TILE] = {
#define X(kind)                                                                                    \
    [kind] = {tile_1_##kind, tile_2_##kind, tile_3_##kind,                                         \
              tile_4_##kind, tile_5_##kind, tile_6_##kind},
    KINDS(X)
#undef X
};

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
    int size = tokens <= FEW_TOKENS ? SMALL_CHUNK : CHUNK;
    for (int64_t s = 0; s < subs; s += size) {
        int count = (int)(subs - s < size ? subs - s : size);
        unpack_subs(chunk, panel, s, count);
        prefetcher ahead = prefetch_subs(layout, panel, s + count, size);
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
                           &ahead,
                           64 * lines};
            tiles[kind_of(layout)][tile.width - 1](totals + tile.first * PARE_PANEL, chunk, part,
                                                   count, l->zero_bits);
        }
    }
}

/* The row's scale, which the panel starts with. */
static void scale_rows(const uint8_t *panel, int64_t tokens, float *totals)
{
    for (int64_t t = 0; t < tokens; t++)
        for (int h = 0; h < 2; h++) {
            float *to = totals + t * PARE_PANEL + 16 * h;
            /* An addition of zero, as one token has it. */
            _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_load_ps(panel + 64 * h), _mm512_load_ps(to),
                                                _mm512_setzero_ps()));
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
        if (scale_span(layout) == 0)
            scale_rows(weights + (size_t)(r / PARE_PANEL) * panel_bytes, tokens, totals);
        store_totals(y, y_stride, bias, r, last, tokens, totals);
    }
}

/* ---- activations ---- */

/* quantize8.h's rule for 32 values: returns the scale, and the codes' sums over 16. */
PARE_INLINE float quantize_sub(__m512 low, __m512 high, int8_t codes[PARE_SUB], int32_t sums[2])
{
    float maximum = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    bool tiny = !(maximum > PARE_Q8_TINY);
    __m512 inverse = _mm512_set1_ps(tiny ? 0 : 127.0f / maximum);
    __m128i bytes[2] = {_mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(low, inverse))),
                        _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(high, inverse)))};
    __m256i all = _mm256_set_m128i(bytes[1], bytes[0]);
    __m256i quads = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), all);
    quads = _mm256_hadd_epi32(quads, quads);
    quads = _mm256_hadd_epi32(quads, quads);
    sums[0] = _mm256_extract_epi32(quads, 0);
    sums[1] = _mm256_extract_epi32(quads, 4);
    _mm256_storeu_si256((__m256i *)codes, all);
    return tiny ? 0 : maximum / 127.0f;
}

/* One sub of one token; `at` is the tile's place in arrays of one item for each sub and token. */
PARE_INLINE void prepare_sub(pare_tiles_q8 to, const float *from, int64_t count, int64_t at,
                             int width, int64_t lane)
{
    mask_pair masks = lane_masks(count);
    int8_t codes[PARE_SUB];
    int32_t sums[2];
    float scale = quantize_sub(_mm512_maskz_loadu_ps(masks.half[0], from),
                               _mm512_maskz_loadu_ps(masks.half[1], from + 16), codes, sums);
    int64_t one = at + lane, two = 2 * at + lane; /* and two + width: the sums of 16 */
    for (int q = 0; q < 8; q++)
        memcpy(to.codes + at * PARE_SUB + 4 * (q * width + lane), codes + 4 * q, 4);
    to.scales[one] = scale;
    to.less32[one] = -(sums[0] + sums[1]);
    to.sums32[one] = scale * (float)(sums[0] + sums[1]);
    for (int h = 0; h < 2; h++) {
        to.less16[two + h * width] = -sums[h];
        to.sums16[two + h * width] = scale * (float)sums[h];
    }
}

static void prepare(void *prepared, const float *x, int64_t x_stride, int64_t tokens,
                    int64_t columns, int64_t first, int64_t last)
{
    pare_tiles_q8 to = pare_tiles_q8_of(prepared, tokens, columns);
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

/* ---- one entry for each layout with integer codes ---- */

PARE_INLINE void multiply_layout(pare_layout layout, unpack_function *unpack_subs, float *y,
                                 int64_t y_stride, const uint8_t *weights, const void *x,
                                 const float *bias, int64_t columns, int64_t tokens, int64_t first,
                                 int64_t last, void *scratch)
{
    pare_tiles_q8 tiled = pare_tiles_q8_of(x, tokens, columns);
    if (tokens == 1)
        multiply_one(layout, y, weights, tiled, bias, columns, first, last);
    else
        multiply_many(layout, unpack_subs, y, y_stride, weights, tiled, bias, columns, tokens,
                      first, last, scratch);
}

PARE_CODE_LAYOUT_LIST(PARE_ENTRY_FUNCTIONS)

static const pare_matmul entries[PARE_LAYOUT_COUNT] = {
#define X(NAME, text, ...) PARE_ENTRY(NAME, text, "q8, avx512vnni", pare_tiles_q8_bytes),
    PARE_CODE_LAYOUT_LIST(X)
#undef X
};

#include "kernels/x86/int8_template.h"

static const pare_int8 int8_entry = {&entries[PARE_LAYOUT_I8_CH], int8_unscale, int8_prepare,
                                     int8_correct};

void pare_kernels_add_avx512vnni_matmul(pare_kernels *kernels)
{
    kernels->int8 = &int8_entry;
    for (pare_type type = 0; type < PARE_TYPE_COUNT; type++) {
        pare_layout layout = pare_layout_of(type);
        if (layout < PARE_LAYOUT_COUNT)
            kernels->matmul[type][PARE_OPERAND_Q8] =
                entries[layout].multiply ? &entries[layout] : NULL;
    }
}
