/* Clocks, kernel, compiler, libraries, energy counters. */
#include "base/json.h"
#include "hw/facts.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <gnu/libc-version.h>
#include <hwloc.h>
#include <openssl/crypto.h>
#include <pango/pangocairo.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <utf8proc.h>

#define CPUFREQ "/sys/devices/system/cpu/cpu0/cpufreq"

static void add_frequency(pare_hw *hw, const char *key, const char *label, const char *path)
{
    char line[64], shown[32];
    if (!pare_hw_read_line(path, line, sizeof line)) {
        pare_hw_add_absent(hw, key, label, "no %s (usual in a virtual machine)", path);
        return;
    }
    double hz = 1000 * strtod(line, NULL);
    snprintf(shown, sizeof shown, "%.2f GHz", hz / 1e9);
    pare_hw_add_number(hw, key, label, hz, shown);
}

static void add_reported_clock(pare_hw *hw)
{
    char line[256], shown[32];
    double mhz = -1;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && mhz < 0 && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (colon && strncmp(line, "cpu MHz", 7) == 0)
            mhz = strtod(colon + 1, NULL);
    }
    if (file)
        fclose(file);
    if (mhz < 0) {
        pare_hw_add_absent(hw, "clock_reported_hz", "clock, reported", "/proc/cpuinfo names none");
        return;
    }
    snprintf(shown, sizeof shown, "%.2f GHz", mhz / 1000);
    pare_hw_add_number(hw, "clock_reported_hz", "clock, reported", mhz * 1e6, shown);
}

static void add_line(pare_hw *hw, const char *key, const char *label, const char *path)
{
    char line[256];
    if (pare_hw_read_line(path, line, sizeof line))
        pare_hw_add_text(hw, key, label, "%s", line);
    else
        pare_hw_add_absent(hw, key, label, "no %s", path);
}

void pare_hw_add_clocks(pare_hw *hw)
{
    add_line(hw, "governor", "frequency governor", CPUFREQ "/scaling_governor");
    add_frequency(hw, "clock_max_hz", "clock, highest", CPUFREQ "/cpuinfo_max_freq");
    add_reported_clock(hw);
    add_line(hw, "huge_pages", "huge pages", "/sys/kernel/mm/transparent_hugepage/enabled");
}

static void add_os_name(pare_hw *hw)
{
    char line[256];
    FILE *file = fopen("/etc/os-release", "re");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        found = strncmp(line, "PRETTY_NAME=", 12) == 0;
        if (found) {
            line[strcspn(line, "\n")] = 0;
            char *name = line + 12;
            size_t length = strlen(name);
            if (length >= 2 && name[0] == '"' && name[length - 1] == '"') {
                name[length - 1] = 0;
                name++;
            }
            pare_hw_add_text(hw, "os", "system", "%s", name);
        }
    }
    if (file)
        fclose(file);
    if (!found)
        pare_hw_add_absent(hw, "os", "system", "no PRETTY_NAME in /etc/os-release");
}

static void add_sensors(pare_hw *hw)
{
    pare_counters *counters;
    double celsius;
    if (pare_counters_open(&counters) == PARE_OK)
        pare_hw_add_text(hw, "hardware_counters", "hardware counters", "perf_event");
    else
        pare_hw_add_absent(hw, "hardware_counters", "hardware counters", "%s",
                           pare_error_message());
    pare_counters_close(counters);
    if (pare_temperature_read(&celsius) == PARE_OK) {
        char shown[32];
        snprintf(shown, sizeof shown, "%.1f degrees Celsius now", celsius);
        pare_hw_add_number(hw, "cpu_temperature_celsius", "temperature", celsius, shown);
    } else {
        pare_hw_add_absent(hw, "cpu_temperature_celsius", "temperature", "%s",
                           pare_error_message());
    }
}

void pare_hw_add_system(pare_hw *hw)
{
    struct utsname system;
    add_os_name(hw);
    if (uname(&system) == 0)
        pare_hw_add_text(hw, "kernel", "kernel", "%s %s", system.sysname, system.release);
    else
        pare_hw_add_absent(hw, "kernel", "kernel", "uname fails");
#if defined(__clang__)
    pare_hw_add_text(hw, "compiler", "compiler", "%s", __VERSION__);
#else
    pare_hw_add_text(hw, "compiler", "compiler", "gcc %s", __VERSION__);
#endif
    char pcre2[64] = "";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
    pcre2[strcspn(pcre2, " ")] = 0; /* without its date */
    pare_hw_add_text(hw, "libraries", "libraries",
                     "glibc %s, hwloc %s, jansson %s, pcre2 %s, utf8proc %s, openssl %s, cairo %s, "
                     "pango %s",
                     gnu_get_libc_version(), HWLOC_VERSION, jansson_version_str(), pcre2,
                     utf8proc_version(), OpenSSL_version(OPENSSL_VERSION_STRING),
                     cairo_version_string(), pango_version_string());
    pare_energy *energy;
    if (pare_energy_open(&energy) == PARE_OK)
        pare_hw_add_text(hw, "energy_counters", "energy counters", "%s",
                         pare_energy_source(energy));
    else
        pare_hw_add_absent(hw, "energy_counters", "energy counters", "%s", pare_error_message());
    pare_energy_close(energy);
    add_sensors(hw);
    pare_hw_add_text(hw, "pare_version", "pare", "%s", pare_version());
    pare_hw_add_text(hw, "pare_commit", "commit", "%s", pare_commit());
}
