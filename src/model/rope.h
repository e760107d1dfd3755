/* Rotary position embedding: from a file's parameters to one frequency per pair. */
#ifndef PARE_MODEL_ROPE_H
#define PARE_MODEL_ROPE_H

#include <pare/error.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum pare_rope_kind {
    PARE_ROPE_DEFAULT,
    PARE_ROPE_LINEAR,
    PARE_ROPE_LLAMA3,
    PARE_ROPE_YARN,
} pare_rope_kind;

typedef struct pare_rope {
    pare_rope_kind kind;
    double theta, factor;
    double low_frequency_factor, high_frequency_factor; /* llama3 */
    double original_context;                            /* llama3, yarn */
    double beta_fast, beta_slow;                        /* yarn */
    double attention_factor;                            /* yarn; 0: computed from factor */
    double mscale, mscale_all_dim;                      /* yarn; 0: not given */
    double magnitude; /* multiplies the result's magnitude: 1, but for GGUF's
                         rope.scaling.attn_factor */
    bool truncate;    /* yarn: the ramp begins and ends at whole pairs */
} pare_rope;

/* Theta 10000, no scaling. */
pare_rope pare_rope_default(void);

/* Frequencies of dims/2 pairs and the factor on cos and sin, with the arithmetic (FP32 where it is
 * FP32) of transformers' modeling_rope_utils. `file` is for messages. PARE_FORMAT where a parameter
 * is out of its range. */
pare_status pare_rope_compute(const pare_rope *rope, int64_t dims, const char *file,
                              float *frequencies, float *magnitude);

/* YaRN's 0.1 m ln(factor) + 1 (1 for factors up to 1). */
double pare_rope_yarn_magnitude(double factor, double m);

#endif
