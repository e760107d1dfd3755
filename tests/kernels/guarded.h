/* Memory whose neighbours are checked, and numbers for the kernels' checks. */
#ifndef PARE_TESTS_GUARDED_H
#define PARE_TESTS_GUARDED_H

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* needs the ones above before it */

enum { GUARD = 128, GUARD_BYTE = 0xa5 };

/* `bytes` bytes, 64-byte aligned, with GUARD bytes on either side. */
typedef struct guarded {
    uint8_t *data;
    size_t bytes;
    uint8_t *block;
} guarded;

static inline guarded guarded_allocate(size_t bytes)
{
    guarded g = {.bytes = bytes};
    size_t whole = (bytes + 2 * GUARD + 63) / 64 * 64;
    g.block = aligned_alloc(64, whole);
    assert_non_null(g.block);
    memset(g.block, GUARD_BYTE, whole);
    g.data = g.block + GUARD;
    return g;
}

/* Fails where a neighbour was written. */
static inline void guarded_free(guarded *g)
{
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(g->block[i], GUARD_BYTE);
        assert_int_equal(g->data[g->bytes + i], GUARD_BYTE);
    }
    free(g->block);
}

static inline void fill_normal(float *x, int64_t n, double scale, pare_random *random)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(scale * pare_random_normal(random));
}

#endif
