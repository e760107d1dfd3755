#include "cli/commands.h"
static int run(int argc, char **argv, const cli_command *command)
{
    return cli_usage_error(command, "under construction");
}
const cli_command cmd_logits = {"logits", "under construction", "pare logits", NULL, run};
