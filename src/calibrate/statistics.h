/* What the linear layers of the full-precision model read on a calibration text, block by block. */
#ifndef PARE_CALIBRATE_STATISTICS_H
#define PARE_CALIBRATE_STATISTICS_H

#include "calibrate/device.h"
#include "run/block.h"

#include <pare/quant.h>

enum { PARE_SAMPLE_ROWS = 256 };

/* Of one input of a block. */
typedef struct pare_input_statistics {
    int64_t columns;
    double *means;  /* [columns]: of magnitudes */
    float *largest; /* [columns]: magnitudes */
    float *gram;    /* [columns, columns]: the sum of x xᵀ; NULL where not asked for, or where a
                       device has it */
    float *sample;  /* [sample_rows, columns]: tokens spread over the text; NULL likewise */
    int64_t sample_rows;
} pare_input_statistics;

typedef struct pare_statistics {
    int64_t layer;
    pare_input_statistics inputs[PARE_BLOCK_INPUTS];
    const pare_calibrator *device; /* NULL: the CPU */
} pare_statistics;

typedef struct pare_statistics_wish {
    bool grams, samples;
    /* What a run before this one finished: the block is only passed. NULL: nothing. */
    bool (*finished)(void *user, int64_t layer);
    const char *what; /* for the progress: "awq" */
} pare_statistics_wish;

/* Called after each block: its matrices may be changed, they are not run again. */
typedef pare_status (*pare_statistics_visit)(void *user, pare_block *block,
                                             const pare_statistics *statistics);

/* Runs the text through all blocks. PARE_INVALID_ARGUMENT where there is no text or its sizes do
 * not fit. Memory: the hidden states of one sequence (those of all lie in a file, spill.h), one
 * block in FP32, and its statistics. On the options' device: the hidden states of all there. */
pare_status pare_statistics_walk(const pare_model *model, const pare_quantize_options *options,
                                 const pare_statistics_wish *wish, pare_statistics_visit visit,
                                 void *user);

#endif
