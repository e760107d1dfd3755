#include "bench/sensors.h"

#include "base/clock.h"

#include <math.h>
#include <pare/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void set_reason(char reason[400])
{
    snprintf(reason, 400, "%s", pare_error_message());
}

/* "cuda" or "cuda:1". NVML counts GPUs as the driver does; CUDA does too with
 * CUDA_DEVICE_ORDER=PCI_BUS_ID, and on machines with GPUs of one kind. */
static void open_gpu(pare_bench_sensors *s, const char *device)
{
    s->on_gpu = device && strncmp(device, "cuda", 4) == 0;
    if (!s->on_gpu) {
        snprintf(s->gpu_reason, sizeof s->gpu_reason, "the model ran on the CPU");
        return;
    }
    s->gpu = device[4] == ':' ? atoi(device + 5) : 0;
    if (pare_gpus_open(&s->gpus) != PARE_OK) {
        set_reason(s->gpu_reason);
    } else if (s->gpu < 0 || s->gpu >= pare_gpus_count(s->gpus)) {
        snprintf(s->gpu_reason, sizeof s->gpu_reason, "NVML has no GPU %d", s->gpu);
        pare_gpus_close(s->gpus);
        s->gpus = NULL;
    }
}

void pare_bench_sensors_open(pare_bench_sensors *s, const char *device)
{
    double celsius;
    open_gpu(s, device);
    if (pare_energy_open(&s->energy) != PARE_OK)
        set_reason(s->energy_reason);
    if (pare_counters_open(&s->counters) != PARE_OK)
        set_reason(s->counters_reason);
    if (pare_temperature_read(&celsius) != PARE_OK)
        set_reason(s->temperature_reason);
    s->celsius = NAN;
    s->idle_watts = NAN;
}

void pare_bench_sensors_close(pare_bench_sensors *s)
{
    pare_energy_close(s->energy);
    pare_counters_close(s->counters);
    pare_gpus_close(s->gpus);
    free(s->prefill_joules.values);
    free(s->decode_joules.values);
    free(s->clock_hz.values);
    *s = (pare_bench_sensors){0};
}

/* On a GPU its energy counts, and that of the CPU packages where they are counted. */
static double read_joules(const pare_bench_sensors *s)
{
    double packages = 0;
    bool counted = s->energy && pare_energy_read(s->energy, &packages) == PARE_OK;
    if (!s->on_gpu)
        return counted ? packages : NAN;
    if (!s->gpus)
        return NAN;
    return pare_gpus_joules(s->gpus, s->gpu) + packages;
}

static double read_cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

pare_bench_moment pare_bench_sensors_now(const pare_bench_sensors *s)
{
    pare_bench_moment moment = {.counts = {NAN, NAN, NAN}};
    if (s->counters)
        moment.counts = pare_counters_read(s->counters);
    moment.joules = read_joules(s);
    moment.cpu_seconds = read_cpu_seconds();
    moment.seconds = pare_seconds();
    return moment;
}

void pare_bench_sensors_idle(pare_bench_sensors *s)
{
    pare_bench_moment before = pare_bench_sensors_now(s);
    if (!isfinite(before.joules))
        return;
    usleep(1000000);
    pare_bench_moment after = pare_bench_sensors_now(s);
    s->idle_watts = (after.joules - before.joules) / (after.seconds - before.seconds);
}

/* ---- keeping ---- */

enum { GPU_VALUES = sizeof(pare_gpu_reading) / sizeof(double) };

static void keep_gpu(pare_bench_sensors *s)
{
    if (!s->gpus)
        return;
    pare_gpu_reading now = pare_gpus_read(s->gpus, s->gpu);
    double values[GPU_VALUES], sums[GPU_VALUES], most[GPU_VALUES];
    memcpy(values, &now, sizeof values);
    memcpy(sums, &s->gpu_sums, sizeof sums);
    memcpy(most, &s->gpu_most, sizeof most);
    for (int i = 0; i < GPU_VALUES; i++) {
        sums[i] = s->gpu_readings ? sums[i] + values[i] : values[i];
        most[i] = s->gpu_readings && !(values[i] > most[i]) ? most[i] : values[i];
    }
    memcpy(&s->gpu_sums, sums, sizeof sums);
    memcpy(&s->gpu_most, most, sizeof most);
    s->gpu_readings++;
}

pare_status pare_bench_sensors_keep(pare_bench_sensors *s, const pare_bench_moment at[3],
                                    bool prefill, bool decode)
{
    double celsius;
    pare_status status = PARE_OK;
    if (prefill && isfinite(at[1].joules))
        status = pare_bench_series_add(&s->prefill_joules, at[1].joules - at[0].joules);
    if (status == PARE_OK && decode && isfinite(at[2].joules))
        status = pare_bench_series_add(&s->decode_joules, at[2].joules - at[1].joules);
    s->seconds += at[2].seconds - at[0].seconds;
    s->cpu_seconds += at[2].cpu_seconds - at[0].cpu_seconds;
    s->decode_counts.instructions += at[2].counts.instructions - at[1].counts.instructions;
    s->decode_counts.cycles += at[2].counts.cycles - at[1].counts.cycles;
    s->decode_counts.llc_misses += at[2].counts.llc_misses - at[1].counts.llc_misses;
    if (!*s->temperature_reason && pare_temperature_read(&celsius) == PARE_OK)
        s->celsius = isfinite(s->celsius) && s->celsius > celsius ? s->celsius : celsius;
    keep_gpu(s);
    if (status == PARE_OK)
        status = pare_bench_series_add(&s->clock_hz, pare_clock_measure());
    return status;
}

/* ---- reporting ---- */

static void add(json_t *object, const char *key, double value)
{
    if (isfinite(value))
        json_object_set_new(object, key, json_real(value));
}

static json_t *numbers(const pare_bench_series *series)
{
    json_t *array = json_array();
    for (size_t i = 0; i < series->count; i++)
        json_array_append_new(array, isfinite(series->values[i]) ? json_real(series->values[i])
                                                                 : json_null());
    return array;
}

static void report_gpu(const pare_bench_sensors *s, json_t *message)
{
    double n = s->gpu_readings;
    if (!s->gpu_readings)
        return;
    add(message, "gpu_bandwidth_bytes_per_s", pare_gpus_info(s->gpus, s->gpu)->memory_bytes_per_s);
    json_object_set_new(message, "gpu_name", json_string(pare_gpus_info(s->gpus, s->gpu)->name));
    add(message, "gpu_utilization", s->gpu_sums.utilization / n);
    add(message, "gpu_memory_utilization", s->gpu_sums.memory_utilization / n);
    add(message, "gpu_memory_bytes", s->gpu_most.memory_used_bytes);
    add(message, "gpu_watts", s->gpu_sums.watts / n);
    add(message, "gpu_temperature_celsius", s->gpu_most.celsius);
    add(message, "gpu_clock_hz", s->gpu_sums.clock_hz / n);
    add(message, "gpu_sm_activity", s->gpu_sums.sm_activity / n);
    add(message, "gpu_tensor_activity", s->gpu_sums.tensor_activity / n);
    add(message, "gpu_dram_activity", s->gpu_sums.dram_activity / n);
}

void pare_bench_sensors_report(const pare_bench_sensors *s, json_t *message)
{
    json_t *reasons = json_object();
    if (isfinite(s->idle_watts)) {
        json_object_set_new(message, "prefill_joules", numbers(&s->prefill_joules));
        json_object_set_new(message, "decode_joules", numbers(&s->decode_joules));
        add(message, "idle_watts", s->idle_watts);
        char source[80];
        snprintf(source, sizeof source, "%s%s%s", s->energy ? pare_energy_source(s->energy) : "",
                 s->energy && s->on_gpu ? " + " : "", s->on_gpu ? "GPU (NVML)" : "");
        json_object_set_new(message, "energy_source", json_string(source));
    }
    json_object_set_new(message, "clocks_hz", numbers(&s->clock_hz));
    add(message, "cpu_temperature_celsius", s->celsius);
    add(message, "cpu_share", s->seconds > 0 ? s->cpu_seconds / s->seconds : NAN);
    add(message, "decode_instructions", s->decode_counts.instructions);
    add(message, "decode_cycles", s->decode_counts.cycles);
    add(message, "decode_llc_misses", s->decode_counts.llc_misses);
    report_gpu(s, message);
    json_object_set_new(
        reasons, "energy",
        json_string(s->on_gpu && *s->gpu_reason ? s->gpu_reason : s->energy_reason));
    json_object_set_new(reasons, "counters", json_string(s->counters_reason));
    json_object_set_new(reasons, "temperature", json_string(s->temperature_reason));
    json_object_set_new(reasons, "gpu", json_string(s->gpu_reason));
    json_object_set_new(message, "reasons", reasons);
}
