#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

#ifndef PARE_VERSION
#define PARE_VERSION "unknown"
#endif

static const cli_command *const commands[] = {
#define X(name) &cmd_##name,
    CLI_COMMANDS(X)
#undef X
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_help(FILE *to)
{
    fprintf(to,
            "Pare cuts a language model down to fit its hardware, and proves what that costs.\n\n"
            "usage: pare COMMAND [arguments] [--help]\n\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(to,
            "\nMODEL is a folder with config.json and safetensors, a .gguf or .safetensors file, "
            "or a Hugging Face name\n"
            "that is in the local hub cache. Exit codes: 0 success, 1 failure, 2 wrong usage.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("pare %s\n", PARE_VERSION);
        return 0;
    }
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], commands[i]->name) == 0) {
            int code = commands[i]->run(argc - 1, argv + 1, commands[i]);
            if (fflush(stdout) != 0 || ferror(stdout)) {
                fprintf(stderr, "pare %s: writing to standard output failed\n", commands[i]->name);
                return code ? code : 1;
            }
            return code;
        }
    fprintf(stderr, "pare: unknown command '%s'\ntry: pare --help\n", argv[1]);
    return 2;
}
