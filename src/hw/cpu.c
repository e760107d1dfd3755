/* CPUID: Intel SDM volume 2A and AMD APM volume 3, appendix E. */
#include "hw/cpu.h"

#include "hw/facts.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#if defined(__x86_64__)
#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };

static const struct feature {
    const char *name; /* as in /proc/cpuinfo */
    unsigned leaf, subleaf;
    int word, bit;
} features[] = {
    {"sse4_2", 1, 0, ECX, 20},       {"popcnt", 1, 0, ECX, 23},
    {"f16c", 1, 0, ECX, 29},         {"fma", 1, 0, ECX, 12},
    {"avx", 1, 0, ECX, 28},          {"avx2", 7, 0, EBX, 5},
    {"bmi2", 7, 0, EBX, 8},          {"avx_vnni", 7, 1, EAX, 4},
    {"avx_vnni_int8", 7, 1, EDX, 4}, {"avx_ne_convert", 7, 1, EDX, 5},
    {"avx512f", 7, 0, EBX, 16},      {"avx512dq", 7, 0, EBX, 17},
    {"avx512cd", 7, 0, EBX, 28},     {"avx512bw", 7, 0, EBX, 30},
    {"avx512vl", 7, 0, EBX, 31},     {"avx512vbmi", 7, 0, ECX, 1},
    {"avx512_vbmi2", 7, 0, ECX, 6},  {"avx512_vnni", 7, 0, ECX, 11},
    {"avx512_bf16", 7, 1, EAX, 5},   {"avx512_fp16", 7, 0, EDX, 23},
    {"gfni", 7, 0, ECX, 8},          {"amx_tile", 7, 0, EDX, 24},
    {"amx_int8", 7, 0, EDX, 25},     {"amx_bf16", 7, 0, EDX, 22},
    {"amx_fp16", 7, 1, EAX, 21},
};

static bool has(const char *name)
{
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        const struct feature *f = &features[i];
        unsigned words[4] = {0};
        if (strcmp(f->name, name) == 0)
            return __get_cpuid_count(f->leaf, f->subleaf, &words[0], &words[1], &words[2],
                                     &words[3]) &&
                   (words[f->word] >> f->bit & 1);
    }
    return false;
}

static bool all(const char *const *names)
{
    for (; *names; names++)
        if (!has(*names))
            return false;
    return true;
}

/* Which register files the operating system saves: without that, using them faults. */
static uint64_t enabled_state(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) /* OSXSAVE */
        return 0;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void read_names(pare_cpu *cpu)
{
    unsigned words[12] = {0}, a, b, c, d, highest = __get_cpuid_max(0x80000000u, NULL);
    if (highest >= 0x80000004u)
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                        &words[4 * i + 3]);
    char raw[49] = {0}, *name = raw;
    memcpy(raw, words, 48);
    while (*name == ' ')
        name++;
    for (size_t end = strlen(name); end && name[end - 1] == ' ';)
        name[--end] = 0;
    snprintf(cpu->name, sizeof cpu->name, "%s", name);
    if (__get_cpuid(0, &a, &b, &c, &d)) {
        memcpy(cpu->vendor, &b, 4);
        memcpy(cpu->vendor + 4, &d, 4);
        memcpy(cpu->vendor + 8, &c, 4);
    }
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return;
    cpu->family = (int)(a >> 8 & 15) + ((a >> 8 & 15) == 15 ? (int)(a >> 20 & 255) : 0);
    cpu->model = (int)(a >> 4 & 15) | (int)(a >> 16 & 15) << 4;
    cpu->stepping = (int)(a & 15);
    cpu->has_hypervisor = c >> 31 & 1;
    if (cpu->has_hypervisor) {
        __cpuid(0x40000000, a, b, c, d);
        memcpy(cpu->hypervisor, &b, 4);
        memcpy(cpu->hypervisor + 4, &c, 4);
        memcpy(cpu->hypervisor + 8, &d, 4);
    }
}

void pare_cpu_read(pare_cpu *cpu)
{
    *cpu = (pare_cpu){0};
    read_names(cpu);
    size_t used = 0;
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (has(features[i].name))
            used += (size_t)snprintf(cpu->features + used, sizeof cpu->features - used, "%s%s",
                                     used ? " " : "", features[i].name);
    uint64_t state = enabled_state();
    bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6;
    cpu->avx2 = ymm && all((const char *const[]){"avx", "avx2", "fma", "f16c", "bmi2", NULL});
    cpu->avxvnni = cpu->avx2 && has("avx_vnni");
    cpu->avx512 = cpu->avx2 && zmm &&
                  all((const char *const[]){"avx512f", "avx512bw", "avx512dq", "avx512vl", NULL});
    cpu->avx512vnni = cpu->avx512 && has("avx512_vnni");
    cpu->avx512bf16 = cpu->avx512 && has("avx512_bf16");
}
#else
static void read_cpuinfo(const char *key, char *value, size_t size)
{
    char line[2048];
    FILE *file = fopen("/proc/cpuinfo", "re");
    *value = 0;
    while (file && !*value && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (colon && strncmp(line, key, strlen(key)) == 0) {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", colon + 1 + (colon[1] == ' '));
        }
    }
    if (file)
        fclose(file);
}

void pare_cpu_read(pare_cpu *cpu)
{
    *cpu = (pare_cpu){0};
    read_cpuinfo("model name", cpu->name, sizeof cpu->name);
    read_cpuinfo("Features", cpu->features, sizeof cpu->features);
}
#endif

static const char *best_tier(const pare_cpu *cpu)
{
    return cpu->avx512vnni ? "avx512vnni"
           : cpu->avx512   ? "avx512"
           : cpu->avxvnni  ? "avxvnni"
           : cpu->avx2     ? "avx2"
                           : "ref";
}

void pare_hw_add_cpu(pare_hw *hw)
{
    pare_cpu cpu;
    struct utsname system;
    pare_cpu_read(&cpu);
    if (*cpu.name)
        pare_hw_add_text(hw, "cpu_name", "CPU", "%s", cpu.name);
    else
        pare_hw_add_absent(hw, "cpu_name", "CPU", "the processor does not tell");
    if (*cpu.vendor)
        pare_hw_add_text(hw, "cpu_family", "family", "%s family %d model %d stepping %d",
                         cpu.vendor, cpu.family, cpu.model, cpu.stepping);
    else
        pare_hw_add_absent(hw, "cpu_family", "family", "read on x86 only");
    pare_hw_add_text(hw, "architecture", "architecture", "%s",
                     uname(&system) == 0 ? system.machine : "unknown");
    pare_hw_add_text(hw, "cpu_features", "instructions", "%s", cpu.features);
    pare_hw_add_text(hw, "isa", "ISA tier", "%s", best_tier(&cpu));
    if (cpu.has_hypervisor)
        pare_hw_add_text(hw, "hypervisor", "hypervisor", "%s",
                         *cpu.hypervisor ? cpu.hypervisor : "present, unnamed");
    else
        pare_hw_add_absent(hw, "hypervisor", "hypervisor", "the processor reports none");
}
