#include "quant/encode.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "model/export.h"
#include "quant/types.h"

/* Weights in a chunk: enough that waking the threads costs nothing, few enough to stay in the
 * caches' reach. */
enum { CHUNK_WEIGHTS = 1 << 20 };

/* The first unusable weight that a thread met. */
typedef struct pare_encoder_flaw {
    int64_t row, column;
    float value;
    bool found;
} flaw;

typedef struct chunk_job {
    pare_encoder *encoder;
    const pare_model *model;
    const pare_tensor *tensor;
    pare_method_matrix matrix;
    const uint8_t *stored; /* the tensor's rows */
    pare_type type;
    size_t stored_row, row_bytes; /* of the source and of what is written */
    int64_t first, count;
    bool copy;            /* the rows' bytes stay */
    const uint8_t *ready; /* rows that the method encoded beforehand; NULL: none */
} chunk_job;

pare_status pare_encoder_start(pare_encoder *encoder, const pare_method *method, int threads)
{
    *encoder = (pare_encoder){.method = method};
    pare_status status = pare_pool_create(threads, &encoder->pool);
    if (status == PARE_OK)
        status = pare_allocate((size_t)pare_pool_threads(encoder->pool), sizeof *encoder->flaws,
                               "the threads' results", &encoder->flaws);
    if (status != PARE_OK)
        pare_encoder_free(encoder);
    return status;
}

void pare_encoder_free(pare_encoder *encoder)
{
    if (encoder->method && encoder->method->finish)
        encoder->method->finish(encoder->state);
    pare_pool_free(encoder->pool);
    free(encoder->rows);
    free(encoder->chunk);
    free(encoder->flaws);
    *encoder = (pare_encoder){0};
}

/* The column of the first value that cannot be stored, or -1. NaN fails the comparison too. */
static int64_t find_flaw(const float *values, int64_t n, float largest)
{
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++)
        bad += !(fabsf(values[i]) <= largest);
    for (int64_t i = 0; bad && i < n; i++) {
        if (!(fabsf(values[i]) <= largest))
            return i;
    }
    return -1;
}

static void encode_share(void *argument, int index, int threads)
{
    const chunk_job *job = argument;
    pare_encoder *encoder = job->encoder;
    const pare_range share = pare_share(job->count, 1, index, threads);
    const pare_decode_row decode = pare_type_get_traits(job->tensor->type)->decode;
    const float largest = job->copy ? FLT_MAX : pare_type_get_traits(job->type)->largest;
    const int64_t columns = job->matrix.columns;
    float *values = encoder->rows + (size_t)index * (size_t)columns;
    flaw *mine = &encoder->flaws[index];
    mine->found = false;
    for (int64_t r = share.first; r < share.last; r++) {
        const int64_t row = pare_export_row(job->model, job->tensor, job->first + r);
        const uint8_t *stored = job->stored + (size_t)row * job->stored_row;
        uint8_t *written = encoder->chunk + (size_t)r * job->row_bytes;
        decode(stored, values, columns);
        int64_t column = find_flaw(values, columns, largest);
        if (column >= 0) {
            *mine = (flaw){.row = row, .column = column, .value = values[column], .found = true};
            return;
        }
        if (job->ready)
            memcpy(written, job->ready + (size_t)row * job->row_bytes, job->row_bytes);
        else if (job->copy)
            memcpy(written, stored, job->row_bytes);
        else
            encoder->method->encode_row(&job->matrix, values, written);
    }
}

static pare_status report_flaw(const chunk_job *job)
{
    for (int i = 0; i < pare_pool_threads(job->encoder->pool); i++) {
        const flaw *found = &job->encoder->flaws[i];
        if (!found->found)
            continue;
        if (isfinite(found->value))
            return pare_fail(
                PARE_LIMIT,
                "%s: tensor '%s', row %lld, column %lld: %g is too large for %s (at most %g)",
                job->tensor->file, job->tensor->name, (long long)found->row,
                (long long)found->column, (double)found->value, pare_type_name(job->type),
                (double)pare_type_get_traits(job->type)->largest);
        return pare_fail(PARE_FORMAT, "%s: tensor '%s', row %lld, column %lld is %s",
                         job->tensor->file, job->tensor->name, (long long)found->row,
                         (long long)found->column,
                         isnan(found->value) ? "not a number" : "infinite");
    }
    return PARE_OK;
}

/* The largest magnitude of the tensor; what is not finite is found when its row is encoded. */
static float tensor_absmax(const pare_encoder *encoder, const chunk_job *job, int64_t rows)
{
    const pare_decode_row decode = pare_type_get_traits(job->tensor->type)->decode;
    float absmax = 0;
    for (int64_t r = 0; r < rows; r++) {
        decode(job->stored + (size_t)r * job->stored_row, encoder->rows, job->matrix.columns);
        for (int64_t i = 0; i < job->matrix.columns; i++)
            absmax = fabsf(encoder->rows[i]) > absmax ? fabsf(encoder->rows[i]) : absmax;
    }
    return absmax;
}

/* Room for one row a thread and for a chunk of written rows. */
static pare_status make_room(pare_encoder *encoder, size_t columns, size_t chunk_bytes)
{
    size_t threads = (size_t)pare_pool_threads(encoder->pool);
    if (chunk_bytes > encoder->chunk_capacity) {
        free(encoder->chunk);
        encoder->chunk_capacity = 0;
        pare_status status = pare_allocate(chunk_bytes, 1, "encoded rows", &encoder->chunk);
        if (status != PARE_OK)
            return status;
        encoder->chunk_capacity = chunk_bytes;
    }
    if (columns > encoder->row_capacity) {
        free(encoder->rows);
        encoder->row_capacity = 0;
        pare_status status = pare_allocate(columns * threads, sizeof *encoder->rows,
                                           "rows of weights", &encoder->rows);
        if (status != PARE_OK)
            return status;
        encoder->row_capacity = columns;
    }
    return PARE_OK;
}

typedef struct read_job {
    const pare_tensor *tensor;
    char *rows;
    atomic_bool failed;
} read_job;

static void read_share(void *argument, int index, int threads)
{
    read_job *job = argument;
    enum { STEP = 64 };
    const pare_range share = pare_share(pare_tensor_rows(job->tensor), STEP, index, threads);
    const void *rows;
    if (share.first < share.last &&
        pare_tensor_read(job->tensor, share.first, share.last - share.first,
                         job->rows + (size_t)share.first * pare_tensor_row_bytes(job->tensor),
                         &rows) != PARE_OK)
        job->failed = true;
}

/* All rows of a tensor that has a source. */
static pare_status read_all(pare_encoder *encoder, const pare_tensor *tensor, char **rows)
{
    read_job job = {.tensor = tensor};
    pare_status status = pare_allocate(tensor->bytes, 1, tensor->name, rows);
    if (status != PARE_OK)
        return status;
    job.rows = *rows;
    pare_pool_run(encoder->pool, read_share, &job);
    return job.failed ? pare_fail_memory(tensor->bytes, tensor->name) : PARE_OK;
}

pare_status pare_encoder_write(pare_encoder *encoder, const pare_model *model,
                               const pare_tensor *tensor, const pare_quantize_item *item,
                               pare_output *output,
                               pare_status (*advance)(void *user, int64_t weights), void *user)
{
    /* The elements of a vector may change places like the rows of its matrix. */
    const bool scattered = tensor->dims < 2 && pare_export_reorders(model, tensor);
    const int64_t columns = scattered ? 1 : pare_tensor_columns(tensor);
    const int64_t rows = scattered ? pare_tensor_elements(tensor) : pare_tensor_rows(tensor);
    int64_t step = columns > 0 ? CHUNK_WEIGHTS / columns : 1;
    step = step < 1 ? 1 : step > rows ? rows : step;
    char *made = NULL;
    chunk_job job = {
        .encoder = encoder,
        .model = model,
        .tensor = tensor,
        .stored = tensor->data,
        .matrix = {.name = item->name, .type = item->type, .rows = rows, .columns = columns},
        .type = item->type,
        .stored_row = pare_type_row_bytes(tensor->type, columns),
        .row_bytes = pare_type_row_bytes(item->type, columns),
        .copy = item->type == tensor->type,
    };
    if (item->chosen) {
        job.matrix.tensor = tensor;
        job.matrix.state = encoder->state;
    }
    if (encoder->state && encoder->method->rows)
        job.ready = encoder->method->rows(encoder->state, tensor);
    if (encoder->state && encoder->method->importance)
        job.matrix.importance = encoder->method->importance(encoder->state, tensor);
    pare_status status = make_room(encoder, (size_t)columns, (size_t)step * job.row_bytes);
    if (status == PARE_OK && tensor->source) {
        status = read_all(encoder, tensor, &made);
        job.stored = (const uint8_t *)made;
    }
    if (status == PARE_OK && item->type == PARE_TYPE_I8_TENSOR && !job.copy)
        job.matrix.absmax = tensor_absmax(encoder, &job, rows);
    for (int64_t row = 0; status == PARE_OK && row < rows; row += step) {
        job.first = row;
        job.count = rows - row < step ? rows - row : step;
        pare_pool_run(encoder->pool, encode_share, &job);
        status = report_flaw(&job);
        if (status == PARE_OK)
            status = pare_output_write(output, encoder->chunk, (size_t)job.count * job.row_bytes);
        if (status == PARE_OK)
            status = advance(user, job.count * columns);
    }
    free(made);
    return status;
}
