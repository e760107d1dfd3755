#include "cli/stored.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int cli_open_store(const cli_command *command, const cli_common *common, pare_store **store)
{
    *store = NULL;
    if (common->store && access(common->store, F_OK) != 0) { /* reading makes no file */
        fprintf(stderr, "pare %s: %s: %s\n", command->name, common->store, strerror(errno));
        return 1;
    }
    pare_status status = pare_store_open(common->store, store);
    return status == PARE_OK ? 0 : cli_failed(command, status);
}

int cli_open_results(const cli_command *command, const cli_common *common, pare_store **store,
                     pare_results **results)
{
    int code = cli_open_store(command, common, store);
    *results = NULL;
    if (code)
        return code;
    pare_status status = pare_results_load(*store, results);
    if (status == PARE_OK)
        return 0;
    pare_store_close(*store);
    *store = NULL;
    return cli_failed(command, status);
}
