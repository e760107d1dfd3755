/* What a model file holds, whether or not Pare can run it. */
#ifndef PARE_INSPECT_H
#define PARE_INSPECT_H

#include <pare/model.h>

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

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
