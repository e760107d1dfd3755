/* Records: as JSON, and into the store. */
#ifndef PARE_CLI_RECORD_H
#define PARE_CLI_RECORD_H

#include "cli/args.h"

#include <pare/hw.h>
#include <pare/record.h>

/* One line of JSON, malloc'ed: conditions and metrics by name (with NAME_ci_low and NAME_ci_high
 * where there is an interval), absent ones null and their reasons in "absent", raw samples in
 * "samples" where wanted. */
char *cli_record_json(const pare_record *record, bool with_samples);
/* Prints it with a newline; 1 when out of memory. */
int cli_record_print_json(const pare_record *record, bool with_samples);

/* Adds records to the store (--store, or the default one), with the conditions machine, machine_id,
 * version and commit where they lack them, and the machine's facts. Call it after the result was
 * printed: a store that cannot be written costs a message and exit code 1, never the result.
 * Returns the exit code. */
int cli_store_records(const cli_command *command, const cli_common *common,
                      const pare_record *records, int count);
static inline int cli_store_record(const cli_command *command, const cli_common *common,
                                   const pare_record *record)
{
    return cli_store_records(command, common, record, 1);
}

/* This machine's measured limits with that many threads (0: all): the highest that the store has
 * from the last day, or measured now and stored. */
pare_status cli_limits_get(const cli_command *command, const cli_common *common, int threads,
                           pare_hw_limits *limits);
/* The same for a machine (its fingerprint), none where the store has none: nothing is measured. */
/* Appends those of a GPU, where one is named by --device, or there is one and none was named. */
pare_status cli_limits_device(const cli_common *common, pare_hw_limits *limits);
void cli_limits_known(const cli_common *common, const char *machine, pare_hw_limits *limits);
int cli_limits_store(const cli_command *command, const cli_common *common,
                     const pare_hw_limits *limits);

#endif
