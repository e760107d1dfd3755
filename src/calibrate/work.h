/* The work file of a long quantization: what is finished is kept beside the output, so that a run
 * that was killed goes on where it was. "OUT.partial" starts with a key (a hash of everything that
 * the work depends on) and holds named records, each with its own hash. A file of another key, or
 * one that is cut or damaged, is used up to the last whole record. */
#ifndef PARE_CALIBRATE_WORK_H
#define PARE_CALIBRATE_WORK_H

#include "base/file.h"
#include "model/decoder.h"

#include <pare/error.h>
#include <pare/quant.h>

typedef struct pare_work_record { /* within the mapping */
    const char *name;
    size_t name_length;
    const void *data;
    size_t bytes;
} pare_work_record;

/* Starts as {0}; with output NULL nothing is kept. */
typedef struct pare_work {
    char *path;
    int fd;
    pare_mapping mapping; /* of what a run before this one left */
    pare_work_record *records;
    size_t count, capacity;
} pare_work;

/* The key covers the model's weights, the calibration ids, the formats of the plan and
 * `method_options`, a text that names the method, its settings and the version of its algorithm. */
pare_status pare_work_open(const pare_model *model, const pare_quantize_options *options,
                           const pare_quantize_result *plan, const char *method_options,
                           pare_work *work);

/* A record's data, or NULL where there is none of that name and size. */
const void *pare_work_find(const pare_work *work, const char *name, size_t bytes);

/* The same whatever its size. */
const void *pare_work_find_any(const pare_work *work, const char *name, size_t *bytes);

/* Appends records; sync makes sure that they are on the disk. */
pare_status pare_work_add(pare_work *work, const char *name, const void *data, size_t bytes);
pare_status pare_work_sync(pare_work *work);

void pare_work_close(pare_work *work); /* leaves the file; accepts {0} */

#endif
