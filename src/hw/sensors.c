/* Temperature: https://www.kernel.org/doc/html/latest/hwmon/sysfs-interface.html and
 * https://www.kernel.org/doc/html/latest/driver-api/thermal/sysfs-api.html. Clock: a chain of
 * dependent multiplications. */
#include "hw/sensors.h"

#include "base/clock.h"
#include "base/fail.h"
#include "hw/facts.h"
#include "hw/peaks.h"

#include <dirent.h>
#include <math.h>
#include <pare/hw.h>
#include <stdio.h>
#include <string.h>

bool pare_sensor_number(const char *path, double *value)
{
    FILE *file = fopen(path, "re");
    bool read = file && fscanf(file, "%lf", value) == 1;
    if (file)
        fclose(file);
    return read;
}

bool pare_sensor_is(const char *folder, const char *name, const char *const *texts)
{
    char path[PARE_SENSOR_PATH], line[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!pare_hw_read_line(path, line, sizeof line))
        return false;
    for (; *texts; texts++)
        if (strcmp(line, *texts) == 0)
            return true;
    return false;
}

/* The highest of a class that are named so: a machine has one sensor for each package. */
static bool highest(const char *root, const char *class, const char *name_file,
                    const char *const *names, const char *value_file, double *value)
{
    char folder[PARE_SENSOR_PATH / 2], path[PARE_SENSOR_PATH];
    bool found = false;
    snprintf(folder, sizeof folder, "%s/%s", root, class);
    DIR *list = opendir(folder);
    for (struct dirent *entry; list && (entry = readdir(list));) {
        double now;
        if (*entry->d_name == '.')
            continue;
        snprintf(path, sizeof path, "%s/%.60s", folder, entry->d_name);
        if (!pare_sensor_is(path, name_file, names))
            continue;
        snprintf(path, sizeof path, "%s/%.60s/%s", folder, entry->d_name, value_file);
        if (pare_sensor_number(path, &now) && (!found || now > *value)) {
            *value = now;
            found = true;
        }
    }
    if (list)
        closedir(list);
    return found;
}

pare_status pare_temperature_read_at(const char *root, double *celsius)
{
    static const char *const chips[] = {"coretemp", "k10temp", "zenpower", "cpu_thermal", NULL},
                             *const zones[] = {"x86_pkg_temp", "cpu-thermal", "cpu_thermal",
                                               "soc-thermal", NULL};
    double thousandths;
    if (!highest(root, "hwmon", "name", chips, "temp1_input", &thousandths) &&
        !highest(root, "thermal", "type", zones, "temp", &thousandths))
        return pare_fail(PARE_NOT_FOUND,
                         "no sensor of the processor in %s/hwmon or %s/thermal (usual in a virtual "
                         "machine)",
                         root, root);
    *celsius = 1e-3 * thousandths;
    return PARE_OK;
}

pare_status pare_temperature_read(double *celsius)
{
    return pare_temperature_read_at("/sys/class", celsius);
}

double pare_clock_measure(void)
{
    double best = 0;
    for (int i = 0; i < 4; i++) { /* the fastest: an interruption only slows down */
        double start = pare_seconds();
        double cycles = pare_multiply_chain(1 << 16);
        double hz = cycles / (pare_seconds() - start);
        best = hz > best ? hz : best;
    }
    return best > 0 ? best : NAN;
}
