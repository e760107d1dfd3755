/* Calibration on the GPU (run/calibrator.h). The present block is a session's state of one layer
 * with FP32 weights; what lies between its linear layers is kept for all tokens: the residual
 * stream, and what attention gathered. */
#include "run/cuda.h"

#include "base/fail.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CALIBRATE_ROWS = 65535 }; /* of one launch */

typedef struct calibrator {
    const pare_model *model;
    gpu_context gpu;
    int64_t sequences, length, hidden_stride, attention_stride, widest;
    cuda_memory hidden, attended; /* of all tokens */
    cuda_state *block;
    pare_block_input at; /* what the states are in front of */

    cuda_memory rows;   /* [chunk] rows of what an input reads */
    cuda_memory turned; /* gpu_add_gram's scratch */
    cuda_memory sums, grams[PARE_BLOCK_INPUTS];
    cuda_memory order, factor, scratch; /* of the factor of a Hessian */
    pare_block_input factored;          /* whose factor that is, PARE_BLOCK_INPUTS: nobody's */
    float added;                        /* with this on its diagonal */
    cuda_memory w, work, tables, codes, errors; /* of error feedback, and of quadratic forms */
} calibrator;

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- memory ---- */

static void drop(calibrator *c, cuda_memory *memory)
{
    gpu_release(&c->gpu, memory->data, memory->bytes);
    *memory = (cuda_memory){0};
}

/* At least so many bytes; what was there is lost where it grows. */
static pare_status room(calibrator *c, cuda_memory *memory, size_t bytes, const char *what)
{
    if (memory->bytes >= bytes)
        return PARE_OK;
    drop(c, memory);
    pare_status status = gpu_allocate(&c->gpu, bytes, what, &memory->data);
    if (status != PARE_OK)
        return pare_fail_in(status, "calibration (fewer --sequences take less)");
    memory->bytes = bytes;
    return PARE_OK;
}

static int64_t columns_of(const pare_decoder *d, pare_block_input input)
{
    return input == PARE_BLOCK_OUTPUT ? d->heads * d->head_dim
           : input == PARE_BLOCK_DOWN ? d->mlp_hidden
                                      : d->hidden;
}

/* Everything but the states: one block in FP32 and as planes, its statistics, a slice of rows. */
static double block_bytes(const calibrator *c)
{
    const pare_decoder *d = &c->model->decoder;
    double q = (double)(d->heads * d->head_dim), kv = (double)(d->kv_heads * d->head_dim);
    double hidden = (double)d->hidden, mlp = (double)d->mlp_hidden, widest = (double)c->widest;
    double chunk = (double)(c->length < CUDA_CHUNK ? c->length : CUDA_CHUNK);
    double weights = hidden * (2 * q + 2 * kv + (d->gated_mlp ? 3 : 2) * mlp) * 4;
    double rows = chunk * ((q + 2 * kv + q + 2 * mlp) * 4 + widest * (6 + 4 + 6));
    double statistics = (2 * hidden * hidden + q * q + mlp * mlp + 2 * widest * widest) * 4;
    return weights + 3 * (double)CUDA_SLICE * 2 + rows + statistics + 3 * (double)PARE_GPTQ_SLICE +
           (double)CUDA_STAGING + 2 * kv * (double)c->length * 4;
}

static pare_status check_room(const calibrator *c)
{
    size_t free_bytes = 0, total = 0;
    double sequence = (double)c->length * (double)(c->hidden_stride + c->attention_stride) * 4;
    double states = sequence * (double)c->sequences, block = block_bytes(c);
    pare_status status = gpu_check(cudaMemGetInfo(&free_bytes, &total), "asking for free memory");
    if (status != PARE_OK || states + block <= (double)free_bytes)
        return status;
    double fits = floor(((double)free_bytes - block) / sequence);
    return pare_fail(PARE_OUT_OF_MEMORY,
                     "GPU: out of memory: calibrating %s needs %.2f GB for a block and its "
                     "statistics, %.2f for the states of %lld sequences of %lld tokens; %.2f of "
                     "%.2f GB are free: use at most %.0f sequences, or the CPU",
                     c->model->info.path, block / 1e9, states / 1e9, (long long)c->sequences,
                     (long long)c->length, (double)free_bytes / 1e9, (double)total / 1e9,
                     fits > 0 ? fits : 0);
}

static void forget_block(calibrator *c)
{
    if (c->block) {
        size_t held = c->block->gpu.allocated;
        cuda_free_memory(c->block);
        c->gpu.allocated -= held;
    }
    free(c->block);
    c->block = NULL;
    for (int i = 0; i < PARE_BLOCK_INPUTS; i++)
        drop(c, &c->grams[i]);
}

static void calibrator_free(void *state)
{
    calibrator *c = state;
    if (!c)
        return;
    forget_block(c);
    cuda_memory *all[] = {&c->hidden, &c->attended, &c->rows,    &c->turned, &c->sums,
                          &c->order,  &c->factor,   &c->scratch, &c->w,      &c->work,
                          &c->tables, &c->codes,    &c->errors};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(c, all[i]);
    gpu_close(&c->gpu);
    free(c);
}

static pare_status calibrator_create(const pare_model *model, const char *device, int64_t sequences,
                                     int64_t length, void **state)
{
    const pare_decoder *d = &model->decoder;
    calibrator *c = NULL;
    int number;
    pare_status status;
    *state = NULL;
    if (d->head_dim > GPU_HEAD_DIM_MAX)
        return pare_fail(PARE_UNSUPPORTED, "%s: heads of %lld elements: at most %d on a GPU",
                         model->info.path, (long long)d->head_dim, GPU_HEAD_DIM_MAX);
    PARE_TRY(cuda_parse_device(device, &number));
    PARE_TRY(pare_allocate(1, sizeof *c, "calibration", &c));
    c->model = model;
    c->sequences = sequences;
    c->length = length;
    c->hidden_stride = cuda_stride(d->hidden);
    c->attention_stride = cuda_stride(d->heads * d->head_dim);
    c->widest = larger(d->hidden, larger(d->heads * d->head_dim, d->mlp_hidden));
    PARE_TRY(gpu_open(&c->gpu, number));
    if (c->gpu.major < 8) {
        status = pare_fail(PARE_UNSUPPORTED,
                           "calibration on a GPU needs compute capability 8.0, %s has %d.%d: use "
                           "the CPU",
                           c->gpu.name, c->gpu.major, c->gpu.minor);
        goto fail;
    }
    PARE_TRY(check_room(c));
    size_t tokens = (size_t)(sequences * length);
    PARE_TRY(
        room(c, &c->hidden, tokens * (size_t)c->hidden_stride * sizeof(float), "hidden states"));
    PARE_TRY(room(c, &c->attended, tokens * (size_t)c->attention_stride * sizeof(float),
                  "hidden states"));
    *state = c;
    return PARE_OK;
fail:
    calibrator_free(c);
    return status;
}

static float *states_of(const calibrator *c, int64_t sequence, int64_t token)
{
    return (float *)c->hidden.data + (sequence * c->length + token) * c->hidden_stride;
}

static pare_status calibrator_put(void *state, int64_t sequence, const float *hidden,
                                  int64_t stride)
{
    calibrator *c = state;
    pare_status status;
    PARE_TRY(gpu_wait(&c->gpu));
    PARE_TRY(
        gpu_check(cudaMemcpy2D(states_of(c, sequence, 0), (size_t)c->hidden_stride * sizeof(float),
                               hidden, (size_t)stride * sizeof(float),
                               (size_t)c->model->decoder.hidden * sizeof(float), (size_t)c->length,
                               cudaMemcpyHostToDevice),
                  "copying hidden states"));
fail:
    return status;
}

static pare_status calibrator_load(void *state, const pare_model *block)
{
    calibrator *c = state;
    cuda_state *cuda;
    pare_status status;
    forget_block(c);
    PARE_TRY(pare_allocate(1, sizeof *cuda, "a block", &cuda));
    c->block = cuda;
    cuda->model = block;
    cuda->decoder = &block->decoder;
    cuda->context = c->length;
    cuda->batch = 1;
    cuda->kv_type = PARE_TYPE_F32;
    cuda->gpu = c->gpu;
    cuda->gpu.allocated = 0;
    cuda_set_strides(cuda);
    PARE_TRY(cuda_prepare_layers(cuda));
    PARE_TRY(cuda_allocate_cache(cuda));
    PARE_TRY(cuda_allocate_scratch(cuda));
    c->at = PARE_BLOCK_QKV;
fail:
    if (c->block)
        c->gpu.allocated += c->block->gpu.allocated;
    return status;
}

/* ---- the pass ---- */

/* The piece of a sequence that goes through the block at once. */
typedef struct piece {
    int64_t sequence, first, tokens;
    float *x; /* its residual stream */
} piece;

static bool next_piece(const calibrator *c, piece *p)
{
    p->first += p->tokens;
    if (p->first == c->length) {
        p->sequence++;
        p->first = 0;
    }
    if (p->sequence == c->sequences)
        return false;
    p->tokens = c->length - p->first < c->block->chunk ? c->length - p->first : c->block->chunk;
    p->x = states_of(c, p->sequence, p->first);
    c->block->attended =
        (float *)c->attended.data + (p->sequence * c->length + p->first) * c->attention_stride;
    return true;
}

/* From the input that the states are in front of to the next one. */
static pare_status step(calibrator *c)
{
    pare_status status = PARE_OK;
    for (piece p = {0}; next_piece(c, &p);) {
        if (c->at == PARE_BLOCK_QKV)
            PARE_TRY(cuda_queue_attended(c->block, 0, p.x, p.tokens, NULL, p.first));
        else if (c->at == PARE_BLOCK_OUTPUT)
            PARE_TRY(cuda_queue_output(c->block, 0, p.x, p.tokens));
        else if (c->at == PARE_BLOCK_DOWN)
            PARE_TRY(cuda_queue_mlp(c->block, 0, p.x, p.tokens));
    }
    c->at++;
fail:
    return status;
}

/* What an input reads, as rows of `rows` (stride: cuda_stride of its columns). */
static pare_status make_rows(calibrator *c, pare_block_input input, const piece *p)
{
    cuda_state *cuda = c->block;
    const cuda_layer *layer = cuda->layers;
    const int64_t columns = columns_of(cuda->decoder, input);
    const cuda_norm *norm = input == PARE_BLOCK_QKV ? &layer->attention_norm : &layer->mlp_norm;
    const float *factors = input == PARE_BLOCK_OUTPUT ? layer->output.factors
                           : input == PARE_BLOCK_DOWN ? layer->down.factors
                                                      : NULL;
    gpu_planes to = {c->rows.data, GPU_F32, 1, p->tokens, cuda_stride(columns)};
    pare_status status;
    if (input == PARE_BLOCK_DOWN)
        PARE_TRY(cuda_queue_activated(cuda, 0, p->x, p->tokens, &to));
    else if (input == PARE_BLOCK_OUTPUT)
        PARE_TRY(gpu_norm_rows(&c->gpu, cuda->attended, cuda->attention_stride, p->tokens, columns,
                               GPU_NORM_NONE, NULL, NULL, 0, &to));
    else
        PARE_TRY(gpu_norm_rows(&c->gpu, p->x, cuda->hidden_stride, p->tokens, columns,
                               cuda_norm_kind(cuda), norm->weight, norm->bias,
                               cuda->decoder->norm_epsilon, &to));
    if (factors)
        PARE_TRY(gpu_scale_rows(&c->gpu, to.data, to.stride, p->tokens, columns, factors));
fail:
    return status;
}

static pare_status copy_out(calibrator *c, void *to, const void *from, size_t bytes)
{
    pare_status status;
    PARE_TRY(gpu_wait(&c->gpu));
    PARE_TRY(gpu_check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copying statistics"));
fail:
    return status;
}

/* Rows of the sample that are tokens of this piece. */
static pare_status take_sample(calibrator *c, const pare_input_sums *sums, const piece *p,
                               int64_t columns)
{
    const int64_t all = c->sequences * c->length, first = p->sequence * c->length + p->first;
    pare_status status = PARE_OK;
    for (int64_t k = (first * sums->sample_rows + all - 1) / all; k < sums->sample_rows; k++) {
        int64_t token = k * all / sums->sample_rows - first;
        if (token >= p->tokens)
            break;
        if (token >= 0)
            PARE_TRY(copy_out(c, sums->sample + k * columns,
                              (float *)c->rows.data + token * cuda_stride(columns),
                              (size_t)columns * sizeof(float)));
    }
fail:
    return status;
}

static pare_status fetch_sums(calibrator *c, const pare_input_sums *sums,
                              const gpu_column_sums *columns_of_text, float *gram, int64_t columns)
{
    const size_t n = (size_t)columns;
    pare_status status;
    if (gram)
        PARE_TRY(gpu_mirror(&c->gpu, gram, columns));
    PARE_TRY(copy_out(c, sums->magnitudes, columns_of_text->magnitudes, n * sizeof(double)));
    PARE_TRY(copy_out(c, sums->squares, columns_of_text->squares, n * sizeof(double)));
    PARE_TRY(copy_out(c, sums->largest, columns_of_text->largest, n * sizeof(float)));
fail:
    return status;
}

static pare_status add_piece(calibrator *c, pare_block_input input, const pare_input_sums *sums,
                             const gpu_column_sums *to, float *gram, const piece *p)
{
    const int64_t columns = columns_of(c->block->decoder, input), stride = cuda_stride(columns);
    pare_status status;
    PARE_TRY(make_rows(c, input, p));
    PARE_TRY(gpu_add_columns(&c->gpu, c->rows.data, stride, p->tokens, columns, to));
    if (gram)
        PARE_TRY(
            gpu_add_gram(&c->gpu, c->rows.data, stride, p->tokens, columns, c->turned.data, gram));
    if (sums->sample)
        PARE_TRY(take_sample(c, sums, p, columns));
fail:
    return status;
}

static pare_status calibrator_show(void *state, pare_block_input input, const pare_input_sums *sums)
{
    calibrator *c = state;
    const int64_t columns = columns_of(c->block->decoder, input), chunk = c->block->chunk;
    const size_t n = (size_t)columns, own = n * 5 * sizeof(float); /* two doubles and a float */
    float *gram = NULL;
    pare_status status = PARE_OK;
    c->factored = PARE_BLOCK_INPUTS;
    while (c->at < input)
        PARE_TRY(step(c));
    PARE_TRY(room(c, &c->rows, (size_t)(chunk * cuda_stride(c->widest)) * sizeof(float), "rows"));
    PARE_TRY(room(c, &c->sums, (size_t)c->widest * 5 * sizeof(float), "sums of columns"));
    PARE_TRY(gpu_check(cudaMemsetAsync(c->sums.data, 0, own, c->gpu.stream), "clearing sums"));
    if (sums->keep_gram) {
        PARE_TRY(room(c, &c->turned, gpu_gram_scratch(chunk, c->widest), "a Gram matrix"));
        PARE_TRY(room(c, &c->grams[input], n * n * sizeof(float), "a Gram matrix"));
        gram = c->grams[input].data;
        PARE_TRY(gpu_check(cudaMemsetAsync(gram, 0, n * n * sizeof(float), c->gpu.stream),
                           "clearing sums"));
    }
    double *doubles = c->sums.data;
    gpu_column_sums to = {doubles, doubles + n, (float *)(doubles + 2 * n)};
    for (piece p = {0}; next_piece(c, &p);)
        PARE_TRY(add_piece(c, input, sums, &to, gram, &p));
    PARE_TRY(fetch_sums(c, sums, &to, gram, columns));
fail:
    return status;
}

static pare_status calibrator_pass(void *state)
{
    calibrator *c = state;
    pare_status status = PARE_OK;
    while (c->at < PARE_BLOCK_INPUTS)
        PARE_TRY(step(c));
    PARE_TRY(gpu_wait(&c->gpu));
fail:
    return status;
}

/* ---- error feedback ---- */

static pare_status calibrator_factor(void *state, pare_block_input input, const int32_t *order,
                                     float added)
{
    calibrator *c = state;
    const int64_t n = columns_of(c->block->decoder, input);
    const size_t square = (size_t)n * (size_t)n * sizeof(float);
    int32_t *bad, worst;
    pare_status status;
    if (c->factored == input && c->added == added)
        return PARE_OK; /* of another matrix that reads the same */
    PARE_TRY(room(c, &c->order, (size_t)n * sizeof *order, "an order of columns"));
    PARE_TRY(room(c, &c->factor, square, "GPTQ's factor"));
    PARE_TRY(room(c, &c->scratch, gpu_factor_scratch(n), "GPTQ's Hessian"));
    PARE_TRY(gpu_upload(&c->gpu, c->order.data, order, (size_t)n * sizeof *order));
    PARE_TRY(gpu_factor(&c->gpu, c->grams[input].data, c->order.data, n, added, c->scratch.data,
                        c->factor.data, &bad));
    PARE_TRY(copy_out(c, &worst, bad, sizeof worst));
    if (worst < n)
        status = pare_fail(PARE_LIMIT, "the Hessian is not positive definite at column %lld",
                           (long long)(n - 1 - worst));
    c->factored = status == PARE_OK ? input : PARE_BLOCK_INPUTS;
    c->added = added;
fail:
    return status;
}

static pare_status calibrator_feedback(void *state, pare_block_input input, int index,
                                       const pare_gptq_rows *rows)
{
    calibrator *c = state;
    const size_t count = (size_t)(rows->rows * rows->columns), number = sizeof(float);
    const size_t table = (size_t)(rows->rows * rows->groups * rows->levels) * number;
    int64_t first, each;
    gpu_weights *to = cuda_place_of(c->block, 0, input, index, &first, &each);
    pare_status status;
    PARE_TRY(room(c, &c->w, count * number, "rows"));
    PARE_TRY(room(c, &c->work, count * number, "rows"));
    PARE_TRY(room(c, &c->tables, table, "tables of codes"));
    PARE_TRY(room(c, &c->codes, count, "codes"));
    PARE_TRY(room(c, &c->errors, (size_t)rows->rows * GPU_FEEDBACK_BLOCK * number, "errors"));
    gpu_feedback_args args = {.rows = rows->rows,
                              .columns = rows->columns,
                              .w = c->w.data,
                              .u = gpu_factor_view(c->factor.data, rows->columns),
                              .order = c->order.data,
                              .tables = c->tables.data,
                              .group = rows->group,
                              .groups = rows->groups,
                              .levels = rows->levels,
                              .codes = c->codes.data,
                              .work = c->work.data,
                              .errors = c->errors.data};
    PARE_TRY(gpu_upload(&c->gpu, c->w.data, rows->w, count * number));
    PARE_TRY(gpu_upload(&c->gpu, c->tables.data, rows->tables, table));
    PARE_TRY(gpu_feedback(&c->gpu, &args));
    PARE_TRY(gpu_pack(&c->gpu, c->w.data, (size_t)rows->columns * number, rows->rows, rows->rows,
                      to, first + rows->first * each, each));
    PARE_TRY(copy_out(c, rows->codes, c->codes.data, count));
fail:
    return status;
}

/* ---- quadratic forms ---- */

static pare_status calibrator_gram_blocks(void *state, pare_block_input input, int64_t group,
                                          float *blocks)
{
    calibrator *c = state;
    const int64_t n = columns_of(c->block->decoder, input);
    const float *gram = c->grams[input].data;
    const size_t row = (size_t)group * sizeof *gram;
    pare_status status;
    PARE_TRY(gpu_wait(&c->gpu));
    for (int64_t first = 0; first + group <= n; first += group)
        PARE_TRY(gpu_check(cudaMemcpy2D(blocks + first * group, row, gram + first * n + first,
                                        (size_t)n * sizeof *gram, row, (size_t)group,
                                        cudaMemcpyDeviceToHost),
                           "copying statistics"));
fail:
    return status;
}

static pare_status calibrator_quadratic(void *state, pare_block_input input, const float *d,
                                        int64_t rows, double *sum)
{
    calibrator *c = state;
    const int64_t n = columns_of(c->block->decoder, input);
    const size_t count = (size_t)(rows * n) * sizeof(float);
    double *each = NULL;
    pare_status status;
    *sum = 0;
    PARE_TRY(pare_allocate((size_t)rows, sizeof *each, "sums", &each));
    PARE_TRY(room(c, &c->w, count, "rows"));
    PARE_TRY(room(c, &c->work, count, "rows"));
    PARE_TRY(room(c, &c->errors, (size_t)rows * sizeof *each, "sums"));
    gpu_product_args product = {.a = {c->w.data, n, 1},
                                .b = {c->grams[input].data, n, 1},
                                .c = {c->work.data, n, 1},
                                .m = rows,
                                .n = n,
                                .depth = n,
                                .alpha = 1};
    PARE_TRY(gpu_upload(&c->gpu, c->w.data, d, count));
    PARE_TRY(gpu_product(&c->gpu, &product));
    PARE_TRY(gpu_dot_rows(&c->gpu, c->w.data, c->work.data, n, rows, n, c->errors.data));
    PARE_TRY(copy_out(c, each, c->errors.data, (size_t)rows * sizeof *each));
    for (int64_t r = 0; r < rows; r++)
        *sum += each[r];
fail:
    free(each);
    return status;
}

const pare_calibrator_functions cuda_calibrator = {
    .create = calibrator_create,
    .free = calibrator_free,
    .put = calibrator_put,
    .load = calibrator_load,
    .show = calibrator_show,
    .pass = calibrator_pass,
    .factor = calibrator_factor,
    .feedback = calibrator_feedback,
    .gram_blocks = calibrator_gram_blocks,
    .quadratic = calibrator_quadratic,
};
