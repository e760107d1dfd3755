#include "formats/index.h"

#include "base/fail.h"
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct pare_name_slot {
    const char *name; /* NULL: free */
    size_t value;
};

/* FNV-1a, 64 bits. */
static uint64_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        hash = (hash ^ *c) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

/* The slot that holds `name`, or the free one where it belongs. The table is never full. */
static struct pare_name_slot *find_slot(const pare_name_index *index, const char *name)
{
    size_t mask = index->capacity - 1, i = (size_t)hash_name(name) & mask;
    while (index->slots[i].name && strcmp(index->slots[i].name, name) != 0)
        i = (i + 1) & mask;
    return &index->slots[i];
}

static pare_status enlarge(pare_name_index *index)
{
    pare_name_index larger = {.capacity = index->capacity ? index->capacity * 2 : 64};
    pare_status status =
        pare_allocate(larger.capacity, sizeof *larger.slots, "an index of names", &larger.slots);
    if (status != PARE_OK)
        return status;
    for (size_t i = 0; i < index->capacity; i++)
        if (index->slots[i].name)
            *find_slot(&larger, index->slots[i].name) = index->slots[i];
    larger.count = index->count;
    free(index->slots);
    *index = larger;
    return PARE_OK;
}

pare_status pare_name_index_add(pare_name_index *index, const char *name, size_t value,
                                ptrdiff_t *present)
{
    *present = PARE_NAME_NONE;
    if (index->count >= index->capacity / 2) { /* at most half full: short probes */
        pare_status status = enlarge(index);
        if (status != PARE_OK)
            return status;
    }
    struct pare_name_slot *slot = find_slot(index, name);
    if (slot->name) {
        *present = (ptrdiff_t)slot->value;
        return PARE_OK;
    }
    *slot = (struct pare_name_slot){name, value};
    index->count++;
    return PARE_OK;
}

ptrdiff_t pare_name_index_find(const pare_name_index *index, const char *name)
{
    if (!index->capacity)
        return PARE_NAME_NONE;
    const struct pare_name_slot *slot = find_slot(index, name);
    return slot->name ? (ptrdiff_t)slot->value : PARE_NAME_NONE;
}

void pare_name_index_free(pare_name_index *index)
{
    free(index->slots);
    *index = (pare_name_index){0};
}
