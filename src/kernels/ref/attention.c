/* Attention in plain C: each query by itself, an online softmax over blocks of keys.
 *
 * The blocks lie at fixed positions (multiples of BLOCK), whatever the number of queries that are
 * fed at once: a prompt fed at once and token by token gives the same bits. */
#include "kernels/kernels.h"

#include "base/half.h"
#include "kernels/key_cache.h"
#include "quant/types.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { BLOCK = 64, LANES = 16 };

static const float *read_row(const void *row, pare_type type, int64_t n, float *buffer)
{
    if (type == PARE_TYPE_F32)
        return row;
    if (type == PARE_TYPE_F16) {
        const uint16_t *halves = row;
        for (int64_t i = 0; i < n; i++)
            buffer[i] = pare_f16_to_f32(halves[i]);
        return buffer;
    }
    if (type == PARE_TYPE_Q4_0) {
        pare_type_get_traits(type)->decode(row, buffer, n);
        return buffer;
    }
    assert(type == PARE_TYPE_Q8_0);
    const pare_block_q8_0 *blocks = row;
    for (int64_t i = 0; i < n; i++)
        buffer[i] = pare_f16_to_f32(blocks[i / 32].d) * (float)blocks[i / 32].q[i % 32];
    return buffer;
}

/* LANES partial sums, then pairwise: shorter chains of rounding than one running sum, and the
 * compiler can vectorize it. */
static float dot(const float *a, const float *b, int64_t n)
{
    float sums[LANES] = {0};
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            sums[lane] += a[i + lane] * b[i + lane];
    for (int64_t i = whole; i < n; i++)
        sums[i - whole] += a[i] * b[i];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int lane = 0; lane < width; lane++)
            sums[lane] += sums[lane + width];
    return sums[0];
}

typedef struct running_softmax {
    float maximum, sum;
} running_softmax;

/* Keys first..last-1 of one block: their scores, then their values into `out`, which is rescaled to
 * the new maximum. */
static void attend_block(const pare_attention *a, const char *keys, const char *values,
                         const float *q, float *out, int64_t first, int64_t last,
                         running_softmax *state)
{
    float scores[BLOCK], buffer[PARE_HEAD_DIM_MAX], row[PARE_HEAD_DIM_MAX];
    float maximum = state->maximum;
    int64_t n = a->head_dim;
    for (int64_t key = first; key < last; key++) {
        pare_key_load(keys, a->cache_row_bytes, key, row, n, a->cache_type);
        const float *k = read_row(row, a->cache_type, n, buffer);
        float score = a->scale * dot(q, k, n);
        scores[key - first] = score;
        maximum = score > maximum ? score : maximum;
    }
    float factor = expf(state->maximum - maximum); /* 0 for the first block */
    for (int64_t i = 0; i < n; i++)
        out[i] *= factor;
    state->sum *= factor;
    state->maximum = maximum;
    for (int64_t key = first; key < last; key++) {
        const float *v =
            read_row(values + (size_t)key * a->cache_row_bytes, a->cache_type, n, buffer);
        float weight = expf(scores[key - first] - maximum);
        state->sum += weight;
        for (int64_t i = 0; i < n; i++)
            out[i] += weight * v[i];
    }
}

static void attend(const pare_attention *a, int64_t token, int64_t head)
{
    size_t plane = (size_t)a->capacity * a->cache_row_bytes;
    size_t offset = (size_t)(head / (a->heads / a->kv_heads)) * plane;
    const char *keys = (const char *)a->keys + offset, *values = (const char *)a->values + offset;
    const float *q = a->q + token * a->q_stride + head * a->head_dim;
    float *out = a->out + token * a->out_stride + head * a->head_dim;

    int64_t end = a->past + token + 1, first = 0;
    if (a->window > 0 && end > a->window)
        first = end - a->window;
    memset(out, 0, (size_t)a->head_dim * sizeof(float));
    running_softmax state = {-INFINITY, 0};
    while (first < end) {
        int64_t last = (first / BLOCK + 1) * BLOCK;
        if (last > end)
            last = end;
        attend_block(a, keys, values, q, out, first, last, &state);
        first = last;
    }
    for (int64_t i = 0; i < a->head_dim; i++)
        out[i] /= state.sum;
}

/* One task for each token and head. A late token costs more than an early one, so early and late
 * ones alternate: any run of tasks costs about as much as another of its length. */
static int64_t attention_tasks(const pare_attention *a)
{
    return a->tokens * a->heads;
}

static void attention(const pare_attention *a, int64_t first, int64_t last, void *scratch)
{
    (void)scratch;
    assert(a->head_dim <= PARE_HEAD_DIM_MAX);
    for (int64_t task = first; task < last; task++) {
        int64_t order = task % a->tokens;
        int64_t token = order % 2 ? a->tokens - 1 - order / 2 : order / 2;
        attend(a, token, task / a->tokens);
    }
}

static int64_t attention_finish_tasks(const pare_attention *a)
{
    (void)a;
    return 0;
}

static void attention_finish(const pare_attention *a, int64_t first, int64_t last, void *scratch)
{
    (void)a, (void)first, (void)last, (void)scratch;
}

static size_t attention_scratch_bytes(const pare_attention *a)
{
    (void)a;
    return 0;
}

void pare_kernels_add_ref_attention(pare_kernels *kernels)
{
    kernels->attention_tasks = attention_tasks;
    kernels->attention = attention;
    kernels->attention_finish_tasks = attention_finish_tasks;
    kernels->attention_finish = attention_finish;
    kernels->attention_scratch_bytes = attention_scratch_bytes;
}
