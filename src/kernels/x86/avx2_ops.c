/* Everything but the matrix products, for the tier "avx2". */
#include "vector_avx2.h"

#include "ops_template.h"

void pare_kernels_add_avx2_ops(pare_kernels *kernels)
{
    add_ops(kernels);
    pare_kernels_add_avx2_attention(kernels);
}
