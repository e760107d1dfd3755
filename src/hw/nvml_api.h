/* What Pare needs of NVIDIA's management library, declared here from its documentation: the library
 * is opened at run time, and nothing of CUDA's toolkit is needed to build.
 * https://docs.nvidia.com/deploy/nvml-api/ */
#ifndef PARE_HW_NVML_API_H
#define PARE_HW_NVML_API_H

typedef struct nvml_device_opaque *nvml_device;
typedef struct nvml_gpm_sample_opaque *nvml_gpm_sample;

enum {
    NVML_OK = 0,
    NVML_TEMPERATURE_GPU = 0,
    NVML_CLOCK_SM = 1,
    NVML_CLOCK_MEMORY = 2,
    NVML_GPM_SM_ACTIVITY = 2,
    NVML_GPM_TENSOR_ACTIVITY = 5,
    NVML_GPM_DRAM_ACTIVITY = 10,
    NVML_GPM_VERSION = 1,
    /* Slots of the array at the end of nvml_gpm_request; newer libraries declare more than older
     * ones, and all read only as many as are asked for. */
    NVML_GPM_SLOTS = 512,
};

typedef struct nvml_memory {
    unsigned long long total, free, used;
} nvml_memory;

typedef struct nvml_utilization {
    unsigned gpu, memory; /* per cent of the last sampling period */
} nvml_utilization;

typedef struct nvml_gpm_support {
    unsigned version, supported;
} nvml_gpm_support;

typedef struct nvml_gpm_metric {
    unsigned id;
    int result;
    double value;
    char *short_name, *long_name, *unit;
} nvml_gpm_metric;

typedef struct nvml_gpm_request {
    unsigned version, count;
    nvml_gpm_sample first, second;
    nvml_gpm_metric metrics[NVML_GPM_SLOTS];
} nvml_gpm_request;

/* X(field, "symbol", needed, parameters): without a needed one the library is of no use; the others
 * came later or are missing on some GPUs. */
#define NVML_FUNCTIONS(X)                                                                          \
    X(init, "nvmlInit_v2", 1, (void))                                                              \
    X(shutdown, "nvmlShutdown", 1, (void))                                                         \
    X(count, "nvmlDeviceGetCount_v2", 1, (unsigned *))                                             \
    X(handle, "nvmlDeviceGetHandleByIndex_v2", 1, (unsigned, nvml_device *))                       \
    X(name, "nvmlDeviceGetName", 1, (nvml_device, char *, unsigned))                               \
    X(memory, "nvmlDeviceGetMemoryInfo", 1, (nvml_device, nvml_memory *))                          \
    X(driver, "nvmlSystemGetDriverVersion", 0, (char *, unsigned))                                 \
    X(cuda_driver, "nvmlSystemGetCudaDriverVersion_v2", 0, (int *))                                \
    X(nvml_version, "nvmlSystemGetNVMLVersion", 0, (char *, unsigned))                             \
    X(uuid, "nvmlDeviceGetUUID", 0, (nvml_device, char *, unsigned))                               \
    X(architecture, "nvmlDeviceGetArchitecture", 0, (nvml_device, unsigned *))                     \
    X(capability, "nvmlDeviceGetCudaComputeCapability", 0, (nvml_device, int *, int *))            \
    X(cores, "nvmlDeviceGetNumGpuCores", 0, (nvml_device, unsigned *))                             \
    X(bus_width, "nvmlDeviceGetMemoryBusWidth", 0, (nvml_device, unsigned *))                      \
    X(clock, "nvmlDeviceGetClockInfo", 0, (nvml_device, unsigned, unsigned *))                     \
    X(clock_most, "nvmlDeviceGetMaxClockInfo", 0, (nvml_device, unsigned, unsigned *))             \
    X(power_limit, "nvmlDeviceGetPowerManagementDefaultLimit", 0, (nvml_device, unsigned *))       \
    X(power, "nvmlDeviceGetPowerUsage", 0, (nvml_device, unsigned *))                              \
    X(energy, "nvmlDeviceGetTotalEnergyConsumption", 0, (nvml_device, unsigned long long *))       \
    X(temperature, "nvmlDeviceGetTemperature", 0, (nvml_device, unsigned, unsigned *))             \
    X(utilization, "nvmlDeviceGetUtilizationRates", 0, (nvml_device, nvml_utilization *))          \
    X(gpm_support, "nvmlGpmQueryDeviceSupport", 0, (nvml_device, nvml_gpm_support *))              \
    X(gpm_allocate, "nvmlGpmSampleAlloc", 0, (nvml_gpm_sample *))                                  \
    X(gpm_free, "nvmlGpmSampleFree", 0, (nvml_gpm_sample))                                         \
    X(gpm_sample, "nvmlGpmSampleGet", 0, (nvml_device, nvml_gpm_sample))                           \
    X(gpm_metrics, "nvmlGpmMetricsGet", 0, (nvml_gpm_request *))

typedef struct nvml_api {
#define X(field, symbol, needed, parameters) int(*field) parameters;
    NVML_FUNCTIONS(X)
#undef X
} nvml_api;

#endif
