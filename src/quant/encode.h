/* Encoding one tensor into an output, in chunks of rows, by all threads of a pool. */
#ifndef PARE_QUANT_ENCODE_H
#define PARE_QUANT_ENCODE_H

#include "base/pool.h"
#include "model/decoder.h"
#include "quant/methods.h"

#include <pare/quant.h>

/* Buffers that are kept from tensor to tensor. Starts as {0}. */
typedef struct pare_encoder {
    const pare_method *method;
    void *state; /* what the method's start made; NULL where it has none */
    pare_pool *pool;
    float *rows; /* one row for each thread */
    uint8_t *chunk;
    size_t row_capacity, chunk_capacity;
    struct pare_encoder_flaw *flaws; /* one for each thread */
} pare_encoder;

/* threads: 0 for all cores. */
pare_status pare_encoder_start(pare_encoder *encoder, const pare_method *method, int threads);
void pare_encoder_free(pare_encoder *encoder);

/* Writes the tensor, one of the model's, as item->type, its rows in the order that GGUF asks for
 * (model/export.h). `advance` is called after each chunk with the weights done in it, and may stop
 * the work by failing. A weight that is not finite is PARE_FORMAT,
 * one that is too large for the format PARE_LIMIT. */
pare_status pare_encoder_write(pare_encoder *encoder, const pare_model *model,
                               const pare_tensor *tensor, const pare_quantize_item *item,
                               pare_output *output,
                               pare_status (*advance)(void *user, int64_t weights), void *user);

#endif
