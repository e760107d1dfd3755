/* A management library with two GPUs that tell known numbers, for test_sensors.c. $FAKE_NVML makes
 * it misbehave: "broken" (does not start), "empty" (no GPU), "old" (few functions answer). */
#include "hw/nvml_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

enum { NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9 };

static int readings; /* energy grows with each */

static int is(const char *mode)
{
    const char *set = getenv("FAKE_NVML");
    return set && strcmp(set, mode) == 0;
}

static int text(char *to, unsigned size, const char *from)
{
    return snprintf(to, size, "%s", from) < (int)size ? NVML_OK : NOT_SUPPORTED;
}

static int index_of(nvml_device device)
{
    return (int)((char *)device - (char *)8) / 8;
}

int nvmlInit_v2(void)
{
    return is("broken") ? DRIVER_NOT_LOADED : NVML_OK;
}

int nvmlShutdown(void)
{
    return NVML_OK;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = is("empty") ? 0 : 2;
    return NVML_OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, nvml_device *device)
{
    *device = (nvml_device)((char *)8 + 8 * index);
    return NVML_OK;
}

int nvmlDeviceGetName(nvml_device device, char *name, unsigned size)
{
    return text(name, size, index_of(device) ? "Fake T4" : "Fake H100");
}

int nvmlDeviceGetMemoryInfo(nvml_device device, nvml_memory *memory)
{
    *memory = (nvml_memory){85ull << 30, 75ull << 30, 10ull << 30};
    return NVML_OK;
}

int nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    return text(version, size, "999.1");
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    *version = 13020;
    return NVML_OK;
}

int nvmlDeviceGetCudaComputeCapability(nvml_device device, int *major, int *minor)
{
    *major = index_of(device) ? 7 : 9;
    *minor = index_of(device) ? 5 : 0;
    return is("old") ? NOT_SUPPORTED : NVML_OK;
}

int nvmlDeviceGetNumGpuCores(nvml_device device, unsigned *cores)
{
    *cores = index_of(device) ? 40 * 64 : 132 * 128;
    return NVML_OK;
}

int nvmlDeviceGetMemoryBusWidth(nvml_device device, unsigned *bits)
{
    *bits = 5120;
    return NVML_OK;
}

int nvmlDeviceGetClockInfo(nvml_device device, unsigned type, unsigned *mhz)
{
    *mhz = type == NVML_CLOCK_SM ? 1500 : 2000;
    return is("old") ? NOT_SUPPORTED : NVML_OK;
}

int nvmlDeviceGetMaxClockInfo(nvml_device device, unsigned type, unsigned *mhz)
{
    *mhz = type == NVML_CLOCK_SM ? 1980 : 2619;
    return is("old") ? NOT_SUPPORTED : NVML_OK;
}

int nvmlDeviceGetPowerManagementDefaultLimit(nvml_device device, unsigned *milliwatts)
{
    *milliwatts = 700000;
    return NVML_OK;
}

int nvmlDeviceGetPowerUsage(nvml_device device, unsigned *milliwatts)
{
    *milliwatts = 123456;
    return is("old") ? NOT_SUPPORTED : NVML_OK;
}

int nvmlDeviceGetTotalEnergyConsumption(nvml_device device, unsigned long long *millijoules)
{
    *millijoules = 5000ull + 250ull * (unsigned)readings++;
    return is("old") ? NOT_SUPPORTED : NVML_OK;
}

int nvmlDeviceGetTemperature(nvml_device device, unsigned sensor, unsigned *celsius)
{
    *celsius = 61;
    return NVML_OK;
}

int nvmlDeviceGetUtilizationRates(nvml_device device, nvml_utilization *used)
{
    *used = (nvml_utilization){87, 45};
    return NVML_OK;
}

/* ---- counters: of the first GPU only ---- */

int nvmlGpmQueryDeviceSupport(nvml_device device, nvml_gpm_support *support)
{
    support->supported = index_of(device) == 0;
    return support->version == NVML_GPM_VERSION ? NVML_OK : NOT_SUPPORTED;
}

int nvmlGpmSampleAlloc(nvml_gpm_sample *sample)
{
    *sample = malloc(16);
    return *sample ? NVML_OK : NOT_SUPPORTED;
}

int nvmlGpmSampleFree(nvml_gpm_sample sample)
{
    free(sample);
    return NVML_OK;
}

int nvmlGpmSampleGet(nvml_device device, nvml_gpm_sample sample)
{
    static double clock;
    double now = clock += 1;
    memcpy(sample, &now, sizeof now);
    return NVML_OK;
}

/* Fails unless the first sample is the older one. */
int nvmlGpmMetricsGet(nvml_gpm_request *request)
{
    double first, second;
    memcpy(&first, request->first, sizeof first);
    memcpy(&second, request->second, sizeof second);
    if (request->version != NVML_GPM_VERSION || second <= first)
        return NOT_SUPPORTED;
    for (unsigned i = 0; i < request->count; i++) {
        request->metrics[i].value = 10.0 * request->metrics[i].id;
        request->metrics[i].result =
            request->metrics[i].id == NVML_GPM_DRAM_ACTIVITY ? NOT_SUPPORTED : NVML_OK;
    }
    return NVML_OK;
}
