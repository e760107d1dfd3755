/* Collecting facts; the files of src/hw each add theirs. */
#ifndef PARE_HW_FACTS_H
#define PARE_HW_FACTS_H

#include "base/memory.h"

#include <pare/hw.h>
#include <stdbool.h>

struct pare_hw {
    pare_hw_fact *facts;
    size_t count, capacity;
    pare_arena text;
    char fingerprint[17];
    pare_status status; /* the first failure (memory); adding does nothing after it */
};

/* Numbers above 2^53 do not occur. `shown` NULL: the number itself. */
void pare_hw_add_number(pare_hw *hw, const char *key, const char *label, double number,
                        const char *shown);
void pare_hw_add_bytes(pare_hw *hw, const char *key, const char *label, double bytes);
__attribute__((format(printf, 4, 5))) void
pare_hw_add_text(pare_hw *hw, const char *key, const char *label, const char *format, ...);
__attribute__((format(printf, 4, 5))) void
pare_hw_add_absent(pare_hw *hw, const char *key, const char *label, const char *format, ...);

/* The first line of a small file without its newline; false where it cannot be read. */
bool pare_hw_read_line(const char *path, char *line, size_t size);

void pare_hw_add_cpu(pare_hw *hw);      /* cpu.c: name, features, tier, hypervisor */
void pare_hw_add_topology(pare_hw *hw); /* topology.c: sockets, cores, caches, NUMA, memory */
void pare_hw_add_gpus(pare_hw *hw);     /* gpu.c */
void pare_hw_add_clocks(pare_hw *hw);   /* system.c: governor, frequencies */
void pare_hw_add_system(pare_hw *hw);   /* system.c: kernel, compiler, libraries, energy counters */

#endif
