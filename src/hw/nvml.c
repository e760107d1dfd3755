/* NVIDIA GPUs through their management library, opened at run time. */
#include "base/fail.h"
#include "base/memory.h"
#include "hw/gpus.h"
#include "hw/nvml_api.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gpu {
    nvml_device device;
    pare_gpu_info info;
    nvml_gpm_sample samples[2]; /* of the counters: the last reading's, and the next one's */
    bool counted;               /* samples[0] holds one */
} gpu;

struct pare_gpus {
    void *library;
    nvml_api api;
    bool started;
    int count;
    gpu *items;
    nvml_gpm_request *request;
};

static pare_status load_symbols(pare_gpus *gpus, const char *library)
{
    static const struct {
        const char *symbol;
        size_t offset;
        bool needed;
    } rows[] = {
#define X(field, symbol, needed, parameters) {symbol, offsetof(nvml_api, field), needed},
        NVML_FUNCTIONS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *address = dlsym(gpus->library, rows[i].symbol);
        if (!address && rows[i].needed)
            return pare_fail(PARE_FORMAT, "%s has no %s", library, rows[i].symbol);
        /* POSIX wants a function's address to fit a void pointer. */
        memcpy((char *)&gpus->api + rows[i].offset, &address, sizeof address);
    }
    return PARE_OK;
}

/* ---- what a GPU is ---- */

/* CUDA programming guide, "Compute capabilities": FP32 cores and tensor cores of an SM. */
static void set_cores(const pare_gpus *gpus, gpu *g)
{
    static const struct {
        int major, minor; /* from this capability on */
        const char *name;
        int cores, tensor_cores;
    } rows[] = {
        {5, 0, "Maxwell", 128, 0},    {6, 0, "Pascal", 64, 0},      {6, 1, "Pascal", 128, 0},
        {7, 0, "Volta", 64, 8},       {7, 5, "Turing", 64, 8},      {8, 0, "Ampere", 64, 4},
        {8, 6, "Ampere", 128, 4},     {8, 9, "Ada", 128, 4},        {9, 0, "Hopper", 128, 4},
        {10, 0, "Blackwell", 128, 4}, {12, 0, "Blackwell", 128, 4},
    };
    pare_gpu_info *info = &g->info;
    unsigned cores;
    if (!gpus->api.capability ||
        gpus->api.capability(g->device, &info->capability_major, &info->capability_minor))
        return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool reached =
            info->capability_major > rows[i].major ||
            (info->capability_major == rows[i].major && info->capability_minor >= rows[i].minor);
        if (!reached)
            continue;
        snprintf(info->architecture, sizeof info->architecture, "%s", rows[i].name);
        if (gpus->api.cores && gpus->api.cores(g->device, &cores) == NVML_OK) {
            info->multiprocessors = (int)cores / rows[i].cores;
            info->tensor_cores = info->multiprocessors * rows[i].tensor_cores;
        }
    }
}

static void describe(const pare_gpus *gpus, gpu *g)
{
    const nvml_api *api = &gpus->api;
    pare_gpu_info *info = &g->info;
    nvml_memory memory;
    unsigned width, clock, milliwatts;
    int cuda;
    if (api->name(g->device, info->name, sizeof info->name))
        snprintf(info->name, sizeof info->name, "an NVIDIA GPU that does not tell its name");
    if (api->uuid)
        (void)api->uuid(g->device, info->uuid, sizeof info->uuid);
    if (api->driver)
        (void)api->driver(info->driver, sizeof info->driver);
    if (api->nvml_version)
        (void)api->nvml_version(info->nvml, sizeof info->nvml);
    if (api->cuda_driver && api->cuda_driver(&cuda) == NVML_OK)
        snprintf(info->cuda, sizeof info->cuda, "%d.%d", cuda / 1000, cuda % 1000 / 10);
    info->memory_bytes = api->memory(g->device, &memory) ? NAN : (double)memory.total;
    info->power_limit_watts =
        api->power_limit && !api->power_limit(g->device, &milliwatts) ? 1e-3 * milliwatts : NAN;
    /* Two transfers a clock, as GDDR and HBM of all supported generations are told. */
    info->memory_bytes_per_s = api->bus_width && api->clock_most &&
                                       !api->bus_width(g->device, &width) &&
                                       !api->clock_most(g->device, NVML_CLOCK_MEMORY, &clock)
                                   ? 2e6 * clock * width / 8
                                   : NAN;
    info->clock_most_hz =
        api->clock_most && !api->clock_most(g->device, NVML_CLOCK_SM, &clock) ? 1e6 * clock : NAN;
    set_cores(gpus, g);
}

/* ---- counters of the SMs (Hopper and later) ---- */

static void start_counters(pare_gpus *gpus, gpu *g)
{
    const nvml_api *api = &gpus->api;
    nvml_gpm_support support = {NVML_GPM_VERSION, 0};
    if (!api->gpm_support || !api->gpm_allocate || !api->gpm_free || !api->gpm_sample ||
        !api->gpm_metrics || api->gpm_support(g->device, &support) || !support.supported)
        return;
    for (int i = 0; i < 2; i++)
        if (api->gpm_allocate(&g->samples[i]))
            g->samples[i] = NULL;
    g->counted = g->samples[0] && g->samples[1] && !api->gpm_sample(g->device, g->samples[0]);
}

static void read_counters(pare_gpus *gpus, gpu *g, pare_gpu_reading *reading)
{
    static const unsigned ids[] = {NVML_GPM_SM_ACTIVITY, NVML_GPM_TENSOR_ACTIVITY,
                                   NVML_GPM_DRAM_ACTIVITY};
    double *const values[] = {&reading->sm_activity, &reading->tensor_activity,
                              &reading->dram_activity};
    const nvml_api *api = &gpus->api;
    nvml_gpm_request *request = gpus->request;
    if (!g->counted || api->gpm_sample(g->device, g->samples[1]))
        return;
    memset(request, 0, sizeof *request);
    request->version = NVML_GPM_VERSION;
    request->count = 3;
    request->first = g->samples[0];
    request->second = g->samples[1];
    for (int i = 0; i < 3; i++)
        request->metrics[i].id = ids[i];
    int result = api->gpm_metrics(request);
    for (int i = 0; result == NVML_OK && i < 3; i++)
        if (request->metrics[i].result == NVML_OK)
            *values[i] = 0.01 * request->metrics[i].value;
    nvml_gpm_sample newer = g->samples[1];
    g->samples[1] = g->samples[0];
    g->samples[0] = newer;
}

/* ---- reading ---- */

double pare_gpus_joules(const pare_gpus *gpus, int index)
{
    unsigned long long millijoules;
    return gpus->api.energy && !gpus->api.energy(gpus->items[index].device, &millijoules)
               ? 1e-3 * (double)millijoules
               : NAN;
}

pare_gpu_reading pare_gpus_read(pare_gpus *gpus, int index)
{
    gpu *g = &gpus->items[index];
    const nvml_api *api = &gpus->api;
    pare_gpu_reading r = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    nvml_memory memory;
    nvml_utilization used;
    unsigned value;
    if (!api->memory(g->device, &memory))
        r.memory_used_bytes = (double)memory.used;
    if (api->utilization && !api->utilization(g->device, &used)) {
        r.utilization = 0.01 * used.gpu;
        r.memory_utilization = 0.01 * used.memory;
    }
    if (api->power && !api->power(g->device, &value))
        r.watts = 1e-3 * value;
    r.joules = pare_gpus_joules(gpus, index);
    if (api->temperature && !api->temperature(g->device, NVML_TEMPERATURE_GPU, &value))
        r.celsius = value;
    if (api->clock && !api->clock(g->device, NVML_CLOCK_SM, &value))
        r.clock_hz = 1e6 * value;
    if (api->clock && !api->clock(g->device, NVML_CLOCK_MEMORY, &value))
        r.memory_clock_hz = 1e6 * value;
    read_counters(gpus, g, &r);
    return r;
}

/* ---- opening ---- */

static pare_status find_devices(pare_gpus *gpus, const char *library)
{
    unsigned count = 0;
    int result = gpus->api.init();
    if (result)
        return pare_fail(PARE_NOT_FOUND, "%s does not start (NVML error %d): no driver is loaded?",
                         library, result);
    gpus->started = true;
    if ((result = gpus->api.count(&count)) || !count)
        return pare_fail(PARE_NOT_FOUND, "%s finds no GPU (NVML error %d)", library, result);
    if (count > 256)
        return pare_fail(PARE_FORMAT, "%s counts %u GPUs", library, count);
    pare_status status = pare_allocate(count, sizeof *gpus->items, "GPUs", &gpus->items);
    if (status == PARE_OK)
        status = pare_allocate(1, sizeof *gpus->request, "GPU counters", &gpus->request);
    for (unsigned i = 0; status == PARE_OK && i < count; i++) {
        gpu *g = &gpus->items[gpus->count];
        if (gpus->api.handle(i, &g->device)) /* one that we may not use */
            continue;
        gpus->count++;
        describe(gpus, g);
        start_counters(gpus, g);
    }
    if (status == PARE_OK && !gpus->count)
        status = pare_fail(PARE_NOT_FOUND, "%s: no GPU may be used", library);
    return status;
}

pare_status pare_gpus_open(pare_gpus **out)
{
    return pare_gpus_open_at("libnvidia-ml.so.1", out);
}

pare_status pare_gpus_open_at(const char *library, pare_gpus **out)
{
    pare_gpus *gpus;
    *out = NULL;
    pare_status status = pare_allocate(1, sizeof *gpus, "GPUs", &gpus);
    if (status != PARE_OK)
        return status;
    gpus->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!gpus->library) {
        status = pare_fail(PARE_NOT_FOUND, "no %s: no NVIDIA driver is installed", library);
        goto fail;
    }
    PARE_TRY(load_symbols(gpus, library));
    PARE_TRY(find_devices(gpus, library));
    *out = gpus;
    return PARE_OK;
fail:
    pare_gpus_close(gpus);
    return status;
}

void pare_gpus_close(pare_gpus *gpus)
{
    if (!gpus)
        return;
    for (int i = 0; i < gpus->count; i++)
        for (int s = 0; s < 2; s++)
            if (gpus->items[i].samples[s])
                gpus->api.gpm_free(gpus->items[i].samples[s]);
    if (gpus->started)
        gpus->api.shutdown();
    if (gpus->library)
        dlclose(gpus->library);
    free(gpus->items);
    free(gpus->request);
    free(gpus);
}

int pare_gpus_count(const pare_gpus *gpus)
{
    return gpus->count;
}

const pare_gpu_info *pare_gpus_info(const pare_gpus *gpus, int index)
{
    return &gpus->items[index].info;
}
