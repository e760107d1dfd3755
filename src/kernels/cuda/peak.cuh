#ifndef PARE_KERNELS_CUDA_PEAK_CUH
#define PARE_KERNELS_CUDA_PEAK_CUH

#include "kernels/cuda/common.cuh"

enum { PEAK_THREADS = 256, PEAK_BLOCKS = 2 }; /* blocks of a multiprocessor */

/* The same with the matrix instructions of sm_90a. */
pare_status peak_hopper(gpu_context *context, gpu_peak kind, int rounds, uint32_t *out,
                        double *operations);

#endif
