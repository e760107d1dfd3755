/* pare eval --generate: the score of generated text. */
#ifndef PARE_CLI_EVAL_GENERATE_H
#define PARE_CLI_EVAL_GENERATE_H

#include "cli/args.h"

#include <pare/eval.h>

/* base NULL: the model judges itself. Prints the result and stores it unless no_store; returns the
 * exit code. */
int cli_eval_generate(const cli_command *command, const cli_common *common, const pare_model *model,
                      const pare_model *base, const pare_tokenizer *tokenizer,
                      const pare_generate_options *options, bool samples, bool no_store);

#endif
