/* Methods whose activations are rounded to 8 bits at run time: their weights are i8_ch, rounded to
 * nearest, and the file says what is to be done to the activations (pare.activations). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "quant/methods.h"
#include "quant/plan.h"
#include "quant/types.h"

static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    pare_method_encode(matrix, values, NULL, stored);
}

const pare_method pare_method_w8a8 = {
    .name = "w8a8",
    .summary = "8-bit weights for each row, 8-bit activations for each token",
    .format = "i8_ch",
    .activations = PARE_INPUTS_W8A8,
    .encode_row = encode_row,
};

const pare_method pare_method_llm_int8 = {
    .name = "llm_int8",
    .summary = "the same, but columns of outliers stay in 16 bits (arXiv:2208.07339)",
    .format = "i8_ch",
    .activations = PARE_INPUTS_LLM_INT8,
    .encode_row = encode_row,
};

/* ---- ONNX Runtime's quantize_dynamic ---- */

typedef struct ort_state {
    const pare_model *model;
    int levels;     /* codes reach from -levels to levels */
    float *largest; /* [tensors] of the plan's matrices; NULL: each row has its own scale */
} ort_state;

/* The largest magnitude of a matrix. */
static pare_status find_largest(const pare_tensor *tensor, float *largest)
{
    enum { SOME = 64 };
    const int64_t columns = pare_tensor_columns(tensor), rows = pare_tensor_rows(tensor);
    const size_t row_bytes = pare_tensor_row_bytes(tensor);
    float *values = NULL;
    char *buffer = NULL;
    const void *stored;
    pare_status status;
    PARE_TRY(pare_allocate((size_t)columns, sizeof *values, "a row", &values));
    PARE_TRY(pare_allocate(SOME, row_bytes, tensor->name, &buffer));
    for (int64_t r = 0; r < rows; r += SOME) {
        int64_t n = rows - r < SOME ? rows - r : SOME;
        PARE_TRY(pare_tensor_read(tensor, r, n, buffer, &stored));
        for (int64_t i = 0; i < n; i++) {
            pare_type_get_traits(tensor->type)
                ->decode((const char *)stored + (size_t)i * row_bytes, values, columns);
            for (int64_t c = 0; c < columns; c++)
                *largest = fmaxf(*largest, fabsf(values[c]));
        }
    }
fail:
    free(values);
    free(buffer);
    return status;
}

static void ort_finish(void *opaque)
{
    ort_state *state = opaque;
    if (state)
        free(state->largest);
    free(state);
}

static pare_status ort_start(const pare_model *model, const pare_quantize_options *options,
                             const pare_quantize_result *plan, void **out)
{
    ort_state *state;
    pare_status status = pare_allocate(1, sizeof *state, "ort_dynamic", &state);
    *out = state;
    if (status != PARE_OK)
        return status;
    state->model = model;
    state->levels = options->reduce_range ? 64 : 127;
    if (options->per_channel)
        return PARE_OK;
    status = pare_allocate(plan->count, sizeof *state->largest, "ort_dynamic", &state->largest);
    for (size_t i = 0; i < plan->count && status == PARE_OK; i++)
        if (plan->items[i].chosen && plan->items[i].type == PARE_TYPE_I8_CH)
            status = find_largest(pare_quantize_tensor(model, i), &state->largest[i]);
    return status;
}

/* s = largest / 127 (64 with 7 bits), q = round(w / s), ties to even. */
static void ort_encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    const ort_state *state = matrix->state;
    if (matrix->type != PARE_TYPE_I8_CH || !matrix->tensor) {
        encode_row(matrix, values, stored);
        return;
    }
    int8_t *codes = stored;
    float largest = 0;
    for (int64_t c = 0; !state->largest && c < matrix->columns; c++)
        largest = fmaxf(largest, fabsf(values[c]));
    for (size_t i = 0; state->largest && pare_quantize_tensor(state->model, i); i++)
        if (pare_quantize_tensor(state->model, i) == matrix->tensor)
            largest = state->largest[i];
    float scale = largest / (float)state->levels;
    if (!(scale >= 0x1p-126f))
        scale = 1;
    for (int64_t c = 0; c < matrix->columns; c++) {
        float code = nearbyintf(values[c] / scale);
        codes[c] = (int8_t)fminf(fmaxf(code, -127), 127);
    }
    memcpy(codes + matrix->columns, &scale, sizeof scale);
}

const pare_method pare_method_ort_dynamic = {
    .name = "ort_dynamic",
    .summary = "ONNX Runtime's dynamic quantization: asymmetric activations, one scale for all",
    .format = "i8_ch",
    .activations = PARE_INPUTS_ORT_DYNAMIC,
    .encode_row = ort_encode_row,
    .start = ort_start,
    .finish = ort_finish,
};
