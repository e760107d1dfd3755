/* GPUs as facts about the machine. Keys of the first are "gpu_name", ..., of the second
 * "gpu1_name", ... */
#include "hw/facts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct naming {
    pare_hw *hw;
    int index;
} naming;

/* Keys are kept by pointer: those of further GPUs are made here. */
static const char *key_of(const naming *n, const char *key)
{
    char text[64];
    if (n->index == 0)
        return key;
    snprintf(text, sizeof text, "gpu%d%s", n->index, key + 3);
    const char *owned = pare_arena_copy(&n->hw->text, text, strlen(text));
    if (!owned)
        n->hw->status = PARE_OUT_OF_MEMORY;
    return owned ? owned : key;
}

static void add_text(const naming *n, const char *key, const char *label, const char *text)
{
    if (*text)
        pare_hw_add_text(n->hw, key_of(n, key), label, "%s", text);
    else
        pare_hw_add_absent(n->hw, key_of(n, key), label, "the driver does not tell");
}

static void add_number(const naming *n, const char *key, const char *label, double value,
                       double scale, const char *unit)
{
    char shown[48];
    if (!isfinite(value) || value <= 0) {
        pare_hw_add_absent(n->hw, key_of(n, key), label, "the driver does not tell");
        return;
    }
    snprintf(shown, sizeof shown, "%.4g%s", value / scale, unit);
    pare_hw_add_number(n->hw, key_of(n, key), label, value, shown);
}

static void add_gpu(pare_hw *hw, const pare_gpu_info *info, int index)
{
    naming n = {hw, index};
    char capability[32] = "";
    add_text(&n, "gpu_name", "GPU", info->name);
    add_text(&n, "gpu_architecture", "  architecture", info->architecture);
    if (info->capability_major)
        snprintf(capability, sizeof capability, "%d.%d", info->capability_major,
                 info->capability_minor);
    add_text(&n, "gpu_compute_capability", "  compute capability", capability);
    add_number(&n, "gpu_multiprocessors", "  SMs", info->multiprocessors, 1, "");
    if (info->multiprocessors && !info->tensor_cores)
        pare_hw_add_absent(hw, key_of(&n, "gpu_tensor_cores"), "  tensor cores",
                           "this architecture has none");
    else
        add_number(&n, "gpu_tensor_cores", "  tensor cores", info->tensor_cores, 1, "");
    if (isfinite(info->memory_bytes))
        pare_hw_add_bytes(hw, key_of(&n, "gpu_memory_bytes"), "  memory", info->memory_bytes);
    else
        pare_hw_add_absent(hw, key_of(&n, "gpu_memory_bytes"), "  memory",
                           "the driver does not tell");
    add_number(&n, "gpu_bandwidth_bytes_per_s", "  bandwidth", info->memory_bytes_per_s, 1e9,
               " GB/s by bus and clock");
    add_number(&n, "gpu_clock_max_hz", "  clock, highest", info->clock_most_hz, 1e9, " GHz");
    add_number(&n, "gpu_tdp_watts", "  TDP", info->power_limit_watts, 1, " W");
    add_text(&n, "gpu_uuid", "  UUID", info->uuid);
}

void pare_hw_add_gpus(pare_hw *hw)
{
    pare_gpus *gpus;
    if (pare_gpus_open(&gpus) != PARE_OK) {
        pare_hw_add_absent(hw, "gpu_name", "GPU", "%s", pare_error_message());
        pare_hw_add_absent(hw, "gpu_driver", "GPU driver", "%s", pare_error_message());
        pare_hw_add_absent(hw, "cuda_version", "CUDA", "%s", pare_error_message());
        return;
    }
    pare_hw_add_number(hw, "gpu_count", "GPUs", pare_gpus_count(gpus), NULL);
    for (int i = 0; i < pare_gpus_count(gpus); i++)
        add_gpu(hw, pare_gpus_info(gpus, i), i);
    const pare_gpu_info *first = pare_gpus_info(gpus, 0);
    naming n = {hw, 0};
    add_text(&n, "gpu_driver", "GPU driver", first->driver);
    add_text(&n, "cuda_version", "CUDA", first->cuda);
    add_text(&n, "nvml_version", "NVML", first->nvml);
    pare_gpus_close(gpus);
}
