/* What pare inspect says of the weights themselves. */
#ifndef PARE_CLI_INSPECT_WEIGHTS_H
#define PARE_CLI_INSPECT_WEIGHTS_H

#include <jansson.h>
#include <pare/inspect.h>

/* A list, one object for each tensor. */
json_t *cli_weights_json(const pare_weights *weights);
/* Tables for the terminal: errors where there is a base, and distributions where asked for. */
void cli_weights_print(const pare_weights *weights, bool histogram);

#endif
