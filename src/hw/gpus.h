#ifndef PARE_HW_GPUS_H
#define PARE_HW_GPUS_H

#include <pare/hw.h>

/* pare_gpus_open with another library than libnvidia-ml.so.1: for tests. */
pare_status pare_gpus_open_at(const char *library, pare_gpus **out);

#endif
