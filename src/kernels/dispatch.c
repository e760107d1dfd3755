#include "kernels/kernels.h"

#include "base/fail.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* What a CPU may have beyond the baseline. A tier names the features that all its parts need; a
 * part may need more. */
enum {
    AVX2 = 1 << 0, /* AVX2, FMA, F16C, BMI2 and the operating system saves ymm */
    AVXVNNI = 1 << 1,
    AVX512 = 1 << 2, /* F, BW, DQ, VL and the operating system saves zmm and masks */
    AVX512VNNI = 1 << 3,
    AVX512BF16 = 1 << 4, /* and it is faster than FP32 */
};

static const unsigned tier_features[PARE_ISA_COUNT] = {
    [PARE_ISA_REF] = 0,
    [PARE_ISA_AVX2] = AVX2,
    [PARE_ISA_AVXVNNI] = AVX2 | AVXVNNI,
    [PARE_ISA_AVX512] = AVX2 | AVX512,
    [PARE_ISA_AVX512VNNI] = AVX2 | AVX512 | AVX512VNNI,
};

/* In the order in which they are applied: a later part overrides an earlier one. */
static const struct {
    pare_isa isa;
    unsigned features; /* beyond the tier's */
    void (*add)(pare_kernels *kernels);
} parts[] = {
    {PARE_ISA_REF, 0, pare_kernels_add_ref_matmul},
    {PARE_ISA_REF, 0, pare_kernels_add_ref_int8},
    {PARE_ISA_REF, 0, pare_kernels_add_ref_ops},
#if defined(__x86_64__)
    {PARE_ISA_AVX2, 0, pare_kernels_add_avx2_ops},
    {PARE_ISA_AVX2, 0, pare_kernels_add_avx2_matmul},
    {PARE_ISA_AVXVNNI, 0, pare_kernels_add_avxvnni_matmul},
    {PARE_ISA_AVX512, 0, pare_kernels_add_avx512_ops},
    {PARE_ISA_AVX512, 0, pare_kernels_add_avx512_matmul},
    {PARE_ISA_AVX512VNNI, 0, pare_kernels_add_avx512vnni_matmul},
    {PARE_ISA_AVX512VNNI, AVX512BF16, pare_kernels_add_avx512bf16_matmul},
#endif
};

#if defined(__x86_64__)
/* The register state that the operating system saves: without its bits an AVX instruction faults
 * whatever CPUID says. */
static unsigned long long saved_state(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (unsigned long long)high << 32 | low;
}

/* Intel's processors take VDPBF16PS at half the rate of FP32's products (Emerald Rapids: 85 for 153
 * GFLOP/s a core, whatever the weights), since their fast way to multiply BF16 is AMX. */
static bool fast_bf16(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b != signature_INTEL_ebx;
}

static unsigned cpu_features(void)
{
    enum { OSXSAVE = 1 << 27, AVX = 1 << 28, FMA = 1 << 12, F16C = 1 << 29 };
    enum { YMM_STATE = 0x06, ZMM_STATE = 0xe6 };
    enum {
        BIT_AVX2 = 1 << 5,
        BIT_BMI2 = 1 << 8,
        BIT_512F = 1 << 16,
        BIT_512DQ = 1 << 17,
        BIT_512BW = 1 << 30
    };
    const unsigned BIT_512VL = 1u << 31, FIRST = OSXSAVE | AVX | FMA | F16C,
                   SECOND = BIT_AVX2 | BIT_BMI2;
    const unsigned WIDE = BIT_512F | BIT_512DQ | BIT_512BW | BIT_512VL;
    unsigned a, b, c, d, features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & FIRST) != FIRST)
        return 0;
    unsigned long long state = saved_state();
    if ((state & YMM_STATE) != YMM_STATE || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        (b & SECOND) != SECOND)
        return 0;
    features |= AVX2;
    if ((state & ZMM_STATE) == ZMM_STATE && (b & WIDE) == WIDE) {
        features |= AVX512;
        if (c & 1 << 11)
            features |= AVX512VNNI;
    }
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        if (a & 1 << 4)
            features |= AVXVNNI;
        if ((a & 1 << 5) && (features & AVX512) && fast_bf16())
            features |= AVX512BF16;
    }
    return features;
}
#else
static unsigned cpu_features(void)
{
    return 0;
}
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned present;                    /* set once, constant afterwards */
static pare_kernels tables[PARE_ISA_COUNT]; /* likewise */

static bool has(unsigned features)
{
    return (present & features) == features;
}

static void build_tables(void)
{
    present = cpu_features();
    for (pare_isa isa = 0; isa < PARE_ISA_COUNT; isa++) {
        tables[isa].isa = isa;
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
            if (parts[p].isa <= isa && has(tier_features[parts[p].isa] | parts[p].features))
                parts[p].add(&tables[isa]);
    }
}

const char *pare_isa_name(pare_isa isa)
{
    static const char *const names[PARE_ISA_COUNT] = {
#define X(name, text, what) text,
        PARE_ISA_LIST(X)
#undef X
    };
    return isa < PARE_ISA_COUNT ? names[isa] : "unknown";
}

bool pare_isa_supported(pare_isa isa)
{
    pthread_once(&once, build_tables);
    return isa < PARE_ISA_COUNT && has(tier_features[isa]);
}

pare_isa pare_isa_best(void)
{
    pare_isa best = PARE_ISA_REF;
    for (pare_isa isa = 0; isa < PARE_ISA_COUNT; isa++)
        if (pare_isa_supported(isa))
            best = isa;
    return best;
}

pare_status pare_isa_from_name(const char *name, pare_isa *isa)
{
    *isa = pare_isa_best();
    if (!name)
        return PARE_OK;
    char list[128] = "";
    for (pare_isa i = 0; i < PARE_ISA_COUNT; i++) {
        if (!pare_isa_supported(i))
            continue;
        if (strcasecmp(name, pare_isa_name(i)) == 0) {
            *isa = i;
            return PARE_OK;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", pare_isa_name(i));
    }
    return pare_fail(PARE_INVALID_ARGUMENT, "instruction set '%s': this machine has %s", name,
                     list);
}

const pare_kernels *pare_kernels_get(pare_isa isa)
{
    pthread_once(&once, build_tables);
    return &tables[isa < PARE_ISA_COUNT ? isa : PARE_ISA_REF];
}
