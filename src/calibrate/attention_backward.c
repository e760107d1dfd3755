/* Attention of whole sequences, and its gradients. A task is one key head of one sequence with all
 * the query heads that share it, so that no two threads add to the same gradient. */
#include "calibrate/backward.h"
#include "quant/linalg.h"

#include <math.h>
#include <string.h>

typedef struct head_view {
    int64_t sequence, kv_head;
    const float *k, *v; /* of the sequence's first token; rows qkv_stride apart */
} head_view;

static head_view view_of(const pare_backward *p, int64_t task)
{
    const pare_decoder *d = &p->model->decoder;
    int64_t sequence = task / d->kv_heads, kv = task % d->kv_heads;
    const float *row = p->qkv + sequence * p->length * p->qkv_stride;
    return (head_view){sequence, kv, row + p->k_offset + kv * d->head_dim,
                       row + p->v_offset + kv * d->head_dim};
}

static int64_t first_key(const pare_decoder *d, int64_t t)
{
    return d->sliding_window && t + 1 > d->sliding_window ? t + 1 - d->sliding_window : 0;
}

static float dot(const float *a, const float *b, int64_t n)
{
    float sums[16] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++)
            sums[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (int k = 0; k < 16; k++)
        sum += sums[k];
    return sum;
}

/* p[first..t]: the softmax of the scores of query q. */
static void attend_row(const pare_backward *pass, const head_view *h, const float *q, int64_t first,
                       int64_t t, float *p)
{
    const pare_decoder *d = &pass->model->decoder;
    float scale = d->attention_scale[pass->layer], largest = -INFINITY, sum = 0;
    for (int64_t j = first; j <= t; j++) {
        p[j] = scale * dot(q, h->k + j * pass->qkv_stride, d->head_dim);
        largest = p[j] > largest ? p[j] : largest;
    }
    for (int64_t j = first; j <= t; j++)
        sum += p[j] = expf(p[j] - largest);
    for (int64_t j = first; j <= t; j++)
        p[j] /= sum;
}

static void forward_share(void *argument, int index, int count)
{
    pare_backward *pass = argument;
    const pare_decoder *d = &pass->model->decoder;
    int64_t group = d->heads / d->kv_heads, n = d->head_dim;
    pare_range tasks = pare_share(pass->sequences * d->kv_heads, 1, index, count);
    float *p = pass->probabilities + (int64_t)index * 2 * pass->length;
    for (int64_t task = tasks.first; task < tasks.last; task++) {
        head_view h = view_of(pass, task);
        for (int64_t t = 0; t < pass->length; t++) {
            int64_t token = h.sequence * pass->length + t, first = first_key(d, t);
            for (int64_t g = 0; g < group; g++) {
                int64_t head = h.kv_head * group + g;
                float *out = pass->attended + token * pass->attention_stride + head * n;
                attend_row(pass, &h, pass->qkv + token * pass->qkv_stride + head * n, first, t, p);
                memset(out, 0, (size_t)n * sizeof *out);
                for (int64_t j = first; j <= t; j++)
                    pare_subtract_scaled(out, h.v + j * pass->qkv_stride, -p[j], n);
            }
        }
    }
}

/* dv_j += p_j do; ds_j = p_j (do.v_j - sum_i p_i do.v_i) scale; dq += ds_j k_j; dk_j += ds_j q. */
static void back_row(const pare_backward *pass, const head_view *h, const float *q,
                     const float *d_out, int64_t first, int64_t t, float *p, float *dq, float *dk,
                     float *dv)
{
    const pare_decoder *d = &pass->model->decoder;
    int64_t n = d->head_dim, stride = pass->qkv_stride;
    float *ds = p + pass->length, mean = 0, scale = d->attention_scale[pass->layer];
    attend_row(pass, h, q, first, t, p);
    for (int64_t j = first; j <= t; j++) {
        ds[j] = dot(d_out, h->v + j * stride, n);
        mean += p[j] * ds[j];
    }
    for (int64_t j = first; j <= t; j++) {
        float s = p[j] * (ds[j] - mean) * scale;
        pare_subtract_scaled(dv + j * stride, d_out, -p[j], n);
        pare_subtract_scaled(dq, h->k + j * stride, -s, n);
        pare_subtract_scaled(dk + j * stride, q, -s, n);
    }
}

static void back_share(void *argument, int index, int count)
{
    pare_backward *pass = argument;
    const pare_decoder *d = &pass->model->decoder;
    int64_t group = d->heads / d->kv_heads, n = d->head_dim;
    pare_range tasks = pare_share(pass->sequences * d->kv_heads, 1, index, count);
    float *p = pass->probabilities + (int64_t)index * 2 * pass->length;
    for (int64_t task = tasks.first; task < tasks.last; task++) {
        head_view h = view_of(pass, task);
        float *rows = pass->d_qkv + h.sequence * pass->length * pass->qkv_stride;
        float *dk = rows + pass->k_offset + h.kv_head * n,
              *dv = rows + pass->v_offset + h.kv_head * n;
        for (int64_t t = 0; t < pass->length; t++) {
            memset(dk + t * pass->qkv_stride, 0, (size_t)n * sizeof *dk);
            memset(dv + t * pass->qkv_stride, 0, (size_t)n * sizeof *dv);
        }
        for (int64_t t = 0; t < pass->length; t++) {
            int64_t token = h.sequence * pass->length + t;
            for (int64_t g = 0; g < group; g++) {
                int64_t head = h.kv_head * group + g;
                float *dq = rows + t * pass->qkv_stride + head * n;
                memset(dq, 0, (size_t)n * sizeof *dq);
                back_row(pass, &h, pass->qkv + token * pass->qkv_stride + head * n,
                         pass->d_attended + token * pass->attention_stride + head * n,
                         first_key(d, t), t, p, dq, dk, dv);
            }
        }
    }
}

void pare_attention_rows(pare_backward *pass)
{
    pare_pool_run(pass->pool, forward_share, pass);
}

void pare_attention_rows_back(pare_backward *pass)
{
    pare_pool_run(pass->pool, back_share, pass);
}
