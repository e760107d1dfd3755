/* What runs a decoder: the CPU here, a GPU later. Nothing above src/run knows which one it is. */
#ifndef PARE_RUN_BACKEND_H
#define PARE_RUN_BACKEND_H

#include "model/decoder.h"

#include <pare/session.h>

typedef struct pare_backend pare_backend;

/* One row per backend; each function gets what create returned. */
typedef struct pare_backend_functions {
    const char *name;
    pare_status (*create)(const pare_model *model, const pare_session_options *options,
                          void **state);
    void (*free)(void *state);
    /* Runs n tokens at positions past .. past+n-1, appends their keys and values, keeps their final
     * hidden states. */
    pare_status (*forward)(void *state, const int32_t *ids, int64_t n, int64_t past);
    pare_status (*logits)(void *state, int64_t first, int64_t count, float *logits);
    /* Copies the cache of the first `positions` positions out and in; bytes for it. */
    size_t (*cache_bytes)(void *state, int64_t positions);
    pare_status (*cache_save)(void *state, int64_t positions, void *to);
    pare_status (*cache_load)(void *state, int64_t positions, const void *from);
    pare_session_memory (*memory)(void *state);
    const char *(*isa)(void *state);
    int (*threads)(void *state);
    double (*outlier_share)(void *state, int64_t layer); /* NULL: none */
} pare_backend_functions;

extern const pare_backend_functions pare_backend_cpu;

#endif
