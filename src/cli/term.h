/* The terminal: progress bars (on a terminal only, and not with --quiet), colours (not with
 * NO_COLOR). */
#ifndef PARE_CLI_TERM_H
#define PARE_CLI_TERM_H

#include "cli/args.h"

#include <pare/progress.h>

typedef struct cli_bar {
    pare_progress progress; /* pass &bar.progress to the library */
    double started, drawn;
    bool visible, shown;
} cli_bar;

void cli_bar_start(cli_bar *bar, const cli_common *common);
void cli_bar_end(cli_bar *bar); /* wipes the line */

bool cli_colour(int fd); /* true where escapes may be written to fd */

#endif
