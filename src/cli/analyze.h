/* The parts of pare analyze. Each prints and returns the exit code. */
#ifndef PARE_CLI_ANALYZE_H
#define PARE_CLI_ANALYZE_H

#include "cli/args.h"

#include <pare/analysis.h>

int cli_analyze_tradeoffs(const cli_common *common, const pare_study *study);
int cli_analyze_memory(const cli_common *common, const pare_study *study);
/* metrics: "decode_tokens_per_s,peak_rss_bytes"; NULL: speed, memory, quality and, where it was
 * measured, energy. */
int cli_analyze_pareto(const cli_command *command, const cli_common *common,
                       const pare_study *study, const char *metrics);
/* formats and contexts: comma-separated. */
int cli_analyze_capacity(const cli_command *command, const cli_common *common, double bytes,
                         const char *formats, const char *contexts);
int cli_analyze_tree(const cli_common *common, const pare_tree *tree);

#endif
