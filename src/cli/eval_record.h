/* An evaluation as a stored record. */
#ifndef PARE_CLI_EVAL_RECORD_H
#define PARE_CLI_EVAL_RECORD_H

#include "cli/args.h"

#include <pare/eval.h>

#include <pare/record.h>

/* Adds a record of kind "eval"; text names what was scored, base may be NULL. `further` conditions
 * are added, and replace those of the same key. Returns the exit code, as cli_store_record does. */
int cli_store_eval(const cli_command *command, const cli_common *common, const pare_model *model,
                   const pare_model *base, const char *text, const pare_eval_options *options,
                   const pare_eval_result *result, const pare_condition *further,
                   int further_count);

#endif
