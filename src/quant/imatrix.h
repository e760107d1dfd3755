/* Importance matrices: the mean square of each input of each matrix over a calibration text, as
 * llama.cpp's llama-imatrix measures it and its files store it (tools/imatrix,
 * common/imatrix-loader of https://github.com/ggml-org/llama.cpp).
 *
 * A file is a GGUF with, for each matrix, the tensors "NAME.in_sum2" (sums of squares, FP32) and
 * "NAME.counts" (how many tokens were summed, FP32), and the metadata imatrix.datasets,
 * imatrix.chunk_count and imatrix.chunk_size. The older format (".dat") is read too. */
#ifndef PARE_QUANT_IMATRIX_H
#define PARE_QUANT_IMATRIX_H

#include "base/memory.h"
#include "formats/index.h"

#include <pare/error.h>
#include <stdint.h>

typedef struct pare_imatrix_entry {
    const char *name; /* of the matrix, "blk.0.attn_q.weight" */
    int64_t columns;
    float *sums;  /* [columns] of squares */
    double count; /* of tokens */
    float *means; /* sums over the count, in FP32 */
} pare_imatrix_entry;

/* Starts as {0}. */
typedef struct pare_imatrix {
    pare_imatrix_entry *entries;
    size_t count, capacity;
    pare_name_index index;
    uint32_t chunks, chunk_size; /* sequences, and tokens of one */
    const char *dataset;         /* where the text came from; NULL: unknown */
    pare_arena arena;
} pare_imatrix;

/* Adds an entry with sums and means of zero. A name that is there already is PARE_FORMAT. */
pare_status pare_imatrix_add(pare_imatrix *matrix, const char *name, int64_t columns,
                             pare_imatrix_entry **entry);
/* Sets the means. A sum that is negative or not finite is PARE_FORMAT; `file` is for the message.
 */
pare_status pare_imatrix_finish(pare_imatrix *matrix, const char *file);

pare_status pare_imatrix_read(const char *path, pare_imatrix *matrix);
/* The same over bytes in memory. */
pare_status pare_imatrix_parse(const uint8_t *data, size_t size, const char *file,
                               pare_imatrix *matrix);
pare_status pare_imatrix_write(const pare_imatrix *matrix, const char *path);
/* NULL where there is none. */
const pare_imatrix_entry *pare_imatrix_find(const pare_imatrix *matrix, const char *name);
void pare_imatrix_free(pare_imatrix *matrix); /* accepts {0} and half-built ones */

#endif
