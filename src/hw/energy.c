/* RAPL: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
 * hwmon: https://www.kernel.org/doc/html/latest/hwmon/sysfs-interface.html */
#include "hw/energy.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "hw/sensors.h"

#include <dirent.h>
#include <errno.h>
#include <pare/hw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_DOMAINS = 64, POWER_PERIOD_US = 20000 };

typedef struct domain {
    char path[PARE_SENSOR_PATH];
    double range, last, total; /* microjoules; the counter wraps at range */
} domain;

struct pare_energy {
    domain domains[MOST_DOMAINS];
    int count;
    const char *source;
    bool power; /* the domains tell microwatts, which the thread adds up */
    pthread_t thread;
    pthread_mutex_t lock; /* of domains and failed, where there is a thread */
    bool running, failed;
    atomic_bool stop;
};

/* Only top-level package domains ("intel-rapl:0", on AMD too): their parts are counted in them. */
static bool is_package(const char *name)
{
    const char *colon = strchr(name, ':');
    return strncmp(name, "intel-rapl:", 11) == 0 && colon && !strchr(colon + 1, ':');
}

static pare_status add_domain(pare_energy *energy, const char *path, double range)
{
    domain *d = &energy->domains[energy->count];
    snprintf(d->path, sizeof d->path, "%s", path);
    d->range = range;
    errno = 0;
    if (!pare_sensor_number(d->path, &d->last))
        return pare_fail(PARE_IO, "%s cannot be read: %s", d->path,
                         errno ? strerror(errno) : "not a number");
    energy->count++;
    return PARE_OK;
}

static pare_status open_rapl(pare_energy *energy, const char *root)
{
    char path[PARE_SENSOR_PATH];
    pare_status status = PARE_OK;
    DIR *folder = opendir(root);
    if (!folder)
        return pare_fail(PARE_NOT_FOUND,
                         "no %s: the kernel or the hypervisor offers no energy counters", root);
    for (struct dirent *entry; status == PARE_OK && (entry = readdir(folder));) {
        double range = 0;
        if (!is_package(entry->d_name) || energy->count == MOST_DOMAINS)
            continue;
        snprintf(path, sizeof path, "%s/%.60s/max_energy_range_uj", root, entry->d_name);
        (void)pare_sensor_number(path, &range);
        snprintf(path, sizeof path, "%s/%.60s/energy_uj", root, entry->d_name);
        status = add_domain(energy, path, range);
    }
    closedir(folder);
    if (status == PARE_OK && !energy->count)
        status = pare_fail(PARE_NOT_FOUND, "%s holds no RAPL package", root);
    energy->source = "RAPL packages";
    return status;
}

/* ---- hwmon ---- */

/* The sensors of one chip that are of a package, a socket or the whole machine; those of single
 * cores (amd_energy's Ecore...) or of other devices would be counted twice, or are none of ours. */
static void add_chip(pare_energy *energy, const char *folder)
{
    static const char *const counters[] = {"amd_energy", NULL}, *const meters[] = {
                                                                    "power_meter",  "zenpower",
                                                                    "fam15h_power", "ina3221",
                                                                    "ina226",       NULL};
    static const char *const values[] = {"power1_average", "power1_input"};
    char path[PARE_SENSOR_PATH], label[PARE_SENSOR_PATH], line[64];
    double ignored;
    for (int i = 1; i < 512 && pare_sensor_is(folder, "name", counters); i++) {
        snprintf(path, sizeof path, "%.200s/energy%d_input", folder, i);
        snprintf(label, sizeof label, "%.200s/energy%d_label", folder, i);
        FILE *file = fopen(label, "re");
        bool socket = file && fgets(line, sizeof line, file) && strncmp(line, "Esocket", 7) == 0;
        if (file)
            fclose(file);
        if (socket && !energy->power && energy->count < MOST_DOMAINS)
            (void)add_domain(energy, path, 0);
    }
    if ((energy->count && !energy->power) || !pare_sensor_is(folder, "name", meters))
        return;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%.200s/%s", folder, values[i]);
        if (energy->count < MOST_DOMAINS && pare_sensor_number(path, &ignored) &&
            add_domain(energy, path, 0) == PARE_OK) {
            energy->power = true;
            return;
        }
    }
}

static pare_status open_hwmon(pare_energy *energy, const char *root)
{
    char path[PARE_SENSOR_PATH];
    DIR *folder = opendir(root);
    energy->count = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (*entry->d_name != '.') {
            snprintf(path, sizeof path, "%.200s/%.60s", root, entry->d_name);
            add_chip(energy, path);
        }
    if (folder)
        closedir(folder);
    energy->source = energy->power ? "hwmon power sensors" : "hwmon energy counters";
    return energy->count ? PARE_OK : PARE_NOT_FOUND;
}

/* Microwatts become microjoules: each reading holds until the next. */
static void *add_up(void *argument)
{
    pare_energy *energy = argument;
    double before = pare_seconds();
    while (!atomic_load(&energy->stop)) {
        usleep(POWER_PERIOD_US);
        double now = pare_seconds(), watts;
        pthread_mutex_lock(&energy->lock);
        for (int i = 0; i < energy->count; i++) {
            domain *d = &energy->domains[i];
            energy->failed |= !pare_sensor_number(d->path, &watts);
            d->total += 0.5 * (d->last + watts) * (now - before);
            d->last = watts;
        }
        pthread_mutex_unlock(&energy->lock);
        before = now;
    }
    return NULL;
}

static pare_status start_thread(pare_energy *energy)
{
    pthread_mutex_init(&energy->lock, NULL);
    int error = pthread_create(&energy->thread, NULL, add_up, energy);
    if (error)
        return pare_fail(PARE_IO, "the power sensors cannot be read in the background: %s",
                         strerror(error));
    energy->running = true;
    return PARE_OK;
}

/* ---- opening and reading ---- */

pare_status pare_energy_open(pare_energy **out)
{
    return pare_energy_open_at("/sys/class/powercap", "/sys/class/hwmon", out);
}

pare_status pare_energy_open_at(const char *powercap, const char *hwmon, pare_energy **out)
{
    pare_energy *energy;
    *out = NULL;
    pare_status status = pare_allocate(1, sizeof *energy, "energy counters", &energy);
    if (status != PARE_OK)
        return status;
    status = open_rapl(energy, powercap);
    /* The message stays that of RAPL: it is what a user can do something about. */
    if (status != PARE_OK && hwmon && open_hwmon(energy, hwmon) == PARE_OK)
        status = PARE_OK;
    if (status == PARE_OK && energy->power)
        status = start_thread(energy);
    if (status != PARE_OK) {
        free(energy);
        return status;
    }
    *out = energy;
    return PARE_OK;
}

void pare_energy_close(pare_energy *energy)
{
    if (!energy)
        return;
    if (energy->running) {
        atomic_store(&energy->stop, true);
        pthread_join(energy->thread, NULL);
        pthread_mutex_destroy(&energy->lock);
    }
    free(energy);
}

const char *pare_energy_source(const pare_energy *energy)
{
    return energy->source;
}

static pare_status read_counters(pare_energy *energy)
{
    for (int i = 0; i < energy->count; i++) {
        domain *d = &energy->domains[i];
        double now;
        if (!pare_sensor_number(d->path, &now))
            return pare_fail(PARE_IO, "%s cannot be read", d->path);
        d->total += now - d->last + (now < d->last ? d->range : 0);
        d->last = now;
    }
    return PARE_OK;
}

pare_status pare_energy_read(pare_energy *energy, double *joules)
{
    pare_status status = PARE_OK;
    *joules = 0;
    if (energy->power) {
        pthread_mutex_lock(&energy->lock);
        if (energy->failed)
            status = pare_fail(PARE_IO, "a power sensor can no longer be read");
    } else {
        status = read_counters(energy);
    }
    for (int i = 0; i < energy->count; i++)
        *joules += energy->domains[i].total * 1e-6;
    if (energy->power)
        pthread_mutex_unlock(&energy->lock);
    return status;
}
