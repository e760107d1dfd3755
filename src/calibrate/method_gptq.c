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

/* Of one matrix of a stage. */
typedef struct there {
    const pare_walk_stage *stage;
    int index;
} there;

static pare_status factor_there(void *user, const int32_t *order, float added)
{
    const there *t = user;
    const pare_calibrator *device = t->stage->device;
    return pare_calibrator_check(
        device, device->functions->factor(device->state, t->stage->input, order, added));
}

static pare_status rows_there(void *user, const pare_gptq_rows *rows)
{
    const there *t = user;
    const pare_calibrator *device = t->stage->device;
    return pare_calibrator_check(
        device, device->functions->feedback(device->state, t->stage->input, t->index, rows));
}

static pare_status quantize_matrix(const pare_walk_stage *stage, int m)
{
    const pare_block_matrix *matrix = stage->matrices[m];
    const pare_type type = stage->items[m]->type;
    there t = {stage, stage->indices[m]};
    const pare_gptq_device device = {&t, factor_there, rows_there};
    if (stage->device)
        return pare_gptq_on(&device, stage->pool, matrix->weights, matrix->rows, matrix->columns,
                            stage->diagonal, type, &settings, stage->encoded[m]);
    return pare_gptq(stage->pool, matrix->weights, matrix->rows, matrix->columns, stage->gram, type,
                     &settings, stage->encoded[m], NULL, NULL);
}

static pare_status quantize(void *user, const pare_walk_stage *stage)
{
    (void)user;
    for (int m = 0; m < stage->count; m++) {
        pare_status status = quantize_matrix(stage, m);
        if (status != PARE_OK)
            return pare_fail_in(status, "tensor '%s'", stage->items[m]->name);
    }
    return PARE_OK;
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
        status = pare_walk_stages(model, options, plan, (pare_walk_mode){.device = true}, quantize,
                                  NULL, result);
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
    .device = true,
    .encode_row = encode_row,
    .start = start,
    .rows = rows,
    .finish = finish,
};
