/* A plan of formats in a file, so that a choice that took a search can be looked at, changed and
 * used again: {"recipe": NAME, "method": M, "formats": {TENSOR: FORMAT, ...}}. */
#ifndef PARE_CLI_RECIPE_FILE_H
#define PARE_CLI_RECIPE_FILE_H

#include "cli/args.h"

#include <pare/quant.h>

/* True where --recipe names such a file (it ends in .json) rather than a recipe. */
bool cli_is_recipe_file(const char *name);

/* One rule for each tensor, before `rules` (count of them), which thus win; the method where none
 * was given, and as the format that of most tensors. What *options then points to lives until exit.
 * 0, or the exit code after a message. */
int cli_read_recipe(const cli_command *command, const char *path, const pare_quantize_rule *rules,
                    size_t count, pare_quantize_options *options);

/* Writes the formats of the chosen tensors. 0, or the exit code after a message. */
int cli_write_recipe(const cli_command *command, const char *path, const char *name,
                     const char *method, const pare_quantize_result *result);

#endif
