/* Numbers with units on the command line. */
#ifndef PARE_CLI_QUANTITY_H
#define PARE_CLI_QUANTITY_H

#include <jansson.h>
#include <pare/measure.h>
#include <stdbool.h>

/* "4GB" (powers of 1000), "512MiB" (of 1024), "4096" (bytes); "20ms", "0.02s", "20" (ms); "1%" or
 * "0.01"; "30W" or "30". False where the text is something else or not above zero (a share may be
 * zero). */
bool cli_parse_bytes(const char *text, double *bytes);
bool cli_parse_seconds(const char *text, double *seconds);
bool cli_parse_share(const char *text, double *share);
bool cli_parse_watts(const char *text, double *watts);

/* {"value", "low", "high"}, or null where absent. */
json_t *cli_measure_json(pare_measure measure);
/* Prints and frees it, on one line; the exit code. */
int cli_print_json(json_t *object);

#endif
