/* The names of weights: Hugging Face's and the canonical ones, which are GGUF's. */
#ifndef PARE_MODEL_NAMES_H
#define PARE_MODEL_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARE_NAME_BYTES = 96 };

/* Stems: ".weight" and ".bias" follow on both sides. */
typedef struct pare_name_row {
    const char *hf, *gguf;
    bool turned; /* HF stores the weight as [in, out] */
} pare_name_row;

typedef struct pare_name_table {
    const char *prefix; /* "model.": may be absent in files */
    const char *blocks; /* "layers.": then the number, a point and a stem of `layer` */
    const pare_name_row *global, *layer; /* end with {0} */
    const char *const *ignored; /* whole names within a layer or after the prefix that carry no
                                   weights; end with NULL */
} pare_name_table;

extern const pare_name_table pare_names_llama; /* llama, mistral, qwen2, qwen3 */
extern const pare_name_table pare_names_gpt2;

typedef enum pare_name_kind {
    PARE_NAME_KNOWN,
    PARE_NAME_IGNORED,
    PARE_NAME_UNKNOWN
} pare_name_kind;

/* "model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight". *turned: the tensor has to be
 * transposed. */
pare_name_kind pare_name_from_hf(const pare_name_table *table, const char *hf,
                                 char gguf[PARE_NAME_BYTES], bool *turned);
/* The other way, with the prefix. False where the table has no such name. */
bool pare_name_to_hf(const pare_name_table *table, const char *gguf, char hf[PARE_NAME_BYTES]);

/* Splits "blk.3.ffn_up.weight" or, with another prefix, "layers.3.x" into its number and the rest;
 * false where it does not look like that. */
bool pare_name_split(const char *name, const char *prefix, int64_t *layer, const char **rest);

#endif
