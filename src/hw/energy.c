/* RAPL: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html */
#include "hw/energy.h"

#include "base/fail.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <pare/hw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PACKAGES = 64, PATH_BYTES = 320 };

typedef struct domain {
    char path[PATH_BYTES];
    double range, last, total; /* microjoules; the counter wraps at range */
} domain;

struct pare_energy {
    domain domains[MAX_PACKAGES];
    int count;
};

static bool read_number(const char *path, double *value)
{
    FILE *file = fopen(path, "re");
    bool read = file && fscanf(file, "%lf", value) == 1;
    if (file)
        fclose(file);
    return read;
}

/* Only top-level package domains ("intel-rapl:0", on AMD too): their parts are counted in them. */
static bool is_package(const char *name)
{
    const char *colon = strchr(name, ':');
    return strncmp(name, "intel-rapl:", 11) == 0 && colon && !strchr(colon + 1, ':');
}

static pare_status add_domain(pare_energy *energy, const char *root, const char *name)
{
    domain *d = &energy->domains[energy->count];
    char range[PATH_BYTES + 32];
    snprintf(d->path, sizeof d->path, "%s/%s/energy_uj", root, name);
    snprintf(range, sizeof range, "%s/%s/max_energy_range_uj", root, name);
    errno = 0;
    if (!read_number(d->path, &d->last))
        return pare_fail(PARE_IO, "%s cannot be read: %s", d->path,
                         errno ? strerror(errno) : "not a number");
    if (!read_number(range, &d->range))
        d->range = 0;
    energy->count++;
    return PARE_OK;
}

pare_status pare_energy_open(pare_energy **out)
{
    return pare_energy_open_at("/sys/class/powercap", out);
}

pare_status pare_energy_open_at(const char *root, pare_energy **out)
{
    *out = NULL;
    DIR *folder = opendir(root);
    if (!folder)
        return pare_fail(PARE_NOT_FOUND,
                         "no %s: the kernel or the hypervisor offers no energy counters", root);
    pare_energy *energy;
    pare_status status = pare_allocate(1, sizeof *energy, "energy counters", &energy);
    for (struct dirent *entry; status == PARE_OK && (entry = readdir(folder));)
        if (is_package(entry->d_name) && energy->count < MAX_PACKAGES)
            status = add_domain(energy, root, entry->d_name);
    closedir(folder);
    if (status == PARE_OK && !energy->count)
        status = pare_fail(PARE_NOT_FOUND, "%s holds no RAPL package", root);
    if (status != PARE_OK) {
        free(energy);
        return status;
    }
    *out = energy;
    return PARE_OK;
}

void pare_energy_close(pare_energy *energy)
{
    free(energy);
}

pare_status pare_energy_read(pare_energy *energy, double *joules)
{
    *joules = 0;
    for (int i = 0; i < energy->count; i++) {
        domain *d = &energy->domains[i];
        double now;
        if (!read_number(d->path, &now))
            return pare_fail(PARE_IO, "%s cannot be read", d->path);
        d->total += now - d->last + (now < d->last ? d->range : 0);
        d->last = now;
        *joules += d->total * 1e-6;
    }
    return PARE_OK;
}
