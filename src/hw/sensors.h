/* Reading what the kernel tells in small files, under a root folder that tests replace. */
#ifndef PARE_HW_SENSORS_H
#define PARE_HW_SENSORS_H

#include <pare/error.h>
#include <stdbool.h>

enum { PARE_SENSOR_PATH = 320 };

/* One number alone in a file. */
bool pare_sensor_number(const char *path, double *value);
/* The first line of FOLDER/NAME is one of the NULL-ended `texts`. */
bool pare_sensor_is(const char *folder, const char *name, const char *const *texts);

/* pare_temperature_read with another folder than /sys/class: for tests. */
pare_status pare_temperature_read_at(const char *root, double *celsius);

#endif
