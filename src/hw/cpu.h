/* What instructions this CPU has and the operating system lets us use. */
#ifndef PARE_HW_CPU_H
#define PARE_HW_CPU_H

#include <stdbool.h>

typedef struct pare_cpu {
    char name[64], vendor[16], hypervisor[16];
    int family, model, stepping;
    bool has_hypervisor;
    bool avx2, avxvnni, avx512, avx512vnni,
        avx512bf16;     /* usable: CPUID and, for the registers, XCR0 */
    char features[512]; /* those that matter here, in the kernel's spelling */
} pare_cpu;

void pare_cpu_read(pare_cpu *cpu);

#endif
