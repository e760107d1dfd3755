/* What is behind a model: the files it came from and what was read from them. Internal to the
 * library. */
#ifndef PARE_MODEL_MODEL_H
#define PARE_MODEL_MODEL_H

#include "base/json.h"
#include "formats/gguf.h"
#include "formats/locate.h"
#include "model/checkpoint.h"
#include "model/decoder.h"
#include "model/names.h"
#include "model/rope.h"

/* Whether tensors of a sort belong to a model. A config.json knows; a GGUF shows it by what it
 * holds. */
typedef enum pare_need { PARE_NEED_NO, PARE_NEED_MAYBE, PARE_NEED_YES } pare_need;

/* What was read beside the decoder's own fields. */
typedef struct pare_layout {
    const pare_name_table *names; /* NULL: the names are canonical already */
    pare_need qkv_bias, output_bias, mlp_bias, head;
    bool fused_qkv;
    pare_rope rope;
    bool synthetic;
    const pare_checkpoint_library *library; /* that quantized the file, or NULL */
} pare_layout;

typedef struct pare_model_private {
    pare_location location;
    char *name;
    pare_gguf gguf; /* of a GGUF */
    bool is_gguf;
    pare_tensors tensors;     /* of safetensors */
    pare_arena arena;         /* names, layers, frequencies */
    pare_converted converted; /* of another library's checkpoint; its list of tensors is empty once
                                 they are bound */
    pare_layout layout;
    pare_tensor rope_factors; /* "rope_freqs.weight": by what llama.cpp divides the frequencies;
                                 name NULL: none */
} pare_model_private;

/* The GGUF that the model was opened from, or NULL. */
const pare_gguf *pare_model_gguf(const pare_model *model);
const pare_location *pare_model_location(const pare_model *model);

/* ---- between the files of this folder ---- */

/* Fill the decoder (allocating from the arena) and the layout. */
pare_status pare_arch_from_config(const json_t *config, const char *file, pare_arena *arena,
                                  pare_decoder *decoder, pare_layout *layout);
pare_status pare_arch_from_gguf(const pare_gguf *gguf, pare_arena *arena, pare_decoder *decoder,
                                pare_layout *layout);
/* Sizes are in their ranges, head counts divide; then attention_scale[] by head_dim and the RoPE
 * frequencies. */
pare_status pare_arch_finish(const char *file, pare_arena *arena, pare_decoder *decoder,
                             const pare_layout *layout);

/* Fills tensors and layers of the model from what its files hold. */
pare_status pare_weights_bind(pare_model *model, const pare_tensors *source, const char *file);

/* The tensor, which lies as [in, out] in its file under the name `original`, becomes [out, in]; its
 * shape already says so. */
pare_status pare_tensor_turn(pare_tensor *tensor, const char *original);

/* Calls `each` for every tensor that a model of this decoder and layout needs, in file order:
 * canonical name, rows and columns (0 columns: a vector of `rows`). */
pare_status pare_weights_each(const pare_decoder *decoder, const pare_layout *layout,
                              pare_status (*each)(void *user, const char *name, int64_t rows,
                                                  int64_t columns),
                              void *user);

/* Fills private->rope_factors: llama.cpp gets Llama 3's scaling as divisors of the unscaled
 * frequencies. */
pare_status pare_model_make_rope_factors(pare_model *model);

static inline pare_model_private *pare_model_get_private(const pare_model *model)
{
    return model->private;
}

#endif
