/* Attention for the tier "avx2". */
#include "vector_avx2.h"

#include "attention_template.h"

void pare_kernels_add_avx2_attention(pare_kernels *kernels)
{
    add_attention(kernels);
}
