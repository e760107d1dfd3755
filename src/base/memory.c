#include "base/memory.h"

#include "base/checked.h"
#include "base/fail.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, ARENA_BLOCK = 64 << 10, ARENA_ALIGNMENT = 16 };

pare_status pare_allocate(size_t count, size_t size, const char *what, void *out)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);
    memcpy(out, &memory, sizeof memory);
    size_t bytes = 0;
    if (!memory)
        return pare_fail_memory(pare_mul_size(count, size, &bytes) ? bytes : SIZE_MAX, what);
    return PARE_OK;
}

pare_status pare_grow(void *array, size_t *capacity, size_t needed, size_t size, const char *what)
{
    if (needed <= *capacity)
        return PARE_OK;
    size_t wanted = *capacity + *capacity / 2 + 16, bytes;
    if (wanted < needed)
        wanted = needed;
    if (!pare_mul_size(wanted, size, &bytes))
        return pare_fail_memory(SIZE_MAX, what);
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, bytes);
    if (!grown)
        return pare_fail_memory(bytes, what);
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return PARE_OK;
}

pare_status pare_pages_allocate(size_t bytes, const char *what, void *out)
{
    /* mmap aligns to 4 KiB only: ask for one huge page more and give the ends back, so that huge
     * pages can be used. */
    size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : 4096, rounded, asked;
    void *none = NULL;
    memcpy(out, &none, sizeof none);
    if (!pare_align_size(bytes ? bytes : 1, 4096, &rounded) ||
        !pare_add_size(rounded, alignment, &asked))
        return pare_fail_memory(SIZE_MAX, what);
    char *base = mmap(NULL, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return pare_fail_memory(bytes, what);
    char *start = (char *)(((uintptr_t)base + alignment - 1) & ~(uintptr_t)(alignment - 1));
    if (start > base)
        munmap(base, (size_t)(start - base));
    size_t tail = (size_t)(base + asked - (start + rounded));
    if (tail)
        munmap(start + rounded, tail);
    if (bytes >= HUGE_PAGE)
        madvise(start, rounded, MADV_HUGEPAGE); /* only a hint: ignored where the kernel has none */
    memcpy(out, &start, sizeof start);
    return PARE_OK;
}

void pare_pages_free(void *pages, size_t bytes)
{
    size_t rounded;
    if (pages && pare_align_size(bytes ? bytes : 1, 4096, &rounded))
        munmap(pages, rounded);
}

struct pare_arena_block {
    pare_arena_block *next;
    size_t used, capacity;
    _Alignas(ARENA_ALIGNMENT) char data[];
};

void *pare_arena_allocate(pare_arena *arena, size_t bytes)
{
    size_t rounded;
    if (!pare_align_size(bytes ? bytes : 1, ARENA_ALIGNMENT, &rounded)) {
        pare_fail_memory(SIZE_MAX, "an arena");
        return NULL;
    }
    pare_arena_block *block = arena->blocks;
    if (!block || block->capacity - block->used < rounded) {
        size_t capacity = rounded > ARENA_BLOCK / 4 ? rounded : ARENA_BLOCK, total;
        block = pare_add_size(capacity, sizeof *block, &total) ? calloc(1, total) : NULL;
        if (!block) {
            pare_fail_memory(capacity, "an arena");
            return NULL;
        }
        block->capacity = capacity;
        if (arena->blocks && capacity == rounded) { /* keep the roomier block in front */
            block->next = arena->blocks->next;
            arena->blocks->next = block;
        } else {
            block->next = arena->blocks;
            arena->blocks = block;
        }
    }
    void *memory = block->data + block->used;
    block->used += rounded;
    return memory;
}

char *pare_arena_copy(pare_arena *arena, const char *text, size_t length)
{
    size_t bytes;
    char *copy = pare_add_size(length, 1, &bytes) ? pare_arena_allocate(arena, bytes) : NULL;
    if (copy && length)
        memcpy(copy, text, length);
    return copy;
}

void pare_arena_free(pare_arena *arena)
{
    for (pare_arena_block *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    arena->blocks = NULL;
}
