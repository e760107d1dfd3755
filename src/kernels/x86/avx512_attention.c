/* Attention for the tier "avx512". */
#include "vector_avx512.h"

#include "attention_template.h"

void pare_kernels_add_avx512_attention(pare_kernels *kernels)
{
    add_attention(kernels);
}
