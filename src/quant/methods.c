#include "quant/methods.h"

#include <pare/quant.h>

#include <string.h>

#include "base/buffer.h"
#include "base/fail.h"
#include "quant/types.h"

static const pare_method *const methods[] = {
    &pare_method_rtn,      &pare_method_imatrix,     &pare_method_hqq,  &pare_method_gptq,
    &pare_method_awq,      &pare_method_smoothquant, &pare_method_pare, &pare_method_w8a8,
    &pare_method_llm_int8, &pare_method_ort_dynamic,
};
enum { METHOD_COUNT = sizeof methods / sizeof *methods };

void pare_method_encode(const pare_method_matrix *matrix, const float *values,
                        const float *importance, void *stored)
{
    if (matrix->type == PARE_TYPE_I8_TENSOR)
        pare_encode_i8_scaled(values, stored, matrix->columns, matrix->absmax / 127);
    else
        pare_type_get_traits(matrix->type)->encode(values, stored, matrix->columns, importance);
}

const pare_method *pare_method_at(size_t index)
{
    return index < METHOD_COUNT ? methods[index] : NULL;
}

const char *pare_quantize_method_summary(size_t index)
{
    return index < METHOD_COUNT ? methods[index]->summary : NULL;
}

bool pare_quantize_method_calibrated(const char *name)
{
    for (size_t i = 0; name && i < METHOD_COUNT; i++)
        if (strcmp(name, methods[i]->name) == 0)
            return methods[i]->calibrated;
    return false;
}

bool pare_quantize_method_device(const char *name)
{
    for (size_t i = 0; name && i < METHOD_COUNT; i++)
        if (strcmp(name, methods[i]->name) == 0)
            return methods[i]->device;
    return false;
}

const char *pare_quantize_method_format(const char *name)
{
    for (size_t i = 0; name && i < METHOD_COUNT; i++)
        if (strcmp(name, methods[i]->name) == 0)
            return methods[i]->format;
    return NULL;
}

const char *pare_quantize_method_name(size_t index)
{
    return index < METHOD_COUNT ? methods[index]->name : NULL;
}

pare_status pare_method_find(const char *name, const pare_method **method)
{
    char list[256] = "";
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        if (!name || strcmp(name, methods[i]->name) == 0) {
            *method = methods[i];
            return PARE_OK;
        }
        strncat(list, i ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, methods[i]->name, sizeof list - strlen(list) - 1);
    }
    *method = NULL;
    return pare_fail(PARE_INVALID_ARGUMENT, "no method is called '%s'; there are: %s", name, list);
}
