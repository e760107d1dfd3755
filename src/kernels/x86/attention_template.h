/* Attention with the vector operations of one tier: included by avx2_attention.c and
 * avx512_attention.c.
 *
 * The query heads that share a KV head are rows of one small matrix: row r is token r / group, head
 * r % group of the group. A task takes up to TILE rows of one KV head and walks over the keys in
 * chunks of CHUNK and, inside, blocks of BLOCK positions:
 *
 *   keys of a block, [4][head_dim][16]                    values [BLOCK][head_dim]
 *        |                                                     |
 *   scores = q keys              -> softmax ->            out += weights values
 *   ROWS x BLOCK in registers                             ROWS x DIM_VECS vectors in registers
 *
 * Within a chunk the softmax is online (maximum, sum and unscaled output per row); finished chunks
 * are combined in order. Where few tokens meet a long cache, chunks are tasks of their own and
 * attention_finish combines them: the same arithmetic.
 *
 * Same bits for any number of tokens: chunks and blocks lie at fixed positions; a score is a chain
 * of fused multiply-adds over head_dim; an output element is a chain over the keys that its row
 * sees, no others; so neither depends on the row's neighbours. */
#include "attention_block.h"

/* ---- one chunk for a tile ---- */

/* Keys and values of a block as few rows read them (as they are stored) or many (FP32). */
typedef struct block_sources {
    key_source keys;
    value_source values;
} block_sources;

INLINE void widen_block(const tile *t, pare_type type, block_sources *sources, int groups,
                        int64_t start, int64_t first, int64_t last, const block_buffers *buffers)
{
    widen_keys(&sources->keys, type, groups, buffers->keys);
    copy_values(t, type, start, first, last, buffers->values);
}

static void point_keys(key_source *keys, const char *first, size_t group_bytes, int groups)
{
    for (int g = 0; g < GROUPS; g++)
        keys->groups[g] = first + (size_t)(g < groups ? g : groups - 1) * group_bytes;
}

static block_sources read_block(const tile *t, int64_t start, int64_t first, int64_t last,
                                const block_buffers *buffers)
{
    const pare_attention *a = t->a;
    size_t row_bytes = a->cache_row_bytes;
    bool direct =
        a->head_dim == t->padded_dim && (a->cache_type == PARE_TYPE_F32 || t->rows <= DIRECT_ROWS);
    int groups = (int)((last - start + PARE_KEY_GROUP - 1) / PARE_KEY_GROUP);
    block_sources sources = {
        {.type = a->cache_type, .head_dim = a->head_dim},
        {t->values + (size_t)start * row_bytes, row_bytes, a->cache_type, t->padded_dim}};
    point_keys(&sources.keys, t->keys + (size_t)start * row_bytes, PARE_KEY_GROUP * row_bytes,
               groups);
    if (direct)
        return sources;
    if (a->cache_type == PARE_TYPE_F16)
        widen_block(t, PARE_TYPE_F16, &sources, groups, start, first, last, buffers);
    else if (a->cache_type == PARE_TYPE_Q8_0)
        widen_block(t, PARE_TYPE_Q8_0, &sources, groups, start, first, last, buffers);
    else if (a->cache_type == PARE_TYPE_Q4_0)
        widen_block(t, PARE_TYPE_Q4_0, &sources, groups, start, first, last, buffers);
    else
        copy_values(t, PARE_TYPE_F32, start, first, last, buffers->values);
    sources.values =
        (value_source){(const char *)buffers->values, (size_t)t->padded_dim * sizeof(float),
                       PARE_TYPE_F32, t->padded_dim};
    if (a->cache_type != PARE_TYPE_F32)
        point_keys(&sources.keys, (const char *)buffers->keys,
                   (size_t)a->head_dim * PARE_KEY_GROUP * sizeof(float), groups);
    sources.keys.type = PARE_TYPE_F32;
    return sources;
}

static void attend_chunk(tile *t, int64_t chunk, const block_buffers *buffers)
{
    for (int r = 0; r < t->rows; r++) {
        t->maximum[r] = -INFINITY;
        t->sum[r] = 0;
        memset(t->out[r], 0, (size_t)t->padded_dim * sizeof(float));
    }
    /* Rows are in order of tokens: the first row sees the earliest key of all, the last row the
     * latest. */
    int passes = (t->rows + ROWS - 1) / ROWS, step = (t->rows + passes - 1) / passes;
    int64_t from = chunk * CHUNK, to = from + CHUNK;
    from = t->first[0] > from ? t->first[0] / BLOCK * BLOCK : from;
    to = t->last[t->rows - 1] < to ? t->last[t->rows - 1] : to;
    for (int64_t start = from; start < to; start += BLOCK) {
        int64_t first = t->first[0] > start ? t->first[0] : start;
        int64_t last = to < start + BLOCK ? to : start + BLOCK;
        block_sources sources = read_block(t, start, first, last, buffers);
        for (int row = 0; row < t->rows; row += step) {
            int rows = t->rows - row < step ? t->rows - row : step;
            if (t->last[row + rows - 1] > start && t->first[row] < start + BLOCK)
                attend_some_rows(t, row, start, &sources.keys, &sources.values, rows);
        }
    }
}

/* ---- combining chunks ---- */

/* Adds a chunk's (maximum, sum, out) to a running total; the total starts with maximum -infinity.
 */
static void combine(float *total_maximum, float *total_sum, float *total, float maximum, float sum,
                    const float *out, int64_t n)
{
    if (maximum == -INFINITY)
        return; /* the row sees no key of this chunk */
    if (*total_maximum == -INFINITY) {
        *total_maximum = maximum;
        *total_sum = sum;
        memcpy(total, out, (size_t)n * sizeof(float));
        return;
    }
    float highest = maximum > *total_maximum ? maximum : *total_maximum;
    float old = v_get_first(v_exp2(v_set1(*total_maximum - highest)));
    float new = v_get_first(v_exp2(v_set1(maximum - highest)));
    *total_maximum = highest;
    *total_sum = *total_sum * old + sum * new;
    int64_t d = 0;
    for (; d + LANES <= n; d += LANES)
        v_store(total + d, v_fma(v_load(out + d), v_set1(new), v_load(total + d) * v_set1(old)));
    if (d < n) {
        vec x = v_load_partial(out + d, n - d, 0), y = v_load_partial(total + d, n - d, 0);
        v_store_partial(total + d, v_fma(x, v_set1(new), y * v_set1(old)), n - d);
    }
}

static void divide(float *out, float sum, int64_t n)
{
    float factor = 1.0f / sum;
    for (int64_t d = 0; d < n; d++)
        out[d] *= factor;
}

/* ---- tasks ---- */

/* How a call is cut: by its shapes alone. */
typedef struct plan {
    int64_t group, rows, tiles; /* query heads per KV head; rows and tiles per KV head */
    int64_t first_chunk, chunks;
    bool split; /* chunks are tasks */
    int64_t padded_dim, partial_floats;
} plan;

static plan plan_call(const pare_attention *a)
{
    plan p = {.group = a->heads / a->kv_heads};
    p.rows = a->tokens * p.group;
    p.tiles = (p.rows + TILE - 1) / TILE;
    int64_t first = a->window > 0 && a->past + 1 > a->window ? a->past + 1 - a->window : 0;
    p.first_chunk = first / CHUNK;
    p.chunks = (a->past + a->tokens - 1) / CHUNK + 1 - p.first_chunk;
    p.split = a->tokens <= SPLIT_TOKENS && p.chunks > 1;
    p.padded_dim = (a->head_dim + LANES - 1) / LANES * LANES;
    p.partial_floats = p.padded_dim + PARTIAL_HEADER;
    return p;
}

static float *partial_of(const pare_attention *a, const plan *p, void *scratch, int64_t token,
                         int64_t head, int64_t chunk)
{
    int64_t index = (token * a->heads + head) * p->chunks + (chunk - p->first_chunk);
    return (float *)scratch + index * p->partial_floats;
}

static void locate_row(const tile *t, const plan *p, int r, int64_t *token, int64_t *head)
{
    *token = (t->first_row + r) / p->group;
    *head = t->kv_head * p->group + (t->first_row + r) % p->group;
}

static void init_tile(tile *t, const pare_attention *a, const plan *p, int64_t kv_head,
                      int64_t index)
{
    size_t plane = (size_t)kv_head * (size_t)a->capacity * a->cache_row_bytes;
    t->a = a;
    t->keys = (const char *)a->keys + plane;
    t->values = (const char *)a->values + plane;
    t->padded_dim = p->padded_dim;
    t->kv_head = kv_head;
    t->first_row = index * TILE;
    t->rows = p->rows - t->first_row < TILE ? (int)(p->rows - t->first_row) : TILE;
    for (int r = 0; r < t->rows; r++) {
        int64_t token, head;
        locate_row(t, p, r, &token, &head);
        t->last[r] = a->past + token + 1;
        t->first[r] = a->window > 0 && t->last[r] > a->window ? t->last[r] - a->window : 0;
        t->q[r] = a->q + token * a->q_stride + head * a->head_dim;
    }
}

/* One chunk of one tile, to the scratch. */
static void attend_partial(const pare_attention *a, const plan *p, int64_t task,
                           const block_buffers *buffers, void *scratch)
{
    int64_t chunk = p->first_chunk + task % p->chunks, index = task / p->chunks;
    tile t;
    init_tile(&t, a, p, index / p->tiles, index % p->tiles);
    float *partials[TILE];
    for (int r = 0; r < t.rows; r++) {
        int64_t token, head;
        locate_row(&t, p, r, &token, &head);
        partials[r] = partial_of(a, p, scratch, token, head, chunk);
        t.out[r] = partials[r] + PARTIAL_HEADER;
    }
    attend_chunk(&t, chunk, buffers);
    for (int r = 0; r < t.rows; r++) {
        partials[r][0] = t.maximum[r];
        partials[r][1] = t.sum[r];
    }
}

/* All chunks of one tile. Late tiles see more keys than early ones, so the two alternate: any run
 * of tasks costs about as much as another of its length. */
static void attend_tile(const pare_attention *a, const plan *p, int64_t task,
                        const block_buffers *buffers, float *outs)
{
    int64_t order = task % p->tiles, kv_head = task / p->tiles;
    tile t;
    init_tile(&t, a, p, kv_head, order % 2 ? p->tiles - 1 - order / 2 : order / 2);
    float maximum[TILE], sum[TILE], *total[TILE];
    for (int r = 0; r < t.rows; r++) {
        int64_t token, head;
        locate_row(&t, p, r, &token, &head);
        maximum[r] = -INFINITY;
        total[r] = a->out + token * a->out_stride + head * a->head_dim;
        t.out[r] = outs + r * p->padded_dim;
    }
    for (int64_t chunk = t.first[0] / CHUNK; chunk * CHUNK < t.last[t.rows - 1]; chunk++) {
        attend_chunk(&t, chunk, buffers);
        for (int r = 0; r < t.rows; r++)
            combine(&maximum[r], &sum[r], total[r], t.maximum[r], t.sum[r], t.out[r], a->head_dim);
    }
    for (int r = 0; r < t.rows; r++)
        divide(total[r], sum[r], a->head_dim);
}

static int64_t attention_tasks(const pare_attention *a)
{
    plan p = plan_call(a);
    return a->kv_heads * p.tiles * (p.split ? p.chunks : 1);
}

static void attention(const pare_attention *a, int64_t first, int64_t last, void *scratch)
{
    assert(a->head_dim <= PARE_HEAD_DIM_MAX);
    if (first >= last)
        return;
    plan p = plan_call(a);
    /* On the stack, as kernels do not allocate: 120 KB for heads of 128. */
    _Alignas(64) float memory[(size_t)p.padded_dim * (2 * BLOCK + TILE)];
    block_buffers buffers = {memory, memory + p.padded_dim * BLOCK};
    for (int64_t task = first; task < last; task++) {
        if (p.split)
            attend_partial(a, &p, task, &buffers, scratch);
        else
            attend_tile(a, &p, task, &buffers, memory + p.padded_dim * 2 * BLOCK);
    }
}

static int64_t attention_finish_tasks(const pare_attention *a)
{
    return plan_call(a).split ? a->tokens * a->heads : 0;
}

static void attention_finish(const pare_attention *a, int64_t first, int64_t last, void *scratch)
{
    plan p = plan_call(a);
    for (int64_t row = first; row < last; row++) {
        int64_t token = row / a->heads, head = row % a->heads;
        float *total = a->out + token * a->out_stride + head * a->head_dim;
        float maximum = -INFINITY, sum = 0;
        for (int64_t i = 0; i < p.chunks; i++) {
            const float *partial = partial_of(a, &p, scratch, token, head, p.first_chunk + i);
            combine(&maximum, &sum, total, partial[0], partial[1], partial + PARTIAL_HEADER,
                    a->head_dim);
        }
        divide(total, sum, a->head_dim);
    }
}

/* Grows with tokens and past + tokens, as the header promises; a window may need less. */
static size_t attention_scratch_bytes(const pare_attention *a)
{
    int64_t tokens = a->tokens < SPLIT_TOKENS ? a->tokens : SPLIT_TOKENS;
    int64_t chunks = (a->past + a->tokens - 1) / CHUNK + 1;
    plan p = plan_call(a);
    return chunks > 1 ? (size_t)(tokens * a->heads * chunks * p.partial_floats) * sizeof(float) : 0;
}

static void add_attention(pare_kernels *kernels)
{
    kernels->attention_tasks = attention_tasks;
    kernels->attention = attention;
    kernels->attention_finish_tasks = attention_finish_tasks;
    kernels->attention_finish = attention_finish;
    kernels->attention_scratch_bytes = attention_scratch_bytes;
}
