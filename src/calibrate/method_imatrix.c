/* Rounding whose scales are searched under the mean squares of the inputs, "imatrix" in llama.cpp:
 * read from a file, or measured on a calibration text. */
#include "base/fail.h"
#include "base/memory.h"
#include "calibrate/importance.h"
#include "quant/methods.h"
#include "quant/plan.h"

#include <stdlib.h>

/* Every matrix of the blocks that is to be quantized has an entry that fits. */
static pare_status check(const pare_model *model, const pare_quantize_options *options,
                         const pare_quantize_result *plan, const pare_imatrix *matrix)
{
    const char *file = options->imatrix ? options->imatrix : "calibration";
    const pare_tensor *tensor;
    for (size_t i = 0; (tensor = pare_quantize_tensor(model, i)); i++) {
        const pare_imatrix_entry *entry = pare_imatrix_find(matrix, tensor->name);
        if (!plan->items[i].chosen)
            continue;
        if (!entry && pare_model_is_block_matrix(model, tensor))
            return pare_fail(PARE_INVALID_ARGUMENT, "%s: has no importance of '%s'", file,
                             tensor->name);
        if (entry && entry->columns != pare_tensor_columns(tensor))
            return pare_fail(PARE_INVALID_ARGUMENT,
                             "%s: the importance of '%s' has %lld columns, the matrix %lld", file,
                             tensor->name, (long long)entry->columns,
                             (long long)pare_tensor_columns(tensor));
    }
    return PARE_OK;
}

static pare_status start(const pare_model *model, const pare_quantize_options *options,
                         const pare_quantize_result *plan, void **state)
{
    pare_imatrix *matrix = NULL;
    pare_status status;
    *state = NULL;
    PARE_TRY(pare_allocate(1, sizeof *matrix, "an importance matrix", &matrix));
    if (options->imatrix)
        PARE_TRY(pare_imatrix_read(options->imatrix, matrix));
    else if (options->calibration)
        PARE_TRY(pare_importance_measure(model, options, matrix));
    else
        PARE_TRY(pare_fail(PARE_INVALID_ARGUMENT,
                           "the method imatrix needs an importance matrix or a calibration text"));
    PARE_TRY(check(model, options, plan, matrix));
    if (options->imatrix_out)
        PARE_TRY(pare_imatrix_write(matrix, options->imatrix_out));
    *state = matrix;
    return PARE_OK;
fail:
    if (matrix)
        pare_imatrix_free(matrix);
    free(matrix);
    return status;
}

static const uint8_t *rows(const void *state, const pare_tensor *tensor)
{
    (void)state, (void)tensor;
    return NULL;
}

static const float *importance(const void *state, const pare_tensor *tensor)
{
    const pare_imatrix_entry *entry = pare_imatrix_find(state, tensor->name);
    return entry ? entry->means : NULL;
}

static void finish(void *state)
{
    if (state)
        pare_imatrix_free(state);
    free(state);
}

static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    pare_method_encode(matrix, values, matrix->importance, stored);
}

const pare_method pare_method_imatrix = {
    .name = "imatrix",
    .summary = "scales with the least error weighted by the mean squares of the inputs (llama.cpp)",
    .device = true,
    .encode_row = encode_row,
    .start = start,
    .rows = rows,
    .importance = importance,
    .finish = finish,
};
