/* The device that a calibration runs on, where it is not the CPU. */
#ifndef PARE_CALIBRATE_DEVICE_H
#define PARE_CALIBRATE_DEVICE_H

#include "run/calibrator.h"

#include <pare/quant.h>

/* Starts as {0}: the CPU. */
typedef struct pare_calibrator {
    const pare_calibrator_functions *functions;
    const char *(*message)(void); /* of the plug-in */
    void *state;
} pare_calibrator;

/* Opens the options' device and puts the embeddings of their calibration text there. Leaves
 * *calibrator {0} where the device is the CPU. */
pare_status pare_calibrator_open(const pare_model *model, const pare_quantize_options *options,
                                 pare_calibrator *calibrator);
void pare_calibrator_close(pare_calibrator *calibrator); /* accepts {0} */

/* What a function of the table gave, with the plug-in's message. */
pare_status pare_calibrator_check(const pare_calibrator *calibrator, pare_status status);

#endif
