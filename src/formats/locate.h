/* Turns what a user calls MODEL into files. */
#ifndef PARE_FORMATS_LOCATE_H
#define PARE_FORMATS_LOCATE_H

#include <pare/error.h>
#include <stdbool.h>

typedef enum pare_location_kind {
    PARE_LOCATION_FOLDER,
    PARE_LOCATION_GGUF,
    PARE_LOCATION_SAFETENSORS
} pare_location_kind;

typedef struct pare_location {
    pare_location_kind kind;
    char *path;      /* the folder, .gguf or .safetensors file */
    char *weights;   /* FOLDER: model.safetensors or model.safetensors.index.json in it, or a single
                        .gguf; NULL where it has   no weights (a folder with only a tokenizer) */
    char *config;    /* config.json, or NULL */
    char *tokenizer; /* tokenizer.json, or NULL */
} pare_location;

/* name: a path, or "org/repository" in the Hugging Face hub cache: $HF_HUB_CACHE, $HF_HOME/hub,
 * $XDG_CACHE_HOME/huggingface/ hub, ~/.cache/huggingface/hub; layout
 * models--org--repository/refs/main -> snapshots/COMMIT. A path that exists wins. PARE_NOT_FOUND
 * lists where was looked. */
pare_status pare_locate(const char *name, pare_location *location);
void pare_location_free(pare_location *location);

/* True where the weights are a GGUF, by itself or the only one in a folder. `weights` is set. */
bool pare_location_is_gguf(const pare_location *location);

#endif
