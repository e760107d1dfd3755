/* The tensors of a model as they lie in mapped files, whatever the files' format. */
#ifndef PARE_FORMATS_TENSORS_H
#define PARE_FORMATS_TENSORS_H

#include "base/file.h"
#include "base/memory.h"

#include <pare/error.h>
#include <pare/types.h>
#include <stdbool.h>

enum { PARE_MAX_DIMS = 4 };

/* shape[0] is the slowest dimension, as in PyTorch: a matrix of `out` rows and `in` columns has
 * shape {out, in}. (GGUF stores dimensions in the other order; the reader turns them.) */
typedef struct pare_tensor pare_tensor;

/* Where rows come from that lie in no file as they are: they are made when they are read, so that
 * no copy of the whole tensor is ever in memory. */
typedef struct pare_tensor_source {
    /* Makes rows first..first+count-1. Called by several threads at once. */
    pare_status (*read)(const pare_tensor *tensor, int64_t first, int64_t count, void *rows);
    /* All that `read` looks at is needed no more for now. */
    void (*release)(const pare_tensor *tensor);
} pare_tensor_source;

struct pare_tensor {
    const char *name; /* as in the file */
    pare_type type;
    int dims;
    int64_t shape[PARE_MAX_DIMS]; /* unused ones are 1 */
    const void *data; /* inside a mapping, or owned by whoever made the tensor; aligned to its
                         element for the 16- and 32-bit types, any alignment for block formats.
                         NULL where there is a source: see pare_tensor_read */
    const pare_tensor_source *source; /* matrices of models only; NULL: the rows are in data */
    const void *origin;               /* the source's own */
    bool mapped;                      /* data lies in a mapped file */
    bool rounds_inputs; /* a quantized layer of another library's checkpoint: what it multiplies is
                           rounded as the file asks, ... */
    float input_scale;  /* ... by this scale and zero point, where they are static; else 0 */
    int input_zero;
    size_t bytes;
    const char *file; /* for messages */
    uint64_t offset;  /* of the first byte in the file */
};

int64_t pare_tensor_elements(const pare_tensor *tensor);
static inline int64_t pare_tensor_columns(const pare_tensor *tensor)
{
    return tensor->shape[tensor->dims > 0 ? tensor->dims - 1 : 0];
}
int64_t pare_tensor_rows(const pare_tensor *tensor); /* product of all dimensions but the last */

/* All tensors of one model and the mappings that hold them. */
typedef struct pare_tensors {
    pare_tensor *items;
    size_t count;
    pare_mapping *mappings;
    size_t mapping_count;
    pare_arena names;
    struct pare_name_index *index; /* name -> item */
} pare_tensors;

/* ---- for readers ---- */

/* Appends a zeroed item; *item is valid until the next call. The caller counts items in *capacity.
 */
pare_status pare_tensors_append(pare_tensors *tensors, size_t *capacity, pare_tensor **item);
/* Sets item->bytes from type and shape. A row that is not whole blocks and a size that overflows
 * are errors. */
pare_status pare_tensor_measure(pare_tensor *item);
/* Checks items first.. (all of one file): their data lie within `size` bytes, are aligned to their
 * elements and do not overlap. With `dense` (safetensors), alignment counts from byte `start`, and
 * no gap is left from there to the end. */
pare_status pare_tensors_check_layout(const pare_tensors *tensors, size_t first, size_t start,
                                      size_t size, bool dense);
/* Builds the index; a name that occurs twice is an error that names both files. */
pare_status pare_tensors_build_index(pare_tensors *tensors);
/* Maps a file and keeps the mapping; *mapping is a copy. */
pare_status pare_tensors_map(pare_tensors *tensors, const char *path, pare_mapping *mapping);

/* ---- for everyone ---- */

/* Bytes of an element that is stored by itself (f32, f16, i64, ...); 0 for block formats. */
size_t pare_type_element_bytes(pare_type type);

/* Bytes of a row. */
static inline size_t pare_tensor_row_bytes(const pare_tensor *tensor)
{
    int64_t rows = pare_tensor_rows(tensor);
    return rows > 0 ? tensor->bytes / (size_t)rows : 0;
}
/* Rows first..first+count-1 of any tensor: *rows points into its data or to `buffer` (aligned to
 * the elements), where they were made. Thread-safe. PARE_OUT_OF_MEMORY. */
pare_status pare_tensor_read(const pare_tensor *tensor, int64_t first, int64_t count, void *buffer,
                             const void **rows);
/* Rows first..first+count-1 were read and are needed no more for now: pages of a mapped file are
 * given back, to be read again should anyone ask. A source lets go of everything with the last
 * row. */
void pare_tensor_release(const pare_tensor *tensor, int64_t first, int64_t count);

/* NULL where there is none. */
const pare_tensor *pare_tensors_find(const pare_tensors *tensors, const char *name);
void pare_tensors_free(pare_tensors *tensors); /* accepts {0} and half-built ones */

#endif
