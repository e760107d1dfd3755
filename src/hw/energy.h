#ifndef PARE_HW_ENERGY_H
#define PARE_HW_ENERGY_H

#include <pare/hw.h>

/* pare_energy_open with another folder than /sys/class/powercap: for tests. */
pare_status pare_energy_open_at(const char *root, pare_energy **out);

#endif
