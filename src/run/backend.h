/* What runs a decoder: the CPU, or a GPU through the plug-in pare_cuda.so. Nothing above src/run
 * knows which one it is. */
#ifndef PARE_RUN_BACKEND_H
#define PARE_RUN_BACKEND_H

#include "model/decoder.h"
#include "run/calibrator.h"

#include <pare/hw.h>
#include <pare/session.h>

typedef struct pare_backend pare_backend;

/* One row per backend; each function gets what create returned. */
typedef struct pare_backend_functions {
    const char *name;
    /* The text of the last failure on this thread, where it is not pare_error_message's: a plug-in
     * has its own. NULL otherwise. */
    const char *(*message)(void);
    /* Can sessions be created on this device ("cuda:0")? NULL: always. */
    pare_status (*check)(const char *device);
    /* Appends what the device can do; NULL: measured elsewhere (pare_hw_measure). */
    pare_status (*measure)(const char *device, pare_hw_limits *limits);
    pare_status (*create)(const pare_model *model, const pare_session_options *options,
                          void **state);
    void (*free)(void *state);
    /* Runs n tokens at positions past .. past+n-1, appends their keys and values, keeps their final
     * hidden states. */
    pare_status (*forward)(void *state, const int32_t *ids, int64_t n, int64_t past);
    pare_status (*logits)(void *state, int64_t first, int64_t count, float *logits);
    /* Runs `id` at position past, then the most probable token, and so on: n passes, n choices.
     * NULL: the session does it by forward and logits. */
    pare_status (*greedy)(void *state, int32_t id, int64_t n, int64_t past, int32_t *ids);
    /* The most probable token after each of these positions of the last forward, the first of equal
     * ones. NULL: the session does it by logits. */
    pare_status (*best)(void *state, int64_t first, int64_t count, int32_t *ids);
    /* nll[i]: the loss of targets[i] after position first + i of the last forward; 0 where it is
     * negative. NULL: nobody asks (pare_session_losses). */
    pare_status (*losses)(void *state, int64_t first, int64_t count, const int32_t *targets,
                          double *nll);
    /* rows[i]: this model against that of another state of the backend (pare_session_compare). NULL:
     * nobody asks. */
    pare_status (*compare)(void *state, void *base, int64_t first, int64_t count,
                           const int32_t *targets, pare_divergence *rows);
    /* Several sequences: the one that the other functions work on (0 at first), and a pass of one
     * token of each, at positions past[batch]. NULL: the backend runs one sequence. */
    void (*select)(void *state, int64_t sequence);
    pare_status (*forward_batch)(void *state, const int32_t *ids, const int64_t *past);
    /* Copies the cache of the first `positions` positions out and in; bytes for it. */
    size_t (*cache_bytes)(void *state, int64_t positions);
    pare_status (*cache_save)(void *state, int64_t positions, void *to);
    pare_status (*cache_load)(void *state, int64_t positions, const void *from);
    pare_session_memory (*memory)(void *state);
    const char *(*isa)(void *state);
    int (*threads)(void *state);
    double (*outlier_share)(void *state, int64_t layer); /* NULL: none */
    const pare_calibrator_functions *calibrator;         /* NULL: calibration is the CPU's alone */
} pare_backend_functions;

extern const pare_backend_functions pare_backend_cpu;

/* What a plug-in and the library must agree on: the plug-in refuses another one. */
typedef struct pare_backend_abi {
    int64_t version, functions, decoder, layer, model, tensor, options;
} pare_backend_abi;
#define PARE_BACKEND_ABI                                                                           \
    {                                                                                              \
        2, sizeof(pare_backend_functions), sizeof(pare_decoder), sizeof(pare_layer),               \
            sizeof(struct pare_model), sizeof(pare_tensor), sizeof(pare_session_options)           \
    }
/* The one symbol of pare_cuda.so: NULL where abi is not its own. */
typedef const pare_backend_functions *pare_backend_entry(const pare_backend_abi *abi);
#define PARE_CUDA_ENTRY "pare_cuda_backend"

/* The backend of a device: NULL or "cpu", "cuda", "cuda:N", "auto" (a GPU where there is one).
 * *used is the device for its create. */
pare_status pare_backend_find(const char *device, const pare_backend_functions **backend,
                              const char **used);

#endif
