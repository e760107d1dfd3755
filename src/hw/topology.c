/* Sockets, cores, caches, NUMA nodes and memory, by hwloc. */
#define _GNU_SOURCE
#include "base/file.h"
#include "hw/facts.h"

#include <hwloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void add_count(pare_hw *hw, hwloc_topology_t topology, hwloc_obj_type_t type,
                      const char *key, const char *label)
{
    int count = hwloc_get_nbobjs_by_type(topology, type);
    if (count > 0)
        pare_hw_add_number(hw, key, label, count, NULL);
    else
        pare_hw_add_absent(hw, key, label, "hwloc finds none");
}

static void add_cache(pare_hw *hw, hwloc_topology_t topology, hwloc_obj_type_t type,
                      const char *key, const char *count_key, const char *label)
{
    hwloc_obj_t cache = hwloc_get_obj_by_type(topology, type, 0);
    int count = hwloc_get_nbobjs_by_type(topology, type);
    if (cache && cache->attr && cache->attr->cache.size) {
        char several[32];
        pare_hw_add_bytes(hw, key, label, (double)cache->attr->cache.size);
        snprintf(several, sizeof several, "x %d", count);
        pare_hw_add_number(hw, count_key, "", count, several);
    } else {
        pare_hw_add_absent(hw, key, label, "hwloc finds none");
    }
}

/* "node 0: 3.8 GiB, processors 0-1" for each: which memory is near to which processor. */
static void add_numa(pare_hw *hw, hwloc_topology_t topology)
{
    char text[768] = "", set[128];
    size_t used = 0;
    hwloc_obj_t node = NULL;
    while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) &&
           used < sizeof text - 200) {
        hwloc_bitmap_list_snprintf(set, sizeof set, node->cpuset);
        used += (size_t)snprintf(
            text + used, sizeof text - used, "%snode %u: %.1f GiB, processors %s", used ? "; " : "",
            node->os_index, (double)node->attr->numanode.local_memory / (1 << 30), set);
    }
    if (used)
        pare_hw_add_text(hw, "numa_memory", "NUMA memory", "%s", text);
    else
        pare_hw_add_absent(hw, "numa_memory", "NUMA memory", "hwloc finds none");
}

static void add_allowed_threads(pare_hw *hw)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        pare_hw_add_number(hw, "threads_allowed", "threads for us", CPU_COUNT(&set), NULL);
    else
        pare_hw_add_absent(hw, "threads_allowed", "threads for us",
                           "more processors than a cpu_set_t holds");
}

static void add_memory(pare_hw *hw)
{
    double total = pare_proc_bytes("/proc/meminfo", "MemTotal:"),
           available = pare_proc_bytes("/proc/meminfo", "MemAvailable:");
    char line[64];
    if (total >= 0)
        pare_hw_add_bytes(hw, "memory_bytes", "memory", total);
    else
        pare_hw_add_absent(hw, "memory_bytes", "memory", "/proc/meminfo cannot be read");
    if (available >= 0)
        pare_hw_add_bytes(hw, "memory_available_bytes", "available now", available);
    else
        pare_hw_add_absent(hw, "memory_available_bytes", "available now",
                           "/proc/meminfo cannot be read");
    if (!pare_hw_read_line("/sys/fs/cgroup/memory.max", line, sizeof line))
        pare_hw_add_absent(hw, "memory_limit_bytes", "memory limit",
                           "no /sys/fs/cgroup/memory.max");
    else if (strcmp(line, "max") == 0)
        pare_hw_add_absent(hw, "memory_limit_bytes", "memory limit", "the control group sets none");
    else
        pare_hw_add_bytes(hw, "memory_limit_bytes", "memory limit", strtod(line, NULL));
    /* The DIMMs' speed is in the firmware's tables, which only root may read and virtual machines
     * invent. */
    pare_hw_add_absent(hw, "memory_speed", "memory speed",
                       "not readable without root; see the measured bandwidth");
}

void pare_hw_add_topology(pare_hw *hw)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0) {
        pare_hw_add_absent(hw, "sockets", "sockets", "hwloc cannot be started");
        return;
    }
    if (hwloc_topology_load(topology) != 0) {
        pare_hw_add_absent(hw, "sockets", "sockets", "hwloc cannot read the topology");
    } else {
        add_count(hw, topology, HWLOC_OBJ_PACKAGE, "sockets", "sockets");
        add_count(hw, topology, HWLOC_OBJ_CORE, "cores", "cores");
        add_count(hw, topology, HWLOC_OBJ_PU, "threads", "threads");
        add_allowed_threads(hw);
        add_cache(hw, topology, HWLOC_OBJ_L1CACHE, "l1d_bytes", "l1d_count", "L1 data cache");
        add_cache(hw, topology, HWLOC_OBJ_L2CACHE, "l2_bytes", "l2_count", "L2 cache");
        add_cache(hw, topology, HWLOC_OBJ_L3CACHE, "l3_bytes", "l3_count", "L3 cache");
        add_count(hw, topology, HWLOC_OBJ_NUMANODE, "numa_nodes", "NUMA nodes");
        add_numa(hw, topology);
    }
    hwloc_topology_destroy(topology);
    add_memory(hw);
}
