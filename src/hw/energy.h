#ifndef PARE_HW_ENERGY_H
#define PARE_HW_ENERGY_H

#include <pare/hw.h>

/* pare_energy_open with other folders than /sys/class/powercap and /sys/class/hwmon (NULL: none):
 * for tests. */
pare_status pare_energy_open_at(const char *powercap, const char *hwmon, pare_energy **out);

#endif
