/* Round to nearest: each format's own rounding, by nothing but the weights. With `search_scales`
 * scales are searched for the least squared error, as if each input mattered alike. */
#include "base/memory.h"
#include "quant/methods.h"
#include "quant/plan.h"

#include <stdlib.h>

static pare_status start(const pare_model *model, const pare_quantize_options *options,
                         const pare_quantize_result *plan, void **state)
{
    const pare_tensor *tensor;
    int64_t widest = 1;
    float *ones = NULL;
    (void)plan;
    *state = NULL;
    if (!options->search_scales)
        return PARE_OK;
    for (size_t i = 0; (tensor = pare_quantize_tensor(model, i)); i++)
        widest = pare_tensor_columns(tensor) > widest ? pare_tensor_columns(tensor) : widest;
    pare_status status = pare_allocate((size_t)widest, sizeof *ones, "weights of a search", &ones);
    for (int64_t i = 0; status == PARE_OK && i < widest; i++)
        ones[i] = 1;
    *state = ones;
    return status;
}

static const uint8_t *rows(const void *state, const pare_tensor *tensor)
{
    (void)state, (void)tensor;
    return NULL;
}

static const float *importance(const void *state, const pare_tensor *tensor)
{
    (void)tensor;
    return state;
}

static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    pare_method_encode(matrix, values, matrix->importance, stored);
}

const pare_method pare_method_rtn = {
    .name = "rtn",
    .summary = "round to nearest, from the weights alone",
    .encode_row = encode_row,
    .start = start,
    .rows = rows,
    .importance = importance,
    .finish = free,
};
