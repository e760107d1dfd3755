/* GPTQ as a method of quantize: the error feedback of src/quant/gptq.c, fed by a walk through the
 * model. */
#include "base/fail.h"
#include "base/memory.h"
#include "calibrate/walk.h"
#include "quant/gptq.h"

#include <stdlib.h>

/* The paper's damping; columns by falling activation ("act-order"), with the scales fixed
 * beforehand and, where the format searches them, weighted by the activations. */
static const pare_gptq_options settings = {.damping = 0.01f, .act_order = true, .weighted = true};

static pare_status quantize(void *user, pare_pool *pool, const pare_block_matrix *matrix,
                            const float *gram, pare_type type, uint8_t *encoded)
{
    (void)user;
    return pare_gptq(pool, matrix->weights, matrix->rows, matrix->columns, gram, type, &settings,
                     encoded, NULL, NULL);
}

static pare_status start(const pare_model *model, const pare_quantize_options *options,
                         const pare_quantize_result *plan, void **state)
{
    pare_walk_result *result;
    *state = NULL;
    pare_status status = pare_allocate(1, sizeof *result, "GPTQ", &result);
    if (status != PARE_OK)
        return status;
    result->work.fd = -1;
    status = pare_work_open(model, options, plan, "gptq 1: damping 0.01, act-order", &result->work);
    if (status == PARE_OK)
        status = pare_walk(model, options, plan, quantize, NULL, result);
    if (status != PARE_OK)
        free(result);
    else
        *state = result;
    return status;
}

static const uint8_t *rows(const void *state, const pare_tensor *tensor)
{
    return pare_walk_rows(state, tensor);
}

static void finish(void *state)
{
    if (state)
        pare_walk_free(state);
    free(state);
}

/* What the walk does not reach (an embedding that --pure or a rule chose) is rounded. */
static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    pare_method_encode(matrix, values, NULL, stored);
}

const pare_method pare_method_gptq = {
    .name = "gptq",
    .summary = "error feedback under the Hessian of calibration text (arXiv:2210.17323)",
    .calibrated = true,
    .encode_row = encode_row,
    .start = start,
    .rows = rows,
    .finish = finish,
};
