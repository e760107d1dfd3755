/* Products with 8-bit activations for the tier "avxvnni". */
#define PARE_TIER "avxvnni"
#define PARE_VNNI
#include "kernels/x86/matmul_q8_ymm.h"

void pare_kernels_add_avxvnni_matmul(pare_kernels *kernels)
{
    add_q8(kernels);
}
