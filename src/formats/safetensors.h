/* safetensors: https://github.com/huggingface/safetensors (an 8-byte length, a JSON header, the
 * tensors' bytes). */
#ifndef PARE_FORMATS_SAFETENSORS_H
#define PARE_FORMATS_SAFETENSORS_H

#include "formats/tensors.h"

/* Opens one .safetensors file, or a sharded set by its model.safetensors.index.json (every shard is
 * opened, every tensor of weight_map must be in the shard that it names). *tensors is {0} on
 * failure. */
pare_status pare_safetensors_open(const char *path, pare_tensors *tensors);

/* One file's bytes in memory, which must outlive *tensors; `file` is for messages. */
pare_status pare_safetensors_parse(const uint8_t *data, size_t size, const char *file,
                                   pare_tensors *tensors);

/* What is written: `fill` is called once per tensor, in order, and writes exactly its bytes to the
 * output. */
typedef struct pare_safetensors_entry {
    const char *name;
    pare_type type; /* one with a safetensors dtype: f64 f32 f16 bf16 i64 i32 i16 i8 u8 bool f8_e4m3
                       f8_e5m2 */
    int dims;
    int64_t shape[PARE_MAX_DIMS];
} pare_safetensors_entry;

/* metadata: key, value, key, value, ..., NULL; may be NULL. Written whole or not at all. */
pare_status pare_safetensors_write(const char *path, const pare_safetensors_entry *entries,
                                   size_t count, const char *const *metadata,
                                   pare_status (*fill)(void *user, size_t entry,
                                                       pare_output *output),
                                   void *user);

#endif
