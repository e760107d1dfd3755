/* Turning what the library measured into stored records of a study. */
#ifndef PARE_CLI_STUDY_RECORDS_H
#define PARE_CLI_STUDY_RECORDS_H

#include "cli/args.h"

#include <pare/eval.h>
#include <pare/quant.h>
#include <pare/record.h>

/* Of which study and row a record is. */
typedef struct cli_study_row {
    const cli_command *command;
    const cli_common *common;
    const char *study, *format;
    const pare_model *base; /* the model as it was given */
} cli_study_row;

/* Each adds one record with the conditions study, base_model, format and what its kind needs;
 * returns the exit code. */
int cli_store_quantized(const cli_study_row *row, const pare_quantize_result *result);
int cli_store_evaluated(const cli_study_row *row, const pare_model *model, const char *text,
                        const pare_eval_options *options, const pare_eval_result *result);
/* A bench record as it is, under the format that was asked for instead of the most frequent one of
 * the file. */
int cli_store_benched(const cli_study_row *row, const pare_record *record);

#endif
