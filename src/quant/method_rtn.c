/* Round to nearest: each format's own rounding, by nothing but the weights. */
#include "quant/methods.h"
#include "quant/types.h"

static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    pare_type_get_traits(matrix->type)->encode(values, stored, matrix->columns, NULL);
}

const pare_method pare_method_rtn = {
    .name = "rtn",
    .summary = "round to nearest, from the weights alone",
    .encode_row = encode_row,
};
