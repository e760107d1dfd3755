/* Attention within one block of keys: reading the cache, scores, softmax, values. See
 * attention_template.h, which includes it. */
#ifndef PARE_KERNELS_X86_ATTENTION_BLOCK_H
#define PARE_KERNELS_X86_ATTENTION_BLOCK_H

#include "kernels/kernels.h"

#include "base/half.h"
#include "kernels/key_cache.h"
#include "quant/types.h"
#include "vector_math.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum {
    BLOCK = 64,
    CHUNK = 512,
    TILE = 96,
    ROWS = 6,
    REDUCED = 8,                    /* rows that are summed up together, some of them none */
    KEY_VECS = LANES == 16 ? 4 : 2, /* vectors of scores per row that are summed up at once */
    DIM_VECS = LANES == 16 ? 4 : 2, /* vectors of the output per row */
    SPLIT_TOKENS = 8,               /* with at most as many tokens, chunks are tasks of their own */
    DIRECT_ROWS = 8,    /* with at most as many rows, values are not copied to FP32 first */
    PARTIAL_HEADER = 16 /* floats before a partial output: maximum, sum, padding */
};

#define INLINE static inline __attribute__((always_inline))

/* One call's rows of one KV head; the arrays are the state of their softmax over one chunk. */
typedef struct tile {
    const pare_attention *a;
    const char *keys, *values; /* of the KV head */
    int64_t padded_dim;        /* head_dim rounded up to LANES */
    int64_t kv_head, first_row;
    int rows;
    int64_t first[TILE], last[TILE]; /* positions that each row sees: first..last-1 */
    const float *q[TILE];
    float *out[TILE];
    float maximum[TILE], sum[TILE];
} tile;

/* Memory for one block. */
typedef struct block_buffers {
    float *keys;   /* [BLOCK / 16][head_dim][16], as keys are stored in FP32 */
    float *values; /* [BLOCK][padded_dim] */
} block_buffers;

enum { GROUPS = BLOCK / PARE_KEY_GROUP };

/* The keys of a block: groups of 16 positions. Behind the last position that any row sees, the last
 * group is repeated; scores of positions that a row does not see are masked. */
typedef struct key_source {
    const char *groups[GROUPS];
    pare_type type;
    int64_t head_dim;
} key_source;

/* ---- reading the cache ---- */

/* Vector j of the LANES elements each from element d on, a multiple of LANES (of 32 where j > 0 and
 * the vectors lie in several blocks); elements from `n` on are 0. */
INLINE vec load_cache(const char *row, pare_type type, int64_t d, int j, int64_t n)
{
    int64_t left = n - d - j * LANES;
    if (type == PARE_TYPE_F16) {
        const uint16_t *p = (const uint16_t *)row + d + j * LANES;
        return left >= LANES ? v_load_f16(p) : v_load_f16_partial(p, left);
    }
    /* Vectors of one block share its scale: the compiler sees that only if j stays apart from d. */
    int64_t offset = d % 32 + j * LANES % 32;
    if (type == PARE_TYPE_Q8_0) {
        const pare_block_q8_0 *b = (const pare_block_q8_0 *)row + d / 32 + j * LANES / 32;
        return v_load_i8(b->q + offset) * v_set1(_cvtsh_ss(b->d));
    }
    if (type == PARE_TYPE_Q4_0) {
        const pare_block_q4_0 *b = (const pare_block_q4_0 *)row + d / 32 + j * LANES / 32;
        return v_load_i4(b->q + offset % 16, offset >= 16) * v_set1(_cvtsh_ss(b->d));
    }
    const float *p = (const float *)row + d + j * LANES;
    return left >= LANES ? v_load(p) : v_load_partial(p, left, 0);
}

INLINE void copy_values(const tile *t, pare_type type, int64_t start, int64_t first, int64_t last,
                        float *buffer)
{
    int64_t n = t->a->head_dim;
    for (int64_t key = first; key < last; key++) {
        const char *row = t->values + (size_t)key * t->a->cache_row_bytes;
        for (int64_t d = 0; d < n; d += LANES)
            v_store(buffer + (key - start) * t->padded_dim + d, load_cache(row, type, d, 0, n));
    }
}

/* ---- scores ---- */

/* Keys of LANES positions: where their elements and their scales are. */
typedef struct key_lanes {
    const char *at, *scales;
} key_lanes;

INLINE key_lanes locate_keys(const key_source *source, pare_type type, int key)
{
    const char *group = source->groups[key / PARE_KEY_GROUP];
    size_t unit = pare_key_unit(type);
    size_t lane = (size_t)(key % PARE_KEY_GROUP);
    size_t scales = (size_t)pare_key_units(type, source->head_dim) * PARE_KEY_GROUP * unit;
    return (key_lanes){group + lane * unit, group + scales + lane * PARE_KEY_SCALE};
}

/* Codes come out 2^24 (8 bits) or 2^28 times (4 bits) too large, which the scales take back without
 * rounding: the same numbers as load_cache's. */
INLINE vec load_key_scale(key_lanes keys, pare_type type, int64_t block)
{
    const char *p = keys.scales + block * PARE_KEY_GROUP * PARE_KEY_SCALE;
    return v_load_f16((const uint16_t *)p) * v_set1(type == PARE_TYPE_Q8_0 ? 0x1p-24f : 0x1p-28f);
}

/* Element i (a constant) of the 32 of a block. */
INLINE vec load_key_code(key_lanes keys, pare_type type, int64_t block, int i, vec scale)
{
    int quads = type == PARE_TYPE_Q8_0 ? 8 : 4, quad = i / 4 % quads;
    veci word = v_load_words(keys.at + (block * quads + quad) * PARE_KEY_GROUP * PARE_KEY_QUAD);
    return (type == PARE_TYPE_Q8_0 ? v_quad_byte(word, i % 4)
                                   : v_quad_nibble(word, i % 4 * 2 + i / 16)) *
           scale;
}

INLINE vec load_key(key_lanes keys, pare_type type, int64_t d)
{
    const char *p = keys.at + (size_t)d * PARE_KEY_GROUP * pare_key_unit(type);
    return type == PARE_TYPE_F16 ? v_load_f16((const uint16_t *)p) : v_load((const float *)p);
}

INLINE void add_scores(vec sums[ROWS][KEY_VECS], const float *const *q, int64_t d, const vec *k,
                       int rows, int vecs)
{
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
        vec x = v_set1(q[i][d]);
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            sums[i][j] = v_fma(x, k[j], sums[i][j]);
    }
}

INLINE void score_coded(vec sums[ROWS][KEY_VECS], const float *const *q, const key_lanes *keys,
                        pare_type type, int64_t n, int rows, int vecs)
{
    for (int64_t block = 0; block < n / 32; block++) {
        vec scales[KEY_VECS], k[KEY_VECS];
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            scales[j] = load_key_scale(keys[j], type, block);
#pragma GCC unroll 32
        for (int d = 0; d < 32; d++) {
#pragma GCC unroll 4
            for (int j = 0; j < vecs; j++)
                k[j] = load_key_code(keys[j], type, block, d, scales[j]);
            add_scores(sums, q, block * 32 + d, k, rows, vecs);
        }
    }
}

/* scores[i][key .. key + vecs LANES - 1] for `rows` rows. Constant type, rows and vecs: sums stay
 * in registers. */
INLINE void score_rows(const float *const *q, const key_source *source, pare_type type, int key,
                       float *scores, int rows, int vecs)
{
    vec sums[ROWS][KEY_VECS], k[KEY_VECS];
    key_lanes keys[KEY_VECS];
    int64_t n = source->head_dim;
#pragma GCC unroll 4
    for (int j = 0; j < vecs; j++) {
        keys[j] = locate_keys(source, type, key + j * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++)
            sums[i][j] = v_set1(0);
    }
    if (type == PARE_TYPE_Q8_0 || type == PARE_TYPE_Q4_0) {
        score_coded(sums, q, keys, type, n, rows, vecs);
    } else {
        for (int64_t d = 0; d < n; d++) {
#pragma GCC unroll 4
            for (int j = 0; j < vecs; j++)
                k[j] = load_key(keys[j], type, d);
            add_scores(sums, q, d, k, rows, vecs);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            v_store(scores + i * BLOCK + key + j * LANES, sums[i][j]);
}

/* Scores of the first `keys_end` keys of the block, rounded up to what one pass computes. */
INLINE void score_typed(const float *const *q, const key_source *source, pare_type type,
                        float *scores, int rows, int keys_end)
{
    for (int key = 0; key < keys_end; key += KEY_VECS * LANES) {
        if (KEY_VECS > 2 && keys_end - key <= 2 * LANES)
            score_rows(q, source, type, key, scores, rows, 2);
        else
            score_rows(q, source, type, key, scores, rows, KEY_VECS);
    }
}

INLINE void score_block(const float *const *q, const key_source *source, float *scores, int rows,
                        int keys_end)
{
    if (source->type == PARE_TYPE_F16)
        score_typed(q, source, PARE_TYPE_F16, scores, rows, keys_end);
    else if (source->type == PARE_TYPE_Q8_0)
        score_typed(q, source, PARE_TYPE_Q8_0, scores, rows, keys_end);
    else if (source->type == PARE_TYPE_Q4_0)
        score_typed(q, source, PARE_TYPE_Q4_0, scores, rows, keys_end);
    else
        score_typed(q, source, PARE_TYPE_F32, scores, rows, keys_end);
}

/* Where many rows read the keys, they become FP32 once. */
INLINE void widen_keys(const key_source *source, pare_type type, int groups, float *buffer)
{
    int64_t n = source->head_dim;
    for (int key = 0; key < groups * PARE_KEY_GROUP; key += LANES) {
        key_lanes keys = locate_keys(source, type, key);
        float *to = buffer + key / PARE_KEY_GROUP * PARE_KEY_GROUP * n + key % PARE_KEY_GROUP;
        if (type == PARE_TYPE_F16) {
            for (int64_t d = 0; d < n; d++)
                v_store(to + d * PARE_KEY_GROUP, load_key(keys, type, d));
            continue;
        }
        for (int64_t block = 0; block < n / 32; block++) {
            vec scale = load_key_scale(keys, type, block);
#pragma GCC unroll 32
            for (int d = 0; d < 32; d++)
                v_store(to + (block * 32 + d) * PARE_KEY_GROUP,
                        load_key_code(keys, type, block, d, scale));
        }
    }
}

/* Row i's sum (or maximum) in element i, by the same tree for each row: no row's result depends on
 * the others. */
INLINE vec reduce_rows(const vec rows[REDUCED], bool maximum)
{
    vec pairs[4], quads[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vec low = v_unpack_ps(rows[2 * i], rows[2 * i + 1], 0);
        vec high = v_unpack_ps(rows[2 * i], rows[2 * i + 1], 1);
        pairs[i] = v_combine(low, high, maximum);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        vec low = v_unpack_pd(pairs[2 * i], pairs[2 * i + 1], 0);
        vec high = v_unpack_pd(pairs[2 * i], pairs[2 * i + 1], 1);
        quads[i] = v_combine(low, high, maximum);
    }
    return v_join_lanes(quads[0], quads[1], maximum);
}

/* The keys of a block that each row sees. */
typedef struct row_ranges {
    int first[ROWS], last[ROWS];
} row_ranges;

/* The rows' highest scores, in units of log2: scale2 is the scale times log2(e). A negative scale
 * would make the infinity of masked scores positive, so they are masked after it. */
INLINE vec highest_scores(const float *scores, float scale2, const row_ranges *ranges, int rows)
{
    vec highest[REDUCED], factor = v_set1(scale2);
#pragma GCC unroll 8
    for (int i = 0; i < REDUCED; i++)
        highest[i] = v_set1(-INFINITY);
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
        bool whole = ranges->first[i] == 0 && ranges->last[i] == BLOCK;
#pragma GCC unroll 8
        for (int j = 0; j < BLOCK / LANES; j++) {
            vec s = v_load(scores + i * BLOCK + j * LANES) * factor;
            if (!whole)
                s = v_keep_range(s, j * LANES, ranges->first[i], ranges->last[i]);
            highest[i] = v_max(highest[i], s);
        }
    }
    return reduce_rows(highest, true);
}

/* Scores to weights 2^(scale2 score - maximum), 0 outside the ranges; gives the rows' sums. */
INLINE vec weigh_rows(float *scores, float scale2, const float *maximum, const row_ranges *ranges,
                      int rows)
{
    vec sums[REDUCED], factor = v_set1(scale2);
#pragma GCC unroll 8
    for (int i = 0; i < REDUCED; i++)
        sums[i] = v_set1(0);
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
        bool whole = ranges->first[i] == 0 && ranges->last[i] == BLOCK;
        if (ranges->first[i] == ranges->last[i])
            continue;
        vec shift = v_set1(-maximum[i]);
#pragma GCC unroll 8
        for (int j = 0; j < BLOCK / LANES; j++) {
            vec s = v_fma(v_load(scores + i * BLOCK + j * LANES), factor, shift);
            if (!whole)
                s = v_keep_range(s, j * LANES, ranges->first[i], ranges->last[i]);
            s = v_exp2(s);
            v_store(scores + i * BLOCK + j * LANES, s);
            sums[i] = sums[i] + s;
        }
    }
    return reduce_rows(sums, false);
}

/* ---- values ---- */

/* out[i][0 .. vecs] += sum over keys of weights[i][key] value[key]. type: F32 (the buffer too) or
 * F16. */
INLINE void add_values(float *const *out, int64_t d, const float *weights, const char *values,
                       size_t row_bytes, pare_type type, int first, int last, int rows, int vecs)
{
    vec sums[ROWS][DIM_VECS];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            sums[i][j] = v_load(out[i] + d + j * LANES);
    for (int key = first; key < last; key++) {
        const char *row = values + (size_t)key * row_bytes;
        vec v[DIM_VECS];
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            v[j] = load_cache(row, type, d, j, INT64_MAX);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            vec w = v_set1(weights[i * BLOCK + key]);
#pragma GCC unroll 4
            for (int j = 0; j < vecs; j++)
                sums[i][j] = v_fma(w, v[j], sums[i][j]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            v_store(out[i] + d + j * LANES, sums[i][j]);
}

typedef struct value_source {
    const char *rows; /* of position `start` of the block */
    size_t row_bytes;
    pare_type type;
    int64_t padded_dim;
} value_source;

INLINE void add_values_dims(float *const *out, const float *weights, const value_source *source,
                            pare_type type, int first, int last, int rows)
{
    int64_t d = 0;
    for (; d + DIM_VECS * LANES <= source->padded_dim; d += DIM_VECS * LANES)
        add_values(out, d, weights, source->rows, source->row_bytes, type, first, last, rows,
                   DIM_VECS);
    for (; d < source->padded_dim; d += LANES)
        add_values(out, d, weights, source->rows, source->row_bytes, type, first, last, rows, 1);
}

INLINE void add_values_typed(float *const *out, const float *weights, const value_source *source,
                             int first, int last, int rows)
{
    if (first >= last)
        return;
    if (source->type == PARE_TYPE_F16)
        add_values_dims(out, weights, source, PARE_TYPE_F16, first, last, rows);
    else if (source->type == PARE_TYPE_Q8_0)
        add_values_dims(out, weights, source, PARE_TYPE_Q8_0, first, last, rows);
    else if (source->type == PARE_TYPE_Q4_0)
        add_values_dims(out, weights, source, PARE_TYPE_Q4_0, first, last, rows);
    else
        add_values_dims(out, weights, source, PARE_TYPE_F32, first, last, rows);
}

static void add_values_one(float *out, const float *weights, const value_source *source, int first,
                           int last)
{
    float *const outs[1] = {out};
    add_values_typed(outs, weights, source, first, last, 1);
}

/* ---- one block for up to ROWS rows ---- */

INLINE void rescale(tile *t, int row, const float *factors, int rows)
{
    for (int i = 0; i < rows; i++) {
        vec factor = v_set1(factors[i]);
        for (int64_t d = 0; d < t->padded_dim; d += LANES)
            v_store(t->out[row + i] + d, v_load(t->out[row + i] + d) * factor);
    }
}

/* The keys that all rows see are added for all rows at once, those at the rims, which only some
 * see, row by row. */
INLINE void add_ragged_values(tile *t, int row, const float *weights, const value_source *source,
                              const row_ranges *ranges, int rows)
{
    const int *first = ranges->first, *last = ranges->last;
    int common_first = 0, common_last = BLOCK;
    for (int i = 0; i < rows; i++) {
        common_first = first[i] > common_first ? first[i] : common_first;
        common_last = last[i] < common_last ? last[i] : common_last;
    }
    if (common_last < common_first)
        common_last = common_first;
    for (int i = 0; i < rows; i++)
        add_values_one(t->out[row + i], weights + i * BLOCK, source, first[i],
                       last[i] < common_first ? last[i] : common_first);
    add_values_typed(t->out + row, weights, source, common_first, common_last, rows);
    for (int i = 0; i < rows; i++)
        add_values_one(t->out[row + i], weights + i * BLOCK, source,
                       first[i] > common_last ? first[i] : common_last, last[i]);
}

/* The softmax so far gets new maxima, and the block's weights and sums. */
INLINE void update_softmax(tile *t, int row, float *scores, const row_ranges *ranges, int rows)
{
    float scale2 = t->a->scale * 0x1.715476p+0f, maximum[LANES], factors[LANES];
    vec before = v_load_partial(t->maximum + row, rows, -INFINITY);
    vec after = v_max(before, highest_scores(scores, scale2, ranges, rows));
    /* -infinity less itself: a row that has seen no key yet; its sum and output are 0 anyway. */
    vec factor = v_exp2(v_max(before - after, v_set1(-160.0f)));
    v_store(maximum, after);
    v_store_partial(t->maximum + row, after, rows);
    vec sums = weigh_rows(scores, scale2, maximum, ranges, rows);
    v_store_partial(t->sum + row, v_fma(v_load_partial(t->sum + row, rows, 0), factor, sums), rows);
    if (v_any_less(before, after)) {
        v_store(factors, factor);
        rescale(t, row, factors, rows);
    }
}

INLINE void attend_rows(tile *t, int row, int64_t start, const key_source *keys,
                        const value_source *source, int rows)
{
    _Alignas(64) float scores[ROWS * BLOCK];
    row_ranges ranges;
    int end = 0;
    for (int i = 0; i < rows; i++) {
        int64_t from = t->first[row + i] - start, to = t->last[row + i] - start;
        from = from < 0 ? 0 : from > BLOCK ? BLOCK : from;
        to = to > BLOCK ? BLOCK : to < from ? from : to;
        ranges.first[i] = (int)from;
        ranges.last[i] = (int)to;
        end = to > end ? (int)to : end;
    }
    score_block(t->q + row, keys, scores, rows, end);
    update_softmax(t, row, scores, &ranges, rows);
    add_ragged_values(t, row, scores, source, &ranges, rows);
}

static void attend_some_rows(tile *t, int row, int64_t start, const key_source *keys,
                             const value_source *source, int rows)
{
    switch (rows) {
    case 1:
        attend_rows(t, row, start, keys, source, 1);
        break;
    case 2:
        attend_rows(t, row, start, keys, source, 2);
        break;
    case 3:
        attend_rows(t, row, start, keys, source, 3);
        break;
    case 4:
        attend_rows(t, row, start, keys, source, 4);
        break;
    case 5:
        attend_rows(t, row, start, keys, source, 5);
        break;
    default:
        attend_rows(t, row, start, keys, source, ROWS);
    }
}

#endif
