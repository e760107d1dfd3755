/* Recipes: a named choice of a format for each matrix of the blocks. */
#ifndef PARE_QUANT_RECIPES_H
#define PARE_QUANT_RECIPES_H

#include "model/decoder.h"

#include <pare/quant.h>

typedef struct pare_recipe pare_recipe;

/* "q4_k_m" or "gguf-q4_k_m", any case. The error lists what there is. */
pare_status pare_recipe_find(const char *name, const pare_recipe **recipe);
const char *pare_recipe_name(const pare_recipe *recipe);
/* Fills the method and its options; another method than the recipe's is an error. */
pare_status pare_recipe_apply(const pare_recipe *recipe, pare_quantize_options *options);
/* The format of most matrices. */
pare_type pare_recipe_base(const pare_recipe *recipe);
/* The format of the matrix with this canonical name. With an importance matrix llama.cpp's mixes
 * differ a little. */
pare_type pare_recipe_type(const pare_recipe *recipe, const pare_model *model, const char *name,
                           bool importance);

#endif
