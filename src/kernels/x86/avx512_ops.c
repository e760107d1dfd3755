/* Everything but the matrix products, for the tier "avx512". */
#include "vector_avx512.h"

#include "ops_template.h"

void pare_kernels_add_avx512_ops(pare_kernels *kernels)
{
    add_ops(kernels);
    pare_kernels_add_avx512_attention(kernels);
}
