/* What a model file holds, whether or not Pare can run it. */
#ifndef PARE_INSPECT_H
#define PARE_INSPECT_H

#include <pare/model.h>
#include <pare/progress.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct pare_inspection pare_inspection;

typedef struct pare_tensor_info {
    const char *name, *format; /* as in the file; "q4_0" */
    const char *file;
    int dims;
    int64_t shape[4]; /* slowest first, as in PyTorch; unused ones are 1 */
    int64_t elements, bytes;
    uint64_t offset; /* of the first byte in the file */
} pare_tensor_info;

typedef struct pare_metadata {
    const char *key;
    const char
        *json; /* the value; of an array with over 64 elements {"elements": N, "type": "..."} */
} pare_metadata;

typedef struct pare_inspection_info {
    const char *path;         /* the folder or file */
    const char *container;    /* "gguf" or "safetensors" */
    int version;              /* of GGUF; 0 otherwise */
    const char *architecture; /* as the file says it; NULL where it does not */
    int64_t tensors, elements, tensor_bytes, file_bytes;
    const pare_model_info *model; /* NULL where Pare cannot run it, and then ... */
    const char *problem;          /* ... why */
} pare_inspection_info;

/* name: what pare_model_open takes; also a vocabulary-only GGUF, a .safetensors without
 * config.json, and models of architectures that Pare does not run. Metadata are a GGUF's own or the
 * keys of config.json. */
pare_status pare_inspect(const char *name, pare_inspection **out);
void pare_inspection_free(pare_inspection *inspection); /* accepts NULL */

/* All valid as long as the inspection. Tensors in the order of the files. */
const pare_inspection_info *pare_inspection_get_info(const pare_inspection *inspection);
const pare_tensor_info *pare_inspection_tensors(const pare_inspection *inspection, size_t *count);
const pare_metadata *pare_inspection_metadata(const pare_inspection *inspection, size_t *count);

/* ---- the numbers themselves ---- */

enum { PARE_WEIGHT_BINS = 64, PARE_WEIGHT_WORST = 3 };

/* One tensor of a model. */
typedef struct pare_weight_tensor {
    const char *name, *format;
    int64_t rows, columns; /* of a vector: 1 row */
    int64_t bytes, not_finite, zeros;
    double minimum, maximum, mean, deviation; /* of the finite ones */
    double range;                             /* the largest magnitude */
    uint64_t bins[PARE_WEIGHT_BINS];          /* equal ones over -range .. range */
    /* Input channels (columns) whose root mean square is PARE_WEIGHT_OUTLIER times the median
     * column's or more: how many, and the largest with their ratios. */
    int64_t outlier_count, outliers[PARE_WEIGHT_WORST];
    double outlier_ratios[PARE_WEIGHT_WORST];
    /* Against the base's tensor of that name: */
    bool compared;
    const char *base_format;
    double relative_error; /* root of the error's squares over the base's */
    double snr_db;         /* -20 log10 of it; infinite where nothing differs */
    double largest_error;
    int64_t worst_rows[PARE_WEIGHT_WORST]; /* by relative error, worst first; -1: fewer rows */
    double worst_row_errors[PARE_WEIGHT_WORST];
} pare_weight_tensor;

#define PARE_WEIGHT_OUTLIER 3.0

typedef struct pare_weights {
    const char *path, *base;     /* base NULL: not compared */
    pare_weight_tensor *tensors; /* in the model's order */
    size_t count;
    int64_t compared_elements;
    double relative_error, snr_db; /* over all tensors that were compared and are not the same
                                      format, or all where all are */
    void *memory;
} pare_weights;

/* Reads every weight of a model that Pare can run and, with `base` (another such model of the same
 * shapes; NULL: none), its error. Rows are in GGUF's order for both. threads 0: all cores. A tensor
 * that only one of them has is not compared; a shape that differs is PARE_INVALID_ARGUMENT. */
pare_status pare_weights_inspect(const char *name, const char *base, int threads,
                                 const pare_progress *progress, pare_weights **out);
void pare_weights_free(pare_weights *weights); /* accepts NULL */

/* A chart: with a base, the signal-to-noise ratio of each compared matrix; without, the histogram
 * of all matrices. PNG, SVG or PDF by the name's end. */
pare_status pare_weights_draw(const pare_weights *weights, const char *path);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
