/* Products with 8-bit activations for the tier "avx2". */
#define PARE_TIER "avx2"
#include "kernels/x86/matmul_q8_ymm.h"

void pare_kernels_add_avx2_q8(pare_kernels *kernels)
{
    add_q8(kernels);
}
