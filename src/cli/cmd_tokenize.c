#include "cli/commands.h"
static int run(int argc, char **argv, const cli_command *command)
{
    return cli_usage_error(command, "under construction");
}
const cli_command cmd_tokenize = {"tokenize", "under construction", "pare tokenize", NULL, run};
