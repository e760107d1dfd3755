#include "calibrate/backward.h"

#include "base/fail.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pare_status pare_tensor_floats(const pare_kernels *kernels, const pare_tensor *tensor,
                               float **values)
{
    enum { SOME = 64 };
    char *buffer = NULL;
    const void *stored;
    *values = NULL;
    if (!tensor)
        return PARE_OK;
    int64_t rows = pare_tensor_rows(tensor), columns = pare_tensor_columns(tensor);
    size_t row_bytes = pare_tensor_row_bytes(tensor);
    void (*decode)(const void *, float *, int64_t) = kernels->decode_row[tensor->type];
    if (!decode)
        return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' is stored as %s, which cannot be read",
                         tensor->file, tensor->name, pare_type_name(tensor->type));
    pare_status status =
        pare_allocate((size_t)(rows * columns), sizeof(float), tensor->name, values);
    if (status == PARE_OK)
        status = pare_allocate(SOME, row_bytes, tensor->name, &buffer);
    for (int64_t r = 0; r < rows && status == PARE_OK; r += SOME) {
        int64_t n = rows - r < SOME ? rows - r : SOME;
        status = pare_tensor_read(tensor, r, n, buffer, &stored);
        for (int64_t i = 0; i < n && status == PARE_OK; i++)
            decode((const char *)stored + (size_t)i * row_bytes, *values + (r + i) * columns,
                   columns);
    }
    free(buffer);
    if (status != PARE_OK) {
        free(*values);
        *values = NULL;
    }
    return status;
}

/* ---- life ---- */

static void find_matrices(pare_backward *p)
{
    const pare_layer *l = &p->model->layers[p->layer];
    const pare_tensor *all[][2] = {{l->qkv, l->qkv_bias},       {l->q, l->q_bias},
                                   {l->k, l->k_bias},           {l->v, l->v_bias},
                                   {l->output, l->output_bias}, {l->gate, l->gate_bias},
                                   {l->up, l->up_bias},         {l->down, l->down_bias}};
    p->count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!all[i][0])
            continue;
        if (all[i][0] == l->gate || (all[i][0] == l->up && !l->gate))
            p->first_up = p->count;
        p->matrices[p->count].tensor = all[i][0];
        p->matrices[p->count++].bias_tensor = all[i][1];
    }
}

static pare_status make_angles(pare_backward *p)
{
    const pare_decoder *d = &p->model->decoder;
    int64_t half = d->position == PARE_POSITION_ROPE ? d->rope_dims / 2 : 0;
    size_t n = (size_t)(p->length * half) + 1;
    pare_status status;
    PARE_TRY(pare_allocate(n, sizeof(float), "angles", &p->cosines));
    PARE_TRY(pare_allocate(n, sizeof(float), "angles", &p->sines));
    PARE_TRY(pare_allocate(n, sizeof(float), "angles", &p->back_sines));
    for (int64_t t = 0; t < p->length; t++)
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)t * d->rope_frequencies[i];
            p->cosines[t * half + i] = (float)(cos(angle) * d->rope_magnitude);
            p->sines[t * half + i] = (float)(sin(angle) * d->rope_magnitude);
            p->back_sines[t * half + i] = -p->sines[t * half + i];
        }
fail:
    return status;
}

static pare_status make_region(pare_backward *p)
{
    const struct {
        float **slot;
        int64_t floats;
    } parts[] = {
        {&p->normed, p->hidden_stride},   {&p->qkv, p->qkv_stride},
        {&p->raw, p->qkv_stride},         {&p->attended, p->attention_stride},
        {&p->middle, p->hidden_stride},   {&p->normed_up, p->hidden_stride},
        {&p->gate, p->mlp_stride},        {&p->up, p->mlp_stride},
        {&p->activated, p->mlp_stride},   {&p->d_normed, p->hidden_stride},
        {&p->d_qkv, p->qkv_stride},       {&p->d_attended, p->attention_stride},
        {&p->d_gate, p->mlp_stride},      {&p->d_up, p->mlp_stride},
        {&p->d_activated, p->mlp_stride}, {&p->spare, p->hidden_stride},
    };
    enum { PARTS = sizeof parts / sizeof *parts };
    size_t total = (size_t)pare_pool_threads(p->pool) * 2 * (size_t)p->length;
    for (int i = 0; i < PARTS; i++)
        total += (size_t)(p->tokens * parts[i].floats);
    p->region_bytes = total * sizeof(float);
    pare_status status = pare_pages_allocate(p->region_bytes, "a backward pass", &p->region);
    if (status != PARE_OK)
        return status;
    float *next = p->region;
    for (int i = 0; i < PARTS; next += p->tokens * parts[i++].floats)
        *parts[i].slot = next;
    p->probabilities = next;
    return PARE_OK;
}

pare_status pare_backward_create(const pare_model *model, pare_pool *pool, int64_t sequences,
                                 int64_t length, pare_backward *pass)
{
    const pare_decoder *d = &model->decoder;
    *pass = (pare_backward){.model = model,
                            .kernels = pare_kernels_get(pare_isa_best()),
                            .pool = pool,
                            .sequences = sequences,
                            .length = length,
                            .tokens = sequences * length,
                            .layer = -1};
    bool fused = model->layers[0].qkv != NULL;
    int64_t q = d->heads * d->head_dim, kv = d->kv_heads * d->head_dim;
    pass->hidden_stride = pare_dense_stride(d->hidden);
    pass->attention_stride = pare_dense_stride(q);
    pass->mlp_stride = pare_dense_stride(d->mlp_hidden);
    pass->k_offset = fused ? q : pare_dense_stride(q);
    pass->v_offset = pass->k_offset + (fused ? kv : pare_dense_stride(kv));
    pass->qkv_stride = pare_dense_stride(pass->v_offset + kv);
    pare_status status = make_angles(pass);
    if (status == PARE_OK)
        status = make_region(pass);
    if (status != PARE_OK)
        pare_backward_free(pass);
    return status;
}

static void forget_vectors(pare_backward *pass)
{
    for (int i = 0; i < PARE_BLOCK_MATRICES; i++) {
        free(pass->matrices[i].bias);
        pass->matrices[i].bias = NULL;
    }
    for (int i = 0; i < 4; i++) {
        free(pass->norms[i]);
        pass->norms[i] = NULL;
    }
    free(pass->q_norm);
    free(pass->k_norm);
    pass->q_norm = pass->k_norm = NULL;
}

void pare_backward_free(pare_backward *pass)
{
    forget_vectors(pass);
    for (int i = 0; i < PARE_BLOCK_MATRICES; i++) {
        pare_dense_free(&pass->matrices[i].forward);
        pare_dense_free(&pass->matrices[i].backward);
    }
    free(pass->cosines);
    free(pass->sines);
    free(pass->back_sines);
    pare_pages_free(pass->region, pass->region_bytes);
    pare_dense_scratch_free(&pass->scratch);
    *pass = (pare_backward){0};
}

pare_status pare_backward_load(pare_backward *pass, int64_t layer, bool backward)
{
    const pare_layer *l = &pass->model->layers[layer];
    const pare_kernels *k = pass->kernels;
    const pare_tensor *norms[] = {l->attention_norm, l->attention_norm_bias, l->mlp_norm,
                                  l->mlp_norm_bias};
    float *weights = NULL;
    pare_status status;
    forget_vectors(pass);
    pass->layer = layer;
    find_matrices(pass);
    for (int i = 0; i < pass->count; i++) {
        pare_backward_matrix *m = &pass->matrices[i];
        int64_t rows = pare_tensor_rows(m->tensor), columns = pare_tensor_columns(m->tensor);
        PARE_TRY(pare_tensor_floats(k, m->tensor, &weights));
        PARE_TRY(pare_dense_fill(&m->forward, k, pass->pool, weights, rows, columns, false));
        if (backward)
            PARE_TRY(pare_dense_fill(&m->backward, k, pass->pool, weights, rows, columns, true));
        PARE_TRY(pare_tensor_floats(k, m->bias_tensor, &m->bias));
        free(weights);
        weights = NULL;
    }
    for (int i = 0; i < 4; i++)
        PARE_TRY(pare_tensor_floats(k, norms[i], &pass->norms[i]));
    PARE_TRY(pare_tensor_floats(k, l->q_norm, &pass->q_norm));
    PARE_TRY(pare_tensor_floats(k, l->k_norm, &pass->k_norm));
fail:
    free(weights);
    return status;
}

/* ---- per token ---- */

typedef struct token_job {
    pare_backward *pass;
    void (*each)(pare_backward *pass, int64_t token, void *argument);
    void *argument;
} token_job;

static void token_share(void *argument, int index, int count)
{
    const token_job *job = argument;
    pare_range own = pare_share(job->pass->tokens, 1, index, count);
    for (int64_t t = own.first; t < own.last; t++)
        job->each(job->pass, t, job->argument);
}

static void for_each_token(pare_backward *pass,
                           void (*each)(pare_backward *pass, int64_t token, void *argument),
                           void *argument)
{
    token_job job = {pass, each, argument};
    pare_pool_run(pass->pool, token_share, &job);
}

typedef struct norm_job {
    const pare_decoder *decoder;
    const pare_kernels *kernels;
    const float *weight, *bias, *x, *dy;
    float *out;
    int64_t stride, tokens;
} norm_job;

static void norm_share(void *argument, int index, int count)
{
    const norm_job *j = argument;
    const pare_decoder *d = j->decoder;
    pare_range own = pare_share(j->tokens, 1, index, count);
    for (int64_t t = own.first; t < own.last; t++) {
        const float *x = j->x + t * j->stride;
        float *y = j->out + t * j->stride;
        if (d->norm == PARE_NORM_RMS)
            j->kernels->rms_norm(y, x, j->weight, d->hidden, d->norm_epsilon);
        else
            j->kernels->layer_norm(y, x, j->weight, j->bias, d->hidden, d->norm_epsilon);
    }
}

/* y = w (x - m) r with r = 1 / sqrt(mean (x - m)^2 + e), m = 0 for RMS norms:
 * dx = r (g - mean g - z mean(g z)) with g = w dy, z = (x - m) r, without mean g for RMS norms. */
static void norm_back(bool rms, double epsilon, const float *weight, const float *x,
                      const float *dy, int64_t n, float *dx, bool add)
{
    double mean = 0, square = 0, sum_g = 0, sum_gz = 0;
    for (int64_t i = 0; i < n && !rms; i++)
        mean += x[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    double r = 1 / sqrt(square / (double)n + epsilon);
    for (int64_t i = 0; i < n; i++) {
        double g = (double)weight[i] * dy[i];
        sum_g += g;
        sum_gz += g * (x[i] - mean) * r;
    }
    sum_g = rms ? 0 : sum_g / (double)n;
    sum_gz /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        double g = (double)weight[i] * dy[i];
        float value = (float)(r * (g - sum_g - (x[i] - mean) * r * sum_gz));
        dx[i] = add ? dx[i] + value : value;
    }
}

static void norm_back_share(void *argument, int index, int count)
{
    const norm_job *j = argument;
    const pare_decoder *d = j->decoder;
    pare_range own = pare_share(j->tokens, 1, index, count);
    for (int64_t t = own.first; t < own.last; t++)
        norm_back(d->norm == PARE_NORM_RMS, d->norm_epsilon, j->weight, j->x + t * j->stride,
                  j->dy + t * j->stride, d->hidden, j->out + t * j->stride, true);
}

void pare_norm_rows(const pare_decoder *decoder, const pare_kernels *kernels, pare_pool *pool,
                    const float *weight, const float *bias, const float *x, int64_t stride,
                    int64_t tokens, float *y)
{
    norm_job job = {decoder, kernels, weight, bias, x, NULL, y, stride, tokens};
    pare_pool_run(pool, norm_share, &job);
}

void pare_norm_rows_back(const pare_decoder *decoder, pare_pool *pool, const float *weight,
                         const float *x, const float *dy, int64_t stride, int64_t tokens, float *dx)
{
    norm_job job = {decoder, NULL, weight, NULL, x, dy, dx, stride, tokens};
    pare_pool_run(pool, norm_back_share, &job);
}

/* q and k: their norm, then their rotation. The values before are kept where a norm needs them. */
static void rotate(pare_backward *p, int64_t token, void *argument)
{
    const pare_decoder *d = &p->model->decoder;
    int64_t half = d->rope_dims / 2, t = token % p->length;
    (void)argument;
    for (int64_t h = 0; h < d->heads + d->kv_heads; h++) {
        bool is_q = h < d->heads;
        float *head = p->qkv + token * p->qkv_stride +
                      (is_q ? h * d->head_dim : p->k_offset + (h - d->heads) * d->head_dim);
        const float *norm = is_q ? p->q_norm : p->k_norm;
        if (norm) {
            memcpy(p->raw + (head - p->qkv), head, (size_t)d->head_dim * sizeof *head);
            p->kernels->rms_norm(head, head, norm, d->head_dim, d->norm_epsilon);
        }
        if (d->position == PARE_POSITION_ROPE)
            p->kernels->rope(head, p->cosines + t * half, p->sines + t * half, d->rope_dims,
                             d->rope_pairs);
    }
}

static void rotate_back(pare_backward *p, int64_t token, void *argument)
{
    const pare_decoder *d = &p->model->decoder;
    int64_t half = d->rope_dims / 2, t = token % p->length;
    (void)argument;
    for (int64_t h = 0; h < d->heads + d->kv_heads; h++) {
        bool is_q = h < d->heads;
        float *head = p->d_qkv + token * p->qkv_stride +
                      (is_q ? h * d->head_dim : p->k_offset + (h - d->heads) * d->head_dim);
        const float *norm = is_q ? p->q_norm : p->k_norm;
        if (d->position == PARE_POSITION_ROPE)
            p->kernels->rope(head, p->cosines + t * half, p->back_sines + t * half, d->rope_dims,
                             d->rope_pairs);
        if (norm)
            norm_back(true, d->norm_epsilon, norm, p->raw + (head - p->d_qkv), head, d->head_dim,
                      head, false);
    }
}

static float activation(pare_mlp_activation kind, float x, float *slope)
{
    const double root = 0.70710678118654752440, c = 0.79788456080286535588; /* sqrt(2 / pi) */
    double v = x, f, s;
    switch (kind) {
    case PARE_MLP_SILU:
        s = 1 / (1 + exp(-v));
        *slope = (float)(s * (1 + v * (1 - s)));
        return (float)(v * s);
    case PARE_MLP_GELU:
        f = 0.5 * (1 + erf(v * root));
        *slope = (float)(f + v * 0.39894228040143267794 * exp(-0.5 * v * v));
        return (float)(v * f);
    case PARE_MLP_GELU_TANH:
        s = tanh(c * (v + 0.044715 * v * v * v));
        *slope = (float)(0.5 * (1 + s) + 0.5 * v * (1 - s * s) * c * (1 + 3 * 0.044715 * v * v));
        return (float)(0.5 * v * (1 + s));
    case PARE_MLP_RELU:
        break;
    }
    *slope = x > 0;
    return x > 0 ? x : 0;
}

static void activate(pare_backward *p, int64_t token, void *argument)
{
    const pare_decoder *d = &p->model->decoder;
    float slope;
    const float *gate = p->gate + token * p->mlp_stride, *up = p->up + token * p->mlp_stride;
    float *y = p->activated + token * p->mlp_stride;
    (void)argument;
    for (int64_t i = 0; i < d->mlp_hidden; i++)
        y[i] = activation(d->activation, gate[i], &slope) * (d->gated_mlp ? up[i] : 1);
}

static void activate_back(pare_backward *p, int64_t token, void *argument)
{
    const pare_decoder *d = &p->model->decoder;
    int64_t at = token * p->mlp_stride;
    (void)argument;
    for (int64_t i = at; i < at + d->mlp_hidden; i++) {
        float slope, value = activation(d->activation, p->gate[i], &slope);
        p->d_up[i] = p->d_activated[i] * value;
        p->d_gate[i] = p->d_activated[i] * slope * (d->gated_mlp ? p->up[i] : 1);
    }
}

static void add_token(pare_backward *p, int64_t token, void *argument)
{
    float *const *pair = argument; /* y += x */
    p->kernels->add(pair[0] + token * p->hidden_stride, pair[1] + token * p->hidden_stride,
                    p->model->decoder.hidden);
}

static void add_rows(pare_backward *p, float *y, const float *x)
{
    for_each_token(p, add_token, (const float *[]){y, x});
}

/* ---- the pass ---- */

static float *qkv_part(const pare_backward *p, float *base, int m)
{
    return base + (m == 0 ? 0 : m == 1 ? p->k_offset : p->v_offset);
}

static pare_status multiply(pare_backward *p, int m, const float *x, int64_t x_stride, float *y,
                            int64_t y_stride)
{
    const pare_backward_matrix *matrix = &p->matrices[m];
    return pare_dense_multiply(&matrix->forward, p->pool, &p->scratch, x, x_stride, p->tokens,
                               matrix->bias, y, y_stride);
}

static pare_status multiply_back(pare_backward *p, int m, const float *d, int64_t d_stride,
                                 float *dx, int64_t dx_stride)
{
    return pare_dense_multiply(&p->matrices[m].backward, p->pool, &p->scratch, d, d_stride,
                               p->tokens, NULL, dx, dx_stride);
}

pare_status pare_backward_forward(pare_backward *p, const float *x, float *y)
{
    const pare_decoder *d = &p->model->decoder;
    const int up = p->first_up, output = up - 1, down = p->count - 1;
    const size_t bytes = (size_t)(p->tokens * p->hidden_stride) * sizeof *x;
    pare_status status;
    pare_norm_rows(d, p->kernels, p->pool, p->norms[0], p->norms[1], x, p->hidden_stride, p->tokens,
                   p->normed);
    for (int m = 0; m < output; m++)
        PARE_TRY(
            multiply(p, m, p->normed, p->hidden_stride, qkv_part(p, p->qkv, m), p->qkv_stride));
    for_each_token(p, rotate, NULL);
    pare_attention_rows(p);
    PARE_TRY(multiply(p, output, p->attended, p->attention_stride, p->middle, p->hidden_stride));
    add_rows(p, p->middle, x);
    pare_norm_rows(d, p->kernels, p->pool, p->norms[2], p->norms[3], p->middle, p->hidden_stride,
                   p->tokens, p->normed_up);
    PARE_TRY(multiply(p, up, p->normed_up, p->hidden_stride, p->gate, p->mlp_stride));
    if (d->gated_mlp)
        PARE_TRY(multiply(p, up + 1, p->normed_up, p->hidden_stride, p->up, p->mlp_stride));
    for_each_token(p, activate, NULL);
    if (y) {
        PARE_TRY(multiply(p, down, p->activated, p->mlp_stride, p->spare, p->hidden_stride));
        memmove(y, p->middle, bytes);
        add_rows(p, y, p->spare);
    }
fail:
    return status;
}

/* From the gradient of the block's output to that of what stands between attention and MLP. */
static pare_status mlp_back(pare_backward *p, float *d, pare_backward_tap tap, void *user)
{
    const int up = p->first_up, down = p->count - 1;
    const bool gated = p->model->decoder.gated_mlp;
    pare_status status;
    PARE_TRY(tap(user, p->matrices[down].tensor, d, p->hidden_stride));
    PARE_TRY(multiply_back(p, down, d, p->hidden_stride, p->d_activated, p->mlp_stride));
    for_each_token(p, activate_back, NULL);
    PARE_TRY(tap(user, p->matrices[up].tensor, p->d_gate, p->mlp_stride));
    PARE_TRY(multiply_back(p, up, p->d_gate, p->mlp_stride, p->d_normed, p->hidden_stride));
    if (gated) {
        PARE_TRY(tap(user, p->matrices[up + 1].tensor, p->d_up, p->mlp_stride));
        PARE_TRY(multiply_back(p, up + 1, p->d_up, p->mlp_stride, p->spare, p->hidden_stride));
        add_rows(p, p->d_normed, p->spare);
    }
    pare_norm_rows_back(&p->model->decoder, p->pool, p->norms[2], p->middle, p->d_normed,
                        p->hidden_stride, p->tokens, d);
fail:
    return status;
}

pare_status pare_backward_run(pare_backward *p, const float *x, float *d, pare_backward_tap tap,
                              void *user)
{
    const int output = p->first_up - 1;
    pare_status status;
    PARE_TRY(pare_backward_forward(p, x, NULL));
    PARE_TRY(mlp_back(p, d, tap, user));
    PARE_TRY(tap(user, p->matrices[output].tensor, d, p->hidden_stride));
    PARE_TRY(multiply_back(p, output, d, p->hidden_stride, p->d_attended, p->attention_stride));
    pare_attention_rows_back(p);
    for_each_token(p, rotate_back, NULL);
    for (int m = 0; m < output; m++) {
        const float *part = qkv_part(p, p->d_qkv, m);
        PARE_TRY(tap(user, p->matrices[m].tensor, part, p->qkv_stride));
        PARE_TRY(
            multiply_back(p, m, part, p->qkv_stride, m ? p->spare : p->d_normed, p->hidden_stride));
        if (m)
            add_rows(p, p->d_normed, p->spare);
    }
    pare_norm_rows_back(&p->model->decoder, p->pool, p->norms[0], x, p->d_normed, p->hidden_stride,
                        p->tokens, d);
fail:
    return status;
}
