/* Models of an exact shape with random weights: for speed and memory, where the real one is not at
 * hand. */
#ifndef PARE_SYNTH_H
#define PARE_SYNTH_H

#include <pare/error.h>
#include <pare/progress.h>
#include <pare/types.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The names of the built-in shapes, in order; NULL past the last one. */
const char *pare_synth_shape_name(int i);

typedef struct pare_synth_result {
    int64_t parameters, bytes; /* of the file */
    double bits_per_weight;    /* over the linear layers of the blocks */
    int64_t
        fallbacks; /* matrices stored as F16, since their rows are not whole blocks of the format */
    double seconds;
} pare_synth_result;

/* Writes a GGUF of a shape: a built-in name, or a file like Hugging Face's config.json. All
 * matrices (embedding and head too) are stored in `format`, vectors in F32. Weights are N(0, 0.02),
 * norms 1: what runs is well-behaved and means nothing, and the file says so (pare.synthetic); it
 * has no tokenizer. Matrices with rows of one length share 256 different rows, in random order:
 * speed does not depend on the values. The same seed gives the same file. progress may be NULL. */
pare_status pare_synth(const char *shape, pare_type format, uint64_t seed, const char *path,
                       const pare_progress *progress, pare_synth_result *result);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
