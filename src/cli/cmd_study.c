/* pare study: runs a study file. */
#include "cli/commands.h"
#include "cli/study.h"

#include <string.h>
#include <unistd.h>

static int run(int argc, char **argv, const cli_command *command)
{
    cli_study s = {.command = command, .lock = -1};
    bool dry_run = false;
    cli_list positionals = {0};
    const cli_option options[] = {
        {"dry-run", CLI_FLAG, &dry_run, NULL, "print the plan and its estimated time only"},
        {"again", CLI_FLAG, &s.again, NULL, "measure everything again; earlier results are kept"},
        {"retry", CLI_FLAG, &s.retry, NULL, "also what failed before"},
        {"work", CLI_TEXT, &s.work, "DIR",
         "where models are made (default: ~/.cache/pare/studies)"},
        {"keep", CLI_FLAG, &s.keep, NULL,
         "keep models with random weights (default: removed when measured)"},
        {"model", CLI_TEXT, &s.model, "MODEL", "this model instead of the file's"},
        {"name", CLI_TEXT, &s.name, "NAME", "with --model: the study's name in the store"},
        {0},
    };
    cli_parse(argc, argv, command, options, &s.common, &positionals);
    if (positionals.count != 2 || strcmp(positionals.items[0], "run") != 0)
        return cli_usage_error(command, "give: run FILE.yaml");
    if (s.name && !s.model)
        return cli_usage_error(command, "--name goes with --model");
    s.path = positionals.items[1];
    s.common.json |= !isatty(STDOUT_FILENO);
    int code = study_open(&s);
    if (code == 0)
        code = dry_run ? study_dry_run(&s) : study_run(&s);
    study_close(&s);
    return code;
}

const cli_command cmd_study = {
    "study", "run a whole experiment that a file describes",
    "pare study run FILE.yaml [--dry-run] [options]",
    "Makes the models of the file, judges their quality, and measures every cell (model, recipe, "
    "backend, workload) in a\n"
    "process of its own, interleaved and in random order. Results go to the store as they are "
    "made: killed at any moment,\n"
    "the study goes on from there when it is run again. What fails is a row with its reason. "
    "docs/study.md is the schema.\n"
    "Prints a table on a terminal, otherwise one JSON object a line.\n\n"
    "  pare study run studies/quick.yaml\n"
    "  pare study run studies/course.yaml --dry-run\n",
    run};
