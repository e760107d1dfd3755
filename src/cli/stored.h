/* What commands that answer from the store have in common. */
#ifndef PARE_CLI_STORED_H
#define PARE_CLI_STORED_H

#include "cli/args.h"

#include <pare/analysis.h>

/* Opens the store without making one; 0, or the exit code after a message. */
int cli_open_store(const cli_command *command, const cli_common *common, pare_store **store);
/* The same with all cells; both are the caller's to free. */
int cli_open_results(const cli_command *command, const cli_common *common, pare_store **store,
                     pare_results **results);

#endif
