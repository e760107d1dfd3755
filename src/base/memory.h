/* Allocation: zeroed, aligned, and arenas that are freed as a whole. */
#ifndef PARE_BASE_MEMORY_H
#define PARE_BASE_MEMORY_H

#include <pare/error.h>
#include <stddef.h>

/* Zeroed count x size bytes; fails with PARE_OUT_OF_MEMORY that names `what`. Freed by free(). */
pare_status pare_allocate(size_t count, size_t size, const char *what, void *out /* void ** */);

/* Grows *array (element size `size`) so that it holds at least `needed` elements; *capacity is in
 * elements. New memory is not zeroed. Growth is geometric. */
pare_status pare_grow(void *array /* void ** */, size_t *capacity, size_t needed, size_t size,
                      const char *what);

/* Bytes for weights, cache and scratch: zeroed by the system, 2 MiB-aligned with transparent huge
 * pages asked for where the size allows, 64-byte aligned otherwise. Given back with the same size.
 */
pare_status pare_pages_allocate(size_t bytes, const char *what, void *out /* void ** */);
void pare_pages_free(void *pages, size_t bytes);

typedef struct pare_arena_block pare_arena_block;
typedef struct pare_arena {
    pare_arena_block *blocks;
} pare_arena;

/* Zeroed and 16-byte aligned; NULL when out of memory (the message is set). An arena starts as {0}.
 */
void *pare_arena_allocate(pare_arena *arena, size_t bytes);
char *pare_arena_copy(pare_arena *arena, const char *text, size_t length); /* NUL-terminated */
void pare_arena_free(pare_arena *arena);

#endif
