/* What src/hw reads of GPUs, sensors and counters, against a fake management library and fake trees
 * of the kernel's files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "hw/energy.h"
#include "hw/gpus.h"
#include "hw/sensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void near_to(double value, double wanted, double tolerance)
{
    if (!(fabs(value - wanted) <= tolerance))
        fail_msg("%.17g is not %.17g within %g", value, wanted, tolerance);
}

/* ---- NVML ---- */

static void gpus_are_described(void **state)
{
    pare_gpus *gpus;
    unsetenv("FAKE_NVML");
    assert_int_equal(pare_gpus_open_at(FAKE_NVML, &gpus), PARE_OK);
    assert_int_equal(pare_gpus_count(gpus), 2);
    const pare_gpu_info *first = pare_gpus_info(gpus, 0), *second = pare_gpus_info(gpus, 1);
    assert_string_equal(first->name, "Fake H100");
    assert_string_equal(first->architecture, "Hopper");
    assert_int_equal(first->multiprocessors, 132);
    assert_int_equal(first->tensor_cores, 528);
    near_to(first->memory_bytes, 85.0 * (1 << 30), 0);
    near_to(first->memory_bytes_per_s, 2619e6 * 2 * 5120 / 8, 1); /* an H100 SXM: 3.35 TB/s */
    near_to(first->power_limit_watts, 700, 1e-9);
    assert_string_equal(first->driver, "999.1");
    assert_string_equal(first->cuda, "13.2");
    assert_string_equal(first->uuid, ""); /* the fake has no such function */
    assert_string_equal(second->architecture, "Turing");
    assert_int_equal(second->multiprocessors, 40);
    assert_int_equal(second->tensor_cores, 320);
    pare_gpus_close(gpus);
}

static void gpus_are_read(void **state)
{
    pare_gpus *gpus;
    unsetenv("FAKE_NVML");
    assert_int_equal(pare_gpus_open_at(FAKE_NVML, &gpus), PARE_OK);
    pare_gpu_reading a = pare_gpus_read(gpus, 0), b = pare_gpus_read(gpus, 0);
    near_to(a.utilization, 0.87, 1e-12);
    near_to(a.memory_utilization, 0.45, 1e-12);
    near_to(a.memory_used_bytes, 10.0 * (1 << 30), 0);
    near_to(a.watts, 123.456, 1e-9);
    near_to(a.celsius, 61, 0);
    near_to(a.clock_hz, 1.5e9, 0);
    near_to(a.memory_clock_hz, 2e9, 0);
    near_to(b.joules - a.joules, 0.25, 1e-12);
    near_to(pare_gpus_joules(gpus, 0) - b.joules, 0.25, 1e-12);
    near_to(b.sm_activity, 0.2, 1e-12);
    near_to(b.tensor_activity, 0.5, 1e-12);
    assert_true(isnan(b.dram_activity));
    assert_true(isnan(pare_gpus_read(gpus, 1).sm_activity)); /* no counters before Hopper */
    pare_gpus_close(gpus);
}

static void what_a_gpu_does_not_tell_is_absent(void **state)
{
    pare_gpus *gpus;
    setenv("FAKE_NVML", "old", 1);
    assert_int_equal(pare_gpus_open_at(FAKE_NVML, &gpus), PARE_OK);
    pare_gpu_reading r = pare_gpus_read(gpus, 1);
    assert_true(isnan(r.watts) && isnan(r.joules) && isnan(r.clock_hz));
    near_to(r.celsius, 61, 0);
    assert_string_equal(pare_gpus_info(gpus, 0)->architecture, "");
    assert_true(isnan(pare_gpus_info(gpus, 0)->memory_bytes_per_s));
    pare_gpus_close(gpus);
    unsetenv("FAKE_NVML");
}

static void no_gpu_says_why(void **state)
{
    static const struct {
        const char *mode, *library, *says;
        pare_status status;
    } cases[] = {
        {"broken", FAKE_NVML, "does not start", PARE_NOT_FOUND},
        {"empty", FAKE_NVML, "finds no GPU", PARE_NOT_FOUND},
        {"none", "libno-such-library.so", "no NVIDIA driver", PARE_NOT_FOUND},
        {"other", "libm.so.6", "has no nvmlInit_v2", PARE_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_gpus *gpus;
        setenv("FAKE_NVML", cases[i].mode, 1);
        assert_int_equal(pare_gpus_open_at(cases[i].library, &gpus), cases[i].status);
        assert_null(gpus);
        if (!strstr(pare_error_message(), cases[i].says))
            fail_msg("'%s' does not say '%s'", pare_error_message(), cases[i].says);
    }
    unsetenv("FAKE_NVML");
}

/* ---- the kernel's files ---- */

static void set(const char *root, const char *folder, const char *file, const char *value)
{
    char path[320];
    snprintf(path, sizeof path, "%s/%s", root, folder);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, folder, file);
    FILE *to = fopen(path, "w");
    assert_non_null(to);
    fprintf(to, "%s\n", value);
    fclose(to);
}

static void start_tree(char root[32])
{
    strcpy(root, "/tmp/pare-sensors-XXXXXX");
    assert_non_null(mkdtemp(root));
}

static void end_tree(const char *root)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
}

static void temperature_is_that_of_the_processor(void **state)
{
    char root[32];
    double celsius;
    start_tree(root);
    assert_int_equal(pare_temperature_read_at(root, &celsius), PARE_NOT_FOUND);
    assert_non_null(strstr(pare_error_message(), "no sensor"));
    set(root, "thermal", "ignored", "1");
    set(root, "thermal/thermal_zone0", "type", "acpitz");
    set(root, "thermal/thermal_zone0", "temp", "99000");
    set(root, "thermal/thermal_zone1", "type", "x86_pkg_temp");
    set(root, "thermal/thermal_zone1", "temp", "48500");
    assert_int_equal(pare_temperature_read_at(root, &celsius), PARE_OK);
    near_to(celsius, 48.5, 1e-9);
    set(root, "hwmon", "ignored", "1");
    set(root, "hwmon/hwmon0", "name", "nvme");
    set(root, "hwmon/hwmon0", "temp1_input", "90000");
    set(root, "hwmon/hwmon1", "name", "k10temp");
    set(root, "hwmon/hwmon1", "temp1_input", "61250");
    assert_int_equal(pare_temperature_read_at(root, &celsius), PARE_OK);
    near_to(celsius, 61.25, 1e-9);
    end_tree(root);
}

/* Sockets are counted, the cores in them not again. */
static void energy_of_hwmon_counters(void **state)
{
    char root[32], none[64];
    pare_energy *energy;
    double joules;
    start_tree(root);
    snprintf(none, sizeof none, "%s/none", root);
    set(root, "hwmon0", "name", "amd_energy");
    set(root, "hwmon0", "energy1_label", "Ecore000");
    set(root, "hwmon0", "energy1_input", "7");
    set(root, "hwmon0", "energy2_label", "Esocket0");
    set(root, "hwmon0", "energy2_input", "1000000");
    assert_int_equal(pare_energy_open_at(none, NULL, &energy), PARE_NOT_FOUND);
    assert_int_equal(pare_energy_open_at(none, root, &energy), PARE_OK);
    assert_string_equal(pare_energy_source(energy), "hwmon energy counters");
    set(root, "hwmon0", "energy1_input", "9000000");
    set(root, "hwmon0", "energy2_input", "4500000");
    assert_int_equal(pare_energy_read(energy, &joules), PARE_OK);
    near_to(joules, 3.5, 1e-9);
    pare_energy_close(energy);
    end_tree(root);
}

/* A power sensor is added up in the background: 12.5 W for a measured time. */
static void energy_of_power_sensors(void **state)
{
    char root[32], none[64], sensor[64];
    pare_energy *energy;
    double before, joules;
    start_tree(root);
    snprintf(none, sizeof none, "%s/none", root);
    set(root, "hwmon3", "name", "power_meter");
    set(root, "hwmon3", "power1_average", "12500000");
    assert_int_equal(pare_energy_open_at(none, root, &energy), PARE_OK);
    assert_string_equal(pare_energy_source(energy), "hwmon power sensors");
    double start = pare_seconds();
    assert_int_equal(pare_energy_read(energy, &before), PARE_OK);
    usleep(400000);
    assert_int_equal(pare_energy_read(energy, &joules), PARE_OK);
    /* a reading is at most one period old (and the scheduler may be late) */
    near_to((joules - before) / (pare_seconds() - start), 12.5, 5);
    snprintf(sensor, sizeof sensor, "%s/hwmon3/power1_average", root);
    assert_int_equal(unlink(sensor), 0);
    usleep(200000);
    assert_int_equal(pare_energy_read(energy, &joules), PARE_IO);
    pare_energy_close(energy);
    end_tree(root);
}

/* ---- counters and clock ---- */

static void counters_count_or_say_why(void **state)
{
    pare_counters *counters;
    volatile double x = 1;
    if (pare_counters_open(&counters) != PARE_OK) {
        assert_null(counters);
        assert_true(*pare_error_message());
        return;
    }
    pare_counts before = pare_counters_read(counters);
    for (int i = 0; i < 3000000; i++)
        x = x * 1.0000001;
    pare_counts after = pare_counters_read(counters);
    if (isfinite(before.instructions))
        assert_true(after.instructions - before.instructions > 3e6);
    pare_counters_close(counters);
}

static void clock_is_plausible(void **state)
{
    double hz = pare_clock_measure();
    assert_true(isnan(hz) || (hz > 1e8 && hz < 1e10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpus_are_described),
        cmocka_unit_test(gpus_are_read),
        cmocka_unit_test(what_a_gpu_does_not_tell_is_absent),
        cmocka_unit_test(no_gpu_says_why),
        cmocka_unit_test(temperature_is_that_of_the_processor),
        cmocka_unit_test(energy_of_hwmon_counters),
        cmocka_unit_test(energy_of_power_sensors),
        cmocka_unit_test(counters_count_or_say_why),
        cmocka_unit_test(clock_is_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
