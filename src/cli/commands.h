/* Every subcommand: one file cmd_NAME.c that defines `const cli_command cmd_NAME`, one row here. */
#ifndef PARE_CLI_COMMANDS_H
#define PARE_CLI_COMMANDS_H

#include "cli/args.h"

#define CLI_COMMANDS(X)                                                                            \
    X(hw)                                                                                          \
    X(tokenize)                                                                                    \
    X(logits)                                                                                      \
    X(run)                                                                                         \
    X(chat)                                                                                        \
    X(quantize)                                                                                    \
    X(eval)                                                                                        \
    X(bench)                                                                                       \
    X(inspect)                                                                                     \
    X(synth)                                                                                       \
    X(study)                                                                                       \
    X(results)                                                                                     \
    X(report)                                                                                      \
    X(compare)                                                                                     \
    X(recommend)                                                                                   \
    X(analyze)                                                                                     \
    X(demo)

#define X(name) extern const cli_command cmd_##name;
CLI_COMMANDS(X)
#undef X

#endif
