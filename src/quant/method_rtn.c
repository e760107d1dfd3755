/* Round to nearest: each format's own rounding, by nothing but the weights. */
#include "quant/methods.h"

static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    pare_method_encode(matrix, values, NULL, stored);
}

const pare_method pare_method_rtn = {
    .name = "rtn",
    .summary = "round to nearest, from the weights alone",
    .encode_row = encode_row,
};
